"""Clients of gRPC that nobody here wrote: grpcurl and ghz by reflection alone, grpc-go with its most frequent pings."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conformance.runners import ROOT, foreign
from tests.servers import KEY, Server

METHOD = "featsvc.v1.ClipService.EncodeText"
# grpc-go lets nobody ping more often than every ten seconds. Five pings tell a server that allows fewer.
HELD_S = 55
# A first build of them compiles gRPC.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def _program(name: str) -> str:
    """Where a tool is, which is built if need be."""
    try:
        return foreign(name)
    except subprocess.CalledProcessError:
        pytest.skip(f"{name}: cannot be built here")


def _said(*words: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        words, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_grpcurl_lists_and_describes_by_reflection_down_to_a_method(demo_server: Server) -> None:
    ask = (_program("grpcurl"), "-plaintext", demo_server.target)
    listed = _said(*ask, "list").split()
    assert {"featsvc.v1.ClipService", "grpc.reflection.v1.ServerReflection"} <= set(listed)
    assert "rpc EncodeText" in _said(*ask, "describe", METHOD)
    assert "message EncodeTextRequest" in _said(*ask, "describe", "featsvc.v1.EncodeTextRequest")


def test_ghz_needs_no_proto_files(demo_server: Server) -> None:
    words = (
        *(_program("ghz"), "--insecure", "--call", METHOD, "--data", '{"texts": {"text": ["a red circle"]}}'),
        *("--metadata", json.dumps({"authorization": f"Bearer {KEY}"}), "--total", "50", "--format", "json"),
    )
    told = json.loads(_said(*words, demo_server.target))
    assert told["statusCodeDistribution"] == {"OK": 50}


def test_a_client_of_grpc_go_that_pings_every_ten_seconds_keeps_its_stream(demo_server: Server) -> None:
    if shutil.which("go") is None:
        pytest.skip("no go on this machine")
    words = ("go", "run", "./internal/pings", demo_server.target, KEY, str(HELD_S))
    _said(*words, folder=ROOT / "clients" / "go")
