from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor
PARAM_FIELD_NUMBER: _ClassVar[int]
param: _descriptor.FieldDescriptor
WORD_FIELD_NUMBER: _ClassVar[int]
word: _descriptor.FieldDescriptor
ARRAY_FIELD_NUMBER: _ClassVar[int]
array: _descriptor.FieldDescriptor
RULE_FIELD_NUMBER: _ClassVar[int]
rule: _descriptor.FieldDescriptor
EXAMPLE_FIELD_NUMBER: _ClassVar[int]
example: _descriptor.FieldDescriptor
PARAMETERS_FIELD_NUMBER: _ClassVar[int]
parameters: _descriptor.FieldDescriptor

class Param(_message.Message):
    __slots__ = ("default", "example", "min", "max", "min_items", "max_items", "max_length", "null", "one_or_many", "rest_default", "not_empty")
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MIN_ITEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    NULL_FIELD_NUMBER: _ClassVar[int]
    ONE_OR_MANY_FIELD_NUMBER: _ClassVar[int]
    REST_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    NOT_EMPTY_FIELD_NUMBER: _ClassVar[int]
    default: str
    example: str
    min: float
    max: float
    min_items: int
    max_items: int
    max_length: int
    null: str
    one_or_many: bool
    rest_default: str
    not_empty: bool
    def __init__(self, default: _Optional[str] = ..., example: _Optional[str] = ..., min: _Optional[float] = ..., max: _Optional[float] = ..., min_items: _Optional[int] = ..., max_items: _Optional[int] = ..., max_length: _Optional[int] = ..., null: _Optional[str] = ..., one_or_many: bool = ..., rest_default: _Optional[str] = ..., not_empty: bool = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("field", "holds", "message")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    field: str
    holds: str
    message: str
    def __init__(self, field: _Optional[str] = ..., holds: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
