from featsvc.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Orientation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORIENTATION_UNSPECIFIED: _ClassVar[Orientation]
    ORIENTATION_STORED: _ClassVar[Orientation]
    ORIENTATION_SHOWN: _ClassVar[Orientation]

class InterpolationMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INTERPOLATION_MODE_UNSPECIFIED: _ClassVar[InterpolationMode]
    INTERPOLATION_MODE_BILINEAR: _ClassVar[InterpolationMode]
    INTERPOLATION_MODE_BICUBIC: _ClassVar[InterpolationMode]
    INTERPOLATION_MODE_NEAREST: _ClassVar[InterpolationMode]
    INTERPOLATION_MODE_NEAREST_EXACT: _ClassVar[InterpolationMode]
    INTERPOLATION_MODE_AREA: _ClassVar[InterpolationMode]

class TensorFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TENSOR_FORMAT_UNSPECIFIED: _ClassVar[TensorFormat]
    TENSOR_FORMAT_HWC: _ClassVar[TensorFormat]
    TENSOR_FORMAT_CHW: _ClassVar[TensorFormat]

class PaddingMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PADDING_MODE_UNSPECIFIED: _ClassVar[PaddingMode]
    PADDING_MODE_CONSTANT: _ClassVar[PaddingMode]
    PADDING_MODE_REFLECT: _ClassVar[PaddingMode]
    PADDING_MODE_REPLICATE: _ClassVar[PaddingMode]
    PADDING_MODE_CIRCULAR: _ClassVar[PaddingMode]
ORIENTATION_UNSPECIFIED: Orientation
ORIENTATION_STORED: Orientation
ORIENTATION_SHOWN: Orientation
INTERPOLATION_MODE_UNSPECIFIED: InterpolationMode
INTERPOLATION_MODE_BILINEAR: InterpolationMode
INTERPOLATION_MODE_BICUBIC: InterpolationMode
INTERPOLATION_MODE_NEAREST: InterpolationMode
INTERPOLATION_MODE_NEAREST_EXACT: InterpolationMode
INTERPOLATION_MODE_AREA: InterpolationMode
TENSOR_FORMAT_UNSPECIFIED: TensorFormat
TENSOR_FORMAT_HWC: TensorFormat
TENSOR_FORMAT_CHW: TensorFormat
PADDING_MODE_UNSPECIFIED: PaddingMode
PADDING_MODE_CONSTANT: PaddingMode
PADDING_MODE_REFLECT: PaddingMode
PADDING_MODE_REPLICATE: PaddingMode
PADDING_MODE_CIRCULAR: PaddingMode

class Image(_message.Message):
    __slots__ = ("content", "url", "digest", "orientation")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    url: str
    digest: str
    orientation: Orientation
    def __init__(self, content: _Optional[bytes] = ..., url: _Optional[str] = ..., digest: _Optional[str] = ..., orientation: _Optional[_Union[Orientation, str]] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class Window(_message.Message):
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

class Geometry(_message.Message):
    __slots__ = ("patch_size", "stride", "resized_height", "resized_width", "pad_right", "pad_bottom", "original_height", "original_width", "grid_height", "grid_width", "first_row", "first_column", "crop_top", "crop_left", "uncropped_height", "uncropped_width")
    PATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    RESIZED_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    RESIZED_WIDTH_FIELD_NUMBER: _ClassVar[int]
    PAD_RIGHT_FIELD_NUMBER: _ClassVar[int]
    PAD_BOTTOM_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_WIDTH_FIELD_NUMBER: _ClassVar[int]
    GRID_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    GRID_WIDTH_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    FIRST_COLUMN_FIELD_NUMBER: _ClassVar[int]
    CROP_TOP_FIELD_NUMBER: _ClassVar[int]
    CROP_LEFT_FIELD_NUMBER: _ClassVar[int]
    UNCROPPED_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    UNCROPPED_WIDTH_FIELD_NUMBER: _ClassVar[int]
    patch_size: int
    stride: int
    resized_height: int
    resized_width: int
    pad_right: int
    pad_bottom: int
    original_height: int
    original_width: int
    grid_height: int
    grid_width: int
    first_row: int
    first_column: int
    crop_top: int
    crop_left: int
    uncropped_height: int
    uncropped_width: int
    def __init__(self, patch_size: _Optional[int] = ..., stride: _Optional[int] = ..., resized_height: _Optional[int] = ..., resized_width: _Optional[int] = ..., pad_right: _Optional[int] = ..., pad_bottom: _Optional[int] = ..., original_height: _Optional[int] = ..., original_width: _Optional[int] = ..., grid_height: _Optional[int] = ..., grid_width: _Optional[int] = ..., first_row: _Optional[int] = ..., first_column: _Optional[int] = ..., crop_top: _Optional[int] = ..., crop_left: _Optional[int] = ..., uncropped_height: _Optional[int] = ..., uncropped_width: _Optional[int] = ...) -> None: ...

class GetImageRequest(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: Image
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class GetImageResponse(_message.Message):
    __slots__ = ("content", "media_type", "image_digest")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    media_type: str
    image_digest: str
    def __init__(self, content: _Optional[bytes] = ..., media_type: _Optional[str] = ..., image_digest: _Optional[str] = ...) -> None: ...
