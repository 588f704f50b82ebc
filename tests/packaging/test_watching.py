"""Alerts, dashboard and lists are those of the table of metrics, and Prometheus can read and prove them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.watching.__main__ import ROOT, files
from deploy.watching.alerts import ALERTS
from deploy.watching.dashboard import PANELS, dashboard
from featsvc.server.metrics import table

OURS = re.compile(r"\b(?:featsvc|rpc_server)_\w+")
SAMPLES = re.compile(r"_(?:bucket|sum|count)$")
EXPRESSIONS = [each.expression for each in ALERTS] + [line for panel in PANELS for line, _ in panel.lines]
ALERTS_FILE = ROOT / "deploy" / "prometheus" / "alerts.yaml"
CALL = table.CALL_DURATION.name + "_count"
DAY_S = 24 * 3600
LABELS = 'instance="a", job="featsvc", rpc_response_status_code='
# What is put in for a minute each, and which alerts are there after an hour and a half.
CASES: dict[str, tuple[dict[str, str], set[str]]] = {
    "all is well": (
        {
            f'{CALL}{{{LABELS}"OK"}}': "0+60x100",
            'up{job="featsvc"}': "1x100",
            "featsvc_ready": "1x100",
            "featsvc_certificate_left_seconds": f"{15 * DAY_S}x100",
            'featsvc_event_loop_lag_seconds_bucket{le="0.1"}': "0+600x100",
            'featsvc_event_loop_lag_seconds_bucket{le="+Inf"}': "0+600x100",
            'featsvc_device_free_bytes{device="cuda:0"}': "4x100",
            'featsvc_device_memory_bytes{device="cuda:0"}': "100x100",
            'process_open_fds{job="featsvc"}': "800x100",
            'process_max_fds{job="featsvc"}': "1024x100",
        },
        set(),
    ),
    "the server is gone": ({'up{job="featsvc"}': "0x100"}, {"FeatsvcDown"}),
    "one call of fifty is a defect": (
        {f'{CALL}{{{LABELS}"OK"}}': "0+49x100", f'{CALL}{{{LABELS}"INTERNAL"}}': "0+1x100"},
        {"FeatsvcErrors"},
    ),
    "one call of ten is refused": (
        {f'{CALL}{{{LABELS}"OK"}}': "0+9x100", f'{CALL}{{{LABELS}"RESOURCE_EXHAUSTED"}}': "0+1x100"},
        {"FeatsvcRefusals"},
    ),
    "one call of fifty has no answer in time": (
        {f'{CALL}{{{LABELS}"OK"}}': "0+49x100", f'{CALL}{{{LABELS}"DEADLINE_EXCEEDED"}}': "0+1x100"},
        {"FeatsvcLate"},
    ),
    "the certificate expires in less than two weeks": (
        {"featsvc_certificate_left_seconds": f"{13 * DAY_S}x100"},
        {"FeatsvcCertificateExpires"},
    ),
    "one timer of fifty is late": (
        {
            'featsvc_event_loop_lag_seconds_bucket{le="0.1"}': "0+588x100",
            'featsvc_event_loop_lag_seconds_bucket{le="0.5"}': "0+600x100",
            'featsvc_event_loop_lag_seconds_bucket{le="+Inf"}': "0+600x100",
        },
        {"FeatsvcLoopLag"},
    ),
    "a GPU has 2 % of its memory left": (
        {
            'featsvc_device_free_bytes{device="cuda:0"}': "2x100",
            'featsvc_device_memory_bytes{device="cuda:0"}': "100x100",
        },
        {"FeatsvcDeviceFull"},
    ),
    "nine of ten files are open": (
        {'process_open_fds{job="featsvc"}': "922x100", 'process_max_fds{job="featsvc"}': "1024x100"},
        {"FeatsvcDescriptors"},
    ),
    "mistakes of callers are no error of the server": (
        {f'{CALL}{{{LABELS}"OK"}}': "0+9x100", f'{CALL}{{{LABELS}"INVALID_ARGUMENT"}}': "0+9x100"},
        set(),
    ),
    "a worker dies every other minute": (
        {'featsvc_worker_restarts_total{worker="0"}': "0+0.5x100"},
        {"FeatsvcWorkerRestarts"},
    ),
    "the queue is full and old": (
        {
            "featsvc_queue_length": "250x100",
            "featsvc_queue_length_limit": "256x100",
            "featsvc_queue_age_seconds": "31x100",
        },
        {"FeatsvcQueueFull", "FeatsvcQueueOld"},
    ),
    "a model is missing and no worker lives": (
        {
            'featsvc_model_failed{worker="0", model="m"}': "1x100",
            'featsvc_worker_up{worker="0", device="cpu"}': "0x100",
            "featsvc_ready": "0x100",
        },
        {"FeatsvcModelFailed", "FeatsvcWorkerDown", "FeatsvcNotReady"},
    ),
}


def promtool(*words: str | Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool on this machine: apt-get install prometheus")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_written_is_what_the_table_says() -> None:
    assert [path for path, text in files().items() if path.read_text() != text] == []


def test_alerts_and_panels_name_metrics_of_the_table_and_their_labels() -> None:
    names = {each.name for each in table.TABLE}
    named = {name for expression in EXPRESSIONS for name in OURS.findall(expression)}
    assert {SAMPLES.sub("", name) for name in named} - names == set()
    labels = {label for each in table.TABLE for label in each.labels} | {"le", "instance"}
    grouped = re.findall(r"sum by \(([^)]*)\)", "\n".join(EXPRESSIONS))
    assert {label.strip() for group in grouped for label in group.split(",")} <= labels


def test_every_metric_but_a_few_is_watched() -> None:
    watched = {SAMPLES.sub("", name) for expression in EXPRESSIONS for name in OURS.findall(expression)}
    unwatched = {each.name for each in table.TABLE} - watched
    # Counts by caller, what stands beside a limit or in another form, and what names the server and its workers.
    assert unwatched <= {
        *("featsvc_calls_total", "featsvc_open_calls", "featsvc_working_questions", "featsvc_build_info"),
        *("featsvc_queue_bytes", "featsvc_queue_bytes_limit", "featsvc_cache_entries"),
        *("featsvc_cache_limit_bytes", "featsvc_worker_batches_total", "featsvc_worker_items_total"),
        "featsvc_worker_info",
    }


def test_the_dashboard_has_each_panel_once_and_none_above_another() -> None:
    panels = json.loads(json.dumps(dashboard()))["panels"]
    assert len({panel["title"] for panel in panels}) == len({panel["id"] for panel in panels}) == len(PANELS)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(PANELS)


def test_prometheus_reads_the_alerts_and_its_configuration() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", ALERTS_FILE)
    promtool("check", "config", ROOT / "deploy" / "prometheus" / "prometheus.yaml")


def test_prometheus_reads_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    lines = [line for panel in PANELS for line, _ in panel.lines]
    rules = [
        {"record": f"panel:{number}", "expr": line.replace("$__rate_interval", "5m")}
        for number, line in enumerate(lines)
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)


def test_every_alert_has_a_case_in_which_it_sounds() -> None:
    assert set[str]().union(*(alerts for _, alerts in CASES.values())) == {each.name for each in ALERTS}


def test_the_alerts_sound_when_they_should_and_only_then(tmp_path: Path) -> None:
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in given.items()],
            "promql_expr_test": [
                {
                    "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "90m",
                    "exp_samples": [
                        {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)
                    ],
                }
            ],
        }
        for name, (given, alerts) in CASES.items()
    ]
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS_FILE)], "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", path)
