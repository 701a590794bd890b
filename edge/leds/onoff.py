"""One LED for each emotion, on or off, whatever switches them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from edge.leds.base import CAPTURING, NAMES, OFF, Look

LED_NAMES: Final = (*(name for name in NAMES if name != OFF), CAPTURING)
"""What an LED of its own can stand for."""


class Outputs(Protocol):
    """Outputs of a board, each with a name. They start dark."""

    def write(self, name: str, is_lit: bool) -> None:
        """Raises:
        LightError: the output cannot be driven.
        """

    def release(self) -> None:
        """Leave them dark and give them back.

        Raises:
            LightError: one could not be turned off; the others are.
        """


class OneEach:
    """One LED for each of `names` (of `LED_NAMES`): on or off, with its pattern. They need not be complete."""

    def __init__(self, outputs: Outputs, names: Iterable[str]) -> None:
        self._outputs = outputs
        self._lit = dict.fromkeys(names, False)

    def show(self, look: Look) -> None:
        """Light the LED of `look` while its pattern is more bright than dark; write only changes.

        That of `capturing` shines beside it, all the time that clips are kept.
        """
        for name, was_lit in self._lit.items():
            is_lit = name == look.name and look.level >= 0.5 and any(look.rgb)
            if name == CAPTURING:
                is_lit = look.is_capturing
            if is_lit != was_lit:
                self._outputs.write(name, is_lit)
                self._lit[name] = is_lit

    def close(self) -> None:
        """Leave every LED off and give the outputs back."""
        self._lit = {}
        self._outputs.release()
