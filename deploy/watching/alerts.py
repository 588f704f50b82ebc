"""The alerts: what somebody should look at, and what to do then."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.certificates import SOON_S
from featsvc.server.metrics import table

CALLS = f"{table.CALL_DURATION.name}_count"
CODE = table.STATUS
SERVER_ERRORS = "INTERNAL|UNAVAILABLE|UNKNOWN|DATA_LOSS|UNIMPLEMENTED"


@dataclass(frozen=True)
class Alert:
    """One alert. `after` is how long its expression must hold."""

    name: str
    expression: str
    after: str
    severity: str
    summary: str
    remedy: str


def _share(codes: str) -> str:
    """Of the calls of the last five minutes, the part that ended with these codes."""
    chosen = f'sum by (instance) (rate({CALLS}{{{CODE}=~"{codes}"}}[5m]))'
    return f"{chosen} / sum by (instance) (rate({CALLS}[5m]))"


ALERTS = (
    Alert(
        "FeatsvcDown",
        'up{job="featsvc"} == 0',
        "1m",
        "critical",
        "the metrics port does not answer",
        "See whether the process lives, and what its log ends with; whatever started it should start it again.",
    ),
    Alert(
        "FeatsvcNotReady",
        f"{table.READY.name} == 0",
        "2m",
        "critical",
        "the server takes no work",
        "/readyz on the metrics port says in words what it lacks: mostly that no worker lives.",
    ),
    Alert(
        "FeatsvcWorkerDown",
        f"{table.WORKER_UP.name} == 0",
        "5m",
        "warning",
        "worker {{ $labels.worker }} on {{ $labels.device }} takes no work",
        "The log says why it ended or cannot start; others do its work meanwhile, if there are any.",
    ),
    Alert(
        "FeatsvcWorkerRestarts",
        f"increase({table.WORKER_RESTARTS.name}[15m]) > 3",
        "0m",
        "warning",
        "worker {{ $labels.worker }} dies again and again",
        "Look in the log for `worker died` and what was at work; memory that runs out is the usual cause.",
    ),
    Alert(
        "FeatsvcModelFailed",
        f"{table.MODEL_FAILED.name} == 1",
        "5m",
        "warning",
        "{{ $labels.model }} should be loaded and cannot",
        "/readyz says the reason; `featsvc models check KEY` which file is missing.",
    ),
    Alert(
        "FeatsvcCertificateExpires",
        f"{table.CERTIFICATE_LEFT.name} < {round(SOON_S)}",
        "1h",
        "warning",
        "the certificate expires within 14 days",
        "Replace the files of --tls-cert and --tls-key; the server takes them without a restart.",
    ),
    Alert(
        "FeatsvcErrors",
        f"{_share(SERVER_ERRORS)} > 0.01",
        "5m",
        "critical",
        "more than 1 % of calls fail by the server's doing",
        "The log has each with its request id; by `error_type` one sees whether it is one defect or many.",
    ),
    Alert(
        "FeatsvcRefusals",
        f"{_share('RESOURCE_EXHAUSTED')} > 0.05",
        "10m",
        "warning",
        "more than 5 % of calls are refused for lack of room",
        "See which caller asks most, and whether the queue or the calls are at their limits; add workers, or limit it.",
    ),
    Alert(
        "FeatsvcLate",
        f"{_share('DEADLINE_EXCEEDED')} > 0.01",
        "10m",
        "warning",
        "more than 1 % of calls have no answer in time",
        "Compare queue time and compute time: more workers shorten the one, smaller pictures or models the other.",
    ),
    Alert(
        "FeatsvcQueueFull",
        f"{table.QUEUE_LENGTH.name} / {table.QUEUE_LIMIT.name} > 0.8",
        "5m",
        "warning",
        "the queue is nearly full",
        "Further questions will be refused. See what waits by model and caller.",
    ),
    Alert(
        "FeatsvcQueueOld",
        f"{table.QUEUE_AGE.name} > 30",
        "5m",
        "warning",
        "a question has waited for {{ $value | humanizeDuration }}",
        "The workers have more than they can do, or the one that has the model is held up.",
    ),
    Alert(
        "FeatsvcLoopLag",
        f"histogram_quantile(0.99, sum by (instance, le) (rate({table.LOOP_LAG.name}_bucket[5m]))) > 0.1",
        "10m",
        "warning",
        "the gateway's event loop is held up",
        "The machine has too few processors for what runs on it, or swaps; every call waits for that.",
    ),
    Alert(
        "FeatsvcDeviceFull",
        f"{table.DEVICE_FREE.name} / {table.DEVICE_BYTES.name} < 0.03",
        "15m",
        "warning",
        "GPU {{ $labels.device }} has no memory left",
        "Lower --model-memory or --embedding-cache, or see what else uses the card.",
    ),
    Alert(
        "FeatsvcDescriptors",
        'process_open_fds{job="featsvc"} / process_max_fds > 0.8',
        "5m",
        "warning",
        "the gateway has few open files left",
        "Raise the limit of open files, or lower --max-connections.",
    ),
)
