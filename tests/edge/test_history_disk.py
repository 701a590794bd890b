"""The log on disks that really are full or read-only: a message, no event lost, and the light goes on.

Only root may mount; `test_history.py` has the same for everybody, by a limit on the size of files and by permissions.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from observed import event

from edge.config import demo_path
from edge.errors import HistoryError
from edge.history import History, read_events


def mount(*argv: str) -> bool:
    try:
        return subprocess.run(["mount", *argv], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)):
        pytest.skip("mounting a disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that leaves no room."""
    with (disk / "filler").open("wb", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while filler.write(bytes(size)) == size:
                    pass
            except OSError:
                pass
    return disk / "filler"


def numbers(path: Path) -> list[int]:
    return [int(each.start_s) for each in read_events(path)]


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def write(log: History, clock: Clock, *events: int) -> int:
    """Write events, each after the time in which others would be waited for; returns how many attempts failed."""
    n_failed = 0
    for number in events:
        clock.now_s += 5
        try:
            log.write(event(number))
        except HistoryError as error:
            n_failed += 1
            said = str(error)
            assert said.startswith(f"{log.path}: the log cannot be written: ") and "check the disk's space" in said
            assert f"{log.n_waiting} events wait in memory" in said and "\n" not in said
    return n_failed


def test_a_disk_that_fills_up_and_is_emptied(disk):
    clock = Clock()
    log = History(disk / "history.db", 10, 365, clock)
    assert write(log, clock, *range(100)) == 0
    filler = fill(disk)
    n_failed = write(log, clock, *range(100, 300))
    assert n_failed > 0 and log.n_waiting > 0
    seen = numbers(log.path)
    assert seen == list(range(len(seen))) and len(seen) >= 100  # what was written stays, and can be read
    filler.unlink()
    assert write(log, clock, 300) == 0
    log.close()
    assert numbers(log.path) == list(range(301))
    assert list(disk.glob("*.corrupt-*")) == []


def test_a_disk_that_is_full_from_the_start(disk):
    filler, clock = fill(disk), Clock()
    log = History(disk / "history.db", 10, 365, clock)
    assert write(log, clock, *range(10)) == 10
    filler.unlink()
    assert write(log, clock, 10) == 0
    log.close()
    assert numbers(log.path) == list(range(11))


def test_a_disk_that_becomes_read_only_and_is_mended(disk):
    clock = Clock()
    log = History(disk / "history.db", 10, 365, clock)
    assert write(log, clock, *range(10)) == 0
    log.close()  # a file that is open for writing would keep the disk from being made read-only
    assert mount("-o", "remount,ro", str(disk))
    assert write(log, clock, *range(10, 20)) == 10
    assert numbers(log.path) == list(range(10))
    assert mount("-o", "remount,rw", str(disk))
    assert write(log, clock, 20) == 0
    log.close()
    assert numbers(log.path) == list(range(21))


@pytest.mark.parametrize("state", ["full", "read-only"])
def test_the_light_goes_on(disk, home, state):
    if state == "full":
        fill(disk)
    else:
        assert mount("-o", "remount,ro", str(disk))
    (home / "mine.toml").write_text(f'[history]\npath = "{disk}/log/history.db"\n')
    command = [sys.executable, "-m", "edge", "run", "--config", str(home / "mine.toml"), "--fast"]
    done = subprocess.run([*command, "--source", str(demo_path())], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    reasons = ("No space left on device", "disk is full") if state == "full" else ("Read-only file system",)
    begun, *others = [line.split(" ", 2)[2] for line in done.stderr.splitlines()]
    assert begun.startswith(f"ERROR {disk}/log/history.db: the log cannot be written: ")
    assert any(reason in begun for reason in reasons) and begun.endswith("(everything else goes on)")
    lost = [line for line in others if "ERROR" in line]
    assert len(lost) == 1
    assert re.search(r"; [1-9][0-9]* events wait in memory, and are lost when the program ends now$", lost[0])
    assert "activation" in done.stdout  # the light, as it is drawn where there is no terminal


def test_no_event_is_too_large_for_the_spare_room(disk):
    """A log at its limit goes on, and stays within it, on a disk that has no more room than that."""
    clock = Clock()
    log = History(disk / "history.db", 0.9, 365, clock)
    large = msgspec.structs.replace(event(), node="x" * 500)
    for _ in range(2000):
        clock.now_s += 1
        log.write(large)
    log.close()
    assert log.n_waiting == 0 and 0 < len(numbers(log.path)) < 2000
