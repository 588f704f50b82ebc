"""One call as the services see it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import NamedTuple, Protocol
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message as ProtoMessage

from featsvc.codec import priority as priorities
from featsvc.codec import shim_headers
from featsvc.codec.picture_files import Files
from featsvc.codec.timing import HEADER as TIMING_HEADER
from featsvc.codec.timing import WANTED, Timing
from featsvc.errors import Abandoned, FeatsvcError, InvalidArgument
from featsvc.pool.contract.job import JobTimes
from featsvc.request_ids import is_right
from featsvc.server.calls.reply import Reply, encoded
from featsvc.tracing import TRACEPARENT, TRACERESPONSE, Trace
from featsvc.work.caller import NOBODY
from featsvc.work.item import Json
from featsvc.wrong_keys import network_of

# What probes and generic clients ask, every few seconds for as long as the server lives, and before they have a key.
PROBES = ("/grpc.health.v1.", "/grpc.reflection.")

# Asked also without a key, or with a wrong one; who has a key is told more.
STATUS = "/featsvc.v1.ModelService/GetStatus"

# What a call takes at least for its caller to be told how long without having asked. Sending trailing metadata costs a
# fiftieth of the processor time of a small call, and of one like this not a hundredth.
LONG_S = 0.005
# How the connections begin, as gRPC calls them, over which the shim is believed: nobody else can open its socket.
OWN_SOCKET = "unix:"
# What gRPC calls the first common name in a certificate and its alternative names of the kind DNS. Those of other kinds
# (URI, e-mail, address) are no names of callers: authorities have other rules for them.
NAMES = ("x509_common_name", "peer_dns")
JSON_LIMIT = re.compile(r"([0-9]{1,18})(; masks=float32)?")


def _address(peer: str) -> str:
    """The address in gRPC's name of a connection, such as ipv4:127.0.0.1:5 or ipv6:%5B::1%5D:5."""
    kind, _, rest = unquote(peer).partition(":")
    return network_of(rest.rpartition(":")[0].strip("[]")) or kind


def _json(value: str) -> Json | None:
    found = JSON_LIMIT.fullmatch(value)
    return Json(int(found[1]), bool(found[2])) if found else None


class Received(NamedTuple):
    """What is known of a message from the caller beside its fields."""

    nbytes: int
    files: Files | None = None
    """Large picture files that were taken out of it."""

    def within(self, name: str) -> Received:
        """The same of a message that one of its fields holds."""
        files = None if self.files is None else self.files.get(name)
        return Received(self.nbytes, None if isinstance(files, bytes) else files)


