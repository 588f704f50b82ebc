"""What a key may not is refused by each method of the server, in each of its ways, before anything is looked at."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
import pytest_asyncio
from featsvc_client.awaiting import STATUS_LOST
from google.protobuf.json_format import ParseDict

from featsvc.catalog import catalog
from featsvc.twin.methods import (
    ESTIMATE,
    FILES,
    MethodDescriptor,
    message_class,
    method_of,
    path_of,
    question_field,
    variants,
)
from featsvc.work import operations as ops
from featsvc.work.operations import OPERATIONS, AnyOperation
from tests.server.asking import digest_of
from tests.server.conftest import Running, start
from tests.server.keys.bearers import bearer, entries

in_module = pytest.mark.asyncio(loop_scope="module")
Fields = Mapping[str, Any]  # Any: of messages, as JSON has them
ADMINS = ("LoadModel", "UnloadModel", "Drain")
EVERYBODYS = ("GetCaller", "ListModels", "GetStatus")
CLIP, DINO, SAM2 = "demo-clip", "demo-dino", "demo-sam2"
NAMED: Mapping[str, tuple[str, Fields]] = {
    CLIP: ("ViT-B-32/openai", {"model_name": "ViT-B-32"}),
    DINO: ("dinov2_vits14", {"model_type": "dinov2_vits14"}),
    SAM2: ("sam2.1_hiera_tiny", {"model_cfg": "configs/sam2.1/sam2.1_hiera_t.yaml"}),
}
"""Another model of the family of each default, and how a request names it."""
PICTURE: Fields = {"image": {"digest": digest_of(b"never sent")}}
"""Whoever looks at it first answers NOT_FOUND."""
TEXTS: Fields = {"text": ["a red circle"]}
BOXES: Fields = {"source": {"boxes": [{"x1": 9, "y1": 9}]}}
PROXIED: Fields = {"dense_recipe": "DENSE_RECIPE_PROXYCLIP", "proxy_model": DINO}


@dataclass(frozen=True)
class Case:
    """A question, and a model that answers it, alone or with others."""

    operation: AnyOperation
    model: str
    more: Fields = field(default_factory=dict)
    """Beside the picture."""

    @property
    def named(self) -> Case:
        """The same of a model that the request names."""
        key, how = NAMED[self.model]
        return Case(self.operation, key, {**self.more, "model": how})

    @property
    def requests(self) -> Iterator[tuple[MethodDescriptor, Any]]:  # Any: a message of the method
        """The methods that answer it or tell its cost, and what they are asked."""
        plain = method_of(self.operation.rpc)
        has_picture = "image" in plain.input_type.fields_by_name
        fields = {**(PICTURE if has_picture else {}), **self.more}
        yield plain, ParseDict(fields, message_class(plain.input_type)())
        others = variants(plain)
        for way in filter(None, (others.chunked, others.one_by_one, others.stream)):
            yield way, ParseDict({"request": fields}, message_class(way.input_type)())
        estimate = method_of(ESTIMATE)
        held = {question_field(plain.input_type) or "": fields}
        yield estimate, ParseDict(held, message_class(estimate.input_type)())

    def __str__(self) -> str:
        return f"{self.operation.rpc.rpartition('.')[2]} {self.model} {','.join(self.more)}"


ALONE = (
    Case(ops.EXTRACT_CLIP, CLIP),
    Case(ops.ENCODE_TEXT, CLIP, {"texts": TEXTS}),
    Case(ops.COMPUTE_SIMILARITY, CLIP, {"query": TEXTS}),
    Case(ops.ENCODE_IMAGE, CLIP),
    Case(ops.EMBED_PYRAMID, CLIP),
    Case(ops.EXTRACT_DINO, DINO),
    Case(ops.GENERATE_MASKS, SAM2),
    Case(ops.PREDICT_MASKS, SAM2, {"prompts": [{"box": {"x1": 9, "y1": 9}}]}),
    Case(ops.EMBED_IMAGE, SAM2),
    Case(ops.DESCRIBE_OBJECTS, SAM2),
    Case(ops.FIND_OBJECTS, SAM2, {"query": TEXTS}),
)
TOGETHER = (
    Case(ops.EXTRACT_CLIP, DINO, {"params": PROXIED}),
    Case(ops.COMPUTE_SIMILARITY, DINO, {"query": TEXTS, "params": PROXIED}),
    *(
        Case(operation, model, {**query, **more})
        for operation, query in ((ops.DESCRIBE_OBJECTS, {}), (ops.FIND_OBJECTS, {"query": TEXTS}))
        for model, more in (
            (CLIP, {}),
            (CLIP, {**BOXES, "objects": {"describe": [{"clip": {}, "crop": {}}]}}),
            (CLIP, {"objects": {"recipe": "RECIPE_HOVSG"}}),
            (DINO, {**BOXES, "objects": {"describe": [{"clip": {"params": PROXIED}, "pooled": {}}]}}),
        )
    ),
    Case(ops.DESCRIBE_OBJECTS, DINO, {**BOXES, "objects": {"describe": [{"dino": {}, "pooled": {}}]}}),
)
CASES = (*ALONE, *(case.named for case in ALONE), *TOGETHER)
METHODS: tuple[MethodDescriptor, ...] = tuple(
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)


def key_without(model: str) -> str:
    """Who may use all models but this one."""
    return f"without_{model.replace('/', '_').replace('.', '_')}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A gateway with a key for each model, which may use all the others, and one for each role."""
    without = {
        key_without(model): f"models = {json.dumps(sorted(catalog().keys() - {model}))}"
        for model in {case.model for case in CASES}
    }
    roles = {role: f'roles = ["{role}"]' for role in ("infer", "status", "admin")}
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    file.write_text(entries(**without, **roles))
    async with start(api_key_file=str(file)) as running:
        yield running


