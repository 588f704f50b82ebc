"""The rows of the table, by theme, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.bench.figures import Row
from tests.bench.rows import clip, frameworks, gateway, memory, objects, precision, sam2, wire
from tests.bench.stand import Stand

ROWS: Mapping[str, Callable[[Stand], list[Row]]] = {
    "clip_dense": clip.dense,
    "added_latency": clip.added_latency,
    "texts": clip.texts,
    "precision": precision.precision,
    "second_click": sam2.second_click,
    "auto_masks": sam2.auto_masks,
    "mask_bytes": sam2.mask_bytes,
    "langsplat": objects.langsplat,
    "wire": wire.large_reply,
    "beside_pullers": wire.beside_pullers,
    "small_call": gateway.small_call,
    "memory": memory.growth,
    "memory_sizes": memory.sizes,
    "frameworks": frameworks.rates_beside,
}
