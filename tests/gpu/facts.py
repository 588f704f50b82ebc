"""What the machine is, and whether featsvc counts its GPUs as torch does."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version

import torch

from tests.gpu.conditions import DEVICE, Conditions
from tests.gpu.rows import Row
from tests.gpu.stand import Stand

PACKAGES = ("timm", "open_clip_torch", "sam2", "grpcio", "protobuf", "numpy", "pillow", "pydantic")
COPIED = 64 << 20
MASKS = (None, "0", "", "1", "0,-1")
"""Values of CUDA_VISIBLE_DEVICES, of which None is for the caller's own."""
COUNT = """
import json, torch
from featsvc.server.config.devices import devices
print(json.dumps([len([each for each in devices("auto") if each != "cpu"]), torch.cuda.device_count()]))
"""


def facts(conditions: Conditions) -> Iterator[Row]:
    """Versions, the device, its bus; `--devices auto`."""
    stand = Stand.of(conditions)
    versions = {name: version(name) for name in PACKAGES}
    cuda = {"torch": torch.__version__, "cuda": torch.version.cuda}
    yield Row("versions", figures={"python": platform.python_version(), **cuda, **versions})
    yield Row("float32", figures={"convolutions": _tf32(), "products": torch.get_float32_matmul_precision()})
    if not stand.dry:
        yield _device(stand)
        yield from _bus(stand)
    masks = MASKS[:1] if stand.dry else MASKS
    # Together: each is a process that imports torch.
    with ThreadPoolExecutor(len(masks)) as threads:
        yield from threads.map(visible, masks)


def _tf32() -> str:
    return "tf32" if torch.backends.cudnn.allow_tf32 else "highest"


def _device(stand: Stand) -> Row:
    major, minor = torch.cuda.get_device_capability(0)
    known = torch.cuda.get_arch_list()
    figures = {"name": torch.cuda.get_device_name(0), "capability": f"{major}.{minor}", "torch_has": known}
    # Code for a card runs on later ones of the same generation.
    has_code = any(each.startswith(f"sm_{major}") and int(each[3:]) <= 10 * major + minor for each in known)
    return Row("device", has_code, {**figures, **stand.memory()})


def _bus(stand: Stand) -> Iterator[Row]:
    there = torch.empty(COPIED, dtype=torch.uint8, device=DEVICE)
    for name, pinned in (("pageable", False), ("pinned", True)):
        here = torch.empty(COPIED, dtype=torch.uint8, pin_memory=pinned)
        rates = {
            f"{way}_gib_s": COPIED / (1 << 30) / stand.seconds(partial(to.copy_, of), 0.3)
            for way, to, of in (("to_device", there, here), ("to_host", here, there))
        }
        yield Row(f"copies of {name} memory", figures=rates)


def visible(mask: str | None) -> Row:
    """Whether featsvc and torch see as many GPUs under a value of CUDA_VISIBLE_DEVICES."""
    env = dict(os.environ)
    if mask is not None:
        env["CUDA_VISIBLE_DEVICES"] = mask
    asked = subprocess.run([sys.executable, "-c", COUNT], env=env, capture_output=True, text=True, check=True)
    ours, theirs = json.loads(asked.stdout.splitlines()[-1])
    name = "as it is" if mask is None else repr(mask)
    return Row(f"visible devices {name}", ours == theirs, {"featsvc": ours, "torch": theirs})
