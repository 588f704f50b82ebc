"""Runs that are killed, interrupted, or lose their server, and go on."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from featsvc_client.bulk import cli

from featsvc.v1 import clip_pb2
from tests.client.bulk.service import (
    COMMAND,
    WAIT_S,
    Reaching,
    answer,
    asked,
    content,
    ended,
    features,
    noted,
    photos,
    results,
    run,
    started,
)
from tests.client.gateway import answering
from tests.client.streaming import UNAVAILABLE

MOST_UNDER_WAY = 32


@pytest.mark.parametrize(
    ("count", "form"),
    [
        (500, ("--format", "npy")),
        (150, ("--format", "npz", "--per-file", 7)),
        (150, ("--format", "safetensors", "--per-file", 40)),
        (60, ("--format", "zarr")),
    ],
    ids=["npy", "npz", "safetensors", "zarr"],
)
def test_a_killed_run_goes_on_to_the_same_files_and_sends_no_finished_picture_twice(
    tmp_path: Path, count: int, form: tuple[Any, ...]
) -> None:
    pictures, out, whole = photos(tmp_path / "photos", count), tmp_path / "out", tmp_path / "whole"
    reaching = Reaching(count * 2 // 5)
    with answering(reaching) as script:
        process = started(script, pictures, "--out", out, *form)
        assert reaching.reached.wait(WAIT_S)
        process.kill()
        ended(process)
        reaching.go_on.set()
        before = asked(script)
        finished = {key for key, state in noted(out, "key, state") if state == "done"}
        if form[1] == "npy":
            # What has its file is finished, whether or not there was time to note it.
            finished |= {name.removesuffix(".npy") for name in results(out) if name.startswith("photos/")}
        assert run(script, pictures, "--out", out, *form) == 0
    assert count // 5 < len(finished) < count, "it was killed in the middle"
    counts = asked(script)
    assert {counts[content(int(key[-8:-4]))] for key in finished} == {1}
    assert sum(counts.values()) <= count + MOST_UNDER_WAY
    assert sum(before.values()) < count
    with answering(answer) as undisturbed:
        assert run(undisturbed, pictures, "--out", whole, *form) == 0
    assert results(out) == results(whole)
    assert noted(out) == noted(whole)
    assert len(noted(out)) == count


def test_ctrl_c_leaves_whole_files_and_says_how_to_go_on(tmp_path: Path) -> None:
    pictures, out = photos(tmp_path / "photos", 200), tmp_path / "out"
    reaching = Reaching(40)
    with answering(reaching) as script:
        process = started(script, pictures, "--out", out)
        assert reaching.reached.wait(WAIT_S)
        process.send_signal(signal.SIGINT)
        status, said = ended(process)  # it waits for no answer, or it might have them all before it hears
        reaching.go_on.set()
        left = results(out)
        assert status == 130
        assert "the same command goes on from there" in said
        assert "Traceback" not in said
        assert 0 < len(left) < 200
        for name in left:
            key = name.removesuffix(".npy")
            np.testing.assert_array_equal(np.load(out / name), features((tmp_path / key).read_bytes()))
        assert run(script, pictures, "--out", out) == 0
    assert len(results(out)) == 200
    assert sum(asked(script).values()) <= 200 + MOST_UNDER_WAY


def test_a_server_that_is_restarted_in_the_middle_costs_no_picture(tmp_path: Path) -> None:
    pictures, out = photos(tmp_path / "photos", 200), tmp_path / "out"
    reaching = Reaching(40)
    with answering(reaching) as first:
        process = started(first, pictures, "--out", out)
        assert reaching.reached.wait(WAIT_S)
        reaching.go_on.set()
    port = int(first.target.rpartition(":")[2])
    with answering(answer, port=port) as second:
        status, said = ended(process)
    # gRPC itself may say that a connection was lost.
    assert status == 0, said
    assert "failed" not in said
    assert len(results(out)) == 200
    assert sum(asked(second).values()) > 0
    assert sum(asked(first, second).values()) <= 200 + MOST_UNDER_WAY


def test_a_picture_that_ends_the_server_each_time_costs_that_one_only(tmp_path: Path) -> None:
    def fragile(request: Any) -> Any:
        if hasattr(request, "image") and request.image.content == content(3):
            return UNAVAILABLE
        return answer(request)

    with answering(fragile) as script:
        assert run(script, photos(tmp_path / "photos", 6), "--out", tmp_path / "out") == 1
    assert asked(script)[content(3)] == 5
    assert len(results(tmp_path / "out")) == 5


def test_a_server_that_answers_nonsense_about_one_picture_costs_that_one_only(tmp_path: Path) -> None:
    def odd(request: Any) -> Any:
        if hasattr(request, "image") and request.image.content == content(3):
            return clip_pb2.ClipServiceExtractFeaturesResponse(model="demo")
        return answer(request)

    with answering(odd) as script:
        assert run(script, photos(tmp_path / "photos", 6), "--out", tmp_path / "out") == 1
    assert len(results(tmp_path / "out")) == 5


def test_with_nobody_at_the_port_it_says_so_and_goes_on_when_somebody_comes(tmp_path: Path) -> None:
    pictures, out = photos(tmp_path / "photos", 2), tmp_path / "out"
    assert cli.FIRST_WORD_S < 3
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [*COMMAND, pictures, "--out", out, "--target", f"127.0.0.1:{port}"]
    program = [sys.executable, "-m", "featsvc_client.bulk", *map(str, words)]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert f"no answer from 127.0.0.1:{port}: " in first
        assert "trying on for 600 s" in first
        with answering(answer, port=port):
            process.stderr.read()
            assert process.wait(WAIT_S) == 0
    assert len(noted(out)) == 2
