"""Troubles that do not stop the listening, told once."""

from __future__ import annotations

import logging

from edge.errors import TonelightError

log = logging.getLogger(__name__)


class Trouble:
    """Says when something begins to fail, when it fails in another way, and when it works again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said: set[str] = set()
        self.words = ""
        """What fails; empty while nothing does."""

    @property
    def is_on(self) -> bool:
        return bool(self.words)

    def begins(self, error: TonelightError, then: str = "everything else goes on", way: str = "") -> None:
        """Something fails, in a `way` that is told once until it works again."""
        if way not in self._said:
            log.error("%s (%s)", error, then)
        self._said.add(way)
        self.words = str(error)

    def ends(self) -> None:
        if self.is_on:
            log.info("the %s works again", self._what)
        self._said.clear()
        self.words = ""
