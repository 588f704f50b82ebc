"""The documented CLIP functions, over REST. Every option of the service is a keyword argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from featsvc.v1 import schema
from featsvc_client import rest
from featsvc_client.arguments import (
    CONNECTION,
    ClipFeatureArguments,
    SimilarityArguments,
    TextArguments,
    with_first,
)
from featsvc_client.documented import documented
from featsvc_client.pictures import ImageLike, encode_image, picture
from featsvc_client.rest_features import rest_features
from featsvc_client.tensors import decoded

__all__ = [
    "compute_clip_similarity",
    "compute_clip_similarity_decoded",
    "decode_features",
    "decode_similarity_map",
    "decode_text_embedding",
    "encode_clip_text",
    "encode_clip_text_decoded",
    "encode_image",
    "extract_clip_features",
    "extract_clip_features_decoded",
]

BASE_URL = "http://localhost:8096"
EXTRACT = rest.Endpoint("/extract", "ClipService")
ENCODE_TEXT = rest.Endpoint("/encode_text", "ClipService")
SIMILARITY = rest.Endpoint("/similarity", "ClipService")


class RoundingReply(TypedDict):
    """What writing features in fewer bits has cost; `scale` is base64 float32, one for each channel of int8."""

    largest_error: float
    mean_error: float
    scale: NotRequired[str]


class FeaturesReply(TypedDict):
    """Features as the service sends them; `decode_features` makes an array of those in float32."""

    features: str
    shape: list[int]
    is_pca: bool
    dtype: NotRequired[str]
    """Where it is not float32."""
    rounding: NotRequired[RoundingReply]
    pca_basis: NotRequired[str]
    """Name of the basis of principal components, where that was asked for."""


class TextReply(TypedDict):
    """Text embeddings as the service sends them; `decode_text_embedding` makes an array of them."""

    text_embedding: str
    shape: list[int]


class SimilarityReply(TypedDict):
    """A similarity map as the service sends it; `decode_similarity_map` makes an array of it."""

    similarity_map: str
    shape: list[int]


@documented(schema.Image, schema.ClipExtractFeaturesParams, beside=CONNECTION)
def extract_clip_features(image: ImageLike, **arguments: Unpack[ClipFeatureArguments]) -> FeaturesReply:
    """Dense features of a picture, as sent."""
    return cast(FeaturesReply, rest.post(BASE_URL, EXTRACT, picture(image).body, arguments))


@documented(schema.Texts, schema.EncodeTextParams, beside=CONNECTION)
def encode_clip_text(
    texts: str | Sequence[str] | None = None, /, **arguments: Unpack[TextArguments]
) -> TextReply:
    """Embeddings of one or many texts, as sent."""
    return cast(TextReply, rest.post(BASE_URL, ENCODE_TEXT, {}, with_first(schema.Texts, texts, arguments)))


@documented(schema.Image, schema.TextQuery, schema.ComputeSimilarityParams, beside=CONNECTION)
def compute_clip_similarity(image: ImageLike, **arguments: Unpack[SimilarityArguments]) -> SimilarityReply:
    """How well each place of a picture fits one or many texts, as sent."""
    return cast(SimilarityReply, rest.post(BASE_URL, SIMILARITY, picture(image).body, arguments))


# The document has three names for one encoding: base64 float32 and a shape.
decode_features = decode_text_embedding = decode_similarity_map = decoded


@documented(schema.Image, schema.ClipExtractFeaturesParams, beside=CONNECTION)
def extract_clip_features_decoded(
    image: ImageLike, **arguments: Unpack[ClipFeatureArguments]
) -> NDArray[np.float32]:
    """Dense features of a picture, float32, H x W x D (D x H x W if asked, N x D at points)."""
    return rest_features(rest.post_for_tensor(BASE_URL, EXTRACT, picture(image).body, arguments), arguments)


@documented(schema.Texts, schema.EncodeTextParams, beside=CONNECTION)
def encode_clip_text_decoded(
    texts: str | Sequence[str] | None = None, /, **arguments: Unpack[TextArguments]
) -> NDArray[np.float32]:
    """Embeddings of texts, each of length 1: N x D for a list of them, D for one text alone."""
    reply = encode_clip_text(texts, **arguments)
    return decode_text_embedding(reply["text_embedding"], reply["shape"])


@documented(schema.Image, schema.TextQuery, schema.ComputeSimilarityParams, beside=CONNECTION)
def compute_clip_similarity_decoded(
    image: ImageLike, **arguments: Unpack[SimilarityArguments]
) -> NDArray[np.float32]:
    """How well each place of a picture fits a text, H x W; for a list of texts N x H x W."""
    reply = compute_clip_similarity(image, **arguments)
    return decode_similarity_map(reply["similarity_map"], reply["shape"])
