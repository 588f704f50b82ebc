from featsvc.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    D_TYPE_UNSPECIFIED: _ClassVar[DType]
    D_TYPE_FLOAT32: _ClassVar[DType]
    D_TYPE_FLOAT16: _ClassVar[DType]
    D_TYPE_BFLOAT16: _ClassVar[DType]
    D_TYPE_UINT8: _ClassVar[DType]
    D_TYPE_INT64: _ClassVar[DType]
    D_TYPE_BOOL: _ClassVar[DType]
    D_TYPE_BITS: _ClassVar[DType]
    D_TYPE_INT8: _ClassVar[DType]
    D_TYPE_UINT16: _ClassVar[DType]

class FeatureDType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEATURE_D_TYPE_UNSPECIFIED: _ClassVar[FeatureDType]
    FEATURE_D_TYPE_FLOAT32: _ClassVar[FeatureDType]
    FEATURE_D_TYPE_FLOAT16: _ClassVar[FeatureDType]
    FEATURE_D_TYPE_BFLOAT16: _ClassVar[FeatureDType]
    FEATURE_D_TYPE_INT8: _ClassVar[FeatureDType]
D_TYPE_UNSPECIFIED: DType
D_TYPE_FLOAT32: DType
D_TYPE_FLOAT16: DType
D_TYPE_BFLOAT16: DType
D_TYPE_UINT8: DType
D_TYPE_INT64: DType
D_TYPE_BOOL: DType
D_TYPE_BITS: DType
D_TYPE_INT8: DType
D_TYPE_UINT16: DType
FEATURE_D_TYPE_UNSPECIFIED: FeatureDType
FEATURE_D_TYPE_FLOAT32: FeatureDType
FEATURE_D_TYPE_FLOAT16: FeatureDType
FEATURE_D_TYPE_BFLOAT16: FeatureDType
FEATURE_D_TYPE_INT8: FeatureDType

class Rounding(_message.Message):
    __slots__ = ("largest_error", "mean_error", "scale")
    LARGEST_ERROR_FIELD_NUMBER: _ClassVar[int]
    MEAN_ERROR_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    largest_error: float
    mean_error: float
    scale: Tensor
    def __init__(self, largest_error: _Optional[float] = ..., mean_error: _Optional[float] = ..., scale: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class TensorChunk(_message.Message):
    __slots__ = ("offset", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("dtype", "shape", "data")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    dtype: DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, dtype: _Optional[_Union[DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...
