from featsvc.v1 import features_pb2 as _features_pb2
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

class DenseRecipe(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DENSE_RECIPE_UNSPECIFIED: _ClassVar[DenseRecipe]
    DENSE_RECIPE_MASKCLIP: _ClassVar[DenseRecipe]
    DENSE_RECIPE_SCLIP: _ClassVar[DenseRecipe]
    DENSE_RECIPE_CLEARCLIP: _ClassVar[DenseRecipe]
    DENSE_RECIPE_NACLIP: _ClassVar[DenseRecipe]
    DENSE_RECIPE_PROXYCLIP: _ClassVar[DenseRecipe]

class TemplateSet(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TEMPLATE_SET_UNSPECIFIED: _ClassVar[TemplateSet]
    TEMPLATE_SET_IMAGENET: _ClassVar[TemplateSet]
    TEMPLATE_SET_SIMPLE: _ClassVar[TemplateSet]
DENSE_RECIPE_UNSPECIFIED: DenseRecipe
DENSE_RECIPE_MASKCLIP: DenseRecipe
DENSE_RECIPE_SCLIP: DenseRecipe
DENSE_RECIPE_CLEARCLIP: DenseRecipe
DENSE_RECIPE_NACLIP: DenseRecipe
DENSE_RECIPE_PROXYCLIP: DenseRecipe
TEMPLATE_SET_UNSPECIFIED: TemplateSet
TEMPLATE_SET_IMAGENET: TemplateSet
TEMPLATE_SET_SIMPLE: TemplateSet

class ClipServiceExtractFeaturesRequest(_message.Message):
    __slots__ = ("image", "model", "params", "grid", "features")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    model: ClipModel
    params: ClipParams
    grid: _features_pb2.GridParams
    features: _features_pb2.FeatureParams
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., model: _Optional[_Union[ClipModel, _Mapping]] = ..., params: _Optional[_Union[ClipParams, _Mapping]] = ..., grid: _Optional[_Union[_features_pb2.GridParams, _Mapping]] = ..., features: _Optional[_Union[_features_pb2.FeatureParams, _Mapping]] = ...) -> None: ...

class ClipModel(_message.Message):
    __slots__ = ("model_name", "model_pretrained")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_PRETRAINED_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_pretrained: str
    def __init__(self, model_name: _Optional[str] = ..., model_pretrained: _Optional[str] = ...) -> None: ...

class ClipParams(_message.Message):
    __slots__ = ("load_size", "center_crop", "dense_recipe", "window_size", "window_stride", "proxy_model")
    LOAD_SIZE_FIELD_NUMBER: _ClassVar[int]
    CENTER_CROP_FIELD_NUMBER: _ClassVar[int]
    DENSE_RECIPE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_SIZE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_STRIDE_FIELD_NUMBER: _ClassVar[int]
    PROXY_MODEL_FIELD_NUMBER: _ClassVar[int]
    load_size: int
    center_crop: bool
    dense_recipe: DenseRecipe
    window_size: int
    window_stride: int
    proxy_model: str
    def __init__(self, load_size: _Optional[int] = ..., center_crop: bool = ..., dense_recipe: _Optional[_Union[DenseRecipe, str]] = ..., window_size: _Optional[int] = ..., window_stride: _Optional[int] = ..., proxy_model: _Optional[str] = ...) -> None: ...

class ClipServiceExtractFeaturesResponse(_message.Message):
    __slots__ = ("features", "is_pca", "geometry", "model", "image_digest", "rounding", "image_orientation", "pca_basis")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    IS_PCA_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROUNDING_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    PCA_BASIS_FIELD_NUMBER: _ClassVar[int]
    features: _tensor_pb2.Tensor
    is_pca: bool
    geometry: _image_pb2.Geometry
    model: str
    image_digest: str
    rounding: _tensor_pb2.Rounding
    image_orientation: int
    pca_basis: str
    def __init__(self, features: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., is_pca: bool = ..., geometry: _Optional[_Union[_image_pb2.Geometry, _Mapping]] = ..., model: _Optional[str] = ..., image_digest: _Optional[str] = ..., rounding: _Optional[_Union[_tensor_pb2.Rounding, _Mapping]] = ..., image_orientation: _Optional[int] = ..., pca_basis: _Optional[str] = ...) -> None: ...

class ClipServiceExtractFeaturesChunkedRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: ClipServiceExtractFeaturesRequest
    def __init__(self, request: _Optional[_Union[ClipServiceExtractFeaturesRequest, _Mapping]] = ...) -> None: ...

class ClipServiceExtractFeaturesChunkedResponse(_message.Message):
    __slots__ = ("reply", "chunk")
    REPLY_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    reply: ClipServiceExtractFeaturesResponse
    chunk: _tensor_pb2.TensorChunk
    def __init__(self, reply: _Optional[_Union[ClipServiceExtractFeaturesResponse, _Mapping]] = ..., chunk: _Optional[_Union[_tensor_pb2.TensorChunk, _Mapping]] = ...) -> None: ...

class ClipServiceExtractFeaturesStreamRequest(_message.Message):
    __slots__ = ("request_id", "request")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    request: ClipServiceExtractFeaturesRequest
    def __init__(self, request_id: _Optional[str] = ..., request: _Optional[_Union[ClipServiceExtractFeaturesRequest, _Mapping]] = ...) -> None: ...

class ClipServiceExtractFeaturesStreamResponse(_message.Message):
    __slots__ = ("request_id", "response", "error", "timing")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: ClipServiceExtractFeaturesResponse
    error: _stream_pb2.ItemError
    timing: _stream_pb2.Timing
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[ClipServiceExtractFeaturesResponse, _Mapping]] = ..., error: _Optional[_Union[_stream_pb2.ItemError, _Mapping]] = ..., timing: _Optional[_Union[_stream_pb2.Timing, _Mapping]] = ...) -> None: ...

