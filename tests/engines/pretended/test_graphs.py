"""Passes as graphs of CUDA: the same answers, each its own, and none that would be wrong."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache

import pytest
import torch
from torch import Tensor

from featsvc.engines import registry
from featsvc.engines.networks import graphs
from featsvc.engines.networks.graphs import Graphed, Tensors
from featsvc.engines.running.turns import TURNS
from featsvc.engines.sam2.model import Sam2Model
from featsvc.settings.kinds import Precision
from featsvc.v1 import schema as S
from featsvc.work.item import PictureItem
from tests.engines import models
from tests.engines.pretended.cases import CASES, PICTURES, Case, asked
from tests.engines.pretended.conftest import Workers
from tests.engines.pretended.cuda import PretendCuda
from tests.engines.pretended.numbers import difference, numbers
from tests.engines.pretended.test_waits import TRAFFIC, traffic
from tests.engines.pretended.worker import DEVICE, PretendedWorker

ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
EXACT = 1e-6
"""A pretended graph computes what it has recorded, in its order."""
CLICK = S.Prompt(point_coords=((40.0, 30.0),), point_labels=(1,))
BOX = S.Prompt(box=(10.0, 10.0, 60.0, 40.0))


@pytest.fixture(scope="module")
def graphed() -> Workers:
    """The worker of a precision whose usual passes are captured."""
    return cache(lambda precision: PretendedWorker(precision=precision, cuda_graphs=True))


def clicks(multimask: bool, *prompts: S.Prompt) -> Case:
    """What is asked about a picture that nobody has named."""
    params = S.PredictMasksParams(return_logits=True, multimask_output=multimask)
    return asked(params, digest="", prompts=prompts)


QUESTIONS = {
    "clip picture": CASES["clip picture"],
    "clip several pictures": CASES["clip several pictures"],
    "sam2 embedding itself": asked(S.EmbedImageParams(ret_embedding=True), digest=""),
    "sam2 click": clicks(True, CLICK),
    "sam2 box": clicks(True, BOX),
    "sam2 one mask": clicks(False, CLICK),
    "sam2 a click and a box": clicks(True, CLICK, BOX),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_replayed_pass_answers_as_the_pass_itself(
    workers: Workers, graphed: Workers, name: str, precision: Precision
) -> None:
    worker, case = graphed(precision), QUESTIONS[name]
    before = worker.cuda.capturing.replays
    ours, theirs = worker.answers(case), workers(precision).answers(case)
    assert worker.cuda.capturing.replays > before
    assert not worker.cuda.operators[ATTENTION], "a pass was started kernel by kernel"
    for one, other in zip(ours, theirs, strict=True):
        assert difference(numbers(one), numbers(other)) <= EXACT
    assert set(worker.cuda.touched) == {DEVICE}


def test_texts_of_all_usual_lengths_are_replayed(workers: Workers, graphed: Workers) -> None:
    worker = graphed("fp32")
    for count, words in ((1, 3), (3, 3), (2, 20)):
        texts = tuple(f"{number} of {count} " + "red " * words for number in range(count))
        case = asked(S.EncodeTextParams(), texts=S.Texts(text=texts))
        (ours,), (theirs,) = worker.answers(case), workers("fp32").answers(case)
        assert worker.cuda.capturing.replays
        assert not worker.cuda.operators[ATTENTION]
        assert difference(numbers(ours), numbers(theirs)) <= EXACT


def test_what_is_not_usual_is_computed_as_ever(workers: Workers, graphed: Workers) -> None:
    worker = graphed("fp32")
    three = S.Prompt(point_coords=((40.0, 30.0),) * 4, point_labels=(1, 1, 0, 1))
    case = clicks(True, three)
    (ours,), (theirs,) = worker.answers(case), workers("fp32").answers(case)
    assert worker.cuda.operators[ATTENTION]
    assert difference(numbers(ours), numbers(theirs)) <= EXACT


def test_answers_of_one_graph_do_not_overwrite_each_other(workers: Workers, graphed: Workers) -> None:
    # All embeddings are on the device when the first is asked about again.
    items = tuple(PictureItem(each, digest=f"sha256:graph {number}") for number, each in enumerate(PICTURES))
    for item in items:
        graphed("fp32").answers(asked(S.EmbedImageParams(), image=item.image, digest=item.digest))
    for item in items:
        params = S.PredictMasksParams(return_logits=True)
        case = asked(params, image=item.image, digest=item.digest, prompts=(CLICK,))
        (ours,), (theirs,) = (each("fp32").answers(case) for each in (graphed, workers))
        assert difference(numbers(ours), numbers(theirs)) <= EXACT


def test_a_replayed_click_waits_no_more(graphed: Workers) -> None:
    worker = graphed("fp32")
    for _ in range(2):
        worker.answers(CASES["sam2 click"])
    assert traffic(worker) == TRAFFIC["sam2 click"]


def test_nothing_is_captured_unasked(worker: PretendedWorker) -> None:
    worker.answers(QUESTIONS["sam2 click"])
    assert not worker.cuda.capturing.replays


def test_a_cpu_captures_nothing() -> None:
    loaded = models.engines(cuda_graphs=True).load("demo-sam2")
    assert isinstance(loaded, Sam2Model)
    assert loaded.encode is None
    assert not loaded.prompt


@pytest.fixture
def cuda() -> PretendCuda:
    """Two devices."""
    return PretendCuda()


@pytest.fixture
def there(cuda: PretendCuda) -> Iterator[Tensor]:
    """Some numbers on a device that this thread may use."""
    with cuda.installed(), cuda.at_work(), torch.inference_mode():
        yield torch.ones(1, 3).to(DEVICE)


def _waiting(given: Tensor) -> Tensors:
    return (given * given.sum().item(),)


def _sending(given: Tensor) -> Tensors:
    return (given + torch.ones(1, 3).to(given.device),)


def _changing() -> Callable[[Tensor], Tensors]:
    seen: list[Tensor] = []

    def act(given: Tensor) -> Tensors:
        seen.append(given)
        return (given * len(seen),)

    return act


@pytest.mark.parametrize(
    ("act", "told"),
    [
        pytest.param(_waiting, "not permitted when stream is capturing", id="waits"),
        pytest.param(_sending, "not permitted when stream is capturing", id="brings something there"),
        pytest.param(_changing(), "answers wrongly", id="depends on something else"),
    ],
)
def test_a_pass_that_no_graph_can_hold_is_left_as_it_is(
    there: Tensor, act: Callable[[Tensor], Tensors], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = Graphed(act, "some pass")
    with caplog.at_level(logging.WARNING, graphs.log.name):
        made.capture([(there,)])
    assert told in caplog.text
    assert made.replayed(there) is None


def test_rows_of_an_earlier_question_are_in_no_answer(there: Tensor) -> None:
    made = Graphed(lambda given: (given * 2,), "some pass")
    made.capture([(torch.zeros(4, 3, device=DEVICE),), (torch.zeros(2, 3, device=DEVICE),)])
    assert made(there.expand(4, 3) * 5)[0].shape == (4, 3)
    (answer,) = made(there.expand(3, 3))
    assert answer.cpu().tolist() == [[2.0] * 3] * 3


def test_a_lack_of_memory_is_told_as_one(there: Tensor) -> None:
    def act(given: Tensor) -> Tensors:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Graphed(act, "some pass").capture([(there,)])


def test_a_model_that_has_no_room_for_graphs_is_loaded_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def capture(graphed: Graphed, examples: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Graphed, "capture", capture)
    with caplog.at_level(logging.WARNING, registry.log.name):
        worker = PretendedWorker(cuda_graphs=True)
    assert "demo-sam2 does not fit with its graphs of CUDA, and is loaded without" in caplog.text
    assert worker.answers(QUESTIONS["sam2 click"])
    assert not worker.cuda.capturing.replays


def test_a_capture_waits_for_its_own_device_alone(cuda: PretendCuda, there: Tensor) -> None:
    Graphed(lambda given: (given * 2,), "some pass").capture([(there,)])
    assert any(what == "synchronize" for what, _ in cuda.waits)
    assert set(cuda.touched) == {DEVICE}


def test_all_captures_are_made_on_one_stream(there: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    plain = torch.cuda.Stream

    def stream(device: torch.device) -> object:
        made.append(plain(device))  # type: ignore[no-untyped-call]  # torch is typed in part
        return made[-1]

    monkeypatch.setattr(torch.cuda, "Stream", stream)
    for _ in range(2):
        Graphed(lambda given: (given * 2,), "some pass").capture([(there,), (there.expand(2, 3),)])
    assert len(made) == 1


def test_a_models_memory_is_that_of_its_graphs_too(workers: Workers, graphed: Workers) -> None:
    for name in ("clip", "sam2"):
        plain, more = workers("fp32").loaded[name], graphed("fp32").loaded[name]
        # At least what goes in.
        assert more.nbytes > plain.nbytes + 4 * 3 * 64 * 64
    assert isinstance(more, Sam2Model)
    assert more.graph_bytes == more.nbytes - plain.nbytes


def test_a_worker_computes_in_its_turn(
    worker: PretendedWorker, graphed: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    @contextmanager
    def computing() -> Iterator[None]:
        taken.append("a turn")
        yield

    monkeypatch.setattr(TURNS, "computing", computing)
    worker.answers(CASES["clip picture"])
    assert not taken, "without graphs there is nothing to wait for"
    graphed("fp32").answers(CASES["clip picture"])
    assert taken == ["a turn"]


def test_a_model_may_go_while_another_computes_and_its_memory_waits_for_no_turn(graphed: Workers) -> None:
    worker = graphed("fp32")

    def given_back() -> int:
        with worker.at_work():
            return worker.engines.give_back()

    with ThreadPoolExecutor(1) as loading, TURNS.computing():
        worker.cuda.reserved[DEVICE] = worker.cuda.live[DEVICE] + 100
        assert loading.submit(given_back).result(30) == 100


def test_memory_is_given_back_after_a_capture_of_another_and_not_during_it(graphed: Workers) -> None:
    worker = graphed("fp32")
    with ThreadPoolExecutor(1) as dropping, worker.at_work():
        held = worker.cuda.live[DEVICE]
        worker.cuda.reserved[DEVICE] = held + 100
        with TURNS.capturing():
            given_back = dropping.submit(worker.engines.give_back)
            # Can only come too late to be seen.
            assert not wait([given_back], 0.02).done
            assert worker.cuda.reserved[DEVICE] == held + 100
        assert given_back.result(30) == 100
        assert worker.cuda.reserved[DEVICE] == held


def test_nobody_computes_during_a_capture(there: Tensor) -> None:
    computed = threading.Event()

    def compute() -> None:
        with TURNS.computing():
            computed.set()

    threads: list[threading.Thread] = []

    def act(given: Tensor) -> Tensors:
        if not threads:
            threads.append(threading.Thread(target=compute))
            threads[0].start()
        # Can only come too late to be seen.
        assert not computed.wait(0.02)
        return (given * 2,)

    made = Graphed(act, "some pass")
    made.capture([(there,)])
    assert computed.wait(10)
    threads[0].join()
    assert made.replayed(there) is not None


def test_a_graph_counts_what_goes_in_and_what_its_pass_makes(there: Tensor) -> None:
    made = Graphed(lambda given: (given * 2,), "some pass")
    made.capture([(there,)])
    assert made.nbytes >= 2 * there.nbytes
