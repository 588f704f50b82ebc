"""The formats of files. Each writes the outcomes of one or many pictures; a name in a file is `picture/array`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featsvc_client.bulk.extra import missing
from featsvc_client.bulk.outcomes import BFLOAT16, Outcome

Outcomes = Mapping[str, Outcome]
"""By the keys of the pictures; one alone has an empty key, and its names nothing before them."""
FACTS = "facts"


@dataclass(frozen=True)
class Format:
    """How outcomes become a file."""

    suffix: str
    write: Callable[[Path, Outcomes], None]
    read: Callable[[Path], dict[str, Outcome]] | None = None
    """Reads a file of many; None where a file is about one."""
    library: str = ""
    """What it needs beside numpy."""


def write_npy(path: Path, outcomes: Outcomes) -> None:
    """The most important array of one picture."""
    (outcome,) = outcomes.values()
    np.save(path, next(iter(outcome.arrays.values())), allow_pickle=False)


def write_npz(path: Path, outcomes: Outcomes) -> None:
    """All arrays, and the facts as JSON."""
    facts = {_name(key, FACTS): np.array(json.dumps(each.facts)) for key, each in outcomes.items()}
    np.savez(path, allow_pickle=False, **_arrays(outcomes), **facts)


def read_npz(path: Path) -> dict[str, Outcome]:
    """What write_npz wrote."""
    with np.load(path, allow_pickle=False) as file:
        content = {name: file[name] for name in file.files}
    facts = {name: content.pop(name) for name in list(content) if name.rpartition("/")[2] == FACTS}
    return _sorted(content, {name.rpartition("/")[0]: json.loads(str(each)) for name, each in facts.items()})


def write_safetensors(path: Path, outcomes: Outcomes) -> None:
    """All arrays, bfloat16 as itself, and the facts (by pictures) as JSON in the metadata."""
    from safetensors import TensorSpec, serialize_file

    arrays = {name: np.ascontiguousarray(array) for name, array in _arrays(outcomes).items()}
    # Addresses rather than numpy's own writer, which knows no bfloat16; `arrays` lives until all is written.
    tensors = {
        name.removesuffix(BFLOAT16): TensorSpec(
            dtype="bfloat16" if name.endswith(BFLOAT16) else array.dtype.name,
            shape=array.shape,
            data_ptr=array.ctypes.data,
            data_len=array.nbytes,
        )
        for name, array in arrays.items()
    }
    facts = {key: each.facts for key, each in outcomes.items()}
    # One entry, because the library writes several in no certain order, and the same results shall be the same file.
    serialize_file(tensors, str(path), {FACTS: json.dumps(facts.get("", facts))})


def read_safetensors(path: Path) -> dict[str, Outcome]:
    """What write_safetensors wrote about many pictures."""
    from safetensors import deserialize, safe_open

    content = {}
    for name, tensor in deserialize(path.read_bytes()):  # type: ignore[no-untyped-call]
        dtype = NUMPY_DTYPES[tensor["dtype"]]
        array = np.frombuffer(bytes(tensor["data"]), dtype).reshape(tensor["shape"])
        content[f"{name}{BFLOAT16}" if tensor["dtype"] == "BF16" else name] = array
    with safe_open(path, "numpy") as file:
        facts = json.loads(file.metadata()[FACTS])
    return _sorted(content, facts)


def write_zarr(path: Path, outcomes: Outcomes) -> None:
    """A group with the arrays of one picture; the facts are its attributes."""
    (outcome,) = outcomes.values()
    group = zarr_group(path, dict(outcome.facts))
    for name, array in outcome.arrays.items():
        # One chunk: a picture's result is read as a whole.
        group.create_array(
            name, data=np.ascontiguousarray(array), chunks=tuple(map(_at_least_one, array.shape))
        )


def write_parquet(path: Path, outcomes: Outcomes) -> None:
    """A row for each picture: its key, its facts as JSON, and each array by its bytes, element type and shape.

    Bytes are little-endian and row by row; bfloat16 is told as such. Where pictures have other arrays, theirs are null.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = dict.fromkeys(name for each in outcomes.values() for name in each.arrays)
    array = pa.struct([("dtype", pa.string()), ("shape", pa.list_(pa.int64())), ("data", pa.large_binary())])
    columns = {
        name.removesuffix(BFLOAT16): pa.array([_cell(name, each) for each in outcomes.values()], array)
        for name in names
    }
    facts = [json.dumps(each.facts) for each in outcomes.values()]
    table = pa.table({"key": list(outcomes), FACTS: facts, **columns})
    # What is in it hardly gets smaller, and is sooner read so.
    pq.write_table(table, path, compression="none", use_dictionary=False)


