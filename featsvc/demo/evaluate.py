"""python -m featsvc.demo.evaluate: figures of the shipped weights on held-out scenes, and targets."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass

import torch

REPORTS = {
    "demo-clip": "featsvc.demo.clip.figures",
    "demo-dino": "featsvc.demo.dino.figures",
    "demo-sam2": "featsvc.demo.sam2.figures",
}
"""Modules with a report() of Lines, imported when asked for."""


@dataclass(frozen=True)
class Line:
    """One measured figure; a target of None stands for a figure to compare with."""

    what: str
    measured: float
    target: float | None


def shown(model: str, line: Line) -> str:
    """A row of the table."""
    target = "" if line.target is None else f">= {line.target:.2f}"
    verdict = "" if line.target is None else ("reached" if line.measured >= line.target else "missed")
    return f"{model:<10} {line.what:<62} {line.measured:>7.4f}  {target:<8} {verdict}".rstrip()


def main() -> None:
    """Prints the table, for one model or all."""
    parser = argparse.ArgumentParser(prog="python -m featsvc.demo.evaluate", description=__doc__)
    parser.add_argument("model", nargs="?", default="all", choices=[*REPORTS, "all"])
    asked = parser.parse_args().model
    torch.set_num_threads(1)
    print(f"{'model':<10} {'held-out drawn scenes':<62} {'reached':>7}  target")
    for model in REPORTS if asked == "all" else [asked]:
        for line in importlib.import_module(REPORTS[model]).report():
            print(shown(model, line), flush=True)


if __name__ == "__main__":
    main()
