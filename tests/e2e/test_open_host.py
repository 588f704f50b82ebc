"""A server that others can reach."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.servers import running


def test_a_key_given_on_purpose_is_accepted_over_rest_also_where_it_is_the_documented_one(
    tmp_path: Path,
) -> None:
    flags = ("--profile=demo", "--devices=cpu", "--host=0.0.0.0", "--preload=")
    with running(tmp_path / "log", "up", *flags, key="smfeats") as server:
        for key, status in (("smfeats", 200), ("other", 401)):
            reply = httpx.post(
                f"{server.url('clip')}/encode_text",
                json={"text": "a red circle"},
                headers={"Authorization": f"Bearer {key}"},
                timeout=60,
            )
            assert reply.status_code == status
