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
    return importlib.import_module("RPi.GPIO")


def forget(monkeypatch):
    """Make the next import of a GPIO library a fresh one."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("RPi", "Jetson", "lgpio")]:
        monkeypatch.delitem(sys.modules, name)
