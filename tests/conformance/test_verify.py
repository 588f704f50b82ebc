"""`featsvc verify`: says yes to the server, no to one that answers other numbers, and why to none at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from featsvc.server.commands.cli import main
from featsvc.v1 import clip_pb2
from tests.conformance.proxy import Forwarding, in_front_of
from tests.servers import KEY, Server


class Lying(Forwarding):
    """Answers texts with the embeddings of other texts."""

    def answers(self, method: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        for message in super().answers(method, requests, context):
            if not method.endswith("/EncodeText"):
                yield message
                continue
            reply = clip_pb2.EncodeTextResponse.FromString(message)
            data = reply.text_embedding.data
            reply.text_embedding.data = data[512:] + data[:512]
            yield reply.SerializeToString()


def test_the_server_is_verified(demo_server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", demo_server.target, "--api-key", KEY]) == 0
    shown = capsys.readouterr().out
    assert ", 0 wrong" in shown
    for model in ("any model", "demo-clip", "demo-dino", "demo-sam2"):
        assert re.search(rf"^{model}: \d+ questions$", shown, re.M), model


def test_a_server_with_other_numbers_is_found_out(
    demo_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with in_front_of(demo_server.target, Lying) as target:
        assert main(["verify", target, "--api-key", KEY]) == 1
    shown = capsys.readouterr().out
    assert "wrong  texts: embeddings: " in shown
    assert ", 1 wrong" in shown


def test_without_a_server_or_a_key_it_says_why(
    demo_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", demo_server.target, "--api-key", "wrong"]) == 2
    assert "API key" in capsys.readouterr().err
    assert main(["verify", "127.0.0.1:1"]) == 2
    assert "127.0.0.1:1" in capsys.readouterr().err
