"""Builds a ViT of timm with its weights, from Meta's published files or timm's."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import timm
import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import nn

from featsvc.catalog import DinoEntry, find_weights
from featsvc.catalog.demo import CONFIGS
from featsvc.engines.networks.attention import SelfAttention
from featsvc.engines.networks.checkpoint import State, file_identity, fill, read_state
from featsvc.engines.networks.compiled import compile_blocks
from featsvc.engines.networks.cost import Transformer
from featsvc.engines.networks.packed import packed
from featsvc.engines.networks.precision import placed
from featsvc.engines.running.colours import Normal
from featsvc.engines.running.family import Model
from featsvc.errors import InvalidArgument
from featsvc.work.options import EngineOptions

HEAD = "head."
"""Names of a classifier's tensors, which this server has no use for."""
PATCHES = "patch_embed.proj.weight"
POSITIONS = "pos_embed"


@dataclass(frozen=True)
class DinoModel(Model[DinoEntry, VisionTransformer]):
    """A ViT of timm."""

    @property
    def stops(self) -> list[nn.Module]:
        """The blocks."""
        return list(self.network.blocks)

    @property
    def normal(self) -> Normal:
        """Of its pictures."""
        return Normal(self.entry.mean, self.entry.std)

    @cached_property
    def transformer(self) -> Transformer:
        """What a picture costs."""
        return Transformer.of(self.network.blocks, self.channels)

    @property
    def channels(self) -> int:
        """Size of a token."""
        return int(self.network.embed_dim)

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return len(self.network.blocks)


def load(entry: DinoEntry, options: EngineOptions) -> DinoModel:
    """The network of an entry with its weights, on the device."""
    path = find_weights(entry, options)
    network = built(entry)
    fill(network, converted(read_state(path), network), path.name)
    return ready(entry, network, options, file_identity(path))


def ready(
    entry: DinoEntry, network: VisionTransformer, options: EngineOptions, file: Hashable = ()
) -> DinoModel:
    """The model of a network that has its weights."""
    for block in network.blocks:
        block.attn = SelfAttention.of(block.attn)
    if options.compile:
        compile_blocks(network.blocks)
    return DinoModel(entry, packed(placed(network, options), options), torch.device(options.device), file)


def built(entry: DinoEntry) -> VisionTransformer:
    """The network with random weights, without a classifier."""
    if entry.config:
        arguments = json.loads((CONFIGS / entry.config).read_text())
        name = arguments.pop("model_name")
    else:
        arguments, name = {}, entry.architecture
    network = timm.create_model(name, **{**arguments, "pretrained": False, "num_classes": 0})
    if not isinstance(network, VisionTransformer) or not all(map(_is_standard, network.blocks)):
        raise InvalidArgument(f"{entry.key} is no standard ViT")
    return network


def _is_standard(block: nn.Module) -> bool:
    """Whether its attention is the plain one, without norms, gates or a width of its own."""
    attention = block.attn
    return (
        isinstance(attention, Attention)
        and attention.gate is None
        and all(
            isinstance(each, nn.Identity) for each in (attention.q_norm, attention.k_norm, attention.norm)
        )
    )


def converted(state: State, network: VisionTransformer) -> State:
    """timm's names and layout, from those or from Meta's.

    timm's filter would also fit patches and position embeddings of other sizes. A file that needs that
    belongs to another model, so these two keep their size, for `fill` to refuse.
    """
    state = {name: value for name, value in state.items() if not name.startswith(HEAD)}
    filtered: State = dict(checkpoint_filter_fn(dict(state), network))
    if PATCHES in state:
        filtered[PATCHES] = state[PATCHES]
    if POSITIONS in state:
        # Meta's register models have the class token's position in front, which timm adds to the token.
        filtered[POSITIONS] = state[POSITIONS][:, 1:] if "register_tokens" in state else state[POSITIONS]
    return filtered
