"""The questions that clients ask, as bytes for each wire. Every index is another question, so that no cache helps."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from featsvc.v1 import clip_pb2, dino_pb2, image_pb2, sam2_pb2, schema
from tests.bench.pictures import photo, shapes, small_pictures
from tests.parts import parts

WORDS = (  # noqa: SIM905
    "photo red green blue small large old new wooden metal car dog cat tree house river bridge street table "
    "chair lamp window door garden mountain lake boat train plane bicycle horse bird fish flower stone wall "
    "roof field sky cloud sun moon night morning winter summer north south left right near far bright dark"
).split()
VARIANTS = 16
"""Different pictures of one size."""


@dataclass(frozen=True)
class Question:
    """One kind of call: its gRPC method and message, its REST path and body."""

    method: str
    # Any: the message class of the method.
    message: Callable[[int, Mapping[str, Any]], Any]
    path: str
    body: Callable[[int, Mapping[str, Any]], dict[str, object]]


def sentence(index: int) -> str:
    """Nine words, others for each index."""
    rng = np.random.default_rng(index)
    return "a " + " ".join(rng.choice(WORDS, 8))


def image_of(index: int, args: Mapping[str, Any]) -> bytes:
    """A picture of `width` x `height`, or a small one."""
    if "width" not in args:
        return small_pictures(VARIANTS)[index % VARIANTS]
    if "shapes" in args:
        return shapes(args["width"], args["height"], args["shapes"])
    return photo(args["width"], args["height"], args.get("seed", index % args.get("variants", VARIANTS)))


def _clip(args: Mapping[str, Any]) -> dict[str, Any]:
    name, _, tag = args["model"].rpartition("/") if "/" in args["model"] else (args["model"], "", "demo")
    return {"model_name": name, "model_pretrained": tag}


def _dense(args: Mapping[str, Any]) -> dict[str, Any]:
    side = args.get("side", 224)
    return {**_clip(args), "load_size": side, "center_crop": True}


def _dino(args: Mapping[str, Any]) -> dict[str, Any]:
    return {"model_type": args["model"], "load_size": args.get("side", 224)}


def _sam2(args: Mapping[str, Any]) -> dict[str, Any]:
    return {"model_cfg": args["model"], "checkpoint_path": args["model"]}


def _encoded(index: int, args: Mapping[str, Any]) -> str:
    return base64.b64encode(image_of(index, args)).decode()


def _picture(index: int, args: Mapping[str, Any]) -> image_pb2.Image:
    if "digest" in args:
        return image_pb2.Image(digest=args["digest"])
    return image_pb2.Image(content=image_of(index, args))


def _point(index: int, args: Mapping[str, Any]) -> tuple[int, int]:
    width, height = args.get("width", 192), args.get("height", 192)
    return (index * 37) % (width - 2) + 1, (index * 53) % (height - 2) + 1


def _prompt(index: int, args: Mapping[str, Any]) -> sam2_pb2.Prompt:
    x, y = _point(index, args)
    return sam2_pb2.Prompt(point_coords=[sam2_pb2.Point(x=x, y=y)], point_labels=[1])


QUESTIONS: Mapping[str, Question] = {
    "text": Question(
        "/featsvc.v1.ClipService/EncodeText",
        lambda index, args: clip_pb2.EncodeTextRequest(
            texts=clip_pb2.Texts(text=[sentence(index)]), model=clip_pb2.ClipModel(**_clip(args))
        ),
        "/encode_text",
        lambda index, args: {"text": sentence(index), **_clip(args)},
    ),
    "embed": Question(
        "/featsvc.v1.ClipService/EncodeImage",
        lambda index, args: clip_pb2.EncodeImageRequest(
            image=_picture(index, args), model=clip_pb2.ClipModel(**_clip(args))
        ),
        "/encode_image",
        lambda index, args: {"image": _encoded(index, args), **_clip(args)},
    ),
    "dense": Question(
        "/featsvc.v1.ClipService/ExtractFeatures",
        lambda index, args: clip_pb2.ClipServiceExtractFeaturesRequest(
            image=_picture(index, args), **parts(schema.ClipExtractFeaturesParams, _dense(args))
        ),
        "/extract",
        lambda index, args: {"image": _encoded(index, args), **_dense(args)},
    ),
    "chunked": Question(
        "/featsvc.v1.ClipService/ExtractFeaturesChunked",
        lambda index, args: clip_pb2.ClipServiceExtractFeaturesChunkedRequest(
            request=clip_pb2.ClipServiceExtractFeaturesRequest(
                image=_picture(index, args), **parts(schema.ClipExtractFeaturesParams, _dense(args))
            )
        ),
        "/extract",
        lambda index, args: {"image": _encoded(index, args), **_dense(args)},
    ),
    "dino": Question(
        "/featsvc.v1.DinoService/ExtractFeatures",
        lambda index, args: dino_pb2.DinoServiceExtractFeaturesRequest(
            image=_picture(index, args), **parts(schema.DinoExtractFeaturesParams, _dino(args))
        ),
        "/extract",
        lambda index, args: {"image": _encoded(index, args), **_dino(args)},
    ),
    "click": Question(
        "/featsvc.v1.Sam2Service/PredictMasks",
        lambda index, args: sam2_pb2.PredictMasksRequest(
            image=_picture(index, args),
            prompts=[_prompt(index, args)],
            model=sam2_pb2.Sam2Model(**_sam2(args)),
        ),
        "/prompt_mask",
        lambda index, args: {
            "image": _encoded(index, args),
            "point_coords": [_point(index, args)],
            "point_labels": [1],
            **_sam2(args),
        },
    ),
    "masks": Question(
        "/featsvc.v1.Sam2Service/GenerateMasks",
        lambda index, args: sam2_pb2.GenerateMasksRequest(
            image=_picture(index, args),
            **parts(schema.GenerateMasksParams, {**_sam2(args), **args.get("options", {})}),
        ),
        "/auto_mask",
        lambda index, args: {"image": _encoded(index, args), **_sam2(args), **args.get("rest_options", {})},
    ),
}


def grpc_bytes(kind: str, index: int, args: Mapping[str, Any]) -> bytes:
    """The message of a question."""
    content: bytes = QUESTIONS[kind].message(index, args).SerializeToString()
    return content


def json_bytes(kind: str, index: int, args: Mapping[str, Any]) -> bytes:
    """The body of a question."""
    return orjson.dumps(QUESTIONS[kind].body(index, args))
