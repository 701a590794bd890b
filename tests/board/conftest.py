"""What the tests on emulated boards share: a board of x86-64, a Raspberry Pi, and the figures that they gave."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import board_image
import board_pi
import pytest
from board_desk import Desk
from board_image import Image
from board_machine import Machine
from board_pi import RaspberryPi
from signed import Maker

WANTED = "TONELIGHT_BOARD"
ARCH = "TONELIGHT_BOARD_ARCH"
MINUTES = "TONELIGHT_BOARD_MINUTES"
FIGURES = "TONELIGHT_BOARD_FIGURES"
BEGAN_S = time.monotonic()
ORDER = (
    "board",
    "restart",
    "microphone",
    "bundles",
    "power",
    "sandbox",
    "deploy",
    "disk_and_clock",
    "lights",
    "jetson",
)
"""What a board that is left alone lives by comes first, in case the minutes are over before all of it was tried. The
Raspberry Pi, another board, follows."""


def is_on_a_board(item: pytest.Item) -> bool:
    return bool({"image", "pi_image"} & set(getattr(item, "fixturenames", ())))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_on_a_board(item):
            item.add_marker(pytest.mark.board)
            if os.environ.get(WANTED) != "1":
                item.add_marker(pytest.mark.skip(reason=f"takes long, and root: `make board`, or {WANTED}=1"))
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    if not is_on_a_board(item):
        return -1
    name = item.path.stem.removeprefix("test_")
    return ORDER.index(name) if name in ORDER else len(ORDER)


def pytest_runtest_setup(item: pytest.Item) -> None:
    limit = os.environ.get(MINUTES)
    if limit and is_on_a_board(item) and time.monotonic() - BEGAN_S > 60 * float(limit):
        pytest.skip(f"the {limit} minutes for emulated boards ({MINUTES}) were over: `make board`")


@pytest.fixture(scope="session")
def image() -> Image:
    """The disk for a board; skips the test where there can be none."""
    try:
        return board_image.build_arm64() if os.environ.get(ARCH) == "arm64" else board_image.build()
    except board_image.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """For disks, which are large and need not outlive the tests, unlike pytest's own folders."""
    path = Path(tempfile.mkdtemp(prefix="board-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def board(image: Image, folder: Path) -> Iterator[Machine]:
    """A board that was switched on for the first time. All tests have the same one, as starting it takes its time."""
    with Machine(image, folder) as machine:
        machine.start()
        yield machine


@pytest.fixture(scope="session")
def pi_image() -> Image:
    """What a Raspberry Pi starts from; skips the test where there can be none."""
    try:
        return board_pi.build()
    except board_image.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")  # its clock is real, and takes time from the other tests as long as it is on
def pi(pi_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RaspberryPi]:
    """A Raspberry Pi that was switched on."""
    with RaspberryPi(pi_image, tmp_path_factory.mktemp("pi")) as machine:
        machine.start()
        yield machine


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Makes bundles, which a board accepts once it was given `maker.public`."""
    return Maker(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def desk(board: Machine, maker: Maker, folder: Path) -> Desk:
    """Brings bundles to the board, which accepts those of the maker."""
    return Desk(board, maker.public, folder / "desk")


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, float]]:
    """What was measured, for docs/reliability.md; written to the file that $TONELIGHT_BOARD_FIGURES names."""
    measured: dict[str, float] = {}
    yield measured
    for name, value in measured.items():
        print(f"\n{name}: {value:g}", end="")
    if path := os.environ.get(FIGURES):
        Path(path).write_text(json.dumps(measured))
