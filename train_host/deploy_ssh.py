"""One connection to a board over the system's ssh, with its configuration, keys, agent and known hosts.

A connection is logged in once (`ssh -M`), and every command goes through it. Nothing is ever asked for: what would need
a password or a yes is an error that says how to give it once by hand. Nothing of the user's rules about host keys is
loosened.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Timer
from typing import IO, Final

from train_host.errors import DeployError

CONNECT_S: Final = 15
LOGIN_S: Final = 60.0
"""A login that takes longer will not come any more."""
_READY: Final = "tonelight: logged in"
_CHUNK_BYTES: Final = 32 * 1024
_MAX_ANSWER_BYTES: Final = 1 << 20
_NO_CONNECTION: Final = 255  # exit status of ssh where it failed, and not the command

_OPTIONS: Final = (
    "BatchMode=yes",
    f"ConnectTimeout={CONNECT_S}",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "ControlPersist=no",
    "LogLevel=ERROR",
)


class ConnectionLost(DeployError):
    """The board cannot be reached, does not let in, or has gone in the middle of a step."""


@dataclass(frozen=True)
class Board:
    """Where a board is reached: what `ssh -l user -p port host` would take; None is what ssh's configuration says.

    `sudo`: commands that change the board are run by `sudo -n`, unless the user is root.
    """

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    sudo: bool = True

    def target(self) -> list[str]:
        """Arguments of ssh, without its name and options."""
        user = ["-l", self.user] if self.user else []
        port = ["-p", str(self.port)] if self.port else []
        return [*user, *port, "--", self.host]

    def by_hand(self) -> str:
        """The command that reaches it by hand, for messages."""
        port = f"-p {self.port} " if self.port else ""
        return f"ssh {port}{self.user + '@' if self.user else ''}{shlex.quote(self.host)}"


@dataclass(frozen=True)
class Answer:
    """What a command on the board ended with."""

    status: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The last line of its errors, fit to be printed."""
        return _last_line(self.err) or _last_line(self.out) or f"exit status {self.status}"


class Connection:
    """Logged in to `board` while it is entered; `socket` is a path for ssh that is nobody else's, and short.

    Raises:
        ConnectionLost: the board cannot be reached, or lets nobody in (on entering).
    """

    def __init__(self, board: Board, socket: Path) -> None:
        self.board = board
        self._socket = socket
        self._master: subprocess.Popen[str] | None = None
        self.is_cut = False

    def __enter__(self) -> Connection:
        with TemporaryFile() as err:
            # `cat` ends with our end of its pipe: however this program ends, no connection stays behind.
            self._master = self._start(["-M"], f"echo {shlex.quote(_READY)}; exec cat >/dev/null", err)
            late = Timer(LOGIN_S, self._kill)
            late.start()
            try:
                assert self._master.stdout is not None
                if not any(line.strip() == _READY for line in self._master.stdout):
                    self._master.wait()
                    raise ConnectionLost(self._why(_text(err)))
            except BaseException:
                self.__exit__()
                raise
            finally:
                late.cancel()
        return self

    def __exit__(self, *_: object) -> None:
        master = self._master
        if master is None:
            return
        assert master.stdin is not None and master.stdout is not None
        with suppress(OSError):
            master.stdin.close()
        try:
            master.wait(5.0)
        except subprocess.TimeoutExpired:
            self._kill()
            master.wait()
        master.stdout.close()
        self._socket.unlink(missing_ok=True)

    def cut(self) -> None:
        """For another thread: whatever waits for an answer fails at once, and so does everything after it."""
        self.is_cut = True
        self._kill()

    def _kill(self) -> None:
        if self._master is not None:
            self._master.kill()

    def run(
        self, script: str, *, timeout_s: float, content: bytes = b"", on_sent: Callable[[float], None] | None = None
    ) -> Answer:
        """Let `sh` run `script` on the board, with `content` as its input; `$up` in it makes a command root's.

        `on_sent` is told the share of `content` that has gone, 0 to 1.

        Raises:
            ConnectionLost: there is no connection (any more), or no answer within `timeout_s`.
        """
        if self.is_cut:
            raise ConnectionLost("interrupted")
        root = 'up=; [ "$(id -u)" = 0 ] || up="sudo -n"' if self.board.sudo else "up="
        with TemporaryFile() as out, TemporaryFile() as err:
            process = subprocess.Popen(
                self._command(["-o", "ControlMaster=no"], f"export LC_ALL=C; {root}; {script}"),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            late = Timer(timeout_s, process.kill)
            late.start()
            try:
                assert process.stdin is not None
                with suppress(BrokenPipeError), process.stdin as pipe:
                    for start in range(0, len(content), _CHUNK_BYTES):
                        pipe.write(content[start : start + _CHUNK_BYTES])
                        if on_sent is not None:
                            on_sent(min(1.0, (start + _CHUNK_BYTES) / len(content)))
                process.wait()
            except BaseException:
                process.kill()
                process.wait()
                raise
            finally:
                late.cancel()
            answer = Answer(process.returncode, _text(out), _text(err))
        if answer.status < 0:
            raise ConnectionLost(f"no answer within {timeout_s:.0f} s")
        if answer.status == _NO_CONNECTION:
            raise ConnectionLost(self._why(answer.err))
        return answer

    def _command(self, extra: list[str], script: str) -> list[str]:
        options = [part for option in _OPTIONS for part in ("-o", option)]
        shell = f"sh -c {shlex.quote(script)}"
        return ["ssh", "-T", "-S", str(self._socket), *options, *extra, *self.board.target(), shell]

    def _start(self, extra: list[str], script: str, err: IO[bytes]) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                self._command(extra, script),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is for this program to act upon
            )
        except FileNotFoundError:
            raise ConnectionLost("there is no ssh here; sudo apt install openssh-client") from None
        except PermissionError:
            raise ConnectionLost("ssh may not be run here; `ls -l $(which -a ssh)` tells why") from None

    def _why(self, err: str) -> str:
        """What ssh said, in one line with the way out."""
        by_hand, board = self.board.by_hand(), self.board
        if "IDENTIFICATION HAS CHANGED" in err or "differs from the key for" in err:
            name = f"[{board.host}]:{board.port}" if board.port not in (None, 22) else board.host
            return (
                "its host key has changed: another machine may answer in its place. Where the board was set up anew: "
                f"ssh-keygen -R {shlex.quote(name)}, then `{by_hand}` once by hand"
            )
        if "Host key verification failed" in err:
            return f"its host key is not known here; `{by_hand}` once by hand, and compare the fingerprint"
        if "Permission denied" in err or "Too many authentication failures" in err:
            return f"it lets nobody in without a password; {by_hand.replace('ssh', 'ssh-copy-id', 1)}, or ssh-add a key"
        if "Could not resolve hostname" in err:
            return f"there is no {board.host} in this network; check the name"
        if re.search("Connection refused|timed out|No route to host|Network is unreachable", err):
            return f"it cannot be reached ({_last_line(err)}); is it on, and does ssh run there?"
        return f"the connection is gone ({_last_line(err) or 'ssh does not say why'})"


def _text(file: IO[bytes]) -> str:
    file.seek(0, os.SEEK_SET)
    return file.read(_MAX_ANSWER_BYTES).decode("utf-8", "replace")


def _last_line(text: str) -> str:
    """The last line with anything in it, without what a terminal would act upon."""
    lines = ["".join(char if char.isprintable() else " " for char in line).strip() for line in text.splitlines()]
    return next((line[:400] for line in reversed(lines) if line), "")
