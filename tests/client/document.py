"""The Python examples of the REST document's part 'Client Libraries': client_libraries.md, as printed."""

from __future__ import annotations

import re
from pathlib import Path

PART = Path(__file__).with_name("client_libraries.md")
# The document was written for another package; all else runs as it stands there.
OTHER_PACKAGE = "from sam2.server.client."


def examples() -> dict[str, str]:
    """The example of each family (clip, dino, sam2), for this package."""
    blocks = re.findall(r"```python\n(.*?)```", PART.read_text("utf-8"), re.DOTALL)
    assert all(OTHER_PACKAGE in block for block in blocks)
    mapped = [block.replace(OTHER_PACKAGE, "from featsvc_client.") for block in blocks]
    return {re.search(r"featsvc_client\.(\w+)_client", block)[1]: block for block in mapped}  # type: ignore[index]
