"""From what the pipeline says to what a light shows at this moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import time
from typing import Final

from edge.errors import LightError
from edge.events import UNCERTAIN, Detection, Score
from edge.labels import EMOTIONS
from edge.leds.base import (
    BLACK,
    COLOURS,
    FAULT,
    LISTENING,
    MUTED,
    STARTING,
    WHITE,
    LightBackend,
    Look,
    Rgb,
    activation_colour,
    parse_colour,
)
from edge.leds.night import Night, local_time
from edge.leds.patterns import PATTERNS, mark, tempo
from edge.observers import Phase

HOLD_S: Final = 5.0
"""How long the last thing heard stays visible when nothing follows."""

_RED: Rgb = (1.0, 0.0, 0.0)
_STATUS_COLOURS: Final[Mapping[str, Rgb]] = {STARTING: WHITE, LISTENING: WHITE, MUTED: _RED, FAULT: _RED}
# How strong: an emotion that is sure outshines a voice that is not, and both what is only a sign of life.
_STRENGTH: Final[Mapping[str, float]] = {UNCERTAIN: 0.6, STARTING: 0.4, LISTENING: 0.3, MUTED: 0.5}
_VIOLET: Rgb = (0.6, 0.2, 1.0)  # no emotion and no status has it
_MARK_LEAST: Final = 0.2  # however dark the light is to be: that clips are kept must be seen
_DIMMEST: Final = 0.25  # a barely recognised emotion must still be visible


class Lights:
    """The light of the daemon. `show_*` says what is to be seen; `tick`, called once for each block, makes it so.

    While somebody speaks, the light shows the activation of the voice: a soft breathing, slow and bluish when it is
    low, quick and amber when it is high. As soon as the emotion is sure, it has that emotion's colour and pattern, the
    brighter the surer. The last thing heard is shown for `HOLD_S`; then the light goes back to listening by itself.
    While clips of speech are kept, a violet mark comes through all of this every few seconds.

    `brightness` (0 to 1) dims everything, `night` still more; `colours` gives other colours than the usual ones to
    emotions. `time_of_day` is the local one.
    """

    def __init__(
        self,
        backend: LightBackend,
        brightness: float = 1.0,
        colours: Mapping[str, str] | None = None,
        *,
        night: Night | None = None,
        time_of_day: Callable[[], time] = local_time,
        can_show_capturing: bool = True,
        has_capturing_led: bool = False,
    ) -> None:
        """`can_show_capturing`: whether it can be seen on `backend` that clips are kept; `has_capturing_led`: by an LED
        of its own, so that no mark is drawn over what the others show.

        Raises:
        ValueError: a colour is not written "#rrggbb".
        """
        self.can_show_capturing = can_show_capturing
        self._has_capturing_led = has_capturing_led
        self._backend = backend
        self._brightness = brightness
        self._night = night or Night()
        self._time_of_day = time_of_day
        emotions = {name: parse_colour(text) for name, text in {**COLOURS, **(colours or {})}.items()}
        self._colours: dict[str, Rgb] = {**emotions, **_STATUS_COLOURS}
        self._phase: Phase | None = None
        self._name: str = STARTING
        self._confidence = 0.0
        self._activation: float | None = None
        self._is_new = True  # the pattern starts anew at the next tick
        self._is_fresh = True  # something was heard since the last tick
        self._pattern_s = 0.0  # where the pattern stands
        self._ticked_s = 0.0
        self._heard_s = 0.0
        self._is_capturing = False
        self._capturing_since_s: float | None = None

    def show_score(self, score: Score) -> None:
        """Somebody is speaking: the emotion, or only the activation while none is sure.

        Raises:
            LightError: the label is none of the eight emotions.
        """
        self._hear(score.label, score.confidence, score.activation)

    def show_detection(self, detection: Detection) -> None:
        """A stretch of speech is over: what it was.

        Raises:
            LightError: the label is none of the eight emotions.
        """
        label = None if detection.uncertain else detection.label
        self._hear(label, detection.confidence, detection.activation)

    def show_status(self, phase: Phase) -> None:
        """Show what the daemon is doing, until something is heard or the phase changes.

        Saying the same again changes nothing, so that it does not cut short what was heard.
        """
        if phase != self._phase:
            self._phase = phase
            self._set(phase.value, 0.0, None)

    def show_capturing(self, on: bool) -> None:
        """Show, beside all else, whether clips of speech are kept."""
        self._is_capturing = on

    def tick(self, now_s: float) -> None:
        """Bring the light to where it should be at `now_s` (any clock that only runs forward).

        Raises:
            LightError: the light cannot be driven (any more). The next tick tries again.
        """
        if self._is_fresh:
            self._heard_s, self._is_fresh = now_s, False
        elif self._is_voice and now_s - self._heard_s >= HOLD_S:
            self._set(LISTENING, 0.0, None)
            self._is_fresh = False
        if self._is_new:
            self._pattern_s, self._is_new = 0.0, False
        else:
            # Only its pace follows the activation: a pattern that depended on it directly would jump with every score.
            pace = 1.0 if self._name != UNCERTAIN else tempo(self._activation or 0.0)
            self._pattern_s += pace * (now_s - self._ticked_s)
        self._ticked_s = now_s
        self._backend.show(self._marked(self._look(), now_s))

    def close(self) -> None:
        """Leave every light off and give it back.

        Raises:
            LightError: a light could not be turned off; the others are.
        """
        self._backend.close()

    @property
    def _is_voice(self) -> bool:
        return self._name == UNCERTAIN or self._name in EMOTIONS

    def _look(self) -> Look:
        level = PATTERNS[self._name](self._pattern_s)
        strength = level * _STRENGTH.get(self._name, 1.0) * self._brightness_now()
        if self._name in EMOTIONS:
            strength *= _DIMMEST + (1 - _DIMMEST) * self._confidence
        colour = activation_colour(self._activation or 0.0) if self._name == UNCERTAIN else self._colours[self._name]
        red, green, blue = colour
        rgb = (red * strength, green * strength, blue * strength)
        return Look(self._name, self._confidence, level, rgb, colour, self._activation)

    def _marked(self, look: Look, now_s: float) -> Look:
        """`look`, and the mark where it is time for it."""
        if not self._is_capturing:
            self._capturing_since_s = None
            return look
        if self._capturing_since_s is None:
            self._capturing_since_s = now_s
        level = None if self._has_capturing_led else mark(now_s - self._capturing_since_s)
        if level is None:
            return replace(look, is_capturing=True)
        strength = level * max(self._brightness_now(), _MARK_LEAST)
        red, green, blue = _VIOLET
        rgb = (red * strength, green * strength, blue * strength) if level else BLACK
        return replace(look, level=level, rgb=rgb, is_capturing=True)

    def _brightness_now(self) -> float:
        if self._night.from_ and self._night.covers(self._time_of_day()):  # nearly always there is none
            return min(self._brightness, self._night.brightness)
        return self._brightness

    def _hear(self, label: str | None, confidence: float, activation: float) -> None:
        if label is not None and label not in EMOTIONS:
            raise LightError(f'no light for "{label}": the model\'s labels must be among {", ".join(EMOTIONS)}')
        self._phase = Phase.LISTENING
        # The confidence in an emotion that is not shown would only be taken for one in what is.
        self._set(label or UNCERTAIN, confidence if label else 0.0, max(0.0, min(1.0, activation)))

    def _set(self, name: str, confidence: float, activation: float | None) -> None:
        # A pattern goes on while its name stays, so that each new score does not start it again.
        self._is_new = self._is_new or name != self._name
        self._is_fresh = True
        self._name = name
        self._confidence = max(0.0, min(1.0, confidence))
        self._activation = activation
