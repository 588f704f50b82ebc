"""How well demo-clip finds what a text names, and which caption belongs to a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.model import CLIP

from featsvc.demo.clip import model as clip_model
from featsvc.demo.clip.texts import text_features
from featsvc.demo.drawing.scenes import HELD_OUT_SEED, Object, Scene, draw
from featsvc.demo.evaluate import Line

_BATCH = 10


@dataclass(frozen=True)
class ClipFigures:
    """Parts of the held-out questions that were answered right, 0 to 1."""

    coloured_shape: float
    coloured_shape_among_its_colour: float
    """The questions where another object has the same colour."""
    colour: float
    caption_retrieval: float
    """Pictures whose own caption is nearest, among 100."""


@torch.no_grad()
def patch_maps(model: CLIP, images: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
    """Dense features N x h * w x D and global features N x D of pictures N x H x W x 3."""
    tokens = clip_model.trunk(model.visual, clip_model.normalised(torch.from_numpy(images)))
    return clip_model.dense(model.visual, tokens), clip_model.pooled(model.visual, tokens)


def _best_pixel(features: torch.Tensor, text: torch.Tensor, size: int) -> tuple[int, int]:
    """Row and column at the centre of the patch that answers a text most."""
    side = int(len(features) ** 0.5)
    best = int((features @ text).argmax())
    return int((best // side + 0.5) * size / side), int((best % side + 0.5) * size / side)


def _hit(scene: Scene, wanted: list[bool], pixel: tuple[int, int]) -> bool:
    return any(bool(mask[pixel]) for mask, right in zip(scene.masks, wanted, strict=True) if right)


def _mean(answers: list[bool]) -> float:
    return float(np.mean(answers)) if answers else float("nan")


@torch.no_grad()
def evaluate_clip(model: CLIP, first_seed: int, scenes: int = 300, retrieval: int = 100) -> ClipFigures:
    """Figures on the scenes from first_seed on, at the size they are drawn in."""
    model.eval()
    tokenize = clip_model.tokenizer()
    drawn = [draw(first_seed + index) for index in range(scenes)]
    names = sorted({each for scene in drawn for each in scene.objects}, key=lambda each: each.text)
    texts = {each.text: each.text for each in names} | {each.colour: each.colour for each in names}
    told = dict(zip(texts, text_features(model, tokenize(list(texts))), strict=True))
    shapes: list[bool] = []
    among: list[bool] = []
    colours: list[bool] = []
    for start in range(0, scenes, _BATCH):
        part = drawn[start : start + _BATCH]
        maps, _ = patch_maps(model, np.stack([scene.image for scene in part]))
        for scene, features in zip(part, maps, strict=True):
            for each in scene.objects:
                pixel = _best_pixel(features, told[each.text], scene.image.shape[0])
                shapes.append(_hit(scene, [other == each for other in scene.objects], pixel))
                if _alike(scene, each) > 1:
                    among.append(shapes[-1])
            for colour in sorted({each.colour for each in scene.objects}):
                pixel = _best_pixel(features, told[colour], scene.image.shape[0])
                colours.append(_hit(scene, [other.colour == colour for other in scene.objects], pixel))
    found = caption_retrieval(model, first_seed + scenes, retrieval)
    return ClipFigures(_mean(shapes), _mean(among), _mean(colours), found)


def _alike(scene: Scene, named: Object) -> int:
    return sum(other.colour == named.colour for other in scene.objects)


@torch.no_grad()
def caption_retrieval(model: CLIP, first_seed: int, count: int) -> float:
    """Part of the pictures, all of different content, whose own caption is the nearest of all."""
    different: dict[frozenset[Object], Scene] = {}
    seed = first_seed
    while len(different) < count:
        scene = draw(seed)
        different.setdefault(frozenset(scene.objects), scene)
        seed += 1
    scenes = list(different.values())
    captions = text_features(model, clip_model.tokenizer()([scene.caption for scene in scenes]))
    size = model.visual.image_size[0]
    pictures = torch.cat([_global(model, scene, size) for scene in scenes])
    nearest = (pictures @ captions.T).argmax(dim=1)
    return float((nearest == torch.arange(count)).float().mean())


def _global(model: CLIP, scene: Scene, size: int) -> torch.Tensor:
    """Global feature of a scene at the model's own image size, 1 x D."""
    image = torch.from_numpy(scene.image).permute(2, 0, 1)[None].float()
    image = torch.nn.functional.interpolate(image, (size, size), mode="bicubic", antialias=True)
    image = image.round().clamp(0, 255).permute(0, 2, 3, 1)
    return clip_model.pooled(model.visual, clip_model.trunk(model.visual, clip_model.normalised(image)))


def report() -> tuple[Line, ...]:
    """The shipped weights against the targets."""
    figures = evaluate_clip(clip_model.load(), HELD_OUT_SEED)
    return (
        Line("'a <colour> <shape>': argmax of the map in the object", figures.coloured_shape, 0.92),
        Line("  where another object has its colour", figures.coloured_shape_among_its_colour, 0.80),
        Line("'<colour>': argmax of the map in an object of it", figures.colour, 0.97),
        Line("caption of a picture among 100, R@1", figures.caption_retrieval, 0.85),
    )
