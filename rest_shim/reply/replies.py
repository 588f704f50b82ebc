"""Replies as they are documented in OpenAPI."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

OF_ITS_TYPE = "as base64 of `dtype`, row-major, little-endian"
ENCODED = "as base64 of float32, row-major, little-endian"
FORMS = (
    "As bits: base64 of one bit a pixel, most significant first, each row from a new byte (numpy.packbits); the shape "
    "counts pixels. As coco_rle: run lengths. As png: a file in base64. As label_map: left out."
)
LABELS = "base64 of uint16, row-major, little-endian; 0 where there is no mask, else 1 +"
SIZE = "Height and width."


class JsonReply(BaseModel):
    """What every reply is."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Rounding(JsonReply):
    """What writing features in fewer bits has cost."""

    largest_error: float = Field(description="Largest absolute difference from the float32 features.")
    mean_error: float = Field(description="Mean absolute difference from the float32 features.")
    scale: str | None = Field(
        default=None,
        description=f"For int8: one factor for each channel, {ENCODED}; features = integers * scale.",
    )


class Features(JsonReply):
    """Dense features of a picture."""

    features: str = Field(description=f"The features {ENCODED}; of another type where `dtype` asked for it.")
    shape: list[int] = Field(description="Their shape.", examples=[[73, 73, 768]])
    is_pca: bool = Field(description="Whether the channels are three principal components.")
    dtype: str | None = Field(
        default=None, description="Their type, where it is not float32.", examples=["float16"]
    )
    rounding: Rounding | None = Field(default=None, description="What that type has cost.")
    pca_basis: str | None = Field(
        default=None,
        description="Name of the basis of the components, where `ret_pca_basis` asked for it: send it as `pca_basis`.",
    )


class TextEmbedding(JsonReply):
    """Embeddings of texts."""

    text_embedding: str = Field(description=f"One row of length 1 for each text, {ENCODED}.")
    shape: list[int] = Field(
        description="Texts and channels; channels alone for one text that is in no list.", examples=[[768]]
    )


class ImageEmbedding(JsonReply):
    """The embedding of a whole picture."""

    image_embedding: str = Field(description=f"One row of length 1, {ENCODED}.")
    shape: list[int] = Field(description="1 and channels.", examples=[[1, 768]])


class TileLevel(JsonReply):
    """The tiles of one size; the centre of each is first_center + row or column * stride."""

    tile_ratio: float = Field(
        description="Side of a tile as a part of the picture's height, in float32.", examples=[0.125]
    )
    stride_ratio: float = Field(
        description="Distance between tiles as a part of their side.", examples=[0.625]
    )
    tile_size: int = Field(description="Side of a tile in pixels.", examples=[150])
    stride: int = Field(description="Distance between tiles in pixels.", examples=[93])
    grid_height: int = Field(description="Rows of tiles.", examples=[13])
    grid_width: int = Field(description="Columns of tiles.", examples=[20])
    first_center: float = Field(
        description="Centre of the first row and of the first column, in pixels.", examples=[-0.5]
    )


class EmbeddedTiles(JsonReply):
    """Embeddings of tiles of a picture in several sizes, or what they make at points."""

    features: str = Field(
        description=f"Vectors of length 1, {ENCODED}; of another type where `pyramid_dtype` asked for it."
    )
    shape: list[int] = Field(
        description="Tiles of all levels and channels; points and channels, or scales, height, width and channels.",
        examples=[[1304, 768]],
    )
    levels: list[TileLevel] = Field(description="The levels, the smallest tiles first.")
    height: int = Field(description="Height of the picture in pixels.", examples=[1200])
    width: int = Field(description="Width of the picture in pixels.", examples=[1800])
    dtype: str | None = Field(
        default=None, description="Their type, where it is not float32.", examples=["float16"]
    )
    rounding: Rounding | None = Field(default=None, description="What that type has cost.")