class Texts(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, text: _Optional[_Iterable[str]] = ...) -> None: ...

class TextQuery(_message.Message):
    __slots__ = ("text", "negative_text")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_TEXT_FIELD_NUMBER: _ClassVar[int]
    text: _containers.RepeatedScalarFieldContainer[str]
    negative_text: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, text: _Optional[_Iterable[str]] = ..., negative_text: _Optional[_Iterable[str]] = ...) -> None: ...

class TextParams(_message.Message):
    __slots__ = ("templates", "template_set")
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_SET_FIELD_NUMBER: _ClassVar[int]
    templates: _containers.RepeatedScalarFieldContainer[str]
    template_set: TemplateSet
    def __init__(self, templates: _Optional[_Iterable[str]] = ..., template_set: _Optional[_Union[TemplateSet, str]] = ...) -> None: ...

class EncodeTextRequest(_message.Message):
    __slots__ = ("texts", "model", "wording")
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WORDING_FIELD_NUMBER: _ClassVar[int]
    texts: Texts
    model: ClipModel
    wording: TextParams
    def __init__(self, texts: _Optional[_Union[Texts, _Mapping]] = ..., model: _Optional[_Union[ClipModel, _Mapping]] = ..., wording: _Optional[_Union[TextParams, _Mapping]] = ...) -> None: ...

class EncodeTextResponse(_message.Message):
    __slots__ = ("text_embedding", "model")
    TEXT_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    text_embedding: _tensor_pb2.Tensor
    model: str
    def __init__(self, text_embedding: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., model: _Optional[str] = ...) -> None: ...

class ComputeSimilarityRequest(_message.Message):
    __slots__ = ("image", "query", "model", "params", "grid", "similarity", "wording")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    WORDING_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    query: TextQuery
    model: ClipModel
    params: ClipParams
    grid: _features_pb2.GridParams
    similarity: SimilarityParams
    wording: TextParams
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., query: _Optional[_Union[TextQuery, _Mapping]] = ..., model: _Optional[_Union[ClipModel, _Mapping]] = ..., params: _Optional[_Union[ClipParams, _Mapping]] = ..., grid: _Optional[_Union[_features_pb2.GridParams, _Mapping]] = ..., similarity: _Optional[_Union[SimilarityParams, _Mapping]] = ..., wording: _Optional[_Union[TextParams, _Mapping]] = ...) -> None: ...

