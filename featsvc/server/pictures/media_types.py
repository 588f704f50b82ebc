"""What kind of picture a file is, by how it begins: signatures of the MIME Sniffing Standard of WHATWG."""

from __future__ import annotations

import re

SIGNATURES = (
    (re.compile(rb"BM"), "image/bmp"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBPVP", re.DOTALL), "image/webp"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
)


def media_type(content: bytes) -> str | None:
    """The media type of a picture that every browser shows; None of any other file."""
    return next((name for signature, name in SIGNATURES if signature.match(content)), None)
