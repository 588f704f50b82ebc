"""Log-binned descriptors: each position with two rings around it (dino-vit-features, `_log_bin`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RINGS = 2
CELLS = 1 + 8 * RINGS


def log_binned(features: Tensor) -> Tensor:
    """17 cells for each position, h x w x D to h x w x 17D.

    Cells 0 to 8 are the 3 x 3 neighbours row by row, the centre included; 9 to 16 the eight at distance 3,
    row by row, of the 3 x 3 average, in whose mean the outside has no part. Beyond the border the nearest
    cell inside stands.
    """
    height, width, _ = features.shape
    maps = features.permute(2, 0, 1)[None]
    cells: list[Tensor] = []
    for ring in range(RINGS):
        distance = 3**ring
        averaged = F.avg_pool2d(maps, distance, stride=1, padding=distance // 2, count_include_pad=False)
        rows = _neighbours(height, distance, features.device)
        columns = _neighbours(width, distance, features.device)
        cells += [
            averaged[0][:, rows[i]][:, :, columns[j]].permute(1, 2, 0)
            for i in range(3)
            for j in range(3)
            if ring == 0 or (i, j) != (1, 1)
        ]
    return torch.cat(cells, dim=-1)


def _neighbours(length: int, distance: int, device: torch.device) -> Tensor:
    """Indices before, at and after each position of an axis, clamped to it, 3 x length."""
    offsets = torch.tensor([-distance, 0, distance], device=device)
    return (torch.arange(length, device=device) + offsets[:, None]).clamp(0, length - 1)
