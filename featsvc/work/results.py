"""What an operation answers: numpy arrays and what they mean. Fields are called as in the reply."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featsvc.v1.schema import FeatureDType, MaskGranularity

Floats = NDArray[np.float32]
HeightWidth = tuple[int, int]
TypedArray = Floats | NDArray[np.float16] | NDArray[np.uint16]
"""Numbers of the element type that was asked for; bfloat16 as its bits."""


@dataclass(frozen=True)
class Result:
    """Any answer."""


@dataclass(frozen=True)
class OfPicture(Result):
    """An answer about a picture."""

    image_orientation: int = field(default=1, kw_only=True)
    """How its file says that it is to be shown, as EXIF counts; 1 is upright."""


@dataclass(frozen=True)
class Geometry:
    """How the grid of features lies on the picture, in pixels (grid_* and first_* in cells).

    `uncropped_*` is the size after resizing; `resized_*` that after cropping too, without the padding at right and
    bottom; `first_*` where in the grid the answer begins.
    """

    patch_size: int
    stride: int
    resized_height: int
    resized_width: int
    pad_right: int
    pad_bottom: int
    original_height: int
    original_width: int
    grid_height: int
    grid_width: int
    uncropped_height: int = 0
    uncropped_width: int = 0
    crop_top: int = 0
    crop_left: int = 0
    first_row: int = 0
    first_column: int = 0


@dataclass(frozen=True)
class Rounding:
    """What a smaller element type has changed: absolute differences from the features in float32."""

    largest_error: float
    mean_error: float
    scale: Floats | None
    """Of int8, for each channel: D, or D x 1 x 1 where channels come first; integers * scale are the features."""


@dataclass(frozen=True)
class Features(OfPicture):
    """Dense features: h x w x D, or D x h x w where CHW was asked for; of patches or of pixels; N x D at points."""

    features: Floats | NDArray[np.float16] | NDArray[np.uint16] | NDArray[np.int8]
    """bfloat16 as its bits."""
    is_pca: bool
    geometry: Geometry
    dtype: FeatureDType = FeatureDType.FLOAT32
    rounding: Rounding | None = None
    """None for float32."""
    pca_basis: str | None = None
    """Name of the basis of principal components, where that was asked for."""


@dataclass(frozen=True)
class PyramidLevel:
    """The tiles of one size: the centre of tile (row, column) is at `first_center` + row or column * `stride`."""

    tile_ratio: float
    """Side of a tile as a part of the picture's height, in float32."""
    stride_ratio: float
    tile_size: int
    """Side of a tile in pixels of the picture as sent."""
    stride: int
    """Distance between neighbouring tiles in such pixels."""
    grid_height: int
    grid_width: int
    first_center: float
    """Of the first row and of the first column; 0 is the centre of the first pixel."""

    @property
    def tiles(self) -> int:
        """How many there are."""
        return self.grid_height * self.grid_width


@dataclass(frozen=True)
class Pyramid(OfPicture):
    """Embeddings of tiles of several sizes: tiles x D, level by level; N x D at points, S x h x w x D on a grid."""

    features: Floats | NDArray[np.float16] | NDArray[np.uint16] | NDArray[np.int8]
    """Vectors of length 1; bfloat16 as its bits."""
    levels: tuple[PyramidLevel, ...]
    height: int
    width: int
    dtype: FeatureDType = FeatureDType.FLOAT32
    rounding: Rounding | None = None
    """None for float32."""


@dataclass(frozen=True)
class TextEmbeddings(Result):
    """Embeddings of texts, N x D, each row of length 1."""

    text_embedding: Floats


@dataclass(frozen=True)
class ImageEmbedding(OfPicture):
    """The embedding of a picture, 1 x D, of length 1."""

    image_embedding: Floats


@dataclass(frozen=True)
class Similarity(OfPicture):
    """A map h x w for one text, T x h x w for several."""

    similarity_map: Floats
    geometry: Geometry


@dataclass(frozen=True)
class Bits:
    """Booleans, a bit each as numpy.packbits packs them; each row of the last axis starts on a byte."""

    data: NDArray[np.uint8]
    """… x ceil(W / 8)."""
    shape: tuple[int, ...]
    """… x W."""


