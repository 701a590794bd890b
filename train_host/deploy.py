"""A signed bundle to boards: copied, verified and tried there, taken up, watched, and gone back from by itself.

Each step leaves a board that listens. What was copied and not installed is removed; what was installed and not taken up
is taken up by the next call, or by the next start of the service; and a bundle with which the service does not live is
left by the board itself (`edge.probation`), should the connection go before it could be told to.
"""

from __future__ import annotations

import hashlib
import io
import re
import shlex
import tarfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock
from typing import Final, Literal, Protocol

import msgspec

from edge.bundle import MANIFEST, load_bundle, read_file, read_manifest
from edge.commands.model import Listing
from edge.health import SILENT_S, Report
from edge.observers import Phase
from edge.signing import SIGNATURE
from train_host.deploy_ssh import Answer, Board, Connection, ConnectionLost
from train_host.errors import DeployError

Outcome = Literal["done", "already", "installed", "rolled back", "failed", "untouched"]
GOOD: Final[tuple[Outcome, ...]] = ("done", "already", "installed")

_STAGING: Final = "tonelight-deploy"
_CANNOT_UNPACK: Final = 66
_NOT_RUNNING: Final = 67
_START_IT: Final = "the service does not run there: sudo systemctl start tonelight"


@dataclass(frozen=True)
class Limits:
    """In seconds. Boards with slow cards take their time, and the bundle is tried on them."""

    command_s: float = 60.0
    install_s: float = 300.0
    steady_s: float = 10.0
    """So long the service must be well with the bundle, without a break."""
    healthy_s: float = 90.0
    """Within this it must have begun to be; also after going back."""
    poll_s: float = 1.0


class Result(msgspec.Struct, frozen=True):
    """What became of a board. `before` and `now` are the ids of its active bundle, None where that is not known."""

    board: str
    outcome: Outcome
    before: str | None
    now: str | None
    message: str
    seconds: float

    @property
    def is_proof(self) -> bool:
        """Whether its service was seen to hear sound with the bundle: where it was not, `message` says why."""
        return self.outcome in ("done", "already") and not self.message


class View(Protocol):
    """Is shown what happens; called from several threads."""

    def step(self, board: Board, step: str) -> None:
        """The board is at `step` now."""

    def result(self, result: Result) -> None:
        """The board is through, or will not be touched."""

    def note(self, text: str) -> None:
        """One line that is about no board."""


@dataclass(frozen=True)
class Package:
    """A bundle as it travels: `content` is a tar archive of a folder named as the bundle's id."""

    id: str
    manifest_sha256: str
    content: bytes


