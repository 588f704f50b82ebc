"""Answers as pictures for people, each of the size of its picture, all of a run on one basis."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from featsvc_client.drawing import colours_of_texts, heat_picture, overlay, pca_picture
from featsvc_client.mask_results import Mask
from featsvc_client.object_results import FoundObjects
from featsvc_client.results import Features, Similarity

LEAST, MOST = 0.01, 0.99
BASIS = "basis.npz"
INK, PAPER = (0, 0, 0), (255, 255, 255)
Arrays: TypeAlias = dict[str, NDArray[np.float64]]


@dataclass
class Look:
    """What the previews of a run have in common; the first picture decides what a colour means. For threads."""

    channels_first: bool = False
    texts: tuple[str, ...] = ()
    _path: Path | None = None
    _job: str = ""
    _arrays: Arrays | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keep_in(self, folder: Path, job: str) -> None:
        """Goes on with what an earlier run of the job has kept in a folder, or keeps there what this one finds."""
        self._path, self._job = folder / BASIS, hashlib.sha256(job.encode()).hexdigest()
        try:
            with np.load(self._path) as kept:
                if str(kept["job"]) == self._job:
                    self._arrays = {name: kept[name] for name in kept.files if name != "job"}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return

    def basis(self, fitted: Callable[[], Arrays]) -> Arrays:
        """What the first picture gave."""
        with self._lock:
            if self._arrays is None:
                self._arrays = fitted()
                self._keep(self._arrays)
            return self._arrays

    def _keep(self, arrays: Arrays) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._path.with_suffix(".unfinished")
        with aside.open("wb") as file:
            np.savez(file, allow_pickle=False, **{**arrays, "job": np.array(self._job)})
        os.replace(aside, self._path)


# Any: the answer that the drawing is for; the encoded picture.
Drawing: TypeAlias = Callable[[Any, bytes, Look], Image.Image | None]


def features(answer: Features, _: bytes, look: Look) -> Image.Image | None:
    """The three strongest principal components as colours; None where features have no place in a grid."""
    grid = np.moveaxis(answer.array, 0, 2) if look.channels_first and answer.array.ndim == 3 else answer.array
    if grid.ndim != 3:
        return None
    if answer.is_pca:
        return pca_picture(grid, geometry=answer.geometry)
    flat = grid.reshape(-1, grid.shape[2]).astype(np.float64)
    shown = projected(flat, look.basis(lambda: components(flat)))
    return pca_picture(shown.reshape(*grid.shape[:2], 3), geometry=answer.geometry)


def similarity(answer: Similarity, _: bytes, look: Look) -> Image.Image:
    """The map of each text under its words, and what black and white mean."""
    maps = answer.array if answer.array.ndim == 3 else answer.array[None]
    # A few best places would leave all others black.
    ends = look.basis(lambda: {"span": np.quantile(maps.astype(np.float64), (LEAST, MOST))})["span"]
    span = (float(ends[0]), float(ends[1]))
    panels = [heat_picture(each, geometry=answer.geometry, span=span).convert("RGB") for each in maps]
    texts = look.texts if len(look.texts) == len(panels) else ("",) * len(panels)
    return with_legend(panels, texts, span)


def masks(answer: Sequence[Mask], content: bytes, _: Look) -> Image.Image | None:
    """The picture with a colour for each mask; None where only the server can read it."""
    return _over(content, lambda picture: overlay(picture, answer))


def found_objects(answer: FoundObjects, content: bytes, look: Look) -> Image.Image | None:
    """The picture with what was found in the colours of the texts; None where only the server can read it."""
    return _over(content, lambda picture: colours_of_texts(picture, answer, look.texts))


def _over(content: bytes, drawn: Callable[[Image.Image], Image.Image]) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(content)) as opened:
            return drawn(opened)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def components(flat: NDArray[np.float64]) -> Arrays:
    """Mean, axes and range of the three strongest principal components of N x D; the range is of the middle 98 %."""
    mean = flat.mean(axis=0)
    # Of the D x D covariance: pictures have many more places than features have channels, or few enough of both.
    _, vectors = np.linalg.eigh((flat - mean).T @ (flat - mean))
    axes = vectors[:, :-4:-1]
    low, high = np.quantile((flat - mean) @ axes, (LEAST, MOST), axis=0)
    return {"mean": mean, "axes": axes, "low": low, "high": high}


def projected(flat: NDArray[np.float64], basis: Arrays) -> NDArray[np.float32]:
    """The components of N x D on a basis, scaled to [0, 1], N x 3."""
    low, high = basis["low"], basis["high"]
    scaled = ((flat - basis["mean"]) @ basis["axes"] - low) / np.where(high > low, high - low, 1.0)
    padded = np.zeros((len(flat), 3), np.float32)
    padded[:, : scaled.shape[1]] = np.clip(scaled, 0, 1)
    return padded


def with_legend(panels: list[Image.Image], texts: tuple[str, ...], span: tuple[float, float]) -> Image.Image:
    """Maps side by side, each under its text, above a scale from the least to the most."""
    width, height = panels[0].size
    font = ImageFont.load_default(size=max(12, min(width // 16, height // 12)))
    line = round(font.size * 1.5) if isinstance(font, ImageFont.FreeTypeFont) else 18
    sheet = Image.new("RGB", (width * len(panels), height + 2 * line), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (panel, words) in enumerate(zip(panels, texts, strict=True)):
        draw.multiline_text((number * width + 2, 0), fitting(words, width - 4, draw, font), INK, font)
        sheet.paste(panel, (number * width, line))
    least, most = (f"{end:.3g}" for end in span)
    begin, end = (round(draw.textlength(word, font)) + 8 for word in (least, most))
    draw.multiline_text((2, height + line), least, INK, font)
    draw.multiline_text((sheet.width - end + 6, height + line), most, INK, font)
    bar = Image.linear_gradient("L").rotate(90).resize((max(1, sheet.width - begin - end), line // 2))
    sheet.paste(bar, (begin, height + line + line // 4))
    return sheet


def fitting(
    words: str, width: int, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """As much of a text as there is room for."""
    line = " ".join(words.split())
    while line and draw.textlength(line, font) > width:
        line = line[:-2].rstrip() + "…" if len(line) > 2 else ""
    return line


def png(picture: Image.Image) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
