"""What the gRPC clients answer about features and texts: frozen values with numpy arrays.

Arrays are read-only views of the answer where they can be: copy one before writing into it.
Answers without arrays (geometry, models, status) stay the contract's own messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featsvc.codec.arrays import stored, to_array, widened
from featsvc.codec.timing import Timing
from featsvc.errors import InvalidArgument
from featsvc.twin.messages import words
from featsvc.v1 import clip_pb2, dino_pb2, estimate_pb2, image_pb2, sam2_pb2, tensor_pb2
from featsvc_client.brief import Brief
from featsvc_client.errors import damaged

TENSORS_OF_EMBEDDING = tuple(
    field.name
    for field in sam2_pb2.EmbedImageResponse.DESCRIPTOR.fields
    if field.message_type is tensor_pb2.Tensor.DESCRIPTOR
)
BASES = words(estimate_pb2.CostBasis.DESCRIPTOR)


@dataclass(frozen=True)
class Beside:
    """What comes with a reply and is not in it."""

    timing: Timing | None = None
    data: memoryview | None = None
    """Of its tensor, where that came in pieces."""


@dataclass(frozen=True, eq=False, repr=False)
class Rounding(Brief):
    """What writing features in fewer bits has cost, against float32."""

    largest_error: float
    mean_error: float
    scale: NDArray[np.float32] | None = None
    """For int8: one factor for each channel, of a shape that multiplies the raw array."""


@dataclass(frozen=True, eq=False, repr=False)
class Features(Brief):
    """Dense features of a picture."""

    raw: NDArray[np.generic]
    """The features as they were sent: float32, float16, int8 to be scaled, or the bits of bfloat16 as uint16."""
    is_pca: bool
    geometry: image_pb2.Geometry
    """How the grid lies on the picture."""
    model: str
    """Key of the model that answered."""
    image_digest: str = ""
    """Name of the picture: give it instead of the picture in further questions."""
    rounding: Rounding | None = None
    """What was rounded; None for float32."""
    image_orientation: int = 0
    """How its file says that it is to be shown, as EXIF counts; 1 is upright, 0 not told."""
    timing: Timing | None = field(default=None, compare=False, repr=False)
    """What the answer has taken; None where the server does not say."""
    pca_basis: str | None = None
    """Name of the basis of principal components, where that was asked for: give it to further questions."""

    @cached_property
    def array(self) -> NDArray[np.float32]:
        """The features as float32, H x W x D (D x H x W if asked, N x D at points); D is 3 for principal components."""
        scale = None if self.rounding is None else self.rounding.scale
        return as_float32(self.raw, scale)


@dataclass(frozen=True, eq=False, repr=False)
class Embeddings(Brief):
    """Embeddings of texts or of a picture."""

    array: NDArray[np.float32]
    """N x D, each row of length 1."""
    model: str
    image_digest: str = ""
    """Name of the picture, if it is about one."""
    image_orientation: int = 0
    """How its file says that it is to be shown, as EXIF counts; 1 is upright, 0 not told."""
    timing: Timing | None = field(default=None, compare=False, repr=False)
    """What the answer has taken; None where the server does not say."""


@dataclass(frozen=True, eq=False, repr=False)
class Similarity(Brief):
    """How well each place of a picture fits each text."""

    array: NDArray[np.float32]
    """H x W for one text, N x H x W for several."""
    geometry: image_pb2.Geometry
    model: str
    image_digest: str = ""
    image_orientation: int = 0
    """How its file says that it is to be shown, as EXIF counts; 1 is upright, 0 not told."""
    timing: Timing | None = field(default=None, compare=False, repr=False)
    """What the answer has taken; None where the server does not say."""


@dataclass(frozen=True, eq=False, repr=False)
class EmbeddedImage(Brief):
    """A picture that is encoded and waits for questions."""

    image_digest: str
    size_bytes: int
    """Memory that it takes in the cache of the worker."""
    was_cached: bool
    """Whether it was there before."""
    height: int
    """Of the picture as sent, in pixels."""
    width: int
    model: str
    image_orientation: int = 0
    """How its file says that it is to be shown, as EXIF counts; 1 is upright, 0 not told."""
    timing: Timing | None = field(default=None, compare=False, repr=False)
    """What the answer has taken; None where the server does not say."""
    image_embed: NDArray[np.generic] | None = None
    """1 x C x S/16 x S/16 where the embedding itself was asked for, of a network that sees S x S pixels.

    All three have the element type that was asked for, but for bfloat16, which becomes float32."""
    high_res_feats_0: NDArray[np.generic] | None = None
    """1 x C/8 x S/4 x S/4."""
    high_res_feats_1: NDArray[np.generic] | None = None
    """1 x C/4 x S/8 x S/8."""


@dataclass(frozen=True)
class Estimate:
    """What a call would cost, and how long it would wait: about so, for others may come meanwhile."""

    cost_s: float
    """Seconds of a worker: preparing and computing."""
    basis: str
    """`alike`: what those have cost that have the same options and about the same size; `same_model`: what others have
    cost with the model; `assumed`: nothing is known."""
    wait_s: float
    """Seconds until a worker begins with it."""
    model: str
    """Key of the model that would answer."""
    model_loaded: bool
    """Whether a worker has it in memory; else loading it comes on top of that."""
    queue_bytes: int
    """Bytes that it would hold while it waits, of those that the server's max_queue_bytes allows all together."""
    answer_bytes: int
    """Bytes of the answer's arrays, masks and texts, by what others like it or of this model had; 0 where there were
    none."""


