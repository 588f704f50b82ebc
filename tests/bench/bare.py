"""The bare forward pass in a process of its own: the same networks with nothing around them. The limit."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import v2

from featsvc.catalog import catalog
from featsvc.engines.dino.features import Reading, descriptors
from featsvc.v1.schema import Facet
from tests.bench import bare_sam2
from tests.bench.bare_objects import SIDE, Objects
from tests.bench.children import answer_commands
from tests.bench.networks import clip, dino, tokenizer
from tests.bench.networks import dense as dense_of
from tests.bench.questions import image_of, sentence

THREADS = int(sys.argv[1])
WEIGHTS = sys.argv[2]


@cache
def transform(model: str, side: int, cropped: bool = True) -> Callable[[Image.Image], torch.Tensor]:
    """Resize, crop and normalise, as torchvision does it."""
    entry: Any = catalog()[model]
    return v2.Compose(
        [
            v2.Resize(side, v2.InterpolationMode.BICUBIC, antialias=True),
            *([v2.CenterCrop(side)] if cropped else []),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(entry.mean, entry.std),
        ]
    )


def _rate(step: Callable[[int], int], seconds: float) -> dict[str, float]:
    """Items a second of a loop over `step`, which says how many it did."""
    step(0)
    done, number, began = 0, 1, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        done += step(number)
        number += 1
    return {"rate": done / elapsed}


@torch.inference_mode()
def dense(model: str, args: dict[str, Any], seconds: float) -> dict[str, float]:
    """Decode, resize and run one picture after the other."""
    side, net = args.get("side", 224), clip(model, WEIGHTS)
    files = [image_of(index, args) for index in range(16)]

    def step(number: int) -> int:
        picture = Image.open(io.BytesIO(files[number % 16])).convert("RGB")
        dense_of(net, transform(model, side)(picture)[None]).numpy()
        return 1

    return _rate(step, seconds)


@torch.inference_mode()
def tokens(model: str, args: dict[str, Any], seconds: float) -> dict[str, float]:
    """Decode, resize, pad and run one picture of a DINO network after the other, as featsvc does by default."""
    entry: Any = catalog()[model]
    net = dino(model, WEIGHTS)
    patch, files = net.patch_embed.patch_size[0], [image_of(index, args) for index in range(16)]
    ready = transform(model, args.get("side", 224), cropped=False)

    def step(number: int) -> int:
        pixels = ready(Image.open(io.BytesIO(files[number % 16])).convert("RGB"))
        height, width = pixels.shape[1:]
        padded = F.pad(pixels, (0, -width % patch, 0, -height % patch))
        last = Reading(Facet.TOKEN, len(net.blocks) - 1)
        descriptors(net, padded[None], patch, entry.position, last).numpy()
        return 1

    return _rate(step, seconds)


@torch.inference_mode()
def texts(model: str, batch: int, seconds: float, first: int) -> dict[str, float]:
    """Tokenize and run texts, `batch` at a time, none twice."""
    net, tokens = clip(model, WEIGHTS), tokenizer(model)
    all_texts = [sentence(first + number) for number in range(4096)]

    def step(number: int) -> int:
        start = number * batch % len(all_texts)
        net.encode_text(tokens(all_texts[start : start + batch]), normalize=True).numpy()
        return batch

    return _rate(step, seconds)


@torch.inference_mode()
def latency(model: str, ask: str, count: int, first: int, pause_s: float = 0.0) -> dict[str, list[float]]:
    """Milliseconds of one call after the other, from text or file to numpy array, with pauses between them."""
    net, tokens = clip(model, WEIGHTS), tokenizer(model)
    prepare = open_clip.image_transform(192, is_train=False)
    files = [image_of(index, {}) for index in range(16)]

    def once(number: int) -> None:
        if ask == "text":
            net.encode_text(tokens([sentence(first + number)]), normalize=True).numpy()
        else:
            picture = Image.open(io.BytesIO(files[number % 16])).convert("RGB")
            net.encode_image(prepare(picture)[None], normalize=True).numpy()

    for number in range(20):
        once(number)
    taken = []
    for number in range(count):
        time.sleep(pause_s)
        began = time.perf_counter()
        once(number)
        taken.append(1000 * (time.perf_counter() - began))
    return {"latencies": taken}


def langsplat(
    args: dict[str, Any], options: dict[str, Any], thresholds: dict[str, float]
) -> dict[str, float]:
    """LangSplat's objects the plain way."""
    plain = Objects(bare_sam2.Sam2(Path(WEIGHTS)), Path(WEIGHTS))
    return plain.langsplat(args, options, thresholds, transform(args["clip"], SIDE))


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    sam2 = bare_sam2.Sam2(Path(WEIGHTS))
    print('{"event": "ready"}', flush=True)
    answer_commands(
        {
            "dense": dense,
            "dino": tokens,
            "texts": texts,
            "latency": latency,
            "click": sam2.click,
            "masks": sam2.masks,
            "langsplat": langsplat,
        }
    )
