"""What a key may: its roles and its models, what it is told of the server, and the lines about what it did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from featsvc.catalog import entry_of
from featsvc.catalog.weights import WeightsStatus
from featsvc.errors import WeightsMissing
from featsvc.server.keys import permissions
from featsvc.server.keys.permissions import WeightsHere
from featsvc.v1 import clip_pb2, dino_pb2, estimate_pb2, estimate_pb2_grpc, model_pb2
from featsvc.work.caller import Caller
from featsvc.work.options import EngineOptions
from tests.server.asking import asking, refusal
from tests.server.conftest import AUTHORISED, Lines, Running, heard, start
from tests.server.keys.bearers import bearer, entries

pytestmark = pytest.mark.asyncio(loop_scope="module")
WRONG = bearer("nobody")
KEYS = entries(
    clip='models = ["demo-clip"]\nweight = 2',
    every="",
    watch='roles = ["status"]',
    root='roles = ["admin"]',
    dino_root='roles = ["admin"]\nmodels = ["demo-dino"]',
)
DEMO_DINO = model_pb2.LoadModelRequest(key="demo-dino")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A gateway with keys of every kind."""
    folder = tmp_path_factory.mktemp("keys")
    async with start(
        api_key_file=written(folder / "keys.toml"), own_address=f"unix:{folder}/socket"
    ) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shim_side(served: Running) -> AsyncIterator[Running]:
    """The same over the socket of the shim, which is believed when it says for whom it asks."""
    async with grpc.aio.insecure_channel(served.gateway.own_target) as channel:
        yield Running(served.gateway, channel)


def written(file: Path) -> str:
    file.write_text(KEYS)
    return str(file)


@pytest_asyncio.fixture(loop_scope="module")
async def lines() -> AsyncIterator[Lines]:
    async with heard("featsvc.audit") as found:
        yield found


def by_shim(address: str) -> tuple[tuple[str, str], ...]:
    """What a shim says of its caller: no line of another test is about the same."""
    return (("featsvc-address", address),)


def status(served: Running, metadata: Any, **asked: bool) -> Any:
    return served.model.GetStatus(model_pb2.GetStatusRequest(**asked), metadata=metadata)


@pytest.mark.parametrize(
    ("key", "roles", "models", "weight"),
    [("clip", ["infer"], ["demo-clip"], 2), ("watch", ["status"], [], 1), ("root", ["admin"], [], 1)],
)
async def test_a_caller_learns_its_name_its_roles_its_models_and_its_limits(
    served: Running, key: str, roles: list[str], models: list[str], weight: float
) -> None:
    told = await served.model.GetCaller(model_pb2.GetCallerRequest(), metadata=bearer(key))
    assert (told.name, told.roles, told.models, told.limits.weight) == (key, roles, models, weight)
    assert told.limits.image_cache_per_key == 64 << 20


async def test_the_keys_of_whoever_starts_the_server_may_all(served: Running) -> None:
    told = await served.model.GetCaller(model_pb2.GetCallerRequest(), metadata=AUTHORISED)
    assert (told.name, told.roles, told.models) == ("key 0", ["admin", "infer", "status"], [])


@pytest.mark.parametrize("key", ["clip", "every", "watch"])
@pytest.mark.parametrize("act", ["LoadModel", "UnloadModel"])
async def test_models_are_loaded_and_freed_by_admins_alone(served: Running, key: str, act: str) -> None:
    asked = getattr(model_pb2, f"{act}Request")(key="demo-clip")
    error = await refusal(getattr(served.model, act)(asked, metadata=bearer(key)))
    assert error.code() == grpc.StatusCode.PERMISSION_DENIED
    assert error.details() == f"the key '{key}' has not the role admin, which this needs"
    await getattr(served.model, act)(asked, metadata=bearer("root"))


async def test_an_admin_of_some_models_is_none_of_others(served: Running) -> None:
    await served.model.LoadModel(DEMO_DINO, metadata=bearer("dino_root"))
    error = await refusal(
        served.model.LoadModel(model_pb2.LoadModelRequest(key="demo-clip"), metadata=bearer("dino_root"))
    )
    assert error.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "may use demo-dino" in error.details()


