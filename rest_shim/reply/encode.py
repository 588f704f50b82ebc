"""gRPC replies as the documented JSON; arrays in it are blobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from featsvc.twin.messages import is_array, words
from featsvc.v1 import estimate_pb2, objects_pb2, sam2_pb2, tensor_pb2
from rest_shim.contract import shape_name
from rest_shim.reply import blobs
from rest_shim.reply.blobs import Blob

# What the document's bodies do not hold goes into headers.
HEADERS = {
    "model": "X-Featsvc-Model",
    "geometry": "X-Featsvc-Geometry",
    "image_digest": "X-Featsvc-Digest",
    "image_orientation": "X-Featsvc-Orientation",
}
MAP_AXES = 2
SERVICE_HEADER, TIMING_HEADER = "X-Featsvc-Service", "X-Featsvc-Timing"
SHAPE_FIELDS = {"masks": "masks_shape", "iou_predictions": "iou_shape", "low_res_masks": "low_res_shape"}
DTYPES = words(tensor_pb2.DType.DESCRIPTOR)
GRANULARITIES = words(objects_pb2.MaskGranularity.DESCRIPTOR)
BASES = words(estimate_pb2.CostBasis.DESCRIPTOR)

Json = dict[str, object]
# How the elements of a tensor are written.
Written = Callable[[tensor_pb2.Tensor], Blob]
Encoder = Callable[[Message, Written], Json]


def one_tensor(reply: Message, written: Written) -> Json:
    """A reply with one tensor, whose shape is called `shape`; its type is said where it is not float32."""
    body: Json = {}
    for field in reply.DESCRIPTOR.fields:
        value = getattr(reply, field.name)
        if field.is_repeated:
            body[field.name] = [plain(each) for each in value]
        elif not isinstance(value, Message):
            body |= _fact(reply, field.name)
        elif isinstance(value, tensor_pb2.Tensor):
            body |= {field.name: written(value), "shape": list(value.shape)}
            body |= {"dtype": dtype(reply)} if value.dtype != tensor_pb2.D_TYPE_FLOAT32 else {}
        elif isinstance(value, tensor_pb2.Rounding) and reply.HasField(field.name):
            body[field.name] = rounding(value)
    return body


def prompt_masks(reply: Message, written: Written) -> Json:
    """The masks of the one prompt that a REST body can hold."""
    assert isinstance(reply, sam2_pb2.PredictMasksResponse)
    result, body = reply.results[0], Json()
    one_by_one: list[object] = [_run_lengths(each) for each in result.rle] or list(
        map(blobs.whole, result.png)
    )
    if one_by_one:
        body |= {"masks": one_by_one, "masks_shape": [len(one_by_one), reply.height, reply.width]}
    if result.HasField("label_map"):
        body |= _label_map(result.label_map)
    for name, shape in SHAPE_FIELDS.items():
        if result.HasField(name):
            tensor = getattr(result, name)
            body |= {name: written(tensor), shape: list(tensor.shape)}
    return body


def auto_masks(reply: Message, written: Written) -> Json:
    """All masks, each with what is known of it."""
    assert isinstance(reply, sam2_pb2.GenerateMasksResponse)
    size = [reply.height, reply.width]
    masks = [_segmentation(mask, size, written) | _known(mask) for mask in reply.masks]
    shared = _label_map(reply.label_map) if reply.HasField("label_map") else {}
    return {"masks": masks, "num_masks": len(masks), **shared}


def embedded_image(reply: Message, written: Written) -> Json:
    """What is known of an encoded picture, and each array of it with its shape."""
    body: Json = {}
    for field in reply.DESCRIPTOR.fields:
        value = getattr(reply, field.name)
        if not isinstance(value, Message):
            body |= _fact(reply, field.name)
        elif isinstance(value, tensor_pb2.Tensor) and reply.HasField(field.name):
            body |= {"dtype": DTYPES[value.dtype], field.name: written(value)}
            body[shape_name(field.name)] = list(value.shape)
    return body


def _fact(reply: Message, name: str) -> Json:
    """What a field without arrays says, where it is there and no header says it."""
    if name in HEADERS or (reply.DESCRIPTOR.fields_by_name[name].has_presence and not reply.HasField(name)):
        return {}
    return {name: getattr(reply, name)}


def estimate(reply: Message, written: Written) -> Json:
    """What a question would cost."""
    fields = {field.name: getattr(reply, field.name) for field in reply.DESCRIPTOR.fields}
    return {name: BASES[value] if name == "basis" else value for name, value in fields.items()}


def described_objects(reply: Message, written: Written) -> Json:
    """All objects, each with its mask, and a matrix of their vectors for each descriptor."""
    assert isinstance(reply, objects_pb2.DescribeObjectsResponse)
    size = [reply.height, reply.width]
    objects = [_object(each, size, written) for each in reply.objects]
    shared = _label_map(reply.label_map) if reply.HasField("label_map") else {}
    vectors = [_object_vectors(each) for each in reply.descriptors]
    return {"objects": objects, "num_objects": len(objects), "descriptors": vectors, **shared}


def objects_found(reply: Message, written: Written) -> Json:
    """All objects that fit anything, and for each text or vector which of them, best first."""
    assert isinstance(reply, objects_pb2.FindObjectsResponse)
    size = [reply.height, reply.width]
    objects = [_object(each, size, written) for each in reply.objects]
    found = [{"matches": [plain(match) for match in each.matches]} for each in reply.found]
    shared = _label_map(reply.label_map) if reply.HasField("label_map") else {}
    texts: Json = {}
    if reply.HasField("text_map"):
        texts = {"text_map": blobs.raw(reply.text_map), "text_map_shape": list(reply.text_map.shape)}
    models = list(reply.descriptor_models)
    return {
        "objects": objects,
        "num_objects": len(objects),
        "found": found,
        "descriptor_models": models,
        **shared,
        **texts,
    }


def headers(reply: Message, service: ServiceDescriptor) -> dict[str, str]:
    """Which service and model answered, how the grid lies on the picture, and the picture's name and way up."""
    found = {SERVICE_HEADER: service.name}
    for field in reply.DESCRIPTOR.fields:
        value = getattr(reply, field.name) if field.name in HEADERS else None
        if isinstance(value, Message):
            found[HEADERS[field.name]] = orjson.dumps(plain(value)).decode()
        elif value:
            found[HEADERS[field.name]] = str(value)
    return found


