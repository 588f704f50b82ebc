"""Around every call: request id, caller, a place among the open calls, errors, and observers such as the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage

from featsvc.catalog import entry_of
from featsvc.codec.picture_files import Files, without_files
from featsvc.codec.wire import refuse_crowded
from featsvc.errors import FeatsvcError, Forbidden, InvalidArgument, Unauthenticated
from featsvc.request_ids import own_ids, request_id
from featsvc.server.calls.admission import Admission
from featsvc.server.calls.call import PROBES, STATUS, Call, CallObserver, Received
from featsvc.server.calls.refusals import Refusals
from featsvc.server.calls.reply import Reply, encoded
from featsvc.server.calls.statuses import abort, told
from featsvc.server.keys.api_keys import ApiKeys
from featsvc.server.keys.permissions import check_model
from featsvc.work.caller import Caller, Role
from featsvc.wrong_keys import WrongKeys

ADMIN_ACTS = frozenset(f"/featsvc.v1.ModelService/{name}" for name in ("LoadModel", "UnloadModel", "Drain"))
FOR_EVERY_KEY = frozenset(
    f"/featsvc.v1.ModelService/{name}" for name in ("GetCaller", "ListModels", "GetStatus")
)
# Their questions are a name at most.
OPEN_BYTES = 64 * 1024
# Below this, handing work to a thread costs more than doing it.
LARGE = 256 * 1024
# grpc's handlers are untyped, hence Any in this module.
Act = Callable[[Call], Awaitable[bytes | None]]


class GuardedMethods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    """The methods of the server: gives each call its id and its caller, turns errors into statuses, tells observers.

    Generated code adds services to it as it would to a server. It is a handler and no interceptor of grpc's, which
    would ask for the handler by further coroutines at each call. To gRPC all of its methods take streams, which are
    the same on the wire: of others gRPC receives the message before it asks anybody.
    """

    def __init__(
        self,
        keys: ApiKeys,
        observers: Sequence[CallObserver],
        admission: Admission,
        wrong_keys: WrongKeys | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._keys = keys
        self._wrong_keys = wrong_keys or WrongKeys()
        self._refusals = refusals or Refusals()
        # Looked up once, and not at every call.
        self._on_start = tuple(each.on_start for each in observers)
        self._on_end = tuple(each.on_end for each in observers)
        self._admission = admission
        self._methods: dict[str, Any] = {}
        self._own_ids = own_ids()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method, if it is one of ours."""
        return self._methods.get(details.method)

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """What generated code says first; the same comes again by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Takes the methods of a service."""
        for name, handler in handlers.items():
            method = f"/{service}/{name}"
            self._methods[method] = self._around(handler, method)

    def repeat(self, service: str, name: str) -> None:
        """Answers the methods of a service under another name too."""
        for method in [each for each in self._methods if each.startswith(f"/{service}/")]:
            self._methods[method.replace(service, name)] = self._methods[method]

    def _around(self, handler: Any, method: str) -> Any:
        """The handler with bytes on both sides. A service method answers a reply, or writes them where it streams."""
        decode, is_asked_many = handler.request_deserializer, handler.request_streaming
        # There is one of these, by the kind of the method.
        answer = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

        async def answered(call: Call) -> Any:
            if is_asked_many:
                return await answer(CallMessages(self._admission, decode, call), call)
            return await answer(await self._question(decode, call), call)

        async def sent(call: Call) -> bytes:
            reply = await answered(call)
            if isinstance(reply, Reply) and reply.nbytes > LARGE:
                self._admission.replies(call, reply.nbytes)
            message = await encoded(reply)
            call.encoded_at = monotonic()
            call.sent(message)
            return message

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._guarded(method, answered, is_stream=True))
        return grpc.stream_unary_rpc_method_handler(self._guarded(method, sent, is_stream=False))

    def _guarded(
        self, method: str, act: Act, is_stream: bool
    ) -> Callable[[object, grpc.aio.ServicerContext], Awaitable[bytes | None]]:
        """What gRPC calls: `act` for callers with a key, its errors told."""
        is_open, role = method == STATUS, _role(method)
        # Probes come every few seconds, and are told the same whoever asks.
        is_probe = method.startswith(PROBES)

        async def guarded(_: object, context: grpc.aio.ServicerContext) -> bytes | None:
            call = Call(method, context, next(self._own_ids))
            request_id.set(call.request_id)
            code, observers = "OK", 0
            try:
                unknown = None if is_probe else self._judged(call, is_open)
                for on_start in self._on_start:
                    observers += 1
                    on_start(call)
                # The shim has its callers wait by itself: here they would take up its connections.
                if call.has_wrong_key and not call.relayed_address:
                    await self._wrong_keys.came(call.address)
                if unknown is not None:
                    raise unknown
                _check_role(call.caller, role)
                self._admission.enter(call, is_stream)
                answer = await act(call)
                if metadata := call.trailing_metadata():
                    context.set_trailing_metadata(metadata)
                return answer
            except asyncio.CancelledError as ended:
                code = "CANCELLED" if call.refusal is None else call.refusal.code
                if call.refusal is None:
                    raise
                call.proceed()
                ended.__traceback__ = None
                await self._refused(call, call.refusal, context)
            except Exception as error:  # the process boundary: whatever went wrong, the caller gets a status
                call.refusal = told(error, method)
                code = call.refusal.code
                await self._refused(call, call.refusal, context)
            finally:
                self._admission.leave(call)
                for on_end in self._on_end[:observers]:
                    on_end(call, code)
                # As in `abort`.
                del call, context, _
            # An abort does not return but where the caller has left.
            raise asyncio.CancelledError

        return guarded

    async def _refused(self, call: Call, refusal: FeatsvcError, context: grpc.aio.ServicerContext) -> None:
        """Tells the refusal, when it is time to."""
        # What waits to be told has no place among the open calls.
        self._admission.leave(call)
        refusal, hold_s = await self._refusals.of_call(call, refusal), call.hold_s
        del call
        try:
            await abort(context, refusal, hold_s)
        finally:
            # As in `abort`.
            del context

    def _judged(self, call: Call, is_open: bool) -> Unauthenticated | None:
        """Says whose call it is; the refusal of one that needs a key and has none."""
        try:
            call.caller = self._caller(call)
        except Unauthenticated as error:
            # Who must show a certificate to be let in has shown none in place of a key where none is needed.
            call.has_wrong_key = bool(call.authorization or (call.certificate_names and not is_open))
            return None if is_open else error
        return None

    def _caller(self, call: Call) -> Caller:
        """Who has the key of the call, or without one the certificate. Raises Unauthenticated where nobody has."""
        has_key = call.authorization.partition(" ")[2].strip()
        if not has_key and (caller := self._keys.shown(call.certificate_names)) is not None:
            return caller
        return self._keys.caller(call.authorization)

    def judge_again(self) -> None:
        """Ends the calls that their keys do not allow any more; the others have what their keys say now.

        Of a stream the model of its latest question counts.
        """
        for call in self._admission.with_key():
            try:
                call.caller = self._caller(call)
                _check_role(call.caller, _role(call.method))
                if call.model:
                    check_model(call.caller, entry_of(call.model))
            except Unauthenticated:
                self._admission.end(call, Unauthenticated("this API key has been taken out"))
            except Forbidden as error:
                self._admission.end(call, error)

    async def _question(self, decode: Any, call: Call) -> ProtoMessage:
        """The only message of a call."""
        raw = await self._admission.only_message(call)
        if raw is None:
            raise InvalidArgument("the call has no message")
        return await _decoded(decode, raw, call)


