from featsvc.v1 import image_pb2 as _image_pb2
from featsvc.v1 import options_pb2 as _options_pb2
from featsvc.v1 import stream_pb2 as _stream_pb2
from featsvc.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Preset(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRESET_UNSPECIFIED: _ClassVar[Preset]
    PRESET_FINE_GRAINED: _ClassVar[Preset]
    PRESET_COARSE: _ClassVar[Preset]

class OutputMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_MODE_UNSPECIFIED: _ClassVar[OutputMode]
    OUTPUT_MODE_BINARY_MASK: _ClassVar[OutputMode]
    OUTPUT_MODE_UNCOMPRESSED_RLE: _ClassVar[OutputMode]
    OUTPUT_MODE_COCO_RLE: _ClassVar[OutputMode]

class MaskEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_ENCODING_UNSPECIFIED: _ClassVar[MaskEncoding]
    MASK_ENCODING_BITS: _ClassVar[MaskEncoding]
    MASK_ENCODING_COCO_RLE: _ClassVar[MaskEncoding]
    MASK_ENCODING_PNG: _ClassVar[MaskEncoding]
    MASK_ENCODING_LABEL_MAP: _ClassVar[MaskEncoding]
    MASK_ENCODING_FLOAT32: _ClassVar[MaskEncoding]
PRESET_UNSPECIFIED: Preset
PRESET_FINE_GRAINED: Preset
PRESET_COARSE: Preset
OUTPUT_MODE_UNSPECIFIED: OutputMode
OUTPUT_MODE_BINARY_MASK: OutputMode
OUTPUT_MODE_UNCOMPRESSED_RLE: OutputMode
OUTPUT_MODE_COCO_RLE: OutputMode
MASK_ENCODING_UNSPECIFIED: MaskEncoding
MASK_ENCODING_BITS: MaskEncoding
MASK_ENCODING_COCO_RLE: MaskEncoding
MASK_ENCODING_PNG: MaskEncoding
MASK_ENCODING_LABEL_MAP: MaskEncoding
MASK_ENCODING_FLOAT32: MaskEncoding

class Sam2Model(_message.Message):
    __slots__ = ("model_cfg", "checkpoint_path")
    MODEL_CFG_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_PATH_FIELD_NUMBER: _ClassVar[int]
    model_cfg: str
    checkpoint_path: str
    def __init__(self, model_cfg: _Optional[str] = ..., checkpoint_path: _Optional[str] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("x0", "y0", "x1", "y1")
    X0_FIELD_NUMBER: _ClassVar[int]
    Y0_FIELD_NUMBER: _ClassVar[int]
    X1_FIELD_NUMBER: _ClassVar[int]
    Y1_FIELD_NUMBER: _ClassVar[int]
    x0: float
    y0: float
    x1: float
    y1: float
    def __init__(self, x0: _Optional[float] = ..., y0: _Optional[float] = ..., x1: _Optional[float] = ..., y1: _Optional[float] = ...) -> None: ...

class PointGrid(_message.Message):
    __slots__ = ("points",)
    POINTS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    def __init__(self, points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ...) -> None: ...

class GenerateMasksRequest(_message.Message):
    __slots__ = ("image", "model", "params", "masks")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    model: Sam2Model
    params: AutomaticMaskParams
    masks: MaskParams
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., model: _Optional[_Union[Sam2Model, _Mapping]] = ..., params: _Optional[_Union[AutomaticMaskParams, _Mapping]] = ..., masks: _Optional[_Union[MaskParams, _Mapping]] = ...) -> None: ...

class MaskParams(_message.Message):
    __slots__ = ("multimask_output", "mask_threshold", "mask_encoding")
    MULTIMASK_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    MASK_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MASK_ENCODING_FIELD_NUMBER: _ClassVar[int]
    multimask_output: bool
    mask_threshold: float
    mask_encoding: MaskEncoding
    def __init__(self, multimask_output: bool = ..., mask_threshold: _Optional[float] = ..., mask_encoding: _Optional[_Union[MaskEncoding, str]] = ...) -> None: ...

class AutomaticMaskParams(_message.Message):
    __slots__ = ("preset", "points_per_side", "points_per_batch", "pred_iou_thresh", "stability_score_thresh", "stability_score_offset", "box_nms_thresh", "crop_n_layers", "crop_nms_thresh", "crop_overlap_ratio", "crop_n_points_downscale_factor", "point_grids", "min_mask_region_area", "use_m2m", "output_mode")
    PRESET_FIELD_NUMBER: _ClassVar[int]
    POINTS_PER_SIDE_FIELD_NUMBER: _ClassVar[int]
    POINTS_PER_BATCH_FIELD_NUMBER: _ClassVar[int]
    PRED_IOU_THRESH_FIELD_NUMBER: _ClassVar[int]
    STABILITY_SCORE_THRESH_FIELD_NUMBER: _ClassVar[int]
    STABILITY_SCORE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    BOX_NMS_THRESH_FIELD_NUMBER: _ClassVar[int]
    CROP_N_LAYERS_FIELD_NUMBER: _ClassVar[int]
    CROP_NMS_THRESH_FIELD_NUMBER: _ClassVar[int]
    CROP_OVERLAP_RATIO_FIELD_NUMBER: _ClassVar[int]
    CROP_N_POINTS_DOWNSCALE_FACTOR_FIELD_NUMBER: _ClassVar[int]
    POINT_GRIDS_FIELD_NUMBER: _ClassVar[int]
    MIN_MASK_REGION_AREA_FIELD_NUMBER: _ClassVar[int]
    USE_M2M_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_MODE_FIELD_NUMBER: _ClassVar[int]
    preset: Preset
    points_per_side: int
    points_per_batch: int
    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float
    box_nms_thresh: float
    crop_n_layers: int
    crop_nms_thresh: float
    crop_overlap_ratio: float
    crop_n_points_downscale_factor: int
    point_grids: _containers.RepeatedCompositeFieldContainer[PointGrid]
    min_mask_region_area: float
    use_m2m: bool
    output_mode: OutputMode
    def __init__(self, preset: _Optional[_Union[Preset, str]] = ..., points_per_side: _Optional[int] = ..., points_per_batch: _Optional[int] = ..., pred_iou_thresh: _Optional[float] = ..., stability_score_thresh: _Optional[float] = ..., stability_score_offset: _Optional[float] = ..., box_nms_thresh: _Optional[float] = ..., crop_n_layers: _Optional[int] = ..., crop_nms_thresh: _Optional[float] = ..., crop_overlap_ratio: _Optional[float] = ..., crop_n_points_downscale_factor: _Optional[int] = ..., point_grids: _Optional[_Iterable[_Union[PointGrid, _Mapping]]] = ..., min_mask_region_area: _Optional[float] = ..., use_m2m: bool = ..., output_mode: _Optional[_Union[OutputMode, str]] = ...) -> None: ...

class Rle(_message.Message):
    __slots__ = ("coco", "lengths", "height", "width")
    COCO_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    coco: str
    lengths: RunLengths
    height: int
    width: int
    def __init__(self, coco: _Optional[str] = ..., lengths: _Optional[_Union[RunLengths, _Mapping]] = ..., height: _Optional[int] = ..., width: _Optional[int] = ...) -> None: ...

class RunLengths(_message.Message):
    __slots__ = ("counts",)
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, counts: _Optional[_Iterable[int]] = ...) -> None: ...

