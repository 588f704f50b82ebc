"""`featsvc verify`: says yes to the server, no to one that answers other numbers, and why to none at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from featsvc_client.conformance.judging import differences, least_exact

from featsvc.server.commands.cli import main
from featsvc.v1 import clip_pb2, model_pb2
from tests.client.gateway import answering
from tests.conformance.proxy import Forwarding, in_front_of
from tests.servers import KEY, Server, running


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
    wrong = re.findall(r"^wrong  (.*?): embeddings: ", shown, re.M)
    assert "texts" in wrong
    # Each that embeds texts, and no other.
    assert all(each.startswith("text") for each in wrong)
    assert f", {len(wrong)} wrong" in shown


def test_without_a_server_or_a_key_it_says_why(
    demo_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", demo_server.target, "--api-key", "wrong"]) == 2
    assert "API key" in capsys.readouterr().err
    assert main(["verify", "127.0.0.1:1"]) == 2
    assert "127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (model_pb2.GetCallerResponse(name="app", roles=["infer"]), "'app' lacks the role admin,"),
        (
            model_pb2.GetCallerResponse(name="app", roles=["admin"], models=["demo-clip"]),
            "lacks the role infer and may use some models only,",
        ),
    ],
)
def test_a_key_that_may_too_little_is_told_before_anything_is_asked(
    said: model_pb2.GetCallerResponse, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(said) as script:
        assert main(["verify", script.target, "--api-key", KEY]) == 2
    assert words in capsys.readouterr().err
    assert script.paths == ["GetCaller"]


@pytest.mark.parametrize(
    ("off", "precision", "is_right"),
    [
        (1e-3, "fp32", True),
        (3e-2, "fp32", False),
        (5e-3, "fp16", True),
        (3e-2, "bf16", True),
        (0.2, "bf16", False),
    ],
)
def test_a_precision_may_change_answers_and_not_more_than_it_does(
    off: float, precision: str, is_right: bool
) -> None:
    array = {
        "sent": "float32",
        "dtype": "float32",
        "shape": [4],
        "sha256": "a",
        "sample": [0.5, 1.0, -1.0, 0.2],
    }
    other = {**array, "sha256": "b", "sample": [each + off for each in array["sample"]]}
    wrong = differences({"arrays": {"features": other}}, {"arrays": {"features": array}}, precision)
    assert not wrong if is_right else wrong


def test_of_several_workers_the_least_exact_counts() -> None:
    assert least_exact(["fp32", "bf16", "fp16", ""]) == "bf16"
    assert least_exact(["", "tf32"]) == "tf32"
    assert least_exact([""]) == "fp32"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_server_in_another_precision_is_verified_by_what_that_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    flags = ("--profile=demo", "--devices=cpu", "--offline", f"--precision={precision}")
    with running(tmp_path / "log", "serve", *flags) as server:
        assert main(["verify", server.target, "--api-key", KEY]) == 0, capsys.readouterr().out
    assert capsys.readouterr().out.endswith(f", by a server that computes in {precision}\n")