@dataclass(frozen=True)
class CallMessages:
    """The messages of a call, one after the other. No generator, which would keep the last one until the next."""

    admission: Admission
    decode: Any
    call: Call

    def __aiter__(self) -> CallMessages:
        return self

    async def __anext__(self) -> ProtoMessage:
        raw = await self.admission.message(self.call)
        if raw is None:
            raise StopAsyncIteration
        return await _decoded(self.decode, raw, self.call)


def _role(method: str) -> Role | None:
    """The role that a key needs for the method; None where every key will do, or none."""
    if method in FOR_EVERY_KEY or method.startswith(PROBES):
        return None
    return "admin" if method in ADMIN_ACTS else "infer"


def _check_role(caller: Caller, role: Role | None) -> None:
    """Raises Forbidden where the caller has not the role that is needed, if one is."""
    if role is not None and role not in caller.roles:
        raise Forbidden(f"the key {caller.name!r} has not the role {role}, which this needs")


async def _decoded(decode: Any, raw: bytes, call: Call) -> ProtoMessage:
    """The message; raises InvalidArgument where it is none, or larger than one without a key may be."""
    if not call.caller.name and len(raw) > OPEN_BYTES:
        raise InvalidArgument(f"{len(raw)} bytes, at most {OPEN_BYTES} without a key")
    try:
        message: ProtoMessage
        if len(raw) <= LARGE:
            message = decode(raw)
        else:
            message, files = await asyncio.to_thread(_counted, decode, raw)
            call.latest = Received(len(raw), files)
        return message
    except DecodeError:
        raise InvalidArgument("the request is no valid protobuf message of this method") from None


def _counted(decode: Any, raw: bytes) -> tuple[ProtoMessage, Files]:
    descriptor = decode.__self__.DESCRIPTOR
    refuse_crowded(raw, descriptor)
    rest, files = without_files(raw, descriptor)
    return decode(rest), files
