"""What an actor says in which order, without Ray's runtime."""

from __future__ import annotations

import pickle

import pytest

pytest.importorskip("ray")

from featsvc.pool.cluster.actor import WorkerActor
from featsvc.pool.cluster.parcels import message_of
from featsvc.pool.contract.messages import Outcome, Pong, Refused
from featsvc.pool.transport.frames import LARGE_BYTES


def test_a_large_answer_has_its_turn_beside_small_ones_that_never_end() -> None:
    actor = WorkerActor("another version", b"", None)  # which has no thread, and says that it is refused
    actor._post(Outcome(1, result=bytes(2 * LARGE_BYTES)), Outcome(2, result=bytes(2 * LARGE_BYTES)))
    said, heard = actor.say(), list[list[str]]()
    for _ in range(5):
        parcels = pickle.loads(pickle.dumps(next(said)))
        messages = [message_of(each.stream_parts, each.parts) for each in parcels]
        heard.append([type(each).__name__ for each in messages])
        actor._post(Pong())
    names = [each.__name__ for each in (Refused, Outcome, Pong, Outcome, Pong)]
    assert [each[0] for each in heard] == names