def tensor_of(reply: Message) -> tensor_pb2.Tensor:
    """The one tensor of a reply."""
    values = (getattr(reply, field.name) for field in reply.DESCRIPTOR.fields)
    return next(value for value in values if isinstance(value, tensor_pb2.Tensor))


def put_axis_of_texts(reply: Message, is_about_one: bool, has_axis_of_one: bool) -> None:
    """Gives the tensor an axis of texts where a list of them was given, and none where one text was."""
    shape = tensor_of(reply).shape
    # Over gRPC texts are always a list: only the shim knows whether one stood alone.
    if is_about_one and has_axis_of_one:
        del shape[0]
    elif not is_about_one and not has_axis_of_one and len(shape) == MAP_AXES:
        shape.insert(0, 1)


def dtype(reply: Message) -> str:
    """The word for the element type of the one tensor of a reply."""
    return DTYPES[tensor_of(reply).dtype]


def rounding(value: tensor_pb2.Rounding) -> Json:
    """What writing features in fewer bits has cost; the scale is base64 of float32, one for each channel."""
    scale: Json = {"scale": blobs.raw(value.scale)} if value.HasField("scale") else {}
    return {"largest_error": value.largest_error, "mean_error": value.mean_error, **scale}


def _segmentation(mask: sam2_pb2.Mask, size: list[int], written: Written) -> Json:
    match mask.WhichOneof("segmentation"):
        case "bitmap":
            return {"segmentation": written(mask.bitmap), "segmentation_shape": list(mask.bitmap.shape)}
        case "rle":
            lengths = _run_lengths(mask.rle)
            return {"segmentation": lengths, "segmentation_shape": lengths["size"]}
        case "png":
            return {"segmentation": blobs.whole(mask.png), "segmentation_shape": size}
    # The label map has it.
    return {}


def _known(mask: sam2_pb2.Mask) -> Json:
    return {
        field.name: _value(getattr(mask, field.name))
        for field in mask.DESCRIPTOR.fields
        if field.containing_oneof is None
    }


def _run_lengths(rle: sam2_pb2.Rle) -> Json:
    coded = rle.WhichOneof("runs") == "coco"
    return {"size": [rle.height, rle.width], "counts": rle.coco if coded else list(rle.lengths.counts)}


def _object(each: objects_pb2.SceneObject, size: list[int], written: Written) -> Json:
    parent = each.parent if each.HasField("parent") else None
    place: Json = {"level": each.level, "parent": parent}
    if each.HasField("granularity"):
        place["granularity"] = GRANULARITIES[each.granularity]
    return _segmentation(each.mask, size, written) | _known(each.mask) | place


def _object_vectors(each: objects_pb2.ObjectVectors) -> Json:
    tensor = each.vectors
    body: Json = {"vectors": blobs.raw(tensor), "shape": list(tensor.shape), "model": each.model}
    if tensor.dtype != tensor_pb2.D_TYPE_FLOAT32:
        body["dtype"] = DTYPES[tensor.dtype]
    if each.HasField("rounding"):
        body["rounding"] = rounding(each.rounding)
    return body


def _label_map(tensor: tensor_pb2.Tensor) -> Json:
    return {"label_map": blobs.raw(tensor), "label_map_shape": list(tensor.shape)}


def plain(message: Message) -> object:
    """A small message as JSON: an array where the contract says so."""
    fields = message.DESCRIPTOR.fields
    if is_array(message.DESCRIPTOR):
        return [_value(getattr(message, field.name)) for field in fields]
    return {field.name: _value(getattr(message, field.name)) for field in fields}


def _value(value: Any) -> object:  # Any: the value of some field
    if isinstance(value, Message):
        return plain(value)
    return value if isinstance(value, int | float | str) else [_value(each) for each in value]
