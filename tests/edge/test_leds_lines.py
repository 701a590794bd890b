"""One LED per emotion by libgpiod, on lines without hardware (tests/edge/emulated/gpiod).

The real library drives real lines in the test on an emulated board; here it is what reaches the lines that counts.
"""

import importlib
import sys
from pathlib import Path

import pytest

from edge.errors import LightError
from edge.leds import FAULT, LedSettings, Look, open_backend
from edge.leds.lines import Lines


@pytest.fixture
def gpiod(monkeypatch):
    """The emulated lines, as `import gpiod` finds them; fresh for each test."""
    forget(monkeypatch)
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("emulated")))
    return importlib.import_module("gpiod")


def forget(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "gpiod"]:
        monkeypatch.delitem(sys.modules, name)


def lit(name: str) -> Look:
    return Look(name, 1.0, 1.0, (1.0, 1.0, 1.0))


@pytest.mark.parametrize("active_low", [False, True])
def test_each_emotion_lights_its_own_line(gpiod, active_low):
    on, off = (0, 1) if active_low else (1, 0)
    leds = open_backend(LedSettings(kind="lines", pins={"happy": 4, FAULT: 53}, active_low=active_low))
    for name in ("happy", "sad", FAULT):
        leds.show(lit(name))
    leds.close()
    leds.close()
    happy = [(use, high) for line, use, high in gpiod.log if line == 4]
    assert happy == [("out", off), ("out", on), ("out", off), ("out", off), ("free", off)]
    assert [high for line, _, high in gpiod.log if line == 53] == [off, on, off, off]
    assert gpiod.used == {}


@pytest.mark.parametrize(
    ("chip", "lines", "message"),
    [
        (
            "/dev/gpiochip7",
            {"happy": 4},
            "/dev/gpiochip7: lines 4 cannot be driven: No such file or directory; `gpioinfo`",
        ),
        ("/dev/gpiochip0", {"happy": 4, "sad": 54}, "/dev/gpiochip0: lines 4, 54 cannot be driven: Invalid argument"),
        ("/dev/gpiochip0", {"happy": 9}, "/dev/gpiochip0: lines 9 cannot be driven: Device or resource busy"),
    ],
)
def test_lines_that_cannot_be_had_are_one_clear_line(gpiod, chip, lines, message):
    gpiod.used[9] = "another program"
    with pytest.raises(LightError) as caught:
        Lines(chip, lines)
    assert str(caught.value).startswith(message)
    assert gpiod.log == []


def test_a_chip_that_goes_is_an_error_and_does_not_keep_the_others_lit(gpiod):
    lines = Lines("/dev/gpiochip0", {"happy": 4, "sad": 5})
    lines.write("sad", True)
    gpiod.broken.add(4)
    with pytest.raises(LightError, match=r"/dev/gpiochip0: line 4 cannot be driven: No such device; `gpioinfo`"):
        lines.write("happy", True)
    with pytest.raises(LightError, match="line 4"):
        lines.release()
    assert [high for line, _, high in gpiod.log if line == 5] == [0, 1, 0, 0]
    assert gpiod.used == {}


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    forget(monkeypatch)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not Path(path, "gpiod").exists()])
    with pytest.raises(
        LightError, match=r'needs libgpiod\'s Python package, version 2: `\S+ -m pip install "tonelight\[gpiod\]"`'
    ):
        Lines("/dev/gpiochip0", {"happy": 4})


def test_version_1_is_named_as_too_old(monkeypatch, tmp_path):
    forget(monkeypatch)
    (tmp_path / "gpiod").mkdir()
    (tmp_path / "gpiod" / "__init__.py").write_text("class Chip: ...\n")
    (tmp_path / "gpiod" / "line.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(LightError, match=r"too old \(version 1; version 2 is needed\)"):
        Lines("/dev/gpiochip0", {"happy": 4})


def test_the_real_library_says_what_is_missing(monkeypatch):
    pytest.importorskip("gpiod", reason="libgpiod's Python package is not installed")
    with pytest.raises(LightError, match="lines 4 cannot be driven: "):
        Lines("/dev/no-such-gpiochip", {"happy": 4})
