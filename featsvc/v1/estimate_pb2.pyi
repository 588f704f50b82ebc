from featsvc.v1 import clip_pb2 as _clip_pb2
from featsvc.v1 import dino_pb2 as _dino_pb2
from featsvc.v1 import objects_pb2 as _objects_pb2
from featsvc.v1 import options_pb2 as _options_pb2
from featsvc.v1 import sam2_pb2 as _sam2_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CostBasis(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COST_BASIS_UNSPECIFIED: _ClassVar[CostBasis]
    COST_BASIS_ASSUMED: _ClassVar[CostBasis]
    COST_BASIS_SAME_MODEL: _ClassVar[CostBasis]
    COST_BASIS_ALIKE: _ClassVar[CostBasis]
COST_BASIS_UNSPECIFIED: CostBasis
COST_BASIS_ASSUMED: CostBasis
COST_BASIS_SAME_MODEL: CostBasis
COST_BASIS_ALIKE: CostBasis

class EstimateRequest(_message.Message):
    __slots__ = ("extract_clip_features", "encode_text", "compute_similarity", "encode_image", "extract_dino_features", "generate_masks", "predict_masks", "embed_image", "describe_objects", "find_objects", "embed_pyramid")
    EXTRACT_CLIP_FEATURES_FIELD_NUMBER: _ClassVar[int]
    ENCODE_TEXT_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    ENCODE_IMAGE_FIELD_NUMBER: _ClassVar[int]
    EXTRACT_DINO_FEATURES_FIELD_NUMBER: _ClassVar[int]
    GENERATE_MASKS_FIELD_NUMBER: _ClassVar[int]
    PREDICT_MASKS_FIELD_NUMBER: _ClassVar[int]
    EMBED_IMAGE_FIELD_NUMBER: _ClassVar[int]
    DESCRIBE_OBJECTS_FIELD_NUMBER: _ClassVar[int]
    FIND_OBJECTS_FIELD_NUMBER: _ClassVar[int]
    EMBED_PYRAMID_FIELD_NUMBER: _ClassVar[int]
    extract_clip_features: _clip_pb2.ClipServiceExtractFeaturesRequest
    encode_text: _clip_pb2.EncodeTextRequest
    compute_similarity: _clip_pb2.ComputeSimilarityRequest
    encode_image: _clip_pb2.EncodeImageRequest
    extract_dino_features: _dino_pb2.DinoServiceExtractFeaturesRequest
    generate_masks: _sam2_pb2.GenerateMasksRequest
    predict_masks: _sam2_pb2.PredictMasksRequest
    embed_image: _sam2_pb2.EmbedImageRequest
    describe_objects: _objects_pb2.DescribeObjectsRequest
    find_objects: _objects_pb2.FindObjectsRequest
    embed_pyramid: _clip_pb2.EmbedPyramidRequest
    def __init__(self, extract_clip_features: _Optional[_Union[_clip_pb2.ClipServiceExtractFeaturesRequest, _Mapping]] = ..., encode_text: _Optional[_Union[_clip_pb2.EncodeTextRequest, _Mapping]] = ..., compute_similarity: _Optional[_Union[_clip_pb2.ComputeSimilarityRequest, _Mapping]] = ..., encode_image: _Optional[_Union[_clip_pb2.EncodeImageRequest, _Mapping]] = ..., extract_dino_features: _Optional[_Union[_dino_pb2.DinoServiceExtractFeaturesRequest, _Mapping]] = ..., generate_masks: _Optional[_Union[_sam2_pb2.GenerateMasksRequest, _Mapping]] = ..., predict_masks: _Optional[_Union[_sam2_pb2.PredictMasksRequest, _Mapping]] = ..., embed_image: _Optional[_Union[_sam2_pb2.EmbedImageRequest, _Mapping]] = ..., describe_objects: _Optional[_Union[_objects_pb2.DescribeObjectsRequest, _Mapping]] = ..., find_objects: _Optional[_Union[_objects_pb2.FindObjectsRequest, _Mapping]] = ..., embed_pyramid: _Optional[_Union[_clip_pb2.EmbedPyramidRequest, _Mapping]] = ...) -> None: ...

class EstimateResponse(_message.Message):
    __slots__ = ("cost_s", "basis", "wait_s", "model", "model_loaded", "queue_bytes", "answer_bytes")
    COST_S_FIELD_NUMBER: _ClassVar[int]
    BASIS_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_LOADED_FIELD_NUMBER: _ClassVar[int]
    QUEUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ANSWER_BYTES_FIELD_NUMBER: _ClassVar[int]
    cost_s: float
    basis: CostBasis
    wait_s: float
    model: str
    model_loaded: bool
    queue_bytes: int
    answer_bytes: int
    def __init__(self, cost_s: _Optional[float] = ..., basis: _Optional[_Union[CostBasis, str]] = ..., wait_s: _Optional[float] = ..., model: _Optional[str] = ..., model_loaded: bool = ..., queue_bytes: _Optional[int] = ..., answer_bytes: _Optional[int] = ...) -> None: ...
