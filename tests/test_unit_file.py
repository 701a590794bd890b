"""The unit file, as systemd itself understands it, and what the program relies on it for."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[1] / "systemd"
UNIT = SYSTEMD / "tonelight.service"
NETWORK = SYSTEMD / "tonelight-network.conf"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def section(name: str, file: Path = UNIT) -> dict[str, list[str]]:
    """The keys of a section with all their values: systemd's keys may be repeated."""
    entries: dict[str, list[str]] = {}
    text = file.read_text().partition(f"[{name}]\n")[2].partition("\n[")[0]
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            entries.setdefault(key, []).append(value)
    return entries


@pytest.fixture(params=["without a network", "with a network"])
def unit(request, tmp_path, monkeypatch) -> Path:
    """The unit as it is installed, with the drop-in or not; its program is one that exists everywhere."""
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    # verify insists on a program that exists here
    (folder / UNIT.name).write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    if request.param == "with a network":
        (folder / f"{UNIT.name}.d").mkdir()
        shutil.copy(NETWORK, folder / f"{UNIT.name}.d")
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", f"{folder}:/usr/lib/systemd/system:/lib/systemd/system")
    return folder / UNIT.name


@needs_systemd
def test_systemd_understands_every_line(unit):
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", UNIT.name], capture_output=True, text=True
    )
    complaints = {line for line in result.stderr.splitlines() if str(unit.parent) in line or UNIT.name in line}
    assert complaints == set()


@needs_systemd
def test_the_service_is_locked_in(unit):
    root = unit.parents[3]
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", f"--root={root}", UNIT.name],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "SYSTEMD_UNIT_PATH"},
    )
    if "offline" in result.stderr:
        pytest.skip("this systemd cannot judge a file")
    exposure = re.search(r"Overall exposure level for tonelight\.service: ([\d.]+)", result.stdout)
    assert exposure, result.stderr
    assert float(exposure[1]) <= (1.4 if (unit.parent / f"{UNIT.name}.d").exists() else 0.5)


def test_what_the_program_relies_on():
    service = section("Service")
    assert service["Type"] == ["notify"]
    assert service["ExecStart"] == ["/opt/tonelight/bin/tonelight run --config /etc/tonelight/config.toml"]
    assert service["StateDirectory"] == service["RuntimeDirectory"] == ["tonelight"]
    # lgpio writes into the working directory, or where it is told to
    assert service["WorkingDirectory"] == ["/run/tonelight"]
    assert service["Environment"] == ["LG_WD=/run/tonelight"]
    assert set(service["DeviceAllow"]) == {
        "char-alsa rw",
        "char-gpiochip rw",
        "/dev/gpiomem rw",
        "char-spi rw",
    }
    assert service["User"] == ["tonelight"]
    # a group that a system lacks must not keep the service from starting
    assert "SupplementaryGroups" not in service and "Group" not in service
    # numpy's mbind is refused, not punished
    assert service["SystemCallErrorNumber"] == ["EPERM"]
    # the first hides the pins, the second the model of the board from the GPIO library, the third forbids callbacks
    assert not {"PrivateDevices", "ProcSubset", "MemoryDenyWriteExecute"} & set(service)


def test_it_always_comes_back():
    service = section("Service")
    assert service["Restart"] == ["always"]
    assert int(service["RestartSec"][0]) > 0
    assert section("Unit")["StartLimitIntervalSec"] == ["0"]
    assert 0 < int(service["WatchdogSec"][0]) <= 60
    assert int(service["TimeoutStartSec"][0]) > 60  # the longest wait before a start is within it


