"""The settings of a runner: those of the REST ports, and what is for the gateway that it starts."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from featsvc.certificates import CallerFiles, server_certificate
from featsvc.errors import InvalidArgument
from featsvc.settings.access import DEFAULT_KEY, SECRETS, GatewayAddress, Tls
from featsvc.settings.attributes import Attribute, attributes, names
from featsvc.settings.flags import add_flags
from featsvc.settings.sources import check_own_key, check_ports, check_root_path, configuration, has_typed_key
from featsvc.settings.tree import GatewaySettings, ShimSettings
from rest_shim.app.endpoints import PAGE

# What the flags of a runner are also called.
WORDS = {"rest_workers": "--workers", "request_timeout": "--timeout", "max_request_bytes": "--max-body-bytes"}
# The gateway of a runner listens where the runner says, and to that alone.
NOT_SHARED = ("host", *names(Tls))


@dataclass(frozen=True, kw_only=True)
class RunnerSettings(ShimSettings, GatewayAddress):
    """What a runner reads."""

    @property
    def has_own_key(self) -> bool:
        """Whether somebody chose the key: who hands a status key over says by api_key if the documented one is good."""
        return bool(self.api_key or self.api_key_file or self.status_key)

    @property
    def refused_key(self) -> str | None:
        """The documented default key, where others than this machine could use it."""
        return None if self.is_loopback else DEFAULT_KEY

    @property
    def documented_key(self) -> str | None:
        """The same key, where it works: on this machine, unless another was chosen."""
        chosen = DEFAULT_KEY in self.api_key or not self.has_own_key
        return DEFAULT_KEY if chosen and self.is_loopback else None

    @property
    def asking_key(self) -> str:
        """The key by which the port asks for the state of its gateway; empty where it has none."""
        return self.status_key or next(iter(self.api_key), self.documented_key or "")


@dataclass(frozen=True, kw_only=True)
class Runner:
    """What the command line of a runner says."""

    settings: RunnerSettings
    ports: Mapping[str, int]
    """Port of each family that is served, and of the page; 0 takes a free one."""
    end_with_stdin: bool = False
    """Whether the end of standard input asks to end, as a signal does: a killed parent can send none."""
    beat: bool = False
    """Whether it gives a sign of life each second on standard output."""
    has_typed_key: bool = False
    """Whether a key stands on the command line, where others see it."""
    gateway_flags: tuple[str, ...] = field(default=(), repr=False)
    """What the gateway is told, where one is started."""


def parsed(
    arguments: Sequence[str] | None, families: Sequence[str], tree: type[RunnerSettings] = RunnerSettings
) -> Runner:
    """The settings of a command line; one family has `--port`, several `--clip-port` and so on. May exit."""
    words = {**WORDS, f"{families[0]}_port": "--port"} if len(families) == 1 else WORDS
    parser = argparse.ArgumentParser(
        description=f"REST for {', '.join(family.upper() for family in families)}.",
        epilog="Every flag is also a FEATSVC_… variable of its longer name, and a key of the TOML file. Without "
        "--grpc-target further flags go to the gateway that is started, such as --profile demo, --devices cuda:0 or "
        "--weights-dir DIR: `featsvc serve --help` has them all.",
        allow_abbrev=False,
        usage="%(prog)s [FLAG ...]",
    )
    own = [each for each in attributes(tree) if _is_for(each, families)]
    add_flags(parser, own, words)
    # A flag alone: a variable would reach processes that it is not meant for.
    parser.add_argument(
        "--end-with-stdin",
        action="store_true",
        help="end when standard input does: for parents that hold the other end",
    )
    parser.add_argument(
        "--beat",
        action="store_true",
        help="write an empty line each second: for parents that start anew what is silent",
    )
    known, others = parser.parse_known_args(arguments)
    flags = vars(known)
    try:
        found = configuration(flags, tree, words)
        settings = found.settings
        # Alone the page is what was asked for.
        ports = {
            family: getattr(settings, f"{family}_port")
            for family in families
            if family != PAGE or settings.page or len(families) == 1
        }
        check_ports(settings, own)
        if PAGE in ports:
            check_root_path(settings.root_path)
        server_certificate(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        gateway_tls(settings)
        if not settings.grpc_target:
            check_own_key(settings)
    except InvalidArgument as error:
        parser.error(error.message)
    if settings.grpc_target and others:
        parser.error(f"not known: {' '.join(others)}")
    return Runner(
        settings=settings,
        ports=ports,
        end_with_stdin=flags["end_with_stdin"],
        beat=flags["beat"],
        has_typed_key=has_typed_key(found),
        gateway_flags=() if settings.grpc_target else (*_for_gateway(flags), *others),
    )


def gateway_tls(settings: GatewayAddress) -> CallerFiles | None:
    """By what the gateway is reached with TLS; None without. Raises InvalidArgument for files of no use."""
    files = (settings.grpc_tls_ca, settings.grpc_tls_cert, settings.grpc_tls_key)
    names = "grpc_tls_ca, grpc_tls_cert, grpc_tls_key"
    if any(files) and (not settings.grpc_target or settings.grpc_target.startswith("unix:")):
        raise InvalidArgument(f"{names}: of no use without --grpc-target HOST:PORT")
    try:
        found = CallerFiles.of(*files)
        if found is not None:
            # gRPC says nothing of files that hold no certificates: it would try to connect for ever.
            found.context()
    except ValueError as error:
        raise InvalidArgument(f"{names}: {error}") from None
    except OSError as error:
        raise InvalidArgument(
            f"{names}: {', '.join(filter(None, files))} cannot be used: {error.strerror}"
        ) from None
    return found


def _is_for(each: Attribute, families: Sequence[str]) -> bool:
    """Whether a runner of these families asks for the setting."""
    family, _, what = each.name.partition("_")
    return family in families or (what != "port" and each.name != PAGE)


def _for_gateway(flags: Mapping[str, object]) -> list[str]:
    """What was typed for both, typed again, but for secrets; the gateway reads the same variables and the same file."""
    shared = [each for each in attributes(GatewaySettings) if each.name in {*names(ShimSettings)} - SECRETS]
    typed = [
        each.typed(flags[each.name]) for each in shared if each.name in flags and each.name not in NOT_SHARED
    ]
    return [*typed, *([f"--config={flags['config']}"] if flags["config"] else [])]
