"""What a trial has shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """A row of the table."""

    name: str
    what: str
    """What was done, with how many."""
    is_right: bool
    """Whether all that is promised held."""
    figures: str
    faults: tuple[str, ...] = ()
    """Some of what went wrong, in words."""

    def row(self) -> str:
        """As Markdown has it."""
        return f"| {self.name} | {self.what} | {self.figures} | {'held' if self.is_right else '**broken**'} |"
