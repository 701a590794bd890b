"""The mute switch: a file in the state folder, so that a board that was muted wakes up muted.

Whoever may write there may press it: the command, the page, a button. The daemon looks several times a second.
"""

from __future__ import annotations

from pathlib import Path


class Mute:
    """The switch kept in the file `path`; it is on while the file exists."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def is_on(self) -> bool:
        """Whether nothing may be captured."""
        return self.path.exists()

    def set(self, on: bool) -> None:
        """Mute, or unmute. Raises OSError where the state folder cannot be written."""
        if on:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
        else:
            self.path.unlink(missing_ok=True)
