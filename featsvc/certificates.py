"""Files of TLS: of who opens a connection, and of a server, read again when they change; gRPC and REST share them."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Self

from featsvc.errors import InvalidArgument

log = logging.getLogger("featsvc.certificates")
CERTIFICATE, KEY, ENCRYPTED = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----", b"ENCRYPTED"
NO_PAIR = "KEY_VALUES_MISMATCH"
# Files that are replaced one after the other may change while they are read.
TRIES = 3
# So long before its end a certificate is warned of, once a day and once for each that takes its place.
SOON_S = 14 * 24 * 3600.0
AGAIN_S = 24 * 3600.0
LOOK_S = 3600.0

Stamp = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True)
class CertificateFiles:
    """Where the certificate, its key and the authorities of callers are."""

    cert: str
    key: str = ""
    """Empty where the key stands in the file of the certificate."""
    client_ca: str = ""
    """Empty where callers need no certificate."""

    @property
    def paths(self) -> dict[str, str]:
        """Those that there are, by the names of their settings."""
        named = {"tls_cert": self.cert, "tls_key": self.key, "tls_client_ca": self.client_ca}
        return {setting: path for setting, path in named.items() if path}

    def stamp(self) -> Stamp:
        """Changes when a file does, or is not there."""
        return tuple(map(_stamp, self.paths.values()))

    def identity(self) -> Identity:
        """What the files hold. Raises InvalidArgument that names the setting of the file that is wrong."""
        chain = _content("tls_cert", self.cert)
        key = _content("tls_key", self.key) if self.key else chain
        authorities = _content("tls_client_ca", self.client_ca) if self.client_ca else b""
        if CERTIFICATE not in chain:
            raise InvalidArgument(f"tls_cert: {self.cert} holds no certificate in PEM form")
        where = f"tls_key: {self.key}" if self.key else f"tls_cert: {self.cert}"
        if KEY not in key:
            remedy = "" if self.key else "; give its file by --tls-key"
            raise InvalidArgument(f"{where} holds no private key in PEM form{remedy}")
        if ENCRYPTED in key:
            raise InvalidArgument(
                f"{where} has a password, which nobody is there to type: write the key without it"
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.cert, self.key or None)
        except (OSError, ssl.SSLError) as error:
            if NO_PAIR in str(error):
                raise InvalidArgument(f"{where} is not the key of the certificate in {self.cert}") from None
            raise InvalidArgument(
                f"tls_cert: {self.cert} and its key cannot be used: {error.strerror}"
            ) from None
        if authorities:
            self._demand(context, authorities)
        return Identity(chain, key, authorities, context, _end(chain))

    def _demand(self, context: ssl.SSLContext, authorities: bytes) -> None:
        """Has callers show a certificate of one of the authorities."""
        try:
            context.load_verify_locations(cadata=authorities.decode("ascii"))
        except (ValueError, ssl.SSLError):
            raise InvalidArgument(
                f"tls_client_ca: {self.client_ca} holds no certificates in PEM form"
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED


@dataclass(frozen=True)
class Identity:
    """What the server shows of itself, and whom it wants to see: as PEM for gRPC, and as a context for Python."""

    chain: bytes
    key: bytes
    authorities: bytes
    """Empty where callers need no certificate."""
    context: ssl.SSLContext
    ends_at: float
    """Seconds since the epoch when the first certificate of the chain expires; infinite where that cannot be read."""


@dataclass(frozen=True)
class CallerFiles:
    """Files in PEM form of who opens a connection. None of them trusts the authorities that everybody does."""

    ca: str | Path | None = None
    """Authorities that the server's certificate must come from."""
    cert: str | Path | None = None
    """Certificate to show to servers that ask for one, with `key`."""
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError(
                "a certificate to show needs its key, and a key its certificate: give both files"
            )

    @classmethod
    def of(cls, ca: str | Path | None, cert: str | Path | None, key: str | Path | None) -> Self | None:
        """Of files that may be named, or None where none is. Raises ValueError where one is missing."""
        return cls(ca or None, cert or None, key or None) if ca or cert or key else None

    def contents(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Authorities, key and certificate, in the order of grpc.ssl_channel_credentials. Raises OSError."""
        ca, key, cert = (
            None if each is None else Path(each).read_bytes() for each in (self.ca, self.key, self.cert)
        )
        return ca, key, cert

    def stamp(self) -> Stamp:
        """Changes when a file does, or is not there."""
        return tuple(_stamp(each) for each in (self.ca, self.cert, self.key) if each is not None)

    def context(self) -> ssl.SSLContext:
        """For HTTP. Raises OSError, of which ssl.SSLError is one, where a file cannot be read or used."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key)
        return context


class ServerCertificate:
    """The certificate as its files have it now; threads may share it.

    A change that cannot be used is logged once, and what was in force stays.
    """

    def __init__(self, files: CertificateFiles) -> None:
        """Reads the files. Raises InvalidArgument where they are no certificate with its key."""
        self._files = files
        self._lock = threading.Lock()
        self._stamp, self._identity = self._read()

    def now(self) -> Identity:
        """What a new connection is shown; the same object as before where nothing has changed."""
        with self._lock:
            if self._files.stamp() != self._stamp:
                self._renew()
            return self._identity

    @property
    def ends_at(self) -> float:
        """Of what is in force, without a look at the files."""
        return self._identity.ends_at

    async def watch(self, look_s: float = LOOK_S, again_s: float = AGAIN_S) -> None:
        """Warns of a certificate that expires soon, or has."""
        told, told_at = None, -math.inf
        while True:
            identity = await asyncio.to_thread(self.now)
            if identity is not told or time.monotonic() - told_at >= again_s:
                told, told_at = identity, time.monotonic()
                self._warn(identity.ends_at)
            await asyncio.sleep(look_s)

    def _warn(self, ends_at: float) -> None:
        left_s = ends_at - time.time()
        if left_s >= SOON_S:
            return
        facts = {
            "tls_cert": self._files.cert,
            "ends": datetime.fromtimestamp(ends_at, UTC).isoformat(),
            "days_left": round(left_s / (24 * 3600), 1),
        }
        if left_s > 0:
            log.warning("the certificate expires soon", extra=facts)
        else:
            log.error("the certificate has expired, and callers refuse it", extra=facts)

    def _renew(self) -> None:
        changed = self._files.stamp()
        looks = zip(self._files.paths.items(), self._stamp, changed, strict=True)
        facts = dict(named for named, before, now in looks if before != now)
        try:
            self._stamp, self._identity = self._read()
        except InvalidArgument as error:
            self._stamp = changed
            log.error(
                "changed files of TLS cannot be used, the old ones stay: %s", error.message, extra=facts
            )
        else:
            log.info("changed files of TLS are in force", extra=facts)

    def _read(self) -> tuple[Stamp, Identity]:
        """The files, and their stamp; once more where they change meanwhile."""
        for tries_left in reversed(range(TRIES)):
            stamp = self._files.stamp()
            try:
                identity = self._files.identity()
            except InvalidArgument:
                if not tries_left or self._files.stamp() == stamp:
                    raise
            else:
                if not tries_left or self._files.stamp() == stamp:
                    break
        return stamp, identity


def left_of(certificate: ServerCertificate | None) -> float | None:
    """Seconds until it expires; None where there is none, or it does not say."""
    left_s = math.inf if certificate is None else certificate.ends_at - time.time()
    return left_s if math.isfinite(left_s) else None


def server_certificate(tls_cert: str, tls_key: str, tls_client_ca: str) -> ServerCertificate | None:
    """That of the settings of these names, None without TLS. Raises InvalidArgument for a file that is of no use."""
    if tls_cert:
        return ServerCertificate(CertificateFiles(tls_cert, tls_key, tls_client_ca))
    for name, value in (("tls_key", tls_key), ("tls_client_ca", tls_client_ca)):
        if value:
            raise InvalidArgument(f"{name}: {value} is of no use without --tls-cert")
    return None


def _end(chain: bytes) -> float:
    """When the first of the certificates expires; ssl tells it of authorities alone."""
    # It takes its time, and most programs that come by here show no certificate.
    x509 = import_module("cryptography.x509")
    try:
        ends = [each.not_valid_after_utc for each in x509.load_pem_x509_certificates(chain)]
    except ValueError:  # OpenSSL takes some that it does not
        return math.inf
    return float(min(ends).timestamp())


def _stamp(path: str | Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content(setting: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"{setting}: {path} cannot be read: {error.strerror}") from None
