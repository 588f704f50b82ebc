"""The tables of `featsvc top`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from featsvc.server.metrics import table
from featsvc.server.metrics.reading import Span
from featsvc.settings.kinds import GIB, MIB

CALLS = f"{table.CALL_DURATION.name}_count"
NOTHING = "–"


def frame(target: str, span: Span, problems: Sequence[str]) -> Group:
    """Everything, as one picture."""
    tables = (_workers(span), _questions(span), _callers(span), _models(span), _caches(span))
    return Group(_head(target, span, problems), *(each for each in tables if each.row_count))


def _head(target: str, span: Span, problems: Sequence[str]) -> RenderableType:
    now = span.now
    ready = Text("ready", "green") if now.sum(table.READY.name) else Text("not ready", "bold red")
    version = next(iter(now.values(table.BUILD, "version")), "?")
    lag = span.quantile(0.99, table.LOOP_LAG)
    calls = span.rate(CALLS)
    well = span.rate(CALLS, **{table.STATUS: "OK"})
    lines = [
        Text.assemble((f"featsvc {version} at {target}: ", "bold"), ready),
        Text(
            f"calls {calls:.1f}/s, of these not OK {calls - well:.1f}/s; "
            f"queue {now.sum(table.QUEUE_LENGTH.name):.0f} of {now.sum(table.QUEUE_LIMIT.name):.0f}, "
            f"{_size(now.sum(table.QUEUE_BYTES.name))}, oldest {_time(now.sum(table.QUEUE_AGE.name))}; "
            f"loop lag p99 {_time(lag)}"
        ),
        *(Text(problem, "red") for problem in problems),
    ]
    return Group(*lines)


def _table(title: str, *columns: str) -> Table:
    """The first column names the row."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left", no_wrap=True)
    return made


def _workers(span: Span) -> Table:
    places = {labels["worker"]: labels for labels, _ in span.now.rows(table.WORKER_INFO.name)}
    machines = {worker: labels["machine"] for worker, labels in places.items() if labels["machine"]}
    figures = ("device", "state", "busy", "questions/s", "restarts", "GPU memory")
    made = _table("workers", "worker", *(("machine",) if machines else ()), *figures)
    for labels, is_up in span.now.rows(table.WORKER_UP.name):
        worker = labels["worker"]
        # A server that is older than this command does not tell which GPU it is, and has one of each name.
        own = "uuid" if worker in places else "device"
        gpu = {own: places.get(worker, labels)[own]}
        memory = span.now.sum(table.DEVICE_BYTES.name, **gpu)
        used = memory - span.now.sum(table.DEVICE_FREE.name, **gpu)
        made.add_row(
            worker,
            *((machines.get(worker, NOTHING),) if machines else ()),
            labels["device"],
            Text("up", "green") if is_up else Text("down", "bold red"),
            f"{100 * span.rate(table.WORKER_COMPUTE.name, worker=worker):.0f} %",
            f"{span.rate(table.WORKER_ITEMS.name, worker=worker):.1f}",
            f"{span.now.sum(table.WORKER_RESTARTS.name, worker=worker):.0f}",
            f"{_size(used)} of {_size(memory)}" if memory else NOTHING,
        )
    return made


def _questions(span: Span) -> Table:
    parts = ("queue p99", "decode p99", "compute p99")
    made = _table("questions", "asked", "model", "a second", "waiting", "at work", *parts, "batch")
    for method in span.now.values(table.QUESTIONS, table.METHOD):
        for model in span.now.values(table.QUESTIONS, "model"):
            chosen = {table.METHOD: method, "model": model}
            if not span.now.sum(table.QUESTIONS.name, **chosen):
                continue
            passes = span.rate(f"{table.BATCH_SIZE.name}_count", **chosen)
            size = span.rate(f"{table.BATCH_SIZE.name}_sum", **chosen) / passes if passes else None
            made.add_row(
                method.removeprefix("featsvc.v1."),
                model,
                f"{span.rate(table.QUESTIONS.name, **chosen):.1f}",
                f"{span.now.sum(table.WAITING.name, **chosen):.0f}",
                f"{span.now.sum(table.WORKING.name, **chosen):.0f}",
                *(
                    _time(span.quantile(0.99, part, **chosen))
                    for part in (table.QUEUE_TIME, table.DECODE_TIME, table.COMPUTE_TIME)
                ),
                NOTHING if size is None else f"{size:.1f}",
            )
    return made


def _callers(span: Span) -> Table:
    made = _table("callers", "caller", "calls/s", "not OK/s", "waiting", "at work", "device", "in", "out")
    for caller in span.now.values(table.CALLS, "caller"):
        calls = span.rate(table.CALLS.name, caller=caller)
        well = span.rate(table.CALLS.name, **{"caller": caller, table.STATUS: "OK"})
        made.add_row(
            caller,
            f"{calls:.1f}",
            f"{calls - well:.1f}",
            f"{span.now.sum(table.WAITING.name, caller=caller):.0f}",
            f"{span.now.sum(table.WORKING.name, caller=caller):.0f}",
            f"{100 * span.rate(table.CALLER_COMPUTE.name, caller=caller):.0f} %",
            *(
                f"{_size(span.rate(each.name, caller=caller))}/s"
                for each in (table.REQUEST_BYTES, table.RESPONSE_BYTES)
            ),
        )
    return made


def _models(span: Span) -> Table:
    made = _table("models", "model", "workers", "memory of each", "cannot be loaded by")
    names = {*span.now.values(table.MODEL_BYTES, "model"), *span.now.values(table.MODEL_FAILED, "model")}
    for model in sorted(names):
        sizes = [value for labels, value in span.now.rows(table.MODEL_BYTES.name) if labels["model"] == model]
        failed = [
            labels["worker"]
            for labels, _ in span.now.rows(table.MODEL_FAILED.name)
            if labels["model"] == model
        ]
        made.add_row(model, str(len(sizes)), _size(max(sizes, default=0)), ", ".join(failed) or NOTHING)
    return made


def _caches(span: Span) -> Table:
    made = _table("caches", "cache", "worker", "hits", "entries", "bytes", "limit", "evictions/s")
    for labels, limit in span.now.rows(table.CACHE_LIMIT.name):
        hits, misses = (span.now.sum(each.name, **labels) for each in (table.CACHE_HITS, table.CACHE_MISSES))
        made.add_row(
            labels["cache"],
            labels["worker"],
            f"{100 * hits / (hits + misses):.0f} %" if hits + misses else NOTHING,
            f"{span.now.sum(table.CACHE_ENTRIES.name, **labels):.0f}",
            _size(span.now.sum(table.CACHE_BYTES.name, **labels)),
            _size(limit) if limit else "off",
            f"{span.rate(table.CACHE_EVICTIONS.name, **labels):.1f}",
        )
    return made


def _size(nbytes: float) -> str:
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", 1024)):
        if nbytes >= factor:
            return f"{nbytes / factor:.1f} {unit}"
    return f"{nbytes:.0f} B"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return NOTHING
    return f"{1000 * seconds:g} ms" if seconds < 1 else f"{seconds:.1f} s"
