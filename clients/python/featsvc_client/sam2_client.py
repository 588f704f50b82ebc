"""The documented SAM2 functions, over REST. Every option of the service is a keyword argument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from featsvc.v1 import schema
from featsvc_client import rest, tensors
from featsvc_client.arguments import CONNECTION, AutoMaskArguments, PromptMaskArguments
from featsvc_client.documented import documented
from featsvc_client.pictures import ImageLike, encode_image, picture

__all__ = [
    "encode_image",
    "generate_sam2_auto_masks",
    "generate_sam2_auto_masks_decoded",
    "generate_sam2_prompt_masks",
    "generate_sam2_prompt_masks_decoded",
    "sam2_box_mask",
    "sam2_combined_mask",
    "sam2_point_mask",
]

BASE_URL = "http://localhost:8098"
AUTO_MASK = rest.Endpoint("/auto_mask", "Sam2Service")
PROMPT_MASK = rest.Endpoint("/prompt_mask", "Sam2Service")

# Any: the entries are JSON of several types; their keys are those of the sam2 package's generator.
MaskEntry = dict[str, Any]
PromptAnswer = tuple[NDArray[np.float32] | NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]


class AutoMaskReply(TypedDict):
    """Automatic masks as the service sends them."""

    masks: list[MaskEntry]
    num_masks: int
    label_map: NotRequired[str]
    """Base64 uint16, where masks were asked for so: 0 is no mask, else 1 + its index."""
    label_map_shape: NotRequired[list[int]]


class PromptMaskReply(TypedDict):
    """Prompt masks as the service sends them."""

    masks: NotRequired[str | list[str] | list[dict[str, Any]]]
    """Base64 of float32 or bits, a list of PNG files in base64, or a list of run lengths; or it is a label map."""
    masks_shape: NotRequired[list[int]]
    label_map: NotRequired[str]
    label_map_shape: NotRequired[list[int]]
    iou_predictions: str
    iou_shape: list[int]
    low_res_masks: NotRequired[str]
    low_res_shape: NotRequired[list[int]]


@documented(schema.Image, schema.GenerateMasksParams, beside=CONNECTION)
def generate_sam2_auto_masks(image: ImageLike, **arguments: Unpack[AutoMaskArguments]) -> AutoMaskReply:
    """Masks of everything in a picture, as sent."""
    return cast(AutoMaskReply, rest.post(BASE_URL, AUTO_MASK, picture(image).body, arguments))


@documented(schema.Image, schema.GenerateMasksParams, beside=CONNECTION)
def generate_sam2_auto_masks_decoded(
    image: ImageLike, **arguments: Unpack[AutoMaskArguments]
) -> list[MaskEntry]:
    """Masks of everything in a picture, as the sam2 package's generator answers them (H x W bool)."""
    reply = generate_sam2_auto_masks(image, **arguments)
    labels = tensors.label_map(reply)
    return [_with_booleans(entry, labels, number) for number, entry in enumerate(reply["masks"], 1)]


@documented(schema.Image, schema.Prompt, schema.PredictMasksParams, beside=CONNECTION)
def generate_sam2_prompt_masks(image: ImageLike, **arguments: Unpack[PromptMaskArguments]) -> PromptAnswer:
    """Masks K x H x W, predicted IoU, low-resolution logits (0 x 0 x 0 where they are not wanted).

    Masks are 1 inside and 0 outside, or logits if asked; bool where another encoding than the documented one is.
    """
    reply = cast(PromptMaskReply, rest.post(BASE_URL, PROMPT_MASK, picture(image).body, arguments))
    scores = tensors.decoded(reply["iou_predictions"], reply["iou_shape"])
    low_res = (
        tensors.decoded(reply["low_res_masks"], reply["low_res_shape"])
        if reply.get("low_res_masks") is not None
        else np.zeros((0, 0, 0), np.float32)
    )
    return _prompt_masks(reply, scores.size), scores, low_res


# The document has five names for one call: which prompt it is, its arguments say.
generate_sam2_prompt_masks_decoded = generate_sam2_prompt_masks
sam2_point_mask = sam2_box_mask = sam2_combined_mask = generate_sam2_prompt_masks


def _prompt_masks(reply: PromptMaskReply, count: int) -> NDArray[np.float32] | NDArray[np.bool_]:
    """The masks of an answer, K x H x W."""
    labels = tensors.label_map(reply)
    if labels is not None:
        return np.stack([labels == number for number in range(1, count + 1)])
    sent, shape = reply["masks"], reply["masks_shape"]
    if isinstance(sent, str):
        return tensors.masks(tensors.content(sent), shape)
    return np.stack([tensors.mask(each, shape[1:]) for each in sent])


def _with_booleans(entry: Mapping[str, Any], labels: NDArray[np.uint16] | None, number: int) -> MaskEntry:
    """The entry with its segmentation, in whatever encoding, as H x W bool."""
    shape = entry.get("segmentation_shape") or ()
    mask = labels == number if labels is not None else tensors.mask(entry["segmentation"], shape)
    return {
        **{key: value for key, value in entry.items() if key != "segmentation_shape"},
        "segmentation": mask,
    }
