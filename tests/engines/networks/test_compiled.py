"""Compiled blocks: the same answers, one graph for all sizes, all of it before the model counts as loaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from featsvc.engines import registry
from featsvc.engines.networks.compiled import GRAPHS
from featsvc.engines.registry import Engines
from featsvc.errors import Abandoned, CannotCompile
from featsvc.settings.kinds import Precision
from featsvc.v1 import schema
from featsvc.v1.schema import Texts
from featsvc.work.item import TextItem
from featsvc.work.operations import ENCODE_IMAGE, ENCODE_TEXT, EXTRACT_CLIP, EXTRACT_DINO
from featsvc.work.options import EngineOptions
from tests.engines import models

TEXTS = TextItem(Texts(text=("a red circle", "a blue star and a very small green ring")))
QUESTIONS = (
    (EXTRACT_CLIP.rpc, "demo-clip", models.picture_item(100, 64), schema.ClipExtractFeaturesParams),
    (ENCODE_TEXT.rpc, "demo-clip", TEXTS, schema.EncodeTextParams),
    (ENCODE_IMAGE.rpc, "demo-clip", models.picture_item(100, 64), schema.EncodeImageParams),
    (EXTRACT_DINO.rpc, "demo-dino", models.picture_item(90, 70), schema.DinoExtractFeaturesParams),
)


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """What is compiled in one test is forgotten in the next."""
    yield
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.1)])
def test_compiled_networks_answer_the_same_and_compile_nothing_for_a_request(
    precision: Precision, tolerance: float
) -> None:
    plain, compiling = (models.engines(precision=precision, compile=each) for each in (False, True))
    for operation, model, item, params in QUESTIONS:
        loaded = compiling.load(model)
        with torch.compiler.set_stance("fail_on_recompile"):
            got = models.vectors(models.answer(compiling, operation, item, params(), loaded))
            if operation.endswith("features"):
                for size in (64, 97, 210):
                    asked = params(load_size=size)
                    models.answer(compiling, operation, models.picture_item(90, 70), asked, loaded)
        wanted = models.vectors(models.answer(plain, operation, item, params(), plain.load(model)))
        np.testing.assert_allclose(got, wanted, atol=tolerance * max(1.0, np.abs(wanted).max()))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_compiled_pass_that_nobody_waits_for_ends() -> None:
    engines = models.engines(compile=True)
    loaded = engines.load("demo-dino")
    params = schema.DinoExtractFeaturesParams()
    prepared = engines.prepare(EXTRACT_DINO.rpc, models.picture_item(90, 70), params, loaded)
    asked = [True, True, False]
    with pytest.raises(Abandoned):
        engines.run(EXTRACT_DINO.rpc, [prepared], params, loaded, lambda: asked.pop(0))
    assert not asked
    engines.run(EXTRACT_DINO.rpc, [prepared], params, loaded)


def test_a_machine_without_a_compiler_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    engines: Engines = models.engines(compile=True)
    with pytest.raises(
        CannotCompile, match=r"demo-dino cannot be compiled here: .*or start without --compile"
    ):
        engines.load("demo-dino")


def test_the_thread_that_computes_may_have_as_many_graphs_as_the_one_that_loads() -> None:
    limits: list[int] = []

    def build() -> None:
        torch._dynamo.config.recompile_limit = 8  # torch's own, as in a new process
        registry.build(EngineOptions(offline=True, compile=True))
        limits.append(torch._dynamo.config.recompile_limit)

    # A thread of its own, for torch keeps the limit for each.
    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
    assert limits == [GRAPHS]
