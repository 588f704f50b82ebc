"""Numbers as protobuf writes them: seven bits a byte, the lowest first."""

from __future__ import annotations

LONGEST = 10
"""The most bytes of one."""


def written(number: int) -> bytes:
    """The bytes of a number that is not negative."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def read(raw: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends.

    Raises IndexError where it is cut off, ValueError where it does not end.
    """
    number = 0
    for shift in range(0, 7 * LONGEST, 7):
        byte = raw[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError(f"a number of more than {LONGEST} bytes")
