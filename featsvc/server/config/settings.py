"""The settings of a server in force: those of the tree, and what follows from the profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from featsvc.catalog.choice import DEMO
from featsvc.settings import sources
from featsvc.settings.sources import Configuration
from featsvc.settings.tree import Settings

Tree = TypeVar("Tree", bound=Settings)


def configuration(flags: Mapping[str, object], tree: type[Tree]) -> Configuration[Tree]:
    """The settings in force. Raises InvalidArgument that names the setting, its source and what it may be."""
    found = sources.configuration(flags, tree)
    if found.settings.profile == "demo" and found.origins["preload"] == "default":
        settings = replace(found.settings, preload=tuple(DEMO.values()))
        return Configuration(settings, {**found.origins, "preload": "profile demo"})
    return found