class SimilarityMap(JsonReply):
    """How well each place of a picture fits each text."""

    similarity_map: str = Field(description=f"The map {ENCODED}.")
    shape: list[int] = Field(
        description="Height and width; texts first where a list of them was given.", examples=[[73, 73]]
    )


class MaskRle(JsonReply):
    """Run lengths in column-major order, beginning with background."""

    size: tuple[int, int] = Field(description="Height and width.")
    counts: str | list[int] = Field(description="COCO's compressed text, or the lengths themselves.")


class PromptMasks(JsonReply):
    """Masks of one prompt."""

    # One list of either: generated clients cannot tell two kinds of lists apart.
    masks: str | list[MaskRle | str] | None = Field(
        default=None,
        description=f"0 and 1, or logits where those were asked for, {ENCODED}. {FORMS} With coco_rle and png a list.",
    )
    masks_shape: list[int] | None = Field(
        default=None, description="Masks, height, width.", examples=[[3, 1200, 1800]]
    )
    label_map: str | None = Field(default=None, description=f"For label_map: {LABELS} the index of the mask.")
    label_map_shape: list[int] | None = Field(default=None, description=SIZE, examples=[[1200, 1800]])
    iou_predictions: str = Field(description=f"The quality that the model predicts for each mask, {ENCODED}.")
    iou_shape: list[int] = Field(description="Masks.", examples=[[3]])
    low_res_masks: str | None = Field(
        default=None, description=f"Logits to send along with a next question, {ENCODED}, unless left out."
    )
    low_res_shape: list[int] | None = Field(
        default=None, description="Masks, height, width.", examples=[[3, 256, 256]]
    )


class EncodedPicture(JsonReply):
    """A picture that is encoded, and its embedding where that was asked for."""

    size_bytes: int = Field(description="Memory that its embedding takes in the cache of the worker.")
    was_cached: bool = Field(description="Whether it was there before this call, of a picture of this key.")
    height: int = Field(description="Height of the picture, in pixels.")
    width: int = Field(description="Its width.")
    dtype: str | None = Field(default=None, description="Type of the three arrays.", examples=["float16"])
    image_embed: str | None = Field(default=None, description=f"The embedding, {OF_ITS_TYPE}.")
    image_embed_shape: list[int] | None = Field(
        default=None, description="Its shape.", examples=[[1, 256, 64, 64]]
    )
    high_res_feats_0: str | None = Field(
        default=None, description=f"What the encoder has at S/4, {OF_ITS_TYPE}."
    )
    high_res_feats_0_shape: list[int] | None = Field(
        default=None, description="Its shape.", examples=[[1, 32, 256, 256]]
    )
    high_res_feats_1: str | None = Field(
        default=None, description=f"What the encoder has at S/8, {OF_ITS_TYPE}."
    )
    high_res_feats_1_shape: list[int] | None = Field(
        default=None, description="Its shape.", examples=[[1, 64, 128, 128]]
    )


class Mask(JsonReply):
    """One mask of a picture."""

    segmentation: str | MaskRle | None = Field(
        default=None,
        description=f"0 and 1 {ENCODED}; with the RLE output modes the run lengths. {FORMS}",
    )
    segmentation_shape: list[int] | None = Field(default=None, description=SIZE, examples=[[1200, 1800]])
    area: int = Field(description="Pixels in the mask.")
    bbox: tuple[float, float, float, float] = Field(
        description="The box as sam2 gives it: x, y, and the distances between first and last column and row."
    )
    predicted_iou: float = Field(description="Quality that the model predicts.")
    point_coords: list[tuple[float, float]] = Field(description="The points that gave this mask: x, y.")
    stability_score: float = Field(description="Stability under a change of the threshold.")
    crop_box: tuple[float, float, float, float] = Field(
        description="The crop it was found in: x, y, width, height."
    )


