"""The dense features of CLIP written down a second time, with nothing but matrix products."""

from __future__ import annotations

import itertools

import numpy as np
import open_clip
import torch
import torch.nn.functional as F

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


class Plain:
    """The image network of an open_clip ViT with patches of 16 pixels, in float64."""

    def __init__(self, network: open_clip.CLIP, heads: int = 12) -> None:
        self.state = {name: value.double() for name, value in network.visual.state_dict().items()}
        self.layers = len(network.visual.transformer.resblocks)
        self.heads = heads

    def features(self, image: np.ndarray, recipe: str = "maskclip") -> np.ndarray:
        """Dense features h x w x D of a picture H x W x 3, which is padded with zeros."""
        return self.of_normalised(normalised(image), recipe)

    def of_normalised(self, pixels: np.ndarray, recipe: str) -> np.ndarray:
        """The same of pixels as the network sees them."""
        x, size = self.before_last(pixels)
        return self.answer(self.last(x, self.last_name, recipe, size)[1:], size)

    def proxied(self, pixels: np.ndarray, alike: np.ndarray, patch: int, beta: float = 1.2) -> np.ndarray:
        """ProxyCLIP by features h x w x C of another network with patches of so many pixels, h x w x D."""
        x, size = self.before_last(pixels)
        own = self.values(x, self.last_name)[1:].reshape(*size, -1)
        cells = list(itertools.product(range(alike.shape[0]), range(alike.shape[1])))
        there = torch.stack([at(own, *((each + 0.5) * patch / 16 - 0.5 for each in cell)) for cell in cells])
        vectors = torch.from_numpy(alike).double().reshape(len(cells), -1)
        cosines = torch.stack([F.cosine_similarity(each[None], vectors, dim=-1) for each in vectors])
        weights = torch.zeros_like(cosines)
        for i, row in enumerate((cosines - beta * cosines.mean()) * 3.0):
            kept = row >= 0
            if kept.any():
                weights[i, kept] = row[kept].exp() / row[kept].exp().sum()
            else:
                weights[i, i] = 1.0
        heads = [weights @ each for each in there.chunk(self.heads, dim=-1)]
        carried = self.linear(torch.cat(heads, dim=-1), f"{self.last_name}.attn.out_proj")
        return self.answer(carried, alike.shape[:2])

    @property
    def last_name(self) -> str:
        """Of the last block."""
        return f"transformer.resblocks.{self.layers - 1}"

    def answer(self, x: torch.Tensor, size: tuple[int, ...]) -> np.ndarray:
        """What the last block gives in the space of the texts, h x w x D."""
        projected: np.ndarray = (self.norm(x, "ln_post") @ self.state["proj"]).reshape(*size, -1).numpy()
        return projected

    def before_last(self, pixels: np.ndarray) -> tuple[torch.Tensor, tuple[int, int]]:
        """Tokens before the last block, the class token first, and the size of the grid."""
        height, width = pixels.shape[0] // 16, pixels.shape[1] // 16
        patches = (
            pixels.reshape(height, 16, width, 16, 3).transpose(0, 2, 4, 1, 3).reshape(height * width, -1)
        )
        tokens = torch.from_numpy(patches) @ self.state["conv1.weight"].flatten(1).T
        x = torch.cat([self.state["class_embedding"][None], tokens]) + self.positions(height, width)
        x = self.norm(x, "ln_pre")
        for index in range(self.layers - 1):
            block = f"transformer.resblocks.{index}"
            x = x + self.attention(x, block, lambda q, k: (scores(q, k)).softmax(-1))
            x = x + self.mlp(x, block)
        return x, (height, width)

    def last(self, x: torch.Tensor, block: str, recipe: str, size: tuple[int, int]) -> torch.Tensor:
        """The last block."""
        if recipe == "maskclip":
            return self.attention(x, block, lambda q, k: torch.eye(len(q), dtype=q.dtype))
        if recipe == "sclip":
            x = x + self.attention(x, block, lambda q, k: scores(q, q).softmax(-1) + scores(k, k).softmax(-1))
            return x + self.mlp(x, block)
        if recipe == "clearclip":
            return self.attention(x, block, lambda q, k: scores(q, q).softmax(-1))
        assert recipe == "naclip"
        near = torch.zeros(len(x), len(x), dtype=x.dtype)
        cells = list(itertools.product(range(size[0]), range(size[1])))
        for i, (row, column) in enumerate(cells):
            for j, (other_row, other_column) in enumerate(cells):
                distance = (row - other_row) ** 2 + (column - other_column) ** 2
                near[1 + i, 1 + j] = np.exp(-distance / (2 * 5.0**2))
        return self.attention(x, block, lambda q, k: (scores(k, k) + near).softmax(-1))

    def attention(self, x: torch.Tensor, block: str, weights: object) -> torch.Tensor:
        """Attention of a block with weights made of queries and keys of a head."""
        qkv = self.projections(x, block)
        parts = zip(*(part.chunk(self.heads, -1) for part in qkv.chunk(3, dim=-1)), strict=True)
        carried = torch.cat([weights(q, k) @ v for q, k, v in parts], dim=-1)
        return self.linear(carried, f"{block}.attn.out_proj")

    def projections(self, x: torch.Tensor, block: str) -> torch.Tensor:
        """Queries, keys and values of a block, side by side."""
        qkv = self.norm(x, f"{block}.ln_1") @ self.state[f"{block}.attn.in_proj_weight"].T
        return qkv + self.state[f"{block}.attn.in_proj_bias"]

    def values(self, x: torch.Tensor, block: str) -> torch.Tensor:
        """The values alone."""
        return self.projections(x, block).chunk(3, dim=-1)[2]

    def mlp(self, x: torch.Tensor, block: str) -> torch.Tensor:
        """The MLP of a block, with QuickGELU."""
        hidden = self.linear(self.norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        return self.linear(hidden * torch.sigmoid(1.702 * hidden), f"{block}.mlp.c_proj")

    def positions(self, height: int, width: int) -> torch.Tensor:
        """Of the class token and the grid."""
        positions = self.state["positional_embedding"]
        side = int((len(positions) - 1) ** 0.5)
        if (height, width) == (side, side):
            return positions
        grid = positions[1:].T.reshape(1, -1, side, side)
        factor = ((height + 0.1) / side, (width + 0.1) / side)
        grid = F.interpolate(grid, scale_factor=factor, mode="bicubic", align_corners=False)
        return torch.cat([positions[:1], grid[0].flatten(1).T])

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """Layer norm."""
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
        scaled = (x - mean) / (variance + 1e-5).sqrt()
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """A linear layer."""
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]