class Rectangle(_message.Message):
    __slots__ = ("x", "y", "width", "height")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    width: float
    height: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ...) -> None: ...

class Mask(_message.Message):
    __slots__ = ("bitmap", "rle", "png", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box")
    BITMAP_FIELD_NUMBER: _ClassVar[int]
    RLE_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    AREA_FIELD_NUMBER: _ClassVar[int]
    BBOX_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_IOU_FIELD_NUMBER: _ClassVar[int]
    POINT_COORDS_FIELD_NUMBER: _ClassVar[int]
    STABILITY_SCORE_FIELD_NUMBER: _ClassVar[int]
    CROP_BOX_FIELD_NUMBER: _ClassVar[int]
    bitmap: _tensor_pb2.Tensor
    rle: Rle
    png: bytes
    area: int
    bbox: Rectangle
    predicted_iou: float
    point_coords: _containers.RepeatedCompositeFieldContainer[Point]
    stability_score: float
    crop_box: Rectangle
    def __init__(self, bitmap: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., rle: _Optional[_Union[Rle, _Mapping]] = ..., png: _Optional[bytes] = ..., area: _Optional[int] = ..., bbox: _Optional[_Union[Rectangle, _Mapping]] = ..., predicted_iou: _Optional[float] = ..., point_coords: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., stability_score: _Optional[float] = ..., crop_box: _Optional[_Union[Rectangle, _Mapping]] = ...) -> None: ...

class GenerateMasksResponse(_message.Message):
    __slots__ = ("masks", "height", "width", "model", "image_digest", "label_map", "image_orientation")
    MASKS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LABEL_MAP_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    masks: _containers.RepeatedCompositeFieldContainer[Mask]
    height: int
    width: int
    model: str
    image_digest: str
    label_map: _tensor_pb2.Tensor
    image_orientation: int
    def __init__(self, masks: _Optional[_Iterable[_Union[Mask, _Mapping]]] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., model: _Optional[str] = ..., image_digest: _Optional[str] = ..., label_map: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., image_orientation: _Optional[int] = ...) -> None: ...

class GenerateMasksStreamRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: GenerateMasksRequest
    def __init__(self, request: _Optional[_Union[GenerateMasksRequest, _Mapping]] = ...) -> None: ...

class GenerateMasksStreamResponse(_message.Message):
    __slots__ = ("mask", "summary")
    MASK_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    mask: Mask
    summary: MasksSummary
    def __init__(self, mask: _Optional[_Union[Mask, _Mapping]] = ..., summary: _Optional[_Union[MasksSummary, _Mapping]] = ...) -> None: ...

class MasksSummary(_message.Message):
    __slots__ = ("count", "height", "width", "model", "image_digest", "label_map", "image_orientation")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LABEL_MAP_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    count: int
    height: int
    width: int
    model: str
    image_digest: str
    label_map: _tensor_pb2.Tensor
    image_orientation: int
    def __init__(self, count: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., model: _Optional[str] = ..., image_digest: _Optional[str] = ..., label_map: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., image_orientation: _Optional[int] = ...) -> None: ...

class Prompt(_message.Message):
    __slots__ = ("point_coords", "point_labels", "box", "mask_input")
    POINT_COORDS_FIELD_NUMBER: _ClassVar[int]
    POINT_LABELS_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    MASK_INPUT_FIELD_NUMBER: _ClassVar[int]
    point_coords: _containers.RepeatedCompositeFieldContainer[Point]
    point_labels: _containers.RepeatedScalarFieldContainer[int]
    box: Box
    mask_input: _tensor_pb2.Tensor
    def __init__(self, point_coords: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., point_labels: _Optional[_Iterable[int]] = ..., box: _Optional[_Union[Box, _Mapping]] = ..., mask_input: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class PredictMasksRequest(_message.Message):
    __slots__ = ("image", "prompts", "model", "params", "masks")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    prompts: _containers.RepeatedCompositeFieldContainer[Prompt]
    model: Sam2Model
    params: PromptMaskParams
    masks: MaskParams
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., prompts: _Optional[_Iterable[_Union[Prompt, _Mapping]]] = ..., model: _Optional[_Union[Sam2Model, _Mapping]] = ..., params: _Optional[_Union[PromptMaskParams, _Mapping]] = ..., masks: _Optional[_Union[MaskParams, _Mapping]] = ...) -> None: ...

class PromptMaskParams(_message.Message):
    __slots__ = ("return_logits", "normalize_coords", "max_hole_area", "max_sprinkle_area", "return_low_res")
    RETURN_LOGITS_FIELD_NUMBER: _ClassVar[int]
    NORMALIZE_COORDS_FIELD_NUMBER: _ClassVar[int]
    MAX_HOLE_AREA_FIELD_NUMBER: _ClassVar[int]
    MAX_SPRINKLE_AREA_FIELD_NUMBER: _ClassVar[int]
    RETURN_LOW_RES_FIELD_NUMBER: _ClassVar[int]
    return_logits: bool
    normalize_coords: bool
    max_hole_area: float
    max_sprinkle_area: float
    return_low_res: bool
    def __init__(self, return_logits: bool = ..., normalize_coords: bool = ..., max_hole_area: _Optional[float] = ..., max_sprinkle_area: _Optional[float] = ..., return_low_res: bool = ...) -> None: ...

class PromptMasks(_message.Message):
    __slots__ = ("masks", "iou_predictions", "low_res_masks", "rle", "png", "label_map")
    MASKS_FIELD_NUMBER: _ClassVar[int]
    IOU_PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    LOW_RES_MASKS_FIELD_NUMBER: _ClassVar[int]
    RLE_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    LABEL_MAP_FIELD_NUMBER: _ClassVar[int]
    masks: _tensor_pb2.Tensor
    iou_predictions: _tensor_pb2.Tensor
    low_res_masks: _tensor_pb2.Tensor
    rle: _containers.RepeatedCompositeFieldContainer[Rle]
    png: _containers.RepeatedScalarFieldContainer[bytes]
    label_map: _tensor_pb2.Tensor
    def __init__(self, masks: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., iou_predictions: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., low_res_masks: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., rle: _Optional[_Iterable[_Union[Rle, _Mapping]]] = ..., png: _Optional[_Iterable[bytes]] = ..., label_map: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class PredictMasksResponse(_message.Message):
    __slots__ = ("results", "height", "width", "model", "image_digest", "image_orientation")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[PromptMasks]
    height: int
    width: int
    model: str
    image_digest: str
    image_orientation: int
    def __init__(self, results: _Optional[_Iterable[_Union[PromptMasks, _Mapping]]] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., model: _Optional[str] = ..., image_digest: _Optional[str] = ..., image_orientation: _Optional[int] = ...) -> None: ...

class PredictMasksStreamRequest(_message.Message):
    __slots__ = ("request_id", "request")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    request: PredictMasksRequest
    def __init__(self, request_id: _Optional[str] = ..., request: _Optional[_Union[PredictMasksRequest, _Mapping]] = ...) -> None: ...

class PredictMasksStreamResponse(_message.Message):
    __slots__ = ("request_id", "response", "error", "timing")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: PredictMasksResponse
    error: _stream_pb2.ItemError
    timing: _stream_pb2.Timing
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[PredictMasksResponse, _Mapping]] = ..., error: _Optional[_Union[_stream_pb2.ItemError, _Mapping]] = ..., timing: _Optional[_Union[_stream_pb2.Timing, _Mapping]] = ...) -> None: ...

