"""From what the pipeline says to what a light shows at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edge.errors import LightError
from edge.events import UNCERTAIN, Detection, Score
from edge.leds.base import BLACK, COLOURS, LISTENING, OFF, LightBackend, Look, Rgb, parse_colour
from edge.leds.patterns import PATTERNS

HOLD_S: Final = 5.0
"""How long the last thing heard stays visible when nothing follows."""

_GREY: Rgb = (0.3, 0.3, 0.3)
_DIMMEST: Final = 0.25  # a barely recognised emotion must still be visible


class Lights:
    """The light of the daemon. `show_*` says what is to be seen; `tick`, called once for each block, makes it so.

    A score or a detection is shown until the next one, at most for `HOLD_S`; then the light goes back to listening by
    itself. `brightness` (0 to 1) dims everything; `colours` gives other colours than the usual ones to emotions.
    """

    def __init__(
        self, backend: LightBackend, brightness: float = 1.0, colours: Mapping[str, str] | None = None
    ) -> None:
        """Raises:
        ValueError: a colour is not written "#rrggbb".
        """
        self._backend = backend
        self._brightness = brightness
        self._colours = {name: parse_colour(text) for name, text in {**COLOURS, **(colours or {})}.items()}
        self._colours |= {UNCERTAIN: _GREY, LISTENING: _GREY, OFF: BLACK}
        self._name: str = LISTENING
        self._confidence = 0.0
        self._is_new = True  # the pattern starts anew at the next tick
        self._is_fresh = True  # something was heard since the last tick
        self._shown_since_s = 0.0
        self._heard_s = 0.0

    def show_score(self, score: Score) -> None:
        """Somebody is speaking: the emotion, or `uncertain` while there is none to be shown.

        Raises:
            LightError: the label is none of the eight emotions.
        """
        self._set(UNCERTAIN if score.label is None else score.label, score.confidence)

    def show_detection(self, detection: Detection) -> None:
        """A stretch of speech is over: what it was.

        Raises:
            LightError: the label is none of the eight emotions.
        """
        self._set(UNCERTAIN if detection.uncertain else detection.label, detection.confidence)

    def show_idle(self) -> None:
        """Nobody is speaking: a short dim blip every few seconds says that the device is listening."""
        self._set(LISTENING, 0.0)

    def show_off(self) -> None:
        """Nothing is to be seen, until something else is shown."""
        self._set(OFF, 0.0)

    def tick(self, now_s: float) -> None:
        """Bring the light to where it should be at `now_s` (any clock that only runs forward).

        Raises:
            LightError: the light cannot be driven (any more). The next tick tries again.
        """
        if self._is_fresh:
            self._heard_s, self._is_fresh = now_s, False
        elif self._name not in (LISTENING, OFF) and now_s - self._heard_s >= HOLD_S:
            self.show_idle()
            self._is_fresh = False
        if self._is_new:
            self._shown_since_s, self._is_new = now_s, False
        level = PATTERNS[self._name](now_s - self._shown_since_s)
        strength = level * self._brightness
        if self._name not in (UNCERTAIN, LISTENING, OFF):
            strength *= _DIMMEST + (1 - _DIMMEST) * self._confidence
        red, green, blue = self._colours[self._name]
        rgb = (red * strength, green * strength, blue * strength)
        self._backend.show(Look(self._name, self._confidence, level, rgb))

    def close(self) -> None:
        """Leave every light off and give it back.

        Raises:
            LightError: a light could not be turned off; the others are.
        """
        self._backend.close()

    def _set(self, name: str, confidence: float) -> None:
        if name not in PATTERNS:
            raise LightError(f'no light for "{name}": the model\'s labels must be among {", ".join(COLOURS)}')
        # A pattern goes on while its emotion stays, so that each new score does not start it again.
        self._is_new = self._is_new or name != self._name
        self._is_fresh = True
        self._name = name
        self._confidence = max(0.0, min(1.0, confidence))
