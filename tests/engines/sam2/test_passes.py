"""Prompts go through the mask decoder a few at a time, with the bits of the whole batch that was asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featsvc.engines.registry import Engines
from featsvc.engines.sam2 import passes as sam2_passes
from featsvc.engines.sam2.embedding import encoded, encoder_input
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.passes import MOST, Passes
from featsvc.engines.sam2.points import PointDecoder
from featsvc.engines.sam2.prompts import Prompts
from tests.engines import models

LARGE = (320, 250)


@pytest.fixture(autouse=True)
def threads(engines: Engines) -> None:
    """As many threads as engines are tested with: more make other bits."""
    torch.set_num_threads(engines.options.threads)


def decoder_of(model: Sam2Model) -> PointDecoder:
    with torch.inference_mode():
        shown = encoder_input(models.picture(*LARGE), model.image_size)
        return PointDecoder(model.network, encoded(model.network, shown, LARGE[::-1]))


def prompts_about(model: Sam2Model, count: int, with_masks: bool) -> Prompts:
    generator = torch.Generator().manual_seed(count)
    coords = torch.rand(count, 1, 2, generator=generator) * model.image_size
    masks = 10 * torch.randn(count, 1, model.mask_size, model.mask_size, generator=generator)
    return Prompts(coords, torch.ones(count, 1, dtype=torch.int32), masks if with_masks else None)


@pytest.mark.parametrize("with_masks", [False, True])
@pytest.mark.parametrize("count", [1, 7, 25, 64])
@torch.inference_mode()
def test_a_pass_of_a_few_prompts_has_the_bits_of_their_whole_batch(
    small_sam2: Sam2Model, count: int, with_masks: bool
) -> None:
    decoder = decoder_of(small_sam2)
    every = prompts_about(small_sam2, count, with_masks)
    whole = decoder.answers(every, multimask=not with_masks).masks
    parts = []
    for own, batch in small_sam2.passes.of(count, count, with_masks):
        masks = every.masks[own] if with_masks else None
        some = Prompts(every.coords[own], every.labels[own], masks)
        parts.append(decoder.answers(some, not with_masks, batch=batch).masks)
    logits, ious = (torch.cat([getattr(part, name) for part in parts]) for name in ("logits", "ious"))
    bound = 0.0 if small_sam2.passes.exact else 1e-5
    torch.testing.assert_close(logits, whole.logits, atol=bound, rtol=bound)
    torch.testing.assert_close(ious, whole.ious, atol=bound, rtol=bound)


@torch.inference_mode()
def test_what_few_points_lack_of_a_good_mask_changes_nothing_for_the_others(small_sam2: Sam2Model) -> None:
    decoder = decoder_of(small_sam2)
    every = prompts_about(small_sam2, 25, with_masks=False)
    whole = decoder.answers(every, multimask=True).masks
    least = float(whole.ious.amax(dim=1).median())
    some = decoder.answers(every, True, least)
    assert 0 < len(some.indices) < 25
    torch.testing.assert_close(some.masks.logits, whole.logits[some.indices], atol=0, rtol=0)
    torch.testing.assert_close(some.masks.ious, whole.ious[some.indices], atol=0, rtol=0)


@pytest.mark.parametrize(
    ("passes", "count", "per_batch", "sizes"),
    [
        (Passes(8), 36, 7, [7, 7, 7, 7, 7, 1]),
        (Passes(8), 36, 1000, [8, 8, 8, 12]),
        (Passes(8), 20, 8, [8, 8, 4]),
        (Passes(16), 40, 64, [16, 24]),
        (Passes(), 40, 36, [36, 4]),
    ],
)
def test_few_prompts_share_a_pass_but_not_too_few(
    passes: Passes, count: int, per_batch: int, sizes: list[int]
) -> None:
    cut = passes.of(count, per_batch)
    assert [own.stop - own.start for own, _ in cut] == sizes
    assert [batch.start for _, batch in cut] == [own.start % per_batch for own, _ in cut]
    assert [own for own, _ in cut] == [
        own for own, _ in passes.of(count, per_batch, with_masks=passes.together != 8)
    ]


class Fickle(nn.Linear):
    """A layer whose products have other bits below so many rows, as those of some processors."""

    def __init__(self, layer: nn.Linear, rows: int) -> None:
        super().__init__(layer.in_features, layer.out_features)
        self.rows = rows

    def forward(self, some: torch.Tensor) -> torch.Tensor:
        """Another last bit for few rows."""
        product = super().forward(some)
        return product if len(some) >= self.rows else torch.nextafter(product, torch.tensor(torch.inf))


@pytest.mark.parametrize(
    ("layers", "attention", "passes"),
    [
        ({1, 8, 16, 32}, {8, 16, 32}, Passes(8, True)),
        ({1, 16}, {8, 16, 32}, Passes(16, True)),
        ({1, 32}, {8, 16, 32}, Passes(32, True)),
        ({1}, {8, 16, 32}, Passes(MOST, True)),
        ({8, 16, 32}, {8, 16, 32}, Passes(8)),
        ({1, 8, 16, 32}, {32}, Passes(32, True)),
        ({1, 8, 16, 32}, set(), Passes(MOST, True)),
    ],
)
def test_so_few_prompts_share_a_pass_as_have_the_bits_of_many(
    small_sam2: Sam2Model,
    monkeypatch: pytest.MonkeyPatch,
    layers: set[int],
    attention: set[int],
    passes: Passes,
) -> None:
    monkeypatch.setattr(sam2_passes, "_same", lambda layer, size, rows, few, generator: few in layers)
    monkeypatch.setattr(sam2_passes, "_same_attention", lambda *args: args[3] in attention)
    assert sam2_passes.probed(small_sam2.network) == passes


def test_products_with_other_bits_are_noticed() -> None:
    generator = torch.Generator().manual_seed(0)
    fickle = Fickle(nn.Linear(32, 16), rows=100)
    assert not sam2_passes._same(fickle, 63, 8, 8, generator)
    assert not sam2_passes._same(fickle, 2, 64, 1, generator)
