"""The tree of settings: groups of attributes, each with its range, default and docstring, and who reads which groups.

An attribute is all that a setting needs: its flag, its FEATSVC_… variable, its TOML key, its lines in `--help` and
`featsvc config` follow from it, and whoever has the group has the setting. A group's docstring is its heading.
"""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.settings.access import Host, KeyLimits, Keys, Tls
from featsvc.settings.calls import Calls, Metrics, Pictures, Requests, Rest, Traces
from featsvc.settings.cluster import Cluster
from featsvc.settings.computing import Caches, Limits, Models, Networks, Weights, Workers
from featsvc.settings.kinds import LogFormat, LogLevel


@dataclass(frozen=True, kw_only=True)
class Logs:
    """Logs."""

    log_level: LogLevel = "info"
    """Debug, info, warning or error; on a terminal warning, unless it is set."""
    log_format: LogFormat = "auto"
    """Plain for people, json for programs; auto is plain on a terminal and json elsewhere."""


@dataclass(frozen=True, kw_only=True)
class GatewaySettings(
    Host,
    Tls,
    Keys,
    Weights,
    Models,
    Workers,
    Cluster,
    Networks,
    Caches,
    Limits,
    Calls,
    Requests,
    Pictures,
    KeyLimits,
    Metrics,
    Traces,
    Logs,
):
    """What the gRPC server reads."""


@dataclass(frozen=True, kw_only=True)
class ShimSettings(Host, Tls, Keys, Requests, Rest, Traces, Logs):
    """What the REST ports read, beside a gateway or started on their own."""


@dataclass(frozen=True, kw_only=True)
class Settings(GatewaySettings, ShimSettings):
    """Every setting of the server."""