class EmbedImageRequest(_message.Message):
    __slots__ = ("image", "model", "embedding")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    model: Sam2Model
    embedding: EmbeddingParams
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., model: _Optional[_Union[Sam2Model, _Mapping]] = ..., embedding: _Optional[_Union[EmbeddingParams, _Mapping]] = ...) -> None: ...

class EmbeddingParams(_message.Message):
    __slots__ = ("ret_embedding", "embedding_dtype")
    RET_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_DTYPE_FIELD_NUMBER: _ClassVar[int]
    ret_embedding: bool
    embedding_dtype: _tensor_pb2.FeatureDType
    def __init__(self, ret_embedding: bool = ..., embedding_dtype: _Optional[_Union[_tensor_pb2.FeatureDType, str]] = ...) -> None: ...

class EmbedImageResponse(_message.Message):
    __slots__ = ("image_digest", "size_bytes", "was_cached", "height", "width", "model", "image_orientation", "image_embed", "high_res_feats_0", "high_res_feats_1")
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    WAS_CACHED_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    IMAGE_EMBED_FIELD_NUMBER: _ClassVar[int]
    HIGH_RES_FEATS_0_FIELD_NUMBER: _ClassVar[int]
    HIGH_RES_FEATS_1_FIELD_NUMBER: _ClassVar[int]
    image_digest: str
    size_bytes: int
    was_cached: bool
    height: int
    width: int
    model: str
    image_orientation: int
    image_embed: _tensor_pb2.Tensor
    high_res_feats_0: _tensor_pb2.Tensor
    high_res_feats_1: _tensor_pb2.Tensor
    def __init__(self, image_digest: _Optional[str] = ..., size_bytes: _Optional[int] = ..., was_cached: bool = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., model: _Optional[str] = ..., image_orientation: _Optional[int] = ..., image_embed: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., high_res_feats_0: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., high_res_feats_1: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...
