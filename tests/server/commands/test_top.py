"""`featsvc top`: one picture of a running server, and mistakes in its address."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator

import pytest
from rich.console import Console

from featsvc.server.commands.cli import main
from featsvc.server.metrics.reading import ReadPage, Span
from featsvc.server.metrics.table import COMPUTE_TIME
from featsvc.server.metrics.view import frame
from tests.server.asking import asking, refusal
from tests.server.conftest import AUTHORISED, Running, start

BROKEN = "ViT-B-16/openai"
PAGE = """
# TYPE featsvc_compute_time_seconds histogram
featsvc_compute_time_seconds_bucket{{model="m",rpc_method="r",le="0.01"}} {0}
featsvc_compute_time_seconds_bucket{{model="m",rpc_method="r",le="0.1"}} {1}
featsvc_compute_time_seconds_bucket{{model="m",rpc_method="r",le="+Inf"}} {1}
# TYPE featsvc_calls_total counter
featsvc_calls_total{{caller="a"}} {2}
"""

WORKERS = """
# TYPE featsvc_worker_up gauge
featsvc_worker_up{worker="0",device="cuda:0"} 1
featsvc_worker_up{worker="1",device="cuda:0"} 1
featsvc_worker_up{worker="2",device="cuda:0"} 0
# TYPE featsvc_device_memory_bytes gauge
featsvc_device_memory_bytes{device="cuda:0",uuid="one"} 4096
featsvc_device_memory_bytes{device="cuda:0",uuid="two"} 8192
# TYPE featsvc_device_free_bytes gauge
featsvc_device_free_bytes{device="cuda:0",uuid="one"} 1024
featsvc_device_free_bytes{device="cuda:0",uuid="two"} 1024
"""
PLACES = """
# TYPE featsvc_worker_info gauge
featsvc_worker_info{worker="0",machine="10.0.0.1",uuid="one"} 1
featsvc_worker_info{worker="1",machine="10.0.0.2",uuid="two"} 1
featsvc_worker_info{worker="2",machine="",uuid=""} 1
"""


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with start(metrics_port=0, preload=(BROKEN,)) as found:
        yield found


async def shown(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The status of the command, and what it wrote. It is a client of this very loop."""
    status = await asyncio.to_thread(main, ["top", *words])
    return status, *capsys.readouterr()


async def test_one_picture_has_workers_questions_callers_models_and_problems(
    running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for _ in range(2):
        await running.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)
    await refusal(running.clip.ExtractFeatures(asking(b"broken"), metadata=AUTHORISED))
    # Into a pipe it is one picture without --once too, and as wide as it needs.
    status, out, _ = await shown(capsys, f"127.0.0.1:{running.gateway.metrics_port}")
    assert status == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert "ready" in rows["featsvc"]
    assert "queue 0 of 256, 0 B, oldest 0 ms" in out
    assert f"worker 0: {BROKEN} should be loaded and cannot" in out
    assert rows["0"][:3] == ["0", "cpu", "up"]
    assert rows["ClipService/ExtractFeatures"][1] == "demo-clip"
    assert rows["ClipService/ExtractFeatures"][3:5] == ["0", "0"]
    assert rows["ClipService/ExtractFeatures"][-1] == "1.0"
    assert rows["key"][:2] == ["key", "0"]
    assert rows["demo-clip"] == ["demo-clip", "1", "1000", "B", "–"]
    assert rows[BROKEN] == [BROKEN, "0", "0", "B", "0"]
    assert rows["pictures"][1] == "gateway"


async def test_an_address_that_is_no_metrics_port_is_refused_in_words(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    for target, words in (
        (f"127.0.0.1:{running.gateway.port}", "does not answer as a metrics port"),
        ("127.0.0.1:1", "Connection refused"),
        ("nothing", "no HOST:PORT such as 127.0.0.1:9464"),
    ):
        status, _, errors = await shown(capsys, target, "--once")
        assert status == 2
        assert words in errors


def worker_rows(page: str) -> list[list[str]]:
    """The words of the table of workers, its head first."""
    now = ReadPage.of(page)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(frame("the server", Span(now, 1.0, now), ()))
    lines = (line.split() for line in console.export_text().splitlines())
    return [words for words in lines if words and words[0] in ("worker", "0", "1", "2")]


def test_workers_of_several_machines_have_them_in_a_column_and_each_its_own_gpu() -> None:
    head, first, second, third = worker_rows(WORKERS + PLACES)
    assert head[:3] == ["worker", "machine", "device"]
    assert [first[1], first[-5:]] == ["10.0.0.1", ["3.0", "KiB", "of", "4.0", "KiB"]]
    assert [second[1], second[-5:]] == ["10.0.0.2", ["7.0", "KiB", "of", "8.0", "KiB"]]
    assert [third[1], third[3], third[-1]] == ["–", "down", "–"]


def test_an_older_server_has_no_machines_and_one_gpu_of_each_name() -> None:
    page = WORKERS.replace('worker="1",device="cuda:0"', 'worker="1",device="cuda:1"')
    page = page.replace('device="cuda:0",uuid="two"', 'device="cuda:1",uuid="two"')
    head, first, second, third = worker_rows(page)
    assert head[:2] == ["worker", "device"]
    assert first[-5:] == third[-5:] == ["3.0", "KiB", "of", "4.0", "KiB"]
    assert second[-5:] == ["7.0", "KiB", "of", "8.0", "KiB"]


def test_rates_and_quantiles_are_of_what_came_between_two_looks() -> None:
    first, second = ReadPage.of(PAGE.format(0, 10, 100)), ReadPage.of(PAGE.format(98, 109, 130))
    span = Span(second, 2.0, first)
    assert span.rate("featsvc_calls_total", caller="a") == 15.0
    assert span.quantile(0.98, COMPUTE_TIME, model="m") == 0.01
    assert span.quantile(0.999, COMPUTE_TIME, model="m") == 0.1
    assert span.quantile(0.5, COMPUTE_TIME, model="other") is None
    # A server that was started anew counts from there.
    assert Span(first, 2.0, second).rate("featsvc_calls_total") == 0.0
