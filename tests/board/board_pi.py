"""A Raspberry Pi 3 in QEMU, with the processor, the GPIO chip and the pins of a real one, and tonelight on it.

    CACHE/pi3-<what it was made of>/      Debian for arm64, its kernel, and tonelight

Everything comes from this machine's own apt sources, the wheels that edge/locks/device.txt names for aarch64, and
Debian's own RPi.GPIO. Its packages are unpacked and not set up, as that would need programs of the board to run on this
machine. There is no systemd on it, and no microphone: it lives in memory, and does what it is asked for.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from board_debian import ALONE, UNPACKED, Missing, last_line, run_quietly, sources, suite
from board_image import GUEST, ROOT, Image, check, digest, for_board, fresh, locked_cache
from board_machine import PATIENCE_S, Machine

GUEST_PI: Final = Path(__file__).with_name("guest_pi")
DEMO: Final = "/opt/tonelight/edge/data/demo.flac"
"""The recording that comes with tonelight, on the Pi."""
GPIO_AT: Final = 0x3F200000
"""Where the processor has its GPIO registers (manual of the BCM2835): a bit for each pin, three for its function."""
_FUNCTION, _SET, _CLEAR, _LEVEL = 0x00, 0x1C, 0x28, 0x34

_TOOLS: Final = {
    "mmdebstrap": "mmdebstrap",
    "cpio": "cpio",
    "fdtput": "device-tree-compiler",
    "qemu-system-aarch64": "qemu-system-arm",
}
_PACKAGES: Final = "python3 bash busybox-static libportaudio2 python3-rpi.gpio"
_HOOK: Final = """set -e
mkdir "$OUT" && cd "$OUT"
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
kernel=$(apt-cache depends linux-image-arm64 | sed -n 's/.*Depends: linux-image-//p' | head -n 1)
apt-get -q download linux-image-$kernel
"""
_REVISION: Final = "a02082"  # a Raspberry Pi 3 B with 1 GB
_NEEDLESS: Final = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache", "var/lib/apt")


def build() -> Image:
    """A Raspberry Pi with the tonelight of this checkout, made now or before.

    Raises:
        Missing: a program, a package, or the right to use it is not to be had here.
    """
    check(_TOOLS)
    made_of = [Path(__file__), GUEST_PI, GUEST / "agent.py"]
    made_of += [ROOT / name for name in ("edge", "models", "pyproject.toml")]
    with locked_cache() as cache:
        made = cache / f"pi3-{digest(made_of)}"
        if not made.exists():
            for old in cache.glob("pi3-*"):
                shutil.rmtree(old)
            with fresh(made) as folder:
                _make(folder)
    machine = ("qemu-system-aarch64", "-M", "raspi3b", "-dtb", made / "tree.dtb")
    return Image(None, made / "vmlinuz", made / "initrd", machine)


def _make(folder: Path) -> None:
    root, debs, unpacked = folder / "root", folder / "debs", folder / "unpacked"
    options = [*UNPACKED, "--architectures=arm64", f"--include={_PACKAGES.replace(' ', ',')}"]
    try:
        run_quietly(
            *(*ALONE, "mmdebstrap", *options, f"--extract-hook={_HOOK}", str(suite()), root, *sources()),
            env=os.environ | {"OUT": str(debs)},
        )
    except RuntimeError as error:
        raise Missing(f"Debian's packages for arm64 could not be had: {last_line(error)}") from None
    for deb in debs.glob("*.deb"):
        run_quietly("dpkg-deb", "-x", deb, unpacked)
    shutil.copy(next(unpacked.glob("boot/vmlinuz-*")), folder / "vmlinuz")
    tree = folder / "tree.dtb"
    shutil.copy(next(unpacked.glob("usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb")), tree)
    # as the firmware of a real one does it: no bluetooth on the serial line, and a kernel that knows what it runs on
    run_quietly("fdtput", "-r", tree, "/soc/serial@7e201000/bluetooth")
    run_quietly("fdtput", "-p", "-t", "x", tree, "/system", "linux,revision", _REVISION)
    for name in _NEEDLESS:
        shutil.rmtree(root / name, ignore_errors=True)
    _install(root, folder / "wheels")
    run_quietly("sh", "-c", "find . | cpio -o -H newc --quiet >../initrd", cwd=root)
    for made in (root, debs, unpacked, folder / "wheels"):
        shutil.rmtree(made)


def _install(root: Path, wheels: Path) -> None:
    """Put tonelight, what it needs, and what the tests need into the system in `root`."""
    python = (root / "usr/bin/python3").readlink().name
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    into = [*for_board(python.removeprefix("python"), "aarch64"), "--target", str(root / "opt/tonelight")]
    try:
        run_quietly(*pip, "install", *into, "-r", ROOT / "edge/locks/device.txt")
        run_quietly(*pip, "wheel", "--no-deps", "-w", wheels, ROOT)
        run_quietly(*pip, "install", *into, *wheels.glob("tonelight-*.whl"))
    except RuntimeError as error:
        raise Missing(f"no wheels for aarch64 could be had: {last_line(error)}") from None
    # as Debian's packages and install.sh do it; of use only if this Python's files are those of the board's, too
    run_quietly(sys.executable, "-m", "compileall", "-q", "-s", root, "-p", "/", root / f"usr/lib/{python}")
    for name in ("proc", "sys", "dev", "run", "tmp", "root", "board", "etc/tonelight"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(GUEST_PI / "init", root / "init")
    shutil.copy(GUEST_PI / "tonelight", root / "usr/bin/tonelight")
    shutil.copy(GUEST_PI / "config.toml", root / "etc/tonelight/config.toml")
    shutil.copy(GUEST / "agent.py", root / "board/agent.py")


@dataclass
class Watch:
    """What the pins did while they were watched from outside.

    `changes` has every pin that went up (True) or down, in order, and `at_s` when; `seen` those that were up when the
    chip was asked.
    """

    changes: list[tuple[int, bool]]
    at_s: list[float]
    seen: set[int]

    def share_up(self, pin: int) -> float:
        """Which part of the time it was up, between the first time that it went up and the last."""
        rises = [i for i, change in enumerate(self.changes) if change == (pin, True)]
        falls = [next(k for k in range(i, len(self.changes)) if self.changes[k] == (pin, False)) for i in rises[:-1]]
        up_s = sum(self.at_s[fall] - self.at_s[rise] for rise, fall in zip(rises, falls, strict=False))
        return up_s / (self.at_s[rises[-1]] - self.at_s[rises[0]])


class RaspberryPi(Machine):
    """A Raspberry Pi that runs. Unlike a `Machine`'s, its clock is that of this machine."""

    def start(self) -> None:
        """Power on, and wait until the board answers."""
        agent, monitor = (self._sockets / name for name in ("agent", "monitor"))
        self._written = self.console.with_name("registers.log")
        command = [
            *self.image.machine,
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-D", self._written),
            *("-msg", "timestamp=on"),  # in what is written there, too
            *("-chardev", f"socket,id=agent,path={agent},server=on,wait=off", "-serial", "chardev:agent"),
            *("-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"),
            *("-qmp", f"unix:{monitor},server=on,wait=off"),
            *("-kernel", self.image.kernel, "-initrd", self.image.initrd),
            # RPi.GPIO writes to the registers that the kernel's own driver has, too
            *("-append", "console=ttyS1,115200 quiet iomem=relaxed panic=-1 mitigations=off"),
        ]
        self._power_on(command, agent)
        assert self._line is not None
        self._monitor = socket.socket(socket.AF_UNIX)
        self._monitor.settimeout(PATIENCE_S)
        self._monitor.connect(str(monitor))
        self._told = self._monitor.makefile("r", encoding="utf-8")
        self._told.readline()
        self._ask_monitor("qmp_capabilities")
        with suppress(OSError):  # the next line says what there is to say
            self._hear_line()
        self.run("true")

    def cut_power(self) -> None:
        if self._qemu is not None:
            self._told.close()
            self._monitor.close()
        super().cut_power()

    def levels(self) -> set[int]:
        """The pins (0 to 31) that are up, as QEMU tells it of the chip."""
        [level] = self._registers(_LEVEL, 1)
        return _pins(level)

    def outputs(self) -> set[int]:
        """The pins (0 to 29) that the chip drives; all others are inputs, which light nothing."""
        chosen = enumerate(self._registers(_FUNCTION, 3))
        return {10 * i + n for i, register in chosen for n in range(10) if register >> 3 * n & 7 == 1}

    def _registers(self, at: int, n: int) -> list[int]:
        said = self._ask_monitor("human-monitor-command", {"command-line": f"xp /{n}wx {GPIO_AT + at:#x}"})
        return [int(word, 16) for word in re.findall(r" (0x[0-9a-f]+)", said)]

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """Watch the pins (0 to 31) meanwhile: everything that is written to their registers, and their levels."""
        watch, done = Watch([], [], set()), threading.Event()

        def look() -> None:
            while not done.wait(0.1):
                watch.seen |= self.levels()

        up = self.levels()
        begin = self._written.stat().st_size if self._written.exists() else 0
        self._trace(True)
        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield watch
        finally:
            done.set()
            looking.join()
            self._trace(False)
        with self._written.open() as log:
            log.seek(begin)
            for line in log:
                if told := re.search(r"@([\d.]+):.*ops_write .* addr (0x\w+) value (0x\w+) ", line):
                    register, pins = int(told[2], 16) - GPIO_AT, _pins(int(told[3], 16))
                    if register in (_SET, _CLEAR):
                        changed = [pin for pin in sorted(pins) if (pin in up) != (register == _SET)]
                        watch.changes += [(pin, register == _SET) for pin in changed]
                        watch.at_s += [float(told[1])] * len(changed)
                        up = up | pins if register == _SET else up - pins

    def _trace(self, is_on: bool) -> None:
        self._ask_monitor("trace-event-set-state", {"name": "memory_region_ops_write", "enable": is_on})

    def _ask_monitor(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        self._monitor.sendall(json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n")
        while True:
            told = json.loads(self._told.readline())
            if "event" not in told:
                return told["return"]


def _pins(register: int) -> set[int]:
    return {pin for pin in range(32) if register >> pin & 1}
