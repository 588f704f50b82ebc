"""The documented DINO functions, over REST. Every option of the service is a keyword argument."""

from __future__ import annotations

from typing import Unpack, cast

import numpy as np
from numpy.typing import NDArray

from featsvc.v1 import schema
from featsvc_client import rest
from featsvc_client.arguments import CONNECTION, DinoFeatureArguments
from featsvc_client.clip_client import FeaturesReply, decode_features
from featsvc_client.documented import documented
from featsvc_client.pictures import ImageLike, encode_image, picture
from featsvc_client.rest_features import rest_features

__all__ = ["decode_features", "encode_image", "extract_dino_features", "extract_dino_features_decoded"]

BASE_URL = "http://localhost:8097"
EXTRACT = rest.Endpoint("/extract", "DinoService")


@documented(schema.Image, schema.DinoExtractFeaturesParams, beside=CONNECTION)
def extract_dino_features(image: ImageLike, **arguments: Unpack[DinoFeatureArguments]) -> FeaturesReply:
    """Dense features of a picture, as sent."""
    return cast(FeaturesReply, rest.post(BASE_URL, EXTRACT, picture(image).body, arguments))


@documented(schema.Image, schema.DinoExtractFeaturesParams, beside=CONNECTION)
def extract_dino_features_decoded(
    image: ImageLike, **arguments: Unpack[DinoFeatureArguments]
) -> NDArray[np.float32]:
    """Dense features of a picture, float32, H x W x D (D x H x W if asked, N x D at points)."""
    return rest_features(rest.post_for_tensor(BASE_URL, EXTRACT, picture(image).body, arguments), arguments)
