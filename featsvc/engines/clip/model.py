"""Builds an open_clip network with its weights and its tokenizer."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from PIL.Image import Image
from torch import Tensor, nn

from featsvc.catalog import ClipEntry, find_weights
from featsvc.catalog.demo import CONFIGS
from featsvc.engines.clip.last_block import LastAttention
from featsvc.engines.clip.tokens import Tokenizer
from featsvc.engines.geometry.sizing import Fit, Grid, fit_there, geometry_of
from featsvc.engines.networks.attention import OpenClipAttention
from featsvc.engines.networks.checkpoint import file_identity, fill, read_state, without_prefix
from featsvc.engines.networks.compiled import compile_blocks
from featsvc.engines.networks.cost import Transformer
from featsvc.engines.networks.graphs import Graphed
from featsvc.engines.networks.packed import packed
from featsvc.engines.networks.precision import placed
from featsvc.engines.running.colours import Normal, Seen, coloured
from featsvc.engines.running.family import Model
from featsvc.engines.running.transfer import pinned
from featsvc.engines.running.whole import whole_picture
from featsvc.errors import InvalidArgument
from featsvc.v1.schema import PaddingMode
from featsvc.work.options import EngineOptions

CONTEXT_LENGTH = 77


@dataclass(frozen=True)
class ClipModel(Model[ClipEntry, CLIP]):
    """A CLIP network."""

    embed_pictures: Graphed | None = None
    """`image_embeddings`, with those graphs that were captured."""
    embed_texts: Graphed | None = None
    """`text_features`, likewise."""

    @cached_property
    def stops(self) -> list[ResidualAttentionBlock]:
        """The blocks."""
        return blocks(self.network)

    @cached_property
    def transformer(self) -> Transformer:
        """What a picture costs."""
        tower = self.visual.transformer
        return Transformer.of(tower.resblocks, tower.width)

    @cached_property
    def text_transformer(self) -> Transformer:
        """What a text costs."""
        tower = self.network.transformer
        return Transformer.of(tower.resblocks, tower.width)

    @property
    def visual(self) -> VisionTransformer:
        """The image network."""
        return self.network.visual

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return int(self.visual.patch_size[0])

    @property
    def channels(self) -> int:
        """Size of an embedding."""
        return int(self.visual.output_dim)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Texts to token numbers, N x context length, cut off at that length."""
        return tokenizer_of(self.entry)

    @property
    def normal(self) -> Normal:
        """Of its pictures."""
        return Normal(self.entry.mean, self.entry.std)

    def eval_input(self, picture: Image) -> Tensor:
        """What open_clip's own preprocessing for the global embedding makes of it, `coloured` for the device."""
        fitted = picture
        for each in self._eval_fit:
            fitted = each(fitted)
        return pinned(coloured(fitted, self.normal, self.device), self.device)

    def eval_seen(self, picture: Image) -> Seen:
        """The same of a whole picture, which a GPU may bring to size itself."""
        entry, (height, width) = self.entry, self.visual.image_size
        is_plain = entry.interpolation == "bicubic" and entry.resize_mode == "shortest" and height == width
        if is_plain:
            fit = Fit(height, center_crop=True, padding_mode=PaddingMode.CONSTANT)
            geometry = geometry_of(picture.size, fit, Grid.of_patches(1))
            there = fit_there(picture, fit, geometry, self.device)
            if there and (whole := whole_picture(picture, self.device)) is not None:
                return Seen(whole, fit=there)
        return Seen(self.eval_input(picture))

    @cached_property
    def _eval_fit(self) -> list[Callable[[Image], Image]]:
        """The steps of that preprocessing that make a picture of a picture."""
        entry = self.entry
        config = PreprocessCfg(
            size=self.visual.image_size,
            mean=entry.mean,
            std=entry.std,
            interpolation=entry.interpolation,
            resize_mode=entry.resize_mode,
        )
        fit: list[Callable[[Image], Image]]
        *fit, _, _ = image_transform_v2(config, is_train=False).transforms  # to a tensor, and normalised
        return fit


class QuickGELU(nn.Module):
    """open_clip's, with one temporary in place of three."""

    def forward(self, values: Tensor) -> Tensor:
        """`x * sigmoid(1.702 x)` of each value."""
        return torch.mul(values, 1.702).sigmoid_().mul_(values)


def load(entry: ClipEntry, options: EngineOptions) -> ClipModel:
    """The network of an entry with its weights, on the device."""
    path = find_weights(entry, options)
    network = built(entry)
    fill(network, without_prefix(read_state(path), "module."), path.name)
    return ready(entry, network, options, file_identity(path))


def ready(entry: ClipEntry, network: CLIP, options: EngineOptions, file: Hashable = ()) -> ClipModel:
    """The model of a network that has its weights."""
    lasts = [tower.resblocks[-1] for tower in (network.visual.transformer, network.transformer)]
    for block in blocks(network):
        block.attn = LastAttention(block.attn) if block in lasts else OpenClipAttention.of(block.attn)
        if isinstance(block.mlp.gelu, open_clip.transformer.QuickGELU):
            block.mlp.gelu = QuickGELU()
    if options.compile:
        compile_blocks(blocks(network))
    return ClipModel(entry, packed(placed(network, options), options), torch.device(options.device), file)


def blocks(network: CLIP) -> list[ResidualAttentionBlock]:
    """All blocks, of the image network and of the text network."""
    return [each for each in network.modules() if isinstance(each, ResidualAttentionBlock)]


def built(entry: ClipEntry) -> CLIP:
    """The network with random weights; refused if the dense path cannot run it."""
    config = _config(entry)
    config["quick_gelu"] = entry.quick_gelu
    network = CLIP(**config)
    _check_parts(entry, network.visual)
    return network


def _config(entry: ClipEntry) -> dict[str, Any]:
    if entry.config:
        config: dict[str, Any] = json.loads((CONFIGS / entry.config).read_text())
        return config
    return copy.deepcopy(open_clip.get_model_config(entry.model_name))


def _check_parts(entry: ClipEntry, visual: VisionTransformer) -> None:
    """The dense path needs an open_clip ViT whose patches the last projection brings into the text space."""
    standard = isinstance(visual, VisionTransformer) and visual.attn_pool is None and visual.proj is not None
    if not standard or not all(
        isinstance(each, ResidualAttentionBlock) for each in visual.transformer.resblocks
    ):
        raise InvalidArgument(
            f"{entry.key} lacks the parts of a standard open_clip ViT, so it has no dense features"
        )


def tokenizer_of(entry: ClipEntry) -> Tokenizer:
    """open_clip's own, whose merges are in that package; `open_clip.get_tokenizer` could ask the hub for others."""
    text = _config(entry)["text_cfg"]
    arguments = dict(text.get("tokenizer_kwargs", {}))
    if entry.merges:
        arguments["bpe_path"] = str(CONFIGS / entry.merges)
    return Tokenizer(text.get("context_length", CONTEXT_LENGTH), **arguments)
