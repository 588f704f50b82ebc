"""What the results of one folder have in common, and how a run over them ends."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from featsvc.v1 import schema
from featsvc_client.bulk.arguments import Files
from featsvc_client.bulk.commands import COCO, Question
from featsvc_client.bulk.extra import Refused
from featsvc_client.bulk.manifest import Manifest
from featsvc_client.bulk.progress import Progress

FAILED = 1
LONGEST_VALUE = 120
"""Letters of a value that are shown."""
TENSOR = schema.Tensor.model_fields.keys()


def described(question: Question, files: Files, preview: bool = False) -> str:
    """All that results of one folder must have in common. Raises Refused where they cannot be written so."""
    if question.is_scaled and files.form == "npy":
        raise Refused("int8 needs the factors of its channels, for which .npy has no place: --format npz")
    per_file = files.per_file if files.form != COCO else 1
    told = {"format": files.form, "per_file": per_file, "preview": preview}
    description = question.description()
    return json.dumps({"command": question.command.name, "files": told, **description}, sort_keys=True)


def check_job(manifest: Manifest, job: str, out: Path, is_again: bool) -> None:
    """Raises Refused where the folder has results of something else."""
    last = manifest.last_job().description
    if last in ("", job) or is_again or not manifest.has_any():
        return
    old, new = _flat(json.loads(last)), _flat(json.loads(job))
    changed = [
        f"{name}: {_shown(old.get(name))} there, {_shown(new.get(name))} now"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    raise Refused(
        f"{out} has results of other parameters ({'; '.join(changed)}): "
        "use another folder, or --again to do all anew"
    )


def check_models(manifest: Manifest, models: tuple[str, ...]) -> None:
    """Raises Refused where the results in the folder are of other models; some servers name only the first."""
    known = manifest.note_models(models)
    if known[: len(models)] != models:
        # Else --again would go on with a job that cannot come to its end.
        manifest.finish_job()
        raise Refused(
            f"the server answers with {', '.join(models)}, but the results here are of {', '.join(known)}: "
            "use another folder, or --again to do all anew"
        )


def ended(progress: Progress, manifest: Manifest) -> int:
    """Tells how it went; the exit status."""
    progress.say(progress.line())
    if not progress.tally.failed:
        return 0
    progress.say(f"{progress.tally.failed} failed; --retry-failed tries them again. The first of them:")
    for key, error in manifest.errors():
        progress.say(f"  {key}: {error}")
    return FAILED


def _flat(job: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
    return {
        name: value
        for part, content in job.items()
        for name, value in (content.items() if isinstance(content, dict) else [(part, content)])
    }


def _shown(value: Any) -> str:  # Any: JSON
    """The value for people: of what is long as much as there is room for, and a digest that tells two apart."""
    if value is None:
        return "none"
    written = json.dumps(value)
    digest = hashlib.sha256(written.encode()).hexdigest()[:8]
    if isinstance(value, dict) and value.keys() == TENSOR:
        return f"{value['dtype']} {value['shape']} (sha256 {digest})"
    return written if len(written) <= LONGEST_VALUE else f"{written[:LONGEST_VALUE]}… (sha256 {digest})"
