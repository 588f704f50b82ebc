"""A server whose output nobody reads serves on, and one whose reader has gone too."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import grpc
import httpx
import pytest

from featsvc.v1 import model_pb2, model_pb2_grpc
from tests.servers import FREE_PORTS, FREE_REST_PORTS, KEY, ROOT, stop

WRONG = (("authorization", "Bearer wrong"), ("x-request-id", "a" * 64))
# Of lines that are longer than a pipe holds, all together.
FAILING = 600


def _failing_calls_are_answered(models: model_pb2_grpc.ModelServiceStub, url: str) -> None:
    for _ in range(FAILING):
        with pytest.raises(grpc.RpcError) as caught:
            models.ListModels(model_pb2.ListModelsRequest(), metadata=WRONG, timeout=10)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert models.ListModels(
        model_pb2.ListModelsRequest(), metadata=(("authorization", f"Bearer {KEY}"),), timeout=10
    ).models
    assert httpx.get(f"{url}/health", timeout=10).status_code in (200, 503)


def test_a_server_whose_lines_nobody_reads_serves_on_and_ends_when_it_is_told() -> None:
    words = [sys.executable, "-m", "featsvc", "up", *FREE_PORTS, *FREE_REST_PORTS, f"--api-key={KEY}"]
    # Or the many wrong keys would be slowed.
    words.append("--wrong-key-delay=0")
    process = subprocess.Popen(
        [*words, "--profile=demo", "--offline", "--devices=cpu"],
        cwd=ROOT, env=os.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        ports = json.loads(process.stdout.readline())
        # Whatever it says from now on has no reader.
        process.stdout.close()
        with grpc.insecure_channel(f"127.0.0.1:{ports['grpc_port']}") as channel:
            models, url = model_pb2_grpc.ModelServiceStub(channel), f"http://127.0.0.1:{ports['clip_port']}"
            _failing_calls_are_answered(models, url)
            process.stderr.close()
            _failing_calls_are_answered(models, url)
        assert process.poll() is None
    finally:
        assert stop(process) == 0
