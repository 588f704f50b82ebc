"""The mask decoder asked about many points of one picture, with the same bits as sam2's own and in half its time.

`MaskDecoder.predict_masks` and `TwoWayTransformer` of the sam2 package, their modules called in their order, but:
what the first layer makes of the picture alone is computed once and not for every point; the sum of keys and
positions once a layer and not twice; all memory is laid out so that sums run along it; and masks are made only
where the predicted IoU, which is known before them, lets one through.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from featsvc.engines.sam2_decoder import LowRes
from featsvc.engines.sam2_embedding import Embedding
from featsvc.engines.sam2_prompts import Prompts
from featsvc.engines.sam2_steps import PLAIN, Seen, Steps


@dataclass(frozen=True)
class Answers:
    """Masks of those of B prompts that may have one of the wanted quality."""

    places: Tensor
    """Which of the prompts, n."""
    masks: LowRes
    """Theirs, n x K."""


class PointDecoder:
    """The mask decoder of a network over one embedding."""

    def __init__(self, network: SAM2Base, embedding: Embedding, steps: Steps = PLAIN) -> None:
        self._prompts = network.sam_prompt_encoder
        self._decoder: MaskDecoder = network.sam_mask_decoder
        self._first = self._decoder.transformer.layers[0]
        self._steps = steps
        self._coarse = embedding.coarse
        positions = self._prompts.get_dense_pe().to(self._coarse.dtype)
        self._strided_positions = positions.flatten(2).transpose(1, 2)
        self._positions = self._strided_positions.contiguous()
        # The decoder's own features come with channels last; a sum of two layouts takes many times as long.
        self._fine = tuple(each.contiguous(memory_format=torch.channels_last) for each in embedding.fine)
        no_mask = self._prompts.no_mask_embed.weight.reshape(1, -1, 1, 1).to(self._coarse.dtype)
        self._unprompted = self._seen(no_mask.expand_as(self._coarse))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._coarse.device

    @property
    def image_size(self) -> int:
        """Side of the square in which points lie."""
        side: int = self._prompts.input_image_size[0]
        return side

    def answers(self, prompts: Prompts, multimask: bool, least_iou: float = 0.0) -> Answers:
        """Masks of B prompts, but not of those whose predicted IoUs are all at most `least_iou`, if that is over 0."""
        points = None if prompts.coords is None else (prompts.coords, prompts.labels)
        sparse, dense = self._prompts(points=points, boxes=None, masks=prompts.masks)
        dtype = self._coarse.dtype
        seen = self._unprompted if prompts.masks is None else self._seen(dense.to(dtype))
        tokens, keys = self._steps.transformed(
            self._decoder, self._tokens(sparse).to(dtype), seen, self._positions
        )
        tokens = tokens.float()
        first = 1 if self._decoder.pred_obj_scores else 0
        ious = self._decoder.iou_prediction_head(tokens[:, first])
        asked = ious[:, 1:] if multimask else ious
        # A single mask gives way to one of several if it is unstable, so any of them may be the answer.
        wanted = (
            (asked > least_iou).any(1) if least_iou > 0 else torch.ones_like(asked[:, 0], dtype=torch.bool)
        )
        places = wanted.nonzero().flatten()
        if not len(places):
            none = self._coarse.new_zeros((0, 3 if multimask else 1, *self._prompts.mask_input_size))
            return Answers(places, LowRes(none, none[:, :, 0, 0]))
        if len(places) < len(tokens):
            tokens, keys, ious = tokens[places], keys[places], ious[places]
        asking = tokens[:, first + 1 : first + 1 + self._decoder.num_mask_tokens]
        logits = self._steps.masks(self._decoder, asking, keys, self._fine)
        return Answers(places, self._chosen(logits, ious, multimask))

    def _seen(self, dense: Tensor) -> Seen:
        """The picture with mask prompts B x C x h x w. Strides decide how torch multiplies, so they are upstream's."""
        source = (self._coarse.contiguous() + dense).contiguous()
        strided = source.flatten(2).transpose(1, 2)
        placed = strided + self._strided_positions
        to_tokens = self._first.cross_attn_token_to_image
        return Seen(
            strided.contiguous(),
            (to_tokens.k_proj(placed), to_tokens.v_proj(strided)),
            self._first.cross_attn_image_to_token.q_proj(placed),
        )

    def _tokens(self, sparse: Tensor) -> Tensor:
        """The decoder's own tokens and then those of the prompts, B x n x C."""
        decoder = self._decoder
        own = [decoder.iou_token.weight, decoder.mask_tokens.weight]
        if decoder.pred_obj_scores:
            own.insert(0, decoder.obj_score_token.weight)
        return torch.cat([torch.cat(own)[None].expand(len(sparse), -1, -1), sparse], dim=1)

    def _chosen(self, logits: Tensor, ious: Tensor, multimask: bool) -> LowRes:
        """What `MaskDecoder.forward` gives of the masks of all tokens."""
        if multimask:
            return LowRes(logits[:, 1:].float(), ious[:, 1:])
        if self._decoder.dynamic_multimask_via_stability:
            logits, ious = self._decoder._dynamic_multimask_via_stability(logits, ious)
        return LowRes(logits[:, :1].float(), ious[:, :1])
