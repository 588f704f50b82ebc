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

class Facet(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FACET_UNSPECIFIED: _ClassVar[Facet]
    FACET_TOKEN: _ClassVar[Facet]
    FACET_KEY: _ClassVar[Facet]
    FACET_QUERY: _ClassVar[Facet]
    FACET_VALUE: _ClassVar[Facet]
FACET_UNSPECIFIED: Facet
FACET_TOKEN: Facet
FACET_KEY: Facet
FACET_QUERY: Facet
FACET_VALUE: Facet

class DinoServiceExtractFeaturesRequest(_message.Message):
    __slots__ = ("image", "params")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    params: DinoExtractFeaturesParams
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., params: _Optional[_Union[DinoExtractFeaturesParams, _Mapping]] = ...) -> None: ...

class DinoExtractFeaturesParams(_message.Message):
    __slots__ = ("model_type", "stride", "ret_pca", "ret_patches", "load_size", "facet", "layer", "bin", "pca_niter", "pca_q_min", "pca_q_max", "interpolation_mode", "tensor_format", "padding_mode", "dtype", "points", "region")
    MODEL_TYPE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    RET_PCA_FIELD_NUMBER: _ClassVar[int]
    RET_PATCHES_FIELD_NUMBER: _ClassVar[int]
    LOAD_SIZE_FIELD_NUMBER: _ClassVar[int]
    FACET_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    BIN_FIELD_NUMBER: _ClassVar[int]
    PCA_NITER_FIELD_NUMBER: _ClassVar[int]
    PCA_Q_MIN_FIELD_NUMBER: _ClassVar[int]
    PCA_Q_MAX_FIELD_NUMBER: _ClassVar[int]
    INTERPOLATION_MODE_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FORMAT_FIELD_NUMBER: _ClassVar[int]
    PADDING_MODE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    model_type: str
    stride: int
    ret_pca: bool
    ret_patches: bool
    load_size: int
    facet: Facet
    layer: int
    bin: bool
    pca_niter: int
    pca_q_min: float
    pca_q_max: float
    interpolation_mode: _image_pb2.InterpolationMode
    tensor_format: _image_pb2.TensorFormat
    padding_mode: _image_pb2.PaddingMode
    dtype: _tensor_pb2.FeatureDType
    points: _containers.RepeatedCompositeFieldContainer[_image_pb2.Position]
    region: _image_pb2.Window
    def __init__(self, model_type: _Optional[str] = ..., stride: _Optional[int] = ..., ret_pca: bool = ..., ret_patches: bool = ..., load_size: _Optional[int] = ..., facet: _Optional[_Union[Facet, str]] = ..., layer: _Optional[int] = ..., bin: bool = ..., pca_niter: _Optional[int] = ..., pca_q_min: _Optional[float] = ..., pca_q_max: _Optional[float] = ..., interpolation_mode: _Optional[_Union[_image_pb2.InterpolationMode, str]] = ..., tensor_format: _Optional[_Union[_image_pb2.TensorFormat, str]] = ..., padding_mode: _Optional[_Union[_image_pb2.PaddingMode, str]] = ..., dtype: _Optional[_Union[_tensor_pb2.FeatureDType, str]] = ..., points: _Optional[_Iterable[_Union[_image_pb2.Position, _Mapping]]] = ..., region: _Optional[_Union[_image_pb2.Window, _Mapping]] = ...) -> None: ...

class DinoServiceExtractFeaturesResponse(_message.Message):
    __slots__ = ("features", "is_pca", "geometry", "model", "image_digest", "rounding")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    IS_PCA_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROUNDING_FIELD_NUMBER: _ClassVar[int]
    features: _tensor_pb2.Tensor
    is_pca: bool
    geometry: _image_pb2.Geometry
    model: str
    image_digest: str
    rounding: _tensor_pb2.Rounding
    def __init__(self, features: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., is_pca: bool = ..., geometry: _Optional[_Union[_image_pb2.Geometry, _Mapping]] = ..., model: _Optional[str] = ..., image_digest: _Optional[str] = ..., rounding: _Optional[_Union[_tensor_pb2.Rounding, _Mapping]] = ...) -> None: ...

class DinoServiceExtractFeaturesChunkedRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: DinoServiceExtractFeaturesRequest
    def __init__(self, request: _Optional[_Union[DinoServiceExtractFeaturesRequest, _Mapping]] = ...) -> None: ...

class DinoServiceExtractFeaturesChunkedResponse(_message.Message):
    __slots__ = ("reply", "chunk")
    REPLY_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    reply: DinoServiceExtractFeaturesResponse
    chunk: _tensor_pb2.TensorChunk
    def __init__(self, reply: _Optional[_Union[DinoServiceExtractFeaturesResponse, _Mapping]] = ..., chunk: _Optional[_Union[_tensor_pb2.TensorChunk, _Mapping]] = ...) -> None: ...

class DinoServiceExtractFeaturesStreamRequest(_message.Message):
    __slots__ = ("request_id", "request")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    request: DinoServiceExtractFeaturesRequest
    def __init__(self, request_id: _Optional[str] = ..., request: _Optional[_Union[DinoServiceExtractFeaturesRequest, _Mapping]] = ...) -> None: ...

class DinoServiceExtractFeaturesStreamResponse(_message.Message):
    __slots__ = ("request_id", "response", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: DinoServiceExtractFeaturesResponse
    error: _stream_pb2.ItemError
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[DinoServiceExtractFeaturesResponse, _Mapping]] = ..., error: _Optional[_Union[_stream_pb2.ItemError, _Mapping]] = ...) -> None: ...
