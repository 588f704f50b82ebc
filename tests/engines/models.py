"""What the engine tests share: real architectures with seeded random weights, and drawn pictures."""

from __future__ import annotations

import functools
import io
import os
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from open_clip.model import CLIP
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from featsvc.catalog import catalog, resolve_clip, resolve_dino
from featsvc.catalog.entry import Sam2Entry
from featsvc.engines import registry
from featsvc.engines.clip import model as clip_model
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.dino import model as dino_model
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.registry import Engines
from featsvc.engines.sam2 import model as sam2_model
from featsvc.engines.sam2.model import Sam2Model
from featsvc.v1.schema import EncodeTextParams, PredictMasksParams, Texts
from featsvc.work.item import Item, PictureItem, PromptItem, TextItem
from featsvc.work.operations import ENCODE_TEXT, OPERATIONS, PREDICT_MASKS
from featsvc.work.options import EngineOptions
from featsvc.work.results import Bits, Features, ImageEmbedding, PromptResults, TextEmbeddings

CPU = torch.device("cpu")
THREADS = int(os.environ.get("TEST_THREADS", "1"))
"""Threads of the tests, more to stand for other machines."""
OPTIONS = EngineOptions(offline=True, max_reply_bytes=1 << 30)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with a few hard edges: gradients, a disc and a box."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [
        np.sin(x / rng.uniform(5, 30) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(5, 30)) for _ in range(3)
    ]
    pixels = 128 + 80 * np.stack(waves, axis=-1)
    pixels[(x - width / 3) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 4) ** 2] = rng.uniform(
        0, 255, 3
    )
    pixels[height // 8 : height // 3, width // 2 : -width // 8] = rng.uniform(0, 255, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def picture_item(width: int, height: int, seed: int = 0) -> PictureItem:
    """An item with such a picture."""
    return PictureItem(encoded(picture(width, height, seed)))


def item_of(image: Image.Image, **fields: Any) -> PictureItem:
    """An item with this picture."""
    return PictureItem(encoded(image), **fields)


def answer(engines: Engines, operation: str, item: Item, params: Any, loaded: Any) -> object:
    """One item's result, alone in its batch."""
    return engines.run(operation, [engines.prepare(operation, item, params, loaded)], params, loaded)[0]


def demo_key(rpc: str) -> str:
    """The demo model that answers this."""
    return next(f"demo-{each.family}" for each in OPERATIONS if each.rpc == rpc)


def prompted(
    engines: Engines, item: PromptItem, params: PredictMasksParams, loaded: Sam2Model
) -> PromptResults:
    """The answers to the prompts about one picture."""
    result = answer(engines, PREDICT_MASKS.rpc, item, params, loaded)
    assert isinstance(result, PromptResults)
    return result


def embedding(engines: Engines, loaded: ClipModel, text: str) -> np.ndarray:
    """The embedding of one text."""
    item = TextItem(Texts(text=(text,)))
    row: np.ndarray = vectors(answer(engines, ENCODE_TEXT.rpc, item, EncodeTextParams(), loaded))[0]
    return row


def vectors(result: object) -> np.ndarray:
    """The features or embeddings of a result."""
    match result:
        case Features():
            return result.features
        case TextEmbeddings():
            return result.text_embedding
        case ImageEmbedding():
            return result.image_embedding
    raise AssertionError(f"{type(result).__name__} has no vectors")


def random_clip(name: str = "ViT-B-16-quickgelu", seed: int = 0, **options: Any) -> ClipModel:
    """An open_clip network with random weights."""
    entry = resolve_clip(name)
    return clip_model.ready(entry, open_clip_network(name, seed), replace(OPTIONS, **options))


def open_clip_network(name: str = "ViT-B-16-quickgelu", seed: int = 0) -> CLIP:
    """The same as open_clip builds and runs it."""
    torch.manual_seed(seed)
    return clip_model.built(resolve_clip(name)).eval().requires_grad_(False)


@functools.cache
def plain_clip() -> CLIP:
    """One that nobody may change: building it takes longer than most tests of it."""
    return open_clip_network()


def random_dino(name: str, seed: int = 0, **options: Any) -> DinoModel:
    """A timm ViT with random weights, its positions and prefix tokens large enough to matter."""
    return dino_model.ready(resolve_dino(name), timm_network(name, seed), replace(OPTIONS, **options))


def timm_network(name: str, seed: int = 0) -> VisionTransformer:
    """The same as timm builds and runs it."""
    torch.manual_seed(seed)
    network = dino_model.built(resolve_dino(name)).eval().requires_grad_(False)
    for parameter in (network.pos_embed, network.cls_token, network.reg_token):
        if parameter is not None:
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    # Layer scale starts so small that blocks hardly change their tokens.
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            parameter.fill_(0.5)
    return network


def random_sam2(key: str, seed: int = 0) -> Sam2Model:
    """A SAM2 network with random weights."""
    torch.manual_seed(seed)
    entry = catalog()[key]
    assert isinstance(entry, Sam2Entry)
    network = sam2_model.built(entry).eval().requires_grad_(False)
    return Sam2Model(entry, network, CPU, passes=sam2_model.passes_on(CPU, network))


class Coordinates(nn.Module):
    """The last layer of a mask decoder's pixels, whose first four channels it makes 1, x, y and x² + y²."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels n x C x H x W."""
        made: torch.Tensor = self.layer(pixels)
        side = torch.linspace(0, 1, made.shape[-1])
        y, x = torch.meshgrid(side, side, indexing="ij")
        made[:, :4] = torch.stack([torch.ones_like(x), x, y, x.square() + y.square()])
        return made


class Spot(nn.Module):
    """A mask's weights of those channels: a disc at a place that depends on the prompt, over the mask's own noise."""

    def __init__(self, layers: nn.Module, size: float) -> None:
        super().__init__()
        self.layers = layers
        self.size = size

    def forward(self, token: torch.Tensor) -> torch.Tensor:
        """Weights n x C."""
        weights: torch.Tensor = self.layers(token)
        x, y, size = (0.5 + 0.5 * torch.sin(9 * token[:, part::3].sum(dim=1)) for part in range(3))
        x, y, radius = 0.3 + 0.4 * x, 0.3 + 0.4 * y, self.size * (0.06 + 0.08 * size)
        constant = radius.square() - x.square() - y.square()
        weights[:, :4] = 100 * torch.stack([constant, 2 * x, 2 * y, -torch.ones_like(x)], dim=1)
        return weights


def make_spots(decoder: Any) -> None:
    """Makes the masks of a decoder discs.

    Random weights make masks as large as the picture, which say little about boxes, crops and suppression.
    """
    decoder.output_upscaling[4] = Coordinates(decoder.output_upscaling[4])
    heads = decoder.output_hypernetworks_mlps
    for place, size in enumerate(torch.linspace(0.8, 1.4, len(heads)).tolist()):
        heads[place] = Spot(heads[place], size)


def engines(**changes: Any) -> Engines:
    """Engines on the CPU."""
    return registry.build(
        EngineOptions(**{"offline": True, "threads": THREADS, "max_reply_bytes": 1 << 30, **changes})
    )


def unpacked(pixels: object) -> np.ndarray:
    """Masks as booleans, from the bits that an engine answers with."""
    assert isinstance(pixels, Bits)
    return np.unpackbits(pixels.data, axis=-1, count=pixels.shape[-1]).view(bool).reshape(pixels.shape)
