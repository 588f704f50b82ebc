"""What comes home on a stream of its own is right whenever that works, and later answers need not wait for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from featsvc.engines.registry import Engines
from featsvc.engines.running import homeward
from featsvc.engines.running.homeward import Later, in_turn, when_home
from featsvc.v1 import schema as S
from tests.engines.pretended.cases import CASES, Case, answers, asked
from tests.engines.pretended.cuda import PretendCuda
from tests.engines.pretended.numbers import difference, numbers
from tests.engines.pretended.streams import PretendedEvent, PretendedStream
from tests.engines.pretended.tensors import OnDevice
from tests.engines.pretended.worker import DEVICE, PretendedWorker

BOUND = 1e-5 + 1 / 127
"""Of int8, one more or less in its last place."""
CLICK = S.Prompt(point_coords=((40.0, 30.0),), point_labels=(1,))
BOX = S.Prompt(box=(10.0, 10.0, 60.0, 40.0))
QUESTIONS = {
    "clip several": CASES["clip several"],
    "dino several": CASES["dino several"],
    "clip int8 channels first": CASES["clip int8 channels first"],
    "clip one text pixels": CASES["clip one text pixels"],
    "sam2 prompts": asked(S.PredictMasksParams(return_logits=True), prompts=(CLICK, BOX, CLICK)),
}


@pytest.fixture
def cuda() -> Iterator[PretendCuda]:
    """A device that this thread may use."""
    with PretendCuda().installed() as cuda, cuda.at_work(), torch.inference_mode():
        yield cuda


def made() -> Tensor:
    """What a device has computed."""
    return torch.ones(3).to(DEVICE) * 2


def listed(home: Tensor) -> list[float]:
    """What came."""
    values: list[float] = home.tolist()
    return values


@pytest.mark.usefixtures("cuda")
def test_what_comes_is_what_was_computed() -> None:
    later = when_home(listed, made())
    assert later.tensors[0].isnan().all(), "it has not come yet"
    assert later.result() == [2, 2, 2]


@pytest.mark.usefixtures("cuda")
def test_the_copies_of_this_device_do_show_each_lack_of_care(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> list[float]:
        return when_home(listed, made()).result()

    assert shown() == [2, 2, 2]
    for owner, name in ((PretendedStream, "wait_stream"), (OnDevice, "record_stream")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, lambda *_: None)
            assert shown() != [2, 2, 2], (
                f"without {name} it comes too early, or from memory that is another's"
            )
    with monkeypatch.context() as patched:
        patched.setattr(PretendedEvent, "synchronize", lambda _: None)
        assert shown() != [2, 2, 2], "nobody has waited for it"


@pytest.mark.usefixtures("cuda")
def test_what_is_written_to_on_its_way_is_not_what_was_asked_for() -> None:
    values = made()
    later = when_home(listed, values)
    values.zero_()
    assert later.result() == [0, 0, 0], "the device copies as late as it may"


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_is_whole_however_late_its_copies_are(
    worker: PretendedWorker, engines: Engines, name: str
) -> None:
    case = QUESTIONS[name]
    plain = answers(engines, case, engines.load(f"demo-{case.family}"))
    for ours, theirs in zip(worker.answers(case), plain, strict=True):
        assert difference(numbers(ours), numbers(theirs)) <= BOUND


@pytest.mark.parametrize("name", ["sam2 prompts", "clip together", "dino together"])
def test_all_answers_of_a_pass_are_begun_before_the_first_is_waited_for(
    worker: PretendedWorker, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = _together(name)
    worker.answers(case)
    asked_before = list[int]()
    waited = PretendedEvent.synchronize

    def synchronize(event: PretendedEvent) -> None:
        asked_before.append(worker.cuda.operators.total())
        waited(event)

    monkeypatch.setattr(PretendedEvent, "synchronize", synchronize)
    worker.answers(case)
    assert len(asked_before) > 1
    assert set(asked_before) == {worker.cuda.operators.total()}


def _together(name: str) -> Case:
    """Questions that share a pass."""
    if name in QUESTIONS:
        return QUESTIONS[name]
    case = CASES[f"{name.split()[0]} several"]
    return Case(case.params, case.items[:2])


def test_no_more_is_on_its_way_than_there_is_room_for(
    cuda: PretendCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homeward, "AHEAD_BYTES", 2 * 12)
    begun: list[int] = []

    def coming() -> Iterator[Later[list[float]]]:
        for number in range(5):
            begun.append(number)
            yield when_home(listed, made() * number)

    taken = in_turn(coming())
    assert next(taken) == [0, 0, 0]
    assert begun == [0, 1, 2]
    assert [each[0] for each in taken] == [2, 4, 6, 8]


def test_on_a_cpu_each_is_made_before_the_next_is_begun() -> None:
    order: list[str] = []

    def coming() -> Iterator[Later[None]]:
        for number in range(2):
            order.append(f"begun {number}")
            yield when_home(lambda home: order.append(f"made {int(home)}"), torch.tensor(number))

    list(in_turn(coming()))
    assert order == ["begun 0", "made 0", "begun 1", "made 1"]
