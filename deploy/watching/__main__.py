"""Writes what watches a server, or with `--check` only says what is not as it would be written."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import yaml

from deploy.watching.alerts import ALERTS
from deploy.watching.dashboard import dashboard
from featsvc.server.metrics.table import TABLE

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
WRITTEN = "<!-- {}: written by python -m deploy.watching -->"
END = "<!-- end -->"
HEAD = "# Written by python -m deploy.watching; `promtool check rules` reads it.\n"


def files() -> dict[Path, str]:
    """What is to stand in which file."""
    return {
        ROOT / "deploy" / "prometheus" / "alerts.yaml": HEAD + _rules(),
        ROOT / "deploy" / "grafana" / "featsvc.json": json.dumps(dashboard(), indent=1) + "\n",
        PAGE: _page(PAGE.read_text()),
    }


def _rules() -> str:
    rules = [
        {
            "alert": each.name,
            "expr": each.expression,
            "for": each.after,
            "labels": {"severity": each.severity},
            "annotations": {"summary": each.summary, "description": each.remedy},
        }
        for each in ALERTS
    ]
    groups = {"groups": [{"name": "featsvc", "rules": rules}]}
    return str(yaml.safe_dump(groups, sort_keys=False, width=1000, allow_unicode=True))


def _page(text: str) -> str:
    metrics = [
        f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.help} |"
        for each in TABLE
    ]
    alerts = [
        f"| `{each.name}` | {_plain(each.summary)} | {each.severity} | {_cell(each.remedy)} |"
        for each in ALERTS
    ]
    text = _filled(
        text, "metrics", ["| metric | kind | labels | what it is |", "|---|---|---|---|", *metrics]
    )
    return _filled(text, "alerts", ["| alert | when | severity | then |", "|---|---|---|---|", *alerts])


def _plain(summary: str) -> str:
    """Without what Prometheus puts in."""
    return re.sub(r"\{\{ \$(?:labels\.)?(\w+)[^}]*\}\}", r"`\1`", summary)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _filled(text: str, name: str, lines: list[str]) -> str:
    """The text with these lines in the place of that name. Raises ValueError where it has no such place."""
    mark = WRITTEN.format(name)
    before, _, rest = text.partition(mark)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{PAGE.name} has no {mark}")
    return "\n".join([f"{before}{mark}", *lines, f"{END}{after}"])


def main(is_check: bool) -> int:
    """0 where all is as it should be."""
    stale = {path: text for path, text in files().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        if not is_check:
            path.write_text(text)
        print(path.relative_to(ROOT))
    return int(is_check and bool(stale))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
