"""The words every light shares: a colour, what is shown at one moment, and what a backend must be able to do."""

from dataclasses import dataclass
from typing import Final, Protocol

from edge.events import UNCERTAIN
from edge.labels import EMOTIONS
from edge.observers import Phase

Rgb = tuple[float, float, float]
"""Red, green, blue as on a screen (sRGB), each from 0 (dark) to 1."""

STARTING: Final = Phase.STARTING.value
LISTENING: Final = Phase.LISTENING.value
MUTED: Final = Phase.MUTED.value
FAULT: Final = Phase.FAULT.value
OFF: Final = "off"
CAPTURING: Final = "capturing"
"""What shows beside everything else that clips of speech are kept."""
NAMES: Final = (*EMOTIONS, UNCERTAIN, STARTING, LISTENING, MUTED, FAULT, OFF)
"""Everything a light can be asked to show."""

BLACK: Rgb = (0.0, 0.0, 0.0)
WHITE: Rgb = (1.0, 1.0, 1.0)

# The palette of Okabe and Ito, made to be told apart with any kind of colour vision, with white in place of black.
# Where tradition has a colour for an emotion (yellow happy, blue sad, red angry, green disgusted), it is kept.
COLOURS: Final[dict[str, str]] = {
    "neutral": "#ffffff",
    "calm": "#56b4e9",
    "happy": "#f0e442",
    "sad": "#0072b2",
    "angry": "#d55e00",
    "fearful": "#cc79a7",
    "disgusted": "#009e73",
    "surprised": "#e69f00",
}
"""Default colour of each emotion."""

# Blue and yellow are what every usual kind of colour blindness leaves apart.
_LOW: Rgb = (0.5, 0.62, 1.0)
_HIGH: Rgb = (1.0, 0.8, 0.45)

# An LED's light grows in proportion to its current or duty cycle, a screen's with about this power of the number.
_GAMMA: Final = 2.2


def parse_colour(text: str) -> Rgb:
    """Read "#rrggbb".

    Raises:
        ValueError: it is written in another way.
    """
    digits = text.removeprefix("#")
    if len(digits) != 6 or not text.startswith("#") or not all(c in "0123456789abcdefABCDEF" for c in digits):
        raise ValueError(f'{text!r} is not a colour: write "#rrggbb", for instance "#ffcc00"')
    red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def activation_colour(activation: float) -> Rgb:
    """The scale of `activation` (0 to 1): pale blue, over white, to pale amber."""
    end, share = (_HIGH, 2 * activation - 1) if activation > 0.5 else (_LOW, 1 - 2 * activation)
    red, green, blue = (1 - share * (1 - part) for part in end)
    return red, green, blue


def light_of(rgb: Rgb) -> Rgb:
    """`rgb` as shares of an LED's full light: the one place where eyes and LEDs are made to agree."""
    red, green, blue = (part**_GAMMA for part in rgb)
    return red, green, blue


def steps_of(rgb: Rgb, n_steps: int) -> tuple[int, int, int]:
    """`rgb` for an LED with `n_steps` steps of light for each part, from 0 to `n_steps`.

    What is not black stays visible: its strongest part gets at least one step, however much it is dimmed.
    """
    red, green, blue = (round(n_steps * part) for part in light_of(rgb))
    if not red and not green and not blue and any(rgb):
        red, green, blue = (int(part == max(rgb)) for part in rgb)
    return red, green, blue


@dataclass(frozen=True)
class Look:
    """What a light shows at one moment.

    `name` is one of `NAMES`. `confidence` (0 to 1) is 0 where none belongs to it. `level` is where the pattern stands,
    from 0 (dark) to 1. `rgb` is the colour to be seen, with confidence, pattern and brightness already in it; `colour`
    is the one without them. `activation` (0 to 1) is that of the voice, None where none is heard. `is_capturing` says
    that clips of speech are kept: in `rgb` and `level` it shows as a mark now and then.
    """

    name: str
    confidence: float
    level: float
    rgb: Rgb
    colour: Rgb = WHITE
    activation: float | None = None
    is_capturing: bool = False


class LightBackend(Protocol):
    """Something that can be seen."""

    def show(self, look: Look) -> None:
        """Show `look` until the next call. Called many times a second; touches the hardware only on a change.

        Raises:
            LightError: the light cannot be driven (any more). The next call tries again.
        """

    def close(self) -> None:
        """Leave every light off and give it back. Further calls do nothing.

        Raises:
            LightError: a light could not be turned off; the others are.
        """


class NoLight:
    """A backend for a board without any light: shows nothing."""

    def show(self, look: Look) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class RecordingLight:
    """A backend that keeps what it was shown, without repetitions, for tests and for whoever wants to plot it."""

    def __init__(self) -> None:
        self.history: list[Look] = []
        self.is_closed = False

    @property
    def names(self) -> list[str]:
        """The names shown, one for each change."""
        names = [look.name for look in self.history]
        return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]

    def show(self, look: Look) -> None:
        """Append `look`, unless it is what is shown already."""
        if not self.history or self.history[-1] != look:
            self.history.append(look)

    def close(self) -> None:
        """Go dark: the last entry of the history."""
        if not self.is_closed:
            self.show(Look(OFF, 0.0, 0.0, BLACK))
        self.is_closed = True
