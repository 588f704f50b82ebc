"""A FastAPI server that does it the usual way: one model of each kind, float32 as base64 in JSON.

It follows the examples of its libraries: open_clip's tokenizer is made for the model where it is needed, SAM2's own
predictor and generator at every request, sync endpoints that FastAPI runs in threads, a lock around the model.
"""

from __future__ import annotations

import base64
import io
import socket
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import uvicorn
from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel, ConfigDict
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.sam2_image_predictor import SAM2ImagePredictor

from tests.bench import networks
from tests.bench.bare_sam2 import Sam2
from tests.bench.fixed import features
from tests.bench.weights import CLIP

THREADS, WEIGHTS = int(sys.argv[1]), Path(sys.argv[2])
warnings.simplefilter("ignore")
torch.set_num_threads(THREADS)
app = FastAPI()
lock = threading.Lock()
sam2 = Sam2(WEIGHTS)


class Body(BaseModel):
    """What any of the endpoints takes."""

    model_config = ConfigDict(protected_namespaces=(), extra="ignore")
    image: str = ""
    text: str = ""
    model_name: str = "ViT-B-16"
    model_pretrained: str = "openai"
    point_coords: list[list[float]] = []
    point_labels: list[int] = []


def encoded(array: np.ndarray[Any, Any]) -> str:
    """The array as base64 of float32."""
    return base64.b64encode(np.ascontiguousarray(array, dtype=np.float32).tobytes()).decode()


def picture(body: Body) -> Image.Image:
    """The picture of a request."""
    return Image.open(io.BytesIO(base64.b64decode(body.image))).convert("RGB")


def clip(body: Body) -> Any:
    """The network that a request names."""
    if body.model_name not in CLIP:
        raise ValueError(f"{body.model_name} is not served")
    return networks.clip(CLIP, str(WEIGHTS))


@app.post("/encode_text")
def encode_text(body: Body) -> dict[str, object]:
    """The embedding of a text."""
    network = clip(body)
    tokenizer = open_clip.get_tokenizer(body.model_name)
    with lock, torch.no_grad():
        embedding = network.encode_text(tokenizer([body.text]), normalize=True).numpy()
    return {"text_embedding": encoded(embedding), "shape": list(embedding.shape)}


@app.post("/extract")
def extract(body: Body) -> dict[str, object]:
    """64 MB of features that cost nothing to compute: this endpoint is about the wire."""
    array = features()
    return {"features": encoded(array), "shape": list(array.shape), "is_pca": False}


@app.post("/prompt_mask")
def prompt_mask(body: Body) -> dict[str, object]:
    """Masks of a click, by SAM2's own predictor."""
    predictor = SAM2ImagePredictor(sam2.network)
    with lock, torch.inference_mode():
        predictor.set_image(np.array(picture(body)))
        masks, scores, low_res = predictor.predict(np.array(body.point_coords), np.array(body.point_labels))
    return {
        "masks": encoded(masks),
        "masks_shape": list(masks.shape),
        "iou_predictions": encoded(scores),
        "iou_shape": list(scores.shape),
        "low_res_masks": encoded(low_res),
        "low_res_shape": list(low_res.shape),
    }


@app.post("/auto_mask")
def auto_mask(body: Body) -> dict[str, object]:
    """Masks of everything, by SAM2's own generator."""
    generator = SAM2AutomaticMaskGenerator(sam2.network, points_per_side=16)
    with lock, torch.inference_mode():
        found = generator.generate(np.array(picture(body)))
    masks = [
        {
            **each,
            "segmentation": encoded(each["segmentation"]),
            "segmentation_shape": [*each["segmentation"].shape],
        }
        for each in found
    ]
    return {"masks": masks, "num_masks": len(masks)}


if __name__ == "__main__":
    # Before anybody asks: two threads that load at once would load twice.
    networks.clip(CLIP, str(WEIGHTS))
    networks.sam2(WEIGHTS)
    # With its protocol named, or asyncio leaves Nagle's algorithm on and every reply waits for it.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    print(f'{{"event": "listening", "port": {listening.getsockname()[1]}}}', flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])
