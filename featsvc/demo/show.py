"""Asks a running server about a drawn picture, and draws what it answers."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import grpc
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from featsvc.codec.arrays import to_array
from featsvc.demo.drawing.scenes import HELD_OUT_SEED, Scene, SceneOptions, draw
from featsvc.errors import FeatsvcError, InvalidArgument, Unauthenticated, Unavailable
from featsvc.v1 import (
    clip_pb2,
    clip_pb2_grpc,
    dino_pb2,
    dino_pb2_grpc,
    features_pb2,
    image_pb2,
    sam2_pb2,
    sam2_pb2_grpc,
)

Pixels = NDArray[np.uint8]
SEED = HELD_OUT_SEED + 500_000
SHOWN = SceneOptions(min_objects=5, max_objects=6)
SIDE = 256
MARGIN, TITLE = 8, 26
BACKGROUND = 0.5
"""A mask of more than this part of the picture is what is behind all else: its colour would only dull the others."""


def show(
    out: Path,
    target: str,
    api_key: str | None,
    seed: int | None = None,
    credentials: grpc.ChannelCredentials | None = None,
) -> str:
    """Writes four panels (the picture, DINO features, CLIP similarity, SAM2 masks), and says what they are.

    Raises Unavailable where no server answers, Unauthenticated for a wrong key, FeatsvcError for what it answers else.
    """
    if not cv2.haveImageWriter(str(out)):
        raise InvalidArgument(f"{out}: give a path that ends as a picture's, such as .png")
    scene = draw(SEED if seed is None else seed, SHOWN)
    metadata = () if api_key is None else (("authorization", f"Bearer {api_key}"),)
    options = [("grpc.max_receive_message_length", -1)]
    with (
        grpc.insecure_channel(target, options)
        if credentials is None
        else grpc.secure_channel(target, credentials, options)
    ) as channel:
        try:
            panels = [scene.image, *answers(channel, metadata, scene)]
        except grpc.RpcError as error:
            raise _told(error, target, has_key=api_key is not None) from None
    sought = in_english(scene.objects[0].text)
    titles = (
        "the picture",
        "DINO: features as colours",
        f"CLIP: where is '{sought}'?",
        "SAM2: masks of everything",
    )
    if not cv2.imwrite(str(out), cv2.cvtColor(titled(panels, titles), cv2.COLOR_RGB2BGR)):
        raise InvalidArgument(f"{out} cannot be written: give a path of a .png in a folder that is there")
    return (
        f"{out}: {in_english(scene.caption)}. From left to right the picture, DINO's features as colours, "
        f"where CLIP sees {sought!r}, SAM2's masks"
    )


def _told(error: grpc.RpcError, target: str, *, has_key: bool) -> FeatsvcError:
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(f"no server answers at {target}: start one (`make serve`), or name it by --target")
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        what = (
            "does not take this key" if has_key else "knows nobody by this certificate, and no key was given"
        )
        return Unauthenticated(f"the server {what}: give its own by FEATSVC_API_KEY or --api-key")
    return FeatsvcError(f"the server at {target} answers {error.code().name}: {error.details()}")


def answers(channel: grpc.Channel, metadata: tuple[tuple[str, str], ...], scene: Scene) -> list[Pixels]:
    """DINO's three strongest components, where CLIP sees the first object, and all masks."""
    image = image_pb2.Image(
        content=cv2.imencode(".png", cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR))[1].tobytes()
    )
    dino = dino_pb2_grpc.DinoServiceStub(channel).ExtractFeatures(
        dino_pb2.DinoServiceExtractFeaturesRequest(
            image=image,
            params=dino_pb2.DinoParams(load_size=448),
            grid=features_pb2.GridParams(ret_patches=False),
            features=features_pb2.FeatureParams(ret_pca=True),
        ),
        metadata=metadata,
    )
    clip = clip_pb2_grpc.ClipServiceStub(channel).ComputeSimilarity(
        clip_pb2.ComputeSimilarityRequest(
            image=image,
            query=clip_pb2.TextQuery(text=[scene.objects[0].text]),
            params=clip_pb2.ClipParams(load_size=SIDE),
            grid=features_pb2.GridParams(ret_patches=False),
            similarity=clip_pb2.SimilarityParams(softmax=0),
        ),
        metadata=metadata,
    )
    sam2 = sam2_pb2_grpc.Sam2ServiceStub(channel).GenerateMasks(
        sam2_pb2.GenerateMasksRequest(image=image, params=sam2_pb2.AutomaticMaskParams(points_per_side=32)),
        metadata=metadata,
    )
    colours = cv2.resize((to_array(dino.features) * 255).astype(np.uint8), (SIDE, SIDE))
    masks = [to_array(mask.bitmap).astype(bool) for mask in sam2.masks]
    return [
        colours.astype(np.uint8),
        heat(to_array(clip.similarity_map), scene.image),
        outlined(masks, scene.image),
    ]


def in_english(text: str) -> str:
    """A phrase that demo-clip was trained with, such as 'a orange ring', as people write it."""
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def titled(panels: list[Pixels], titles: tuple[str, ...]) -> Pixels:
    """The panels side by side, each under its title."""
    sheet = Image.new("RGB", (len(panels) * (SIDE + MARGIN) - MARGIN, SIDE + TITLE), "white")
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        x = number * (SIDE + MARGIN)
        canvas.text((x + 2, 3), title, "black", font)
        sheet.paste(Image.fromarray(panel), (x, TITLE))
    return np.asarray(sheet)


def heat(similarity: NDArray[np.generic], picture: Pixels) -> Pixels:
    """The map as colours over the picture in grey, H x W x 3."""
    low, high = np.quantile(similarity.astype(np.float32), [0.5, 0.999])
    scaled = np.clip((similarity.astype(np.float32) - low) / max(float(high - low), 1e-9), 0, 1)
    colours = cv2.applyColorMap((scaled * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(grey, 0.35, np.ascontiguousarray(colours), 0.65, 0).astype(np.uint8)


def outlined(masks: list[NDArray[np.bool_]], picture: Pixels) -> Pixels:
    """Each mask but the background's in a colour of its own over the picture, large ones first, H x W x 3."""
    painted = picture.copy()
    shown = [mask for mask in masks if mask.mean() <= BACKGROUND]
    for number, mask in enumerate(sorted(shown, key=lambda each: -int(each.sum()))):
        # The golden ratio keeps the hues of neighbours in this order far apart.
        hue = np.array([[[number * 0.618 % 1 * 180, 200, 255]]]).astype(np.uint8)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0]
        painted[mask] = (0.35 * painted[mask] + 0.65 * colour).astype(np.uint8)
        edges, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(painted, edges, -1, (255, 255, 255), 1)
    return painted
