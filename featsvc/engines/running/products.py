"""How this process's GPU multiplies float32: in TF32, or in full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from featsvc.settings.kinds import Precision


def set_products(precision: Precision) -> None:
    """Tells torch how this process's GPU multiplies float32: in TF32 where that is the precision, and else in full.

    By itself torch takes TF32 in convolutions, and not in products of matrices.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


@contextmanager
def unrounded() -> Iterator[None]:
    """Within the block products of float32 are in full, also where networks multiply in TF32.

    For the thread that computes in its turn (`turns`), and around no step: what else runs there meanwhile is to be
    rounded, and what is captured too.
    """
    products = torch.backends.cuda.matmul
    rounds, products.allow_tf32 = products.allow_tf32, False
    try:
        yield
    finally:
        products.allow_tf32 = rounds
