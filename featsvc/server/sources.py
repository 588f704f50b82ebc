"""Where settings come from: flag over environment variable over TOML file over default."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from featsvc.catalog.choice import DEMO
from featsvc.errors import InvalidArgument
from featsvc.server.settings import Settings, descriptions, environment

UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
SIZES = (
    "model_memory",
    "max_queue_bytes",
    "max_image_bytes",
    "max_request_bytes",
    "max_reply_bytes",
    "max_mask_bytes",
    "max_feature_bytes",
    "max_chunked_bytes",
    "embedding_cache",
    "text_cache",
    "image_cache",
    "image_cache_per_key",
)
TRUTHS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
CHOICES = {
    "profile": ("default", "demo"),
    "log_level": ("debug", "info", "warning", "error"),
    "precision": ("fp32", "bf16", "fp16"),
}
PORTS = ("grpc_port", "clip_port", "dino_port", "sam2_port")
AT_LEAST_ONE = (
    "workers_per_device", "max_concurrency", "max_batch", "max_queue", "max_queue_bytes", "max_calls", "rest_workers",
    "max_image_bytes", "max_image_pixels", "max_request_bytes", "max_reply_bytes", "max_cells", "max_points",
    "max_mask_bytes", "max_feature_bytes", "max_pca_side", "max_word_letters", "max_chunked_bytes",
    "max_open_per_stream",
)  # fmt: skip


@dataclass(frozen=True)
class Configuration:
    """Settings in force, and where each value came from."""

    settings: Settings
    origins: Mapping[str, str]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag for each setting; a flag that is not given leaves no trace."""
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings", default=None)
    texts = descriptions()
    for each in fields(Settings):
        flag = "--" + each.name.replace("_", "-")
        if isinstance(each.default, bool):
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=texts[each.name]
            )
        else:
            parser.add_argument(
                flag, default=argparse.SUPPRESS, help=f"{texts[each.name]} [{shown(each.default)}]"
            )


def configuration(flags: Mapping[str, object]) -> Configuration:
    """The settings in force. Raises InvalidArgument that names the setting, its source and what it may be."""
    variables = environment()
    path = flags.get("config") or variables.get("FEATSVC_CONFIG")
    from_file = _file(Path(str(path))) if path else {}
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for each in fields(Settings):
        variable = f"FEATSVC_{each.name.upper()}"
        sources = (
            (flags.get(each.name), f"flag --{each.name.replace('_', '-')}"),
            (variables.get(variable), f"environment {variable}"),
            (from_file.get(each.name), f"file {path}"),
        )
        value, origin = next(((v, o) for v, o in sources if v is not None), (each.default, "default"))
        try:
            values[each.name] = parsed(each.name, value, each.default)
        except ValueError as error:
            raise InvalidArgument(f"{origin}: {error}") from None
        origins[each.name] = origin
    if values["profile"] == "demo" and origins["preload"] == "default":
        values["preload"], origins["preload"] = tuple(DEMO.values()), "profile demo"
    return Configuration(Settings(**values), origins)  # type: ignore[arg-type]  # each was parsed to its field's type


def parsed(name: str, value: object, default: object) -> object:
    """A value, given as text or as TOML has it, in the type of the setting. Raises ValueError that says what fits."""
    if isinstance(default, tuple):
        parts = value if isinstance(value, list | tuple) else str(value).split(",")
        return tuple(str(part).strip() for part in parts if str(part).strip())
    if isinstance(default, bool):
        if str(value).lower() not in TRUTHS:
            raise ValueError(f"{name}: {value!r} is neither true nor false")
        return TRUTHS[str(value).lower()]
    if isinstance(default, int):
        return _whole(name, str(value))
    if isinstance(default, float):
        return _seconds(name, value)
    if name in CHOICES and str(value).lower() not in CHOICES[name]:
        raise ValueError(f"{name}: {value!r}, may be {' or '.join(CHOICES[name])}")
    return str(value).lower() if name in CHOICES else str(value)


def shown(value: object) -> str:
    """A value as the command line would take it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _whole(name: str, text: str) -> int:
    match = re.fullmatch(r"(\d+)(?:([kmg])i?b?|b)?", text.strip().lower().replace("_", ""))
    if match is None or (match[2] and name not in SIZES):
        raise ValueError(
            f"{name}: {text!r} is no {'size such as 512MiB' if name in SIZES else 'whole number'}"
        )
    number = int(match[1]) * UNITS[match[2] or ""]
    if name in AT_LEAST_ONE and number < 1:
        raise ValueError(f"{name}: {number}, at least 1")
    if name in PORTS and number > 65535:
        raise ValueError(f"{name}: {number}, at most 65535")
    return number


def _seconds(name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        raise ValueError(f"{name}: {value!r} is no number of seconds") from None
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name}: {value!r}, 0 or more seconds")
    return number


def _file(path: Path) -> dict[str, object]:
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise InvalidArgument(f"config: {path} cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"config: {path} is no TOML: {error}") from None
    values = {key.replace("-", "_"): value for key, value in table.items()}
    unknown = values.keys() - {each.name for each in fields(Settings)}
    if unknown:
        raise InvalidArgument(f"config: {path} has unknown settings: {', '.join(sorted(unknown))}")
    return values
