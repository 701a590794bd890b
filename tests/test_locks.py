"""The lock files: every target complete, in agreement with pyproject.toml and with the versions the tests run with."""

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
LOCKS = {
    "device": ROOT / "edge/locks/device.txt",
    "pi": ROOT / "edge/locks/pi.txt",
    "jetson": ROOT / "edge/locks/jetson.txt",
    "pi-32bit": ROOT / "edge/locks/pi-32bit.txt",
    "workstation": ROOT / "train_host/locks/workstation.txt",
}
EXTRAS = {"pi": ["pi"], "jetson": ["jetson"], "pi-32bit": ["pi"], "workstation": ["train", "test"]}
TARGETS = [
    (lock, python, machine)
    for lock in ("device", "pi", "jetson", "workstation")
    for python in PYTHONS
    for machine in ("aarch64", "x86_64")
]
NEVER_ON_A_BOARD = {"tensorflow", "keras", "tensorboard", "scipy", "librosa", "matplotlib", "rich", "pytest", "mypy"}
OVERRIDDEN = {
    # where a lock departs from pyproject.toml, for the reason given in its overrides file
    ("workstation", "3.10"): {"keras"},
    ("pi", "3.13"): {"rpi-lgpio"},
    ("pi-32bit", "3.11"): {"ai-edge-litert"},
}


def requirements(lock: str) -> list[tuple[Requirement, int]]:
    """Every line of a lock file, and how many hashes it has."""
    text = LOCKS[lock].read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(Requirement(line.split(" --hash")[0]), line.count("--hash=sha256:")) for line in lines]


def environment(python: str, machine: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "platform_machine": machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }


def pinned(lock: str, python: str, machine: str) -> dict[str, str]:
    """What a lock installs there: name to version."""
    pins: dict[str, str] = {}
    for requirement, _ in requirements(lock):
        if requirement.marker is None or requirement.marker.evaluate(environment(python, machine)):
            name = canonicalize_name(requirement.name)
            assert name not in pins, f"{name} twice in {lock}.txt for Python {python}"
            pins[name] = str(requirement.specifier).removeprefix("==")
    return pins


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_an_exact_version(lock: str) -> None:
    for requirement, n_hashes in requirements(lock):
        assert re.fullmatch(r"==[0-9][0-9a-z.+]*", str(requirement.specifier)), requirement
        assert (n_hashes == 0) == (lock == "pi-32bit"), f"hashes of {requirement}"


@pytest.mark.parametrize("lock", LOCKS)
def test_no_index_and_no_path_is_named(lock: str) -> None:
    text = LOCKS[lock].read_text(encoding="utf-8")
    assert not re.search(r"://|index-url|find-links|/home|/root|/tmp", text)


@pytest.mark.parametrize(("lock", "python", "machine"), [*TARGETS, ("pi-32bit", "3.11", "armv7l")])
def test_lock_satisfies_pyproject(lock: str, python: str, machine: str) -> None:
    pins = pinned(lock, python, machine)
    wanted = [*PROJECT["dependencies"], *(r for e in EXTRAS.get(lock, []) for r in PROJECT["optional-dependencies"][e])]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        applies = requirement.marker is None or requirement.marker.evaluate(environment(python, machine))
        if applies and name not in OVERRIDDEN.get((lock, python), ()):
            assert name in pins, f"{name} is not in {lock}.txt"
            assert requirement.specifier.contains(pins[name]), f"{name} {pins[name]} is not {requirement.specifier}"


@pytest.mark.parametrize("lock", ["device", "pi", "jetson", "pi-32bit"])
def test_training_stays_off_the_boards(lock: str) -> None:
    assert {canonicalize_name(r.name) for r, _ in requirements(lock)} & NEVER_ON_A_BOARD == set()


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", ["device", "pi", "jetson"])
def test_boards_get_the_versions_the_tests_ran_with(lock: str, python: str) -> None:
    board, tested = pinned(lock, python, "aarch64"), pinned("workstation", python, "aarch64")
    only_there = {"rpi-lgpio", "lgpio", "jetson-gpio"}
    assert {name: version for name, version in board.items() if name not in only_there}.items() <= tested.items()


def test_32_bit_raspberry_pi_os_gets_the_runtime_that_exists_for_it() -> None:
    for machine in ("armv7l", "aarch64"):  # a 64-bit kernel under the 32-bit system says aarch64
        pins = pinned("pi-32bit", "3.11", machine)
        assert pins["tflite-runtime"].startswith("2.14.")
        assert pins["numpy"].startswith("1.24.")
        assert "ai-edge-litert" not in pins


def test_python_3_13_gets_no_lgpio_for_it_has_no_wheel() -> None:
    assert "lgpio" in pinned("pi", "3.12", "aarch64")
    assert "lgpio" not in pinned("pi", "3.13", "aarch64")
