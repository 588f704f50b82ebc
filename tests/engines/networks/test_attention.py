"""Attention of blocks, by the way that a processor is good at."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from featsvc.engines.networks import attention
from featsvc.engines.networks.attention import attended


@pytest.mark.parametrize("masked", [False, True])
def test_a_processor_without_bfloat16_is_given_no_batched_products_of_it(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Twelve times as slow as in float32 there.
    monkeypatch.setattr(attention, "multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(torch, "bmm", None)
    queries, keys, values = torch.randn(3, 2, 4, 70, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.full((70, 70), -torch.inf).triu_(1) if masked else None
    wanted = F.scaled_dot_product_attention(queries, keys, values, mask)
    answer = attended(*(None if each is None else each.bfloat16() for each in (queries, keys, values, mask)))
    assert answer.dtype is torch.bfloat16
    torch.testing.assert_close(answer.float(), wanted, rtol=0.05, atol=0.05)
