"""LEDs on pins, through an implementation of RPi.GPIO's interface without hardware (tests/edge/emulated/RPi/GPIO.py).

Real libraries drive real pins in the test on an emulated board; here it is what reaches the pins that counts.
"""

# ruff: noqa: F401, F811 (a fixture is used by its name)
import os
import sys
import threading
import time
from pathlib import Path

import pytest
from emulated_pins import forget, gpio

from edge.errors import LightError
from edge.events import UNCERTAIN, Score
from edge.labels import EMOTIONS
from edge.leds import LISTENING, LedSettings, Lights, Look, open_backend
from edge.leds.gpio import Pins, RgbPins, gpio_library
from edge.leds.onoff import OneEach

WHITE = Look("neutral", 1.0, 1.0, (1.0, 1.0, 1.0))
DARK = Look("off", 0.0, 0.0, (0.0, 0.0, 0.0))


def emotion_pins(pins: dict[str, int], *, active_low: bool = False) -> OneEach:
    return OneEach(Pins(pins, active_low=active_low), pins)


def lit(name: str, level: float = 1.0) -> Look:
    return Look(name, 1.0, level, (level, level, level))


# --- one RGB LED


def test_a_colour_becomes_three_duty_cycles(gpio):
    led = RgbPins(17, 27, 22)
    assert [gpio.state(pin) for pin in (17, 27, 22)] == [("pwm", 0)] * 3
    led.show(Look("happy", 1.0, 1.0, (1.0, 0.5, 0.0)))
    # half the number on a screen is about a fifth of the light
    assert [gpio.state(pin) for pin in (17, 27, 22)] == [("pwm", 100), ("pwm", 22), ("pwm", 0)]
    led.close()


def test_active_low_is_the_other_way_round_and_starts_and_ends_dark(gpio):
    led = RgbPins(17, 27, 22, active_low=True)
    red = [(use, value) for pin, use, value in gpio.log if pin == 17]
    assert red == [("out", 1), ("pwm", 100)]
    led.show(WHITE)
    assert gpio.state(17) == ("pwm", 0)
    led.close()
    red = [(use, value) for pin, use, value in gpio.log if pin == 17]
    assert red[-2:] == [("out", 1), ("in", 0)]


def test_the_same_colour_is_not_written_again(gpio):
    led = RgbPins(17, 27, 22)
    led.show(WHITE)
    n_before = len(gpio.log)
    for _ in range(100):
        led.show(WHITE)
    led.show(Look("neutral", 1.0, 1.0, (1.0, 1.0, 0.999)))  # less than a percent
    assert len(gpio.log) == n_before
    led.close()


@pytest.mark.parametrize("active_low", [False, True])
def test_closing_leaves_the_led_off_and_gives_the_pins_back(gpio, active_low):
    led = RgbPins(17, 27, 22, active_low=active_low)
    led.show(WHITE)
    led.close()
    for pin in (17, 27, 22):
        assert [(use, value) for p, use, value in gpio.log if p == pin][-2:] == [("out", int(active_low)), ("in", 0)]
    n_before = len(gpio.log)
    led.close()
    led.show(WHITE)
    assert len(gpio.log) == n_before
    RgbPins(17, 27, 22).close()  # the pins are free for the next one


def test_a_pin_that_cannot_be_dimmed_is_named_and_the_others_are_given_back(gpio):
    gpio.hardware_pwm = {12, 13}
    with pytest.raises(LightError, match=r"GPIO 22 cannot be driven: Channel 22 is not a PWM; .*Jetson.*12, 13 and 22"):
        RgbPins(12, 13, 22)
    assert gpio._use == {}


def test_pwm_hardware_that_takes_the_pin_away_from_gpio(gpio):
    gpio.hardware_pwm = {12, 13, 22}
    led = RgbPins(12, 13, 22, active_low=True)
    led.show(WHITE)
    led.close()
    assert [(use, value) for pin, use, value in gpio.log if pin == 12][-2:] == [("out", 1), ("in", 0)]
    assert gpio._use == {}


def test_a_pin_that_fails_later_is_an_error_and_tried_again(gpio):
    led = RgbPins(17, 27, 22)
    gpio.broken.add(27)
    for _ in range(2):
        with pytest.raises(LightError, match="GPIO 27 cannot be driven: GPIO not allocated; is this user in the group"):
            led.show(WHITE)
    gpio.broken.clear()
    led.show(WHITE)
    assert [gpio.state(pin) for pin in (17, 27, 22)] == [("pwm", 100)] * 3
    gpio.broken.add(27)
    with pytest.raises(LightError, match="GPIO 27"):
        led.close()
    assert [gpio.state(pin)[0] for pin in (17, 22)] == ["in", "in"]  # one fault does not keep the others lit


# --- one LED per emotion


def test_each_emotion_lights_its_own_pin(gpio):
    pins = {name: 4 + i for i, name in enumerate((*EMOTIONS, UNCERTAIN, LISTENING))}
    leds = emotion_pins(pins)
    for name in pins:
        leds.show(lit(name))
        assert [other for other, pin in pins.items() if gpio.state(pin) == ("out", 1)] == [name]
    leds.show(lit(LISTENING, 0.4))  # more dark than bright
    assert not any(gpio.state(pin)[1] for pin in pins.values())
    leds.close()
    assert gpio._use == {}


