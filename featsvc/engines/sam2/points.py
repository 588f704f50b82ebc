"""The mask decoder asked about many points of one picture, with the same bits as sam2's own and in half its time.

`MaskDecoder.predict_masks` and `TwoWayTransformer` of the sam2 package, their modules called in their order, but:
what the first layer makes of the picture alone is computed once and not for every point; the sum of keys and
positions once a layer and not twice; all memory is laid out so that sums run along it; and on a CPU masks are made
only where the predicted IoU, which is known before them, lets one through.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from featsvc.engines.sam2.decoder import LowRes
from featsvc.engines.sam2.embedding import Embedding
from featsvc.engines.sam2.passes import BatchSlice
from featsvc.engines.sam2.prompts import Prompts
from featsvc.engines.sam2.steps import UNCOMPILED, ImageTokens, KeysValues, Steps


@dataclass(frozen=True)
class Answers:
    """Masks of those of B prompts that may have one of the wanted quality."""

    indices: Tensor
    """Which of the prompts, n, in the host's memory."""
    masks: LowRes
    """Theirs, n x K."""


class PointDecoder:
    """The mask decoder of a network over one embedding."""

    def __init__(self, network: SAM2Base, embedding: Embedding, steps: Steps = UNCOMPILED) -> None:
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
        self._unprompted = self._image_tokens(no_mask.expand_as(self._coarse))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._coarse.device

    @property
    def image_size(self) -> int:
        """Side of the square in which points lie."""
        side: int = self._prompts.input_image_size[0]
        return side

    def answers(
        self, prompts: Prompts, multimask: bool, least_iou: float = 0.0, batch: BatchSlice | None = None
    ) -> Answers:
        """Masks of B prompts, but not of those whose predicted IoUs are all at most `least_iou`, if that is over 0.

        With the last bits that they have in `batch`; it is all of the B prompts if it is not given. A GPU would be
        waited for to know which those are: `least_iou` is for a CPU.
        """
        batch = batch or BatchSlice(prompts.count)
        own = slice(batch.start, batch.start + prompts.count)
        sparse, image = self._prompted(prompts, batch)
        dtype = self._coarse.dtype
        tokens, keys = self._steps.transformed(
            self._decoder, self._tokens(sparse).to(dtype), image, self._positions
        )
        rows = batch.rows(tokens.float())
        first = 1 if self._decoder.pred_obj_scores else 0
        ious = self._decoder.iou_prediction_head(rows[:, first])[own]
        predicted = ious[:, 1:] if multimask else ious
        indices = torch.arange(len(predicted))
        if least_iou > 0:
            # A single mask gives way to one of several if it is unstable, so any of them may be the answer.
            indices = (predicted > least_iou).any(1).nonzero().flatten()
        if not len(indices):
            none = self._coarse.new_zeros((0, 3 if multimask else 1, *self._prompts.mask_input_size))
            return Answers(indices, LowRes(none, predicted[:0, : none.shape[1]]))
        weights = self._weights(rows[:, first + 1 :])[own]
        if len(indices) < len(tokens):
            weights, keys, ious, predicted = (each[indices] for each in (weights, keys, ious, predicted))
        logits = self._steps.masks(self._decoder, weights, keys, self._fine)
        if multimask:
            return Answers(indices, LowRes(logits[:, 1:].float(), predicted))
        return Answers(indices, self._single(logits, ious))

    def _weights(self, tokens: Tensor) -> Tensor:
        """What each mask takes of the upscaled features, B x K x c, by its token of B x n x C."""
        heads = self._decoder.output_hypernetworks_mlps
        return torch.stack([head(tokens[:, place]) for place, head in enumerate(heads)], dim=1)

    def _prompted(self, prompts: Prompts, batch: BatchSlice) -> tuple[Tensor, ImageTokens]:
        """Points as tokens B x n x C, and the picture with the mask prompts."""
        if prompts.coords is None or prompts.labels is None:
            sparse, dense = self._prompts(points=None, boxes=None, masks=prompts.masks)
        else:
            points = batch.rows(prompts.coords), batch.rows(prompts.labels)
            sparse, _ = self._prompts(points=points, boxes=None, masks=None)
            sparse = sparse[batch.start : batch.start + prompts.count]
            dense = None if prompts.masks is None else self._prompts._embed_masks(prompts.masks)
        image = (
            self._unprompted if prompts.masks is None else self._image_tokens(dense.to(self._coarse.dtype))
        )
        return sparse, image

    def _image_tokens(self, dense: Tensor) -> ImageTokens:
        """The picture with mask prompts B x C x h x w. Strides decide how torch multiplies, so they are upstream's."""
        source = (self._coarse.contiguous() + dense).contiguous()
        strided = source.flatten(2).transpose(1, 2)
        positioned = strided + self._strided_positions
        to_tokens = self._first.cross_attn_token_to_image
        return ImageTokens(
            strided.contiguous(),
            KeysValues(to_tokens.k_proj(positioned), to_tokens.v_proj(strided)),
            self._first.cross_attn_image_to_token.q_proj(positioned),
        )

    def _tokens(self, sparse: Tensor) -> Tensor:
        """The decoder's own tokens and then those of the prompts, B x n x C."""
        decoder = self._decoder
        own = [decoder.iou_token.weight, decoder.mask_tokens.weight]
        if decoder.pred_obj_scores:
            own.insert(0, decoder.obj_score_token.weight)
        return torch.cat([torch.cat(own)[None].expand(len(sparse), -1, -1), sparse], dim=1)

    def _single(self, logits: Tensor, ious: Tensor) -> LowRes:
        """What `MaskDecoder.forward` gives of the masks of all tokens where one is wanted."""
        if self._decoder.dynamic_multimask_via_stability:
            logits, ious = self._decoder._dynamic_multimask_via_stability(logits, ious)
        return LowRes(logits[:, :1].float(), ious[:, :1])
