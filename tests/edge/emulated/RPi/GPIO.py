"""The part of RPi.GPIO's interface that is used, on pins that exist only here.

A working implementation with the documented behaviour, errors included; `log` keeps every change of a pin. Real
libraries on real (emulated) pins are exercised by the board test. `hardware_pwm` makes it behave like Jetson.GPIO:
only those pins can be dimmed, and a dimmed pin is no output any more. `broken` pins fail like a lost connection.
`levels` is what pins are connected to; one that is pulled up and not connected is high.
"""

from __future__ import annotations

BCM = 11
OUT, IN = 0, 1
PUD_UP = 22

log: list[tuple[int, str, float]] = []  # (pin, "in" | "out" | "pwm", level or percent high)
broken: set[int] = set()
levels: dict[int, int] = {}
hardware_pwm: set[int] | None = None
_mode: int | None = None
_use: dict[int, str] = {}


def setmode(mode: int) -> None:
    global _mode
    if _mode not in (None, mode):
        raise ValueError("A different mode has already been set!")
    _mode = mode


def setwarnings(flag: bool) -> None:
    pass


def setup(channel: int, direction: int, pull_up_down: int = 20, initial: int = 0) -> None:
    _check(channel)
    if direction == OUT:
        _put(channel, "out", initial)
    else:
        _put(channel, "in", int(pull_up_down == PUD_UP))


def output(channel: int, value: int) -> None:
    _check(channel)
    if _use.get(channel) != "out":
        raise RuntimeError("The GPIO channel has not been set up as an OUTPUT")
    _put(channel, "out", value)


def input(channel: int) -> int:
    _check(channel)
    if channel not in _use:
        raise RuntimeError("You must setup() the GPIO channel first")
    if channel in broken:
        raise RuntimeError("GPIO not allocated")
    return levels.get(channel, int(state(channel)[1]))


def cleanup(channel: int) -> None:
    _check(channel)
    if channel in _use:
        _put(channel, "in", 0)
        del _use[channel]


class PWM:
    def __init__(self, channel: int, frequency: float) -> None:
        self._channel = -1
        if hardware_pwm is not None and channel not in hardware_pwm:
            raise ValueError(f"Channel {channel} is not a PWM")
        if _use.get(channel) == "pwm":
            raise RuntimeError("A PWM object already exists for this GPIO channel")
        if _use.get(channel) != "out":
            raise RuntimeError("You must setup() the GPIO channel as an output first")
        self._channel = channel
        self._runs = False

    def start(self, percent: float) -> None:
        self._runs = True
        self.ChangeDutyCycle(percent)

    def ChangeDutyCycle(self, percent: float) -> None:
        if not 0 <= percent <= 100:
            raise ValueError("dutycycle must have a value from 0.0 to 100.0")
        _put(self._channel, "pwm", percent)

    def stop(self) -> None:
        _put(self._channel, "out", 0)
        if hardware_pwm is not None:
            del _use[self._channel]

    def __del__(self) -> None:
        if _use.get(self._channel) == "pwm" and self._channel not in broken:
            self.stop()


def state(channel: int) -> tuple[str, float]:
    """What the pin does now, and its level or the percentage of time that it is high."""
    return next(((use, value) for pin, use, value in reversed(log) if pin == channel), ("in", 0))


def _check(channel: int) -> None:
    if _mode is None:
        raise RuntimeError("Please set pin numbering mode using GPIO.setmode(GPIO.BOARD) or GPIO.setmode(GPIO.BCM)")
    if not 0 <= channel < 54:
        raise ValueError("The channel sent is invalid on a Raspberry Pi")


def _put(channel: int, use: str, value: float) -> None:
    if channel in broken:
        raise RuntimeError("GPIO not allocated")
    _use[channel] = use
    log.append((channel, use, value))