@pytest.mark.parametrize("key", ["watch", "root"])
async def test_models_are_asked_with_the_role_infer_alone(served: Running, key: str) -> None:
    error = await refusal(served.clip.ExtractFeatures(asking(b"say 1"), metadata=bearer(key)))
    assert error.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "role infer" in error.details()


async def test_a_stream_refuses_the_question_about_such_a_model_and_goes_on(served: Running) -> None:
    questions = [
        clip_pb2.ClipServiceExtractFeaturesStreamRequest(request_id=name, request=asking(b"say 1", **which))
        for name, which in (("other", {"model_name": "ViT-B-32"}), ("own", {}))
    ]
    call = served.clip.ExtractFeaturesStream(iter(questions), metadata=bearer("clip"))
    answers = {reply.request_id: reply.error.code async for reply in call}
    assert answers == {"other": "PERMISSION_DENIED", "own": ""}


async def test_a_key_is_shown_its_own_models_alone(served: Running) -> None:
    own = await served.model.ListModels(model_pb2.ListModelsRequest(), metadata=bearer("clip"))
    assert [model.key for model in own.models] == ["demo-clip"]
    every = await served.model.ListModels(model_pb2.ListModelsRequest(), metadata=bearer("every"))
    assert len(every.models) > 50
    await served.model.LoadModel(DEMO_DINO, metadata=bearer("root"))
    told = await status(served, bearer("clip"), with_models=True)
    assert {model.key for worker in told.workers for model in worker.models} <= {"demo-clip"}
    assert [model.key for model in told.default_models] == ["demo-clip"]


@pytest.mark.parametrize("key", [(), WRONG, (("authorization", "Basic x"),)])
async def test_the_status_without_a_key_is_health_alone(served: Running, key: Any) -> None:
    told = await status(served, key, with_models=True)
    assert told.version
    assert told.uptime_s > 0
    told.ClearField("version")
    told.ClearField("uptime_s")
    assert told == model_pb2.GetStatusResponse(workers=[model_pb2.Worker(id=0, state="ready")])


async def test_the_status_for_a_key_tells_nothing_of_what_others_do(served: Running) -> None:
    await served.clip.ExtractFeatures(asking(b"say 1"), metadata=bearer("every"))
    told = await status(served, bearer("every"))
    assert (told.requests, told.images.entries, told.workers[0].device) == (0, 0, "cpu")
    assert (told.workers[0].pid, told.workers[0].batches, list(told.workers[0].caches)) == (0, 0, [])


@pytest.mark.parametrize("key", ["watch", "root"])
async def test_who_watches_over_the_server_is_told_all(served: Running, key: str) -> None:
    await served.clip.ExtractFeatures(asking(b"say 1"), metadata=bearer("every"))
    told = await status(served, bearer(key))
    assert told.requests > 0
    assert told.images.entries > 0
    assert told.workers[0].pid > 0


async def test_weights_that_are_not_here_are_downloaded_for_admins_alone(served: Running) -> None:
    asked = dino_pb2.DinoServiceExtractFeaturesRequest(image=asking(b"say 1").image)
    asked.model.model_type = "dinov2_vits14"
    error = await refusal(served.dino.ExtractFeatures(asked, metadata=bearer("every")))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "LoadModel by a key with the role admin" in error.details()
    # The fake engines need none.
    await served.dino.ExtractFeatures(asked, metadata=AUTHORISED)


async def test_weights_that_were_deleted_are_missed_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, found = [0.0], list[Path | None]([tmp_path])
    monkeypatch.setattr(permissions, "check", lambda entry, place: WeightsStatus(found[0], ""))
    here, caller, entry = (
        WeightsHere(EngineOptions(), lambda: clock[0]),
        Caller("every"),
        entry_of("dinov2_vits14"),
    )
    await here.check(caller, entry)
    found[0] = None
    await here.check(caller, entry)
    clock[0] = permissions.KEPT_S
    with pytest.raises(WeightsMissing):
        await here.check(caller, entry)


