"""Which messages are expected to be large, and when the memory of such goes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from featsvc.server.calls.call import Call
from featsvc.server.calls.memory import Memory
from featsvc.server.calls.message_sizes import JUST_NOW_S, LARGE, Expected, MessageSizes
from featsvc.work.caller import Caller

MIB = 1024**2
EXTRACT = "/featsvc.v1.ClipService/ExtractFeatures"


@dataclass(eq=False)
class FakeCall:
    """What message sizes see of a call."""

    method: str
    caller: Caller
    is_relayed: bool = False
    told_bytes: str = ""

    def metadata(self, wanted: str) -> str:
        return self.told_bytes


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
    sizes = MessageSizes()
    call = cast(Call, FakeCall(method, Caller("alice")))  # a real one needs a connection
    assert sizes.note(call, LARGE + 1) == (expected > 0)
    assert sizes.expected(call) == (Expected(expected) if expected else None)


def test_each_small_message_halves_what_is_expected_and_the_next_large_one_may_be_small_too() -> None:
    sizes, call = MessageSizes(), cast(Call, FakeCall(EXTRACT, Caller("alice")))  # as above
    sizes.note(call, 6 * LARGE)
    sizes.note(call, 100)
    assert sizes.expected(call) == Expected(3 * LARGE, may_be_small=True)
    sizes.note(call, 100)
    sizes.note(call, 100)
    assert sizes.expected(call) is None
    sizes.note(call, 6 * LARGE)
    assert sizes.expected(call) == Expected(6 * LARGE, may_be_small=True)


@pytest.mark.parametrize(("told", "expected"), [("100", None), (f"{9 * LARGE}", Expected(9 * LARGE))])
def test_what_the_shim_says_of_a_message_counts(told: str, expected: Expected | None) -> None:
    sizes, call = MessageSizes(), FakeCall(EXTRACT, Caller("alice"))
    sizes.note(cast(Call, call), 6 * LARGE)  # as above
    call.told_bytes = told
    assert sizes.expected(cast(Call, call)) == Expected(6 * LARGE), "it came over no socket of the shim's"
    call.is_relayed = True
    assert sizes.expected(cast(Call, call)) == expected


def test_memory_of_large_messages_is_kept_while_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("featsvc.server.calls.message_sizes.time.monotonic", lambda: now)
    sizes, call = MessageSizes(), cast(Call, FakeCall(EXTRACT, Caller("alice")))  # as above
    assert sizes.are_small
    sizes.note(call, LARGE + 1)
    assert not sizes.are_small
    now += JUST_NOW_S + 0.1
    assert sizes.are_small


@pytest.mark.parametrize(("in_use", "goes_back"), [(90 * MIB, False), (50 * MIB, True)])
async def test_what_is_not_in_use_goes_back_however_much_is(
    monkeypatch: pytest.MonkeyPatch, in_use: int, goes_back: bool
) -> None:
    resident, allocated, trims = 0, 0, list[int]()
    memory = "featsvc.server.calls.memory."
    monkeypatch.setattr(memory + "resident_bytes", lambda: resident)
    monkeypatch.setattr(memory + "allocated_bytes", lambda: allocated)
    monkeypatch.setattr(memory + "trim", lambda _: trims.append(resident))
    taken = Memory()
    resident, allocated = 100 * MIB, in_use
    await taken.give_back()
    assert trims == [resident] * goes_back


async def test_what_goes_back_by_itself_is_given_back_when_it_has_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resident, trims = [0], list[int]()
    memory = "featsvc.server.calls.memory."
    monkeypatch.setattr(memory + "resident_bytes", lambda: resident[-1])
    monkeypatch.setattr(memory + "allocated_bytes", lambda: 0)
    monkeypatch.setattr(memory + "trim", lambda _: trims.append(resident[-1]))
    taken = Memory()
    for nbytes in (300 * MIB, 100 * MIB, 250 * MIB):
        resident.append(nbytes)
        await taken.give_back()
    assert trims == [300 * MIB, 250 * MIB]
