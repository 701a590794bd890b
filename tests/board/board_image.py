"""The disk of an emulated board: Debian, simulated hardware, and tonelight as systemd/install.sh puts it there.

    CACHE/amd64-<what it was made of>/    Debian and its kernel, from this machine's own apt sources
    CACHE/amd64-<...>-<...>.img           the same with tonelight, made anew when tonelight changes
    CACHE/arm64-<...>                     the same for arm64: `board_arm64`

CACHE is ~/.cache/tonelight/board ($XDG_CACHE_HOME instead of ~/.cache, where it is set). Everything comes from Debian's
packages and the lock file; gpio-sim and uleds, which Debian's kernel lacks, are compiled from its own source package.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import board_arm64
import board_debian
import numpy as np
import soundfile
import soxr
from board_debian import ALONE, Missing, last_line, make_system, run_quietly, suite

ROOT: Final = Path(__file__).parents[2]
GUEST: Final = Path(__file__).with_name("guest")
RATE_HZ: Final = 44100
"""Of the sound card, which is opened as it is."""

_TOOLS: Final = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "depmod": "kmod",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "make": "make",
    "gcc": "gcc",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "ssh": "openssh-client",
}
_MACHINE: Final = ("qemu-system-x86_64", "-M", "q35", "-cpu", "Nehalem")


@dataclass(frozen=True)
class Image:
    """What to boot: a disk that must not be written to (use an overlay), kernel and first programs for it, and where.

    `disk` is None for a board that lives in memory; `machine` is how QEMU's command for this kind of board begins.
    """

    disk: Path | None
    kernel: Path
    initrd: Path
    machine: tuple[str | Path, ...]


def build() -> Image:
    """The disk of a board with the tonelight of this checkout, made now or before.

    Raises:
        Missing: a program, a package, or the right to use it is not to be had here.
    """
    check(_TOOLS)
    with locked_cache() as cache:
        base = cache / f"amd64-{digest([Path(board_debian.__file__)])}"
        if not base.exists():
            with fresh(base) as folder:
                make_system("amd64", folder)
        return Image(_disk(base, _install), base / "vmlinuz", base / "initrd", _MACHINE)


def build_arm64() -> Image:
    """The same for a board whose programs do not run on this machine.

    Raises:
        Missing: a program, a package, or the right to use it is not to be had here.
    """
    check(board_arm64.TOOLS)
    with locked_cache() as cache:
        made_of = [Path(board_debian.__file__), Path(board_arm64.__file__), board_arm64.FIRST_START]
        base = cache / f"arm64-{digest(made_of)}"
        if not base.exists():
            with fresh(base) as folder:
                board_arm64.make_system(folder)
        return Image(_disk(base, _install_arm64), base / "vmlinuz", base / "initrd", board_arm64.MACHINE)


def _disk(base: Path, install: Callable[[Path, Path], None]) -> Path:
    """The disk with tonelight; `install(base, folder)` makes `folder/img` where there is none."""
    arch = base.name.partition("-")[0]
    disk = base.with_name(f"{base.name}-{digest(_what_is_installed())}.img")
    if not disk.exists():
        for old in base.parent.glob(f"{arch}-*.img"):
            old.unlink()
        with fresh(base.with_name(f"{arch}-installed")) as folder:
            install(base, folder)
            (folder / "img").rename(disk)
        shutil.rmtree(base.with_name(f"{arch}-installed"))
    return disk


@contextmanager
def locked_cache() -> Iterator[Path]:
    """The folder of what was made, for one process at a time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tonelight/board"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def check(tools: dict[str, str]) -> None:
    """Whether these tools (program: package) can be used here.

    Raises:
        Missing: one of them, or the right to use them, is not to be had.
    """
    missing = [package for tool, package in tools.items() if shutil.which(tool) is None]
    if missing:
        raise Missing(f"an emulated board needs more programs: sudo apt install {' '.join(sorted(set(missing)))}")
    if os.geteuid() != 0:
        raise Missing("the disk of an emulated board can be made by root only")
    if suite() is None:
        raise Missing("an emulated board is made of Debian's packages, and this system is no Debian")
    try:
        run_quietly(*ALONE, "mount", "-t", "tmpfs", "none", "/tmp")
    except RuntimeError as error:
        raise Missing(f"the disk of an emulated board cannot be made here: {last_line(error)}") from None


