"""`featsvc`, whose workers have a GPU that is pretended: `python -m tests.gpu.pretended_up up --devices cuda:0`."""

from __future__ import annotations

import sys
from functools import partial

from featsvc.__main__ import main
from featsvc.server.commands import run
from featsvc.server.gateway import gateway

ENGINES = "tests.engines.pretended.engines:build"

if __name__ == "__main__":
    vars(run)["gateway"] = partial(gateway, engines=ENGINES)
    sys.exit(main())
