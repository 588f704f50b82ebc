from featsvc.v1 import image_pb2 as _image_pb2
from featsvc.v1 import options_pb2 as _options_pb2
from featsvc.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GridParams(_message.Message):
    __slots__ = ("ret_patches", "interpolation_mode", "padding_mode")
    RET_PATCHES_FIELD_NUMBER: _ClassVar[int]
    INTERPOLATION_MODE_FIELD_NUMBER: _ClassVar[int]
    PADDING_MODE_FIELD_NUMBER: _ClassVar[int]
    ret_patches: bool
    interpolation_mode: _image_pb2.InterpolationMode
    padding_mode: _image_pb2.PaddingMode
    def __init__(self, ret_patches: bool = ..., interpolation_mode: _Optional[_Union[_image_pb2.InterpolationMode, str]] = ..., padding_mode: _Optional[_Union[_image_pb2.PaddingMode, str]] = ...) -> None: ...

class FeatureParams(_message.Message):
    __slots__ = ("ret_pca", "pca_niter", "pca_q_min", "pca_q_max", "tensor_format", "dtype", "points", "region", "ret_pca_basis", "pca_basis", "pca_foreground", "pca_digests")
    RET_PCA_FIELD_NUMBER: _ClassVar[int]
    PCA_NITER_FIELD_NUMBER: _ClassVar[int]
    PCA_Q_MIN_FIELD_NUMBER: _ClassVar[int]
    PCA_Q_MAX_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FORMAT_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    RET_PCA_BASIS_FIELD_NUMBER: _ClassVar[int]
    PCA_BASIS_FIELD_NUMBER: _ClassVar[int]
    PCA_FOREGROUND_FIELD_NUMBER: _ClassVar[int]
    PCA_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    ret_pca: bool
    pca_niter: int
    pca_q_min: float
    pca_q_max: float
    tensor_format: _image_pb2.TensorFormat
    dtype: _tensor_pb2.FeatureDType
    points: _containers.RepeatedCompositeFieldContainer[_image_pb2.Position]
    region: _image_pb2.Window
    ret_pca_basis: bool
    pca_basis: str
    pca_foreground: bool
    pca_digests: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ret_pca: bool = ..., pca_niter: _Optional[int] = ..., pca_q_min: _Optional[float] = ..., pca_q_max: _Optional[float] = ..., tensor_format: _Optional[_Union[_image_pb2.TensorFormat, str]] = ..., dtype: _Optional[_Union[_tensor_pb2.FeatureDType, str]] = ..., points: _Optional[_Iterable[_Union[_image_pb2.Position, _Mapping]]] = ..., region: _Optional[_Union[_image_pb2.Window, _Mapping]] = ..., ret_pca_basis: bool = ..., pca_basis: _Optional[str] = ..., pca_foreground: bool = ..., pca_digests: _Optional[_Iterable[str]] = ...) -> None: ...
