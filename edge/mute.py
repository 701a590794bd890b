"""The mute switch: a file in the state folder, so that a board that was muted wakes up muted.

Whoever may write there may press it: the command, the page, a button. The daemon looks at it before every block.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


class Mute:
    """The switch kept in the file `path`; it is on while the file exists.

    Where it cannot be known whether the file exists, what was known last holds, and at first: on. A card that fails
    must not open an ear.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last = True  # as the file was seen last
        self._held: bool | None = None  # what was asked for, where the file could not follow

    @property
    def is_on(self) -> bool:
        """Whether nothing may be captured."""
        before, self._last = self._last, self._look()
        if self._last != before:
            self._held = None  # whoever moved the file came later
        return self._last if self._held is None else self._held

    def set(self, on: bool) -> None:
        """Mute, or unmute, and keep it through a power cut.

        Raises:
            OSError: the state folder cannot be written; in this process the switch has moved all the same.
        """
        self._held = on
        try:
            self._write(on)
        finally:
            self._last = self._look()
        self._held = None

    def _look(self) -> bool:
        try:
            # a folder of that name is somebody's mistake: it could be neither made nor removed here
            return not stat.S_ISDIR(self.path.lstat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return self._last

    def _write(self, on: bool) -> None:
        if on:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.path.touch(exist_ok=False)  # it may be somebody else's, and a link must not be followed
        else:
            try:
                self.path.unlink()
            except FileNotFoundError:
                return
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
