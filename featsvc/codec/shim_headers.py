"""Names of the metadata in which the REST shim tells the gateway of its callers and how many it has refused, and hears
how long to hold a refusal back."""

from __future__ import annotations

import re
from collections.abc import Mapping

JSON = "featsvc-json"
"""Most bytes of arrays in the JSON that a reply ends as, and whether masks become float32 in it."""
ADDRESS = "featsvc-address"
"""Where its caller is, so that a wrong key is laid to its own sender."""
BYTES = "featsvc-bytes"
"""How large its message is, which gRPC does not say before all of it is there."""
CERTIFICATE = "featsvc-certificate"
"""Names in the certificate that its caller has shown, quoted as in URLs, with commas between."""
HOLD = "featsvc-hold-ms"
"""The gateway's answer to a shim: for how long it is to hold a refusal back."""
REFUSED = "featsvc-refused"
"""How many requests its ports have refused by themselves since they last said so: `clip 413 2, sam2 404 1`."""

REFUSALS = re.compile(r"(?:^|, )([a-z0-9]{1,16}) ([45][0-9]{2}) ([0-9]{1,9})(?=$|, )")


def refusals_text(refusals: Mapping[tuple[str, int], int]) -> str:
    """Counts by port and status, as the metadata has them."""
    return ", ".join(f"{port} {status} {count}" for (port, status), count in refusals.items())


def refusals(text: str) -> dict[tuple[str, int], int]:
    """The same, read again; what is no count is passed over."""
    return {(port, int(status)): int(count) for port, status, count in REFUSALS.findall(text)}
