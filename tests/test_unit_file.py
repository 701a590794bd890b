"""The unit file, as systemd itself understands it, and what the program relies on it for."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "systemd" / "tonelight.service"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def section(name: str) -> dict[str, list[str]]:
    """The keys of a section with all their values: systemd's keys may be repeated."""
    entries: dict[str, list[str]] = {}
    text = UNIT.read_text().partition(f"[{name}]\n")[2].partition("\n[")[0]
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            entries.setdefault(key, []).append(value)
    return entries


@needs_systemd
def test_systemd_understands_every_line(tmp_path):
    unit = tmp_path / UNIT.name
    # verify insists on a program that exists here
    unit.write_text(UNIT.read_text().replace("ExecStart=/opt/tonelight/bin/tonelight", "ExecStart=/bin/true"))
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit], capture_output=True, text=True
    )
    complaints = {line for line in result.stderr.splitlines() if UNIT.name in line}
    version = int(re.findall(r"\d+", subprocess.check_output(["systemd-analyze", "--version"], text=True))[0])
    if version < 254:  # these two came later; the unit says so
        complaints = {line for line in complaints if "RestartSteps" not in line and "RestartMaxDelaySec" not in line}
    assert complaints == set()


@needs_systemd
def test_the_service_is_locked_in():
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", UNIT], capture_output=True, text=True
    )
    if "offline" in result.stderr:
        pytest.skip("this systemd cannot judge a file")
    exposure = re.search(r"Overall exposure level for tonelight\.service: ([\d.]+)", result.stdout)
    assert exposure, result.stderr
    assert float(exposure[1]) <= 0.5


def test_what_the_program_relies_on():
    service = section("Service")
    assert service["Type"] == ["notify"]
    assert service["ExecStart"] == ["/opt/tonelight/bin/tonelight run --config /etc/tonelight/config.toml"]
    assert service["StateDirectory"] == service["RuntimeDirectory"] == ["tonelight"]
    # lgpio writes into the working directory
    assert service["WorkingDirectory"] == ["/run/tonelight"]
    assert service["SupplementaryGroups"] == ["audio gpio"]
    assert {"char-alsa rw", "char-gpiochip rw"} <= set(service["DeviceAllow"])
    # numpy's mbind is refused, not punished
    assert service["SystemCallErrorNumber"] == ["EPERM"]
    # the first hides the pins, the second the model of the board from the GPIO library
    assert "PrivateDevices" not in service and "ProcSubset" not in service


def test_it_always_comes_back_with_a_delay_that_grows():
    service = section("Service")
    assert service["Restart"] == ["always"]
    assert int(service["RestartMaxDelaySec"][0]) > int(service["RestartSec"][0]) > 0
    assert int(service["RestartSteps"][0]) > 1
    assert section("Unit")["StartLimitIntervalSec"] == ["0"]
    assert 0 < int(service["WatchdogSec"][0]) <= 60


def test_the_sound_cannot_leave():
    service = section("Service")
    assert service["PrivateNetwork"] == ["yes"]
    assert service["IPAddressDeny"] == ["any"]
    assert service["RestrictAddressFamilies"] == ["AF_UNIX"]
