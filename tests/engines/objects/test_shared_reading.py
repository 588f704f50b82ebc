"""What DINO reads of a picture for several descriptors of one request: read once, and counted once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from featsvc.engines.registry import Engines
from featsvc.v1 import schema as S
from featsvc.work.item import ObjectItem
from featsvc.work.operations import DESCRIBE_OBJECTS
from tests.engines.objects.test_describe import BOXES, CONTENT, LOADED, described, loaded, together


@pytest.fixture
def passes(engines: Engines) -> Iterator[list[torch.Size]]:
    """What has gone through DINO's last block."""
    together(engines, ["dino"])
    model: Any = LOADED["dino"]
    seen = list[torch.Size]()
    hook = model.network.blocks[-1].register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    yield seen
    hook.remove()


def by_dino_too(**view: Any) -> list[Any]:
    """Ways by ProxyCLIP and by DINO, of the same picture at one size but for what is given."""
    proxied = {"dense_recipe": "proxyclip", "proxy_model": "demo-dino", "load_size": 84}
    return [
        {"clip": {"params": proxied}, "pooled": {}},
        {"dino": {"params": {"load_size": 84, **view}}, "pooled": {}},
        {"clip": {"params": {**proxied, "window_size": 84}}, "pooled": {}},
    ]


@pytest.mark.parametrize(
    ("view", "fewest"),
    [({}, 1), ({"bin": True}, 1), ({"stride": 7}, 2), ({"load_size": 98}, 2), ({"facet": "key"}, 1)],
    ids=str,
)
def test_a_proxy_that_describes_too_reads_the_same_picture_once(
    engines: Engines, passes: list[torch.Size], view: dict[str, Any], fewest: int
) -> None:
    source, ways = {"boxes": BOXES}, by_dino_too(**view)
    found = described(engines, source, describe=ways)
    windows = 2
    assert len(passes) == fewest + windows
    assert len({size[1:] for size in passes[:fewest]}) == fewest
    for way, each in zip(ways, found.descriptors, strict=True):
        (alone,) = described(engines, source, describe=[way]).descriptors
        np.testing.assert_array_equal(each.vectors, alone.vectors)


@pytest.mark.parametrize(
    ("view", "is_shared"),
    [({}, True), ({"bin": True}, True), ({"stride": 7}, False), ({"facet": "key"}, False)],
    ids=str,
)
def test_a_reading_that_several_have_in_common_is_counted_once(
    engines: Engines, view: dict[str, Any], is_shared: bool
) -> None:
    ways = by_dino_too(**view)
    together(engines, ["dino"])
    model: Any = LOADED["dino"]
    reading = model.transformer.flop(6 * 8)
    for both in (ways, ways[::-1]):
        alone = sum(flop(engines, way) for way in both)
        assert alone - flop(engines, *both) == pytest.approx(reading * is_shared, abs=reading / 1000)
    assert flop(engines, ways[0], ways[0]) == pytest.approx(2 * flop(engines, ways[0]) - reading)


def flop(engines: Engines, *ways: Any) -> float:
    """What the worker takes a request with these descriptors to cost."""
    own = DESCRIBE_OBJECTS.settled
    assert own is not None
    params = own(S.DescribeObjectsParams.model_validate({"describe": ways}))
    item = ObjectItem(CONTENT, source=S.ObjectSource.model_validate({"boxes": BOXES}))
    return engines.flop(engines.prepare(DESCRIBE_OBJECTS.rpc, item, params, loaded(engines, item, params)))
