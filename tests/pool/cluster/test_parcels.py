"""Messages as Ray carries them, without Ray."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from featsvc.pool.cluster.parcels import Parcel, StoredPictures, message_of
from featsvc.pool.contract.messages import BatchItem, Outcome, Ping, RunBatch
from featsvc.pool.transport.frames import LARGE_BYTES, packed

PICTURE = bytes(range(256)) * (LARGE_BYTES // 128)


class Store:
    """What was put into the object store; references are numbers."""

    def __init__(self) -> None:
        self.arrays: list[Any] = []

    def put(self, array: Any) -> int:
        """Its reference."""
        self.arrays.append(array)
        return len(self.arrays) - 1

    def resolved(self, parcel: Parcel) -> list[Any]:
        """The parts as an actor gets them."""
        return [self.arrays[part] if isinstance(part, int) else part for part in parcel.parts]


def test_a_small_message_is_one_piece() -> None:
    parcel = Parcel.of(packed(Ping()), Store().put)
    assert [type(part) for part in parcel.parts] == [bytes]
    assert message_of(parcel.stream_parts, parcel.parts) == Ping()


def test_an_array_lies_beside_the_stream_and_is_read_in_place() -> None:
    array = np.arange(LARGE_BYTES, dtype=np.float32).reshape(64, -1)
    parcel = pickle.loads(pickle.dumps(Parcel.of(packed(Outcome(1, result=array)))))
    assert len(parcel.parts[0]) < 1024, "nothing large in the stream"
    kept = np.array(parcel.parts[1])
    kept.flags.writeable = False  # as Ray gives it
    found = message_of(parcel.stream_parts, (parcel.parts[0], kept)).result
    np.testing.assert_array_equal(found, array)
    assert np.shares_memory(found, kept)
    assert not found.flags.writeable


def test_a_picture_is_put_into_the_store_once_for_all_messages() -> None:
    store = Store()
    pictures = StoredPictures(store.put)
    for number in range(3):
        batch = RunBatch(number, "rpc", "m", None, (BatchItem(number, "", PICTURE, None),))
        parcel = Parcel.of(packed(batch), pictures.stored)
        assert sum(len(part) for part in parcel.parts if isinstance(part, bytes)) < 1024
        assert message_of(parcel.stream_parts, store.resolved(parcel)) == batch
    assert len(store.arrays) == 1


def test_the_pictures_longest_unused_go_first_and_the_bytes_stay_within_their_limit() -> None:
    store = Store()
    pictures = StoredPictures(store.put, max_bytes=2 * LARGE_BYTES)
    one, two, three = (bytes([number]) * LARGE_BYTES for number in range(3))
    for picture in (one, two, one, three, one):
        pictures.stored(picture)
    assert len(store.arrays) == 3, "the first was used again, and so was kept"
    pictures.stored(two)
    assert len(store.arrays) == 4
    assert pictures.nbytes == 2 * LARGE_BYTES
