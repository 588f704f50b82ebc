"""Position embeddings for other grids than the trained one."""

from __future__ import annotations

import torch
from torch.nn import functional as F

_LONGEST_PERIOD = 30.0


def sine_cosine(side: int, width: int) -> torch.Tensor:
    """Sines and cosines of row and column (Vaswani et al. 2017, in two dimensions), side * side x width."""
    rates = _LONGEST_PERIOD ** -torch.linspace(0, 1, width // 4)
    angles = torch.arange(side)[:, None] * rates
    along = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = along[:, None].expand(-1, side, -1), along[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, width)


def resampled(embedding: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """DINO's interpolation, as the engines have it: 1 + side * side x D becomes 1 + height * width x D."""
    side = int((embedding.shape[0] - 1) ** 0.5)
    if (height, width) == (side, side):
        return embedding
    grid = embedding[1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = ((height + 0.1) / side, (width + 0.1) / side)
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([embedding[:1], grid.permute(0, 2, 3, 1).reshape(height * width, -1)])
