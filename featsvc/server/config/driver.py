"""What CUDA's driver shows of its GPUs, as JSON: run as a program of its own, for a driver may hang or crash.

The driver counts as torch will: with CUDA_VISIBLE_DEVICES and parts of GPUs (MIG) in force.
"""

from __future__ import annotations

import ctypes
import json
from ctypes import byref, c_char_p, c_int, c_size_t, create_string_buffer
from typing import Any
from uuid import UUID

LIBRARY = "libcuda.so.1"
# Of cuda.h.
NO_DEVICE = 100
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76
LONGEST_NAME = 256


class DriverError(Exception):
    """The driver is there and does not work."""


def found(driver: Any) -> list[dict[str, object]]:  # Any: a C library
    """Each GPU's name, UUID, compute capability and memory in bytes. Raises DriverError with the driver's reason."""
    status = driver.cuInit(0)
    if status == NO_DEVICE:
        return []
    _check(driver, status)
    count = c_int()
    _check(driver, driver.cuDeviceGetCount(byref(count)))
    return [_gpu(driver, number) for number in range(count.value)]


def _gpu(driver: Any, number: int) -> dict[str, object]:
    device, major, minor, nbytes = c_int(), c_int(), c_int(), c_size_t()
    name, uuid = create_string_buffer(LONGEST_NAME), create_string_buffer(16)
    for status in (
        driver.cuDeviceGet(byref(device), number),
        driver.cuDeviceGetName(name, LONGEST_NAME, device),
        driver.cuDeviceGetUuid_v2(uuid, device),
        driver.cuDeviceGetAttribute(byref(major), CAPABILITY_MAJOR, device),
        driver.cuDeviceGetAttribute(byref(minor), CAPABILITY_MINOR, device),
        driver.cuDeviceTotalMem_v2(byref(nbytes), device),
    ):
        _check(driver, status)
    return {
        "name": name.value.decode(errors="replace"),
        "uuid": str(UUID(bytes=uuid.raw)),
        "capability": f"{major.value}.{minor.value}",
        "memory_bytes": nbytes.value,
    }


def _check(driver: Any, status: int) -> None:
    if status:
        text = c_char_p()
        driver.cuGetErrorString(status, byref(text))
        raise DriverError(f"{(text.value or b'unknown error').decode()} (CUDA error {status})")


def main() -> None:
    """Prints what is there: `{"gpus": […]}`, or `{"problem": …}`."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:  # no driver, so no GPU
        print(json.dumps({"gpus": []}))
        return
    try:
        print(json.dumps({"gpus": found(driver)}))
    except DriverError as error:
        print(json.dumps({"problem": str(error)}))


if __name__ == "__main__":
    main()
