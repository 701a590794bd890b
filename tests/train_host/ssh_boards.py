"""Boards for tests: a real sshd on loopback, the real `tonelight`, and a real daemon that is started when it ends.

Each has a folder of its own for state, keys and `run/`; the one thing that stands in is `systemctl`, a script that
sends the signals that the unit tells systemd to send.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from audio_files import write
from signals import noise, talk

from edge.store import Store
from train_host.deploy_ssh import Board

PATIENCE_S = 60.0  # nothing is measured by it: a test that fails ends some time
ROOT = Path(__file__).parents[2]

SYSTEMCTL = """\
#!/bin/sh
pid=$(cat "$BOARD/pid" 2>/dev/null)
case $1 in
is-active) if [ -n "$pid" ]; then echo active; else echo inactive; exit 3; fi ;;
reload)
  if [ -x "$BOARD/before-reload" ]; then "$BOARD/before-reload"; fi
  kill -HUP "$pid" ;;
restart)
  echo restart >>"$BOARD/restarts"
  kill -TERM "$pid"
  while [ "$(cat "$BOARD/pid")" = "$pid" ] || [ ! -e "$BOARD/ready" ]; do sleep 0.1; done ;;
esac
"""


def find_sshd() -> str:
    """Skips the test where there is none."""
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("needs sshd: sudo apt install openssh-server")
    return found


def key_pair(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


class Network:
    """A user's side of ssh: a key, known hosts, and an `ssh` in the path that uses these and nothing else."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sshd = find_sshd()
        self.folder = folder
        self.key = key_pair(folder / "id")
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.touch()
        config = folder / "ssh_config"
        config.write_text(
            f"Host *\n IdentityFile {self.key}\n IdentitiesOnly yes\n UserKnownHostsFile {self.known_hosts}\n"
            " GlobalKnownHostsFile /dev/null\n"
        )
        script = folder / "bin" / "ssh"
        script.parent.mkdir()
        script.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
        self.boards: list[SshBoard] = []

    def board(self, name: str, public: Path) -> SshBoard:
        """A new board that trusts the signing key `public`, with its daemon running."""
        board = SshBoard(self, name, public)
        self.boards.append(board)
        return board

    def close(self) -> None:
        for board in self.boards:
            board.close()


class SshBoard:
    """One board; `entry` is what reaches it."""

    def __init__(self, network: Network, name: str, public: Path) -> None:
        self.network = network
        self.folder = network.folder / name
        for each in ("bin", "state", "run", "etc/keys", "tmp", "config/tonelight"):
            (self.folder / each).mkdir(parents=True)
        shutil.copy(public, self.folder / "etc" / "keys")
        (self.folder / "config" / "tonelight" / "config.toml").write_text('[leds]\nkind = "none"\n')
        self.script("bin/tonelight", f'#!/bin/sh\nexec {sys.executable} -m edge "$@"\n')
        self.script("bin/systemctl", SYSTEMCTL)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.store = Store(self.folder / "state" / "models", self.folder / "etc" / "keys")
        self.entry = Board(name, "127.0.0.1", port=self.port, sudo=False)
        self.environ = {
            "BOARD": str(self.folder),
            "PATH": f"{self.folder}/bin:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "STATE_DIRECTORY": str(self.folder / "state"),
            "RUNTIME_DIRECTORY": str(self.folder / "run"),
            "CONFIGURATION_DIRECTORY": str(self.folder / "etc"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "TMPDIR": str(self.folder / "tmp"),
        }
        self._ends = threading.Event()
        self._service: threading.Thread | None = None
        self._sshd: subprocess.Popen[bytes] | None = None
        self.new_host_key()
        self.know()
        self.listen()

    def script(self, name: str, content: str) -> None:
        path = self.folder / name
        path.write_text(content)
        path.chmod(0o755)

    # --- ssh

    def new_host_key(self) -> None:
        for path in self.folder.glob("host*"):
            path.unlink()
        key_pair(self.folder / "host")

    def know(self) -> None:
        """The user has met this board."""
        public = " ".join((self.folder / "host.pub").read_text().split()[:2])
        with self.network.known_hosts.open("a") as file:
            file.write(f"[127.0.0.1]:{self.port} {public}\n")

    def listen(self) -> None:
        """Start sshd."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it wants to be before anybody has logged in
        config = self.folder / "sshd_config"
        environ = " ".join(f"{name}={value}" for name, value in self.environ.items())
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {self.network.key}.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nPermitRootLogin yes\nSetEnv {environ}\n"
        )
        with (self.folder / "sshd.log").open("ab") as log:
            self._sshd = subprocess.Popen([self.network.sshd, "-D", "-e", "-f", config], stderr=log)
        until(lambda: self._answers() or self._sshd.poll() is not None)
        assert self._sshd.poll() is None, (self.folder / "sshd.log").read_text()

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
            return True
        return False

    def cut(self) -> None:
        """Cut every connection; sshd goes on listening for new ones."""
        for pid in _children(self._sshd.pid):
            for process in (*_children(pid), pid):  # the privileged one and the user's
                if b"sshd" in _name(process):
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)

    def unplug(self) -> None:
        """No connection any more, and no new one either."""
        self.cut()
        self._sshd.terminate()
        self._sshd.wait()

    # --- the service

    def start(self) -> None:
        """Let the daemon listen, and start it again whenever it ends."""
        self._service = threading.Thread(target=self._keep_running)
        self._service.start()
        until(lambda: (self.folder / "run" / "health.json").exists())

    def _keep_running(self) -> None:
        sound = self.folder / "sound.wav"
        write(sound, np.concatenate([talk(), noise(600, -70.0)]), 16_000)
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        short = Path(f"/tmp/tl-{os.getpid()}-{self.port}")  # the name of a socket must be short
        manager.bind(str(short))
        manager.settimeout(0.1)
        environ = {**os.environ, **self.environ, "NOTIFY_SOCKET": str(short)}
        pid, ready = self.folder / "pid", self.folder / "ready"
        while not self._ends.is_set():
            ready.unlink(missing_ok=True)
            with (self.folder / "journal").open("ab") as journal:
                process = subprocess.Popen(
                    [sys.executable, "-m", "edge", "run", "--source", str(sound)],
                    env=environ,
                    stdout=journal,
                    stderr=journal,
                )
            pid.write_text(str(process.pid))
            while process.poll() is None:
                with suppress(TimeoutError):
                    if b"READY=1" in manager.recv(4096):
                        ready.touch()
                if self._ends.is_set():
                    process.kill()
        manager.close()
        short.unlink()

    @property
    def journal(self) -> str:
        return (self.folder / "journal").read_text()

    def close(self) -> None:
        self._ends.set()
        if self._service is not None:
            self._service.join()
        if self._sshd is not None and self._sshd.poll() is None:
            self.unplug()


def until(condition) -> None:
    """Wait for it."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def _name(pid: int) -> bytes:
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "comm").read_bytes()
    return b""
