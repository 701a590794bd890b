"""Strips of LEDs with a chip in each: what goes over the wire, as pure functions, and the strip as a backend.

The whole strip shows one colour. Telling it more LEDs than there are does no harm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from edge.errors import LightError
from edge.leds.base import BLACK, Look, Rgb, light_of, steps_of
from edge.leds.onoff import Outputs
from edge.leds.spi import SpiDevice

MAX_LEDS: Final = 144  # a metre of the densest usual strip; more would not fit into one transfer of spidev (4096 bytes)

APA102_HZ: Final = 2_000_000  # the HATs take 8 MHz, long wires less
NEOPIXEL_HZ: Final = 6_666_667
"""Eight SPI bits of 0.15 us make one bit of a NeoPixel."""

# A NeoPixel's bit is a long or a short time high, then low. High for 5 x 0.15 = 0.75 us is a one (WS2812B: 0.65 to
# 0.95, SK6812: 0.45 to 0.75), for 2 x 0.15 = 0.3 us a zero (0.25 to 0.55, 0.15 to 0.45). One whole byte for each bit
# ends low, so the pause that some SPI controllers make between bytes does not change the time high.
_ONE, _ZERO = 0b11111000, 0b11000000
# Low for 280 us makes a WS2812B of any version show what it was sent; 240 bytes are 288 us. In front of the data, too:
# some boards hold the wire high while nothing is sent.
_LATCH: Final = bytes(240)


def apa102_bytes(rgb: Rgb, n_leds: int) -> bytes:
    """All of an APA102 (DotStar, SK9822) strip in one colour.

    A start of 32 zeros; for each LED 111, 5 bits of current, then blue, green, red with 8 bits each; an end.
    """
    light = light_of(rgb)
    # Dimmed by current as far as possible, by pulses for the rest: 13 bits instead of 8, so that a night is not black.
    current = max(1, math.ceil(31 * max(light)))
    red, green, blue = (round(255 * 31 / current * part) for part in light)
    if not red and not green and not blue:
        red, green, blue = steps_of(rgb, 255)
    led = bytes((0b11100000 | current, blue, green, red))
    # The end clocks the data through: half a clock for each LED, and 32 more for the SK9822, which shows nothing before
    # the next 32 zeros. The datasheets' end of ones would be a white LED on a strip that is longer than n_leds.
    return bytes(4) + led * n_leds + bytes(4 + math.ceil(n_leds / 16))


def neopixel_bytes(rgb: Rgb, n_leds: int) -> bytes:
    """All of a NeoPixel (WS2812B, SK6812) strip in one colour, for an SPI output at `NEOPIXEL_HZ`.

    For each LED green, red, blue with 8 bits each, the highest first.
    """
    red, green, blue = steps_of(rgb, 255)
    bits = "".join(f"{part:08b}" for part in (green, red, blue))
    led = bytes(_ONE if bit == "1" else _ZERO for bit in bits)
    return _LATCH + led * n_leds + _LATCH


class Strip:
    """A strip on an SPI output.

    Args:
        spi: the output, at the speed that the strip wants.
        to_bytes: colour and number of LEDs to what is sent: `apa102_bytes` or `neopixel_bytes`.
        n_leds: how many LEDs, 1 to `MAX_LEDS`.
        power: switches the LEDs' supply (its output "power") where the board has such a pin.
    """

    def __init__(
        self, spi: SpiDevice, to_bytes: Callable[[Rgb, int], bytes], n_leds: int, power: Outputs | None = None
    ) -> None:
        """Raises:
        LightError: the strip cannot be driven.
        """
        self._spi = spi
        self._to_bytes = to_bytes
        self._n_leds = n_leds
        self._power = power
        self._shown = b""
        self._is_closed = False
        try:
            if power:
                power.write("power", True)
            self._send(BLACK)  # the colours of an earlier program may still be there
        except LightError:
            self._release()
            raise

    def show(self, look: Look) -> None:
        """Show the colour of `look` on the whole strip."""
        if not self._is_closed:
            self._send(look.rgb)

    def close(self) -> None:
        """Leave the strip dark and give back the output."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._send(BLACK)
        finally:
            self._release()

    def _send(self, rgb: Rgb) -> None:
        data = self._to_bytes(rgb, self._n_leds)
        if data != self._shown:
            self._shown = b""
            self._spi.write(data)
            self._shown = data

    def _release(self) -> None:
        self._spi.close()
        if self._power:
            self._power.release()
