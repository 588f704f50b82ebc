"""Lines of log about who changed what, and whose key was refused; none holds a key."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass

from featsvc.logs import AUDIT
from featsvc.server.calls.call import Call
from featsvc.server.calls.guard import ADMIN_ACTS

audit = logging.getLogger(AUDIT)
# Of refusals alike one line at once, and one about all that come within so long after it.
TOGETHER_S = 10.0
# Beyond so many kinds of refusals within that time, those of all further kinds have one line: of each caller by itself,
# and of those without a right key together. So nobody takes the lines of others.
MOST_KINDS = 256
OTHERS = "refused, from too many addresses to tell apart"


@dataclass(frozen=True)
class _Refusal:
    """Refusals that share a line."""

    message: str
    caller: str
    address: str


class Audit:
    """The observer that writes a line for each act of an admin, and for each refused key, at a bounded rate."""

    def __init__(self) -> None:
        self._further: dict[_Refusal, int] = {}
        self._kinds: Counter[str] = Counter()  # of each caller

    def on_start(self, call: Call) -> None:
        """Nothing is said before the end."""

    def on_end(self, call: Call, code: str) -> None:
        """Take note of a call that has ended."""
        if call.has_wrong_key:
            shown = "wrong key" if call.authorization else "unknown certificate"
            self._refused(_Refusal(shown, "", call.address), call)
        elif code == "PERMISSION_DENIED":
            self._refused(_Refusal("not allowed", call.caller.name, call.address), call)
        elif call.method in ADMIN_ACTS and call.caller.is_admin:
            _write_act("admin act", call, call.model, code=code)

    def _refused(self, refusal: _Refusal, call: Call) -> None:
        if refusal not in self._further and self._kinds[refusal.caller] >= MOST_KINDS:
            refusal = _Refusal(OTHERS, refusal.caller, "")
        if refusal in self._further:
            self._further[refusal] += 1
            return
        self._further[refusal] = 0
        self._kinds[refusal.caller] += 1
        _write(refusal, {"method": call.method})
        asyncio.get_running_loop().call_later(TOGETHER_S, self._tell_further, refusal)

    def _tell_further(self, refusal: _Refusal) -> None:
        further = self._further.pop(refusal, None)
        if further is None:
            return
        self._kinds[refusal.caller] -= 1
        if not self._kinds[refusal.caller]:
            del self._kinds[refusal.caller]
        if further:
            _write(refusal, {"times": further, "within_s": TOGETHER_S})

    def close(self) -> None:
        """Tells what is left to tell: the server ends."""
        for refusal in list(self._further):
            self._tell_further(refusal)


def write_download(call: Call, model: str) -> None:
    """Writes a line about a question of an admin, for which weights are downloaded."""
    _write_act("download begun", call, model)


def _write_act(message: str, call: Call, model: str, **more: str) -> None:
    facts = {"caller": call.caller.name, "address": call.address, "method": call.method, "model": model}
    audit.info(message, extra=facts | more)


def _write(refusal: _Refusal, facts: dict[str, object]) -> None:
    known = {"caller": refusal.caller, "address": refusal.address}
    audit.warning(refusal.message, extra={name: value for name, value in known.items() if value} | facts)