def scores(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Scaled products."""
    return queries @ keys.T / queries.shape[-1] ** 0.5


def at(maps: torch.Tensor, row: float, column: float) -> torch.Tensor:
    """Maps h x w x D between the centres of four cells, linearly; beyond the outermost as these."""
    row, column = (
        min(max(each, 0.0), size - 1.0) for each, size in zip((row, column), maps.shape, strict=False)
    )
    top, left = int(row), int(column)
    bottom, right = min(top + 1, maps.shape[0] - 1), min(left + 1, maps.shape[1] - 1)
    above = maps[top, left] * (left + 1 - column) + maps[top, right] * (column - left)
    below = maps[bottom, left] * (left + 1 - column) + maps[bottom, right] * (column - left)
    return above * (top + 1 - row) + below * (row - top)


def normalised(image: np.ndarray, patch: int = 16) -> np.ndarray:
    """A picture as CLIP sees it, with zeros up to a multiple of a patch."""
    pixels = (image / 255.0 - np.array(OPENAI_MEAN)) / np.array(OPENAI_STD)
    return filled(pixels, patch)


def filled(pixels: np.ndarray, patch: int) -> np.ndarray:
    """Pixels H x W x 3 with zeros at the right and bottom, up to multiples of a patch."""
    return np.pad(pixels, ((0, -pixels.shape[0] % patch), (0, -pixels.shape[1] % patch), (0, 0)))
