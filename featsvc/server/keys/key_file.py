"""The file of keys: for each its name, its hash, and what it may.

    [keys.alice]
    sha256 = "64 hexadecimal digits"
    roles = ["infer"]            # also status and admin
    models = ["dinov2_vitl14"]   # without this, all
    weight = 2                   # and other limits of a key, as the settings call them
    [keys.camera-7]
    certificate = "camera-7"     # in place of a key: the common or a DNS name in the certificate that a caller shows

Older files hold a key a line. A file is TOML where its first line that is neither empty nor a comment begins with `[`;
a file of lines that looks like TOML all the same is refused, for each of its lines would be a key that may all.

The hash is SHA-256 alone. A salt and a slow hash are for passwords, which people make up and use twice: whoever finds
their hashes can try all that people make up. A key of `featsvc keys new` has 256 random bits. Nobody can try those, no
two are alike, and a slow hash would cost every first call of a key and every wrong one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from featsvc.catalog import catalog
from featsvc.errors import InvalidArgument
from featsvc.settings.access import DEFAULT_KEY, KeyLimits
from featsvc.settings.attributes import attributes
from featsvc.work.caller import OWNER, Caller, Role

log = logging.getLogger("featsvc.server.keys")
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
HASH = re.compile(r"[0-9a-f]{64}")
BLANK_OR_QUOTE = re.compile(r"[\s'\"]")
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS_MAY_READ = stat.S_IRGRP | stat.S_IROTH
LIMITS = {each.name: each for each in attributes(KeyLimits)}
ROLES: tuple[Role, ...] = get_args(Role)
# What programs that look for lost secrets can find.
PREFIX = "featsvc_"
KEY_BYTES = 32
CERTIFICATE = b"certificate "

Callers = Mapping[bytes, Caller]
"""Who has which key, by the hashes of the keys, or which certificate, by what `mark_of` says of its name."""


def hash_of(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def mark_of(certificate: str) -> bytes:
    """What stands for a name in a certificate; no hash has this form."""
    return CERTIFICATE + certificate.encode()


def new_key() -> str:
    """A key that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def checked_name(name: str) -> str:
    """The name; raises InvalidArgument where the file cannot hold it."""
    if not NAME.fullmatch(name):
        raise InvalidArgument(f"{name[:80]!r} is no name of a key: 1 to 64 letters, digits, _ or -")
    return name


def checked_certificate(name: str) -> str:
    """A name in a certificate; raises InvalidArgument where no certificate has it."""
    if not name.isprintable() or not name.strip():
        raise InvalidArgument("--certificate: give the common name, or an alternative name of the kind DNS")
    return name


