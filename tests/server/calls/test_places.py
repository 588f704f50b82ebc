"""Places stay with the calls that have them, whatever their keys are called meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from featsvc.errors import FeatsvcError
from featsvc.server.calls.call import Call
from featsvc.server.calls.places import Places
from featsvc.settings.access import KeyLimits
from featsvc.work.caller import Caller

ALICE, BOB, CAROL = Caller("alice"), Caller("bob"), Caller("carol")


@dataclass(eq=False)
class FakeCall:
    """What places see of a call."""

    caller: Caller
    peer: str = ""
    began: float = 0.0


def call_of(caller: Caller) -> Call:
    """A call with a key."""
    return cast(Call, FakeCall(caller))  # a real one needs a connection


def places_of(most: int, *callers: Caller) -> tuple[Places, list[Call], list[Call]]:
    """The places, a call for each of these callers that waits for it, and those that are ended."""
    ended = list[Call]()

    def end(call: Call, refusal: FeatsvcError) -> None:
        ended.append(call)

    places = Places(most, end, lambda call: True)
    calls = [call_of(caller) for caller in callers]
    for call in calls:
        places.enter(call)
    return places, calls, ended


def test_the_calls_of_a_key_with_a_new_name_give_way_and_give_their_places_back() -> None:
    places, calls, ended = places_of(4, *[ALICE] * 4)
    for call in calls:
        call.caller = replace(ALICE, name="alice2")
    other = call_of(BOB)
    places.enter(other)
    assert ended == calls[:1]
    for call in (*calls, other):
        places.leave(call)
    assert not len(places)


def test_the_calls_of_two_keys_that_have_exchanged_names_give_way_and_give_their_places_back() -> None:
    places, calls, ended = places_of(4, ALICE, ALICE, BOB, BOB)
    for call in calls:
        call.caller = BOB if call.caller is ALICE else ALICE
    places.enter(call_of(CAROL))
    assert len(ended) == 1
    for call in calls:
        places.leave(call)
    assert [call.caller for call in places] == [CAROL]


def test_a_key_whose_calls_ended_under_another_name_has_all_of_its_places_again() -> None:
    few = replace(ALICE, limits=KeyLimits(max_calls_per_key=1))
    places, (call,), _ = places_of(4, few)
    call.caller = replace(few, name="alice2")
    places.leave(call)
    again = call_of(few)
    places.enter(again)
    assert list(places) == [again]
