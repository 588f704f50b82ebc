"""The promises about numbers hold as on other processors, for which the libraries' own switches stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
PROCESSORS = {
    "avx2": {
        "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
    },
    "sse4": {
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default",
    },
    "avx512 without amx": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "two threads": {"TEST_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
    "four threads": {"TEST_THREADS": "4", "OMP_WAIT_POLICY": "passive"},
}  # fmt: skip
AUTOMATIC = "sam2/test_automatic.py::test_"
TESTS = (
    "sam2/test_passes.py",
    "answers/test_pca.py",
    "networks/test_packed.py",
    "clip/test_text.py",
    "clip/test_last_block.py",
    f"{AUTOMATIC}noisy_masks_equal_those_of_the_package_generator[refined]",
    f"{AUTOMATIC}noisy_masks_equal_those_of_the_package_generator[small batches]",
    f"{AUTOMATIC}compact_masks_equal_those_of_the_package_generator[refined in crops]",
    f"{AUTOMATIC}presets_equal_the_package_generator_with_their_values",
)


@pytest.mark.parametrize("name", list(PROCESSORS))
def test_numbers_are_as_promised(name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow and not gpu", "-x"]
    files = [str(ROOT / "tests" / "engines" / each) for each in TESTS]
    ran = subprocess.run(
        [*command, *files], cwd=ROOT, env=os.environ | PROCESSORS[name], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
