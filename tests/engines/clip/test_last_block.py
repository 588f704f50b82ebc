"""The last block computed for one position only: the numbers of the whole block, in any company."""

from __future__ import annotations

import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor

from featsvc.engines.clip import dense as clip_dense
from featsvc.engines.clip.last_block import ROWS, LastAttention, at_positions
from featsvc.engines.clip.model import ClipModel

WIDTH, PLACES = 96, 9


@pytest.fixture(scope="module")
def theirs() -> ResidualAttentionBlock:
    torch.manual_seed(0)
    return ResidualAttentionBlock(WIDTH, 4).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def ours(theirs: ResidualAttentionBlock) -> ResidualAttentionBlock:
    block = ResidualAttentionBlock(WIDTH, 4).eval().requires_grad_(False)
    block.load_state_dict(theirs.state_dict())
    block.attn = LastAttention(theirs.attn)
    return block


def tokens(count: int) -> Tensor:
    return torch.randn(count, PLACES, WIDTH, generator=torch.Generator().manual_seed(count))


def causal() -> Tensor:
    return torch.full((PLACES, PLACES), float("-inf")).triu(1)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", [1, 3, 8, 11])
def test_one_position_gets_what_the_whole_block_gives_it(
    theirs: ResidualAttentionBlock, ours: ResidualAttentionBlock, count: int, masked: bool
) -> None:
    given, mask = tokens(count), causal() if masked else None
    places = torch.arange(count) * 5 % PLACES
    found = at_positions(ours, given, places, mask)
    assert len(found) % ROWS == 0
    wanted = theirs(given, attn_mask=mask)[torch.arange(count), places]
    torch.testing.assert_close(found[:count], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_all_positions_get_what_the_library_gives_them(
    theirs: ResidualAttentionBlock, ours: ResidualAttentionBlock, masked: bool
) -> None:
    given, mask = tokens(3), causal() if masked else None
    torch.testing.assert_close(
        ours(given, attn_mask=mask), theirs(given, attn_mask=mask), atol=1e-5, rtol=1e-5
    )


def test_a_network_that_pools_otherwise_answers_as_the_library_does(vit_b16: ClipModel) -> None:
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    visual = vit_b16.visual
    with torch.inference_mode():
        by_one = clip_dense.image_embeddings(visual, pixels)
        torch.testing.assert_close(
            by_one, torch.nn.functional.normalize(visual(pixels), dim=-1), atol=1e-5, rtol=0
        )
        visual.pool_type = "avg"
        try:
            of_all = clip_dense.image_embeddings(visual, pixels)
            torch.testing.assert_close(
                of_all, torch.nn.functional.normalize(visual(pixels), dim=-1), atol=0, rtol=0
            )
        finally:
            visual.pool_type = "tok"
    assert not torch.allclose(by_one, of_all, atol=1e-3)
