"""What a REST request would cost, by the same body at a path of its own."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from rest_shim.app.endpoints import FAMILIES
from tests.client.test_live import drawn
from tests.servers import KEY, Server

PATHS = [(family.name, each.path) for family in FAMILIES.values() for each in family.endpoints]


def posted(server: Server, family: str, path: str, body: dict[str, Any]) -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(server.url(family) + path, json=body, headers=headers, timeout=120, trust_env=False)


@pytest.mark.parametrize(("family", "path"), PATHS)
def test_a_body_can_be_estimated_at_every_port(demo_server: Server, family: str, path: str) -> None:
    body: dict[str, Any] = {"image": base64.b64encode(drawn(21)).decode()}
    if path == "/encode_text":
        body = {"text": "a red circle"}
    if path in ("/similarity", "/find_objects"):
        body["text"] = ["a", "b"]
    answer = posted(demo_server, family, f"/estimate{path}", body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found.keys() == {
        *("cost_s", "basis", "wait_s", "model", "model_loaded", "queue_bytes", "answer_bytes")
    }
    assert found["cost_s"] > 0
    assert found["queue_bytes"] > 0
    assert found["basis"] in ("assumed", "same_model", "alike")
    assert found["model"] == answer.headers["X-Featsvc-Model"] == f"demo-{family}"
    assert "X-Featsvc-Timing" not in answer.headers


def test_what_is_wrong_is_told_as_by_the_path_itself(demo_server: Server) -> None:
    wrong: tuple[dict[str, Any], ...] = ({"image": "?"}, {"image_digest": "sha256:0"}, {"load_size": 0})
    for body in wrong:
        real, dry = (posted(demo_server, "clip", path, body) for path in ("/extract", "/estimate/extract"))
        assert (dry.status_code, dry.json()) == (real.status_code, real.json())
        assert dry.status_code == 422
