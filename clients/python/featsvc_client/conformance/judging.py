"""Whether an answer is the known one: the same, or as near as another processor or batch may make it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from featsvc_client.conformance.cases import Json

# Largest difference, as a part of the largest value of the sample. A last bit that differs before rounding may
# become one step of a small type.
TOLERANCE: Mapping[str, float] = {"float32": 2e-3, "float16": 4e-3, "bfloat16": 2e-2, "int8": 2e-2}
# What a server's precision adds to that. Norms and attention add up what a type's steps change in each layer.
PRECISIONS: Mapping[str, float] = {"bf16": 6e-2, "fp16": 1e-2, "tf32": 2e-3, "fp32": 0.0}
# Elements of a sample that may be further off: a pixel at the border of a mask.
STRAYS = 1
AREA_TOLERANCE = 0.02
AREA_PIXELS = 8


def least_exact(precisions: Iterable[str]) -> str:
    """The one that changes answers most; what is not known, as a worker's that has not started, counts as fp32."""
    return max(
        (each for each in precisions if each in PRECISIONS), key=PRECISIONS.__getitem__, default="fp32"
    )


def differences(found: Json | None, known: Json, precision: str = "fp32") -> list[str]:
    """What is wrong with an answer of a server that computes in this; nothing where it is as it should be."""
    if found is None:
        return ["no answer"]
    return list(_differences(found, known, PRECISIONS[precision]))


def exact_differences(found: Json | None, known: Json) -> list[str]:
    """The same for two clients of one server: every byte must be equal."""
    if found is None:
        return ["no answer"]
    wrong = list(_differences(found, known, PRECISIONS["fp32"]))
    digests = {name: each["sha256"] for name, each in found.get("arrays", {}).items()}
    expected = {name: each["sha256"] for name, each in known.get("arrays", {}).items()}
    return wrong + [f"{name}: other bytes" for name in expected if digests.get(name) != expected[name]]


def _differences(found: Json, known: Json, more: float) -> Iterator[str]:
    for field in ("code", "model", "fields", "retry_after"):
        if found.get(field) != known.get(field):
            yield f"{field}: {found.get(field)!r} instead of {known.get(field)!r}"
    arrays, expected = found.get("arrays", {}), known.get("arrays", {})
    if arrays.keys() != expected.keys():
        yield f"arrays: {sorted(arrays)} instead of {sorted(expected)}"
        return
    for name, array in expected.items():
        yield from (f"{name}: {what}" for what in _array(arrays[name], array, more))


def _array(found: Json, known: Json, more: float) -> Iterator[str]:
    for field in ("sent", "dtype", "shape"):
        if found[field] != known[field]:
            yield f"{field} {found[field]} instead of {known[field]}"
    if found["shape"] != known["shape"] or found["sha256"] == known["sha256"]:
        return
    if "area" in known:
        allowed = max(AREA_PIXELS, (AREA_TOLERANCE + more) * known["area"])
        if abs(found["area"] - known["area"]) > allowed:
            yield f"{found['area']} pixels set instead of {known['area']}"
        return
    allowed = (TOLERANCE[known["sent"]] + more) * max(map(abs, known["sample"]), default=0)
    pairs = zip(found["sample"], known["sample"], strict=True)
    # Written so that NaN, which no comparison holds for, counts as wrong.
    strays = [(a, b) for a, b in pairs if not abs(a - b) <= allowed]
    if len(strays) > STRAYS:
        yield f"{strays[0][0]} instead of {strays[0][1]}, and {len(strays) - 1} more of the sample"
