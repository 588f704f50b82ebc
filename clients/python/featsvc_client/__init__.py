"""Client of featsvc: CLIP, DINO and SAM2 features and masks as numpy arrays.

`FeatsvcClient` and `AsyncFeatsvcClient` speak gRPC; `clip_client`, `dino_client` and `sam2_client` hold the
documented functions over REST.
"""

from featsvc_client.aio import AsyncFeatsvcClient
from featsvc_client.client import FeatsvcClient
from featsvc_client.errors import (
    AuthenticationError,
    CallError,
    DeadlineExceeded,
    FeatsvcError,
    FieldViolation,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ReplyTooLarge,
    ServerError,
    Unavailable,
    WeightsMissing,
)
from featsvc_client.pictures import ImageLike
from featsvc_client.results import Embeddings, Features, Mask, PromptMasks, Similarity
from featsvc_client.retry import RetryPolicy
from featsvc_client.rle import Rle
from featsvc_client.servers import load_servers

__all__ = [
    "AsyncFeatsvcClient",
    "AuthenticationError",
    "CallError",
    "DeadlineExceeded",
    "Embeddings",
    "FeatsvcClient",
    "FeatsvcError",
    "Features",
    "FieldViolation",
    "ImageLike",
    "InvalidRequest",
    "Mask",
    "ModelNotFound",
    "Overloaded",
    "PromptMasks",
    "ReplyTooLarge",
    "RetryPolicy",
    "Rle",
    "ServerError",
    "Similarity",
    "Unavailable",
    "WeightsMissing",
    "load_servers",
]