def read_parquet(path: Path) -> dict[str, Outcome]:
    """What write_parquet wrote."""
    import pyarrow.parquet as pq

    found = {}
    for row in pq.read_table(path).to_pylist():
        key, facts = row.pop("key"), json.loads(row.pop(FACTS))
        found[key] = Outcome(dict(_array(name, cell) for name, cell in row.items() if cell), facts)
    return found


def _cell(name: str, outcome: Outcome) -> dict[str, object] | None:
    array = outcome.arrays.get(name)
    if array is None:
        return None
    dtype = "bfloat16" if name.endswith(BFLOAT16) else array.dtype.name
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {"dtype": dtype, "shape": list(array.shape), "data": little.tobytes()}


def _array(name: str, cell: Mapping[str, Any]) -> tuple[str, NDArray[np.generic]]:  # Any: of a row
    is_bfloat16 = cell["dtype"] == "bfloat16"
    dtype = np.dtype("uint16" if is_bfloat16 else cell["dtype"]).newbyteorder("<")
    array = np.frombuffer(cell["data"], dtype).reshape(cell["shape"])
    return f"{name}{BFLOAT16}" if is_bfloat16 else name, array


# Any: a library that need not be there; JSON.
def zarr_group(path: Path, facts: Mapping[str, Any]) -> Any:
    """A new group."""
    import zarr

    return zarr.open_group(path, mode="w", attributes=dict(facts))


def check(name: str) -> None:
    """Raises Refused where the library of a format is missing."""
    library = FORMATS[name].library if name in FORMATS else ""
    if library and find_spec(library) is None:
        raise missing(library, f"files of the format {name}")


def _at_least_one(size: int) -> int:
    return max(1, size)


def _name(key: str, array: str) -> str:
    return f"{key}/{array}" if key else array


def _arrays(outcomes: Outcomes) -> dict[str, NDArray[np.generic]]:
    each = (
        ((_name(key, name), array) for name, array in one.arrays.items()) for key, one in outcomes.items()
    )
    return dict(chain.from_iterable(each))


def _sorted(content: Mapping[str, NDArray[np.generic]], facts: Mapping[str, Any]) -> dict[str, Outcome]:
    """The arrays of each picture together."""
    arrays: dict[str, dict[str, NDArray[np.generic]]] = {key: {} for key in facts}
    for name, array in content.items():
        key, _, short = name.rpartition("/")
        arrays[key][short] = array
    return {key: Outcome(arrays[key], facts[key]) for key in facts}


NUMPY_DTYPES: Mapping[str, str] = {
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "F64": "<f8",
    "I64": "<i8",
    "I8": "i1",
    "U8": "u1",
    "U16": "<u2",
    "I32": "<i4",
}
NPZ = Format(".npz", write_npz, read_npz)
FORMATS: Mapping[str, Format] = {
    "npy": Format(".npy", write_npy),
    "npz": NPZ,
    "safetensors": Format(".safetensors", write_safetensors, read_safetensors, "safetensors"),
    "zarr": Format("", write_zarr, library="zarr"),
    "parquet": Format(".parquet", write_parquet, read_parquet, "pyarrow"),
}
