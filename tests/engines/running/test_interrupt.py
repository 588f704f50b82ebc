"""A forward pass that nobody waits for any more stops between two modules."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from featsvc.engines.running.interrupt import interruptible
from featsvc.errors import Abandoned


class Counted(nn.Module):
    """Counts its calls."""

    calls = 0

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return value + 1


def test_a_pass_ends_at_the_first_module_after_the_caller_has_gone() -> None:
    layer = Counted()
    network = nn.Sequential(*[layer] * 10)
    with pytest.raises(Abandoned), interruptible(lambda: layer.calls < 4, [layer]):
        network(torch.zeros(1))
    assert layer.calls == 4


def test_a_pass_that_is_wanted_is_the_same_as_ever_and_leaves_no_hook() -> None:
    layer = Counted()
    network = nn.Sequential(*[layer] * 3)
    with interruptible(lambda: True, [layer]):
        assert network(torch.zeros(1)).item() == 3
    with interruptible(lambda: False, [layer]):
        pass
    assert network(torch.zeros(1)).item() == 3


def test_modules_of_other_threads_are_left_alone() -> None:
    layer = Counted()
    with interruptible(lambda: False, [layer]), ThreadPoolExecutor(1) as other:
        assert other.submit(layer, torch.zeros(1)).result().item() == 1
