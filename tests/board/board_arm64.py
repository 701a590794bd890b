"""The disk of an emulated arm64 board, which has to set itself up: its programs do not run on this machine.

Debian's packages are unpacked here; the board sets them up in its first start, as an installer does. In another start
of its own it runs systemd/install.sh. That takes it many minutes, once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from board_debian import (
    ALONE,
    KERNEL,
    MASKED,
    PACKAGES,
    UNPACKED,
    Missing,
    last_line,
    put_kernel,
    run_quietly,
    sources,
    suite,
)

FIRST_START: Final = Path(__file__).with_name("first_start")
MACHINE: Final = ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72")
_COMPILER: Final = "aarch64-linux-gnu-"
TOOLS: Final = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "depmod": "kmod",
    "cpio": "cpio",
    "make": "make",
    "gcc": "gcc",
    f"{_COMPILER}gcc": "gcc-aarch64-linux-gnu",
    "qemu-img": "qemu-utils",
    "qemu-system-aarch64": "qemu-system-arm",
}
_HOOK: Final = f"""{KERNEL}
rm -f linux-kbuild*.deb
apt-get -q download busybox-static
mkdir ../packages && cp "$1"/var/cache/apt/archives/*.deb ../packages
"""


def make_system(folder: Path) -> None:
    """Make `disk`, `vmlinuz`, `initrd` and `python` (the version of the board's) in `folder`.

    Raises:
        Missing: the packages cannot be had.
    """
    root, debs, packages = folder / "root", folder / "debs", folder / "packages"
    options = [*UNPACKED, "--architectures=arm64", "--include=?essential", "--include=apt"]
    options += [f"--include={PACKAGES.replace(' ', ',')}", f"--extract-hook={_HOOK}"]
    try:
        run_quietly(
            *(*ALONE, "mmdebstrap", *options, str(suite()), folder / "fetched", *sources()),
            env=os.environ | {"OUT": str(debs), "ARCH": "arm64"},
        )
        # what the kernel's Makefile runs has to be of this machine
        series = ".".join((debs / "release").read_text().split(".")[:2])
        run_quietly("apt-get", "-q", "download", f"linux-kbuild-{series}", cwd=debs)
    except RuntimeError as error:
        raise Missing(f"Debian's packages for arm64 could not be had: {last_line(error)}") from None
    early = folder / "early-debs"
    run_quietly("dpkg-deb", "-x", next(debs.glob("busybox-static_*.deb")), early)
    _unpack(packages, root)
    # a link is made for each, which takes an emulated board minutes, and it has no network
    shutil.rmtree(root / "usr/share/ca-certificates/mozilla", ignore_errors=True)
    put_kernel(debs, folder, early / "bin/busybox", _COMPILER, "ARCH=arm64", f"CROSS_COMPILE={_COMPILER}")
    for script in FIRST_START.glob("*.sh"):
        shutil.copy(script, root / "first-start")
    (root / "first-start/masked").write_text(MASKED)
    (folder / "python").write_text((root / "usr/bin/python3").readlink().name.removeprefix("python"))
    run_quietly("mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", root, folder / "disk", "3G")
    for made in (root, early, packages, folder / "fetched"):
        shutil.rmtree(made)
    _first_start("debian.sh", folder, folder / "disk")


def install(base: Path, filled: Path, disk: Path) -> None:
    """Make `disk`: the system of `base`, on which tonelight is installed from the folder /board in `filled`."""
    run_quietly("cp", "--sparse=always", base / "disk", disk)
    packed = disk.with_name("packed.tar")
    run_quietly("tar", "-C", filled, "--owner=0", "--group=0", "-cf", packed, "board")
    _first_start("tonelight.sh", base, disk, packed)
    packed.unlink()


def _unpack(packages: Path, root: Path) -> None:
    """Unpack the packages in `root`, known to the board's dpkg as not yet set up.

    Their scripts that ask to run before are programs of the board. On a fresh system that of base-passwd alone has
    something to do: it is kept as /first-start/base-passwd.
    """
    for name in ("bin", "lib", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "first-start"):
        (root / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    for deb in packages.glob("*.deb"):
        run_quietly("dpkg-deb", "-R", deb, packages / "open")
        if (script := packages / "open/DEBIAN/preinst").exists():
            if deb.name.startswith("base-passwd_"):
                shutil.copy(script, root / "first-start/base-passwd")
            script.unlink()
            run_quietly("dpkg-deb", "-Znone", "-b", packages / "open", deb)
        shutil.rmtree(packages / "open")
    forced = ("--force-architecture", "--force-depends", "--force-unsafe-io", "--log=/dev/null")
    run_quietly("dpkg", f"--root={root}", *forced, "--unpack", *packages.glob("*.deb"))


def _first_start(script: str, base: Path, *disks: Path) -> None:
    """Boot from the first disk with that script as the only program, until it has switched the board off."""
    console = disks[0].with_name(f"{script}.log")
    drives = [
        word
        for i, disk in enumerate(disks)
        for word in (
            *("-drive", f"if=none,id=disk{i},format=raw,cache=unsafe,file={disk}"),
            *("-device", f"virtio-blk-pci,drive=disk{i}"),
        )
    ]
    command = [
        *(*MACHINE, "-accel", "tcg,thread=multi,tb-size=512", "-smp", "2", "-m", "1024"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", *drives, "-device", "virtio-rng-pci"),
        *("-chardev", f"file,id=console,path={console}", "-serial", "chardev:console"),
        *("-kernel", base / "vmlinuz", "-initrd", base / "initrd", "-append"),
        f"console=ttyAMA0 quiet panic=-1 mitigations=off init=/first-start/{script}",
    ]
    done = subprocess.run(["nice", "-n", "3", *map(str, command)], capture_output=True, text=True)
    said = console.read_text(errors="replace") if console.exists() else ""
    if "### done" not in said:
        raise RuntimeError(f"the arm64 board could not set itself up: {done.stderr}\n{said[-3000:]}")
    console.unlink()
