"""JPEG files decoded by a GPU, of those kinds of which its pixels are near enough to the CPU's."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from torchvision.io import ImageReadMode, decode_jpeg

from featsvc.engines.decoding.headers import Header
from featsvc.engines.decoding.reading import DAMAGED
from featsvc.engines.running.transfer import COPIES_PRIORITY, on_host

log = logging.getLogger("featsvc.engines.decoding.card")

MOST_APART, MEAN_APART = 4, 0.5
"""Steps of 255 by which pixels of the trial picture may differ, the worst and on the average."""
MOST_PIXELS = 1 << 24
"""Of a picture: 48 MB there."""
SAMPLINGS: Mapping[int, str] = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
"""How fine a file's colours are, by Pillow's numbers."""
COMPONENTS = [1, 2, 3]
"""Of brightness and two colours; of red, green and blue they are called otherwise."""
END = b"\xff\xd9"
QUALITY = 90
SIDE = 128


class CardDecoder:
    """Decodes on one GPU, for any thread; each kind of file is tried first."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        apart = {number: self._apart(number) for number in SAMPLINGS}
        self._known = frozenset(number for number, each in apart.items() if each is not None)
        told = {name: number in self._known for number, name in SAMPLINGS.items()}
        log.info("jpeg files on the gpu", extra={"device": device, "samplings": told})

    def pixels(self, head: Header) -> Image.Image | None:
        """The picture as RGB; None where that is for the CPU: another kind of file, a damaged one, no memory."""
        size = head.size
        if head.kind != "JPEG" or not head.is_plain or head.scans > 1 or size is None:
            return None
        if size[0] * size[1] > MOST_PIXELS or not head.content.endswith(END):
            return None
        if _sampling(head.content) not in self._known:
            return None
        try:
            return Image.fromarray(self._decoded(head.content))
        except RuntimeError as error:
            log.warning("a jpeg file is for the cpu: %s", str(error))
            return None

    def _decoded(self, content: bytes) -> NDArray[np.uint8]:
        """H x W x 3."""
        stream = torch.cuda.Stream(self._device, priority=COPIES_PRIORITY)  # type: ignore[no-untyped-call]  # torch is typed in part
        # Its own, or it would wait for the passes of others.
        with torch.cuda.stream(stream):
            file = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            made = decode_jpeg(file, ImageReadMode.RGB, device=self._device)
            (home,) = on_host(made.permute(1, 2, 0).contiguous())
        array: NDArray[np.uint8] = home.numpy()
        return array

    def _apart(self, sampling: int) -> float | None:
        """How far a trial picture is from the CPU's on the average; None where it is too far, or cannot be decoded."""
        buffer = io.BytesIO()
        Image.fromarray(trial()).save(buffer, "JPEG", quality=QUALITY, subsampling=sampling)
        theirs = np.asarray(Image.open(buffer).convert("RGB"), np.int16)
        try:
            apart = np.abs(self._decoded(buffer.getvalue()) - theirs)
        except RuntimeError as error:
            log.warning("no jpeg file of %s is decoded by the gpu: %s", SAMPLINGS[sampling], str(error))
            return None
        mean = float(apart.mean())
        return mean if apart.max() <= MOST_APART and mean <= MEAN_APART else None


def trial() -> NDArray[np.uint8]:
    """A picture with smooth and with hard colours, which decoders bring to full size in different ways."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    smooth = np.stack([2 * rows, 2 * columns, 255 - rows - columns], axis=-1) % 256
    smooth[SIDE // 4 : SIDE // 2, 5 : SIDE // 2] = (250, 10, 20)
    smooth[SIDE // 2 :, SIDE // 3 : SIDE // 3 + 9] = (5, 20, 240)
    return smooth.astype(np.uint8)


def _sampling(content: bytes) -> int:
    """By Pillow's numbers; -1 of other kinds of files, and of damaged ones."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as picture:
            assert isinstance(picture, JpegImagePlugin.JpegImageFile)
            is_plain = picture.mode == "RGB" and "adobe" not in picture.info
            if not is_plain or [each[0] for each in picture.layer] != COMPONENTS:
                return -1
            return int(JpegImagePlugin.get_sampling(picture))
    except DAMAGED:
        return -1
