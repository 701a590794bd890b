"""An emulated board that runs: its power switch, a line to a root shell on it, and one to its sshd.

Its clock is counted in instructions, a thousand million of them to the second: where this machine is slow or busy, the
board's time goes slower, too. So no sample is missed because of the machine that a board is emulated on, and its
figures are about those of a processor that does one instruction per nanosecond. Where the board has nothing to do, its
clock jumps to what it waits for next. That rules out KVM, which is real time.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from board_image import Image

PATIENCE_S: Final = 3600.0
"""For one answer of the board: even on a machine that has no time for it, only a board that hangs takes so long."""

# nohz=off: there is always something to wait for soon, so that the clock does not jump far while the disk is waited for
_KERNEL_OPTIONS: Final = "console=ttyAMA0 console=ttyS0 quiet panic=-1 mitigations=off systemd.show_status=0 nohz=off"


class BoardError(Exception):
    """The board, or a command on it, did not do what it was asked for."""


class Machine:
    """A board with the system of `image`; what it writes goes to a disk of its own in `folder`, and stays there.

    Powered on by `start`; as a context manager it is off at the end.
    """

    def __init__(self, image: Image, folder: Path) -> None:
        self.image = image
        self.console = folder / "console.log"
        self.disk = folder / "disk.qcow2"
        if image.disk is not None and not self.disk.exists():
            subprocess.run(
                ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.disk, self.disk], check=True
            )
        self._qemu: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._pending = b""
        self._sockets = Path(tempfile.mkdtemp(prefix="board-"))  # the name of a socket must be short
        self.ssh = self._sockets / "ssh"
        """The socket at which sshd answers while the board is on, to one caller at a time. (It has no network.)"""

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_power()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def start(self, *more: Path) -> None:
        """Power on, and wait until the board answers. The disks in `more` (qcow2) are /dev/vdb and so on."""
        path = self._sockets / "agent"
        for line in (path, self.ssh):
            line.unlink(missing_ok=True)
        command = [
            *self.image.machine,
            *("-accel", "tcg,thread=single,tb-size=512", "-icount", "shift=0,sleep=off", "-smp", "1", "-m", "1024"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"),
            *("-kernel", self.image.kernel, "-initrd", self.image.initrd, "-append", _KERNEL_OPTIONS),
            *("-drive", f"if=none,id=disk,format=qcow2,file={self.disk}", "-device", "virtio-blk-pci,drive=disk"),
            *("-chardev", f"socket,id=agent,path={path},server=on,wait=off", "-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=agent,name=board", "-device", "virtio-rng-pci"),
            *("-chardev", f"socket,id=ssh,path={self.ssh},server=on,wait=off"),
            *("-device", "virtserialport,chardev=ssh,name=ssh"),
        ]
        for i, disk in enumerate(more):
            command += ["-drive", f"if=none,id=more{i},format=qcow2,file={disk}"]
            command += ["-device", f"virtio-blk-pci,drive=more{i}"]
        self._power_on(command, path)
        self.run("true")

    def _power_on(self, command: list[str | Path], path: Path) -> None:
        """Start QEMU, and connect to the socket that it makes at `path`."""
        with self.console.open("ab") as log:
            self._qemu = subprocess.Popen([str(word) for word in command], stdout=log, stderr=subprocess.STDOUT)
        self._line, self._pending = socket.socket(socket.AF_UNIX), b""
        self._line.settimeout(PATIENCE_S)
        while True:
            with suppress(OSError):
                self._line.connect(str(path))
                break
            if self._qemu.poll() is not None:
                raise BoardError(f"QEMU has ended: {self.console.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def run(self, script: str, given: str = "") -> str:
        """What a Bash script prints, run by root in / and given this as its input. Raises BoardError when it fails."""
        rc, out = self._ask(script, given)
        if rc:
            raise BoardError(f"{script}\nended with {rc}: {out}")
        return out

    def does(self, script: str) -> bool:
        """Whether a script succeeds."""
        return self._ask(script)[0] == 0

    def until(self, script: str) -> None:
        """Wait until a script succeeds."""
        # not asked more often, for that would cost the board more than all the rest it does
        rc, out = self._ask(f"for i in $(seq 300); do {{ {script}; }} >/dev/null 2>&1 && exit; sleep 1; done; exit 1")
        if rc:
            raise BoardError(f"it did not come to `{script}` {out}\n{self.journal()}")

    def journal(self, unit: str = "tonelight", n_lines: int = 60) -> str:
        """What a service of this boot said last, each line after the seconds since the boot."""
        return self._ask(f"journalctl -b -u {unit} -o short-monotonic --no-hostname --no-pager -n {n_lines}")[1]

    def put(self, source: Path, target: str) -> None:
        """Copy a file or a folder to the board, as `target`."""
        packed = subprocess.run(["tar", "-C", source.parent, "-c", source.name], check=True, stdout=subprocess.PIPE)
        into = shlex.quote(target)
        self.run(
            f"rm -rf /run/board/put {into} && mkdir /run/board/put && "
            f"base64 -d | tar -C /run/board/put --no-same-owner -x && mv /run/board/put/* {into}",
            base64.b64encode(packed.stdout).decode(),
        )

    def copy_disk(self, copy: Path) -> None:
        """Make of `copy` the disk as it would be left if the power were cut now; the board does not notice."""
        assert self._qemu is not None
        self._qemu.send_signal(signal.SIGSTOP)
        try:
            os.waitid(os.P_PID, self._qemu.pid, os.WSTOPPED)  # until none of its threads writes any more
            shutil.copyfile(self.disk, copy)
        finally:
            self._qemu.send_signal(signal.SIGCONT)

    def cut_power(self) -> None:
        """Off, now: what the board had not written to its disk is lost."""
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None

    def _ask(self, script: str, given: str = "") -> tuple[int, str]:
        assert self._line is not None
        try:
            self._line.sendall(json.dumps({"script": script, "given": given}).encode() + b"\n")
            answer = json.loads(self._hear_line())
        except OSError as error:
            tail = self.console.read_text(errors="replace")[-3000:]
            raise BoardError(f"the board does not answer to `{script[:200]}` ({error}); its console:\n{tail}") from None
        return int(answer["rc"]), str(answer["out"])

    def _hear_line(self) -> bytes:
        assert self._line is not None
        while b"\n" not in self._pending:
            if not (got := self._line.recv(65536)):
                raise OSError("it has ended")
            self._pending += got
        line, _, self._pending = self._pending.partition(b"\n")
        return line
