"""Patterns: pure functions from the seconds since something is being shown to a level from 0 (dark) to 1.

Each emotion has its own, so that the light can be read without seeing colours, and what is known for lively (angry,
happy, fearful, surprised) moves more quickly than what is known for quiet (neutral, calm, sad): so activation is in
every pattern. Two limits shape them all: never more than three flashes in a second (seizures; the limit of WCAG
2.3.1), and no part shorter than 0.15 s, because the light moves on only once for each block of samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from edge.events import UNCERTAIN
from edge.leds.base import FAULT, LISTENING, MUTED, OFF, STARTING

Pattern = Callable[[float], float]


def steady(t_s: float) -> float:
    """On, all the time."""
    return 1.0


def dark(t_s: float) -> float:
    """Off, all the time."""
    return 0.0


def pulse(period_s: float, low: float = 0.1) -> Pattern:
    """Swell and fade like breathing, starting bright; never below `low`."""
    return lambda t_s: low + (1 - low) * (0.5 + 0.5 * math.cos(2 * math.pi * t_s / period_s))


def fade(period_s: float, low: float = 0.1) -> Pattern:
    """Bright at once, then sinking to `low`; again and again."""
    return lambda t_s: 1 - (1 - low) * (t_s % period_s) / period_s


def rise(period_s: float, low: float = 0.1) -> Pattern:
    """From `low` to bright, then a drop; again and again."""
    return lambda t_s: low + (1 - low) * (t_s % period_s) / period_s


def flashes(*durations_s: float) -> Pattern:
    """On for the first duration, off for the second, on for the third and so on; then from the beginning.

    `flashes(0.5, 0.5)` blinks, `flashes(0.2, 0.2, 0.2, 1.0)` blinks twice and rests.
    """
    period_s = sum(durations_s)

    def level(t_s: float) -> float:
        rest_s = t_s % period_s
        for i, duration_s in enumerate(durations_s):
            if rest_s < duration_s:
                return 1.0 - i % 2
            rest_s -= duration_s
        return 0.0  # rounding put the moment exactly at the end

    return level


def mark(t_s: float) -> float | None:
    """Dark, one long shine, dark again, every six seconds from the first moment on; None in between, when everything
    else has its turn. The dark edges tell it from any pattern, and keep it from adding to their flashes."""
    rest_s = t_s % 6.0
    return None if rest_s >= 1.3 else float(0.25 <= rest_s < 1.05)


def tempo(activation: float) -> float:
    """How many times as fast as time itself the pattern of `uncertain` runs: 0.2 (quiet) to 1.5 (lively)."""
    return 0.2 * math.pow(7.5, activation)


PATTERNS: Final[dict[str, Pattern]] = {
    "neutral": pulse(6.0, low=0.7),
    "calm": pulse(4.0),
    "happy": flashes(0.2, 0.2, 0.2, 0.8),
    "sad": fade(3.0),
    "angry": flashes(0.2, 0.2),
    "fearful": flashes(0.15, 0.2, 0.15, 0.2, 0.15, 0.65),
    "disgusted": flashes(1.2, 0.3),
    "surprised": rise(0.9),
    UNCERTAIN: pulse(1.0, low=0.2),  # its time runs at `tempo`
    STARTING: flashes(0.6, 0.6),
    LISTENING: flashes(0.2, 3.8),
    MUTED: steady,
    FAULT: flashes(1.0, 0.3, 0.2, 0.3, 0.2, 1.0),
    OFF: dark,
}
"""The pattern of everything a light can be asked to show."""

PATTERN_WORDS: Final[dict[str, str]] = {
    "neutral": "a glow that hardly moves",
    "calm": "slow breathing",
    "happy": "two short flashes",
    "sad": "fading away",
    "angry": "quick blinking",
    "fearful": "three short flashes",
    "disgusted": "long on, short off",
    "surprised": "rising, then a drop",
    UNCERTAIN: "soft breathing",
    STARTING: "even blinking",
    LISTENING: "a dim blip now and then",
    MUTED: "steady",
    FAULT: "one long flash, two short",
    OFF: "dark",
}
"""Each pattern, for people who look for it."""

MARK_WORDS: Final = "one long violet shine every six seconds, beside everything else"
"""The mark, for people who look for it."""
