"""The several ways in which torch says that memory has run out, as one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from featsvc.errors import OutOfMemory


@contextmanager
def out_of_memory_as(message: str) -> Iterator[None]:
    """Within the block any lack of memory is OutOfMemory with this message."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(message) from error
    except RuntimeError as error:
        # The CPU's allocator has no error class of its own.
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise OutOfMemory(message) from error
