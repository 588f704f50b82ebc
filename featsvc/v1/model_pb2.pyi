from featsvc.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Family(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAMILY_UNSPECIFIED: _ClassVar[Family]
    FAMILY_CLIP: _ClassVar[Family]
    FAMILY_DINO: _ClassVar[Family]
    FAMILY_SAM2: _ClassVar[Family]
FAMILY_UNSPECIFIED: Family
FAMILY_CLIP: Family
FAMILY_DINO: Family
FAMILY_SAM2: Family

class Model(_message.Message):
    __slots__ = ("key", "family", "description", "license", "size_bytes", "available", "loaded_workers", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    LICENSE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    LOADED_WORKERS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    key: str
    family: Family
    description: str
    license: str
    size_bytes: int
    available: bool
    loaded_workers: int
    options: _containers.ScalarMap[str, str]
    def __init__(self, key: _Optional[str] = ..., family: _Optional[_Union[Family, str]] = ..., description: _Optional[str] = ..., license: _Optional[str] = ..., size_bytes: _Optional[int] = ..., available: bool = ..., loaded_workers: _Optional[int] = ..., options: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetCallerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCallerResponse(_message.Message):
    __slots__ = ("name", "roles", "models", "limits")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    name: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    models: _containers.RepeatedScalarFieldContainer[str]
    limits: CallerLimits
    def __init__(self, name: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., models: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[CallerLimits, _Mapping]] = ...) -> None: ...

class CallerLimits(_message.Message):
    __slots__ = ("weight", "image_cache_per_key", "url_max_fetches_per_key", "url_max_bytes_per_key", "max_queue_per_key", "max_queue_bytes_per_key", "max_calls_per_key", "worker_seconds_per_key")
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_CACHE_PER_KEY_FIELD_NUMBER: _ClassVar[int]
    URL_MAX_FETCHES_PER_KEY_FIELD_NUMBER: _ClassVar[int]
    URL_MAX_BYTES_PER_KEY_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_PER_KEY_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_BYTES_PER_KEY_FIELD_NUMBER: _ClassVar[int]
    MAX_CALLS_PER_KEY_FIELD_NUMBER: _ClassVar[int]
    WORKER_SECONDS_PER_KEY_FIELD_NUMBER: _ClassVar[int]
    weight: float
    image_cache_per_key: int
    url_max_fetches_per_key: int
    url_max_bytes_per_key: int
    max_queue_per_key: int
    max_queue_bytes_per_key: int
    max_calls_per_key: int
    worker_seconds_per_key: float
    def __init__(self, weight: _Optional[float] = ..., image_cache_per_key: _Optional[int] = ..., url_max_fetches_per_key: _Optional[int] = ..., url_max_bytes_per_key: _Optional[int] = ..., max_queue_per_key: _Optional[int] = ..., max_queue_bytes_per_key: _Optional[int] = ..., max_calls_per_key: _Optional[int] = ..., worker_seconds_per_key: _Optional[float] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("family", "available_only")
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_ONLY_FIELD_NUMBER: _ClassVar[int]
    family: Family
    available_only: bool
    def __init__(self, family: _Optional[_Union[Family, str]] = ..., available_only: bool = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: str
    def __init__(self, key: _Optional[str] = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: str
    def __init__(self, key: _Optional[str] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("grace_s",)
    GRACE_S_FIELD_NUMBER: _ClassVar[int]
    grace_s: float
    def __init__(self, grace_s: _Optional[float] = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("open", "grace_s")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    GRACE_S_FIELD_NUMBER: _ClassVar[int]
    open: int
    grace_s: float
    def __init__(self, open: _Optional[int] = ..., grace_s: _Optional[float] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ("with_models",)
    WITH_MODELS_FIELD_NUMBER: _ClassVar[int]
    with_models: bool
    def __init__(self, with_models: bool = ...) -> None: ...

class NamedModel(_message.Message):
    __slots__ = ("family", "key", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    family: Family
    key: str
    options: _containers.ScalarMap[str, str]
    def __init__(self, family: _Optional[_Union[Family, str]] = ..., key: _Optional[str] = ..., options: _Optional[_Mapping[str, str]] = ...) -> None: ...

class LoadedModel(_message.Message):
    __slots__ = ("key", "names", "size_bytes", "family")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    key: str
    names: _containers.RepeatedScalarFieldContainer[str]
    size_bytes: int
    family: Family
    def __init__(self, key: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., size_bytes: _Optional[int] = ..., family: _Optional[_Union[Family, str]] = ...) -> None: ...

class Worker(_message.Message):
    __slots__ = ("id", "pid", "device", "state", "models", "batches", "items", "restarts", "caches", "failed_models", "gpu", "precision", "machine")
    ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    CACHES_FIELD_NUMBER: _ClassVar[int]
    FAILED_MODELS_FIELD_NUMBER: _ClassVar[int]
    GPU_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    id: int
    pid: int
    device: str
    state: str
    models: _containers.RepeatedCompositeFieldContainer[LoadedModel]
    batches: int
    items: int
    restarts: int
    caches: _containers.RepeatedCompositeFieldContainer[Cache]
    failed_models: _containers.RepeatedCompositeFieldContainer[FailedModel]
    gpu: Gpu
    precision: str
    machine: str
    def __init__(self, id: _Optional[int] = ..., pid: _Optional[int] = ..., device: _Optional[str] = ..., state: _Optional[str] = ..., models: _Optional[_Iterable[_Union[LoadedModel, _Mapping]]] = ..., batches: _Optional[int] = ..., items: _Optional[int] = ..., restarts: _Optional[int] = ..., caches: _Optional[_Iterable[_Union[Cache, _Mapping]]] = ..., failed_models: _Optional[_Iterable[_Union[FailedModel, _Mapping]]] = ..., gpu: _Optional[_Union[Gpu, _Mapping]] = ..., precision: _Optional[str] = ..., machine: _Optional[str] = ...) -> None: ...

class Gpu(_message.Message):
    __slots__ = ("name", "uuid", "size_bytes", "free_bytes", "utilization_percent")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UUID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    UTILIZATION_PERCENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    uuid: str
    size_bytes: int
    free_bytes: int
    utilization_percent: int
    def __init__(self, name: _Optional[str] = ..., uuid: _Optional[str] = ..., size_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ..., utilization_percent: _Optional[int] = ...) -> None: ...

class FailedModel(_message.Message):
    __slots__ = ("key", "reason", "family")
    KEY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    key: str
    reason: str
    family: Family
    def __init__(self, key: _Optional[str] = ..., reason: _Optional[str] = ..., family: _Optional[_Union[Family, str]] = ...) -> None: ...

class Cache(_message.Message):
    __slots__ = ("name", "hits", "misses", "evictions", "entries", "size_bytes", "limit_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    EVICTIONS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    hits: int
    misses: int
    evictions: int
    entries: int
    size_bytes: int
    limit_bytes: int
    def __init__(self, name: _Optional[str] = ..., hits: _Optional[int] = ..., misses: _Optional[int] = ..., evictions: _Optional[int] = ..., entries: _Optional[int] = ..., size_bytes: _Optional[int] = ..., limit_bytes: _Optional[int] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("version", "uptime_s", "workers", "queued", "queued_bytes", "requests", "gpu_count", "images", "default_models", "models_to_try", "certificate_left_s", "draining")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    GPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODELS_FIELD_NUMBER: _ClassVar[int]
    MODELS_TO_TRY_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_LEFT_S_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    version: str
    uptime_s: float
    workers: _containers.RepeatedCompositeFieldContainer[Worker]
    queued: int
    queued_bytes: int
    requests: int
    gpu_count: int
    images: Cache
    default_models: _containers.RepeatedCompositeFieldContainer[NamedModel]
    models_to_try: _containers.RepeatedCompositeFieldContainer[NamedModel]
    certificate_left_s: float
    draining: bool
    def __init__(self, version: _Optional[str] = ..., uptime_s: _Optional[float] = ..., workers: _Optional[_Iterable[_Union[Worker, _Mapping]]] = ..., queued: _Optional[int] = ..., queued_bytes: _Optional[int] = ..., requests: _Optional[int] = ..., gpu_count: _Optional[int] = ..., images: _Optional[_Union[Cache, _Mapping]] = ..., default_models: _Optional[_Iterable[_Union[NamedModel, _Mapping]]] = ..., models_to_try: _Optional[_Iterable[_Union[NamedModel, _Mapping]]] = ..., certificate_left_s: _Optional[float] = ..., draining: bool = ...) -> None: ...
