"""Debian for an emulated board: its system, its kernel, and the modules of what the board has soldered on.

Everything comes from this machine's own apt sources. gpio-sim and uleds, which Debian's kernel lacks, are compiled from
the kernel's own source package.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "systemd systemd-sysv udev dbus kmod e2fsprogs libportaudio2 libsndfile1 alsa-utils python3 python3-venv "
    "openssh-server sudo"
)

_MODULES: Final = ("virtio_pci", "virtio_blk", "virtio_console", "crc32c_generic", "ext4", "snd-aloop", "configfs")

_EARLY: Final = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")

MASKED: Final = (
    "getty.target getty@tty1.service serial-getty@ttyS0.service serial-getty@ttyAMA0.service console-getty.service "
    "ssh.service systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer "
    "e2scrub_all.timer e2scrub_reap.service systemd-networkd-wait-online.service"
)

_INIT: Final = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
for module in /modules/*; do $b insmod $module; done
until [ -b /dev/vda ]; do $b sleep 0.1; done
$b mount -t ext4 -o rw,noatime /dev/vda /root || $b poweroff -f
init=$($b sed -n 's/.* init=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
$b umount /sys /proc
exec $b switch_root /root ${init:-/sbin/init}
"""
# in mmdebstrap, whose apt knows the packages of the board's architecture
KERNEL: Final = """set -e
mkdir "$OUT" && cd "$OUT"
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
release=$(apt-cache depends linux-image-$ARCH | sed -n 's/.*Depends: linux-image-//p' | head -n 1)
headers=$(apt-cache depends linux-headers-$release | sed -n 's/.*Depends: \\(linux-[hk].*\\)/\\1/p')
version=$(apt-cache show linux-image-$release | sed -n 's/^Version: //p' | head -n 1)
series=$(echo $version | cut -d. -f1,2)
apt-get -q download linux-image-$release=$version linux-headers-$release=$version $headers linux-source-$series=$version
echo $release >release
"""


ALONE: Final = ("unshare", "--mount", "--propagation", "private")
"""What is mounted by such a command is seen by nobody else, and gone with it, however it ends."""

UNPACKED: Final = ("--variant=extract", "--aptopt=APT::Install-Recommends false")
"""How mmdebstrap is told to unpack what it is asked for, and what that depends on, and to run nothing of it."""


class Missing(Exception):
    """This machine cannot make or run an emulated board; the message says what it lacks, in one sentence."""


def suite() -> str | None:
    release = platform.freedesktop_os_release()
    return release.get("VERSION_CODENAME") if release.get("ID") == "debian" else None


