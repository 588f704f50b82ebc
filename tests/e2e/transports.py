"""The same questions over REST and gRPC: each transport answers arrays under the same names."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from featsvc_client import FeatsvcClient, clip_client, dino_client, rest, sam2_client
from featsvc_client.arguments import Connection
from featsvc_client.mask_results import Mask
from featsvc_client.masks import from_entries
from featsvc_client.pictures import ImageLike, picture
from featsvc_client.tensors import decoded
from numpy.typing import NDArray

from tests.servers import KEY, Server

Arrays = Mapping[str, NDArray[np.generic]]
ENCODE_IMAGE = rest.Endpoint("/encode_image", "ClipService")
EMBED_IMAGE = rest.Endpoint("/embed_image", "Sam2Service")
EMBEDDING = ("image_embed", "high_res_feats_0", "high_res_feats_1")
# Any: the parameters of a case, which the server checks.
Params = Mapping[str, Any]


class Transport(Protocol):
    """One way to ask the server."""

    def ask(self, operation: str, image: ImageLike, params: Params) -> Arrays:
        """The answer to an operation of OPERATIONS; `image` is ignored by those about text."""


@dataclass(frozen=True)
class Rest:
    """The documented functions."""

    server: Server
    api_key: str = KEY
    timeout_s: float = 120.0

    def ask(self, operation: str, image: ImageLike, params: Params) -> Arrays:
        return REST[operation](self, image, params)

    def at(self, family: str) -> Connection:
        """Where a family's service is."""
        return {"base_url": self.server.url(family), "api_key": self.api_key, "timeout": self.timeout_s}


@dataclass(frozen=True)
class Grpc:
    """The client of arrays."""

    client: FeatsvcClient

    def ask(self, operation: str, image: ImageLike, params: Params) -> Arrays:
        return GRPC[operation](self.client, image, params)


def _listed(masks: Sequence[Mask]) -> Arrays:
    """Masks as arrays, N x H x W and so on."""
    return {
        "masks": np.array([mask.segmentation for mask in masks]),
        "area": np.array([mask.area for mask in masks]),
        "bbox": np.array([mask.bbox for mask in masks]),
        "scores": np.array([(mask.predicted_iou, mask.stability_score) for mask in masks]),
        "points": np.array([mask.point_coords for mask in masks]),
        "crop_box": np.array([mask.crop_box for mask in masks]),
    }


def _rest_image(over: Rest, image: ImageLike, params: Params) -> Arrays:
    url = over.server.url("clip")
    reply = cast(
        dict[str, Any], rest.post(url, ENCODE_IMAGE, picture(image).body, {**params, **over.at("clip")})
    )
    return {"array": decoded(reply["image_embedding"], reply["shape"])}


def _rest_embedding(over: Rest, image: ImageLike, params: Params) -> Arrays:
    url = over.server.url("sam2")
    reply = cast(
        dict[str, Any], rest.post(url, EMBED_IMAGE, picture(image).body, {**params, **over.at("sam2")})
    )
    assert reply["size_bytes"] > 0
    return {
        name: np.frombuffer(base64.b64decode(reply[name]), reply["dtype"]).reshape(reply[f"{name}_shape"])
        for name in EMBEDDING
    }


def _grpc_embedding(client: FeatsvcClient, image: ImageLike, params: Params) -> Arrays:
    found = client.embed_image(image, **params)
    return {name: getattr(found, name) for name in EMBEDDING}


def _rest_prompt(over: Rest, image: ImageLike, params: Params) -> Arrays:
    answer = sam2_client.generate_sam2_prompt_masks(image, **params, **over.at("sam2"))
    return dict(zip(("masks", "scores", "low_res"), answer, strict=True))


def _grpc_text(client: FeatsvcClient, params: Params) -> NDArray[np.generic]:
    rows = client.encode_text(**params).array
    # Over REST one text that is in no list has no axis of texts.
    return rows[0] if isinstance(params["text"], str) else rows


def _grpc_prompt(client: FeatsvcClient, image: ImageLike, params: Params) -> Arrays:
    (found,) = client.predict_masks(image, **params)
    # REST sends masks as the numbers 0 and 1.
    return {
        "masks": found.masks.astype(np.float32),
        "scores": found.iou_predictions,
        "low_res": found.low_res_masks,
    }


REST: Mapping[str, Callable[[Rest, ImageLike, Params], Arrays]] = {
    "clip_features": lambda over, image, params: {
        "array": clip_client.extract_clip_features_decoded(image, **params, **over.at("clip"))
    },
    "encode_text": lambda over, image, params: {
        "array": clip_client.encode_clip_text_decoded(**params, **over.at("clip"))
    },
    "similarity": lambda over, image, params: {
        "array": clip_client.compute_clip_similarity_decoded(image, **params, **over.at("clip"))
    },
    "encode_image": _rest_image,
    "dino_features": lambda over, image, params: {
        "array": dino_client.extract_dino_features_decoded(image, **params, **over.at("dino"))
    },
    "embedding": _rest_embedding,
    "prompt_masks": _rest_prompt,
    "auto_masks": lambda over, image, params: _listed(
        from_entries(sam2_client.generate_sam2_auto_masks_decoded(image, **params, **over.at("sam2")))
    ),
}
GRPC: Mapping[str, Callable[[FeatsvcClient, ImageLike, Params], Arrays]] = {
    "clip_features": lambda client, image, params: {"array": client.clip_features(image, **params).array},
    "encode_text": lambda client, image, params: {"array": _grpc_text(client, params)},
    "similarity": lambda client, image, params: {"array": client.similarity(image, **params).array},
    "encode_image": lambda client, image, params: {"array": client.encode_image(image, **params).array},
    "dino_features": lambda client, image, params: {"array": client.dino_features(image, **params).array},
    "embedding": _grpc_embedding,
    "prompt_masks": _grpc_prompt,
    "auto_masks": lambda client, image, params: _listed(client.generate_masks(image, **params)),
}
