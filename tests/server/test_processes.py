"""What a process asks of the C library."""

from __future__ import annotations

import sys

import pytest

from featsvc.processes import LARGEST_BYTES, M_MMAP_THRESHOLD, OLD_LARGEST_BYTES, keep_large_blocks


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries are not asked")
@pytest.mark.parametrize(
    ("most", "taken"), [(LARGEST_BYTES, LARGEST_BYTES), (OLD_LARGEST_BYTES, OLD_LARGEST_BYTES)]
)
def test_large_blocks_are_kept_up_to_what_the_library_takes(
    monkeypatch: pytest.MonkeyPatch, most: int, taken: int
) -> None:
    options = dict[int, int]()

    class Library:
        """glibc, which answers 0 where it refuses."""

        def mallopt(self, option: int, value: int) -> int:
            if option == M_MMAP_THRESHOLD and value > most:
                return 0
            options[option] = value
            return 1

    monkeypatch.setattr("featsvc.processes.ctypes.CDLL", lambda _: Library())
    keep_large_blocks()
    assert options[M_MMAP_THRESHOLD] == taken
