"""Attention on a GPU is one fused call, with nothing that forbids its fastest kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from featsvc.settings.kinds import Precision
from featsvc.v1 import schema as S
from tests.engines.pretended.cases import CASES, asked
from tests.engines.pretended.conftest import Workers

Masks = list[Tensor | None]
SCORES = torch.ops.aten._softmax.default
"""What attention that is not fused would take."""


@pytest.fixture
def masks(workers: Workers, precision: Precision, monkeypatch: pytest.MonkeyPatch) -> Masks:
    """What is added to the scores in each attention."""
    workers(precision)  # first passes of its models are not what is asked about
    fused, given = F.scaled_dot_product_attention, Masks()

    def attention(queries: Tensor, keys: Tensor, values: Tensor, attn_mask: Any = None, **others: Any) -> Any:
        assert queries.dtype is keys.dtype is values.dtype
        given.append(attn_mask)
        return fused(queries, keys, values, attn_mask, **others)

    monkeypatch.setattr(F, "scaled_dot_product_attention", attention)
    return given


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["clip grid", "clip picture", "dino grid", "sam2 click", "sam2 masks"])
def test_of_pictures_it_is_unmasked(workers: Workers, masks: Masks, name: str, precision: Precision) -> None:
    worker = workers(precision)
    worker.answers(CASES[name])
    assert masks
    assert all(each is None for each in masks)
    assert not worker.cuda.operators[SCORES]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_of_sam2s_encoder_too(workers: Workers, masks: Masks, precision: Precision) -> None:
    worker = workers(precision)
    worker.answers(asked(S.EmbedImageParams(), digest=""))
    assert masks
    assert all(each is None for each in masks)
    assert not worker.cuda.operators[SCORES]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_of_texts_its_mask_has_rows_that_a_kernel_takes(
    workers: Workers, masks: Masks, precision: Precision
) -> None:
    worker = workers(precision)
    worker.answers(asked(S.EncodeTextParams(), texts=S.Texts(text=(f"nobody asked {precision} this",))))
    assert masks
    for each in masks:
        assert each is not None
        assert each.shape[-1] % 8 == 0
    assert not worker.cuda.operators[SCORES]