class Call:
    """Who asks, until when, and where the messages of a streamed answer go."""

    def __init__(self, method: str, context: grpc.aio.ServicerContext, own_id: str) -> None:
        self.method = method
        self.json: Json | None = None
        """What the REST shim says of a reply that ends as JSON."""
        self._wants_timing = False
        self._priority: str | None = None
        asked = self.authorization = self.traceparent = self._relayed = self._relayed_names = ""
        for name, value in context.invocation_metadata() or ():
            if name == "authorization":
                self.authorization = str(value)
            elif name == "x-request-id":
                asked = str(value)
            elif name == shim_headers.JSON:
                self.json = _json(str(value))
            elif name == priorities.HEADER:
                self._priority = str(value)
            elif name == TIMING_HEADER:
                self._wants_timing = value == WANTED
            elif name == TRACEPARENT:
                self.traceparent = str(value)
            elif name == shim_headers.ADDRESS:
                self._relayed = str(value)
            elif name == shim_headers.CERTIFICATE:
                self._relayed_names = str(value)
        self.is_named = asked != "" and is_right(asked)
        """Whether the caller has given the request id."""
        self.request_id = asked if self.is_named else own_id
        self.caller = NOBODY
        """Who asks; nobody where no key was asked for, or none was right."""
        self.has_wrong_key = False
        """Whether it came with a key that is none of ours, or with such a certificate in place of one."""
        self.model = ""
        """The key of the model that its latest question is for, or that an admin loads or frees."""
        remaining = context.time_remaining()
        self.began = time.monotonic()
        self.deadline = None if remaining is None else self.began + float(remaining)
        self.unread_s = 0.0
        """How long its message has waited to be received."""
        self.messages_in = self.messages_out = self.bytes_in = self.bytes_out = 0
        self.latest = Received(0)
        """Its latest message, until that is handed on."""
        self.times: JobTimes | None = None
        """Of its question, or the last one."""
        self.trace: Trace | None = None
        """Where it is traced."""
        self.encoded_at = 0.0
        """When its first message was made."""
        self.bytes_open = 0
        """Bytes of the messages that are being answered."""
        self._let_go = 0
        self.refusal: FeatsvcError | None = None
        """Why there is no answer; of what its caller has ended itself there is none."""
        self.on_taken: Callable[[Call], None] | None = None
        """Is to be told when a worker has taken what it asks."""
        self.is_counted = False
        """Whether it counts among the calls of its connection."""
        self.hold_s = 0.0
        """How long the shim is to hold its refusal back."""
        self._task = asyncio.current_task()
        self._context = context
        self._writing: asyncio.Lock | None = None

    @cached_property
    def peer(self) -> str:
        """The connection that the call came by."""
        return str(self._context.peer())

    @cached_property
    def relayed_address(self) -> str:
        """The address of the REST shim's caller; empty where no shim has asked over its own socket.

        It is believed over that alone: proxies on this machine come from loopback too, for callers from anywhere.
        """
        return network_of(self._relayed) if self.is_relayed else ""

    @property
    def is_relayed(self) -> bool:
        """Whether it is a shim's, whose connections many callers share: believed over its own socket alone."""
        return self._relayed != "" and self.peer.startswith(OWN_SOCKET)

    @property
    def priority(self) -> int:
        """How urgent it is beside others of its caller; raises InvalidArgument where it says what is none."""
        if self._priority is None:
            return 0
        number = priorities.read(self._priority)
        if number is None:
            shown = repr(self._priority[:20])
            raise InvalidArgument(f"{priorities.HEADER}: {shown} is not {priorities.MEANING}")
        return number

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """Names in the certificate that the caller has shown; of callers of REST the shim tells them.

        It is believed over its own socket alone, which nobody else can open.
        """
        if self._relayed_names and self.peer.startswith(OWN_SOCKET):
            return tuple(map(unquote, self._relayed_names.split(",")))
        shown = self._context.auth_context()
        return tuple(name.decode(errors="replace") for kind in NAMES for name in shown.get(kind, ()))

    def metadata(self, wanted: str) -> str:
        """What the call carries by this name beside what is read of every call; empty where it carries nothing."""
        carried = self._context.invocation_metadata() or ()
        return next((str(value) for name, value in carried if name == wanted), "")

    @property
    def address(self) -> str:
        """Where the caller is: its address, or of IPv6 its network; `unix` over a socket of this machine."""
        return self.relayed_address or _address(self.peer)

    @property
    def open_questions(self) -> int:
        """Messages that have no answer yet."""
        return max(0, self.messages_in - self.messages_out)

    def end(self, refusal: FeatsvcError) -> None:
        """Ends the call: its caller is told the refusal."""
        self.refusal = refusal
        if self._task is not None:
            self._task.cancel()

    def when_done(self, act: Callable[[], None]) -> None:
        """Acts when all has been sent, or the caller has left."""
        self._context.add_done_callback(lambda _: act())

    def let_go(self) -> None:
        """The message of a question is kept no longer: it is refused, and its answer is still to be sent."""
        self._forget_one()
        self._let_go += 1

    def proceed(self) -> None:
        """Takes the cancellation of an end back, so that the refusal can be told."""
        if self._task is not None:
            self._task.uncancel()

    def read(self) -> Awaitable[bytes | object]:
        """The next message, EOF after the last one. Not before it is asked for does gRPC receive it."""
        return self._context.read()  # type: ignore[no-any-return]  # grpc is untyped

    def received(self, message: bytes) -> None:
        """Counts a message from the caller."""
        nbytes = len(message)
        self.latest = Received(nbytes)
        self.messages_in += 1
        self.bytes_in += nbytes
        self.bytes_open += nbytes

    def handed_on(self) -> Received:
        """What is known of the latest message, for who answers it: files are not to outlive their question."""
        latest, self.latest = self.latest, Received(0)
        return latest

    async def write(self, reply: Reply | ProtoMessage, is_let_go: bool = False) -> None:
        """Sends one message of a streamed answer when the caller takes it; raises Abandoned where it has left.

        It may be that to a question which was let go.
        """
        message = await encoded(reply)
        self.encoded_at = self.encoded_at or time.monotonic()
        self._writing = self._writing or asyncio.Lock()
        async with self._writing:
            try:
                await self._context.write(message)
            except grpc.aio.InternalError:
                raise Abandoned("the caller has left") from None
        if is_let_go:
            self._let_go -= 1
        else:
            self._forget_one()
        self._count_out(message)

    def timing(self) -> Timing | None:
        """What the answer has taken so far; None where it is not that of one question which a worker has answered."""
        return timing_of(self.times, self.encoded_at) if self.times and self.messages_in == 1 else None

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        """What its caller is told beside an answer: its own request id, its trace, and what it has taken.

        Others learn the id where something goes wrong, and the time where it is long: a small call feels the sending.
        """
        named = (("x-request-id", self.request_id),) if self.is_named else ()
        if self.trace is not None:
            named = (*named, (TRACERESPONSE, self.trace.traceparent))
        is_long = self._wants_timing or self.encoded_at - self.began > LONG_S
        timing = self.timing() if is_long else None
        return named if timing is None else (*named, (TIMING_HEADER, timing.written()))

    async def tell_timing(self) -> None:
        """Says before a reply of many messages what it has taken until now, to who has asked for that."""
        timing = self.timing() if self._wants_timing else None
        if timing is not None:
            await self._context.send_initial_metadata(((TIMING_HEADER, timing.written()),))

    def sent(self, message: bytes) -> None:
        """Counts a message to the caller."""
        self._forget_one()
        self._count_out(message)

    def _forget_one(self) -> None:
        """Count the message of one question no more; which one it was, nobody has noted."""
        kept = self.messages_in - self.messages_out - self._let_go
        self.bytes_open = 0 if kept <= 1 else self.bytes_open - self.bytes_open // kept

    def _count_out(self, message: bytes) -> None:
        self.messages_out += 1
        self.bytes_out += len(message)


def timing_of(times: JobTimes, encoded_at: float) -> Timing | None:
    """What an answer has taken, whose message was made then; None where no worker has answered."""
    took = times.at_worker
    if took is None:
        return None
    return Timing(
        queue_ms=1000 * (times.answered_at - times.arrived_at - took.decode_s - took.compute_s),
        decode_ms=1000 * took.decode_s,
        compute_ms=1000 * took.compute_s,
        encode_ms=1000 * max(encoded_at - times.answered_at, 0.0),
        batch_size=took.batch_size,
        precision=times.precision,
    )


class CallObserver(Protocol):
    """Is told of every call to a method of the server, of all four kinds: the log is one, figures and traces others.

    It is told on the event loop of every call, so it must be quick.
    """

    def on_start(self, call: Call) -> None:
        """The key was judged, and no message is received yet. What it raises refuses the call."""

    def on_end(self, call: Call, code: str) -> None:
        """The call has ended, with the name of its status: once for each start, however it ended. Raises nothing."""
