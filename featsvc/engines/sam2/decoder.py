"""From an embedding and prompts to low-resolution masks, and from those to masks of the picture's size."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from featsvc.engines.sam2.embedding import Embedding
from featsvc.engines.sam2.prompts import Prompts
from featsvc.work.results import HeightWidth

MULTIMASKS = 3
"""Masks of a prompt where several are wanted."""
LOGIT_LIMIT = 32.0
"""SAM2ImagePredictor clamps the low-resolution logits that it hands out."""


@dataclass(frozen=True)
class LowRes:
    """Answers to B prompts, K masks each."""

    logits: Tensor
    """B x K x h x w."""
    ious: Tensor
    """Predicted quality, B x K."""

    def at(self, index: int) -> LowRes:
        """The answer to one of the prompts, 1 x K; the first where all share one."""
        index %= len(self.ious)
        return LowRes(self.logits[index : index + 1], self.ious[index : index + 1])

    @property
    def clamped(self) -> Tensor:
        """Logits fit for a next prompt."""
        return self.logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)


def decode(network: SAM2Base, embedding: Embedding, prompts: Prompts, multimask: bool) -> LowRes:
    """The mask decoder's answer, as SAM2ImagePredictor._predict asks it."""
    points = None if prompts.coords is None else (prompts.coords, prompts.labels)
    sparse, dense = network.sam_prompt_encoder(points=points, boxes=None, masks=prompts.masks)
    logits, ious, _, _ = network.sam_mask_decoder(
        image_embeddings=embedding.coarse,
        image_pe=network.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
        # A prompt about each of several pictures needs no copies.
        repeat_image=len(sparse) > len(embedding.coarse),
        high_res_features=list(embedding.fine),
    )
    return LowRes(logits.float(), ious)


def full_size(logits: Tensor, size: HeightWidth) -> Tensor:
    """Logits B x K x h x w at the size of the picture, B x K x H x W (`SAM2Transforms.postprocess_masks`)."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)
