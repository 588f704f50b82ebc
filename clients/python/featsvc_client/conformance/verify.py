"""`featsvc verify HOST:PORT`: whether a server answers the cases as it should."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from featsvc_client import FeatsvcClient, channel
from featsvc_client.conformance.asking import Asker
from featsvc_client.conformance.cases import Case, golden, shipped
from featsvc_client.conformance.judging import differences, least_exact
from featsvc_client.errors import FeatsvcError
from featsvc_client.tls import Tls


def verify(
    target: str,
    api_key: str | None,
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    verbose: bool = False,
) -> int:
    """Asks all that the server has the models for, prints what is wrong, and gives the exit status."""
    try:
        tls = Tls.of(tls_ca, tls_cert, tls_key)
        with FeatsvcClient(target, api_key=api_key, credentials=tls) as client:
            models = {each.key for each in client.models(available_only=True, timeout=30)}
            precision = least_exact(each.precision for each in client.status(timeout=30).workers)
    except (FeatsvcError, OSError, ValueError) as error:
        print(f"featsvc: {target}: {error}", file=sys.stderr)
        return 2
    with channel.opened(target, tls) as connected:
        asked = (case for case in shipped() if case.needs in ("", *models))
        return _reported(Asker(connected, api_key), asked, precision, verbose)


def _reported(asker: Asker, cases: Iterable[Case], precision: str, verbose: bool) -> int:
    """Asks the cases and prints how it went: 1 if an answer was wrong."""
    known = golden()
    right = wrong = 0
    for model, some in _by_model(cases).items():
        # Some take a minute to answer all of theirs.
        print(f"{model or 'any model'}: {sum(len(case.lines) for case in some)} questions", flush=True)
        for line in (line for case in some for line in asker.lines(case)):
            name = str(line["name"])
            found = differences(line, known[name], precision)
            right, wrong = right + (not found), wrong + bool(found)
            if found:
                print(f"wrong  {name}: {'; '.join(found)}", flush=True)
            elif verbose:
                print(f"right  {name}", flush=True)
    left = len(known) - right - wrong
    rest = f", {left} not asked for want of their models" if left else ""
    print(f"{right} answers right, {wrong} wrong{rest}, by a server that computes in {precision}")
    return int(wrong > 0)


def _by_model(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """The cases by the model that they need, in their order."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(case.needs, []).append(case)
    return found