def tables(text: str) -> dict[str, Any]:
    """The tables of a text. Raises ValueError where it is no TOML, also for numbers and brackets without end."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("brackets are nested too deep") from None


def is_table(text: str) -> bool:
    """Whether the text of a file of keys is TOML, and not a key a line; one that has nothing yet may become either."""
    content = _content(text)
    return not content or content[0].startswith("[")


class KeyFile:
    """A file of keys, which may be read again and again.

    `limits` are those of keys that have none of their own. `is_open`: others than this machine reach the server.
    `asks_certificates`: callers have to show one; otherwise there is a warning of entries that name one.
    """

    def __init__(
        self,
        path: Path,
        limits: KeyLimits,
        *,
        is_open: bool,
        first_number: int = 0,
        asks_certificates: bool = True,
    ) -> None:
        self.path = path
        self._limits = limits
        self._is_open = is_open
        self._asks_certificates = asks_certificates
        self._first_number = first_number
        self._numbers: dict[bytes, int] = {}

    def read(self) -> Callers:
        """Who has which key now. Raises InvalidArgument that says what is wrong, and shows no key."""
        text, mode = self._text()
        if is_table(text):
            callers = self._named(text)
        else:
            callers = self._numbered(text)
            if mode & OTHERS_MAY_READ:
                log.warning(
                    "others may read this file, which holds keys and not hashes",
                    extra={
                        "path": str(self.path),
                        "remedy": f"chmod go-r {self.path}, or make new keys by `featsvc keys new`",
                    },
                )
        if self._is_open and hash_of(DEFAULT_KEY) in callers:
            raise self._wrong(f"has the documented key {DEFAULT_KEY}, and the host is open to others")
        shown = [caller.name for hashed, caller in callers.items() if hashed.startswith(CERTIFICATE)]
        if shown and not self._asks_certificates:
            log.warning(
                "entries with a certificate let nobody in without --tls-client-ca", extra={"keys": shown}
            )
        return callers

    def _text(self) -> tuple[str, int]:
        """What the file holds, and its mode."""
        try:
            # Editors on Windows put a mark before the first key, which would belong to it.
            with self.path.open(encoding="utf-8-sig") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if mode & OTHERS_MAY_WRITE:
                    raise self._wrong(f"may be written by others, who could add keys: chmod go-w {self.path}")
                return file.read(), mode
        except OSError as error:
            raise self._wrong(f"cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise self._wrong("is no UTF-8 text") from None

    def _numbered(self, text: str) -> Callers:
        """The keys of lines. Each keeps its number as long as the server runs, whatever becomes of those before it."""
        keys = _content(text)
        if _looks_like_toml(text):
            raise self._wrong(
                "looks like TOML, and does not begin with a table: put [keys.NAME] first; in a file with a key "
                "a line no key may look like this"
            )
        if not all(is_sendable(key) for key in keys):
            raise self._wrong("has a key with characters that no header carries: take printable ASCII only")
        callers = {}
        for hashed in map(hash_of, keys):
            number = self._numbers.setdefault(hashed, self._first_number + len(self._numbers))
            callers[hashed] = Caller(f"key {number}", OWNER, limits=self._limits)
        return callers

    def _named(self, text: str) -> Callers:
        try:
            table = tables(text)
        except ValueError as error:
            raise self._wrong(f"is no TOML: {error}") from None
        if not table:
            # Whoever takes out the last key leaves [keys]: nothing at all is a file that is being written.
            raise self._wrong("holds no key")
        if table.keys() != {"keys"} or not isinstance(table["keys"], dict):
            raise self._wrong("has other tables than [keys.NAME]")
        callers: dict[bytes, Caller] = {}
        for name, entry in table["keys"].items():
            try:
                hashed, caller = _entry(name, entry, self._limits)
            except ValueError as error:
                raise self._wrong(f"keys.{name[:80]}: {error}") from None
            if hashed in callers:
                raise self._wrong(f"keys.{callers[hashed].name} and keys.{name} are one key")
            callers[hashed] = caller
        return callers

    def _wrong(self, what: str) -> InvalidArgument:
        return InvalidArgument(f"api_key_file: {self.path} {what}")


def is_sendable(key: str) -> bool:
    """Whether a header can carry the key."""
    return key.isascii() and key.isprintable()


def entry_text(caller: Caller, hashed: bytes, limits: Mapping[str, object]) -> str:
    """The entry of a key, or of what `mark_of` says of a certificate, as the file has it."""
    lists: dict[str, list[str]] = {
        "roles": [*filter(caller.roles.__contains__, ROLES)],
        "models": sorted(caller.models),
    }
    if hashed.startswith(CERTIFICATE):
        # Texts of JSON are texts of TOML.
        name = hashed.removeprefix(CERTIFICATE).decode()
        rows = [f"certificate = {json.dumps(name, ensure_ascii=False)}"]
    else:
        rows = [f'sha256 = "{hashed.hex()}"']
    rows += [f"{name} = {_listed(words)}" for name, words in lists.items() if words]
    rows += [f"{name} = {value}" for name, value in limits.items()]
    return "\n".join([f"[keys.{caller.name}]", *rows, ""])


def _listed(words: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


def _content(text: str) -> list[str]:
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def _looks_like_toml(text: str) -> bool:
    """Whether a text whose first line is no table may be TOML. A key may have a =, as base64 has at its end."""
    lines = _content(text)
    assigned = [line for line in lines if "=" in line]
    return (
        any(line.startswith("[") for line in lines)
        or any(BLANK_OR_QUOTE.search(line) for line in assigned)
        or any(map(_is_toml, (text, *assigned)))
    )


def _is_toml(text: str) -> bool:
    try:
        return bool(tables(text))
    except ValueError:
        return False


# Any: whatever the TOML holds.
def _entry(name: str, entry: Any, limits: KeyLimits) -> tuple[bytes, Caller]:
    """The hash and the caller of an entry; raises ValueError that shows nothing of what may be a key."""
    if not NAME.fullmatch(name):
        raise ValueError("a name has 1 to 64 letters, digits, _ or -")
    if not isinstance(entry, dict):
        raise ValueError("is no table")
    values = dict(entry)
    proof = _proof(values)
    roles = _words("roles", values.pop("roles", ["infer"]), ROLES)
    models = _words("models", values.pop("models"), catalog()) if "models" in values else frozenset()
    if unknown := sorted(values.keys() - LIMITS.keys()):
        known = ", ".join(("sha256", "certificate", "roles", "models", *LIMITS))
        raise ValueError(f"{', '.join(unknown)[:200]} not known; there is {known}")
    own = {limit: LIMITS[limit].parsed(value) for limit, value in values.items()}
    return proof, Caller(name, roles, models, replace(limits, **own))


def _proof(values: dict[str, Any]) -> bytes:
    """What an entry knows its caller by, which is taken out of its values."""
    hashed, certificate = values.pop("sha256", None), values.pop("certificate", None)
    if certificate is not None:
        if hashed is not None or not isinstance(certificate, str) or not certificate:
            raise ValueError(
                "certificate must be a name in the caller's certificate, and stands in place of sha256"
            )
        return mark_of(certificate)
    if hashed is None:
        raise ValueError(
            "sha256, the hash of a key, or certificate, a name in the caller's, must stand in it"
        )
    if not (isinstance(hashed, str) and HASH.fullmatch(hashed)):
        raise ValueError("sha256 must be 64 hexadecimal digits in lower case: the hash, and not the key")
    return bytes.fromhex(hashed)


def _words(field: str, given: object, known: Iterable[Any]) -> frozenset[Any]:
    """The words of a list; raises ValueError where it is none, or has others than the known ones."""
    known = tuple(known)
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
        raise ValueError(f"{field} must be a list of texts")
    if not given:
        raise ValueError(f"{field} is empty: name some, or leave the line out")
    if unknown := [word for word in given if word not in known]:
        few = (
            f"; there is {', '.join(known)}" if len(known) < 10 else "; `featsvc models list` names them all"
        )
        raise ValueError(f"{field}: {unknown[0][:80]!r} is not known{few}")
    return frozenset(given)
