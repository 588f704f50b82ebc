"""The addresses and keys of the REST services, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, cast

from featsvc_client.arguments import Connection


class Servers(TypedDict, total=False):
    """Where each REST service is: `extract_clip_features(picture, **servers["clip"])`."""

    clip: Connection
    dino: Connection
    sam2: Connection


def load_servers(path: str | Path) -> Servers:
    """The services named in a YAML file such as the servers.yaml beside this module."""
    try:
        import yaml
    except ImportError:
        raise ImportError("load_servers reads YAML: pip install PyYAML") from None
    content = yaml.safe_load(Path(path).read_text("utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: clip, dino and sam2 are expected at its top level")
    # cast: _connection has checked names and values, which mypy cannot follow through a dict.
    return cast(Servers, {name: _connection(path, name, values) for name, values in content.items()})


def _connection(path: str | Path, name: str, values: object) -> Connection:
    if name not in Servers.__annotations__:
        raise ValueError(f"{path}: no service {name!r}; known are {', '.join(Servers.__annotations__)}")
    if not isinstance(values, dict) or not values.keys() <= Connection.__annotations__.keys():
        raise ValueError(f"{path}: {name} takes {', '.join(Connection.__annotations__)}")
    return cast(Connection, values)
