"""Wrong keys: those of one address wait after a while, and nobody else does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from featsvc.wrong_keys import MOST_ADDRESSES, MOST_WAITING, MOST_WAITING_OF_ONE, WrongKeys, network_of
from tests.server.asking import asking, refusal
from tests.server.conftest import AUTHORISED, Running, start
from tests.server.keys.bearers import bearer

FOR_EVER_S = 3600.0


async def waiting(keys: WrongKeys, address: str, count: int) -> list[asyncio.Task[None]]:
    """Those of so many wrong keys whose answers wait."""
    tasks = [asyncio.ensure_future(keys.came(address)) for _ in range(count)]
    # Each runs to where it ends or waits.
    await asyncio.sleep(0)
    return [task for task in tasks if not task.done()]


def end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


async def test_the_answers_after_the_first_few_wait_and_those_of_other_addresses_do_not() -> None:
    keys = WrongKeys(most=3, delay_s=FOR_EVER_S)
    assert not await waiting(keys, "a", 3)
    tasks = await waiting(keys, "a", 2)
    assert len(tasks) == 2
    assert not await waiting(keys, "b", 3)
    end(tasks)


async def test_a_minute_later_the_count_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("featsvc.wrong_keys.time.monotonic", lambda: now)
    keys = WrongKeys(most=1, delay_s=FOR_EVER_S)
    assert not await waiting(keys, "a", 1)
    tasks = await waiting(keys, "a", 1)
    assert tasks
    now = 60.0
    assert not await waiting(keys, "a", 1)
    end(tasks)


async def test_few_answers_wait_at_once_and_few_addresses_are_remembered() -> None:
    keys = WrongKeys(most=1, delay_s=FOR_EVER_S)
    tasks = await waiting(keys, "a", 100)
    assert len(tasks) == MOST_WAITING_OF_ONE
    for address in range(50):
        tasks += await waiting(keys, str(address), 20)
    assert len(tasks) == MOST_WAITING
    end(tasks)
    await asyncio.wait(tasks)
    assert len(await waiting(keys, "a", 1)) == 1, "who has gone leaves its place"
    for address in range(MOST_ADDRESSES):
        await keys.came(f"other {address}")
    assert not await waiting(keys, "a", 1), "it has been forgotten"


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("unix", ""),
        ("x\n", ""),
    ],
)
def test_an_address_of_ipv6_counts_as_its_network(host: str, network: str) -> None:
    assert network_of(host) == network


async def test_a_wrong_key_waits_at_the_gateway_and_a_right_one_from_there_does_not(tmp_path: Path) -> None:
    own_address = f"unix:{tmp_path}/socket"
    async with (
        start(max_wrong_keys=1, wrong_key_delay=FOR_EVER_S, grace=0.0, own_address=own_address) as served,
        grpc.aio.insecure_channel(served.gateway.own_target) as own,
    ):
        wrong, right = bearer("wrong"), AUTHORISED
        error = await refusal(served.clip.ExtractFeatures(asking(b"say 1"), metadata=wrong))
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED
        held = asyncio.ensure_future(served.clip.ExtractFeatures(asking(b"say 1"), metadata=wrong))
        for _ in range(3):
            await served.clip.ExtractFeatures(asking(b"say 1"), metadata=right)
        # The shim's own callers wait there.
        relayed = (*wrong, ("featsvc-address", "192.0.2.7"))
        for _ in range(3):
            error = await refusal(
                Running(served.gateway, own).clip.ExtractFeatures(asking(b"say 1"), metadata=relayed)
            )
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED
        # Proxies on this machine come from loopback too, and pass on what their callers write.
        forged = asyncio.ensure_future(served.clip.ExtractFeatures(asking(b"say 1"), metadata=relayed))
        for _ in range(3):
            await served.clip.ExtractFeatures(asking(b"say 1"), metadata=right)
        for each in (held, forged):
            assert not each.done()
            each.cancel()
