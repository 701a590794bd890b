"""LEDs of the kernel, in a folder with the files that /sys/class/leds has (real ones: on the emulated board)."""

import os
import stat
from pathlib import Path

import pytest

from edge.errors import LightError
from edge.leds import Look
from edge.leds.kernel import KernelLed


def led(
    root: Path, name: str = "ACT", *, steps: int = 255, trigger: str = "none [mmc0] timer", index: str = ""
) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "brightness").write_text("3\n")
    (folder / "max_brightness").write_text(f"{steps}\n")
    if trigger:
        (folder / "trigger").write_text(trigger + "\n")
    if index:
        (folder / "multi_index").write_text(index + "\n")
        (folder / "multi_intensity").write_text(" ".join("9" for _ in index.split()) + "\n")
    return folder


def look(*rgb: float, level: float = 1.0) -> Look:
    return Look("sad", 1.0, level, rgb)  # type: ignore[arg-type]


def test_an_led_of_one_colour_is_as_bright_as_the_colour(tmp_path):
    folder = led(tmp_path)
    light = KernelLed("ACT", tmp_path)
    assert (folder / "brightness").read_text() == "0"
    assert (folder / "trigger").read_text() == "none"  # otherwise the kernel goes on blinking
    for rgb, brightness in (((0, 0, 1), "255"), ((0, 0.5, 0), "55"), ((0.01, 0, 0), "1"), ((0, 0, 0), "0")):
        light.show(look(*rgb))
        assert (folder / "brightness").read_text() == brightness
    light.show(look(1, 1, 1))
    light.close()
    light.close()
    light.show(look(1, 1, 1))
    assert (folder / "brightness").read_text() == "0"
    assert (folder / "trigger").read_text() == "mmc0"  # it does again what it did before


def test_an_led_that_is_only_on_or_off_shows_the_pattern(tmp_path):
    folder = led(tmp_path, steps=1, trigger="")
    light = KernelLed("ACT", tmp_path)
    for level, brightness in ((1.0, "1"), (0.6, "1"), (0.4, "0"), (0.0, "0")):
        light.show(look(level, level, level, level=level))
        assert (folder / "brightness").read_text() == brightness
    light.show(look(0, 0, 0, level=1.0))  # brightness 0 is dark
    assert (folder / "brightness").read_text() == "0"
    light.close()
    assert not (folder / "trigger").exists()


@pytest.mark.parametrize(
    ("index", "intensity"), [("red green blue", "255 55 0"), ("blue red green", "0 255 55"), ("red white", "255 0")]
)
def test_a_multicolour_led_in_whatever_order_the_kernel_has_its_parts(tmp_path, index, intensity):
    folder = led(tmp_path, "rgb:status", index=index)
    light = KernelLed("rgb:status", tmp_path)
    assert (folder / "brightness").read_text() == "255"
    assert set((folder / "multi_intensity").read_text().split()) == {"0"}
    light.show(look(1, 0.5, 0))
    assert (folder / "multi_intensity").read_text() == intensity
    light.close()
    assert (folder / "brightness").read_text() == "0"


def test_only_changes_are_written(tmp_path):
    folder = led(tmp_path)
    light = KernelLed("ACT", tmp_path)
    light.show(look(1, 1, 1))
    (folder / "brightness").write_text("77")
    light.show(look(0.9999, 1, 1))
    assert (folder / "brightness").read_text() == "77"
    light.show(look(0.5, 0.5, 0.5))
    assert (folder / "brightness").read_text() == "55"


@pytest.mark.parametrize("name", ["LED0", "", "../ACT", "a/b"])
def test_an_led_that_is_not_there_is_named_with_those_that_are(tmp_path, name):
    led(tmp_path, "PWR")
    led(tmp_path, "ACT")
    with pytest.raises(LightError) as caught:
        KernelLed(name, tmp_path)
    assert str(caught.value) == f'there is no LED "{name}" in {tmp_path}; leds.device takes one of: ACT, PWR'


def test_a_machine_without_any_is_one_clear_line(tmp_path):
    with pytest.raises(LightError, match=r"there is no LED .*: none, here"):
        KernelLed("ACT", tmp_path / "leds")


@pytest.mark.parametrize("steps", ["0", "", "many"])
def test_an_led_that_cannot_shine_is_one_clear_line(tmp_path, steps):
    folder = led(tmp_path)
    (folder / "max_brightness").write_text(steps)
    with pytest.raises(LightError, match=f'ACT: max_brightness is "{steps}"; leds.device takes an LED that can shine'):
        KernelLed("ACT", tmp_path)


def test_an_led_that_vanishes_is_an_error_and_never_becomes_a_file(tmp_path):
    folder = led(tmp_path)
    light = KernelLed("ACT", tmp_path)
    (folder / "brightness").unlink()
    for _ in range(2):
        with pytest.raises(LightError, match=r"ACT/brightness: No such file or directory; is it still there\?"):
            light.show(look(1, 1, 1))
    assert not (folder / "brightness").exists()


def test_an_led_that_is_not_ours_says_what_makes_it_so(tmp_path):
    folder = led(tmp_path, trigger="")
    (folder / "brightness").chmod(stat.S_IRUSR)
    if os.access(folder / "brightness", os.W_OK):
        pytest.skip("root may switch every LED")
    with pytest.raises(LightError, match=r"Permission denied; the udev rule in docs/lights.md"):
        KernelLed("ACT", tmp_path)
