"""Which keys are good: those of flag, environment and file, and while the file changes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from featsvc.children import at_work
from featsvc.errors import InvalidArgument, Unauthenticated
from featsvc.server.keys import api_keys
from featsvc.server.keys.api_keys import ApiKeys, keys_in_force, own_keys
from featsvc.server.keys.key_file import Callers, KeyFile
from featsvc.settings.access import KeyLimits
from featsvc.settings.tree import Settings
from featsvc.v1 import clip_pb2, model_pb2
from featsvc.work.caller import OWNER, Caller
from tests.server.asking import again, arrived, asking, gate_at, opened, refusal
from tests.server.conftest import Lines, Running, heard, start
from tests.server.keys.bearers import bearer, entries

REPLACED = "the keys stay as they were"


def test_the_default_key_guards_loopback_only() -> None:
    assert own_keys(Settings()) == own_keys(Settings(host="::1")) == ("smfeats",)
    for host in ("0.0.0.0", "::", "192.0.2.7", "gpu-box.example"):
        for keys in ((), ("smfeats",), ("mine", "smfeats")):
            with pytest.raises(InvalidArgument, match="--api-key-file"):
                own_keys(Settings(host=host, api_key=keys))
        assert own_keys(Settings(host=host, api_key=("mine",))) == ("mine",)
        assert own_keys(Settings(host=host, api_key_file="keys")) == ()


@pytest.mark.parametrize("key", ["\0\0", "alph\u00e4", "al\tpha", "\udcff"])
def test_a_key_that_no_caller_can_send_is_a_mistake(key: str) -> None:
    with pytest.raises(InvalidArgument, match="printable ASCII") as caught:
        own_keys(Settings(api_key=(key,)))
    assert key not in caught.value.message


def test_keys_of_settings_and_file_are_good_together(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("gamma\n")
    settings = Settings(api_key_file=str(file), status_key="delta")
    keys = keys_in_force(settings, ("alpha", "beta"))
    names = [keys.caller(f"Bearer {key}").name for key in ("alpha", "beta", "gamma", "delta")]
    assert names == ["key 0", "key 1", "key 2", "status key"]
    assert keys.caller("Bearer delta").roles == {"status"}
    assert not keys.is_documented


def test_a_server_that_nobody_could_ask_does_not_start(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("[keys]\n")
    with pytest.raises(InvalidArgument, match="featsvc keys new"):
        keys_in_force(Settings(api_key_file=str(file)), ())


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer alph", "Basic alpha", "alpha", "Bearer alpha beta"]
)
def test_only_a_bearer_of_a_key_passes(header: str) -> None:
    limits = KeyLimits(url_max_fetches_per_key=3)
    keys = ApiKeys(("alpha", "beta"), limits)
    assert keys.caller("Bearer alpha") == Caller("key 0", OWNER, limits=limits)
    assert keys.caller("bearer beta") == Caller("key 1", OWNER, limits=limits)
    with pytest.raises(Unauthenticated):
        keys.caller(header)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(entries(alice="", bob=""))
    return path


@pytest.fixture
async def served(file: Path) -> AsyncIterator[Running]:
    async with start(api_key_file=str(file), grace=1.0) as running:
        yield running


@pytest.fixture
async def changes() -> AsyncIterator[Lines]:
    """What the server logs about its keys."""
    async with heard("featsvc.audit", "featsvc.server.keys") as lines:
        yield lines


def put(file: Path, text: str) -> None:
    """Writes the file as an editor does: all at once."""
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)


async def test_a_key_that_is_taken_out_stops_and_its_running_calls_end(
    served: Running, file: Path, tmp_path: Path, changes: Lines
) -> None:
    gate = gate_at(tmp_path / "gate")
    alice = bearer("alice")
    running = asyncio.ensure_future(
        served.clip.ExtractFeatures(asking(f"block {gate}".encode()), metadata=alice)
    )
    await arrived(gate)
    stream = served.clip.ExtractFeaturesStream(metadata=alice)
    await stream.write(clip_pb2.ClipServiceExtractFeaturesStreamRequest(request_id="a"))
    assert (await stream.read()).error.code == "INVALID_ARGUMENT"
    put(file, entries(bob="weight = 2", carol=""))
    line = await changes.get()
    assert (line["message"], line["taken_out"], line["new_or_changed"]) == (
        "keys changed",
        ["alice"],
        ["bob", "carol"],
    )
    for call in (running, stream.read()):
        error = await refusal(call)
        assert (error.code(), error.details()) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "this API key has been taken out",
        )
    await opened(gate)
    error = await refusal(served.model.GetCaller(model_pb2.GetCallerRequest(), metadata=alice))
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED
    told = await served.model.GetCaller(model_pb2.GetCallerRequest(), metadata=bearer("bob"))
    assert (told.name, told.limits.weight) == ("bob", 2.0)
    assert (
        await served.model.GetCaller(model_pb2.GetCallerRequest(), metadata=bearer("carol"))
    ).name == "carol"


@pytest.mark.parametrize("is_touched", [False, True])
async def test_a_key_that_is_taken_out_ends_within_a_second_also_while_something_touches_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, is_touched: bool
) -> None:
    look_s, look, looks = api_keys.LOOK_S, api_keys._look, list[api_keys.Look]()

    def noted(path: Path) -> api_keys.Look:
        if is_touched:
            os.utime(path, ns=(0, len(looks)))
        looks.append(look(path))
        return looks[-1]

    keys = keys_in_force(Settings(api_key_file=str(file)), ())
    monkeypatch.setattr(api_keys, "_look", noted)
    monkeypatch.setattr(api_keys, "LOOK_S", 0.0)
    gone = asyncio.Queue[tuple[frozenset[str], int]]()
    put(file, entries(bob=""))
    async with at_work(keys.watch(lambda names: gone.put_nowait((names, len(looks))))):
        names, count = await gone.get()
    assert names == {"alice"}
    assert len(set(looks[:count])) == (count if is_touched else 1)
    # The first look comes so long after the change at most.
    assert count * look_s <= 1.0


async def test_no_call_fails_while_the_file_is_swapped_ten_times(
    served: Running, file: Path, changes: Lines
) -> None:
    swapped = asyncio.Event()

    async def asks() -> int:
        count = 0
        while not swapped.is_set():
            await served.clip.ExtractFeatures(asking(b"say 1"), metadata=bearer("alice"))
            count += 1
        return count

    asking_all = asyncio.gather(*(asks() for _ in range(4)))
    for number in range(10):
        put(file, entries(alice="", **{f"other{number}": ""}))
        assert f"other{number}" in (await changes.get())["new_or_changed"]
    swapped.set()
    assert min(await asking_all) > 10


async def test_calls_end_whose_key_lost_their_role_or_their_model(
    served: Running, file: Path, changes: Lines
) -> None:
    question = clip_pb2.ClipServiceExtractFeaturesStreamRequest(request_id="a", request=asking(b"say 1"))
    put(file, entries(alice="", bob="", carol=""))
    await changes.get()
    streams = {
        name: served.clip.ExtractFeaturesStream(metadata=bearer(name)) for name in ("alice", "bob", "carol")
    }
    for stream in streams.values():
        await stream.write(question)
        assert not (await stream.read()).error.code
    put(
        file,
        entries(alice='roles = ["status"]', bob='models = ["demo-dino"]', carol='models = ["demo-clip"]'),
    )
    await changes.get()
    for name, words in (("alice", "has not the role infer"), ("bob", "it may use demo-dino")):
        error = await refusal(streams[name].read())
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED
        assert words in error.details()
    await streams["carol"].write(question)
    assert not (await streams["carol"].read()).error.code


async def test_who_gets_a_name_in_the_same_save_finds_nothing_of_who_had_it(
    served: Running, file: Path, changes: Lines
) -> None:
    await served.clip.ExtractFeatures(asking(b"say 3"), metadata=bearer("alice"))
    asked = asking(b"")
    asked.image.CopyFrom(again(b"say 3"))
    put(file, entries(eve="").replace("eve", "alice"))
    await changes.get()
    error = await refusal(served.clip.ExtractFeatures(asked, metadata=bearer("eve")))
    assert error.code() == grpc.StatusCode.NOT_FOUND


async def test_who_gets_a_name_that_was_taken_out_finds_nothing_of_who_had_it(
    served: Running, file: Path, changes: Lines
) -> None:
    await served.clip.ExtractFeatures(asking(b"say 3"), metadata=bearer("alice"))
    asked = asking(b"")
    asked.image.CopyFrom(again(b"say 3"))
    await served.clip.ExtractFeatures(asked, metadata=bearer("alice"))
    put(file, entries(bob=""))
    await changes.get()
    put(file, entries(alice="", bob=""))
    await changes.get()
    error = await refusal(served.clip.ExtractFeatures(asked, metadata=bearer("alice")))
    assert error.code() == grpc.StatusCode.NOT_FOUND


async def test_what_is_wrong_with_a_new_file_is_logged_and_the_old_keys_stay(
    served: Running, file: Path, changes: Lines
) -> None:
    for text, reason in (
        ("[keys.alice]\nsha256 = 3\n", "sha256"),
        ("", "holds no key"),
    ):
        put(file, text)
        line = await changes.get()
        assert (line["message"], line["level"]) == (REPLACED, "error")
        assert reason in line["reason"]
        told = await served.model.GetCaller(model_pb2.GetCallerRequest(), metadata=bearer("alice"))
        assert told.name == "alice"
    os.unlink(file)
    assert "No such file" in (await changes.get())["reason"]
    put(file, entries(bob=""))
    assert (await changes.get())["taken_out"] == ["alice"]


async def test_the_file_is_watched_also_after_a_defect_in_reading_it(
    file: Path, changes: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "AGAIN_S", 0.0)
    keys, read, reads = keys_in_force(Settings(api_key_file=str(file)), ()), KeyFile.read, []

    def fails_once(self: KeyFile) -> Callers:
        reads.append(self)
        if len(reads) == 1:
            raise RuntimeError("can't start new thread")
        return read(self)

    monkeypatch.setattr(KeyFile, "read", fails_once)
    async with at_work(keys.watch(lambda names: None)):
        put(file, entries(bob=""))
        line = await changes.get()
        assert (line["level"], "new thread" in line["reason"]) == ("error", True)
        assert (await changes.get())["taken_out"] == ["alice"]


async def test_a_file_that_is_written_again_with_the_same_keys_changes_none(
    served: Running, file: Path, changes: Lines
) -> None:
    put(file, await asyncio.to_thread(file.read_text) + "# nothing new\n")
    assert (await changes.get())["message"] == "keys read again, none changed"


async def test_the_last_key_of_a_file_can_be_taken_out(served: Running, file: Path, changes: Lines) -> None:
    put(file, "[keys]\n")
    assert (await changes.get())["taken_out"] == ["alice", "bob"]
    error = await refusal(served.model.GetCaller(model_pb2.GetCallerRequest(), metadata=bearer("bob")))
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED
