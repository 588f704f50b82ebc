"""`featsvc verify HOST:PORT`: whether a server answers the cases as it should."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from featsvc_client import FeatsvcClient, channel
from featsvc_client.conformance.asking import Asker
from featsvc_client.conformance.cases import Case, golden, shipped
from featsvc_client.conformance.judging import differences, least_exact
from featsvc_client.errors import CallError, FeatsvcError
from featsvc_client.session import UNIMPLEMENTED
from featsvc_client.tls import Tls

# What the cases ask: models, and to load and free some.
ROLES = ("infer", "admin")


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
            if lacking := _lacking(client):
                print(f"featsvc: {target}: {lacking}", file=sys.stderr)
                return 2
            models = {each.key for each in client.models(available_only=True, timeout=30)}
            precision = least_exact(each.precision for each in client.status(timeout=30).workers)
    except (FeatsvcError, OSError, ValueError) as error:
        print(f"featsvc: {target}: {error}", file=sys.stderr)
        return 2
    with channel.opened(target, tls) as connected:
        asked = (case for case in shipped() if case.needs in ("", *models))
        return _reported(Asker(connected, api_key), asked, precision, verbose)


def _lacking(client: FeatsvcClient) -> str:
    """What the key may not that the cases ask for, in words; empty where it may all."""
    try:
        caller = client.caller(timeout=30)
    except CallError as error:
        # A server before GetCaller knows no roles.
        if error.failure.code == UNIMPLEMENTED:
            return ""
        raise
    lacking = [f"lacks the role {role}" for role in ROLES if role not in caller.roles]
    lacking += ["may use some models only"] if caller.models else []
    what = (
        f"right refusals would look wrong: verify by one with the roles {' and '.join(ROLES)}, for all models"
    )
    return f"the key {caller.name!r} {' and '.join(lacking)}, and {what}" if lacking else ""


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
