"""The Makefile: says what it can do, picks the lock of the board it is on, and refuses with a reason."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make looks at, in a folder of its own."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in ("edge/locks", "train_host/locks"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def make(checkout: Path, *args: str) -> subprocess.CompletedProcess[str]:
    # the flags and goals of a `make test` that runs this test are not for this one
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *args], cwd=checkout, env=env, capture_output=True, text=True)


def test_make_alone_explains_every_target(checkout: Path) -> None:
    run = make(checkout)
    assert run.returncode == 0
    phony = re.search(r"^\.PHONY: (.*)$", (checkout / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony is not None
    assert [line.split()[1] for line in run.stdout.splitlines()] == phony.group(1).split()


@pytest.mark.parametrize(
    ("board", "long_bit", "lock"),
    [
        ("", "64", "device"),
        ("Raspberry Pi 4 Model B Rev 1.5", "64", "pi"),
        ("Raspberry Pi 3 Model B Rev 1.2", "32", "pi-32bit"),
        ("NVIDIA Jetson Orin Nano Developer Kit", "64", "jetson"),
    ],
)
def test_each_board_gets_its_lock(checkout: Path, board: str, long_bit: str, lock: str) -> None:
    run = make(checkout, "--dry-run", "run", f"BOARD={board}", f"LONG_BIT={long_bit}")
    assert run.returncode == 0, run.stderr
    assert f"--no-deps -r edge/locks/{lock}.txt" in run.stdout
    assert ("--system-site-packages" in run.stdout) == lock.startswith("pi")
    assert ".venv/bin/tonelight run --source auto" in run.stdout


def test_what_is_set_up_is_not_set_up_again(checkout: Path) -> None:
    """Stamps as a finished set-up leaves them; then a newer lock asks for its own part again, and only that."""
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(shutil.which("python3") or "/usr/bin/python3")
    (checkout / ".venv/made").write_text(f"{checkout.resolve()}\n")
    for name in ("device.stamp", "workstation.stamp", "tonelight.stamp"):
        (checkout / ".venv" / name).touch()
    assert "pip" not in make(checkout, "--dry-run", "run", "test").stdout
    later = (checkout / ".venv/device.stamp").stat().st_mtime + 10
    os.utime(checkout / "edge/locks/device.txt", (later, later))
    again = make(checkout, "--dry-run", "run", "test", "BOARD=", "LONG_BIT=64").stdout
    assert "edge/locks/device.txt" in again
    assert "workstation.txt" not in again
    (checkout / ".venv/made").write_text("/somewhere/else\n")  # a checkout that was moved
    assert "-m venv --clear" in make(checkout, "--dry-run", "run").stdout


def test_a_python_that_is_not_there_is_one_line_with_the_way_out(checkout: Path) -> None:
    run = make(checkout, "run", "PYTHON=python3.99")
    assert run.returncode == 2
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1
    assert "there is no python3.99: sudo apt install" in run.stderr
    assert not (checkout / ".venv").exists()
