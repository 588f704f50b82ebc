"""featsvc.v1.EstimateService."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featsvc.errors import invalid_field
from featsvc.server.calls.call import Call
from featsvc.server.services.intake import Intake
from featsvc.twin.messages import numbers
from featsvc.twin.methods import method_of, question_field, twin_of
from featsvc.v1 import estimate_pb2, estimate_pb2_grpc
from featsvc.work.operations import AnyOperation

ESTIMATES = estimate_pb2.DESCRIPTOR.services_by_name["EstimateService"].full_name
QUESTION = "question"
# Any: the stubs want a class that no value has.
BASES: Mapping[str, Any] = numbers(estimate_pb2.CostBasis.DESCRIPTOR)


class EstimateService(estimate_pb2_grpc.EstimateServiceServicer):
    """Dry runs of the questions of all operations."""

    def __init__(self, intake: Intake, operations: Sequence[AnyOperation]) -> None:
        self._intake = intake
        self._operations = by_question(operations)

    async def Estimate(
        self, request: estimate_pb2.EstimateRequest, call: Call
    ) -> estimate_pb2.EstimateResponse:
        """What a question would cost, and how long it would wait."""
        name = request.WhichOneof(QUESTION)
        if name is None:
            known = ", ".join(self._operations)
            raise invalid_field(QUESTION, f"give the question to estimate as one of these fields: {known}")
        question = getattr(request, name)
        # By itself, so that what is wrong with it is told by the same names as where it is asked.
        asked: Any = await self._intake.checked(
            question, twin_of(question.DESCRIPTOR), call.handed_on().within(name)
        )  # a twin by its fields
        found = await self._intake.estimate(self._operations[name], asked, call)
        return estimate_pb2.EstimateResponse(
            cost_s=found.cost_s,
            basis=BASES[found.basis],
            wait_s=found.wait_s,
            model=call.model,
            model_loaded=found.model_loaded,
            queue_bytes=found.queue_bytes,
            answer_bytes=found.answer_bytes,
        )


def by_question(operations: Sequence[AnyOperation]) -> Mapping[str, AnyOperation]:
    """The operations by the fields of their requests in an EstimateRequest; those that have none are left out."""
    named = {question_field(method_of(each.rpc).input_type): each for each in operations}
    return {name: each for name, each in named.items() if name is not None}