@dataclass(frozen=True)
class Rle:
    """Run lengths of a mask in column-major order, beginning with background; as text in COCO's form."""

    counts: str | tuple[int, ...]
    size: HeightWidth


@dataclass(frozen=True)
class Png:
    """A PNG file of one bit a pixel."""

    content: bytes


LabelMap = NDArray[np.uint16]
"""H x W: 0 where no mask is, else 1 + the index of the mask, the best by predicted IoU where several are."""


@dataclass(frozen=True)
class PromptMasks:
    """Answers to one prompt: K masks of the picture's size, best-of-K by `iou_predictions`."""

    masks: Bits | Floats | tuple[Rle, ...] | tuple[Png, ...] | None
    """K x H x W, or one each; logits where those were asked for; None where a label map has them."""
    iou_predictions: Floats
    low_res_masks: Floats | None
    """Logits clamped to [-32, 32], K x h x w; a next prompt's mask_input. None where nobody asked for them."""
    label_map: LabelMap | None = None


@dataclass(frozen=True)
class PromptResults(OfPicture):
    """The answer to each prompt about one picture, in their order."""

    results: tuple[PromptMasks, ...]
    height: int
    width: int


Rectangle = tuple[float, float, float, float]
"""x, y, width, height."""


@dataclass(frozen=True)
class Mask:
    """One automatic mask."""

    segmentation: Bits | Floats | Rle | Png | None
    """H x W; None where the list has a label map."""
    area: int
    bbox: Rectangle
    predicted_iou: float
    point_coords: tuple[tuple[float, float], ...]
    stability_score: float
    crop_box: Rectangle


@dataclass(frozen=True)
class MaskList(OfPicture):
    """All masks of one picture, in the order of the sam2 package's generator."""

    masks: tuple[Mask, ...]
    height: int
    width: int
    label_map: LabelMap | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.masks)


@dataclass(frozen=True)
class DescribedObject:
    """One object of a picture."""

    mask: Mask
    level: int
    """How many others contain it, one in the other."""
    parent: int | None
    """Index of the smallest of them."""
    granularity: MaskGranularity | None = None
    """The list of automatic masks that it is of, where there are lists."""


@dataclass(frozen=True)
class ObjectVectors:
    """The vectors of all objects in one way: N x D, each row of length 1 or 0."""

    vectors: Floats | NDArray[np.float16] | NDArray[np.uint16] | NDArray[np.int8]
    """bfloat16 as its bits."""
    model: str
    """Key of the model whose they are."""
    dtype: FeatureDType = FeatureDType.FLOAT32
    rounding: Rounding | None = None


@dataclass(frozen=True)
class ObjectList(OfPicture):
    """The objects of a picture, and their vectors by every descriptor."""

    objects: tuple[DescribedObject, ...]
    descriptors: tuple[ObjectVectors, ...]
    height: int
    width: int
    label_map: LabelMap | None = None


@dataclass(frozen=True)
class ObjectMatch:
    """An object that fits, by its index."""

    object: int
    score: float


@dataclass(frozen=True)
class ObjectMatches:
    """The objects that fit one text or vector, best first."""

    matches: tuple[ObjectMatch, ...]


@dataclass(frozen=True)
class ObjectsFound(OfPicture):
    """The objects that fit anything, and for each text or vector those that fit it."""

    objects: tuple[DescribedObject, ...]
    found: tuple[ObjectMatches, ...]
    descriptor_models: tuple[str, ...]
    """Keys of the models whose vectors they were compared by."""
    height: int
    width: int
    label_map: LabelMap | None = None
    text_map: LabelMap | None = None
    """H x W: 0 where nothing fits, else 1 + the index of the text whose object there has the best score."""


@dataclass(frozen=True)
class EmbeddedImage(OfPicture):
    """A picture that SAM2 has encoded."""

    size_bytes: int
    """Memory that its embedding takes."""
    was_cached: bool
    """Whether it was there before this call."""
    height: int
    width: int
    image_embed: TypedArray | None = None
    """1 x C x S/16 x S/16 where the embedding itself was asked for, of a network that sees S x S pixels."""
    high_res_feats_0: TypedArray | None = None
    """1 x C/8 x S/4 x S/4."""
    high_res_feats_1: TypedArray | None = None
    """1 x C/4 x S/8 x S/8."""
    dtype: FeatureDType = FeatureDType.FLOAT32
    """Of all three."""
