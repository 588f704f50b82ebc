"""Which messages are expected to be large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from featsvc.server.calls.call import Call
from featsvc.server.calls.message_sizes import LARGE, MessageSizes
from featsvc.work.caller import Caller

EXTRACT = "/featsvc.v1.ClipService/ExtractFeatures"


@dataclass(eq=False)
class FakeCall:
    """What message sizes see of a call."""

    method: str
    caller: Caller


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
    assert sizes.expected(call) == expected