def features(
    reply: clip_pb2.ClipServiceExtractFeaturesResponse | dino_pb2.DinoServiceExtractFeaturesResponse,
    beside: Beside,
) -> Features:
    """The features of an answer."""
    raw, rounding = sent(reply, reply.features, beside.data)
    return Features(
        raw,
        reply.is_pca,
        reply.geometry,
        reply.model,
        reply.image_digest,
        rounding,
        reply.image_orientation,
        beside.timing,
        reply.pca_basis or None,
    )


def embedded_texts(reply: clip_pb2.EncodeTextResponse, beside: Beside) -> Embeddings:
    """The text embeddings of an answer."""
    return Embeddings(floats(reply.text_embedding), reply.model, timing=beside.timing)


def embedded_picture(reply: clip_pb2.EncodeImageResponse, beside: Beside) -> Embeddings:
    """The picture embedding of an answer, 1 x D."""
    return Embeddings(
        floats(reply.image_embedding),
        reply.model,
        reply.image_digest,
        reply.image_orientation,
        beside.timing,
    )


def similarity(reply: clip_pb2.ComputeSimilarityResponse, beside: Beside) -> Similarity:
    """The map of an answer."""
    return Similarity(
        floats(reply.similarity_map),
        reply.geometry,
        reply.model,
        reply.image_digest,
        reply.image_orientation,
        beside.timing,
    )


def embedded(reply: sam2_pb2.EmbedImageResponse, beside: Beside) -> EmbeddedImage:
    """What is known of an encoded picture."""
    return EmbeddedImage(
        reply.image_digest,
        reply.size_bytes,
        reply.was_cached,
        reply.height,
        reply.width,
        reply.model,
        reply.image_orientation,
        beside.timing,
        **{name: array(getattr(reply, name)) for name in TENSORS_OF_EMBEDDING if reply.HasField(name)},
    )


def estimate(reply: estimate_pb2.EstimateResponse, _: Beside) -> Estimate:
    """What is told of a call."""
    basis = BASES.get(reply.basis, "")
    beside = reply.model, reply.model_loaded, reply.queue_bytes, reply.answer_bytes
    return Estimate(reply.cost_s, basis, reply.wait_s, *beside)


def sent(
    reply: Any,  # Any: messages with a field `rounding` share no type
    tensor: tensor_pb2.Tensor,
    data: memoryview | None = None,
) -> tuple[NDArray[np.generic], Rounding | None]:
    """A tensor as it was sent, perhaps with its data in pieces, and what rounding it has cost.

    Raises ServerError where its data do not fit its shape, or integers come without their scale.
    """
    try:
        raw = stored(tensor.dtype, tensor.shape, tensor.data if data is None else data)
    except InvalidArgument as error:
        raise damaged(error.message) from error
    rounding = _rounding(reply.rounding, raw.shape) if reply.HasField("rounding") else None
    if raw.dtype == np.int8 and (rounding is None or rounding.scale is None):
        raise damaged("int8 features without their scale")
    return raw, rounding


def floats(tensor: tensor_pb2.Tensor) -> NDArray[np.float32]:
    """The elements of any number type as float32."""
    return array(tensor).astype(np.float32, copy=False)


def array(tensor: tensor_pb2.Tensor) -> NDArray[np.generic]:
    """The elements; raises ServerError where they do not fit their shape."""
    try:
        return to_array(tensor)
    except InvalidArgument as error:
        raise damaged(error.message) from error


def as_float32(raw: NDArray[np.generic], scale: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Features as sent (bfloat16 as uint16) as float32; `scale` multiplies int8."""
    if raw.dtype == np.uint16:
        return widened(raw)
    if scale is None:
        return raw.astype(np.float32, copy=False)
    return np.multiply(raw.view(np.int8), scale, dtype=np.float32)


def beside_channels(scale: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The factors of the channels in a shape that multiplies features: theirs are the last axis, or else the first."""
    flat = scale.ndim == 1 and len(shape) == 3 and shape[-1] != scale.size
    factors = scale.reshape(-1, 1, 1) if flat else scale
    try:
        np.broadcast_to(factors, shape)
    except ValueError as error:
        raise damaged(f"{scale.size} factors for features of shape {shape}") from error
    return factors


def _rounding(rounding: tensor_pb2.Rounding, shape: tuple[int, ...]) -> Rounding:
    """What rounding features of this shape has cost."""
    scale = beside_channels(floats(rounding.scale), shape) if rounding.HasField("scale") else None
    return Rounding(rounding.largest_error, rounding.mean_error, scale)
