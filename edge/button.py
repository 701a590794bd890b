"""Buttons on pins: one that presses the mute switch, and those that say what was said last.

The button connects the pin to ground; the board's own resistor keeps it high otherwise (a Jetson cannot switch one on:
there, 10 kOhm to 3.3 V are needed). A thread looks at the pin a hundred times a second. That is simpler than it sounds:
an interrupt on the falling edge would also come when the contact bounces at the release, and unmute.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any, Final

from edge.clips import Clips
from edge.config import Config
from edge.errors import ClipError, LightError, TonelightError
from edge.leds.gpio import gpio_library
from edge.mute import Mute
from edge.trouble import Trouble

log = logging.getLogger(__name__)

POLL_S: Final = 0.01
N_EQUAL: Final = 3
"""The pin counts as up or down once it has been found so this often in a row: contacts bounce for some milliseconds."""
RETRY_S: Final = 30.0
"""A pin that cannot be read is opened anew this often."""


class Debounce:
    """Turns what a bouncing contact says into presses."""

    def __init__(self) -> None:
        self._is_down: bool | None = None  # not known before the contact was steady once
        self._last = False
        self._n_equal = 0

    def push(self, is_down: bool) -> bool:
        """Take one look at the contact; True when this is the moment at which the button was pressed.

        A button that is down from the start was not pressed: it hangs, or its pin is connected to something else.
        """
        self._n_equal = self._n_equal + 1 if is_down == self._last else 1
        self._last = is_down
        if self._n_equal < N_EQUAL or is_down == self._is_down:
            return False
        is_press = is_down and self._is_down is False
        self._is_down = is_down
        return is_press


class Button:
    """Calls `on_press` at each press of the button on GPIO number `pin`, from a thread of its own, until it is closed.

    A pin that cannot be read is reported once and tried again: everything else goes on. The report names it by `key`,
    the setting that it comes from, and ends with `otherwise`, what works without it.
    """

    def __init__(self, pin: int, on_press: Callable[[], None], key: str, otherwise: str) -> None:
        self._pin = pin
        self._on_press = on_press
        self._key = key
        self._otherwise = otherwise
        name = key.removesuffix("_pin").replace("_", " ").replace(".", " ")
        self._trouble = Trouble(name)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking, and give the pin back."""
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.is_set():
            try:
                gpio = gpio_library()
                self._follow(gpio)
            except LightError as error:  # there is no GPIO library, and the line says which to install
                self._trouble.begins(error)
            except Exception as error:  # each library has errors of its own
                words = " ".join(str(error).split()) or type(error).__name__
                self._trouble.begins(
                    TonelightError(
                        f"{self._key} = {self._pin}: GPIO {self._pin} cannot be read: {words}; is this user in the "
                        f'group "gpio", and no other program using the pin? {self._otherwise}'
                    )
                )
            self._is_over.wait(RETRY_S)

    def _follow(self, gpio: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Jetson.GPIO says here that it has no resistor to switch on
            gpio.setup(self._pin, gpio.IN, pull_up_down=gpio.PUD_UP)
        try:
            contact = Debounce()
            while not self._is_over.is_set():
                if contact.push(gpio.input(self._pin) == 0):
                    self._on_press()
                self._trouble.ends()
                self._is_over.wait(POLL_S)
        finally:
            gpio.cleanup(self._pin)


class Buttons:
    """Those that a configuration asks for: one that presses `mute`, and those that name the last of `clips`."""

    def __init__(self, mute: Mute, clips: Clips) -> None:
        self._mute = mute
        self._clips = clips
        self._open: list[Button] = []

    def fit(self, wanted: Config) -> None:
        """From now on these, and no others."""
        self.close()
        self._open = [teaching_button(pin, name, self._clips) for name, pin in wanted.capture.buttons.items()]
        if wanted.mute.button_pin is not None:
            self._open.append(mute_button(wanted.mute.button_pin, self._mute))

    def close(self) -> None:
        """Give all pins back."""
        while self._open:
            self._open.pop().close()


def mute_button(pin: int, mute: Mute) -> Button:
    """Moves `mute` at each press."""

    def press() -> None:
        try:
            mute.set(not mute.is_on)
        except OSError as error:
            log.error(
                "%s: the mute switch has moved, but that cannot be kept: %s; it is forgotten at the next start",
                mute.path,
                error.strerror,
            )

    return Button(pin, press, "mute.button_pin", "`tonelight mute` works without a button")


def teaching_button(pin: int, emotion: str, clips: Clips) -> Button:
    """Says at each press that the last clip was of `emotion`."""

    def press() -> None:
        try:
            last = clips.last()
            if last is None:
                log.warning("the button for %s was pressed, but there is no clip to name", emotion)
            else:
                clips.label(last.id, emotion)
                log.info("the clip %s has been named by a button", last.id)
        except ClipError as error:
            log.error("%s", error)

    return Button(pin, press, f"capture.buttons.{emotion}", "`tonelight clips label` works without a button")