class Restarts:
    """What the unit's own lines do in its runtime folder, by a shell as systemd calls it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def end(self, result: str) -> None:
        """The service has ended in this way."""
        for line in section("Service")["ExecStopPost"]:
            shell = self._shell(line, SERVICE_RESULT=result)
            assert (shell.communicate()[1], shell.returncode) == ("", 0)

    def wait_s(self) -> int:
        """How long the next start would wait, beyond RestartSec."""
        [line] = section("Service")["ExecStartPre"]
        with self._shell(line, "-x") as shell:
            assert shell.stderr
            for said in shell.stderr:
                if said.startswith("+ sleep "):
                    os.killpg(shell.pid, signal.SIGKILL)
                    return int(said.split()[2])
        assert shell.returncode == 0
        return 0

    def _shell(self, line: str, *options: str, **environment: str) -> subprocess.Popen[str]:
        given = re.fullmatch("-/bin/sh -c '(.*)'", line)
        assert given
        return subprocess.Popen(
            ["/bin/sh", *options, "-c", given[1].replace("$$", "$")],
            cwd=self.folder,
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def test_the_wait_grows_with_each_failure_in_a_row(tmp_path):
    restarts = Restarts(tmp_path)
    health = tmp_path / "health.json"
    assert restarts.wait_s() == 0
    waits = []
    for result in ["signal", "watchdog", "exit-code", "oom-kill"] * 4:
        health.touch()
        restarts.end(result)
        assert not health.exists()  # what was killed could not remove it
        waits.append(restarts.wait_s())
    assert waits == [min(5 * n, 55) for n in range(16)]


def test_the_wait_begins_anew(tmp_path):
    restarts = Restarts(tmp_path)
    for _ in range(3):
        restarts.end("signal")
    assert restarts.wait_s() == 10
    restarts.end("success")  # stopped by hand
    assert list(tmp_path.iterdir()) == []
    for _ in range(3):
        restarts.end("signal")
    [failures] = tmp_path.iterdir()
    long_ago_s = time.time() - 11 * 60
    os.utime(failures, (long_ago_s, long_ago_s))
    restarts.end("signal")
    assert restarts.wait_s() == 0


def test_the_sound_cannot_leave():
    service = section("Service")
    assert service["PrivateNetwork"] == ["yes"]
    assert service["IPAddressDeny"] == ["any"]
    assert service["RestrictAddressFamilies"] == ["AF_UNIX"]


def test_the_network_is_the_local_one():
    service = section("Service", NETWORK)
    assert service["PrivateNetwork"] == ["no"]
    # on top of the unit's IPAddressDeny=any
    assert "IPAddressDeny" not in service
    [allowed] = service["IPAddressAllow"]
    assert not {"any", "0.0.0.0/0", "::/0"} & set(allowed.split())


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_user_and_groups(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text("audio:x:29:pulse\n")  # spi and gpio are not there
    for _ in range(2):
        subprocess.run(["systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "sysusers.conf"], check=True)
        groups = {line.split(":")[0]: line.split(":")[3] for line in (tmp_path / "etc/group").read_text().split()}
        assert groups["audio"] in ("pulse,tonelight", "tonelight,pulse")
        assert groups["gpio"] == groups["spi"] == "tonelight"
        [user] = [line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("tonelight:")]
        assert user.endswith(":/var/lib/tonelight:/usr/sbin/nologin")
        assert 0 < int(user.split(":")[2]) < 1000


def test_the_rules_name_what_the_unit_lets_through():
    rules = (SYSTEMD / "tonelight.rules").read_text()
    groups = set(re.findall(r'GROUP="(\w+)"|chgrp (?:-R )?(\w+)', rules))
    assert {name for pair in groups for name in pair if name} == {"gpio", "spi"}


@pytest.mark.skipif(shutil.which("udevadm") is None, reason="udevadm is not installed")
def test_udev_understands_the_rules():
    rules = SYSTEMD / "tonelight.rules"
    result = subprocess.run(["udevadm", "verify", rules], capture_output=True, text=True)
    if "nknown" in result.stderr:
        pytest.skip("this udevadm cannot verify a file")
    assert result.returncode == 0, result.stdout + result.stderr
