"""A server that others can reach."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from tests.servers import FREE_PORTS, FREE_REST_PORTS, ROOT, running

OPEN = ("--profile=demo", "--devices=cpu", "--host=0.0.0.0", "--preload=")


def test_a_key_of_ones_own_is_accepted_over_rest_and_the_documented_one_is_not(tmp_path: Path) -> None:
    with running(tmp_path / "log", "up", *OPEN, key="of-my-own") as server:
        for key, status in (("of-my-own", 200), ("smfeats", 401)):
            reply = httpx.post(
                f"{server.url('clip')}/encode_text",
                json={"text": "a red circle"},
                headers={"Authorization": f"Bearer {key}"},
                timeout=60,
            )
            assert reply.status_code == status


def test_it_does_not_start_with_the_documented_key_also_where_it_was_chosen() -> None:
    words = (sys.executable, "-m", "featsvc", "up", *FREE_PORTS, *FREE_REST_PORTS, *OPEN, "--api-key=smfeats")
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "the API key is the documented one, smfeats: set one of your own" in ended.stderr