class SimilarityParams(_message.Message):
    __slots__ = ("softmax", "ret_pca", "pca_niter", "pca_q_min", "pca_q_max", "tensor_format")
    SOFTMAX_FIELD_NUMBER: _ClassVar[int]
    RET_PCA_FIELD_NUMBER: _ClassVar[int]
    PCA_NITER_FIELD_NUMBER: _ClassVar[int]
    PCA_Q_MIN_FIELD_NUMBER: _ClassVar[int]
    PCA_Q_MAX_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FORMAT_FIELD_NUMBER: _ClassVar[int]
    softmax: float
    ret_pca: bool
    pca_niter: int
    pca_q_min: float
    pca_q_max: float
    tensor_format: _image_pb2.TensorFormat
    def __init__(self, softmax: _Optional[float] = ..., ret_pca: bool = ..., pca_niter: _Optional[int] = ..., pca_q_min: _Optional[float] = ..., pca_q_max: _Optional[float] = ..., tensor_format: _Optional[_Union[_image_pb2.TensorFormat, str]] = ...) -> None: ...

class ComputeSimilarityResponse(_message.Message):
    __slots__ = ("similarity_map", "geometry", "model", "image_digest", "image_orientation")
    SIMILARITY_MAP_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    similarity_map: _tensor_pb2.Tensor
    geometry: _image_pb2.Geometry
    model: str
    image_digest: str
    image_orientation: int
    def __init__(self, similarity_map: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., geometry: _Optional[_Union[_image_pb2.Geometry, _Mapping]] = ..., model: _Optional[str] = ..., image_digest: _Optional[str] = ..., image_orientation: _Optional[int] = ...) -> None: ...

class EncodeImageRequest(_message.Message):
    __slots__ = ("image", "model")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    model: ClipModel
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., model: _Optional[_Union[ClipModel, _Mapping]] = ...) -> None: ...

class EncodeImageResponse(_message.Message):
    __slots__ = ("image_embedding", "model", "image_digest", "image_orientation")
    IMAGE_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    image_embedding: _tensor_pb2.Tensor
    model: str
    image_digest: str
    image_orientation: int
    def __init__(self, image_embedding: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., model: _Optional[str] = ..., image_digest: _Optional[str] = ..., image_orientation: _Optional[int] = ...) -> None: ...

class ScaledPosition(_message.Message):
    __slots__ = ("x", "y", "scale")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    scale: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., scale: _Optional[float] = ...) -> None: ...

class PyramidGrid(_message.Message):
    __slots__ = ("width", "height", "scales")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    scales: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., scales: _Optional[_Iterable[float]] = ...) -> None: ...

class PyramidParams(_message.Message):
    __slots__ = ("tile_ratio_min", "tile_ratio_max", "tile_levels", "tile_stride_ratio", "scaled_points", "scaled_grid", "pyramid_dtype")
    TILE_RATIO_MIN_FIELD_NUMBER: _ClassVar[int]
    TILE_RATIO_MAX_FIELD_NUMBER: _ClassVar[int]
    TILE_LEVELS_FIELD_NUMBER: _ClassVar[int]
    TILE_STRIDE_RATIO_FIELD_NUMBER: _ClassVar[int]
    SCALED_POINTS_FIELD_NUMBER: _ClassVar[int]
    SCALED_GRID_FIELD_NUMBER: _ClassVar[int]
    PYRAMID_DTYPE_FIELD_NUMBER: _ClassVar[int]
    tile_ratio_min: float
    tile_ratio_max: float
    tile_levels: int
    tile_stride_ratio: float
    scaled_points: _containers.RepeatedCompositeFieldContainer[ScaledPosition]
    scaled_grid: PyramidGrid
    pyramid_dtype: _tensor_pb2.FeatureDType
    def __init__(self, tile_ratio_min: _Optional[float] = ..., tile_ratio_max: _Optional[float] = ..., tile_levels: _Optional[int] = ..., tile_stride_ratio: _Optional[float] = ..., scaled_points: _Optional[_Iterable[_Union[ScaledPosition, _Mapping]]] = ..., scaled_grid: _Optional[_Union[PyramidGrid, _Mapping]] = ..., pyramid_dtype: _Optional[_Union[_tensor_pb2.FeatureDType, str]] = ...) -> None: ...