def digest(paths: list[Path]) -> str:
    files = sorted(file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    seen = hashlib.sha256()
    for file in files:
        if "__pycache__" not in file.parts:
            seen.update(f"{file.name} {file.stat().st_mode & 0o111} ".encode() + file.read_bytes())
    return seen.hexdigest()[:12]


def _what_is_installed() -> list[Path]:
    return [GUEST, *(ROOT / name for name in ("edge", "models", "systemd", "pyproject.toml"))]


@contextmanager
def fresh(target: Path) -> Iterator[Path]:
    """A folder that gets its name when all of it is there."""
    folder = target.with_name(f".{target.name}.new")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    folder.mkdir()
    yield folder
    folder.rename(target)


def _install(base: Path, folder: Path) -> None:
    """Copy the system of `base`, and run the installer in it, as for an image that is being built."""
    root = folder / "root"
    run_quietly("cp", "-a", base / "root", root)
    _fill(root / "board", (root / "usr/bin/python3").readlink().name.removeprefix("python"), "x86_64")
    # a view of its own of what is mounted, so that nothing stays behind
    install = 'mount -t proc proc "$1/proc" && chroot "$1" sh /board/install.sh'
    run_quietly(*ALONE, "sh", "-c", install, "install", root)
    run_quietly("mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", root, folder / "img", "3G")


def _install_arm64(base: Path, folder: Path) -> None:
    _fill(folder / "root/board", (base / "python").read_text(), "aarch64")
    board_arm64.install(base, folder / "root", folder / "img")


def _fill(board: Path, python: str, machine: str) -> None:
    """Make the folder /board of a board with this Python (such as 3.11) and processor: what guest/install.sh takes."""
    shutil.copytree(GUEST, board)
    (board / "phrases").mkdir()
    for name, samples in phrases().items():
        (board / f"phrases/{name}.raw").write_bytes(_for_the_card(samples))
    checkout = board / "checkout"
    shutil.copytree(ROOT / "systemd", checkout / "systemd")
    shutil.copytree(ROOT / "edge/locks", checkout / "edge/locks")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    wheels = board / "wheels"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    try:
        run_quietly(*pip, "download", *for_board(python, machine), "-d", wheels, "-r", ROOT / "edge/locks/device.txt")
        run_quietly(*pip, "wheel", "--no-deps", "-w", wheels, ROOT)
    except RuntimeError as error:
        raise Missing(f"no wheels for the emulated board could be had: {last_line(error)}") from None


def for_board(python: str, machine: str) -> list[str]:
    """What pip has to be told to get the wheels of a board with this Python (such as 3.11) and processor."""
    platforms = [f"--platform=manylinux_2_{n}_{machine}" for n in (17, 24, 26, 27, 28, 31, 34, 35)]
    platforms.append(f"--platform=manylinux2014_{machine}")
    return ["--no-deps", "--only-binary=:all:", f"--python-version={python}", *platforms]


def phrases() -> dict[str, np.ndarray]:
    """What is said in the room: stretches of the recording that comes with tonelight, mono at 16 kHz, by name."""
    samples, rate_hz = soundfile.read(ROOT / "edge/data/demo.flac", dtype="float32")
    cuts_s = {"kettle": (0.6, 5.0), "news": (5.0, 8.8)}
    return {name: samples[round(a * rate_hz) : round(b * rate_hz)] for name, (a, b) in cuts_s.items()}


def _for_the_card(samples: np.ndarray) -> bytes:
    mono = np.round(32767 * np.clip(soxr.resample(samples, 16000, RATE_HZ), -1, 1)).astype("<i2")
    return np.repeat(mono, 2).tobytes()
