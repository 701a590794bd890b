"""The bundles on a board: installed whole or not at all, and switched in one step.

    STATE/models/
        <name>-<version>/    an installed bundle; what belongs to a version never changes
        active               link to the bundle that listens; without it, the one that comes with the program does
        previous             link to the one that was active before; without it, the one that comes with the program
        good                 link to the last one that was marked good; the active one is on probation until it is
        failed               link to the last one that was given up: it did not get through its probation
        starts               "<id> <n>": the daemon has begun `n` times with it, and not got through

A link is replaced by a rename, and a bundle gets its name when all of it is on the disk: a power cut at any moment
leaves the old state or the new one. What an interrupted change left behind is removed by the next one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from edge import config, signing
from edge.bundle import (
    DEFAULT_BUNDLE,
    MANIFEST,
    Bundle,
    default_bundle_path,
    load_bundle,
    parse_manifest,
    read_file,
    read_manifest,
)
from edge.digest import sha256_hex
from edge.errors import BundleError
from edge.owner import as_caller, as_owner_of
from edge.pipeline import verify_golden
from edge.signing import SIGNATURE, PublicKey
from edge.sources.libraries import quiet_stderr

N_KEPT: Final = 3
"""Bundles that stay beside the active, the previous and the last good one; older ones go, so that no card fills up."""

LOCK_S: Final = 60.0
"""So long whoever asks for a change waits for another one: it computes the golden recording, on whatever board."""
_LOCK_POLL_S: Final = 0.1

ACTIVE: Final = "active"
PREVIOUS: Final = "previous"
GOOD: Final = "good"
FAILED: Final = "failed"
STARTS: Final = "starts"

_INCOMING: Final = ".incoming-"
_REMOVED: Final = ".removed-"
_ID: Final = re.compile(r"([a-z0-9][a-z0-9_-]{0,63})-(\d{1,9})\.(\d{1,9})\.(\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class Verified:
    """A bundle that this board may run; `key` has signed it (None: it came with the program)."""

    bundle: Bundle
    key: PublicKey | None


class Store:
    """The bundles in `folder` (default: the board's), accepted by the public keys in `keys` (default: the board's).

    None stands for the bundle that comes with the program wherever an id is given.

    One change is made at a time. `install`, `activate` and `rollback` wait `LOCK_S` for another one to end; what the
    daemon does by itself waits for nobody, or its watchdog would end it. After that, each raises BundleError.

    What root changes, it changes as the owner of the state folder; what it verifies, and the keys, it reads as root.
    """

    def __init__(self, folder: Path | None = None, keys: Path | None = None) -> None:
        self.folder = config.state_dir() / "models" if folder is None else folder
        self.keys = signing.keys_dir() if keys is None else keys

    @property
    def active(self) -> str | None:
        """Id of the bundle that listens. (What a link made by hand leads to is given as it is.)"""
        return self._read_link(ACTIVE)

    @property
    def active_path(self) -> Path:
        """Folder of the bundle that listens, there or not. (Not the link: that may change while files are read.)"""
        active = self.active
        return default_bundle_path() if active is None else self.folder / active

    @property
    def previous(self) -> str | None:
        """Id of the bundle that was active before this one."""
        return self._read_link(PREVIOUS)

    @property
    def good(self) -> str | None:
        """Id of the last bundle that was marked good; the active one is on probation until it is."""
        return self._read_link(GOOD)

    @property
    def failed(self) -> str | None:
        """Id of the last bundle that was given up because it did not get through its probation."""
        return self._read_link(FAILED)

    @property
    def starts(self) -> int:
        """How often the daemon has begun with the active bundle without getting through its probation."""
        try:
            counted, _, number = (self.folder / STARTS).read_text(encoding="ascii").partition(" ")
            return int(number) if counted == (self.active or DEFAULT_BUNDLE) else 0
        except (FileNotFoundError, ValueError):  # what is no number was not written by the daemon
            return 0
        except OSError as error:
            raise BundleError(self._way_out(error)) from None

    def installed(self) -> list[str]:
        """Ids of the installed bundles, whole or damaged, by name and version."""
        try:
            names = [path.name for path in self.folder.iterdir() if path.is_dir() and not path.is_symlink()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BundleError(f"{self.folder} cannot be read: {error.strerror}; try again with sudo") from None
        return sorted((name for name in names if _ID.fullmatch(name)), key=_by_version)

    def path(self, bundle_id: str | None) -> Path:
        """Folder of an installed bundle, or of the one that comes with the program.

        Raises:
            BundleError: there is none of that id.
        """
        if bundle_id is not None and bundle_id in self.installed():
            return self.folder / bundle_id
        if bundle_id in (None, DEFAULT_BUNDLE):
            return default_bundle_path()
        known = ", ".join([*self.installed(), DEFAULT_BUNDLE])
        raise BundleError(f"there is no bundle {bundle_id!r} on this board; it has {known}")

    def verify(self, path: Path) -> Verified:
        """Check everything about the bundle in folder `path`, and that it computes here what it did at export.

        Raises:
            BundleError: not signed by a trusted key, damaged, holding what is not signed, of another schema, not to be
                loaded by the runtime, or computing something else here.
        """
        with as_caller():
            verified = self._check(path)
            with quiet_stderr():  # the runtime announces itself there
                verify_golden(verified.bundle)
            return verified

    def install(self, source: Path, allow_downgrade: bool = False) -> Verified:
        """Verify the bundle in folder `source`, copy it into the store, and make it the active one.

        Installing the same bundle again mends what is damaged of it.

        Raises:
            BundleError: it is refused (see `verify`), it is older than the active one (unless `allow_downgrade`),
                another bundle has its id, or the disk is full or cannot be written. The store is then as it was.
        """
        with self._changing(LOCK_S):
            verified = self.verify(source)
            bundle = verified.bundle
            if not allow_downgrade:
                self._refuse_older(bundle)
            if bundle.id == DEFAULT_BUNDLE:
                self._refuse_other(bundle, default_bundle_path())
            target = self.folder / bundle.id
            incoming = Path(mkdtemp(prefix=_INCOMING, dir=self.folder))
            try:
                self._copy(bundle, incoming)
                if os.path.lexists(target):
                    self._refuse_other(bundle, target)
                    self._mend(target, incoming)
                else:
                    incoming.rename(target)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
            _sync(self.folder)
            self._switch(bundle.id)
            self._prune()
            return Verified(load_bundle(target), verified.key)

    def activate(self, bundle_id: str, allow_downgrade: bool = False) -> Verified:
        """Make an installed bundle, or the one that comes with the program, the active one.

        Raises:
            BundleError: there is none of that id, it is refused (see `verify`), or it is older than the active one
                (unless `allow_downgrade`).
        """
        with self._changing(LOCK_S):
            verified = self.verify(self.path(bundle_id))
            if not allow_downgrade:
                self._refuse_older(verified.bundle)
            self._switch(bundle_id if bundle_id in self.installed() else None)
            return verified

    def rollback(self) -> tuple[Bundle, list[str]]:
        """Go back to the bundle that was active before; return it, and why others nearer than it were passed over.

        Where that one is damaged, the last good one follows, and then the one that comes with the program. What was
        left behind stays installed, but is not gone back to.

        Raises:
            BundleError: there is nothing to go back to, none of them can be used, or another one has become active
                while a change was waited for; nothing is changed then.
        """
        left = self.active
        with self._changing(LOCK_S):
            if self.active != left:  # given up by the board itself: to go back once more would be one too far
                raise BundleError(
                    f"{left or DEFAULT_BUNDLE} was left meanwhile, and {self.active or DEFAULT_BUNDLE} is active; "
                    "`tonelight model rollback` once more leaves that one, too"
                )
            return self._go_back(self.rollback_candidates())

    def give_up(self) -> tuple[Bundle, list[str]]:
        """Go back from the active bundle, which `failed`, to the last good one; return what `rollback` does.

        Where there is no good one, or it is damaged, the one that comes with the program follows.

        Raises:
            BundleError: there is nothing to go back to, or none of them can be used; nothing is changed then.
        """
        with self._changing():
            candidates = dict.fromkeys((self.good, None))
            return self._go_back([each for each in candidates if each != self.active], FAILED)

    def rollback_candidates(self) -> list[str | None]:
        """Where `rollback` goes, nearest first."""
        candidates = dict.fromkeys((self.previous, self.good, None))
        return [candidate for candidate in candidates if candidate != self.active]

    def mark_good(self, bundle_id: str | None) -> None:
        """End the probation of `bundle_id`: it is kept, and gone back to, until another one is marked good.

        Raises:
            BundleError: it is not the active one (any more).
        """
        with self._changing():
            if self.active != bundle_id:
                raise BundleError(f"bundle {bundle_id or DEFAULT_BUNDLE} is not the active one any more")
            self._link(GOOD, bundle_id)
            self._count(0)

    def count_start(self, n_starts: int) -> None:
        """Note that the daemon has begun `n_starts` times with the active bundle without getting through.

        Raises:
            BundleError: the store cannot be written.
        """
        with self._changing():
            self._count(n_starts)

    def _go_back(self, candidates: list[str | None], mark: str | None = None) -> tuple[Bundle, list[str]]:
        """Switch to the first of `candidates` that works; the link `mark` then leads to the one that was left."""
        left, faults = self.active, []
        for candidate in candidates:
            try:
                bundle = load_bundle(self.path(candidate))
                with quiet_stderr():
                    verify_golden(bundle)
            except BundleError as error:
                faults.append(str(error))
                continue
            # In this order, a cut between two steps leaves a way back from each of the states.
            if mark is not None:
                self._link(mark, left)
            if self.good == left:
                self._link(GOOD, None)
            self._link(ACTIVE, candidate)
            self._link(PREVIOUS, None if self.good == candidate else self.good)
            self._count(0)
            return bundle, faults
        if faults:
            raise BundleError(f"there is no bundle to go back to: {'; '.join(faults)}")
        raise BundleError(
            f"there is nothing to go back to: {DEFAULT_BUNDLE}, which comes with tonelight, is active already"
        )

    def _count(self, n_starts: int) -> None:
        """Keep `n_starts` for the active bundle, down to the disk."""
        file, fresh = self.folder / STARTS, self.folder / f".{STARTS}"
        if n_starts == 0:
            if not file.exists():
                return
            file.unlink()
        else:
            fresh.unlink(missing_ok=True)  # what a cut left there may be root's still, not the service's to write
            with fresh.open("x", encoding="ascii") as written:
                written.write(f"{self.active or DEFAULT_BUNDLE} {n_starts}")
                written.flush()
                os.fsync(written.fileno())
            fresh.replace(file)
        _sync(self.folder)

    def _check(self, path: Path) -> Verified:
        """Everything but the replay. Nothing in a bundle is parsed before its signature was found right."""
        if _is_same(path, default_bundle_path()):
            return Verified(load_bundle(path), None)
        content = read_manifest(path)
        signature = read_file(path / SIGNATURE) if os.path.lexists(path / SIGNATURE) else None
        key = signing.check_signature(path, content, signature, signing.trusted_keys(self.keys))
        manifest = parse_manifest(content, str(path / MANIFEST))
        _refuse_strangers(path, {MANIFEST, SIGNATURE, *manifest.files})
        bundle = load_bundle(path)
        if bundle.manifest != manifest:
            raise BundleError(f"bundle {path} was changed while it was read; try again")
        if not _ID.fullmatch(bundle.id):
            raise BundleError(f"{path / MANIFEST}: version {bundle.version[:40]}… is too long; export the bundle again")
        return Verified(bundle, key)

    def _refuse_older(self, bundle: Bundle) -> None:
        active = self.active or DEFAULT_BUNDLE
        if not _ID.fullmatch(active):
            return
        name, version = _by_version(active)
        if name == bundle.name and _by_version(bundle.id)[1] < version:
            raise BundleError(
                f"bundle {bundle.id} is older than {active}, the active one; `tonelight model rollback` goes back to "
                "the one before, and --allow-downgrade makes this one listen all the same"
            )

    def _refuse_other(self, bundle: Bundle, there: Path) -> None:
        """A version is one bundle for ever. (A damaged one is none: it may be mended.)"""
        try:
            other = load_bundle(there).manifest != bundle.manifest
        except BundleError:
            return
        if other:
            raise BundleError(
                f"another bundle {bundle.id} is here already ({there}); export yours under another --version"
            )

    def _copy(self, bundle: Bundle, incoming: Path) -> None:
        """Write a verified bundle into the empty folder `incoming`, down to the disk; check what arrived."""
        for name in (MANIFEST, SIGNATURE, *bundle.manifest.files):
            with as_caller():
                content = read_file(bundle.path / name)
            expected = bundle.manifest.files.get(name)
            if expected is not None and sha256_hex(content) != expected:
                raise BundleError(f"{bundle.path / name} was changed while it was read; try again")
            with (incoming / name).open("xb") as file:
                file.write(content)
                file.flush()
                # readable for the service, too, whatever the umask of whoever installs
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
        incoming.chmod(0o755)
        _sync(incoming)
        with as_caller():
            arrived = self._check(incoming)
        if arrived.bundle.manifest != bundle.manifest:
            raise BundleError(f"bundle {bundle.path} was changed while it was read; try again")

    def _mend(self, target: Path, incoming: Path) -> None:
        """Put the files of the whole bundle `incoming` in place of those of the same bundle in `target`."""
        if target.is_symlink() or not target.is_dir():
            raise BundleError(f"{target} is in the way; remove it")
        for path in sorted(incoming.iterdir()):
            path.replace(target / path.name)
        _sync(target)

    def _switch(self, bundle_id: str | None) -> None:
        """Make `bundle_id` the active one, with a fresh probation whatever became of an earlier one.

        A cut between both links leaves `previous` and `active` the same.
        """
        self._count(0)
        if bundle_id is not None and self.failed == bundle_id:
            self._link(FAILED, None)
        if bundle_id != self.active:
            self._link(PREVIOUS, self.active)
            self._link(ACTIVE, bundle_id)

    def _read_link(self, name: str) -> str | None:
        try:
            return str((self.folder / name).readlink())
        except FileNotFoundError:
            return None
        except OSError as error:
            what = "is not a link" if error.errno == errno.EINVAL else f"cannot be read ({error.strerror})"
            raise BundleError(f"{self.folder / name} {what}; remove it, then `tonelight model activate ID`") from None

    def _link(self, name: str, bundle_id: str | None) -> None:
        link, fresh = self.folder / name, self.folder / f".{name}"
        if bundle_id is None:
            link.unlink(missing_ok=True)
        else:
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(bundle_id)  # relative: systemd may move the whole folder
            fresh.replace(link)
        _sync(self.folder)

    def _prune(self) -> None:
        """Remove the oldest bundles beyond those in use and `N_KEPT` others; what cannot be removed stays."""
        in_use = {self.active, self.previous, self.good}  # what failed may go
        others = [self.folder / name for name in self.installed() if name not in in_use]
        others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in others[N_KEPT:]:
            with suppress(OSError):
                # out of sight in one step: half a bundle must not look like one
                path.rename(self.folder / f"{_REMOVED}{path.name}")
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        for path in self.folder.iterdir():
            if path.name.startswith((_INCOMING, _REMOVED)):
                shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _changing(self, wait_s: float = 0.0) -> Iterator[None]:
        """Only one process at a time; what the system refuses is told in one line."""
        try:
            with as_owner_of(self.folder.parent):
                if not self.folder.is_dir():
                    self.folder.mkdir(parents=True, exist_ok=True)
                    _sync(self.folder.parent)
                lock = self.folder / ".lock"
                descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
                try:
                    self._lock(descriptor, wait_s)
                    self._remove_leftovers()
                    yield
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise BundleError(self._way_out(error)) from None

    def _lock(self, descriptor: int, wait_s: float) -> None:
        end_s = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end_s:
                    raise BundleError(
                        f"another tonelight is changing the bundles in {self.folder} right now; try again in a minute"
                    ) from None
            time.sleep(_LOCK_POLL_S)

    def _way_out(self, error: OSError) -> str:
        where = error.filename2 or error.filename or self.folder
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"no space left for bundles in {self.folder}; delete something (`df -h {self.folder}`) and try again"
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"{where}: {error.strerror}; try again with sudo"
        if error.errno == errno.EROFS:
            return f"{where}: {error.strerror}; `mount` tells why"
        return f"{where}: {error.strerror or error}; check the disk, then try again"


def _refuse_strangers(folder: Path, names: set[str]) -> None:
    """Only plain files, and only those that are signed: nothing else may come along."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name if entry.name.isprintable() else repr(entry.name)
                if not entry.is_file(follow_symlinks=False):
                    raise BundleError(f"{folder / name} is not a plain file; get the bundle again, whole")
                if entry.name not in names:
                    raise BundleError(f"{folder / name} is not listed in {MANIFEST}; remove it from the bundle")
    except OSError as error:
        raise BundleError(f"bundle {folder} cannot be read: {error.strerror}") from None


def _by_version(bundle_id: str) -> tuple[str, tuple[int, ...]]:
    """Name and version of an id, as they are compared."""
    match = _ID.fullmatch(bundle_id)
    assert match is not None, bundle_id
    return match[1], tuple(map(int, match.groups()[1:]))


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _sync(folder: Path) -> None:
    """Bring the names in `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
