"""sam2's own predictor and generator, in process."""

from __future__ import annotations

import io
import resource
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image
from sam2 import automatic_mask_generator as amg
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor

from tests.bench import networks
from tests.bench.questions import image_of

MIB = 1 << 20


class Peak:
    """The most memory that a process holds while the block runs, above what it held before, in MiB."""

    def __init__(self, pid: int, pause_s: float = 0.02) -> None:
        self._process, self._pause_s = psutil.Process(pid), pause_s
        self._stop = threading.Event()
        self.before = self.most = 0

    def __enter__(self) -> Peak:
        self.before = self.most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._pause_s):
            self.most = max(self.most, self._process.memory_info().rss)

    @property
    def growth_mib(self) -> float:
        """The growth."""
        return (self.most - self.before) / MIB


class Sam2:
    """The network of the benchmark, loaded when it is first used."""

    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self._clicked: tuple[dict[str, Any], SAM2ImagePredictor] | None = None
        """The picture that was clicked on last, and what knows it."""

    @property
    def network(self) -> SAM2Base:
        """The network with the calibrated weights."""
        return networks.sam2(self._weights)

    def pixels(self, args: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The picture as the generator takes it, H x W x 3."""
        return np.asarray(Image.open(io.BytesIO(image_of(0, args))).convert("RGB"))

    @torch.inference_mode()
    def click(self, args: dict[str, Any], count: int) -> dict[str, list[float]]:
        """Milliseconds of the decoder, the upsampling and the copy to numpy, after the encoder has run."""
        if self._clicked is None or self._clicked[0] != args:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                predictor = SAM2ImagePredictor(self.network)
            predictor.set_image(self.pixels(args))
            self._clicked = (args, predictor)
        predictor, taken = self._clicked[1], []
        for number in range(count + 1):
            began = time.perf_counter()
            point = [[number * 37 % args["width"], number * 53 % args["height"]]]
            predictor.predict(np.array(point, np.float32), np.array([1]))
            taken.append(1000 * (time.perf_counter() - began))
        return {"latencies": taken[1:]}

    @torch.inference_mode()
    def masks(self, args: dict[str, Any], options: dict[str, Any], save: str) -> dict[str, float]:
        """Processor seconds and memory of sam2's generator; its masks go to a file, for comparison."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            generator = SAM2AutomaticMaskGenerator(self.network, **options)
        image = self.pixels(args)
        began, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        score = amg.calculate_stability_score
        seen = _counted(generator)
        with Peak(psutil.Process().pid) as peak:
            found = generator.generate(image)
        amg.calculate_stability_score = score
        used = resource.getrusage(resource.RUSAGE_SELF)
        np.savez(
            save,
            masks=np.packbits(np.array([each["segmentation"] for each in found]), axis=-1),
            scores=np.array([(each["predicted_iou"], each["stability_score"]) for each in found]),
        )
        return {
            "cpu_s": used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime,
            "wall_s": time.perf_counter() - began,
            "peak_mib": peak.growth_mib,
            "final": len(found),
            **seen,
        }


def _counted(generator: SAM2AutomaticMaskGenerator) -> dict[str, int]:
    """How many masks the generator will ask for, and how many will pass each test."""
    seen = {"candidates": 0, "passed_iou": 0, "passed_stability": 0}
    predict, score = generator.predictor._predict, amg.calculate_stability_score

    def predicted(*arguments: Any, **named: Any) -> Any:
        answer = predict(*arguments, **named)
        seen["candidates"] += answer[1].numel()
        seen["passed_iou"] += int((answer[1] > generator.pred_iou_thresh).sum())
        return answer

    def scored(*arguments: Any) -> Any:
        scores = score(*arguments)
        seen["passed_stability"] += int((scores >= generator.stability_score_thresh).sum())
        return scores

    generator.predictor._predict = predicted
    amg.calculate_stability_score = scored
    return seen
