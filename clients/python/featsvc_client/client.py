"""The gRPC client: pictures and numpy arrays in, numpy arrays out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, Unpack

import grpc

from featsvc.v1 import model_pb2, params
from featsvc_client import calls, channel
from featsvc_client.arguments import PromptParams, SimilarityParams, TextParams
from featsvc_client.calls import Call
from featsvc_client.pictures import ImageLike
from featsvc_client.results import Embeddings, Features, Mask, PromptMasks, Similarity
from featsvc_client.retry import Attempts, RetryPolicy

Result = TypeVar("Result")
Parts = ParamSpec("Parts")
RETRY = RetryPolicy()


class FeatsvcClient:
    """A connection to a featsvc gateway, for threads to share. Close it, or use it in a `with` block.

    `timeout` is in seconds and covers a call with all its attempts; a call may name its own.
    """

    def __init__(
        self,
        target: str = channel.TARGET,
        *,
        api_key: str = channel.DEFAULT_KEY,
        timeout: float | None = channel.TIMEOUT_S,
        retry: RetryPolicy = RETRY,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Prepares the connection to `host:port`; `credentials` make it TLS. The first call opens it."""
        self._metadata = channel.metadata(api_key)
        self._timeout = timeout
        self._retry = retry
        self._channel = (
            grpc.insecure_channel(target, channel.OPTIONS)
            if credentials is None
            else grpc.secure_channel(target, credentials, channel.OPTIONS)
        )

    def clip_features(
        self,
        image: ImageLike,
        *,
        timeout: float | None = None,
        **options: Unpack[params.ClipExtractFeaturesParams],
    ) -> Features:
        """Dense CLIP features of a picture."""
        return self._answer(timeout, calls.about_picture, calls.CLIP_FEATURES, image, options)

    def encode_text(
        self,
        texts: str | Sequence[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        **options: Unpack[TextParams],
    ) -> Embeddings:
        """CLIP embeddings of texts."""
        return self._answer(timeout, calls.encode_text, texts, options)

    def similarity(
        self,
        image: ImageLike,
        texts: str | Sequence[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        **options: Unpack[SimilarityParams],
    ) -> Similarity:
        """How well each place of a picture fits each text."""
        return self._answer(timeout, calls.similarity, image, texts, options)

    def encode_image(
        self, image: ImageLike, *, timeout: float | None = None, **options: Unpack[params.EncodeImageParams]
    ) -> Embeddings:
        """The CLIP embedding of a whole picture."""
        return self._answer(timeout, calls.about_picture, calls.ENCODE_IMAGE, image, options)

    def dino_features(
        self,
        image: ImageLike,
        *,
        timeout: float | None = None,
        **options: Unpack[params.DinoExtractFeaturesParams],
    ) -> Features:
        """Dense DINO features of a picture."""
        return self._answer(timeout, calls.about_picture, calls.DINO_FEATURES, image, options)

    def generate_masks(
        self, image: ImageLike, *, timeout: float | None = None, **options: Unpack[params.GenerateMasksParams]
    ) -> list[Mask]:
        """Masks of everything in a picture."""
        return self._answer(timeout, calls.about_picture, calls.GENERATE_MASKS, image, options)

    def predict_masks(
        self,
        image: ImageLike,
        prompts: Sequence[params.Prompt] | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[PromptParams],
    ) -> list[PromptMasks]:
        """The masks of each prompt; a single prompt may be given by keywords."""
        return self._answer(timeout, calls.predict_masks, image, prompts, options)

    def models(
        self, family: str | None = None, *, available_only: bool = False, timeout: float | None = None
    ) -> tuple[model_pb2.Model, ...]:
        """The models that the server knows, of one family (clip, dino, sam2) or all."""
        return self._answer(timeout, calls.list_models, family, available_only)

    def load_model(self, key: str, *, timeout: float | None = None) -> model_pb2.Model:
        """Loads a model on every worker."""
        return self._answer(timeout, calls.load_model, key)

    def unload_model(self, key: str, *, timeout: float | None = None) -> model_pb2.Model:
        """Frees a model on every worker."""
        return self._answer(timeout, calls.unload_model, key)

    def status(self, *, timeout: float | None = None) -> model_pb2.GetStatusResponse:
        """The state of the server."""
        return self._answer(timeout, calls.status)

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(
        self,
        timeout: float | None,
        build: Callable[Parts, Call[Result]],
        *parts: Parts.args,
        **named: Parts.kwargs,
    ) -> Result:
        call = build(*parts, **named)
        operation = call.operation
        send = self._channel.unary_unary(
            operation.path, operation.request.SerializeToString, operation.reply.FromString
        )
        attempts = Attempts(self._retry, self._timeout if timeout is None else timeout)
        while True:
            try:
                reply = send(call.request, timeout=attempts.time_left_s(), metadata=self._metadata)
            except grpc.RpcError as error:
                time.sleep(attempts.pause_s(channel.failure(error)))
            else:
                return operation.read(reply)