def pack(path: Path) -> Package:
    """The bundle in folder `path`, checked as far as can be without the keys of a board.

    Raises:
        BundleError: it is damaged or cannot be read.
        DeployError: it is not signed, or was changed while it was read.
    """
    path = path.absolute()
    bundle, manifest = load_bundle(path), read_manifest(path, may_be_link=True)
    if not (path / SIGNATURE).exists():
        raise DeployError(f"bundle {path} is not signed, no board takes it; tonelight-train sign {path} --key FILE")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in (MANIFEST, SIGNATURE, *bundle.manifest.files):
            data = manifest if name == MANIFEST else read_file(path / name, may_be_link=True)
            if name in bundle.manifest.files and hashlib.sha256(data).hexdigest() != bundle.manifest.files[name]:
                raise DeployError(f"{path / name} was changed while it was read; try again")
            entry = tarfile.TarInfo(f"{bundle.id}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o644, int(time.time())
            archive.addfile(entry, io.BytesIO(data))
    return Package(bundle.id, hashlib.sha256(manifest).hexdigest(), content.getvalue())


def deploy(
    package: Package,
    boards: Sequence[Board],
    view: View,
    *,
    n_canaries: int = 1,
    n_parallel: int = 4,
    allow_downgrade: bool = False,
    limits: Limits | None = None,
) -> list[Result]:
    """Bring `package` to the first `n_canaries` of `boards`, then to the others, `n_parallel` at a time.

    The others are begun only when each of the first hears sound with it: a service that does not run or is muted is no
    failure, but no proof either. After a board has failed, those that were not begun are left untouched; those at work
    are finished. The same goes for Ctrl-C; a second one cuts the connections, and boards look after themselves. Results
    are in the boards' order.

    Raises:
        KeyboardInterrupt: the second one.
    """
    stop, lock, connections = Event(), Lock(), set[Connection]()
    allowed = " --allow-downgrade" if allow_downgrade else ""
    limits = limits or Limits()

    def one(board: Board, socket: Path) -> Result:
        if stop.is_set():
            result = Result(board.name, "untouched", None, None, "", 0.0)
        else:
            connection = Connection(board, socket)
            with lock:
                connections.add(connection)
            result = _Deployment(package, connection, view, allowed, limits).run()
            with lock:
                connections.discard(connection)
        if result.outcome not in GOOD:
            stop.set()
        view.result(result)
        return result

    results: list[Result] = []
    with ExitStack() as stack:
        # ssh's sockets need short names, and $TMPDIR may be a long one
        short = "/tmp" if Path("/tmp").is_dir() else None
        sockets = Path(stack.enter_context(TemporaryDirectory(prefix="tl-", dir=short)))
        pool = stack.enter_context(ThreadPoolExecutor(n_parallel))
        for wave in (boards[:n_canaries], boards[n_canaries:]):
            deaf = next((result for result in results if not result.is_proof), None)
            if wave and deaf is not None and not stop.is_set():
                stop.set()
                view.note(
                    f"no other board is begun: {deaf.board} has heard no sound with {package.id} ({deaf.message}); "
                    "mend that and deploy again, or name another board first, or --canary 0 to go on without"
                )
            futures = [pool.submit(one, board, sockets / str(len(results) + i)) for i, board in enumerate(wave)]
            _wait(futures, stop, view, lock, connections)
            results += [future.result() for future in futures]
    return results


def _wait(futures: list[Future[Result]], stop: Event, view: View, lock: Lock, connections: set[Connection]) -> None:
    try:
        wait(futures)
    except KeyboardInterrupt:
        stop.set()
        view.note("interrupted: boards that were begun are finished; Ctrl-C again to leave them at once")
        try:
            wait(futures)
        except KeyboardInterrupt:
            with lock:
                for connection in connections:
                    connection.cut()
            raise


class _Deployment:
    """The way of one bundle to one board."""

    def __init__(self, package: Package, connection: Connection, view: View, allowed: str, limits: Limits) -> None:
        self._package = package
        self._connection = connection
        self._view = view
        self._allowed = allowed
        self._limits = limits
        self._before: str | None = None
        self._now: str | None = None

    def run(self) -> Result:
        """Never raises what is about the board, or about what this machine has to do for it."""
        begun_s = time.monotonic()
        try:
            self._step("connecting")
            with self._connection:
                outcome, message = self._deploy()
        except ConnectionLost as error:
            outcome, message = "failed", str(error) + self._left_alone()
        except DeployError as error:
            outcome, message = "failed", str(error)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            why = f"{where}{error.strerror or error}, on this machine and not there; mend that"
            outcome, message = "failed", why + self._left_alone()
        board = self._connection.board.name
        return Result(board, outcome, self._before, self._now, message, round(time.monotonic() - begun_s, 1))

    def _left_alone(self) -> str:
        """What becomes of a board that was begun and cannot be told any more."""
        if self._before is None:
            return ""
        return "; it goes on listening, and leaves a bundle that fails by itself; deploy again to go on"

    def _deploy(self) -> tuple[Outcome, str]:
        package, limits = self._package, self._limits
        self._step("looking")
        found = self._look()
        self._before = found.active
        if found.configured:
            raise DeployError(
                f"model.bundle is set there: {found.configured} would listen in place of any other; remove it from the "
                "board's configuration"
            )
        running = found.health
        bears_fault = running is not None and running.health.phase is Phase.FAULT
        if self._has_it(found):
            if running is None:
                return "already", _START_IT
            if running.health.model == package.id:
                watch = self._watch(found, package.id, 0.0, SILENT_S * 1.5, bears_fault)
                if watch.why is not None:
                    return "failed", f"it has {package.id} already, but {watch.why}; sudo tonelight doctor"
                return "already", watch.deaf
        else:
            self._install(found)
        self._step("taking it up")
        if not self._take_up():
            return "installed", _START_IT
        watch = self._watch(found, package.id, limits.steady_s, limits.healthy_s, bears_fault)
        if watch.why is not None:
            return self._go_back(watch.why, bears_fault)
        self._now = package.id
        return "done", watch.deaf

    def _look(self) -> Listing:
        answer = self._run("$up tonelight model list --json")
        if answer.status == 127 or re.search(r"tonelight: (command )?not found", answer.err):
            raise DeployError("tonelight is not installed there (git clone, sudo systemd/install.sh: docs/board.md)")
        if answer.status == 2:
            raise DeployError("its tonelight is too old for deploy; there: git pull && sudo systemd/install.sh")
        self._expect(answer)
        try:
            found = msgspec.json.decode(_last(answer), type=Listing)
        except msgspec.DecodeError:
            raise DeployError(
                "its tonelight is of another version than this one; update both: git pull && sudo systemd/install.sh"
            ) from None
        self._now = found.active
        return found

    def _has_it(self, found: Listing) -> bool:
        package = self._package
        return found.active == package.id and any(
            bundle.id == package.id and bundle.manifest_sha256 == package.manifest_sha256 and not bundle.faults
            for bundle in found.bundles
        )

    def _install(self, found: Listing) -> None:
        package = self._package
        n_needed = 2 * len(package.content)
        if found.n_free_bytes < n_needed:
            raise DeployError(
                f"its disk is full: {found.n_free_bytes / 1e6:.1f} MB free, {n_needed / 1e6:.1f} MB needed; "
                "delete something there"
            )
        # A cut ends the archive; `tonelight model install` then refuses what is not whole, and the trap cleans up.
        script = (
            f'd=$(mktemp -d "${{TMPDIR:-/tmp}}/{_STAGING}.XXXXXX") || exit {_CANNOT_UNPACK}; '
            "trap 'rm -rf \"$d\"' EXIT; trap 'exit 1' HUP INT TERM PIPE; "
            f'tar -xof - -C "$d" || exit {_CANNOT_UNPACK}; '
            f'$up tonelight model install "$d/{package.id}"{self._allowed}'
        )
        self._step("copying")
        answer = self._run(script, content=package.content, timeout_s=self._limits.install_s)
        if answer.status == _CANNOT_UNPACK:
            raise DeployError(f"the bundle cannot be unpacked there ({answer.reason}); see `df -h /tmp` there")
        self._expect(answer)
        self._now = package.id

    def _take_up(self, how: str = "reload") -> bool:
        """Let the service take up the active bundle; False where there is none that runs."""
        answer = self._run(
            "case $(systemctl is-active tonelight 2>/dev/null) in "
            f"active|reloading) $up systemctl {how} tonelight ;; "
            "activating|deactivating) $up systemctl restart tonelight ;; "
            f"*) exit {_NOT_RUNNING} ;; esac"
        )
        if answer.status == _NOT_RUNNING:
            return False
        if answer.status != 0 and how == "reload":
            return True  # the watch sees what became of it
        self._expect(answer)
        return True

    def _go_back(self, why: str, bears_fault: bool) -> tuple[Outcome, str]:
        self._step("going back")
        by_hand = "there: sudo tonelight model rollback && sudo systemctl restart tonelight"
        try:
            found = self._look()
            if found.active == self._package.id:
                answer = self._run("$up tonelight model rollback", timeout_s=self._limits.install_s)
                found = self._look()
                if found.active == self._package.id:  # otherwise the board may have been quicker
                    self._expect(answer)
            self._take_up("restart")
            still = self._watch(found, found.active, 0.0, self._limits.healthy_s, bears_fault).why
        except DeployError as error:
            return "failed", f"{why}; and it could not be made to go back: {error}; {by_hand}"
        if still is not None:
            return "failed", f"{why}; it went back to {found.active}, but {still}; sudo tonelight doctor"
        return "rolled back", f"{why}; {found.active} listens again; there: journalctl -u tonelight"

    def _watch(self, found: Listing, bundle_id: str, steady_s: float, limit_s: float, bears_fault: bool) -> Watch:
        """Wait until the service is well with `bundle_id`, or for as long as that may take."""
        if steady_s:
            self._step("watching")
        watch = Watch(bundle_id, steady_s, bears_fault)
        begun_s = time.monotonic()
        while not watch.is_over and time.monotonic() - begun_s < limit_s + steady_s:
            try:
                answer = self._run(f"cat {shlex.quote(found.health_file)}")
                watch.see(_report(answer), time.monotonic())
            except ConnectionLost:
                # it may come back; the board looks after itself meanwhile
                if self._connection.is_cut or time.monotonic() - begun_s > limit_s:
                    raise
            if not watch.is_over:
                time.sleep(self._limits.poll_s)
        return watch

    def _run(self, script: str, *, content: bytes = b"", timeout_s: float | None = None) -> Answer:
        return self._connection.run(
            script,
            content=content,
            timeout_s=timeout_s or self._limits.command_s,
            on_sent=lambda share: self._step(f"copying {100 * share:.0f} %" if share < 1 else "installing"),
        )

    def _expect(self, answer: Answer) -> None:
        """Raises DeployError unless the command did its work."""
        if answer.status == 0:
            return
        if "sudo:" in answer.err and re.search("password is required|terminal is required|not allowed", answer.err):
            user = self._connection.board.user or "the user"
            raise DeployError(
                f"sudo asks for a password there; let {user} call tonelight and systemctl without one (docs/deploy.md)"
            )
        # the folder that the bundle passes through is nobody's business
        raise DeployError(re.sub(rf"\S*/{_STAGING}\.\w+/", "", answer.reason).removeprefix("tonelight: "))

    def _step(self, step: str) -> None:
        self._view.step(self._connection.board, step)


class Watch:
    """Judges, report by report, whether the service is well with a bundle: for `steady_s`, it speaks and has no fault.

    `bears_fault`: it was in a fault before, so the bundle is not to blame for one.

    `deaf` says in words why it may have heard nothing while it was well; it is empty where it listened all the time.
    """

    def __init__(self, bundle_id: str, steady_s: float, bears_fault: bool) -> None:
        self._bundle_id = bundle_id
        self._steady_s = steady_s
        self._bears_fault = bears_fault
        self._last: Report | None = None
        self._last_s = 0.0
        self._pid: int | None = None  # that listened with the bundle first
        self._well_s: float | None = None  # since when
        self._crashed = False
        self._is_well = False
        self._why = "tonelight does not say how it is"
        self.deaf = ""

    @property
    def is_over(self) -> bool:
        """Whether it is known how it ends."""
        return self._is_well or self._crashed

    @property
    def why(self) -> str | None:
        """Why it is not well, in words; None when it is."""
        return None if self._is_well else self._why

    def see(self, report: Report | None, now_s: float) -> None:
        """Take what the health file says at `now_s`; None where there is none."""
        if report is None:
            self._well_s = None
            self._why = "tonelight does not say how it is"
            return
        is_first, is_news = self._last is None, self._last is None or report.mono_s != self._last.mono_s
        if not is_news:
            if now_s - self._last_s >= SILENT_S:
                self._well_s, self._why = None, f"tonelight hangs or is gone: nothing heard of it for {SILENT_S:.0f} s"
            return
        self._last, self._last_s = report, now_s
        health = report.health
        if health.model != self._bundle_id:
            self._well_s, self._why = None, f"{health.model} still listens: {self._bundle_id} was not taken up"
        elif self._pid not in (None, report.pid):
            self._crashed = True
            self._why = f"tonelight ended with {self._bundle_id} and was started again"
        elif health.phase is Phase.STARTING:
            self._well_s, self._why = None, "tonelight waits for its first sound"
        elif health.phase is Phase.FAULT and not self._bears_fault:
            self._pid = report.pid
            self._well_s, self._why = None, health.reason
        else:
            self._pid = report.pid
            if self._well_s is None:
                self._well_s, self.deaf = now_s, ""
            if health.phase is not Phase.LISTENING:
                self.deaf = health.reason if health.phase is Phase.FAULT else "it is muted: sudo tonelight unmute"
            self._why = f"tonelight was not well with {self._bundle_id} for {self._steady_s:.0f} s"
            # The first report may be what one that is gone has left behind.
            self._is_well = not is_first and now_s - self._well_s >= self._steady_s


def _report(answer: Answer) -> Report | None:
    try:
        return msgspec.json.decode(_last(answer), type=Report) if answer.status == 0 else None
    except msgspec.DecodeError:
        return None


def _last(answer: Answer) -> str:
    """The last line of what it printed: a shell's start-up file may have said something before."""
    return (answer.out.splitlines() or [""])[-1]
