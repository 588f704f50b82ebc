"""What the gRPC clients answer: frozen values with numpy arrays, read from the contract's messages.

Arrays are read-only views of the answer where they can be: copy one before writing into it.
Answers without arrays (geometry, models, status) stay the contract's own messages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import InvalidArgument
from featsvc.twin.arrays import to_array
from featsvc.v1 import clip_pb2, dino_pb2, image_pb2, sam2_pb2, tensor_pb2
from featsvc_client.errors import damaged
from featsvc_client.rle import Rle

Rectangle = tuple[float, float, float, float]
"""x, y, width, height in pixels of the picture as sent."""


@dataclass(frozen=True, eq=False)
class Features:
    """Dense features of a picture."""

    array: NDArray[np.float32]
    """H x W x D (D x H x W if asked); D is 3 for principal components."""
    is_pca: bool
    geometry: image_pb2.Geometry
    """How the grid lies on the picture."""
    model: str
    """Key of the model that answered."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of texts or of a picture."""

    array: NDArray[np.float32]
    """N x D, each row of length 1."""
    model: str


@dataclass(frozen=True, eq=False)
class Similarity:
    """How well each place of a picture fits each text."""

    array: NDArray[np.float32]
    """H x W for one text, N x H x W for several."""
    geometry: image_pb2.Geometry
    model: str


@dataclass(frozen=True, eq=False)
class Mask:
    """One automatic mask, its pixels packed as they came: hundreds of them unpacked fill a memory."""

    pixels: tensor_pb2.Tensor | Rle | NDArray[np.bool_]
    area: int
    bbox: Rectangle
    predicted_iou: float
    point_coords: NDArray[np.float64]
    """N x 2, the points that gave this mask."""
    stability_score: float
    crop_box: Rectangle

    @property
    def segmentation(self) -> NDArray[np.bool_]:
        """The mask, H x W; unpacked anew by every access."""
        if isinstance(self.pixels, Rle):
            return self.pixels.decoded()
        if isinstance(self.pixels, tensor_pb2.Tensor):
            return _booleans(self.pixels)
        return self.pixels


@dataclass(frozen=True, eq=False)
class PromptMasks:
    """The masks of one prompt."""

    masks: NDArray[np.bool_] | NDArray[np.float32]
    """K x H x W, bool; float32 logits if asked."""
    iou_predictions: NDArray[np.float32]
    """K, the quality that the model predicts."""
    low_res_masks: NDArray[np.float32]
    """K x 256 x 256 (smaller for demo-sam2), logits: one of them, `[[best]]`, can prompt the next call."""
    model: str


def features(
    reply: clip_pb2.ClipServiceExtractFeaturesResponse | dino_pb2.DinoServiceExtractFeaturesResponse,
) -> Features:
    """The features of an answer."""
    return Features(_floats(reply.features), reply.is_pca, reply.geometry, reply.model)


def embedded_texts(reply: clip_pb2.EncodeTextResponse) -> Embeddings:
    """The text embeddings of an answer."""
    return Embeddings(_floats(reply.text_embedding), reply.model)


def embedded_picture(reply: clip_pb2.EncodeImageResponse) -> Embeddings:
    """The picture embedding of an answer, 1 x D."""
    return Embeddings(_floats(reply.image_embedding), reply.model)


def similarity(reply: clip_pb2.ComputeSimilarityResponse) -> Similarity:
    """The map of an answer."""
    return Similarity(_floats(reply.similarity_map), reply.geometry, reply.model)


def masks(reply: sam2_pb2.GenerateMasksResponse) -> list[Mask]:
    """The masks of an answer, in its order."""
    return [_mask(each) for each in reply.masks]


def prompt_masks(reply: sam2_pb2.PredictMasksResponse) -> list[PromptMasks]:
    """The masks of each prompt, in the order of the prompts."""
    return [
        PromptMasks(
            _masks(each.masks), _floats(each.iou_predictions), _floats(each.low_res_masks), reply.model
        )
        for each in reply.results
    ]


def _mask(mask: sam2_pb2.Mask) -> Mask:
    return Mask(
        mask.bitmap if mask.WhichOneof("segmentation") == "bitmap" else _rle(mask.rle),
        mask.area,
        _rectangle(mask.bbox),
        mask.predicted_iou,
        np.array([(point.x, point.y) for point in mask.point_coords], np.float64).reshape(-1, 2),
        mask.stability_score,
        _rectangle(mask.crop_box),
    )


def _rle(rle: sam2_pb2.Rle) -> Rle:
    counts = rle.coco if rle.WhichOneof("runs") == "coco" else tuple(rle.lengths.counts)
    return Rle(counts, (rle.height, rle.width))


def _rectangle(rectangle: sam2_pb2.Rectangle) -> Rectangle:
    return (rectangle.x, rectangle.y, rectangle.width, rectangle.height)


def _masks(tensor: tensor_pb2.Tensor) -> NDArray[np.bool_] | NDArray[np.float32]:
    return (
        _booleans(tensor)
        if tensor.dtype in (tensor_pb2.D_TYPE_BITS, tensor_pb2.D_TYPE_BOOL)
        else _floats(tensor)
    )


def _booleans(tensor: tensor_pb2.Tensor) -> NDArray[np.bool_]:
    return _array(tensor).astype(np.bool_, copy=False)


def _floats(tensor: tensor_pb2.Tensor) -> NDArray[np.float32]:
    return _array(tensor).astype(np.float32, copy=False)


def _array(tensor: tensor_pb2.Tensor) -> NDArray[np.generic]:
    try:
        return to_array(tensor)
    except InvalidArgument as error:
        raise damaged(error.message) from error
