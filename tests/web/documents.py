"""Writes the OpenAPI documents of the three families into a folder: `python -m tests.web.documents FOLDER`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from featsvc.wrong_keys import WrongKeys
from rest_shim.app.documentation import PortModels
from rest_shim.app.endpoints import FAMILIES
from rest_shim.app.health import Counter
from rest_shim.app.ports import application
from rest_shim.app.transcoder import Terms
from rest_shim.call.gateway import GatewayClient
from rest_shim.request.reading import BodyLimits


async def documents() -> dict[str, bytes]:
    """The document of each family, as a server says it that knows no model by name."""
    terms = Terms(GatewayClient("127.0.0.1:1", 1.0), BodyLimits(1, 1), 1, WrongKeys(), None)
    made = {
        name: application(family, terms, (), Counter()).document(PortModels(), "")
        for name, family in FAMILIES.items()
    }
    await terms.gateway.close()
    return made


def write(folder: Path) -> None:
    """A file for each family."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in asyncio.run(documents()).items():
        (folder / f"{name}.json").write_bytes(document)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
