"""A gateway without engines: it answers what a test put in, remembers what it was asked, and can be told to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from featsvc.codec import arrays
from featsvc.twin.methods import message_class
from featsvc.v1 import clip_pb2, dino_pb2, image_pb2, model_pb2, objects_pb2, sam2_pb2, tensor_pb2

CHUNK = 1024 * 1024
OPEN = ("ModelService/GetStatus", "Health/Check")
KEY = "a-key-of-the-tests"
KEY_OF_OTHERS = "a-key-of-others"
KNOWN = {f"Bearer {each}" for each in (KEY, KEY_OF_OTHERS)}
SERVICES = [
    service
    for file in (clip_pb2, dino_pb2, image_pb2, sam2_pb2, objects_pb2, model_pb2, health_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]
GEOMETRY = image_pb2.Geometry(patch_size=16, stride=16, grid_height=2, grid_width=3)
FEATURES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
BITMAP = np.array([[True, False, True], [False, True, False]])
LOGITS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 2, 3)

Answer = Callable[[Message, grpc.aio.ServicerContext], Awaitable[Message]]


def mask() -> sam2_pb2.Mask:
    return sam2_pb2.Mask(
        bitmap=arrays.to_bits(BITMAP),
        area=3,
        bbox=sam2_pb2.Rectangle(x=1, y=2, width=3, height=4),
        predicted_iou=0.75,
        point_coords=[sam2_pb2.Point(x=5, y=6)],
        stability_score=0.5,
        crop_box=sam2_pb2.Rectangle(width=3, height=2),
    )


def default_replies() -> dict[str, Message]:
    prompt = sam2_pb2.PromptMasks(
        masks=arrays.to_bits(np.stack([BITMAP, ~BITMAP])),
        iou_predictions=arrays.to_tensor(np.array([0.25, 0.5], np.float32)),
        low_res_masks=arrays.to_tensor(LOGITS),
    )
    row = arrays.to_tensor(np.array([[0.6, 0.8]], np.float32))
    worker = model_pb2.Worker(id=7, device="cuda:1", state="ready")
    worker.models.add(key="clip", names=["clip_ViT-B-16_openai"], family=model_pb2.FAMILY_CLIP)
    worker.models.add(key="dino", names=["dino_dinov2_vits14_14"], family=model_pb2.FAMILY_DINO)
    return {
        "ClipService/ExtractFeatures": clip_pb2.ClipServiceExtractFeaturesResponse(
            features=arrays.to_tensor(FEATURES), is_pca=False, geometry=GEOMETRY, model="fake"
        ),
        "ClipService/EncodeText": clip_pb2.EncodeTextResponse(text_embedding=row, model="fake"),
        "ClipService/EncodeImage": clip_pb2.EncodeImageResponse(image_embedding=row, model="fake"),
        "ClipService/EmbedPyramid": clip_pb2.EmbedPyramidResponse(
            features=row,
            levels=[
                clip_pb2.PyramidLevel(tile_ratio=0.5, tile_size=1, stride=1, grid_height=1, grid_width=1)
            ],
            height=2,
            width=3,
            model="fake",
        ),
        "ClipService/ComputeSimilarity": clip_pb2.ComputeSimilarityResponse(
            similarity_map=arrays.to_tensor(FEATURES[..., 0]), geometry=GEOMETRY, model="fake"
        ),
        "DinoService/ExtractFeatures": dino_pb2.DinoServiceExtractFeaturesResponse(
            features=arrays.to_tensor(FEATURES), is_pca=True, geometry=GEOMETRY, model="fake"
        ),
        "Sam2Service/GenerateMasks": sam2_pb2.GenerateMasksResponse(
            masks=[mask()], height=2, width=3, model="fake"
        ),
        "Sam2Service/PredictMasks": sam2_pb2.PredictMasksResponse(
            results=[prompt], height=2, width=3, model="fake"
        ),
        "Sam2Service/EmbedImage": sam2_pb2.EmbedImageResponse(
            size_bytes=24, height=2, width=3, model="fake", image_embed=arrays.to_tensor(LOGITS)
        ),
        "ObjectService/DescribeObjects": objects_pb2.DescribeObjectsResponse(
            objects=[objects_pb2.SceneObject(mask=mask())],
            descriptors=[objects_pb2.ObjectVectors(vectors=row, model="fake")],
            height=2,
            width=3,
            model="fake",
        ),
        "ObjectService/FindObjects": objects_pb2.FindObjectsResponse(
            objects=[objects_pb2.SceneObject(mask=mask())],
            found=[objects_pb2.ObjectMatches(matches=[objects_pb2.ObjectMatch(score=0.5)])],
            height=2,
            width=3,
            model="fake",
        ),
        "ImageService/GetImage": image_pb2.GetImageResponse(
            content=b"GIF89a", media_type="image/gif", image_digest="sha256:0"
        ),
        "ModelService/ListModels": model_pb2.ListModelsResponse(),
        "ModelService/GetStatus": model_pb2.GetStatusResponse(workers=[worker, worker], gpu_count=4),
        "Health/Check": health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING),
        "ModelService/GetCaller": model_pb2.GetCallerResponse(name="a key", roles=["infer"]),
    }


@dataclass
class FakeGateway:
    """What to answer, and what was asked."""

    replies: dict[str, Message] = field(default_factory=default_replies)
    answers: dict[str, Answer] = field(default_factory=dict)
    """Instead of a reply: for errors, and for waiting."""
    requests: list[Message] = field(default_factory=list)
    """What was asked of the engines, oldest first."""
    metadata: list[dict[str, str]] = field(default_factory=list)
    port: int = 0
    before_chunk: Callable[[int], Awaitable[None]] | None = None
    """Is awaited before each chunk, with its number from 1: for waiting, and for errors."""
    lost_masks: int = 0
    """Masks that do not come."""
    chunk_ends: list[bool] = field(default_factory=list)
    """Of each call in chunks, whether it was sent to its end."""

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Forgets what a test did."""
        self.replies, self.answers, self.before_chunk = default_replies(), {}, None
        self.lost_masks = 0
        self.chunk_ends.clear()
        self.requests.clear()
        self.metadata.clear()

    async def answer(self, name: str, request: Message, context: grpc.aio.ServicerContext) -> Message:
        metadata = dict(context.invocation_metadata())
        if name not in OPEN and metadata.get("authorization") not in KNOWN:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "API key wrong", (("x-request-id", "r"),))
        if not name.startswith(("ModelService", "Health")):
            self.requests.append(request)
            self.metadata.append(metadata)
        if name in self.answers:
            return await self.answers[name](request, context)
        return self.replies[name]

    def fail(
        self, name: str, code: grpc.StatusCode, message: str, *metadata: tuple[str, str | bytes]
    ) -> None:
        """From now on this method ends with a status."""

        async def failing(request: Message, context: grpc.aio.ServicerContext) -> Message:
            await context.abort(code, message, (("x-request-id", "r"), *metadata))
            raise AssertionError

        self.answers[name] = failing

    def wait(self, name: str) -> tuple[asyncio.Event, asyncio.Event]:
        """From now on this method waits; gives two events: it was asked, and its caller has gone."""
        asked, gone = asyncio.Event(), asyncio.Event()

        async def waiting(request: Message, context: grpc.aio.ServicerContext) -> Message:
            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                gone.set()
            raise AssertionError

        self.answers[name] = waiting
        return asked, gone


