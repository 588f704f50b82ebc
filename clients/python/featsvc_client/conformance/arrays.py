"""The arrays of an answer by name, each with the form in which it was sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featsvc.twin.messages import words
from featsvc.v1 import model_pb2, tensor_pb2
from featsvc_client.mask_results import Mask, Masks, PromptMasks
from featsvc_client.object_results import FoundObjects, Objects
from featsvc_client.pixels import Bitmap, Png
from featsvc_client.pyramid_results import Pyramid
from featsvc_client.results import TENSORS_OF_EMBEDDING, EmbeddedImage, Embeddings, Features, Similarity
from featsvc_client.rle import Rle

SAMPLES = 16
DTYPES = words(tensor_pb2.DType.DESCRIPTOR)


@dataclass(frozen=True, eq=False)
class Sent:
    """An array as this client gives it to its caller, and the form in which it travelled."""

    form: str
    array: NDArray[np.generic]

    def described(self) -> dict[str, object]:
        """What a runner prints of it, with a sample where elements are floating-point numbers, else their count."""
        array = np.ascontiguousarray(self.array)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        about: dict[str, object] = {
            "sent": self.form,
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "sha256": hashlib.sha256(little.tobytes()).hexdigest(),
        }
        if not np.issubdtype(array.dtype, np.floating):
            return {**about, "area": int(np.count_nonzero(array))}
        flat = array.reshape(-1)
        count = min(SAMPLES, flat.size)
        return {**about, "sample": [flat[i * flat.size // count].item() for i in range(count)]}


Arrays = Mapping[str, Sent]


def arrays(result: object) -> Arrays:
    """The arrays of what a call answers."""
    reader = READERS.get(type(result))
    return {} if reader is None else reader(result)


def model(result: object) -> str:
    """Key of the model that answered, or that the answer is about."""
    if isinstance(result, Masks):
        return result.summary.model
    if type(result) is list:
        return model(result[0])
    if isinstance(result, model_pb2.Model):
        return result.key
    return str(getattr(result, "model", ""))


def _features(result: Features | Pyramid) -> Arrays:
    return {"features": Sent(_element(result.raw), result.array)}


def _embeddings(result: Embeddings) -> Arrays:
    return {"embeddings": Sent("float32", result.array)}


def _similarity(result: Similarity) -> Arrays:
    return {"similarity": Sent("float32", result.array)}


def _masks(result: Masks) -> Arrays:
    return _pixels(result, result.summary.label_map)


def _pixels(masks: Sequence[Mask], label_map: NDArray[np.uint16] | None) -> dict[str, Sent]:
    if label_map is not None:
        return {"label_map": Sent("uint16", label_map)}
    return {
        f"{number}.mask": Sent(_form(mask.pixels), mask.segmentation) for number, mask in enumerate(masks)
    }


def _objects(result: Objects) -> Arrays:
    found = _pixels(result, result.label_map)
    for number, each in enumerate(result.descriptors):
        found[f"{number}.vectors"] = Sent(_element(each.raw), each.array)
    return found


def _found(result: FoundObjects) -> Arrays:
    found = _pixels(result, result.label_map)
    for number, matches in enumerate(result.found):
        indices = np.array([each.object for each in matches], np.uint16)
        scores = np.array([each.score for each in matches], np.float32)
        found |= {f"{number}.objects": Sent("uint16", indices), f"{number}.scores": Sent("float32", scores)}
    if result.text_map is not None:
        found["text_map"] = Sent("uint16", result.text_map)
    return found


def _embedding(result: EmbeddedImage) -> Arrays:
    sent = {name: getattr(result, name) for name in TENSORS_OF_EMBEDDING}
    return {
        name: Sent(each.dtype.name, each.astype(np.float32))
        for name, each in sent.items()
        if each is not None
    }


def _prompts(result: list[PromptMasks]) -> Arrays:
    found: dict[str, Sent] = {}
    for number, each in enumerate(result):
        if each.label_map is None:
            first = each.pixels[0] if isinstance(each.pixels, tuple) else Bitmap(each.pixels)
            found[f"{number}.masks"] = Sent(_form(first), each.masks)
        else:
            found[f"{number}.label_map"] = Sent("uint16", each.label_map)
        found[f"{number}.iou_predictions"] = Sent("float32", each.iou_predictions)
        if each.low_res_masks.size:
            found[f"{number}.low_res_masks"] = Sent("float32", each.low_res_masks)
    return found


def _element(raw: NDArray[np.generic]) -> str:
    """The element type in which features travelled."""
    return "bfloat16" if raw.dtype == np.uint16 else raw.dtype.name


def _form(pixels: object) -> str:
    match pixels:
        case Bitmap(tensor):
            return DTYPES[tensor.dtype]
        case Rle(counts):
            return "coco" if isinstance(counts, str) else "lengths"
        case Png():
            return "png"
    raise TypeError(f"masks in the form of {type(pixels).__name__}")


# Any: each takes the class that it stands beside.
READERS: Mapping[type, Callable[[Any], Arrays]] = {
    Features: _features,
    Pyramid: _features,
    Embeddings: _embeddings,
    Similarity: _similarity,
    Masks: _masks,
    list: _prompts,
    EmbeddedImage: _embedding,
    Objects: _objects,
    FoundObjects: _found,
}
