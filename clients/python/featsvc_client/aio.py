# ruff: noqa: ASYNC109  (the deadline travels with the call, so the server too knows it)
"""The gRPC client for asyncio: pictures and numpy arrays in, numpy arrays out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, Unpack

from featsvc.v1 import model_pb2, params, schema
from featsvc_client import awaiting, calls, channel, operations
from featsvc_client.arguments import (
    AutoMaskParams,
    ClipFeatureParams,
    DinoFeatureParams,
    EmbedImageParams,
    EncodeImageParams,
    PromptParams,
    SimilarityParams,
    TextParams,
)
from featsvc_client.calls import Call
from featsvc_client.documented import documented
from featsvc_client.errors import CallError
from featsvc_client.mask_results import Mask, Masks, MasksSummary, PromptMasks
from featsvc_client.mask_stream import MaskStream
from featsvc_client.object_calls import AsyncObjectCalls
from featsvc_client.pictures import ImageLike
from featsvc_client.pyramid_calls import AsyncPyramidCalls
from featsvc_client.results import EmbeddedImage, Embeddings, Estimate, Features, Similarity
from featsvc_client.retry import RETRY, RetryPolicy
from featsvc_client.sent import SentPictures
from featsvc_client.session import Session, dry, only_estimate
from featsvc_client.terms import Terms
from featsvc_client.window import IN_FLIGHT, Asked, AskedPrompts, Name, Window

Result = TypeVar("Result")
Parts = ParamSpec("Parts")


class AsyncFeatsvcClient(AsyncObjectCalls, AsyncPyramidCalls):
    """A connection to a featsvc gateway. Make it in a running event loop; use it in an `async with` block.

    `timeout` is in seconds and covers a call with all its attempts; a call may name its own. Of what one API key has
    waiting the highest `priority` comes first, from -9 to 9; it counts for nothing beside other keys.
    """

    def __init__(
        self,
        target: str = channel.TARGET,
        *,
        api_key: channel.ApiKey = channel.ByDefault.KEY,
        timeout: float | None = channel.TIMEOUT_S,
        retry: RetryPolicy = RETRY,
        credentials: channel.Credentials | None = None,
        digests: bool = True,
    ) -> None:
        """Prepares the connection to `host:port`; the first call opens it.

        `credentials` make it TLS: a `Tls` that names files, or those of grpc. `grpcs://host:port` alone trusts the
        authorities that everybody does.

        `api_key=None` sends no key; where it is not given, that is so beside a `Tls` with a certificate, and else the
        documented key goes.

        With `digests` a picture that the server has been sent lately goes as its name, not as its file.
        """
        self._session = Session(
            channel.metadata(api_key, credentials), timeout, retry, SentPictures() if digests else None
        )
        self._channel = channel.opened_aio(target, credentials)

    @documented(schema.Image, schema.ClipExtractFeaturesParams)
    async def clip_features(
        self,
        image: ImageLike,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[ClipFeatureParams],
    ) -> Features:
        """Dense CLIP features of a picture."""
        return await self._answer(
            Terms(timeout, priority), calls.about_picture, operations.CLIP_FEATURES, image, options
        )

    @documented(schema.Texts, schema.EncodeTextParams)
    async def encode_text(
        self,
        texts: str | Sequence[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[TextParams],
    ) -> Embeddings:
        """CLIP embeddings of texts."""
        return await self._answer(Terms(timeout, priority), calls.encode_text, texts, options)

    @documented(schema.Image, schema.TextQuery, schema.ComputeSimilarityParams)
    async def similarity(
        self,
        image: ImageLike,
        texts: str | Sequence[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[SimilarityParams],
    ) -> Similarity:
        """How well each place of a picture fits each text."""
        return await self._answer(Terms(timeout, priority), calls.similarity, image, texts, options)

    @documented(schema.Image, schema.EncodeImageParams)
    async def encode_image(
        self,
        image: ImageLike,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[EncodeImageParams],
    ) -> Embeddings:
        """The CLIP embedding of a whole picture."""
        return await self._answer(
            Terms(timeout, priority), calls.about_picture, operations.ENCODE_IMAGE, image, options
        )

    @documented(schema.Image, schema.DinoExtractFeaturesParams)
    async def dino_features(
        self,
        image: ImageLike,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[DinoFeatureParams],
    ) -> Features:
        """Dense DINO features of a picture."""
        return await self._answer(
            Terms(timeout, priority), calls.about_picture, operations.DINO_FEATURES, image, options
        )

    @documented(schema.Image, schema.GenerateMasksParams)
    async def generate_masks(
        self,
        image: ImageLike,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[AutoMaskParams],
    ) -> Masks:
        """Masks of everything in a picture."""
        return await self._answer(
            Terms(timeout, priority), calls.about_picture, operations.GENERATE_MASKS, image, options
        )

    @documented(schema.Image, schema.Prompt, schema.PredictMasksParams)
    async def predict_masks(
        self,
        image: ImageLike,
        prompts: Sequence[params.Prompt] | None = None,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[PromptParams],
    ) -> list[PromptMasks]:
        """The masks of each prompt; a single prompt may be given by keywords."""
        return await self._answer(Terms(timeout, priority), calls.predict_masks, image, prompts, options)

    @documented(schema.Image, schema.EmbedImageParams)
    async def embed_image(
        self,
        image: ImageLike,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[EmbedImageParams],
    ) -> EmbeddedImage:
        """Encodes a picture before the first question about it; `predict_masks` then waits for the decoder only."""
        return await self._answer(
            Terms(timeout, priority), calls.about_picture, operations.EMBED_IMAGE, image, options
        )

    @documented(schema.Image, schema.GenerateMasksParams)
    def generate_masks_stream(
        self,
        image: ImageLike,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[AutoMaskParams],
    ) -> AsyncGenerator[Mask | MasksSummary, None]:
        """Masks of everything in a picture one by one as they come, then a summary."""
        call = calls.about_picture(operations.GENERATE_MASKS, image, options)
        return awaiting.masks(self._channel, MaskStream(self._session, call, Terms(timeout, priority)))

    @documented(schema.Image, schema.ClipExtractFeaturesParams)
    def stream_clip_features(
        self,
        images: Iterable[Asked] | AsyncIterable[Asked],
        *,
        window: int = IN_FLIGHT,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[ClipFeatureParams],
    ) -> AsyncGenerator[tuple[Name, Features | CallError], None]:
        """Dense CLIP features of many pictures; see `stream_predict_masks`."""
        build = partial(calls.about_picture, operations.CLIP_FEATURES, params=options)
        asked = Window(self._session, operations.CLIP_FEATURES, build, window, Terms(timeout, priority))
        return awaiting.streamed(self._channel, asked, images)

    @documented(schema.Image, schema.DinoExtractFeaturesParams)
    def stream_dino_features(
        self,
        images: Iterable[Asked] | AsyncIterable[Asked],
        *,
        window: int = IN_FLIGHT,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[DinoFeatureParams],
    ) -> AsyncGenerator[tuple[Name, Features | CallError], None]:
        """Dense DINO features of many pictures; see `stream_predict_masks`."""
        build = partial(calls.about_picture, operations.DINO_FEATURES, params=options)
        asked = Window(self._session, operations.DINO_FEATURES, build, window, Terms(timeout, priority))
        return awaiting.streamed(self._channel, asked, images)

    @documented(schema.Image, schema.Prompt, schema.PredictMasksParams)
    def stream_predict_masks(
        self,
        images: Iterable[AskedPrompts] | AsyncIterable[AskedPrompts],
        prompts: Sequence[params.Prompt] | None = None,
        *,
        window: int = IN_FLIGHT,
        timeout: float | None = None,
        priority: int = 0,
        **options: Unpack[PromptParams],
    ) -> AsyncGenerator[tuple[Name, list[PromptMasks] | CallError], None]:
        """The masks of prompts in many pictures.

        Each picture may come with a name (else it has its number), and with prompts of its own. The source is read when
        there is room: no answer waits for it. Answers come as they are done, `window` pictures are under way at most,
        and what is wrong with one is its answer instead of an exception. `timeout` is for each picture. Leaving the
        generator ends all that is under way.
        """
        build = partial(calls.prompted, prompts, options)
        asked = Window(self._session, operations.PREDICT_MASKS, build, window, Terms(timeout, priority))
        return awaiting.streamed(self._channel, asked, images)

    async def estimate(
        self, method: Callable[Parts, object], *args: Parts.args, **options: Parts.kwargs
    ) -> Estimate:
        """What a call of a method would cost, without its work: `client.estimate(client.dino_features, image)`."""
        found = dry(self, method)(*args, **options)
        return only_estimate(await found if isawaitable(found) else found)

    async def models(
        self, family: str | None = None, *, available_only: bool = False, timeout: float | None = None
    ) -> tuple[model_pb2.Model, ...]:
        """The models that the server knows, of one family (clip, dino, sam2) or all."""
        return await self._answer(Terms(timeout), calls.list_models, family, available_only)

    async def load_model(self, key: str, *, timeout: float | None = None) -> model_pb2.Model:
        """Loads a model on every worker."""
        return await self._answer(Terms(timeout), calls.load_model, key)

    async def unload_model(self, key: str, *, timeout: float | None = None) -> model_pb2.Model:
        """Frees a model on every worker."""
        return await self._answer(Terms(timeout), calls.unload_model, key)

    async def drain(
        self, grace: float | None = None, *, timeout: float | None = None
    ) -> model_pb2.DrainResponse:
        """Has the server take no more work, finish what it has within `grace` seconds, and end."""
        return await self._answer(Terms(timeout), calls.drain, grace)

    async def caller(self, *, timeout: float | None = None) -> model_pb2.GetCallerResponse:
        """What the server knows of the API key: its name, what it may, and its limits."""
        return await self._answer(Terms(timeout), calls.caller)

    async def status(self, *, timeout: float | None = None) -> model_pb2.GetStatusResponse:
        """The state of the server, as much of it as the API key may see."""
        return await self._answer(Terms(timeout), calls.status)

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _answer(
        self,
        terms: Terms,
        build: Callable[Parts, Call[Result]],
        *parts: Parts.args,
        **named: Parts.kwargs,
    ) -> Result:
        steps = self._session.answered(partial(build, *parts, **named), terms)
        return await awaiting.answered(self._channel, steps)
