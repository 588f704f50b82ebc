"""Automatic masks one by one: the messages of an answer, across the attempts that it took."""

from __future__ import annotations

from typing import Any, TypeAlias

from featsvc_client.calls import Call
from featsvc_client.errors import Failure, damaged
from featsvc_client.mask_results import Mask, Masks, MasksSummary, streamed_mask, summary
from featsvc_client.operations import Variant
from featsvc_client.results import Beside
from featsvc_client.session import Ask, Noted, Session
from featsvc_client.terms import USUAL, Terms

# Any: protobuf's generated classes are known by their fields only.
Reply: TypeAlias = Any


class MaskStream:
    """The masks of one picture as they come, each once, then the summary.

    The same request gives the same masks in the same order, so after a broken attempt those that came already are
    passed over.
    """

    def __init__(self, session: Session, call: Call[Masks], terms: Terms = USUAL) -> None:
        if call.operation.one_by_one is None:
            raise TypeError(f"{call.operation.path} answers in one message")
        self.session = session
        self.is_complete = False
        self._call = call
        self._terms = terms
        self._variant: Variant = call.operation.one_by_one
        self._attempts = session.attempts(terms.timeout_s)
        self._digest = session.known(call)
        self._given = 0
        self._came = 0
        self._noted = Noted()

    def ask(self) -> Ask:
        """What to send; its `take` gives the mask or summary of a message, None where the caller has it."""
        self._came = 0
        return Ask(
            self._variant.path,
            self._call.serialised(self._digest, self._variant),
            self._variant.reply.FromString,
            self._take,
            self._noted.take,
            True,
            self.session.asking(self._terms),
            self._attempts.time_left_s(),
        )

    def pause_s(self, failure: Failure | None) -> float:
        """Seconds to wait after an attempt has ended; raises where another is of no use."""
        if self.is_complete:
            return 0.0
        if failure is None:
            raise damaged(f"it ended after {self._came} masks without a summary")
        if self.session.lost(failure, self._digest):
            self._digest = ""
            return 0.0
        return self._attempts.pause_s(failure)

    def _take(self, message: Reply) -> Mask | MasksSummary | None:
        if message.WhichOneof("part") == "summary":
            self.is_complete = True
            self.session.confirm(self._call, message.summary)
            return summary(message.summary, Beside(self._noted.timing))
        self._came += 1
        if self._came <= self._given:
            return None
        self._given = self._came
        return streamed_mask(message.mask, self._came)
