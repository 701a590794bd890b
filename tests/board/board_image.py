"""The disk of an emulated board: Debian, simulated hardware, and tonelight as systemd/install.sh puts it there.

    CACHE/amd64-<what it was made of>/    Debian and its kernel, from this machine's own apt sources
    CACHE/amd64-<...>-<...>.img           the same with tonelight, made anew when tonelight changes

CACHE is ~/.cache/tonelight/board ($XDG_CACHE_HOME instead of ~/.cache, where it is set). Everything comes from Debian's
packages and the lock file; gpio-sim, which Debian's kernel lacks, is compiled from the kernel's own source package.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import board_debian
import numpy as np
import soundfile
import soxr
from board_debian import ALONE, Missing, make_system, run_quietly, suite

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
_ARCH: Final = "amd64"


@dataclass(frozen=True)
class Image:
    """What to boot: a disk that must not be written to (use an overlay), and kernel and first programs for it."""

    disk: Path
    kernel: Path
    initrd: Path


def build() -> Image:
    """The disk of a board with the tonelight of this checkout, made now or before.

    Raises:
        Missing: a program, a package, or the right to use it is not to be had here.
    """
    _check()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tonelight/board"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        base = cache / f"{_ARCH}-{_digest([Path(board_debian.__file__)])}"
        if not base.exists():
            with _fresh(base) as folder:
                make_system(_ARCH, folder)
        disk = base.with_name(f"{base.name}-{_digest(_what_is_installed())}.img")
        if not disk.exists():
            for old in cache.glob(f"{_ARCH}-*.img"):
                old.unlink()
            with _fresh(cache / f"{_ARCH}-installed") as folder:
                _install(base, folder / "root")
                make = ("mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d")
                run_quietly(*make, folder / "root", folder / "img", "3G")
                (folder / "img").rename(disk)
            shutil.rmtree(cache / f"{_ARCH}-installed")
    return Image(disk, base / "vmlinuz", base / "initrd")


def _check() -> None:
    missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise Missing(f"an emulated board needs more programs: sudo apt install {' '.join(sorted(set(missing)))}")
    if os.geteuid() != 0:
        raise Missing("the disk of an emulated board can be made by root only")
    if suite() is None:
        raise Missing("an emulated board is made of Debian's packages, and this system is no Debian")
    try:
        run_quietly(*ALONE, "mount", "-t", "tmpfs", "none", "/tmp")
    except RuntimeError as error:
        raise Missing(f"the disk of an emulated board cannot be made here: {_last_line(error)}") from None


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1]


def _digest(paths: list[Path]) -> str:
    files = sorted(file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    seen = hashlib.sha256()
    for file in files:
        if "__pycache__" not in file.parts:
            seen.update(f"{file.name} {file.stat().st_mode & 0o111} ".encode() + file.read_bytes())
    return seen.hexdigest()[:12]


def _what_is_installed() -> list[Path]:
    return [GUEST, *(ROOT / name for name in ("edge", "models", "systemd", "pyproject.toml"))]


@contextmanager
def _fresh(target: Path) -> Iterator[Path]:
    """A folder that gets its name when all of it is there."""
    folder = target.with_name(f".{target.name}.new")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    folder.mkdir()
    yield folder
    folder.rename(target)


def _install(base: Path, root: Path) -> None:
    """Copy the system to `root`, and run the installer in it, as for an image that is being built."""
    run_quietly("cp", "-a", base / "root", root)
    board = root / "board"
    shutil.copytree(GUEST, board)
    (board / "phrases").mkdir()
    for name, samples in phrases().items():
        (board / f"phrases/{name}.raw").write_bytes(_for_the_card(samples))
    checkout = board / "checkout"
    shutil.copytree(ROOT / "systemd", checkout / "systemd")
    shutil.copytree(ROOT / "edge/locks", checkout / "edge/locks")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    _fetch_wheels(root, board / "wheels")
    # a view of its own of what is mounted, so that nothing stays behind
    install = 'mount -t proc proc "$1/proc" && chroot "$1" /board/checkout/systemd/install.sh --offline /board/wheels'
    run_quietly(*ALONE, "sh", "-c", install, "install", root)
    shutil.copy(GUEST / "config.toml", root / "etc/tonelight/config.toml")
    for unit in GUEST.glob("*.service"):
        shutil.move(board / unit.name, root / f"etc/systemd/system/{unit.name}")
        run_quietly("chroot", root, "systemctl", "--quiet", "enable", unit.name)


def _fetch_wheels(root: Path, folder: Path) -> None:
    """What `install.sh --offline` takes, for the Python of the system in `root`."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = run_quietly("chroot", root, "python3", "-c", code).strip()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels = [f"--platform=manylinux_2_{n}_x86_64" for n in (17, 24, 26, 27, 28, 31, 34, 35)]
    lock = ROOT / "edge/locks/device.txt"
    got = ["--no-deps", "--only-binary=:all:", f"--python-version={version}", *wheels, "-d", folder]
    try:
        run_quietly(*pip, "download", *got, "--platform=manylinux2014_x86_64", "-r", lock)
        run_quietly(*pip, "wheel", "--no-deps", "-w", folder, ROOT)
    except RuntimeError as error:
        raise Missing(f"no wheels for the emulated board could be had: {_last_line(error)}") from None


def phrases() -> dict[str, np.ndarray]:
    """What is said in the room: stretches of the recording that comes with tonelight, mono at 16 kHz, by name."""
    samples, rate_hz = soundfile.read(ROOT / "edge/data/demo.flac", dtype="float32")
    cuts_s = {"kettle": (0.6, 5.0), "news": (5.0, 8.8)}
    return {name: samples[round(a * rate_hz) : round(b * rate_hz)] for name, (a, b) in cuts_s.items()}


def _for_the_card(samples: np.ndarray) -> bytes:
    mono = np.round(32767 * np.clip(soxr.resample(samples, 16000, RATE_HZ), -1, 1)).astype("<i2")
    return np.repeat(mono, 2).tobytes()
