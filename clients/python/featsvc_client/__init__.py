"""Client of featsvc: CLIP, DINO and SAM2 features and masks as numpy arrays.

`FeatsvcClient` and `AsyncFeatsvcClient` speak gRPC; `clip_client`, `dino_client` and `sam2_client` hold the
documented functions over REST.
"""

from featsvc.codec.timing import Timing
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
    NotAllowed,
    OutOfMemory,
    Overloaded,
    PictureNotFound,
    ReplyTooLarge,
    RequestTooLarge,
    ServerError,
    TooLarge,
    Unavailable,
    WeightsMissing,
)
from featsvc_client.exemplars import Exemplar
from featsvc_client.mask_results import Mask, Masks, MasksSummary, PromptMasks
from featsvc_client.object_results import DescribedObject, FoundObjects, ObjectMatch, Objects, ObjectVectors
from featsvc_client.pictures import ImageLike
from featsvc_client.pyramid_results import Pyramid, PyramidLevel
from featsvc_client.results import EmbeddedImage, Embeddings, Estimate, Features, Rounding, Similarity
from featsvc_client.retry import RetryPolicy
from featsvc_client.rle import Rle
from featsvc_client.servers import load_servers
from featsvc_client.tls import Tls

__all__ = [
    "AsyncFeatsvcClient",
    "AuthenticationError",
    "CallError",
    "DeadlineExceeded",
    "DescribedObject",
    "EmbeddedImage",
    "Embeddings",
    "Estimate",
    "Exemplar",
    "FeatsvcClient",
    "FeatsvcError",
    "Features",
    "FieldViolation",
    "FoundObjects",
    "ImageLike",
    "InvalidRequest",
    "Mask",
    "Masks",
    "MasksSummary",
    "ModelNotFound",
    "NotAllowed",
    "ObjectMatch",
    "ObjectVectors",
    "Objects",
    "OutOfMemory",
    "Overloaded",
    "PictureNotFound",
    "PromptMasks",
    "Pyramid",
    "PyramidLevel",
    "ReplyTooLarge",
    "RequestTooLarge",
    "RetryPolicy",
    "Rle",
    "Rounding",
    "ServerError",
    "Similarity",
    "Timing",
    "Tls",
    "TooLarge",
    "Unavailable",
    "WeightsMissing",
    "load_servers",
]
