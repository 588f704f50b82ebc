"""`python -m featsvc.demo.show OUT.png`: asks a running server about a drawn picture, and draws what it answers."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import grpc
import numpy as np
from numpy.typing import NDArray

from featsvc.demo.scenes import HELD_OUT_SEED, Scene, SceneOptions, draw
from featsvc.twin.arrays import to_array
from featsvc.v1 import clip_pb2, clip_pb2_grpc, dino_pb2, dino_pb2_grpc, image_pb2, sam2_pb2, sam2_pb2_grpc

Pixels = NDArray[np.uint8]
SIDE = 256
MARGIN = 8


def main() -> None:
    """Four panels side by side: the picture, DINO features, CLIP similarity, SAM2 masks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("out", type=Path)
    parser.add_argument("--target", default="localhost:50051", help="address of the gRPC server")
    parser.add_argument("--api-key", default="smfeats")
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED + 500_000, help="which picture is drawn")
    arguments = parser.parse_args()
    scene = draw(arguments.seed, SceneOptions(min_objects=5, max_objects=6))
    metadata = (("authorization", f"Bearer {arguments.api_key}"),)
    with grpc.insecure_channel(
        arguments.target, options=[("grpc.max_receive_message_length", -1)]
    ) as channel:
        panels = [scene.image, *answers(channel, metadata, scene)]
    gap = np.full((SIDE, MARGIN, 3), 255, np.uint8)
    spaced = [part for panel in panels for part in (panel, gap)][:-1]
    cv2.imwrite(str(arguments.out), cv2.cvtColor(np.concatenate(spaced, axis=1), cv2.COLOR_RGB2BGR))
    print(f"{arguments.out}: {scene.caption}; the third panel asks for {scene.objects[0].text!r}")


def answers(channel: grpc.Channel, metadata: tuple[tuple[str, str], ...], scene: Scene) -> list[Pixels]:
    """DINO's three strongest components, where CLIP sees the first object, and all masks."""
    image = image_pb2.Image(
        content=cv2.imencode(".png", cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR))[1].tobytes()
    )
    dino = dino_pb2_grpc.DinoServiceStub(channel).ExtractFeatures(
        dino_pb2.DinoServiceExtractFeaturesRequest(
            image=image,
            params=dino_pb2.DinoExtractFeaturesParams(load_size=448, ret_pca=True, ret_patches=False),
        ),
        metadata=metadata,
    )
    clip = clip_pb2_grpc.ClipServiceStub(channel).ComputeSimilarity(
        clip_pb2.ComputeSimilarityRequest(
            image=image,
            query=clip_pb2.TextQuery(text=[scene.objects[0].text]),
            params=clip_pb2.ComputeSimilarityParams(load_size=SIDE, ret_patches=False, softmax=0),
        ),
        metadata=metadata,
    )
    sam2 = sam2_pb2_grpc.Sam2ServiceStub(channel).GenerateMasks(
        sam2_pb2.GenerateMasksRequest(
            image=image, params=sam2_pb2.GenerateMasksParams(preset=sam2_pb2.PRESET_COARSE)
        ),
        metadata=metadata,
    )
    colours = cv2.resize((to_array(dino.features) * 255).astype(np.uint8), (SIDE, SIDE))
    masks = [to_array(mask.bitmap).astype(bool) for mask in sam2.masks]
    return [
        colours.astype(np.uint8),
        heat(to_array(clip.similarity_map), scene.image),
        outlined(masks, scene.image),
    ]


def heat(similarity: NDArray[np.generic], picture: Pixels) -> Pixels:
    """The map as colours over the picture in grey, H x W x 3."""
    low, high = np.quantile(similarity.astype(np.float32), [0.5, 0.999])
    scaled = np.clip((similarity.astype(np.float32) - low) / max(float(high - low), 1e-9), 0, 1)
    colours = cv2.applyColorMap((scaled * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(grey, 0.35, np.ascontiguousarray(colours), 0.65, 0).astype(np.uint8)


def outlined(masks: list[NDArray[np.bool_]], picture: Pixels) -> Pixels:
    """Each mask in a colour of its own over the picture, large ones first, H x W x 3."""
    painted = picture.copy()
    random = np.random.default_rng(4)
    for mask in sorted(masks, key=lambda each: -int(each.sum())):
        colour = random.integers(60, 256, 3)
        painted[mask] = (0.4 * painted[mask] + 0.6 * colour).astype(np.uint8)
        edges, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(painted, edges, -1, (255, 255, 255), 1)
    return painted


if __name__ == "__main__":
    main()