class AutoMasks(JsonReply):
    """Masks of everything in a picture."""

    masks: list[Mask] = Field(description="The masks.")
    num_masks: int = Field(description="How many there are.")
    label_map: str | None = Field(
        default=None, description=f"For label_map: {LABELS} the index in `masks`, best mask on top."
    )
    label_map_shape: list[int] | None = Field(default=None, description=SIZE, examples=[[1200, 1800]])


class Estimate(JsonReply):
    """What a request would cost, and how long it would wait: about so, for others may come meanwhile."""

    cost_s: float = Field(description="Seconds of a worker: preparing and computing.", examples=[0.42])
    basis: Literal["assumed", "same_model", "alike"] = Field(
        description="What that is made of: nothing that is known, what other requests of this kind have cost with the "
        "model, or what those have cost that have the same options and about the same size."
    )
    wait_s: float = Field(description="Seconds until a worker begins with it.", examples=[1.5])
    model: str = Field(description="Key of the model that would answer.", examples=["demo-clip"])
    model_loaded: bool = Field(
        description="Whether a worker has it in memory; else loading it comes on top of that."
    )
    queue_bytes: int = Field(
        description="Bytes that it would hold while it waits, of those that max_queue_bytes allows all together.",
        examples=[48213],
    )
    answer_bytes: int = Field(
        description="Bytes of the answer's arrays, masks and texts, before base64; 0 where nothing is known.",
        examples=[1572864],
    )


class DescribedObject(Mask):
    """One object of a picture: its mask, and where it stands among the others."""

    level: int = Field(description="How many objects contain it, one in the other: 0 is a whole.")
    parent: int | None = Field(description="Index of the smallest object that contains it; null of a whole.")
    granularity: str | None = Field(default=None, description="Its list of those that were asked for.")


class ObjectVectors(JsonReply):
    """The vectors of all objects in one way."""

    vectors: str = Field(
        description=f"A row of length 1 for each object, {ENCODED}; of another type where that was asked for."
    )
    shape: list[int] = Field(description="Objects and channels.", examples=[[12, 768]])
    model: str = Field(description="The model whose vectors they are.", examples=["clip-vit-l-14-336-openai"])
    dtype: str | None = Field(
        default=None, description="Their type, where it is not float32.", examples=["float16"]
    )
    rounding: Rounding | None = Field(default=None, description="What that type has cost.")


class DescribedObjects(JsonReply):
    """Objects of a picture, and vectors that describe them."""

    objects: list[DescribedObject] = Field(description="The objects.")
    num_objects: int = Field(description="How many there are.")
    descriptors: list[ObjectVectors] = Field(description="Their vectors, one matrix for each descriptor.")
    label_map: str | None = Field(default=None, description=f"For label_map: {LABELS} the object's index.")
    label_map_shape: list[int] | None = Field(default=None, description=SIZE, examples=[[1200, 1800]])


class ObjectMatch(JsonReply):
    """An object that fits."""

    object: int = Field(description="Its index in `objects`.")
    score: float = Field(description="How well it fits.")


class ObjectMatches(JsonReply):
    """The objects that fit one text or vector."""

    matches: list[ObjectMatch] = Field(description="The best first.")


class FoundObjects(JsonReply):
    """Objects that were looked for."""

    objects: list[DescribedObject] = Field(description="All that fit anything, each once.")
    num_objects: int = Field(description="How many there are.")
    found: list[ObjectMatches] = Field(description="For each text or vector those that fit it.")
    descriptor_models: list[str] = Field(description="The models whose vectors they were compared by.")
    label_map: str | None = Field(
        default=None, description=f"For label_map: {LABELS} the index in `objects`."
    )
    label_map_shape: list[int] | None = Field(default=None, description=SIZE, examples=[[1200, 1800]])
    text_map: str | None = Field(
        default=None, description="Base64 of uint16: 0 where nothing fits, else 1 + the index of the text."
    )
    text_map_shape: list[int] | None = Field(default=None, description=SIZE, examples=[[1200, 1800]])
