"""The documented SAM2 functions, over REST. Every option of the service is a keyword argument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from featsvc_client import rest
from featsvc_client.arguments import AutoMaskArguments, PromptMaskArguments
from featsvc_client.pictures import ImageLike, encode_image, picture
from featsvc_client.rle import from_coco
from featsvc_client.tensors import decoded

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

# Any: the entries are JSON of several types; their keys are those of the sam2 package's generator.
MaskEntry = dict[str, Any]
PromptAnswer = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


class AutoMaskReply(TypedDict):
    """Automatic masks as the service sends them."""

    masks: list[MaskEntry]
    num_masks: int


class PromptMaskReply(TypedDict):
    """Prompt masks as the service sends them."""

    masks: str
    masks_shape: list[int]
    iou_predictions: str
    iou_shape: list[int]
    low_res_masks: str
    low_res_shape: list[int]


def generate_sam2_auto_masks(image: ImageLike, **arguments: Unpack[AutoMaskArguments]) -> AutoMaskReply:
    """Masks of everything in a picture, as sent."""
    return cast(AutoMaskReply, rest.post(BASE_URL, "/auto_mask", picture(image).body, arguments))


def generate_sam2_auto_masks_decoded(
    image: ImageLike, **arguments: Unpack[AutoMaskArguments]
) -> list[MaskEntry]:
    """Masks of everything in a picture, as the sam2 package's generator answers them (H x W bool)."""
    return [_with_booleans(entry) for entry in generate_sam2_auto_masks(image, **arguments)["masks"]]


def generate_sam2_prompt_masks(image: ImageLike, **arguments: Unpack[PromptMaskArguments]) -> PromptAnswer:
    """Masks K x H x W (1 inside, 0 outside; logits if asked), predicted IoU, low-resolution logits."""
    reply = cast(PromptMaskReply, rest.post(BASE_URL, "/prompt_mask", picture(image).body, arguments))
    return (
        decoded(reply["masks"], reply["masks_shape"]),
        decoded(reply["iou_predictions"], reply["iou_shape"]),
        decoded(reply["low_res_masks"], reply["low_res_shape"]),
    )


# The document has five names for one call: which prompt it is, its arguments say.
generate_sam2_prompt_masks_decoded = generate_sam2_prompt_masks
sam2_point_mask = sam2_box_mask = sam2_combined_mask = generate_sam2_prompt_masks


def _with_booleans(entry: Mapping[str, Any]) -> MaskEntry:
    """The entry with its segmentation, base64 or run lengths, as H x W bool."""
    shape, sent = entry.get("segmentation_shape"), entry["segmentation"]
    mask = from_coco(sent).decoded() if isinstance(sent, Mapping) else decoded(sent, shape or ()) > 0
    return {
        **{key: value for key, value in entry.items() if key != "segmentation_shape"},
        "segmentation": mask,
    }