def sources() -> list[Path]:
    """Where this machine's own apt gets Debian from."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("debian*"))]
    return [file for file in files if file.exists()]


def last_line(error: RuntimeError) -> str:
    """Of what a program said that failed."""
    return str(error).strip().splitlines()[-1]


def run_quietly(*argv: str | Path, **options: object) -> str:
    done = subprocess.run(
        ["nice", "-n", "3", *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))}\n{done.stdout[-3000:]}")
    return str(done.stdout)


def make_system(arch: str, folder: Path) -> None:
    """Make `root/`, `vmlinuz` and `initrd` in `folder`.

    Raises:
        Missing: the packages cannot be had.
    """
    root, debs = folder / "root", folder / "debs"
    _bootstrap(arch, root, debs)
    put_kernel(debs, folder, Path(str(shutil.which("busybox"))))
    _settle(root)


def put_kernel(debs: Path, folder: Path, busybox: Path, cross: str = "", *make: str) -> None:
    """Make `folder/vmlinuz` and `folder/initrd`, and put the modules into `folder/root`.

    `debs` has the packages of the kernel, and goes; `busybox` is the board's; `cross` is what the names of its compiler
    and its strip begin with, and `make` what its kernel's Makefile has to be told.
    """
    root, unpacked = folder / "root", folder / "unpacked"
    release = (debs / "release").read_text().strip()
    for deb in sorted(debs.glob("*.deb")):
        run_quietly("dpkg-deb", "-x", deb, unpacked)
    shutil.copy(unpacked / f"boot/vmlinuz-{release}", folder / "vmlinuz")
    run_quietly("depmod", "-b", unpacked, release)
    _compile_simulators(unpacked, release, root / f"lib/modules/{release}/extra", cross, make)
    _copy_modules(unpacked, root, release)
    _make_initrd(unpacked, release, folder, busybox)
    shutil.rmtree(unpacked)
    shutil.rmtree(debs)


def _bootstrap(arch: str, root: Path, debs: Path) -> None:
    """Debian in `root`, and the packages of its kernel in `debs`, with the name of that kernel in `debs/release`."""
    included = f"--include={PACKAGES.replace(' ', ',')}"
    options = ["--variant=minbase", f"--architectures={arch}", included, f"--customize-hook={KERNEL}"]
    try:
        run_quietly(
            *(*ALONE, "mmdebstrap", *options, str(suite()), root, *sources()),
            env=os.environ | {"OUT": str(debs), "ARCH": arch},
        )
    except RuntimeError as error:
        raise Missing(f"Debian's packages could not be had: {last_line(error)}") from None


def _compile_simulators(unpacked: Path, release: str, target: Path, cross: str, make: tuple[str, ...]) -> None:
    """Compile gpio-sim, with the simulated interrupts that it needs, and uleds for the kernel `release`."""
    work = unpacked / "simulators"
    work.mkdir()
    [source] = (unpacked / "usr/src").glob("linux-source-*.tar.xz")
    wanted = ["drivers/gpio/gpio-sim.c", "drivers/gpio/gpiolib.h", "kernel/irq/irq_sim.c"]
    wanted += ["drivers/leds/uleds.c", "drivers/leds/leds.h"]
    top = source.name.removesuffix(".tar.xz")
    run_quietly("tar", "-xJf", source, "-C", work, "--occurrence=1", *(f"{top}/{name}" for name in wanted))
    for name in wanted:
        shutil.move(work / top / name, work)
    simulated = work / "irq_sim.c"
    # what a module may not call, in the words of the function that it may
    text = simulated.read_text().replace("handle_simple_irq(irq_to_desc(irqnum))", "generic_handle_irq_safe(irqnum)")
    simulated.write_text(text + '\n#include <linux/module.h>\nMODULE_LICENSE("GPL");\n')
    (work / "Kbuild").write_text("obj-m := irq_sim.o gpio-sim.o uleds.o\n")
    headers = unpacked / f"usr/src/linux-headers-{release}"
    makefile = headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src", f"{unpacked}/usr/src"))
    run_quietly("make", "-s", "-C", headers, f"M={work}", *make, "modules")
    target.mkdir(parents=True)
    for module in work.glob("*.ko"):
        run_quietly(f"{cross}strip", "--strip-debug", module)
        shutil.copy(module, target)


def _files_of(unpacked: Path, release: str, modules: tuple[str, ...]) -> list[Path]:
    """The files of `modules` and of all they need, in the order in which they can be loaded."""
    files: dict[Path, None] = {}
    for module in modules:
        for line in run_quietly("modprobe", "-d", unpacked, "-S", release, "--show-depends", module).splitlines():
            if line.startswith("insmod"):
                files[Path(line.split()[1])] = None
    return list(files)


def _copy_modules(unpacked: Path, root: Path, release: str) -> None:
    source, target = unpacked / f"lib/modules/{release}", root / f"lib/modules/{release}"
    for file in _files_of(unpacked, release, _MODULES):
        to = target / file.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, to)
    for listing in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(source / listing, target)
    run_quietly("depmod", "-b", root, release)


def _make_initrd(unpacked: Path, release: str, folder: Path, busybox: Path) -> None:
    tree = folder / "early"
    for name in ("bin", "dev", "proc", "sys", "root", "modules"):
        (tree / name).mkdir(parents=True)
    shutil.copy(busybox, tree / "bin/busybox")
    for i, file in enumerate(_files_of(unpacked, release, _EARLY)):
        shutil.copy(file, tree / f"modules/{i:02}-{file.name}")
    (tree / "init").write_text(_INIT)
    (tree / "init").chmod(0o755)
    run_quietly("sh", "-c", "find . | cpio -o -H newc --quiet | gzip -1 >../initrd", cwd=tree)
    shutil.rmtree(tree)


def _settle(root: Path) -> None:
    (root / "etc/hostname").write_text("board\n")
    (root / "etc/fstab").write_text("/dev/vda / ext4 rw,noatime 0 1\n")
    (root / "var/log/journal").mkdir(exist_ok=True)
    # came with sshd, and a minimal Debian has none: the service must do without
    (root / "bin/kill").unlink(missing_ok=True)
    run_quietly("chroot", root, "systemctl", "--quiet", "mask", *MASKED.split())
    run_quietly("chroot", root, "systemctl", "set-default", "multi-user.target")
    run_quietly("chroot", root, "systemd-machine-id-setup")
