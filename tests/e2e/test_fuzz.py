"""Hostile requests: no 500, no INTERNAL, no hang, and the server is as healthy afterwards."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.v1 import clip_pb2, dino_pb2, image_pb2, sam2_pb2
from tests.drawn import base64_png, png
from tests.servers import KEY, Server

with warnings.catch_warnings():
    # Its own imports warn of each other.
    warnings.simplefilter("ignore")
    import schemathesis

pytestmark = pytest.mark.timeout(600)
SMALL = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)
# What takes long by right, not by defect: these stay small, so that the others are reached.
COSTLY = {
    "load_size": 64, "points_per_side": 4, "points_per_batch": 64, "crop_n_layers": 0, "point_grids": None,
    "tile_ratio_min": 0.4, "tile_levels": 2, "tile_stride_ratio": 0.5,
}  # fmt: skip
# Real models have no weights here and would only answer so.
REAL_MODELS = ("model_name", "model_pretrained", "model_type", "model_cfg", "checkpoint_path")
QUICK = settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def rest() -> Iterator[httpx.Client]:
    with httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=90) as client:
        yield client


def operations(server: Server, family: str) -> dict[str, object]:
    schema = schemathesis.openapi.from_url(f"{server.url(family)}/openapi.json")
    found = [each.ok() for each in schema.get_all_operations()]
    return {operation.path: operation for operation in found if operation.method.upper() == "POST"}


def fine(reply: httpx.Response) -> None:
    assert reply.status_code < 500, (reply.status_code, reply.text[:1000])
    assert "Traceback" not in reply.text
    if reply.status_code >= 400:
        assert set(reply.json()) == {"detail"}
    else:
        json.loads(reply.text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def drawn_requests(
    rest: httpx.Client, url: str, operation: object, cheap: dict[str, object]
) -> Callable[[], None]:
    """Sends what schemathesis makes of one operation, half of it with a real picture and a model that is here."""

    @QUICK
    @given(case=operation.as_strategy(), usable=st.booleans())
    def meets_no_defect(case: object, usable: bool) -> None:
        body = dict(case.body) if isinstance(case.body, dict) else {"body": repr(case.body)}
        if usable:
            for name in ("image_url", *REAL_MODELS):
                body.pop(name, None)
            if "encode_text" not in url:
                body["image"] = base64_png(SMALL)
        fine(rest.post(url, content=json.dumps(body | cheap)))

    return meets_no_defect


@pytest.mark.parametrize("family", ["clip", "dino", "sam2"])
def test_requests_made_from_the_openapi_document_meet_no_defect(
    demo_server: Server, rest: httpx.Client, family: str
) -> None:
    paths = operations(demo_server, family)
    assert paths
    bodies = properties(rest, demo_server.url(family))
    for path, operation in paths.items():
        cheap = {name: value for name, value in COSTLY.items() if name in bodies[path]}
        drawn_requests(rest, f"{demo_server.url(family)}{path}", operation, cheap)()
    assert rest.get(f"{demo_server.url(family)}/health").json()["status"] == "healthy"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def drawn_values(rest: httpx.Client, url: str, names: list[str]) -> Callable[[], None]:
    """Sends a good request in which one or two properties have any value at all."""
    good = {"image": base64_png(SMALL), "text": "x", **COSTLY}

    @QUICK
    @given(changes=st.dictionaries(st.sampled_from(names), anything, min_size=1, max_size=2))
    def meets_no_defect(changes: dict[str, object]) -> None:
        body = {key: value for key, value in good.items() if key in names} | changes
        # What is null is the default, which may take as long.
        small = {key for key, value in body.items() if value is None or isinstance(value, int | float)}
        fine(rest.post(url, content=json.dumps(body | {key: COSTLY[key] for key in COSTLY.keys() & small})))

    return meets_no_defect


@pytest.mark.parametrize("family", ["clip", "dino", "sam2"])
def test_any_json_as_value_of_any_property_meets_no_defect(
    demo_server: Server, rest: httpx.Client, family: str
) -> None:
    bodies = properties(rest, demo_server.url(family))
    assert bodies
    for path, names in bodies.items():
        drawn_values(rest, f"{demo_server.url(family)}{path}", names)()


def properties(rest: httpx.Client, url: str) -> dict[str, list[str]]:
    """The properties of each endpoint's body, as its OpenAPI document has them."""
    document = rest.get(f"{url}/openapi.json").json()
    found = {}
    for path, methods in document["paths"].items():
        if "post" in methods:
            body = methods["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            found[path] = sorted(document["components"]["schemas"][body.rpartition("/")[2]]["properties"])
    return found


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{", b'"text"', b"\xff\xfe", b"{}" * 3, b"[" * 100_000, b'{"image": ' + b"[" * 5000,
        b'{"image": "' + b"A" * 100_000 + b'"}', b'{"image": 1e999}', b'{"image": "data:image/png;base64,"}',
        b'{"image": "\\ud800"}', b'{"image":"QUJD","image":"QUJD"}', b'{"image": "", "image_url": ""}',
        b'{"image_url": "http://127.0.0.1:1/x.png"}', b'{"image_url": "file:///etc/passwd"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("endpoint", ["clip/extract", "dino/extract", "sam2/auto_mask", "sam2/prompt_mask"])
def test_a_broken_body_is_the_callers_error(
    demo_server: Server, rest: httpx.Client, endpoint: str, body: bytes
) -> None:
    family, path = endpoint.split("/")
    reply = rest.post(f"{demo_server.url(family)}/{path}", content=body)
    assert 400 <= reply.status_code < 500, reply.text[:500]
    fine(reply)


def pictures() -> st.SearchStrategy[bytes]:
    """Random bytes, and real files that were cut, overwritten or lied about in the header."""
    whole = png(SMALL)
    jpeg = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + whole
    cut = st.integers(1, len(whole) - 1).map(lambda length: whole[:length])
    spoilt = st.tuples(st.integers(0, 60), st.integers(0, 255)).map(
        lambda change: whole[: change[0]] + bytes([change[1]]) + whole[change[0] + 1 :]
    )
    begun = st.sampled_from(
        [b"GIF89a", b"BM", b"II*\0", b"RIFF\xff\xff\xff\xffWEBPVP8 ", b"\x89PNG\r\n\x1a\n"]
    )
    return st.one_of(
        st.binary(max_size=300),
        cut,
        spoilt,
        st.just(jpeg),
        st.tuples(begun, st.binary(max_size=200)).map(b"".join),
    )


@QUICK
@given(content=pictures())
def test_any_bytes_as_picture_meet_no_internal_error(demo_server: Server, content: bytes) -> None:
    image = image_pb2.Image(content=content)
    calls = {
        "/featsvc.v1.ClipService/ExtractFeatures": clip_pb2.ClipServiceExtractFeaturesRequest(
            image=image, params=clip_pb2.ClipParams(load_size=64)
        ),
        "/featsvc.v1.DinoService/ExtractFeatures": dino_pb2.DinoServiceExtractFeaturesRequest(image=image),
        "/featsvc.v1.Sam2Service/PredictMasks": sam2_pb2.PredictMasksRequest(image=image),
    }
    with grpc.insecure_channel(demo_server.target) as channel:
        for method, request in calls.items():
            code = called(channel, method, request.SerializeToString())
            assert code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT), code


@QUICK
@given(raw=st.binary(max_size=200))
def test_any_bytes_as_message_meet_no_internal_error(demo_server: Server, raw: bytes) -> None:
    with grpc.insecure_channel(demo_server.target) as channel:
        for service, name in (
            ("ClipService", "ExtractFeatures"), ("ClipService", "EncodeText"), ("ClipService", "ComputeSimilarity"),
            ("DinoService", "ExtractFeatures"), ("Sam2Service", "GenerateMasks"), ("Sam2Service", "PredictMasks"),
            ("ModelService", "LoadModel"), ("ModelService", "ListModels"),
        ):  # fmt: skip
            code = called(channel, f"/featsvc.v1.{service}/{name}", raw)
            assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), (service, name, code)


def called(channel: grpc.Channel, method: str, raw: bytes) -> grpc.StatusCode:
    call = channel.unary_unary(method)
    try:
        call(raw, timeout=90, metadata=(("authorization", f"Bearer {KEY}"),))
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_a_picture_of_very_many_pixels_is_refused_from_its_header(
    demo_server: Server, rest: httpx.Client
) -> None:
    import base64
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = (
        struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    body = zlib.compress(b"\0" * 1000)
    data = struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk + data
    began = time.monotonic()
    reply = rest.post(f"{demo_server.url('dino')}/extract", json={"image": base64.b64encode(bomb).decode()})
    assert reply.status_code in (400, 413, 422)
    assert "pixels" in reply.text
    assert time.monotonic() - began < 60
