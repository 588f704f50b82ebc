"""What a worker may know already of what is asked about, and the question for one that does."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from featsvc.fields.base import Parameters
from featsvc.pool.contract.job import Brief
from featsvc.pool.transport.frames import LARGE_BYTES
from featsvc.work.item import FeaturesItem, Item, PictureItem, pictures_of
from featsvc.work.operations import AnyOperation


def affinity(operation: AnyOperation, item: Item, params: Parameters, keeps_bases: bool) -> str:
    """What a worker may know of an item: its picture, or the basis of several together; empty where nothing."""
    if operation.keeps_pictures and isinstance(item, PictureItem):
        return item.digest
    if keeps_bases and operation.together is not None and isinstance(item, FeaturesItem) and item.together:
        # With the same pictures and other options a worker has to make another basis.
        made_of = [item.orientation.name, operation.together(params).of_basis.model_dump_json()]
        made_of += sorted(each.digest for each in pictures_of(item))
        return sha256(" ".join(made_of).encode()).hexdigest()
    return ""


def brief(operation: AnyOperation, item: Item) -> Brief | None:
    """The item by the names of pictures that a worker may know already, where sending them takes long."""
    named: Item
    if isinstance(item, FeaturesItem) and item.together:
        named = replace(item, together=tuple(each.without_image() for each in item.together))
    elif (
        operation.keeps_pictures
        and not operation.looks_again
        and isinstance(item, PictureItem)
        and item.digest
    ):
        named = item.without_image()
    else:
        return None
    return Brief(named, named.nbytes) if item.nbytes - named.nbytes >= LARGE_BYTES else None
