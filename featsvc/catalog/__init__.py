"""The catalog: every model that a request may name. Pure data; nothing here imports torch."""

from featsvc.catalog.entry import ClipEntry, DinoEntry, Entry, Sam2Entry
from featsvc.catalog.names import catalog, entry_of, resolve_clip, resolve_dino, resolve_sam2
from featsvc.catalog.weights import WeightsPlace, WeightsStatus, check, find_weights

__all__ = [
    "ClipEntry",
    "DinoEntry",
    "Entry",
    "Sam2Entry",
    "WeightsPlace",
    "WeightsStatus",
    "catalog",
    "check",
    "entry_of",
    "find_weights",
    "resolve_clip",
    "resolve_dino",
    "resolve_sam2",
]
