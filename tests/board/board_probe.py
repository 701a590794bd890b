"""Runs on the emulated board, locked in as tonelight.service is: tries what it must not and what it must be able to do.

Prints a JSON object: "done", or the name of the error, for each attempt.
"""

import ctypes
import errno
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER = 0x10000000


def attempt(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def write(folder: str) -> str:
    return attempt(lambda: Path(folder, "probe").write_text("probe"))


def read(path: str) -> str:
    return attempt(lambda: Path(path).read_bytes())


def use(device: str) -> str:
    return attempt(lambda: os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK)))


def talk(family: int) -> str:
    return attempt(lambda: socket.socket(family, socket.SOCK_DGRAM).close())


def call(name: str, *args: object) -> str:
    def act() -> None:
        if getattr(LIBC, name)(*args):
            raise OSError(ctypes.get_errno(), name)

    return attempt(act)


def raise_mode() -> None:
    path = Path("/var/lib/tonelight/probe")
    path.write_text("probe")
    path.chmod(0o4755)


def main() -> None:
    system = ("/", "/etc", "/etc/tonelight", "/opt/tonelight", "/usr", "/boot", "/var", "/var/log", "/var/lib", "/run")
    forbidden = {f"write {place}": write(place) for place in (*system, "/home/anna", "/root", "/sys/devices")}
    secrets = ("/home/anna/diary", "/root/secret", "/etc/shadow", "/proc/1/cmdline", "/proc/kmsg")
    forbidden |= {f"read {path}": read(path) for path in secrets}
    devices = ("/dev/vda", "/dev/mem", "/dev/kmsg", "/dev/vport1p1", "/dev/ttyS0")
    forbidden |= {f"use {path}": use(path) for path in devices}
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_PACKET, socket.AF_NETLINK)
    forbidden |= {f"talk {family.name}": talk(family) for family in families}
    forbidden |= {
        "mount": call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "new namespace": call("unshare", CLONE_NEWUSER),
        "become root": attempt(lambda: os.setuid(0)),
        "change root": attempt(lambda: os.chroot("/tmp")),
        "set the clock": attempt(lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())),
        "set the name": attempt(lambda: socket.sethostname("probe")),
        "signal others": attempt(lambda: os.kill(1, 0)),
        "run in real time": attempt(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
        "set-user-id": attempt(raise_mode),
    }
    needed = {f"write {place}": write(place) for place in ("/var/lib/tonelight", "/run/tonelight", "/tmp")}
    needed |= {f"use {path}": use(path) for path in ("/dev/snd/controlC0", "/dev/snd/pcmC0D1c", "/dev/lights")}
    needed |= {"talk locally": talk(socket.AF_UNIX)}
    networks = sorted(line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:])
    print(json.dumps({"forbidden": forbidden, "needed": needed, "networks": networks}))


main()
