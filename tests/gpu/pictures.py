"""Pictures on their way to a network: what the device makes of them, beside the CPU."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional as TF

from featsvc.engines.decoding.card import MEAN_APART, SAMPLINGS, CardDecoder
from featsvc.engines.decoding.headers import header
from featsvc.engines.geometry.resizing import Resizing
from featsvc.engines.running.transfer import on_device
from featsvc.engines.sam2.embedding import encoder_input, seen
from tests.bench.pictures import photo, shapes
from tests.engines import models
from tests.gpu.conditions import DEVICE, Conditions
from tests.gpu.rows import Figures, Row
from tests.gpu.stand import Stand

SIZES = ((1920, 1080), (4000, 3000), (640, 480), (300, 200), (1170, 2532))
"""The last is of those portraits whose height Pillow may bring to size first."""
DRY_SIZES = ((96, 72), (40, 60), (64, 160))
SHORTER, DRY_SHORTER = 336, 48
SQUARE, DRY_SQUARE = 1024, 64
APART = 5e-4
"""Of normalised values, which is 1e-4 of those from 0 to 1."""


def pictures(conditions: Conditions) -> Iterator[Row]:
    """Rows for each size: bytes that are Pillow's, and SAM2's square within its bound."""
    stand = Stand.of(conditions)
    draw = shapes if stand.dry else photo
    if not stand.dry:  # a pretended GPU has no decoder
        yield from jpegs(stand)
    for width, height in DRY_SIZES if stand.dry else SIZES:
        picture = Image.open(io.BytesIO(draw(width, height, 0))).convert("RGB")
        with stand.at_work(), torch.inference_mode():
            there = on_device(TF.pil_to_tensor(picture), torch.device(DEVICE))
            yield resized(stand, picture, there)
            yield squared(stand, picture, there)


def jpegs(stand: Stand) -> Iterator[Row]:
    """Which kinds of JPEG files are decoded there, and how far a photograph then is from the CPU's pixels."""
    decoder = CardDecoder(DEVICE)
    picture = Image.open(io.BytesIO(photo(*SIZES[0], 0))).convert("RGB")
    for sampling, name in SAMPLINGS.items():
        content = models.encoded(picture, "JPEG", quality=90, subsampling=sampling)
        head = header(content)
        found = decoder.pixels(head)
        theirs = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int16)
        figures: Figures = {"is_decoded": found is not None}
        holds = False  # every build of torchvision for CUDA brings a decoder
        if found is not None:
            apart = np.abs(np.asarray(found) - theirs)
            figures |= {"apart": int(apart.max()), "mean_apart": float(apart.mean())}
            figures["ms"] = 1000 * stand.seconds(partial(decoder.pixels, head), 0.3)
            # Written so that NaN counts as wrong.
            holds = bool(figures["mean_apart"] <= MEAN_APART)
        yield Row(f"JPEG {name}", holds, figures)


def resized(stand: Stand, picture: Image.Image, there: torch.Tensor) -> Row:
    """As CLIP and DINO are shown it."""
    shorter = DRY_SHORTER if stand.dry else SHORTER
    size = (
        round(shorter * picture.width / min(picture.size)),
        round(shorter * picture.height / min(picture.size)),
    )
    act = partial(Resizing(size[1], size[0]), there)
    theirs = TF.pil_to_tensor(picture.resize(size, Image.Resampling.BICUBIC))
    differ = int((act().cpu() != theirs).sum())
    figures = {"bytes_that_differ": differ, "ms": 1000 * stand.seconds(act, 0.3)}
    return Row(f"{picture.width}x{picture.height} to {size[0]}x{size[1]}", not differ, figures)


def squared(stand: Stand, picture: Image.Image, there: torch.Tensor) -> Row:
    """As SAM2 is shown it."""
    side = DRY_SQUARE if stand.dry else SQUARE
    act = partial(seen, there, side)
    apart = float((act().cpu() - encoder_input(picture, side)).abs().max())
    figures = {"apart": apart, "ms": 1000 * stand.seconds(act, 0.3)}
    # Written so that NaN counts as wrong.
    return Row(f"{picture.width}x{picture.height} to SAM2's square", bool(apart <= APART), figures)
