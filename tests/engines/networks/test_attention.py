"""Attention of blocks, by the way that a processor is good at."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from featsvc.engines.networks import attention
from featsvc.engines.networks.attention import attended


@pytest.mark.parametrize("able", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_bfloat16_is_that_of_float32(
    able: bool, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "multiplies_bfloat16", lambda: able)
    queries, keys, values = torch.randn(3, 2, 4, 70, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.full((70, 70), float("-inf")).triu_(1) if masked else None
    wanted = F.scaled_dot_product_attention(queries, keys, values, mask)
    halves = (None if each is None else each.bfloat16() for each in (queries, keys, values, mask))
    answer = attended(*halves)
    assert answer.dtype is torch.bfloat16
    torch.testing.assert_close(answer.float(), wanted, atol=0.05, rtol=0.05)


def test_a_processor_without_bfloat16_is_given_no_batched_products_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Twelve times as slow as in float32 there.
    monkeypatch.setattr(attention, "multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(torch, "bmm", None)
    some = torch.randn(2, 4, 70, 16, dtype=torch.bfloat16)
    assert attended(some, some, some).shape == some.shape
