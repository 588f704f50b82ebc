"""Which messages are expected to be large, and for how long they count against the room of their caller."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import pytest

from featsvc.server.calls.call import Call
from featsvc.server.calls.message_sizes import EXPECTED_S, LARGE, MessageSizes
from featsvc.work.caller import Caller

EXTRACT = "/featsvc.v1.ClipService/ExtractFeatures"
ALICE = Caller("alice")


@dataclass(eq=False)
class FakeCall:
    """What message sizes see of a call."""

    method: str = EXTRACT
    caller: Caller = ALICE


def call_of(method: str = EXTRACT) -> Call:
    """A call with a key."""
    return cast(Call, FakeCall(method))  # a real one needs a connection


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (EXTRACT, LARGE + 1),
        ("/featsvc.v1.EstimateService/Estimate", 0),
        ("/featsvc.v1.ImageService/GetImage", 0),
        ("/featsvc.v1.ModelService/GetStatus", 0),
    ],
)
def test_what_queues_nothing_needs_no_room(method: str, expected: int) -> None:
    sizes = MessageSizes(None)
    sizes.note(call_of(method), LARGE + 1)
    assert sizes.expected(call_of(method)) == expected


def test_calls_that_stay_silent_use_up_no_room_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("featsvc.server.calls.message_sizes.time.monotonic", lambda: now)
    asked: list[int] = []
    sizes = MessageSizes(lambda _, nbytes: asked.append(nbytes))
    with ExitStack() as silent:
        for _ in range(3):
            silent.enter_context(sizes.receiving(call_of(), LARGE))
        now += EXPECTED_S
        for _ in range(2):
            silent.enter_context(sizes.receiving(call_of(), LARGE))
    with sizes.receiving(call_of(), LARGE):
        pass
    assert asked == [LARGE, 2 * LARGE, 3 * LARGE, LARGE, 2 * LARGE, LARGE]