class EmbedPyramidRequest(_message.Message):
    __slots__ = ("image", "model", "pyramid")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PYRAMID_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    model: ClipModel
    pyramid: PyramidParams
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., model: _Optional[_Union[ClipModel, _Mapping]] = ..., pyramid: _Optional[_Union[PyramidParams, _Mapping]] = ...) -> None: ...

class PyramidLevel(_message.Message):
    __slots__ = ("tile_ratio", "stride_ratio", "tile_size", "stride", "grid_height", "grid_width", "first_center")
    TILE_RATIO_FIELD_NUMBER: _ClassVar[int]
    STRIDE_RATIO_FIELD_NUMBER: _ClassVar[int]
    TILE_SIZE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    GRID_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    GRID_WIDTH_FIELD_NUMBER: _ClassVar[int]
    FIRST_CENTER_FIELD_NUMBER: _ClassVar[int]
    tile_ratio: float
    stride_ratio: float
    tile_size: int
    stride: int
    grid_height: int
    grid_width: int
    first_center: float
    def __init__(self, tile_ratio: _Optional[float] = ..., stride_ratio: _Optional[float] = ..., tile_size: _Optional[int] = ..., stride: _Optional[int] = ..., grid_height: _Optional[int] = ..., grid_width: _Optional[int] = ..., first_center: _Optional[float] = ...) -> None: ...

class EmbedPyramidResponse(_message.Message):
    __slots__ = ("features", "levels", "model", "image_digest", "rounding", "image_orientation", "height", "width")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROUNDING_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    features: _tensor_pb2.Tensor
    levels: _containers.RepeatedCompositeFieldContainer[PyramidLevel]
    model: str
    image_digest: str
    rounding: _tensor_pb2.Rounding
    image_orientation: int
    height: int
    width: int
    def __init__(self, features: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., levels: _Optional[_Iterable[_Union[PyramidLevel, _Mapping]]] = ..., model: _Optional[str] = ..., image_digest: _Optional[str] = ..., rounding: _Optional[_Union[_tensor_pb2.Rounding, _Mapping]] = ..., image_orientation: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ...) -> None: ...

class EmbedPyramidChunkedRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: EmbedPyramidRequest
    def __init__(self, request: _Optional[_Union[EmbedPyramidRequest, _Mapping]] = ...) -> None: ...

class EmbedPyramidChunkedResponse(_message.Message):
    __slots__ = ("reply", "chunk")
    REPLY_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    reply: EmbedPyramidResponse
    chunk: _tensor_pb2.TensorChunk
    def __init__(self, reply: _Optional[_Union[EmbedPyramidResponse, _Mapping]] = ..., chunk: _Optional[_Union[_tensor_pb2.TensorChunk, _Mapping]] = ...) -> None: ...

class EmbedPyramidStreamRequest(_message.Message):
    __slots__ = ("request_id", "request")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    request: EmbedPyramidRequest
    def __init__(self, request_id: _Optional[str] = ..., request: _Optional[_Union[EmbedPyramidRequest, _Mapping]] = ...) -> None: ...

class EmbedPyramidStreamResponse(_message.Message):
    __slots__ = ("request_id", "response", "error", "timing")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: EmbedPyramidResponse
    error: _stream_pb2.ItemError
    timing: _stream_pb2.Timing
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[EmbedPyramidResponse, _Mapping]] = ..., error: _Optional[_Union[_stream_pb2.ItemError, _Mapping]] = ..., timing: _Optional[_Union[_stream_pb2.Timing, _Mapping]] = ...) -> None: ...
