"""What demo-sam2 reaches on held-out scenes, measured through sam2's own predictor and mask generator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor

from featsvc.demo.drawing.scenes import HELD_OUT_SEED, Scene, draw
from featsvc.demo.evaluate import Line
from featsvc.demo.sam2.network import load

MATCH = 0.75
"""IoU from which an automatic mask counts as the object's."""

# What sam2's generator is told for no preset and for `coarse`; what is left out is its default.
DEFAULT: dict[str, float] = {}
COARSE: dict[str, float] = {
    "points_per_side": 16,
    "points_per_batch": 64,
    "pred_iou_thresh": 0.8,
    "stability_score_thresh": 0.95,
    "min_mask_region_area": 100,
}

Masks = NDArray[np.bool_]
"""N x H x W."""


@dataclass(frozen=True)
class PromptFigures:
    """Mean IoU over all objects of all scenes."""

    click: float
    """One click at the pixel farthest from the object's border, best of three masks."""
    click_anywhere: float
    """One click on a random pixel of the object, best of three masks."""
    click_chosen: float
    """The same clicks, the mask whose predicted IoU is highest."""
    box: float
    """The object's exact bounding box, one mask."""


@dataclass(frozen=True)
class AutomaticFigures:
    """Automatic masks against objects, one mask an object, at an IoU of 0.75."""

    recall: float
    """Part of the objects that have a mask; the background is no object here."""
    precision: float
    """Part of the masks that are an object's or the whole background's; a second one of the same is wrong."""
    precision_with_repeats: float
    """The same, where a second mask of an object counts as right."""
    masks: float
    """Masks per scene."""


def held_out(count: int) -> list[Scene]:
    """Scenes that training never draws."""
    return [draw(HELD_OUT_SEED + index) for index in range(count)]


def feature_sizes(model: SAM2Base) -> list[tuple[int, int]]:
    """Sides of the feature maps, finest first; SAM2ImagePredictor knows only those of 1024 pixels."""
    strides = (model.backbone_stride // 4, model.backbone_stride // 2, model.backbone_stride)
    return [(model.image_size // stride,) * 2 for stride in strides]


def predictor(model: SAM2Base) -> SAM2ImagePredictor:
    """sam2's predictor, at home in the model's own image size."""
    made = SAM2ImagePredictor(model)
    made._bb_feat_sizes = feature_sizes(model)
    return made


def generator(model: SAM2Base, options: Mapping[str, float]) -> SAM2AutomaticMaskGenerator:
    """sam2's automatic mask generator, at home in the model's own image size."""
    made = SAM2AutomaticMaskGenerator(model, **options)
    made.predictor._bb_feat_sizes = feature_sizes(model)
    return made


def ious(masks: Masks, targets: Masks) -> NDArray[np.float64]:
    """IoU of every mask with every target, N x M."""
    rows, columns = (each.reshape(len(each), -1).astype(np.float32) for each in (masks, targets))
    overlap = rows @ columns.T
    union = rows.sum(1)[:, None] + columns.sum(1)[None] - overlap
    return np.asarray(overlap / np.maximum(union, 1), np.float64)


def innermost(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """x and y of the pixel farthest from the border of the mask."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = divmod(int(depth.argmax()), mask.shape[1])
    return np.array([x, y])


def _box(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    ys, xs = mask.nonzero()
    return np.array([xs.min(), ys.min(), xs.max(), ys.max()])


def _asked(scene: Scene, asked: SAM2ImagePredictor, rng: np.random.Generator) -> Iterable[PromptFigures]:
    asked.set_image(scene.image)
    for mask in scene.masks:
        ys, xs = np.nonzero(mask)
        pick = rng.integers(len(ys))
        centre, anywhere = innermost(mask)[None], np.array([[xs[pick], ys[pick]]])
        best, _, _ = asked.predict(centre, np.ones(1))
        three, predicted, _ = asked.predict(anywhere, np.ones(1))
        boxed, _, _ = asked.predict(box=_box(mask), multimask_output=False)
        clicked, elsewhere, in_box = (ious(each > 0, mask[None])[:, 0] for each in (best, three, boxed))
        yield PromptFigures(clicked.max(), elsewhere.max(), elsewhere[predicted.argmax()], in_box.max())


def prompt_figures(model: SAM2Base, scenes: Iterable[Scene], seed: int = 0) -> PromptFigures:
    """Clicks and boxes on every object of the scenes."""
    rng, asked = np.random.default_rng(seed), predictor(model)
    rows = [row for scene in scenes for row in _asked(scene, asked, rng)]
    names = [each.name for each in fields(PromptFigures)]
    return PromptFigures(*(float(np.mean([getattr(row, name) for row in rows])) for name in names))


def matched(quality: NDArray[np.float64]) -> list[int]:
    """Targets found, from IoUs N x M: best pairs first, each mask and each target at most once."""
    left, found = quality.copy(), []
    while left.size and left.max() >= MATCH:
        row, column = divmod(int(left.argmax()), left.shape[1])
        left[row], left[:, column] = 0, 0
        found.append(int(column))
    return found


def automatic_figures(
    model: SAM2Base, scenes: Sequence[Scene], options: Mapping[str, float]
) -> AutomaticFigures:
    """Automatic masks of the scenes with the options of one preset."""
    made = generator(model, options)
    objects = found = masks = right = like = 0
    for scene in scenes:
        proposed = [each["segmentation"] for each in made.generate(scene.image)]
        nothing = np.logical_not(scene.masks.any(axis=0, keepdims=True))
        targets = np.concatenate([scene.masks, nothing])
        quality = ious(np.stack(proposed), targets) if proposed else np.zeros((0, len(targets)))
        pairs = matched(quality)
        objects, masks = objects + len(scene.masks), masks + len(proposed)
        right, found = right + len(pairs), found + sum(each < len(scene.masks) for each in pairs)
        like += int((quality.max(axis=1) >= MATCH).sum())
    made_at_least = max(masks, 1)
    return AutomaticFigures(
        found / max(objects, 1), right / made_at_least, like / made_at_least, masks / max(len(scenes), 1)
    )


def report() -> tuple[Line, ...]:
    """The shipped weights against the targets."""
    model, scenes = load(), held_out(100)
    prompted = prompt_figures(model, scenes)
    default, coarse = (automatic_figures(model, scenes[:40], preset) for preset in (DEFAULT, COARSE))
    return (
        Line("one click in the middle, best of three masks, mean IoU", prompted.click, 0.88),
        Line("  one click anywhere on the object", prompted.click_anywhere, None),
        Line("  the same click, the mask with the best predicted IoU", prompted.click_chosen, None),
        Line("box, mean IoU", prompted.box, 0.88),
        Line("automatic masks, default: recall at IoU 0.75", default.recall, 0.80),
        Line("automatic masks, default: precision, each object once", default.precision, 0.70),
        Line("  a second mask of an object counts as right", default.precision_with_repeats, None),
        Line("automatic masks, coarse: recall at IoU 0.75", coarse.recall, 0.80),
        Line("automatic masks, coarse: precision, each object once", coarse.precision, 0.70),
        Line("  a second mask of an object counts as right", coarse.precision_with_repeats, None),
    )
