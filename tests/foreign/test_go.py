"""Clients that nobody here wrote, in Go: grpc-go with its keepalive pings, and ghz, which learns by reflection."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conformance.runners import BUILT
from tests.servers import KEY, Server

# A first build compiles gRPC.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
PINGS = Path(__file__).with_name("pings")
GHZ = "github.com/bojand/ghz/cmd/ghz@v0.120.0"
# A server that allows fewer pings ends the connection at the third that comes too soon, after 30 s.
SILENCE_S = 45


@pytest.fixture(scope="module", autouse=True)
def _go() -> None:
    if shutil.which("go") is None:
        pytest.skip("no go on this machine")
    BUILT.mkdir(parents=True, exist_ok=True)


def test_a_stream_and_a_connection_that_are_silent_but_for_pings_live_on(demo_server: Server) -> None:
    program = BUILT / "pings"
    subprocess.run(["go", "build", "-o", program, "."], cwd=PINGS, check=True)
    ran = subprocess.run(
        [program, demo_server.target, KEY, str(SILENCE_S)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_ghz_calls_by_reflection(demo_server: Server) -> None:
    if not (BUILT / "ghz").exists():
        subprocess.run(["go", "install", GHZ], env={**os.environ, "GOBIN": str(BUILT)}, check=True)
    words = [
        "--insecure",
        "--call",
        "featsvc.v1.ClipService.EncodeText",
        "--total",
        "40",
        "--concurrency",
        "4",
    ]
    texts = json.dumps({"texts": {"text": ["a red circle"]}})
    key = json.dumps({"authorization": f"Bearer {KEY}"})
    ran = subprocess.run(
        [BUILT / "ghz", *words, "--data", texts, "--metadata", key, "--format", "json", demo_server.target],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["statusCodeDistribution"] == {"OK": 40}
