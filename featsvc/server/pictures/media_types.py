"""What kind of picture a file is, by its header.

The signatures of the MIME Sniffing Standard of WHATWG are as short as the two letters BM: what follows counts too.
"""

from __future__ import annotations

import re

SIGNATURES = (
    # Two reserved fields of zeros, the offset of the pixels, and the size of one of the headers that there are.
    (rb"BM.{4}\x00{4}.{4}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\x00{3}", "image/bmp"),
    # A table of colours follows, which no text announces, or the first block.
    (rb"GIF8[79]a.{4}(?:[\x80-\xff]|.{3}[!,])", "image/gif"),
    (rb"RIFF.{4}WEBPVP8[ LX]", "image/webp"),
    (rb"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", "image/png"),
    # A marker follows.
    (rb"\xff\xd8\xff[\xc0-\xff]", "image/jpeg"),
)
PATTERNS = tuple((re.compile(signature, re.DOTALL), name) for signature, name in SIGNATURES)


def media_type(content: bytes) -> str | None:
    """The media type of a picture that every browser shows; None of any other file."""
    return next((name for pattern, name in PATTERNS if pattern.match(content)), None)