async def refusal_of(served: Running, method: MethodDescriptor, request: Any, key: str) -> tuple[str, str]:
    """Code and words of what a request is answered; of an answer none. Any: a message of the method.

    Asked again where grpc.aio lost them, on a busy machine.
    """
    # To the server's gRPC all methods take streams and answer them.
    call = served.channel.stream_stream(
        path_of(method),
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_class(method.output_type).FromString,
    )(iter([request]), metadata=bearer(key))
    try:
        replies = [reply async for reply in call]
    except grpc.aio.AioRpcError as error:
        if error.details() == STATUS_LOST:
            return await refusal_of(served, method, request, key)
        return error.code().name, error.details() or ""
    told = replies[0].error if method.client_streaming else None
    return (told.code, told.message) if told else ("", "")


def test_each_operation_is_asked_here() -> None:
    assert tuple(case.operation for case in ALONE) == OPERATIONS


@in_module
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_model_that_the_key_may_not_use_is_refused_in_each_way(served: Running, case: Case) -> None:
    asked = served.gateway.pool.status().total_requests
    for method, request in case.requests:
        code, words = await refusal_of(served, method, request, key_without(case.model))
        assert code == "PERMISSION_DENIED", (method.full_name, words)
        assert f"may not use the model {case.model}:" in words
    assert served.gateway.pool.status().total_requests == asked
    if case.operation is ops.ENCODE_TEXT:  # it has no picture
        return
    for method, request in case.requests:
        code, words = await refusal_of(served, method, request, "infer")
        assert code == "NOT_FOUND", (method.full_name, words)


@in_module
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name.rpartition("v1.")[2])
async def test_a_role_that_the_key_lacks_is_refused_before_the_message_is_judged(
    served: Running, method: MethodDescriptor
) -> None:
    empty = message_class(method.input_type)()
    role = {**dict.fromkeys(ADMINS, "admin"), **dict.fromkeys(EVERYBODYS, "")}.get(method.name, "infer")
    for key in ("infer", "status", "admin"):
        if role and key != role:
            code, words = await refusal_of(served, method, empty, key)
            assert (code, words) == (
                "PERMISSION_DENIED",
                f"the key '{key}' has not the role {role}, which this needs",
            )
        elif method.name != "Drain":  # it would end the server
            code, words = await refusal_of(served, method, empty, key)
            assert code in ("", "NOT_FOUND", "INVALID_ARGUMENT"), words
