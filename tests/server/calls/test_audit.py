"""Refused keys in the audit log: nobody takes the lines of others."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.server.calls.audit import MOST_KINDS, Audit
from featsvc.work.caller import NOBODY, OWNER, Caller
from tests.server.conftest import heard


@dataclass
class Refused:
    """What the audit log asks of a call."""

    address: str
    caller: Caller = NOBODY
    method: str = "/featsvc.v1.ClipService/ExtractFeatures"
    authorization: str = "Bearer wrong"

    @property
    def has_wrong_key(self) -> bool:
        return not self.caller.name


async def test_those_without_a_key_do_not_take_the_lines_of_callers_with_one() -> None:
    alice = Caller("alice", OWNER)
    async with heard("featsvc.audit") as lines:
        audit = Audit()
        for number in range(2 * MOST_KINDS):
            audit.on_end(Refused(f"192.0.{number // 256}.{number % 256}"), "UNAUTHENTICATED")  # type: ignore[arg-type]
        told = [await lines.get() for _ in range(MOST_KINDS + 1)]
        assert told[-1]["message"].startswith("refused, from too many addresses")
        audit.on_end(Refused("192.0.2.1", alice), "PERMISSION_DENIED")  # type: ignore[arg-type]
        line = await lines.get()
        assert (line["message"], line["caller"], line["address"]) == ("not allowed", "alice", "192.0.2.1")
        audit.close()
        assert (await lines.get())["times"] == MOST_KINDS - 1
