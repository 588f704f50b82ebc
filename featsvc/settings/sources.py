"""Where settings come from: flag over environment variable over TOML file over default."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from featsvc.environment import environment, passed_over
from featsvc.errors import InvalidArgument
from featsvc.settings.access import DEFAULT_KEY, SECRETS, GatewayAddress
from featsvc.settings.attributes import Attribute, attributes, names
from featsvc.settings.tree import GatewaySettings, Settings, ShimSettings

Tree = TypeVar("Tree")
TYPED_KEY = (
    "--api-key and --status-key show a key to everybody on this machine who lists its processes: FEATSVC_API_KEY, "
    "FEATSVC_STATUS_KEY and --api-key-file do not"
)
# What the port of the page has below it (`rest_shim.app.endpoints.FAMILIES`).
BELOW_PAGE = ("/clip", "/dino", "/sam2")
NO_WORDS: Mapping[str, str] = {}
CONFIG = "FEATSVC_CONFIG"


@dataclass(frozen=True)
class Configuration(Generic[Tree]):
    """Settings in force, and where each value came from."""

    settings: Tree
    origins: Mapping[str, str]


def configuration(
    flags: Mapping[str, object], tree: type[Tree], words: Mapping[str, str] = NO_WORDS
) -> Configuration[Tree]:
    """The settings in force. Raises InvalidArgument that names the setting, its source and what it may be.

    `words` are the flags that a command has under other names than the tree.
    """
    variables = environment()
    path = flags.get("config") or variables.get(CONFIG)
    from_file = _file(Path(str(path)), {*names(Settings), *names(tree)}) if path else {}
    values: dict[str, Any] = {}  # Any: each has a type of its own
    origins: dict[str, str] = {}
    for each in attributes(tree):
        sources = (
            (flags.get(each.name), f"flag {words.get(each.name, each.flag)}"),
            (variables.get(each.variable), f"environment {each.variable}"),
            (from_file.get(each.name), f"file {path}"),
        )
        value, origin = next(((v, o) for v, o in sources if v is not None), (None, "default"))
        try:
            values[each.name] = each.default if value is None else each.parsed(value)
        except ValueError as error:
            raise InvalidArgument(f"{origin}: {error}") from None
        origins[each.name] = origin
    return Configuration(tree(**values), origins)


def unknown_variables(tree: type = Settings) -> list[str]:
    """What to warn of at the start: variables that no setting of the tree has, nor of another program of featsvc."""
    known = (*attributes(Settings), *attributes(GatewayAddress), *attributes(tree))
    return list(passed_over({CONFIG, *(each.variable for each in known)}))


def check_ports(settings: object, ports: Sequence[Attribute]) -> None:
    """Raises InvalidArgument where two of them are one port; 0 takes a free one for each."""
    names: dict[int, str] = {}
    for each in (each for each in ports if each.written.placeholder == "PORT"):
        port = getattr(settings, each.name)
        if port and port in names:
            raise InvalidArgument(
                f"{each.name}: {port}, which {names[port]} has already: give another by {each.flag}"
            )
        names[port] = each.name


def check_root_path(root_path: str) -> None:
    """Raises InvalidArgument where the path would hide a family on the port of the page."""
    if root_path in BELOW_PAGE:
        # A proxy may take it off or leave it on.
        raise InvalidArgument(
            f"root_path: {root_path} is the path of a family on the port of the page, and a request there could mean "
            f"either: give another, such as /featsvc{root_path}, or serve no page (--no-page)"
        )


def check_own_key(settings: GatewaySettings | ShimSettings) -> None:
    """Raises InvalidArgument where others than this machine could use the documented key, be it chosen or not."""
    is_documented = DEFAULT_KEY in settings.api_key or not (settings.api_key or settings.api_key_file)
    if is_documented and not settings.is_loopback:
        raise InvalidArgument(
            f"host {settings.host} is open to others and the API key is the documented one, {DEFAULT_KEY}: set one of "
            "your own by FEATSVC_API_KEY or --api-key-file FILE (`featsvc keys new NAME` makes one)"
        )


def exposure(settings: GatewaySettings | ShimSettings) -> str | None:
    """What to warn of where others than this machine could read along; None where they cannot."""
    if settings.is_loopback or settings.tls_cert:
        return None
    return (
        f"host {settings.host} is open to others, and keys and pictures travel in the clear: give --tls-cert and "
        "--tls-key, or let a proxy with TLS stand in front"
    )


def has_typed_key(found: Configuration[Any]) -> bool:  # Any: of any tree
    """Whether a key stands on the command line; the documented one is no secret."""
    typed = {name for name in SECRETS if found.origins[name].startswith("flag")}
    return "status_key" in typed or ("api_key" in typed and found.settings.api_key != (DEFAULT_KEY,))


def part(settings: object, tree: type[Tree]) -> Tree:
    """The settings that a class of the tree has too."""
    shared = {each.name for each in fields(tree)} & vars(settings).keys()  # type: ignore[arg-type]  # a dataclass
    return tree(**{name: getattr(settings, name) for name in shared})


def _file(path: Path, settings: set[str]) -> dict[str, object]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidArgument(f"config: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"config: {path} is no UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"config: {path} is no TOML: {error}") from None
    values = {key.replace("-", "_"): value for key, value in table.items()}
    if unknown := values.keys() - settings:
        raise InvalidArgument(f"config: {path} has unknown settings: {', '.join(sorted(unknown))}")
    return values
