"""What comes home on a stream of its own is right whenever that works, and later answers need not wait for it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import FunctionType, ModuleType

import pytest
import torch
from torch import Tensor

from featsvc.engines.networks.graphs import capture_stream
from featsvc.engines.registry import Engines
from featsvc.engines.running import homeward
from featsvc.engines.running.homeward import Later, all_of, when_home
from featsvc.engines.running.pinned_room import PinnedRoom
from featsvc.engines.sam2.predict import PreparedPrompts
from featsvc.errors import Abandoned, ReplyTooLarge
from featsvc.v1 import schema as S
from featsvc.work.coming import Coming
from featsvc.work.results import PromptResults
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
    "sam2 embeddings themselves": asked(S.EmbedImageParams(ret_embedding=True), pictures=3),
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


@pytest.mark.parametrize(
    "name", ["sam2 prompts", "sam2 embeddings themselves", "clip together", "dino together"]
)
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


def coming(values: list[Tensor], order: list[str]) -> Iterator[Later[None]]:
    """Answers, which say when each is begun and made."""
    for number, value in enumerate(values):
        order.append(f"begun {number}")
        yield when_home(lambda home: order.append(f"made {int(home[0])}"), value)


@pytest.mark.usefixtures("cuda")
def test_no_more_is_on_its_way_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homeward, "AHEAD_BYTES", 2 * 12)
    order: list[str] = []
    begun = all_of(coming([made() * number for number in range(4)], order))
    assert " ".join(order) == "begun 0 begun 1 begun 2 made 0 begun 3 made 2"
    for each in begun:
        each.result()
    assert order[-2:] == ["made 4", "made 6"], "each once"


def test_answers_have_one_room_until_nobody_holds_them_and_what_has_none_is_there_at_once(
    cuda: PretendCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One of them takes 16 bytes.
    monkeypatch.setattr(homeward, "ROOM", PinnedRoom(2 * 16))

    def begun() -> tuple[Later[object], bool]:
        """An answer, which is a view of what came, and whether that is still to come."""
        later: Later[object] = when_home(lambda home: home[None].numpy(), made())
        return later, bool(later.tensors[0].isnan().all())

    first, second, third = begun(), begun(), begun()
    assert [is_coming for _, is_coming in (first, second, third)] == [True, True, False]
    assert str(third[0].result()) == "[[2. 2. 2.]]"
    assert [what for what, _ in cuda.waits].count(f"{DEVICE} to cpu") == 1, "in the pass"
    written = first[0].result()
    del first, third
    assert not begun()[1], "its array is to be sent"
    assert str(written) == "[[2. 2. 2.]]"
    del written
    assert begun()[1]


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_leaves_its_room_and_is_the_same_without_any(
    worker: PretendedWorker, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    room, none = PinnedRoom(1 << 30), PinnedRoom(0)
    monkeypatch.setattr(homeward, "ROOM", room)
    right = worker.answers(QUESTIONS[name])
    assert room.taken_bytes > 0
    monkeypatch.setattr(homeward, "ROOM", none)
    ours = worker.answers(QUESTIONS[name])
    assert max(map(difference, map(numbers, ours), map(numbers, right))) <= BOUND
    del right
    gc.collect()
    assert room.taken_bytes == 0


def test_on_a_cpu_each_is_made_before_the_next_is_begun() -> None:
    order: list[str] = []
    begun = all_of(coming([torch.ones(3) * number for number in range(2)], order))
    assert order == ["begun 0", "made 0", "begun 1", "made 1"]
    assert not any(each.came for each in begun)


@pytest.mark.parametrize("name", [*QUESTIONS, "clip picture"])
def test_a_pass_is_waited_for_and_its_copies_home_are_not(worker: PretendedWorker, name: str) -> None:
    case = QUESTIONS.get(name) or CASES[name]
    (first, *_), operation = case.items, case.operation.rpc
    worker.answers(case)  # what it keeps of texts and pictures is there from now on
    loaded = worker.loaded[case.models]
    worker.cuda.forget()
    with worker.at_work():
        prepared = worker.engines.prepare(operation, first, case.params, loaded)
        results = worker.engines.run(operation, [prepared], case.params, loaded)
        assert isinstance(results, Coming)
        assert worker.cuda.waits.total() == 1, "what is wrong with the pass is said by the pass"
        assert not worker.cuda.homecomings
    # In a thread that computes nothing.
    with worker.cuda.installed(), ThreadPoolExecutor(1) as writing:
        answer = writing.submit(lambda: results[0]).result()
    (right,) = worker.answers(Case(case.params, (first,)))
    assert difference(numbers(answer), numbers(right)) <= BOUND


@pytest.mark.usefixtures("cuda")
def test_what_only_copies_shares_no_pool_of_streams_with_what_is_captured() -> None:
    later = when_home(listed, made())
    assert isinstance(later.came, PretendedEvent)
    captured = capture_stream(torch.device(DEVICE))
    assert isinstance(captured, PretendedStream)
    assert later.came.stream.priority != captured.priority


def behind(value: object) -> Iterator[object]:
    """All that a value holds, but for what torch and its streams do, and what functions find in their modules."""
    seen, left = set[int](), [value]
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, type | ModuleType | PretendedEvent):
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, FunctionType):
            left += [cell.cell_contents for cell in each.__closure__ or ()]
        elif not isinstance(each, Tensor):
            left += gc.get_referents(each)


@pytest.mark.parametrize(
    "name",
    [
        "clip components",
        "clip picture",
        "clip texts against others pixels",
        "dino int8 channels first",
        "object crops of prompts",
        "object mean of maps",
        "sam2 click",
        "sam2 embedding itself",
    ],
)
def test_an_answer_on_its_way_holds_nothing_on_the_device(worker: PretendedWorker, name: str) -> None:
    case = CASES[name]
    loaded, operation = worker.loaded[case.models], case.operation.rpc
    with worker.at_work():
        prepared = worker.engines.prepare(operation, case.items[0], case.params, loaded)
        results = worker.engines.run(operation, [prepared], case.params, loaded)
    assert any(isinstance(each, Later) for each in behind(results)) == isinstance(results, Coming)
    assert not [each for each in behind(results) if isinstance(each, OnDevice)]


def test_a_pass_that_is_given_up_is_waited_for_before_its_model_may_go(worker: PretendedWorker) -> None:
    case = CASES["dino grid"]
    operation, loaded = case.operation.rpc, worker.loaded[case.models]
    answers = iter((True, True, False))
    with worker.at_work():
        prepared = worker.engines.prepare(operation, case.items[0], case.params, loaded)
        with pytest.raises(Abandoned):
            worker.engines.run(operation, [prepared], case.params, loaded, lambda: next(answers))
    assert not worker.cuda.is_busy(DEVICE)


def test_what_comes_home_is_its_own_though_another_pass_is_computed_meanwhile(
    worker: PretendedWorker,
) -> None:
    case = CASES["dino several"]
    loaded, operation = worker.loaded[case.models], case.operation.rpc
    right = worker.answers(case)
    with worker.at_work():
        engines = worker.engines
        prepared = [engines.prepare(operation, each, case.params, loaded) for each in case.items]
        begun = [engines.run(operation, [each], case.params, loaded) for each in prepared]
        answers = [answer for results in begun for answer in results]
    for ours, theirs in zip(answers, right, strict=True):
        assert difference(numbers(ours), numbers(theirs)) <= BOUND


def test_what_is_wrong_with_one_answer_is_said_of_that_one_alone(worker: PretendedWorker) -> None:
    case = QUESTIONS["sam2 prompts"]
    params = case.params.model_copy(update={"return_logits": False, "mask_encoding": S.MaskEncoding.COCO_RLE})
    loaded, operation = worker.loaded[case.models], case.operation.rpc
    with worker.at_work():
        first, second = (worker.engines.prepare(operation, case.items[0], params, loaded) for _ in range(2))
        assert isinstance(first, PreparedPrompts)
        writer = replace(first.writer, options=replace(first.writer.options, max_reply_bytes=1))
        results = worker.engines.run(operation, [replace(first, writer=writer), second], params, loaded)
        with pytest.raises(ReplyTooLarge):
            results[0]
        assert isinstance(results[1], PromptResults)
