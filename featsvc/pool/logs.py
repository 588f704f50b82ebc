"""The plain log of a worker, for pools that were given no other set-up."""

from __future__ import annotations

import logging


def setup(level: str) -> None:
    """Log lines go to standard error."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
