"""Settings of the shim: flags, with a FEATSVC_… variable behind each. Nothing else here reads the environment."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rest_shim.endpoints import FAMILIES

MIB = 1024 * 1024
UNITS = {"": 1, "k": 1024, "m": MIB, "g": 1024 * MIB}
DEFAULT_KEY = "smfeats"
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class Settings:
    """What one shim is told."""

    ports: Mapping[str, int]
    """Port of each family that is served; 0 takes a free one."""
    host: str = "127.0.0.1"
    workers: int = 1
    grpc_target: str | None = None
    api_key: str | None = field(default=None, repr=False)
    api_key_file: str | None = None
    timeout: float = 300.0
    cors_origins: tuple[str, ...] = ("*",)
    max_body_bytes: int = 64 * MIB
    max_total_body_bytes: int = 512 * MIB
    max_reply_bytes: int = 512 * MIB
    grace: float = 10.0
    log_level: str = "info"
    end_with_stdin: bool = False
    """Whether the end of standard input asks to end, as a signal does: a killed parent can send none."""
    gateway_flags: tuple[str, ...] = ()
    """What the gateway is told, where a runner starts one."""

    @property
    def has_own_key(self) -> bool:
        """Whether somebody chose the key, be it the documented one."""
        return bool((self.api_key or "").strip(", ") or self.api_key_file)

    @property
    def refused_key(self) -> str | None:
        """The documented default key, where nobody chose it and others than this machine could use it."""
        return None if self.has_own_key or is_loopback(self.host) else DEFAULT_KEY


@dataclass(frozen=True)
class Flag:
    """One setting on the command line."""

    name: str
    kind: Callable[[str], object]
    variable: str
    meaning: str

    @property
    def word(self) -> str:
        """As it is typed."""
        return "--" + self.name.replace("_", "-")


def _origins(given: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in given.split(",") if each.strip())


def _size(given: str) -> int:
    """Bytes, also as 64MiB, 64MB or 64M, which all mean the same to the gateway."""
    found = re.fullmatch(r"(\d+)\s*([kmg]?)(?:i?b)?", given.strip().lower())
    if not found:
        raise argparse.ArgumentTypeError(f"{given!r} is no size: write it as 512MiB")
    return int(found[1]) * UNITS[found[2]]


def _level(given: str) -> str:
    if given.lower() not in LOG_LEVELS:
        raise argparse.ArgumentTypeError(f"not one of {', '.join(LOG_LEVELS)}")
    return given.lower()


def _count(given: str) -> int:
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"{given!r} is no number from 1 on")
    return int(given)


def _seconds(given: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", given):
        raise argparse.ArgumentTypeError(f"{given!r} is no number of seconds")
    return float(given)


def _port_number(given: str) -> int:
    if not given.isdecimal() or int(given) > 65535:
        raise argparse.ArgumentTypeError(f"{given!r} is no port: 0 to 65535")
    return int(given)


FLAGS = (
    Flag("host", str, "FEATSVC_HOST", "address to listen on; beyond loopback a key of your own is needed"),
    Flag("workers", _count, "FEATSVC_REST_WORKERS", "processes of the shim, all before one set of models"),
    Flag(
        "grpc_target",
        str,
        "FEATSVC_GRPC_TARGET",
        "gateway to talk to as host:port; without it one is started",
    ),
    Flag("api_key", str, "FEATSVC_API_KEY", f"key that callers must send; {DEFAULT_KEY} where none is given"),
    Flag("api_key_file", str, "FEATSVC_API_KEY_FILE", "file of such keys, one a line"),
    Flag("timeout", _seconds, "FEATSVC_REQUEST_TIMEOUT", "seconds that one request may take"),
    Flag(
        "cors_origins",
        _origins,
        "FEATSVC_CORS_ORIGINS",
        "origins that browsers may call from, with commas between",
    ),
    Flag("max_body_bytes", _size, "FEATSVC_MAX_REQUEST_BYTES", "largest request body"),
    Flag(
        "max_total_body_bytes", _size, "FEATSVC_MAX_TOTAL_BODY_BYTES", "most bytes of request bodies at once"
    ),
    Flag("max_reply_bytes", _size, "FEATSVC_MAX_REPLY_BYTES", "most bytes of float32 in one reply"),
    Flag("grace", _seconds, "FEATSVC_REST_GRACE", "seconds that running requests have at shutdown"),
    Flag("log_level", _level, "FEATSVC_LOG_LEVEL", f"one of {', '.join(LOG_LEVELS)}"),
)
# What holds for the gateway too, by its flag there. It reads the same variables; what was typed must be typed again.
SHARED = {
    "api_key": "--api-key",
    "api_key_file": "--api-key-file",
    "log_level": "--log-level",
    "timeout": "--request-timeout",
    "max_body_bytes": "--max-request-bytes",
    "max_reply_bytes": "--max-reply-bytes",
    "grace": "--grace",
}


def parsed(arguments: Sequence[str] | None, families: Sequence[str]) -> Settings:
    """The settings of a command line; one family has `--port`, several `--clip-port` and so on. May exit."""
    flags = (*FLAGS, *(_port(family, alone=len(families) == 1) for family in families))
    parser = argparse.ArgumentParser(
        description=f"REST for {', '.join(family.upper() for family in families)}.",
        epilog="Without --grpc-target further flags go to the gateway that is started: `featsvc serve --help`.",
        allow_abbrev=False,
    )
    for flag in flags:
        parser.add_argument(
            flag.word, type=flag.kind, default=argparse.SUPPRESS, help=f"{flag.meaning} ({flag.variable})"
        )
    # A flag alone: a variable would reach processes that it is not meant for.
    parser.add_argument(
        "--end-with-stdin",
        action="store_true",
        default=argparse.SUPPRESS,
        help="end when standard input does: for parents that hold the other end",
    )
    known, others = parser.parse_known_args(arguments)
    missing = [flag for flag in flags if not hasattr(known, flag.name)]
    values = _from_environment(missing, parser) | vars(known)
    ports = {
        family: values.pop(_port_name(family, len(families) == 1), FAMILIES[family].default_port)
        for family in families
    }
    settings = Settings(ports=ports, **values)  # type: ignore[arg-type]  # each was parsed to its field's type
    if settings.grpc_target:
        if others:
            parser.error(f"not known: {' '.join(others)}")
        return settings
    if settings.refused_key is not None:
        parser.error(
            f"host {settings.host} is open to others and the API key is the documented default: "
            "set one of your own by --api-key KEY, FEATSVC_API_KEY or --api-key-file FILE"
        )
    typed = [f"{word}={getattr(known, name)}" for name, word in SHARED.items() if hasattr(known, name)]
    return replace(settings, gateway_flags=(*typed, *others))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address; a name other than localhost counts as open."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _from_environment(flags: Sequence[Flag], parser: argparse.ArgumentParser) -> dict[str, object]:
    values: dict[str, object] = {}
    for flag in flags:
        if flag.variable in os.environ:
            try:
                values[flag.name] = flag.kind(os.environ[flag.variable])
            except argparse.ArgumentTypeError as error:
                parser.error(f"{flag.variable}: {error}")
    return values


def _port(family: str, *, alone: bool) -> Flag:
    return Flag(
        _port_name(family, alone),
        _port_number,
        f"FEATSVC_{family.upper()}_PORT",
        f"REST port of {family.upper()}, 0: a free one",
    )


def _port_name(family: str, alone: bool) -> str:
    return "port" if alone else f"{family}_port"
