"""python -m featsvc.demo.train [clip|dino|sam2|all] --seed 0: makes the shipped weights."""

from __future__ import annotations

import argparse
import importlib
import logging

import cv2
import torch

TRAININGS = {
    "clip": "featsvc.demo.clip.training",
    "dino": "featsvc.demo.dino.training",
    "sam2": "featsvc.demo.sam2.training",
}
"""Modules with a train(seed), imported when asked for."""


def main() -> None:
    """Trains one demo model, or all of them one after the other."""
    parser = argparse.ArgumentParser(prog="python -m featsvc.demo.train", description=__doc__)
    parser.add_argument("model", nargs="?", default="all", choices=[*TRAININGS, "all"])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # The same sums in the same order on every machine; two trainings side by side use both cores.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for name in TRAININGS if arguments.model == "all" else [arguments.model]:
        importlib.import_module(TRAININGS[name]).train(arguments.seed)


if __name__ == "__main__":
    main()
