"""What an actor says in which order, without Ray's runtime."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

pytest.importorskip("ray")

from featsvc.pool.cluster.actor import Whereabouts, WorkerActor
from featsvc.pool.cluster.parcels import Parcel, message_of
from featsvc.pool.contract.messages import FromWorker, Outcome, Pong, Refused
from featsvc.pool.transport.frames import LARGE_BYTES


def heard(said: Iterator[tuple[Parcel, ...]]) -> list[FromWorker]:
    """What an actor says next, in the gateway."""
    parcels = pickle.loads(pickle.dumps(next(said)))
    return [message_of(each.stream_parts, each.parts) for each in parcels]


def test_another_version_is_told_whatever_the_gateway_passes() -> None:
    (refused,) = heard(
        WorkerActor("another version", b"of which nothing can be read", "and this", None).say()
    )
    assert isinstance(refused, Refused)
    assert "a machine of the cluster has featsvc" in refused.error.message
    assert "and the gateway another version: install the same" in refused.error.message


def test_where_an_actor_is_can_be_read_of_another_version() -> None:
    older = Whereabouts.__new__(Whereabouts)
    older.__dict__.update(pid=1, node="10.0.0.1", node_id="node")
    assert pickle.loads(pickle.dumps(older)) == Whereabouts(1, "10.0.0.1", "node", has_link=False)


def test_a_large_answer_has_its_turn_beside_small_ones_that_never_end() -> None:
    actor = WorkerActor("another version", b"")  # which has no thread, and says that it is refused
    actor._post(Outcome(1, result=bytes(2 * LARGE_BYTES)), Outcome(2, result=bytes(2 * LARGE_BYTES)))
    said, firsts = actor.say(), list[type[FromWorker]]()
    for _ in range(5):
        firsts.append(type(heard(said)[0]))
        actor._post(Pong())
    assert firsts == [Refused, Outcome, Pong, Outcome, Pong]