@asynccontextmanager
async def fake_gateway(
    port: int = 0,
    max_receive_bytes: int = -1,
    max_calls: int | None = None,
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[FakeGateway]:
    """A fake gateway on a free port of loopback, or on this one; with credentials by TLS."""
    fake = FakeGateway()
    options = [
        ("grpc.max_receive_message_length", max_receive_bytes),
        ("grpc.max_send_message_length", -1),
        # As the real one has it.
        ("grpc.max_concurrent_streams", 100),
    ]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=max_calls)
    for service in SERVICES:
        handlers = {
            method.name: _method_handler(fake, method)
            for method in service.methods
            if not method.client_streaming
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    address = f"127.0.0.1:{port}"
    fake.port = (
        server.add_insecure_port(address)
        if credentials is None
        else server.add_secure_port(address, credentials)
    )
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(None)


def _method_handler(fake: FakeGateway, method: MethodDescriptor) -> grpc.RpcMethodHandler:
    name = f"{method.containing_service.name}/{method.name}"
    kind, handler = (
        (grpc.unary_stream_rpc_method_handler, _in_pieces(fake, method))
        if method.server_streaming
        else (grpc.unary_unary_rpc_method_handler, _handler(fake, name))
    )
    return kind(
        handler,
        message_class(method.input_type).FromString,
        message_class(method.output_type).SerializeToString,
    )


def _handler(fake: FakeGateway, name: str) -> Answer:
    async def handle(request: Message, context: grpc.aio.ServicerContext) -> Message:
        return await fake.answer(name, request, context)

    return handle


def _in_pieces(fake: FakeGateway, method: MethodDescriptor) -> Callable[..., AsyncIterator[Message]]:
    service, name = method.containing_service.name, method.name
    if name.endswith("Stream"):
        return _mask_by_mask(fake, f"{service}/{name.removesuffix('Stream')}")
    return _in_chunks(fake, f"{service}/{name.removesuffix('Chunked')}")


def _mask_by_mask(fake: FakeGateway, name: str) -> Callable[..., AsyncIterator[Message]]:
    """The same answer, a mask in each message."""

    async def handle(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Message]:
        reply: Any = await fake.answer(name, request.request, context)
        for mask in reply.masks[fake.lost_masks :]:
            yield sam2_pb2.GenerateMasksStreamResponse(mask=mask)
        facts = {field.name: value for field, value in reply.ListFields() if field.name != "masks"}
        summary = sam2_pb2.MasksSummary(count=len(reply.masks), **facts)
        yield sam2_pb2.GenerateMasksStreamResponse(summary=summary)

    return handle


def _in_chunks(fake: FakeGateway, name: str) -> Callable[..., AsyncIterator[Message]]:
    """The same answer, its features in chunks where they have more than 1 MiB."""

    async def handle(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Message]:
        reply: Any = type(fake.replies[name])()
        reply.CopyFrom(await fake.answer(name, request.request, context))
        content = reply.features.data
        if len(content) > CHUNK:
            reply.features.ClearField("data")
        fake.chunk_ends.append(False)
        number = len(fake.chunk_ends) - 1
        yield _part(reply, reply=reply)
        for count, start in enumerate(range(0, len(content), CHUNK) if len(content) > CHUNK else ()):
            if fake.before_chunk:
                await fake.before_chunk(count + 1)
            chunk = tensor_pb2.TensorChunk(offset=start, data=content[start : start + CHUNK])
            yield _part(reply, chunk=chunk)
        fake.chunk_ends[number] = True

    return handle


def _part(of: Message, /, **which: Message) -> Message:
    file = dino_pb2 if isinstance(of, dino_pb2.DinoServiceExtractFeaturesResponse) else clip_pb2
    name = type(of).__name__.replace("Response", "ChunkedResponse")
    return getattr(file, name)(**which)  # type: ignore[no-any-return]
