"""The emulated pins of tests/edge/emulated/RPi/GPIO.py, in place of whatever library this machine has."""

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture
def gpio(monkeypatch):
    """The emulated pins, as `import RPi.GPIO` finds them; fresh for each test."""
    forget(monkeypatch)
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("emulated")))
    monkeypatch.setenv("LG_WD", "/tmp")
    yield importlib.import_module("RPi.GPIO")
    for name in _libraries():  # or the next test would find them, without the folder they come from
        del sys.modules[name]


def forget(monkeypatch):
    """Make the next import of a GPIO library a fresh one."""
    for name in _libraries():
        monkeypatch.delitem(sys.modules, name)


def _libraries() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] in ("RPi", "Jetson", "lgpio")]
