"""The engines of a worker, built by the import path that its Boot names."""

from __future__ import annotations

import gc
import importlib

from featsvc.errors import FeatsvcError, Unavailable
from featsvc.pool.contract.engine_protocol import BuildEngines, WorkerEngines
from featsvc.pool.contract.messages import Boot
from featsvc.processes import address_space


def built(boot: Boot) -> WorkerEngines:
    """The engines. Raises FeatsvcError where they can never work here, and whatever their libraries raise."""
    module, _, name = boot.engines.partition(":")
    try:
        build: BuildEngines = getattr(importlib.import_module(module), name)
        engines = build(boot.engine_options)
    except FeatsvcError:
        raise
    except Exception as error:
        if (room := address_space()) is not None:
            raise _no_addresses(room, error) from error
        raise
    gc.freeze()  # the libraries' half a million objects stay: going through them again takes a quarter of a second
    return engines


def _no_addresses(room: int, error: Exception) -> Unavailable:
    return Unavailable(
        f"a worker may have {room >> 20} MiB of addresses (ulimit -v, LimitAS=), and its libraries do not fit: "
        f"{error}. Limit memory by a control group instead, which counts what is in use"
    )
