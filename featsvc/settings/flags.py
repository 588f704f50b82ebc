"""Settings on a command line: a flag for each, and a help that shows the common ones first."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from featsvc.settings.attributes import Attribute
from featsvc.settings.kinds import COMMON
from featsvc.settings.sources import NO_WORDS


class Help(argparse.HelpFormatter):
    """Flags narrow enough that what they mean stands beside them."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)


def add_flags(
    parser: argparse.ArgumentParser, settings: Sequence[Attribute], words: Mapping[str, str] = NO_WORDS
) -> None:
    """One flag for each of the settings, in groups; a flag that is not given leaves no trace.

    `words` are further names of flags, which the help shows first.
    """
    parser.formatter_class = Help
    for heading in headings(settings):
        chosen = [each for each in settings if each.heading == heading]
        # A heading over one or two flags of a small command would be longer than they are.
        group = parser.add_argument_group(heading) if len(settings) > len(chosen) + 2 else parser
        for each in chosen:
            flags = (words[each.name], each.flag) if each.name in words else (each.flag,)
            text = each.description.replace("%", "%%")
            if isinstance(each.default, bool):
                group.add_argument(
                    *flags,
                    dest=each.name,
                    action=argparse.BooleanOptionalAction,
                    default=argparse.SUPPRESS,
                    help=text,
                )
            else:
                of_default = f" [{each.written.text(each.default)}]" if each.default not in ("", ()) else ""
                group.add_argument(
                    *flags,
                    dest=each.name,
                    default=argparse.SUPPRESS,
                    metavar=each.written.placeholder,
                    help=text + of_default,
                )
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings", default=None)


def headings(settings: Sequence[Attribute]) -> list[str]:
    """Of the groups of the help, in order."""
    return list(dict.fromkeys((COMMON, *(each.heading for each in settings))))