def test_an_emotion_without_a_pin_shows_nothing(gpio):
    leds = emotion_pins({"happy": 5, "sad": 6}, active_low=True)
    assert [gpio.state(5), gpio.state(6)] == [("out", 1), ("out", 1)]
    leds.show(lit("sad"))
    assert [gpio.state(5), gpio.state(6)] == [("out", 1), ("out", 0)]
    leds.show(lit("angry"))
    assert [gpio.state(5), gpio.state(6)] == [("out", 1), ("out", 1)]
    leds.close()
    assert [entry[1:] for entry in gpio.log if entry[0] == 6][-2:] == [("out", 1), ("in", 0)]


def test_only_changes_are_written(gpio):
    leds = emotion_pins({"happy": 5, "sad": 6})
    n_before = len(gpio.log)
    for level in (1.0, 0.9, 0.8, 0.6, 0.4, 0.1):
        leds.show(lit("happy", level))
    assert gpio.log[n_before:] == [(5, "out", 1), (5, "out", 0)]
    leds.close()


def test_brightness_zero_keeps_on_or_off_leds_dark(gpio):
    lights = Lights(emotion_pins({"happy": 5}), brightness=0.0)
    lights.show_score(Score(0.0, {}, "happy", 0.9, activation=0.8))
    lights.tick(0.0)
    assert gpio.state(5) == ("out", 0)
    lights.close()


def test_a_failed_write_is_tried_again(gpio):
    leds = emotion_pins({"happy": 5, "sad": 6})
    gpio.broken.add(5)
    with pytest.raises(LightError, match="GPIO 5 cannot be driven"):
        leds.show(lit("happy"))
    gpio.broken.clear()
    leds.show(lit("happy"))
    assert gpio.state(5) == ("out", 1)
    leds.close()


# --- pins and libraries


def test_pins_that_fail_at_the_start_give_the_others_back(gpio):
    gpio.broken.add(6)
    with pytest.raises(LightError, match="GPIO 6 cannot be driven"):
        emotion_pins({"happy": 5, "sad": 6})
    assert gpio.state(5) == ("in", 0)


def test_another_numbering_in_this_process_is_one_clear_line(gpio):
    gpio.setmode(10)
    with pytest.raises(LightError, match="the GPIO pins cannot be opened: A different mode has already been set!"):
        RgbPins(17, 27, 22)


def test_threads_that_want_the_pins_at_once_open_the_chip_once(gpio, monkeypatch):
    """As rpi-lgpio's numbering does it, which looks whether there is a chip and then takes its time to open one."""
    chips: list[int] = []
    number = gpio.setmode

    def setmode(mode: int) -> None:
        if not chips:
            time.sleep(0.05)
            chips.append(mode)
        number(mode)

    monkeypatch.setattr(gpio, "setmode", setmode)
    threads = [threading.Thread(target=gpio_library) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert chips == [gpio.BCM]


def test_settings_open_the_pins_they_name(gpio):
    led = open_backend(LedSettings(kind="rgb"))
    assert {entry[0] for entry in gpio.log} == {17, 27, 22}
    led.close()
    leds = open_backend(LedSettings(kind="pins", pins={"sad": 9}, active_low=True))
    assert gpio.state(9) == ("out", 1)
    leds.close()


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    forget(monkeypatch)
    monkeypatch.setenv("LG_WD", "/tmp")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not has_gpio_library(path)])
    with pytest.raises(LightError) as caught:
        RgbPins(17, 27, 22)
    for way_out in ("apt install python3-rpi-lgpio", "tonelight[pi]", "tonelight[jetson]"):
        assert way_out in str(caught.value)


def has_gpio_library(folder: str) -> bool:
    return any(Path(folder, name).exists() for name in ("RPi", "Jetson"))


def test_a_library_that_refuses_this_machine_is_quoted(monkeypatch, tmp_path):
    forget(monkeypatch)
    (tmp_path / "RPi").mkdir()
    (tmp_path / "RPi" / "__init__.py").touch()
    (tmp_path / "RPi" / "GPIO.py").write_text("raise RuntimeError('This module can only be run on a Raspberry Pi!')")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not has_gpio_library(path)])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LG_WD", "/tmp")
    with pytest.raises(
        LightError, match=r'RPi.GPIO does not work here: This module can only be.*leds.kind = "terminal"'
    ):
        RgbPins(17, 27, 22)


def test_the_library_can_neither_litter_nor_move_the_working_directory(monkeypatch, tmp_path):
    """lgpio creates pipes in LG_WD, and changes into it for good."""
    forget(monkeypatch)
    site, runtime, here = tmp_path / "site", tmp_path / "run", tmp_path / "here"
    for folder in (site / "RPi", runtime, here):
        folder.mkdir(parents=True)
    (site / "RPi" / "__init__.py").touch()
    (site / "RPi" / "GPIO.py").write_text(
        "import os\nos.chdir(os.environ['LG_WD'])\nopen('.lgd-nfy0', 'w').close()\nraise RuntimeError('seen')\n"
    )
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not has_gpio_library(path)])
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(here)
    monkeypatch.setenv("LG_WD", "")  # so that it is put back afterwards
    monkeypatch.delenv("LG_WD")
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    with pytest.raises(LightError, match="seen"):
        RgbPins(17, 27, 22)
    assert Path.cwd() == here
    assert list(here.iterdir()) == []
    assert (runtime / ".lgd-nfy0").exists()
    assert os.environ["LG_WD"] == str(runtime)
