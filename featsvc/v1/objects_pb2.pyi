from featsvc.v1 import clip_pb2 as _clip_pb2
from featsvc.v1 import dino_pb2 as _dino_pb2
from featsvc.v1 import image_pb2 as _image_pb2
from featsvc.v1 import options_pb2 as _options_pb2
from featsvc.v1 import sam2_pb2 as _sam2_pb2
from featsvc.v1 import stream_pb2 as _stream_pb2
from featsvc.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Normalization(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NORMALIZATION_UNSPECIFIED: _ClassVar[Normalization]
    NORMALIZATION_MODEL: _ClassVar[Normalization]
    NORMALIZATION_IMAGENET: _ClassVar[Normalization]

class Pooling(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POOLING_UNSPECIFIED: _ClassVar[Pooling]
    POOLING_MEAN: _ClassVar[Pooling]
    POOLING_MAX: _ClassVar[Pooling]
    POOLING_ERODED_MEAN: _ClassVar[Pooling]

class Squaring(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SQUARING_UNSPECIFIED: _ClassVar[Squaring]
    SQUARING_NONE: _ClassVar[Squaring]
    SQUARING_PAD: _ClassVar[Squaring]
    SQUARING_STRETCH: _ClassVar[Squaring]

class Background(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BACKGROUND_UNSPECIFIED: _ClassVar[Background]
    BACKGROUND_KEPT: _ClassVar[Background]
    BACKGROUND_BLACK: _ClassVar[Background]
    BACKGROUND_GREY: _ClassVar[Background]
    BACKGROUND_BLUR: _ClassVar[Background]

class Recipe(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECIPE_UNSPECIFIED: _ClassVar[Recipe]
    RECIPE_CONCEPTFUSION: _ClassVar[Recipe]
    RECIPE_CONCEPTGRAPHS: _ClassVar[Recipe]
    RECIPE_HOVSG: _ClassVar[Recipe]
    RECIPE_OPENMASK3D: _ClassVar[Recipe]
    RECIPE_LANGSPLAT: _ClassVar[Recipe]
    RECIPE_FEATURE_SPLATTING: _ClassVar[Recipe]

class MaskGranularity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_GRANULARITY_UNSPECIFIED: _ClassVar[MaskGranularity]
    MASK_GRANULARITY_ALL: _ClassVar[MaskGranularity]
    MASK_GRANULARITY_SUBPART: _ClassVar[MaskGranularity]
    MASK_GRANULARITY_PART: _ClassVar[MaskGranularity]
    MASK_GRANULARITY_WHOLE: _ClassVar[MaskGranularity]

class ObjectSearch(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OBJECT_SEARCH_UNSPECIFIED: _ClassVar[ObjectSearch]
    OBJECT_SEARCH_MASKS: _ClassVar[ObjectSearch]
    OBJECT_SEARCH_PEAKS: _ClassVar[ObjectSearch]
NORMALIZATION_UNSPECIFIED: Normalization
NORMALIZATION_MODEL: Normalization
NORMALIZATION_IMAGENET: Normalization
POOLING_UNSPECIFIED: Pooling
POOLING_MEAN: Pooling
POOLING_MAX: Pooling
POOLING_ERODED_MEAN: Pooling
SQUARING_UNSPECIFIED: Squaring
SQUARING_NONE: Squaring
SQUARING_PAD: Squaring
SQUARING_STRETCH: Squaring
BACKGROUND_UNSPECIFIED: Background
BACKGROUND_KEPT: Background
BACKGROUND_BLACK: Background
BACKGROUND_GREY: Background
BACKGROUND_BLUR: Background
RECIPE_UNSPECIFIED: Recipe
RECIPE_CONCEPTFUSION: Recipe
RECIPE_CONCEPTGRAPHS: Recipe
RECIPE_HOVSG: Recipe
RECIPE_OPENMASK3D: Recipe
RECIPE_LANGSPLAT: Recipe
RECIPE_FEATURE_SPLATTING: Recipe
MASK_GRANULARITY_UNSPECIFIED: MaskGranularity
MASK_GRANULARITY_ALL: MaskGranularity
MASK_GRANULARITY_SUBPART: MaskGranularity
MASK_GRANULARITY_PART: MaskGranularity
MASK_GRANULARITY_WHOLE: MaskGranularity
OBJECT_SEARCH_UNSPECIFIED: ObjectSearch
OBJECT_SEARCH_MASKS: ObjectSearch
OBJECT_SEARCH_PEAKS: ObjectSearch

class ObjectSource(_message.Message):
    __slots__ = ("prompts", "boxes", "bitmaps", "rle", "png", "label_map")
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    BITMAPS_FIELD_NUMBER: _ClassVar[int]
    RLE_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    LABEL_MAP_FIELD_NUMBER: _ClassVar[int]
    prompts: _containers.RepeatedCompositeFieldContainer[_sam2_pb2.Prompt]
    boxes: _containers.RepeatedCompositeFieldContainer[_sam2_pb2.Box]
    bitmaps: _tensor_pb2.Tensor
    rle: _containers.RepeatedCompositeFieldContainer[_sam2_pb2.Rle]
    png: _containers.RepeatedScalarFieldContainer[bytes]
    label_map: _tensor_pb2.Tensor
    def __init__(self, prompts: _Optional[_Iterable[_Union[_sam2_pb2.Prompt, _Mapping]]] = ..., boxes: _Optional[_Iterable[_Union[_sam2_pb2.Box, _Mapping]]] = ..., bitmaps: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., rle: _Optional[_Iterable[_Union[_sam2_pb2.Rle, _Mapping]]] = ..., png: _Optional[_Iterable[bytes]] = ..., label_map: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class ClipView(_message.Message):
    __slots__ = ("model", "params", "normalization")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    NORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    model: _clip_pb2.ClipModel
    params: _clip_pb2.ClipParams
    normalization: Normalization
    def __init__(self, model: _Optional[_Union[_clip_pb2.ClipModel, _Mapping]] = ..., params: _Optional[_Union[_clip_pb2.ClipParams, _Mapping]] = ..., normalization: _Optional[_Union[Normalization, str]] = ...) -> None: ...

class DinoView(_message.Message):
    __slots__ = ("model", "params")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    model: _dino_pb2.DinoModel
    params: _dino_pb2.DinoParams
    def __init__(self, model: _Optional[_Union[_dino_pb2.DinoModel, _Mapping]] = ..., params: _Optional[_Union[_dino_pb2.DinoParams, _Mapping]] = ...) -> None: ...

class ObjectDescriptor(_message.Message):
    __slots__ = ("clip", "dino", "pooled", "crop")
    CLIP_FIELD_NUMBER: _ClassVar[int]
    DINO_FIELD_NUMBER: _ClassVar[int]
    POOLED_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    clip: ClipView
    dino: DinoView
    pooled: PooledDescriptor
    crop: CropDescriptor
    def __init__(self, clip: _Optional[_Union[ClipView, _Mapping]] = ..., dino: _Optional[_Union[DinoView, _Mapping]] = ..., pooled: _Optional[_Union[PooledDescriptor, _Mapping]] = ..., crop: _Optional[_Union[CropDescriptor, _Mapping]] = ...) -> None: ...

class PooledDescriptor(_message.Message):
    __slots__ = ("pooling", "erosion", "grid_width")
    POOLING_FIELD_NUMBER: _ClassVar[int]
    EROSION_FIELD_NUMBER: _ClassVar[int]
    GRID_WIDTH_FIELD_NUMBER: _ClassVar[int]
    pooling: Pooling
    erosion: int
    grid_width: int
    def __init__(self, pooling: _Optional[_Union[Pooling, str]] = ..., erosion: _Optional[int] = ..., grid_width: _Optional[int] = ...) -> None: ...

class CropDescriptor(_message.Message):
    __slots__ = ("margin_px", "margin", "levels", "level_margin", "squaring", "background", "blur", "masked_weight", "with_picture", "square_side", "sam_box", "plain_margin_px")
    MARGIN_PX_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    LEVEL_MARGIN_FIELD_NUMBER: _ClassVar[int]
    SQUARING_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    BLUR_FIELD_NUMBER: _ClassVar[int]
    MASKED_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    WITH_PICTURE_FIELD_NUMBER: _ClassVar[int]
    SQUARE_SIDE_FIELD_NUMBER: _ClassVar[int]
    SAM_BOX_FIELD_NUMBER: _ClassVar[int]
    PLAIN_MARGIN_PX_FIELD_NUMBER: _ClassVar[int]
    margin_px: int
    margin: float
    levels: int
    level_margin: float
    squaring: Squaring
    background: Background
    blur: float
    masked_weight: float
    with_picture: bool
    square_side: int
    sam_box: bool
    plain_margin_px: int
    def __init__(self, margin_px: _Optional[int] = ..., margin: _Optional[float] = ..., levels: _Optional[int] = ..., level_margin: _Optional[float] = ..., squaring: _Optional[_Union[Squaring, str]] = ..., background: _Optional[_Union[Background, str]] = ..., blur: _Optional[float] = ..., masked_weight: _Optional[float] = ..., with_picture: bool = ..., square_side: _Optional[int] = ..., sam_box: bool = ..., plain_margin_px: _Optional[int] = ...) -> None: ...

class ObjectParams(_message.Message):
    __slots__ = ("describe", "descriptor_dtype", "containment", "recipe", "granularities", "mask_nms_thresh", "inner_nms_thresh", "mask_score_thresh")
    DESCRIBE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_DTYPE_FIELD_NUMBER: _ClassVar[int]
    CONTAINMENT_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    GRANULARITIES_FIELD_NUMBER: _ClassVar[int]
    MASK_NMS_THRESH_FIELD_NUMBER: _ClassVar[int]
    INNER_NMS_THRESH_FIELD_NUMBER: _ClassVar[int]
    MASK_SCORE_THRESH_FIELD_NUMBER: _ClassVar[int]
    describe: _containers.RepeatedCompositeFieldContainer[ObjectDescriptor]
    descriptor_dtype: _tensor_pb2.FeatureDType
    containment: float
    recipe: Recipe
    granularities: _containers.RepeatedScalarFieldContainer[MaskGranularity]
    mask_nms_thresh: float
    inner_nms_thresh: float
    mask_score_thresh: float
    def __init__(self, describe: _Optional[_Iterable[_Union[ObjectDescriptor, _Mapping]]] = ..., descriptor_dtype: _Optional[_Union[_tensor_pb2.FeatureDType, str]] = ..., containment: _Optional[float] = ..., recipe: _Optional[_Union[Recipe, str]] = ..., granularities: _Optional[_Iterable[_Union[MaskGranularity, str]]] = ..., mask_nms_thresh: _Optional[float] = ..., inner_nms_thresh: _Optional[float] = ..., mask_score_thresh: _Optional[float] = ...) -> None: ...

class DescribeObjectsRequest(_message.Message):
    __slots__ = ("image", "source", "model", "params", "masks", "objects")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    source: ObjectSource
    model: _sam2_pb2.Sam2Model
    params: _sam2_pb2.AutomaticMaskParams
    masks: _sam2_pb2.MaskParams
    objects: ObjectParams
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., source: _Optional[_Union[ObjectSource, _Mapping]] = ..., model: _Optional[_Union[_sam2_pb2.Sam2Model, _Mapping]] = ..., params: _Optional[_Union[_sam2_pb2.AutomaticMaskParams, _Mapping]] = ..., masks: _Optional[_Union[_sam2_pb2.MaskParams, _Mapping]] = ..., objects: _Optional[_Union[ObjectParams, _Mapping]] = ...) -> None: ...

class SceneObject(_message.Message):
    __slots__ = ("mask", "level", "parent", "granularity")
    MASK_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    GRANULARITY_FIELD_NUMBER: _ClassVar[int]
    mask: _sam2_pb2.Mask
    level: int
    parent: int
    granularity: MaskGranularity
    def __init__(self, mask: _Optional[_Union[_sam2_pb2.Mask, _Mapping]] = ..., level: _Optional[int] = ..., parent: _Optional[int] = ..., granularity: _Optional[_Union[MaskGranularity, str]] = ...) -> None: ...

class ObjectVectors(_message.Message):
    __slots__ = ("vectors", "model", "rounding")
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ROUNDING_FIELD_NUMBER: _ClassVar[int]
    vectors: _tensor_pb2.Tensor
    model: str
    rounding: _tensor_pb2.Rounding
    def __init__(self, vectors: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., model: _Optional[str] = ..., rounding: _Optional[_Union[_tensor_pb2.Rounding, _Mapping]] = ...) -> None: ...

class DescribeObjectsResponse(_message.Message):
    __slots__ = ("objects", "descriptors", "height", "width", "model", "image_digest", "label_map", "image_orientation")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LABEL_MAP_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[SceneObject]
    descriptors: _containers.RepeatedCompositeFieldContainer[ObjectVectors]
    height: int
    width: int
    model: str
    image_digest: str
    label_map: _tensor_pb2.Tensor
    image_orientation: int
    def __init__(self, objects: _Optional[_Iterable[_Union[SceneObject, _Mapping]]] = ..., descriptors: _Optional[_Iterable[_Union[ObjectVectors, _Mapping]]] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., model: _Optional[str] = ..., image_digest: _Optional[str] = ..., label_map: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., image_orientation: _Optional[int] = ...) -> None: ...

class DescribeObjectsStreamRequest(_message.Message):
    __slots__ = ("request_id", "request")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    request: DescribeObjectsRequest
    def __init__(self, request_id: _Optional[str] = ..., request: _Optional[_Union[DescribeObjectsRequest, _Mapping]] = ...) -> None: ...

class DescribeObjectsStreamResponse(_message.Message):
    __slots__ = ("request_id", "response", "error", "timing")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: DescribeObjectsResponse
    error: _stream_pb2.ItemError
    timing: _stream_pb2.Timing
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[DescribeObjectsResponse, _Mapping]] = ..., error: _Optional[_Union[_stream_pb2.ItemError, _Mapping]] = ..., timing: _Optional[_Union[_stream_pb2.Timing, _Mapping]] = ...) -> None: ...

class ObjectQuery(_message.Message):
    __slots__ = ("text", "negative_text", "vectors")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_TEXT_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    text: _containers.RepeatedScalarFieldContainer[str]
    negative_text: _containers.RepeatedScalarFieldContainer[str]
    vectors: _tensor_pb2.Tensor
    def __init__(self, text: _Optional[_Iterable[str]] = ..., negative_text: _Optional[_Iterable[str]] = ..., vectors: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class FindParams(_message.Message):
    __slots__ = ("search", "min_score", "max_matches", "max_overlap", "relevancy_scale", "max_peaks", "ret_text_map")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    MAX_MATCHES_FIELD_NUMBER: _ClassVar[int]
    MAX_OVERLAP_FIELD_NUMBER: _ClassVar[int]
    RELEVANCY_SCALE_FIELD_NUMBER: _ClassVar[int]
    MAX_PEAKS_FIELD_NUMBER: _ClassVar[int]
    RET_TEXT_MAP_FIELD_NUMBER: _ClassVar[int]
    search: ObjectSearch
    min_score: float
    max_matches: int
    max_overlap: float
    relevancy_scale: float
    max_peaks: int
    ret_text_map: bool
    def __init__(self, search: _Optional[_Union[ObjectSearch, str]] = ..., min_score: _Optional[float] = ..., max_matches: _Optional[int] = ..., max_overlap: _Optional[float] = ..., relevancy_scale: _Optional[float] = ..., max_peaks: _Optional[int] = ..., ret_text_map: bool = ...) -> None: ...

class FindObjectsRequest(_message.Message):
    __slots__ = ("image", "query", "source", "model", "params", "masks", "objects", "find", "texts")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    FIND_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    query: ObjectQuery
    source: ObjectSource
    model: _sam2_pb2.Sam2Model
    params: _sam2_pb2.AutomaticMaskParams
    masks: _sam2_pb2.MaskParams
    objects: ObjectParams
    find: FindParams
    texts: _clip_pb2.TextParams
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., query: _Optional[_Union[ObjectQuery, _Mapping]] = ..., source: _Optional[_Union[ObjectSource, _Mapping]] = ..., model: _Optional[_Union[_sam2_pb2.Sam2Model, _Mapping]] = ..., params: _Optional[_Union[_sam2_pb2.AutomaticMaskParams, _Mapping]] = ..., masks: _Optional[_Union[_sam2_pb2.MaskParams, _Mapping]] = ..., objects: _Optional[_Union[ObjectParams, _Mapping]] = ..., find: _Optional[_Union[FindParams, _Mapping]] = ..., texts: _Optional[_Union[_clip_pb2.TextParams, _Mapping]] = ...) -> None: ...

class ObjectMatch(_message.Message):
    __slots__ = ("object", "score")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    object: int
    score: float
    def __init__(self, object: _Optional[int] = ..., score: _Optional[float] = ...) -> None: ...

class ObjectMatches(_message.Message):
    __slots__ = ("matches",)
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.RepeatedCompositeFieldContainer[ObjectMatch]
    def __init__(self, matches: _Optional[_Iterable[_Union[ObjectMatch, _Mapping]]] = ...) -> None: ...

class FindObjectsResponse(_message.Message):
    __slots__ = ("objects", "found", "height", "width", "model", "image_digest", "label_map", "text_map", "image_orientation", "descriptor_models")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LABEL_MAP_FIELD_NUMBER: _ClassVar[int]
    TEXT_MAP_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_MODELS_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[SceneObject]
    found: _containers.RepeatedCompositeFieldContainer[ObjectMatches]
    height: int
    width: int
    model: str
    image_digest: str
    label_map: _tensor_pb2.Tensor
    text_map: _tensor_pb2.Tensor
    image_orientation: int
    descriptor_models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, objects: _Optional[_Iterable[_Union[SceneObject, _Mapping]]] = ..., found: _Optional[_Iterable[_Union[ObjectMatches, _Mapping]]] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., model: _Optional[str] = ..., image_digest: _Optional[str] = ..., label_map: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., text_map: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., image_orientation: _Optional[int] = ..., descriptor_models: _Optional[_Iterable[str]] = ...) -> None: ...

class FindObjectsStreamRequest(_message.Message):
    __slots__ = ("request_id", "request")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    request: FindObjectsRequest
    def __init__(self, request_id: _Optional[str] = ..., request: _Optional[_Union[FindObjectsRequest, _Mapping]] = ...) -> None: ...

class FindObjectsStreamResponse(_message.Message):
    __slots__ = ("request_id", "response", "error", "timing")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: FindObjectsResponse
    error: _stream_pb2.ItemError
    timing: _stream_pb2.Timing
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[FindObjectsResponse, _Mapping]] = ..., error: _Optional[_Union[_stream_pb2.ItemError, _Mapping]] = ..., timing: _Optional[_Union[_stream_pb2.Timing, _Mapping]] = ...) -> None: ...
