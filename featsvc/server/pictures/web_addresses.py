"""Addresses as people write them, encoded for the wire as browsers do (the URL Standard of WHATWG)."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import idna

# All printable ASCII but what browsers encode there; a percent sign stays, for what is encoded already.
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
IN_PATH = re.sub(r'["#<>?`{|}^]', "", PRINTABLE)
IN_QUERY = re.sub(r"""["#<>']""", "", PRINTABLE)
FORBIDDEN = re.compile(r"""[\x00-\x20"#%/<>?@\\^`{|}\x7f]""")
# Typed or copied along without being meant; the controls of ASCII and the blank at both ends.
AROUND = "".join(map(chr, range(0x21)))
BREAKS = str.maketrans("", "", "\t\r\n")


def encoded(address: str) -> str:
    """The address in ASCII, without its fragment; raises ValueError where it cannot be one.

    Bytes that are no UTF-8, as redirects may hold them, are surrogates here and are encoded as they are.
    """
    bare = address.strip(AROUND).translate(BREAKS)
    head, mark, rest = re.split(r"([?#]|$)", bare, maxsplit=1)
    # Backslashes are slashes to browsers, but not in a query.
    parts = urlsplit(head.replace("\\", "/") + mark + rest)
    return urlunsplit(
        (
            parts.scheme,
            _place(parts.netloc),
            quote(parts.path, IN_PATH, errors="surrogateescape"),
            quote(parts.query, IN_QUERY, errors="surrogateescape"),
            "",
        )
    )


def _place(netloc: str) -> str:
    """Host and port, the host as name servers know it: with IDNA where it has other letters."""
    user, at, place = netloc.rpartition("@")
    host, colon, port = re.fullmatch(r"(\[.*\]|[^:]*)(:?)(.*)", place, re.DOTALL).groups()  # type: ignore[union-attr]
    if not host.isascii() or "%" in host:
        host = idna.encode(unquote(host, errors="strict"), uts46=True, transitional=False).decode()
    if FORBIDDEN.search(host):
        raise ValueError("a host has no such character")
    if not (user.isascii() and re.fullmatch(r"[0-9]*", port)):
        raise ValueError("a user's name in other letters, or a port that is no number")
    return f"{user}{at}{host}{colon}{port}"
