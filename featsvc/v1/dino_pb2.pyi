from featsvc.v1 import features_pb2 as _features_pb2
from featsvc.v1 import image_pb2 as _image_pb2
from featsvc.v1 import options_pb2 as _options_pb2
from featsvc.v1 import stream_pb2 as _stream_pb2
from featsvc.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
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
    __slots__ = ("image", "model", "params", "grid", "features")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    model: DinoModel
    params: DinoParams
    grid: _features_pb2.GridParams
    features: _features_pb2.FeatureParams
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., model: _Optional[_Union[DinoModel, _Mapping]] = ..., params: _Optional[_Union[DinoParams, _Mapping]] = ..., grid: _Optional[_Union[_features_pb2.GridParams, _Mapping]] = ..., features: _Optional[_Union[_features_pb2.FeatureParams, _Mapping]] = ...) -> None: ...

class DinoModel(_message.Message):
    __slots__ = ("model_type",)
    MODEL_TYPE_FIELD_NUMBER: _ClassVar[int]
    model_type: str
    def __init__(self, model_type: _Optional[str] = ...) -> None: ...

class DinoParams(_message.Message):
    __slots__ = ("load_size", "stride", "facet", "layer", "bin")
    LOAD_SIZE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    FACET_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    BIN_FIELD_NUMBER: _ClassVar[int]
    load_size: int
    stride: int
    facet: Facet
    layer: int
    bin: bool
    def __init__(self, load_size: _Optional[int] = ..., stride: _Optional[int] = ..., facet: _Optional[_Union[Facet, str]] = ..., layer: _Optional[int] = ..., bin: bool = ...) -> None: ...

class DinoServiceExtractFeaturesResponse(_message.Message):
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
    __slots__ = ("request_id", "response", "error", "timing")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: DinoServiceExtractFeaturesResponse
    error: _stream_pb2.ItemError
    timing: _stream_pb2.Timing
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[DinoServiceExtractFeaturesResponse, _Mapping]] = ..., error: _Optional[_Union[_stream_pb2.ItemError, _Mapping]] = ..., timing: _Optional[_Union[_stream_pb2.Timing, _Mapping]] = ...) -> None: ...
