"""LangSplat's objects of a picture as its code makes them, with sam2's own generator: crops and pairs one by one."""

from __future__ import annotations

import resource
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

from tests.bench.bare_sam2 import Sam2
from tests.bench.networks import clip

Found = list[dict[str, Any]]
Prepare = Callable[[Image.Image], torch.Tensor]
SIDE = 224
OUTPUTS = (None, 0, 1, 2)
"""All masks of a point, then each of the three."""


class Objects:
    """Both networks of the benchmark."""

    def __init__(self, sam2: Sam2, weights: Path) -> None:
        self._sam2, self._weights = sam2, weights

    @torch.inference_mode()
    def langsplat(
        self, args: dict[str, Any], options: dict[str, Any], thresholds: dict[str, float], prepare: Prepare
    ) -> dict[str, float]:
        """Processor seconds of each step, and how many masks and objects there are."""
        pixels, network = self._sam2.pixels(args), clip(args["clip"], str(self._weights))
        taken = {"masks_s": 0.0, "suppression_s": 0.0, "crops_s": 0.0}
        count = objects = 0
        answers: list[Any] = []
        for output in OUTPUTS:
            began = _processor_s()
            with self._sam2_once(answers):
                masks, predicted_s = self._masks(pixels, output, options)
            # LangSplat's generator predicts once for all lists.
            taken["masks_s"] += _processor_s() - began - (0.0 if output is None else predicted_s)
            began = _processor_s()
            kept = [masks[index] for index in suppressed(masks, thresholds)]
            taken["suppression_s"] += _processor_s() - began
            count += len(masks)
            began = _processor_s()
            for each in kept:
                F.normalize(network.encode_image(prepare(crop_of(pixels, each))[None]), dim=-1)
            taken["crops_s"] += _processor_s() - began
            objects += len(kept)
        return {**taken, "masks": count, "objects": objects}

    @contextmanager
    def _sam2_once(self, known: list[Any]) -> Iterator[None]:
        """Within the block SAM2 answers what is known of the first list, where it is: it is asked the same for each."""
        network: Any = self._sam2.network
        is_first, answers = not known, iter(tuple(known))
        encode, decode = network.forward_image, network.sam_mask_decoder.forward

        def once(compute: Callable[..., Any]) -> Callable[..., Any]:
            def answer(*arguments: Any, **named: Any) -> Any:
                if not is_first:
                    return next(answers)
                known.append(compute(*arguments, **named))
                return known[-1]

            return answer

        network.forward_image, network.sam_mask_decoder.forward = once(encode), once(decode)
        try:
            yield
        finally:
            del network.forward_image, network.sam_mask_decoder.forward

    def _masks(
        self, pixels: NDArray[np.uint8], output: int | None, options: dict[str, Any]
    ) -> tuple[Found, float]:
        """The generator's masks of one list, and the processor time of encoder and decoder in it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            generator = SAM2AutomaticMaskGenerator(self._sam2.network, **options)
        predictor, spent = generator.predictor, [0.0]
        encode, predict = predictor.set_image, predictor._predict

        def encoded(*arguments: Any) -> None:
            began = _processor_s()
            encode(*arguments)
            spent[0] += _processor_s() - began

        def predicted(*arguments: Any, **named: Any) -> Any:
            began = _processor_s()
            answer = predict(*arguments, **named)
            spent[0] += _processor_s() - began
            return answer if output is None else tuple(each[:, output : output + 1] for each in answer)

        predictor.set_image, predictor._predict = encoded, predicted
        found: Found = generator.generate(pixels)
        return found, spent[0]


def suppressed(masks: Found, thresholds: dict[str, float]) -> list[int]:
    """Indices of those that stay, by the double loop."""
    if not masks:
        return []
    scores = torch.tensor([each["predicted_iou"] * each["stability_score"] for each in masks])
    order = scores.argsort(descending=True)
    pixels = torch.from_numpy(np.stack([masks[index]["segmentation"] for index in order.tolist()]))
    areas = pixels.sum(dim=(1, 2), dtype=torch.float)
    stays = scores[order] > thresholds["mask_score_thresh"]
    for i in range(len(pixels)):
        for j in range(i + 1, len(pixels)):
            both = torch.sum(torch.logical_and(pixels[i], pixels[j]), dtype=torch.float)
            either = torch.sum(torch.logical_or(pixels[i], pixels[j]), dtype=torch.float)
            of_i, of_j = both / areas[i], both / areas[j]
            is_inner = of_i * of_j < thresholds["inner_nms_thresh"]
            if both / either > thresholds["mask_nms_thresh"] or (of_i < 0.5 and of_j >= 0.85 and is_inner):
                stays[j] = False
            if of_i >= 0.85 and of_j < 0.5 and is_inner:
                stays[i] = False
    return sorted(order[stays].tolist())


def crop_of(pixels: NDArray[np.uint8], mask: dict[str, Any]) -> Image.Image:
    """The box of a mask, black around it, in a black square, at 224 pixels."""
    picture = pixels.copy()
    picture[~mask["segmentation"]] = 0
    x, y, width, height = (int(each) for each in mask["bbox"])
    side = max(width, height)
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture[y : y + height, x : x + width]
    return Image.fromarray(cv2.resize(square, (SIDE, SIDE)))


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
