"""Observers hear the start and the end of every call, of all four kinds and however it ends; jobs know their caller."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from featsvc.errors import NotFound, Overloaded
from featsvc.pool.contract.job import AnyJob
from featsvc.server.calls.admission import Admission, AdmissionLimits
from featsvc.server.calls.call import Call
from featsvc.server.calls.guard import GuardedMethods
from featsvc.server.keys.api_keys import ApiKeys
from featsvc.settings.access import KeyLimits
from featsvc.v1 import clip_pb2, model_pb2
from featsvc.work.caller import NOBODY, OWNER, Caller
from tests.server.asking import asking, read_ahead, refusal
from tests.server.conftest import AUTHORISED, Running, start

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
LIMITS = AdmissionLimits(64, 64, 60.0, 1 << 20, 1 << 20)
WRONG = (("authorization", "Bearer wrong"),)
Text = clip_pb2.Texts


class Heard:
    """An observer that remembers, and refuses the callers that it is told to."""

    def __init__(self, refused: str | None = None) -> None:
        self.starts: list[tuple[str, str]] = []
        self.ends: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
        self._refused = refused

    def on_start(self, call: Call) -> None:
        assert not call.messages_in
        self.starts.append((call.method, call.caller.name))
        if call.caller.name == self._refused:
            raise Overloaded("this key has had its share")

    def on_end(self, call: Call, code: str) -> None:
        self.ends.put_nowait((call.method, call.caller.name, code))


class Service:
    """Answers with what it is asked, fails with it, or waits for ever."""

    def __init__(self) -> None:
        self.waits = asyncio.Event()

    async def unary_unary(self, asked: Text, call: Call) -> Text:
        return await self._answer(asked)

    async def unary_stream(self, asked: Text, call: Call) -> None:
        await call.write(await self._answer(asked))

    async def stream_unary(self, asked: AsyncIterator[Text], call: Call) -> Text:
        return [await self._answer(each) async for each in asked][-1]

    async def stream_stream(self, asked: AsyncIterator[Text], call: Call) -> None:
        async for each in asked:
            await call.write(await self._answer(each))

    async def _answer(self, asked: Text) -> Text:
        match asked.text[0]:
            case "fail":
                raise NotFound("nowhere")
            case "defect":
                raise ValueError("a defect of the service")
            case "wait":
                self.waits.set()
                await asyncio.Event().wait()
        return asked


@asynccontextmanager
async def serving(*observers: Heard) -> AsyncIterator[tuple[Service, grpc.aio.Channel]]:
    """A server with a method of each kind."""
    service, keys = Service(), ApiKeys(("right-key", "other-key"), KeyLimits())
    methods = GuardedMethods(keys, observers, Admission(LIMITS, lambda: 0, read_ahead()))
    handlers = {
        kind: getattr(grpc, f"{kind}_rpc_method_handler")(getattr(service, kind), Text.FromString)
        for kind in KINDS
    }
    methods.add_registered_method_handlers("kinds", handlers)
    server = grpc.aio.server(handlers=(methods,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield service, channel
    await server.stop(None)


def called(channel: grpc.aio.Channel, kind: str, text: str, metadata: Any = AUTHORISED) -> Any:
    """A call, with one message; a stream that is to be refused unread sends none."""
    message = Text(text=[text])
    method = getattr(channel, kind)(f"/kinds/{kind}", Text.SerializeToString, Text.FromString)
    if not kind.startswith("stream"):
        return method(message, metadata=metadata)
    return method([message] if metadata is AUTHORISED else silent(), metadata=metadata)


async def silent() -> AsyncIterator[Text]:
    """Nothing, for as long as the call lasts: with a message under way grpc.aio loses the status (grpc/grpc #36066)."""
    await asyncio.Event().wait()
    yield Text()


async def answers(call: Any) -> list[Text]:
    if hasattr(call, "__aiter__"):
        return [each async for each in call]
    return [await call]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_start_and_the_end_of_every_call_are_heard_once_however_it_ends(kind: str) -> None:
    heard, also_heard, method = Heard(), Heard(), f"/kinds/{kind}"
    ends = [
        (method, "key 0", "OK"),
        (method, "key 0", "NOT_FOUND"),
        (method, "key 0", "INTERNAL"),
        (method, "", "UNAUTHENTICATED"),
        (method, "", "UNAUTHENTICATED"),
        (method, "key 0", "CANCELLED"),
    ]
    async with serving(heard, also_heard) as (service, channel):
        assert await answers(called(channel, kind, "answer")) == [Text(text=["answer"])]
        for text, metadata, code in (
            ("fail", AUTHORISED, "NOT_FOUND"),
            ("defect", AUTHORISED, "INTERNAL"),
            ("answer", WRONG, "UNAUTHENTICATED"),
            ("answer", (), "UNAUTHENTICATED"),
        ):
            error = await refusal(answers(called(channel, kind, text, metadata)))
            assert error.code().name == code
        waiting = called(channel, kind, "wait")
        task = asyncio.ensure_future(answers(waiting))
        await service.waits.wait()
        waiting.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for observer in (heard, also_heard):
            # A status may be there before the end of its call is told.
            assert Counter([await observer.ends.get() for _ in range(6)]) == Counter(ends)
            assert observer.starts == [(method, caller) for _, caller, _ in ends]
    assert heard.ends.empty()
    assert also_heard.ends.empty()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_an_observer_raises_at_the_start_refuses_the_call_unread(kind: str) -> None:
    first, refusing, last = Heard(), Heard(refused="key 1"), Heard()
    async with serving(first, refusing, last) as (_, channel):
        error = await refusal(
            answers(called(channel, kind, "answer", (("authorization", "Bearer other-key"),)))
        )
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == "this key has had its share"
        assert await answers(called(channel, kind, "answer")) == [Text(text=["answer"])]
        for observer in (first, refusing):
            ends = {(await observer.ends.get())[1:] for _ in range(2)}
            assert ends == {("key 1", "RESOURCE_EXHAUSTED"), ("key 0", "OK")}
    # Who did not hear the start does not hear the end.
    assert last.starts == [(f"/kinds/{kind}", "key 0")]
    assert (await last.ends.get())[1:] == ("key 0", "OK")
    assert last.ends.empty()


async def test_the_gateway_tells_observers_of_open_methods_too_and_a_job_knows_its_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = Heard()
    async with start(observers=(heard,), url_max_fetches_per_key=5) as served:
        jobs = watched_jobs(served, monkeypatch)
        await served.model.GetStatus(model_pb2.GetStatusRequest())
        await served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)
        assert [(await heard.ends.get())[1:] for _ in range(2)] == [(NOBODY.name, "OK"), ("key 0", "OK")]
    limits = KeyLimits(url_max_fetches_per_key=5)
    assert [job.caller for job in jobs] == [Caller("key 0", OWNER, limits=limits)]


def watched_jobs(served: Running, monkeypatch: pytest.MonkeyPatch) -> list[AnyJob]:
    """The jobs that the gateway gives its pool from now on."""
    jobs: list[AnyJob] = []
    pool = served.gateway.pool
    run = pool.run

    async def watched(job: AnyJob) -> object:
        jobs.append(job)
        return await run(job)

    monkeypatch.setattr(pool, "run", watched)
    return jobs
