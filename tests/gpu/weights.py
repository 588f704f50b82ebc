"""Random weights of the networks that are measured, under their publishers' names: a speed needs no others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from featsvc.catalog import catalog
from featsvc.catalog.entry import Sam2Entry
from tests.bench.calibration import calibrate
from tests.bench.weights import file_name, network_of, save
from tests.gpu.conditions import MIB, Conditions
from tests.gpu.rows import Row

MEASURED: Mapping[str, str] = {
    "clip": "ViT-L-14-336-quickgelu/openai",
    "dino": "dinov2_vitl14",
    "sam2": "sam2.1_hiera_large",
}
"""The documented defaults, by family."""


def weights(conditions: Conditions) -> Iterator[Row]:
    """Makes them once for all sections; a trial needs none."""
    began = time.monotonic()
    if not conditions.dry:
        make(conditions.weights)
    files = [*conditions.weights.glob("*.*")]
    nbytes = sum(each.stat().st_size for each in files)
    yield Row("made", figures={"files": len(files), "mib": nbytes / MIB, "s": time.monotonic() - began})


def make(folder: Path) -> None:
    """Fills the folder with what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for key in MEASURED.values():
        entry = catalog()[key]
        path = folder / file_name(entry)
        if path.exists():
            continue
        network = network_of(entry)
        if isinstance(entry, Sam2Entry):
            calibrate(network)
        half = path.with_stem(f"{path.stem}.half")  # who is ended meanwhile leaves no torn file
        save(network, half)
        half.rename(path)
