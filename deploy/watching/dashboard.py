"""The dashboard: panels of Grafana, two beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from featsvc.server.metrics import table
from featsvc.server.metrics.table import Metric

HERE = 'instance=~"$instance"'
WIDTH, HEIGHT, COLUMNS = 12, 8, 2
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """A graph: its title, its unit as Grafana names it, and expressions with their legends."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    help: str = ""
    is_stacked: bool = False


def _rate(metric: Metric, *by: str, suffix: str = "", where: str = "") -> str:
    inside = ",".join(filter(None, (HERE, where)))
    return f"sum by ({', '.join(by)}) (rate({metric.name}{suffix}{{{inside}}}[$__rate_interval]))"


def _quantile(quantile: float, metric: Metric, *by: str) -> str:
    return f"histogram_quantile({quantile}, {_rate(metric, *by, 'le', suffix='_bucket')})"


def _quantiles(metric: Metric, *by: str) -> tuple[tuple[str, str], ...]:
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    return tuple((_quantile(each, metric, *by), f"p{100 * each:g} {legend}") for each in (0.5, 0.99))


def _mean(metric: Metric, *by: str) -> str:
    return f"{_rate(metric, *by, suffix='_sum')} / {_rate(metric, *by, suffix='_count')}"


def _now(metric: Metric, *by: str) -> str:
    return f"sum by ({', '.join(by)}) ({metric.name}{{{HERE}}})"


def _hit_ratio() -> str:
    hits, misses = _rate(table.CACHE_HITS, "cache"), _rate(table.CACHE_MISSES, "cache")
    return f"{hits} / ({hits} + {misses})"


METHOD, ASKED = "{{rpc_method}}", "{{rpc_method}} {{model}}"
PANELS = (
    Panel("Calls", "reqps", ((_rate(table.CALL_DURATION, table.METHOD, suffix="_count"), METHOD),)),
    Panel(
        "Calls that fail, by reason",
        "reqps",
        (
            (
                _rate(table.CALL_DURATION, "error_type", suffix="_count", where=f'{table.STATUS}!="OK"'),
                "{{error_type}}",
            ),
        ),
        is_stacked=True,
    ),
    Panel(
        "HTTP requests that REST ports refuse",
        "reqps",
        (
            (
                _rate(table.REST_REFUSALS, "port", table.HTTP_STATUS),
                f"{{{{port}}}} {{{{{table.HTTP_STATUS}}}}}",
            ),
        ),
        "Before any question to a model; what the gateway refuses is among the calls.",
    ),
    Panel("Time of a call", "s", _quantiles(table.CALL_DURATION, table.METHOD)),
    Panel(
        "Questions by caller",
        "reqps",
        ((_rate(table.QUESTIONS, "caller"), "{{caller}}"),),
        "Callers beyond --metrics-callers are other.",
        is_stacked=True,
    ),
    Panel("Time in the queue", "s", _quantiles(table.QUEUE_TIME, *table.QUESTION)),
    Panel(
        "Questions that wait",
        "short",
        (
            (_now(table.WAITING, "model", "caller"), "{{model}} {{caller}}"),
            (_now(table.UNREAD, "instance"), "unread {{instance}}"),
            (_now(table.QUEUE_LIMIT, "instance"), "limit {{instance}}"),
        ),
    ),
    Panel("Age of the queue", "s", ((_now(table.QUEUE_AGE, "instance"), "{{instance}}"),)),
    Panel("Time of a pass", "s", _quantiles(table.COMPUTE_TIME, *table.QUESTION)),
    Panel("Time to decode", "s", _quantiles(table.DECODE_TIME, *table.QUESTION)),
    Panel("Wait at the worker", "s", _quantiles(table.WORKER_WAIT, *table.QUESTION)),
    Panel("Questions in a pass", "short", ((_mean(table.BATCH_SIZE, *table.QUESTION), ASKED),)),
    Panel("Fill of a batch", "percentunit", ((_mean(table.BATCH_FILL, *table.QUESTION), ASKED),)),
    Panel(
        "How busy each worker is",
        "percentunit",
        ((_rate(table.WORKER_COMPUTE, "instance", "worker"), "{{instance}} worker {{worker}}"),),
    ),
    Panel(
        "Device time by caller",
        "s",
        ((_rate(table.CALLER_COMPUTE, "caller"), "{{caller}}"),),
        "Seconds of a device in each second.",
        is_stacked=True,
    ),
    Panel("Cache hits", "percentunit", ((_hit_ratio(), "{{cache}}"),)),
    Panel(
        "Cache bytes and evictions",
        "bytes",
        (
            (_now(table.CACHE_BYTES, "cache"), "{{cache}}"),
            (_rate(table.CACHE_EVICTIONS, "cache"), "evictions a second: {{cache}}"),
        ),
    ),
    Panel("Models in memory", "bytes", ((_now(table.MODEL_BYTES, "model"), "{{model}}"),), is_stacked=True),
    Panel(
        "Use of GPUs",
        "percentunit",
        ((_now(table.DEVICE_USE, "instance", "device", "uuid"), "{{instance}} {{device}} {{uuid}}"),),
    ),
    Panel(
        "Memory of GPUs",
        "bytes",
        (
            (
                f"{_now(table.DEVICE_BYTES, 'device', 'uuid')} - {_now(table.DEVICE_FREE, 'device', 'uuid')}",
                "used {{device}} {{uuid}}",
            ),
            (_now(table.DEVICE_BYTES, "device", "uuid"), "{{device}} {{uuid}}"),
        ),
    ),
    Panel(
        "Workers",
        "short",
        (
            (_now(table.WORKER_UP, "instance"), "alive {{instance}}"),
            (
                f"sum by (instance) (increase({table.WORKER_RESTARTS.name}{{{HERE}}}[5m]))",
                "restarts in 5 minutes {{instance}}",
            ),
        ),
    ),
    Panel(
        "Event loop lag",
        "s",
        _quantiles(table.LOOP_LAG, "instance"),
        "Every call of the gateway waits so long at each of its steps.",
    ),
    Panel(
        "Bytes",
        "Bps",
        (
            (_rate(table.REQUEST_BYTES, "instance"), "in {{instance}}"),
            (_rate(table.RESPONSE_BYTES, "instance"), "out {{instance}}"),
        ),
    ),
    Panel(
        "Memory of the gateway",
        "bytes",
        ((f'process_resident_memory_bytes{{job="featsvc",{HERE}}}', "{{instance}}"),),
    ),
)


def dashboard() -> dict[str, Any]:  # Any: as Grafana's JSON has it
    """The dashboard, to be imported."""
    return {
        "uid": "featsvc",
        "title": "featsvc",
        "description": "Written by python -m deploy.watching.",
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
                {
                    "name": "instance",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": f"label_values({table.BUILD.name}, instance)",
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                },
            ]
        },
        "panels": [_drawn(number, panel) for number, panel in enumerate(PANELS)],
    }


def _drawn(number: int, panel: Panel) -> dict[str, Any]:  # Any: as above
    row, column = divmod(number, COLUMNS)
    stacking = {"mode": "normal" if panel.is_stacked else "none"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {"stacking": stacking, "fillOpacity": 30 if panel.is_stacked else 0},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend,
            }
            for index, (expression, legend) in enumerate(panel.lines)
        ],
    }
