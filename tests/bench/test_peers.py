"""The other sides compute what featsvc computes: a faster server of other numbers would prove nothing."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from featsvc_client import FeatsvcClient
from numpy.typing import NDArray
from PIL import Image

from featsvc.engines.registry import build
from featsvc.v1.schema import ClipExtractFeaturesParams
from featsvc.work.item import PictureItem
from featsvc.work.operations import EXTRACT_CLIP
from featsvc.work.options import EngineOptions
from tests.bench import networks
from tests.bench.children import Child, environment
from tests.bench.http_wire import post_blocking
from tests.bench.peers.demo_clip import DemoClip
from tests.bench.questions import image_of, json_bytes, sentence
from tests.bench.rows.frameworks import RAY_ENVIRONMENT
from tests.servers import KEY, Server

ARGS = {"model": "demo-clip"}
HEADERS = {"Content-Type": "application/json"}
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def answers(demo_server: Server) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """featsvc's own embeddings of the first text and the first picture."""
    with FeatsvcClient(demo_server.target, api_key=KEY) as client:
        text = client.encode_text(sentence(0), model_name="demo-clip", model_pretrained="demo").array
        picture = client.encode_image(
            image_of(0, ARGS), model_name="demo-clip", model_pretrained="demo"
        ).array
    return text[0], picture[0]


def test_the_network_of_litserve_and_ray_gives_featsvcs_embeddings(
    answers: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    clip = DemoClip(threads=1)
    pixels = clip.picture(json.loads(json_bytes("embed", 0, ARGS))["image"])
    np.testing.assert_allclose(clip.texts([sentence(0), sentence(1)])[0], answers[0], **CLOSE)
    np.testing.assert_allclose(clip.pictures([pixels])[0], answers[1], **CLOSE)


def test_the_bare_dense_forward_pass_gives_the_engines_features() -> None:
    engines = build(EngineOptions(offline=True))
    model = engines.load("demo-clip")
    params = ClipExtractFeaturesParams(model_name="demo-clip", load_size=192, center_crop=True)
    picture = image_of(0, {"width": 192, "height": 192, "seed": 0})
    prepared = engines.prepare(EXTRACT_CLIP.rpc, PictureItem(picture), params, model)
    ours = engines.run(EXTRACT_CLIP.rpc, [prepared], params, model)[0].features
    theirs = networks.dense(networks.clip("demo-clip", ""), _pixels(picture))
    np.testing.assert_allclose(theirs[0].numpy().reshape(ours.shape), ours, rtol=0, atol=1e-4)


def _pixels(picture: bytes) -> torch.Tensor:
    """1 x 3 x 192 x 192, normalised as OpenAI's CLIP."""
    array = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), np.float32) / 255
    mean, std = (
        np.array(each, np.float32)
        for each in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    return torch.from_numpy((array - mean) / std).permute(2, 0, 1)[None]


@pytest.fixture(params=["lit", "ray_serve"])
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a running peer."""
    pytest.importorskip({"lit": "litserve", "ray_serve": "ray"}[request.param])
    module = f"tests.bench.peers.{request.param}"
    env = environment(1, **RAY_ENVIRONMENT)
    with Child(module, "1", "4", "1", log=tmp_path / "log", env=env) as child:
        yield f"http://127.0.0.1:{child.await_port()}"


@pytest.mark.slow
def test_litserve_and_ray_serve_answer_featsvcs_embeddings(
    peer: str, answers: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> None:
    for kind, path, name, expected in (
        ("text", "/encode_text", "text_embedding", answers[0]),
        ("embed", "/encode_image", "image_embedding", answers[1]),
    ):
        reply = json.loads(post_blocking(peer + path, json_bytes(kind, 0, ARGS), HEADERS))
        found = np.frombuffer(base64.b64decode(reply[name]), np.float32)
        np.testing.assert_allclose(found, expected, **CLOSE)