async def test_every_act_of_an_admin_has_a_line(served: Running, shim_side: Running, lines: Lines) -> None:
    await served.model.LoadModel(DEMO_DINO, metadata=(*bearer("root"), ("x-request-id", "act-1")))
    line = await lines.get()
    told = {
        "message": "admin act",
        "caller": "root",
        "model": "demo-dino",
        "code": "OK",
        "request_id": "act-1",
    }
    assert line | told == line
    assert (line["method"], line["address"]) == ("/featsvc.v1.ModelService/LoadModel", "127.0.0.1")
    await refusal(served.model.LoadModel(model_pb2.LoadModelRequest(key="none"), metadata=bearer("root")))
    assert (await lines.get())["code"] == "NOT_FOUND"
    refused = (*bearer("every"), *by_shim("192.0.2.6"), ("x-request-id", "act-2"))
    await refusal(shim_side.model.LoadModel(DEMO_DINO, metadata=refused))
    line = await lines.get()
    told = {"message": "not allowed", "caller": "every", "level": "warning", "request_id": "act-2"}
    assert line | told == line


async def test_refused_keys_have_lines_without_them_at_a_bounded_rate(
    served: Running, shim_side: Running, lines: Lines
) -> None:
    for address in ("192.0.2.7", "2001:db8::1", "192.0.2.7", "2001:db8::2"):
        key = (*WRONG, *by_shim(address))
        await refusal(shim_side.clip.ExtractFeatures(asking(b"say 1"), metadata=key))
    await status(shim_side, (*WRONG, *by_shim("192.0.2.8")))
    await status(served, ())
    await served.model.LoadModel(DEMO_DINO, metadata=bearer("root"))
    told = [await lines.get() for _ in range(4)]
    assert [(line["message"], line["address"]) for line in told] == [
        ("wrong key", "192.0.2.7"),
        ("wrong key", "2001:db8::/64"),
        ("wrong key", "192.0.2.8"),
        ("admin act", "127.0.0.1"),
    ]
    assert "nobody" not in str(told)


@pytest.mark.parametrize("is_offline", [False, True])
async def test_a_download_that_a_question_of_an_admin_begins_has_a_line(
    tmp_path: Path, lines: Lines, is_offline: bool
) -> None:
    asked = dino_pb2.DinoServiceExtractFeaturesRequest(image=asking(b"say 1").image)
    asked.model.model_type = "dinov2_vits14"
    estimate = estimate_pb2.EstimateRequest(extract_dino_features=asked)
    named = (*AUTHORISED, ("x-request-id", "of-the-download"))
    # Nothing is downloaded: the fake engines need no weights.
    async with start(weights_dir=str(tmp_path), offline=is_offline) as served:
        await estimate_pb2_grpc.EstimateServiceStub(served.channel).Estimate(estimate, metadata=named)
        for _ in range(2):
            await served.dino.ExtractFeatures(asked, metadata=named)
        await served.clip.ExtractFeatures(asking(b"say 1"), metadata=named)
        await served.model.LoadModel(DEMO_DINO, metadata=AUTHORISED)
        told = [await lines.get()]
        while told[-1]["message"] != "admin act":
            told.append(await lines.get())
    begun = [line for line in told if line["message"] == "download begun"]
    assert len(begun) == (0 if is_offline else 1)
    expected = {"caller": "key 0", "model": "dinov2_vits14", "request_id": "of-the-download"}
    assert all(line | expected == line for line in begun)


async def test_a_download_is_told_once_to_each_admin_while_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, found = [0.0], list[Path | None]([None])
    monkeypatch.setattr(permissions, "check", lambda entry, place: WeightsStatus(found[0], ""))
    here, entry = WeightsHere(EngineOptions(), lambda: clock[0]), entry_of("dinov2_vits14")
    roots = Caller("root", frozenset({"admin"})), Caller("other", frozenset({"admin"}))
    for root in roots:
        assert [await here.begins_download(root, entry) for _ in range(2)] == [True, False]
    clock[0] = permissions.DOWNLOAD_S
    assert await here.begins_download(roots[0], entry)
    clock[0], found[0] = 2 * permissions.DOWNLOAD_S, tmp_path
    assert not await here.begins_download(roots[0], entry)
