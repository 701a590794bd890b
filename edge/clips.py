"""Clips of speech that somebody asked the board to keep, to teach it: a folder of FLAC files, bounded and private.

Each clip is a recording, `ID.flac`, and what is known of it, `ID.json`: what the model guessed, and which emotion it
was, once somebody has said so. Only the owner of the folder can read them. Who makes them is `edge.recorder`.
"""

from __future__ import annotations

import csv
import io
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import msgspec

from edge.clock import can_tell_age
from edge.errors import ClipError
from edge.history import Event
from edge.labels import EMOTIONS
from edge.owner import as_owner_of

MANIFEST: Final = "manifest.csv"
_ID: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9]{3}(-[0-9]{1,3})?")
_COLUMNS: Final = ("path", "emotion", "seconds", "guess", "confidence", "recorded", "node", "model")
_MB: Final = 1_000_000
_DAY_S: Final = 86_400.0


class NoSuchClipError(ClipError):
    """There is no clip of that name."""


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a clip. `ts` is when it was said (UTC, RFC 3339), `guess` what the model `model` made of it,
    with its `confidence` and `probs`; `emotion` what somebody said it was, None until then."""

    ts: str
    node: str
    seconds: float
    guess: str
    confidence: float
    probs: dict[str, float]
    uncertain: bool
    model: str
    emotion: str | None


class Clip(msgspec.Struct, frozen=True):
    """One clip; its `id` sorts by time."""

    id: str
    about: About


class Clips:
    """The clips in `folder`, which need not exist. Several processes may use it; only the daemon adds to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[Clip]:
        """Every clip that is whole, the oldest first.

        Raises:
            ClipError: the folder cannot be read.
        """
        clips = []
        for path in self._paths():
            if path.suffix == ".json" and _ID.fullmatch(path.stem) and (clip := self._read(path.stem)):
                clips.append(clip)
        return sorted(clips, key=lambda clip: clip.id)

    def last(self) -> Clip | None:
        """The newest one, None where there is none.

        Raises:
            ClipError: the folder cannot be read.
        """
        found = self.all()
        return found[-1] if found else None

    def recording(self, clip_id: str) -> Path:
        """The recording of a clip, a FLAC file.

        Raises:
            ClipError: there is no such clip.
        """
        return self._existing(clip_id).with_suffix(".flac")

    def add(self, flac: bytes | memoryview, seconds: float, event: Event) -> Clip:
        """Keep a recording of so many seconds, the speech that `event` tells of.

        Raises:
            OSError: it cannot be written; nothing is left of it then.
        """
        about = About(
            ts=event.ts,
            node=event.node,
            seconds=round(seconds, 3),
            guess=event.label,
            confidence=event.confidence,
            probs=event.probs,
            uncertain=event.uncertain,
            model=event.model,
            emotion=None,
        )
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        clip_id = self._free_id(event.ts)
        path = self.folder / f"{clip_id}.flac"
        try:
            _write(path, flac)
            _write(path.with_suffix(".json"), msgspec.json.encode(about))  # what makes a clip of it, hence last
        except OSError:
            for half in (path, path.with_suffix(".json")):
                with suppress(OSError):
                    half.unlink()
            raise
        return Clip(clip_id, about)

    def label(self, clip_id: str, emotion: str | None) -> Clip:
        """Note which emotion a clip was, or None for not knowing it.

        Raises:
            ClipError: there is no such clip or emotion, or the folder cannot be written.
        """
        if emotion is not None and emotion not in EMOTIONS:
            raise ClipError(f'there is no emotion "{emotion}", only {", ".join(EMOTIONS)}')
        path = self._existing(clip_id)
        clip = self._read(clip_id)
        if clip is None:
            raise ClipError(f"{path}: damaged; `tonelight clips delete {clip_id}` removes it")
        about = msgspec.structs.replace(clip.about, emotion=emotion)
        try:
            _write(path, msgspec.json.encode(about))
        except OSError as error:
            raise ClipError(f"{path}: cannot be written: {error.strerror}; try again with sudo") from None
        return Clip(clip_id, about)

    def delete(self, clip_id: str) -> None:
        """Remove a clip for good.

        Raises:
            ClipError: there is no such clip, or it cannot be removed.
        """
        path = self._existing(clip_id)
        _remove([path.with_suffix(".flac"), path])

    def delete_all(self) -> int:
        """Remove everything in the folder for good, damaged and half clips included; returns how many clips.

        Raises:
            ClipError: something cannot be removed; the rest is.
        """
        paths = self._paths()
        _remove(paths)
        return sum(path.suffix == ".flac" for path in paths)

    def prune(self, max_clips: int, max_mb: float, max_days: float, now_s: float | None = None) -> None:
        """Remove what is too old, then the oldest until the rest is within the limits: first those that nobody has
        named, as the others took somebody trouble. Nothing is too old by a clock that may be wrong.

        `now_s` is the time of day in seconds since 1970, by default now.

        Raises:
            ClipError: the folder cannot be read, or something in it cannot be removed.
        """
        if not self._paths():
            return
        now_s = time.time() if now_s is None else now_s
        is_sure = can_tell_age(max_days, now_s, self.folder.with_name(f"{self.folder.name}.clock"))
        oldest_s = now_s - max_days * _DAY_S if is_sure else float("-inf")
        clips = self.all()
        known = {clip.id for clip in clips}
        strays = [path for path in self._paths() if path.name.partition(".")[0] not in known]
        doomed = [path for path in strays if _changed_s(path) < oldest_s]
        kept = []
        for clip in clips:
            if _moment_s(clip.about.ts) < oldest_s:
                doomed += self._files(clip.id)
            else:
                kept.append(clip)
        n_clips, n_bytes = len(kept), sum(self._n_bytes(clip.id) for clip in kept)
        for clip in sorted(kept, key=lambda clip: (clip.about.emotion is not None, clip.id)):
            if n_clips <= max_clips and n_bytes <= max_mb * _MB:
                break
            n_clips, n_bytes = n_clips - 1, n_bytes - self._n_bytes(clip.id)
            doomed += self._files(clip.id)
        _remove(doomed)

    def remove_halves(self) -> None:
        """Remove recordings about which nothing is known: a power cut came in between. Only for who adds clips.

        Raises:
            ClipError: they cannot be removed.
        """
        names = {path.name for path in self._paths()}
        _remove(self.folder / name for name in names if name.endswith(".flac") and f"{name[:-5]}.json" not in names)
        _remove(self.folder / name for name in names if name.endswith(".new"))

    def export(self, target: Path) -> int:
        """Copy the clips that somebody has named into the new folder `target`, with a table of them
        (`manifest.csv`) as `tonelight-train` takes it; returns how many. What root exports belongs to whoever owns the
        folder that it is put into: the user who exports with sudo.

        Raises:
            ClipError: none has been named, `target` exists and is not empty, or it cannot be written.
        """
        named = [clip for clip in self.all() if clip.about.emotion is not None]
        if not named:
            raise ClipError("no clip has been named yet; `tonelight clips label ID EMOTION` or the page does that")
        try:
            with as_owner_of(target):
                if target.exists() and any(target.iterdir()):
                    raise ClipError(f"{target}: is not empty; name a folder that does not exist yet")
                target.mkdir(mode=0o700, parents=True, exist_ok=True)
            for clip in named:
                flac = self.recording(clip.id).read_bytes()  # not as the owner of `target`
                with as_owner_of(target):
                    _write(target / f"{clip.id}.flac", flac)
            with as_owner_of(target):
                _write(target / MANIFEST, _manifest(named).encode())  # last: a table that is there is whole
        except OSError as error:
            if isinstance(error, ClipError):
                raise
            raise ClipError(f"{target}: cannot be written: {error.strerror}; name another folder") from None
        return len(named)

    def _paths(self) -> list[Path]:
        try:
            return sorted(self.folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ClipError(f"{self.folder}: cannot be read: {error.strerror}; try again with sudo") from None

    def _files(self, clip_id: str) -> list[Path]:
        return [self.folder / f"{clip_id}.flac", self.folder / f"{clip_id}.json"]

    def _existing(self, clip_id: str) -> Path:
        """What is known of the clip: a path that leads nowhere else, whoever made up the id."""
        path = self.folder / f"{clip_id}.json"
        try:
            if _ID.fullmatch(clip_id) and path.is_file():
                return path
        except OSError as error:
            raise ClipError(f"{self.folder}: cannot be read: {error.strerror}; try again with sudo") from None
        raise NoSuchClipError(f'there is no clip "{clip_id}"; `tonelight clips list` shows those that are there')

    def _read(self, clip_id: str) -> Clip | None:
        recording, known = self._files(clip_id)
        try:
            about = msgspec.json.decode(known.read_bytes(), type=About)
            _moment_s(about.ts)
            return Clip(clip_id, about) if recording.is_file() else None
        except (OSError, ValueError):  # of msgspec, too
            return None

    def _n_bytes(self, clip_id: str) -> int:
        n_bytes = 0
        for path in self._files(clip_id):
            with suppress(OSError):
                n_bytes += path.stat().st_size
        return n_bytes

    def _free_id(self, ts: str) -> str:
        digits = re.sub("[^0-9]", "", ts)
        first = f"{digits[:8]}-{digits[8:14]}-{digits[14:17]:0<3}"
        return next(
            name
            for name in (first, *(f"{first}-{n}" for n in range(2, 1000)))
            if not any(path.exists() for path in self._files(name))
        )


def _manifest(clips: Iterable[Clip]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for clip in clips:
        about = clip.about
        sure = f"{about.confidence:.3f}"
        told = (about.emotion, about.seconds, about.guess, sure, about.ts, about.node, about.model)
        rows.writerow((f"{clip.id}.flac", *told))
    return text.getvalue()


def _write(path: Path, content: bytes | memoryview) -> None:
    """Write a file as a whole, for its owner only; through a power cut it is there as it was or as it will be.

    Raises:
        OSError: it cannot be written.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def _remove(paths: Iterable[Path]) -> None:
    """Overwrite and remove files. What a memory card has put aside on its own is out of any program's reach.

    Raises:
        ClipError: one of them cannot be removed; the others are.
    """
    failed = ""
    for path in paths:
        try:
            with suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink():
                    with path.open("r+b") as file:
                        file.write(bytes(path.stat().st_size))
                        file.flush()
                        os.fsync(file.fileno())
                path.unlink()
        except OSError as error:
            failed = f"{path}: cannot be removed: {error.strerror}; try again with sudo"
    if failed:
        raise ClipError(failed)


def _moment_s(ts: str) -> float:
    """Seconds since 1970.

    Raises:
        ValueError: `ts` is no time.
    """
    # before Python 3.11 `fromisoformat` does not know "Z"
    return datetime.fromisoformat(ts.replace("Z", "+00:00")).astimezone(timezone.utc).timestamp()


def _changed_s(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:  # gone in the meantime
        return float("inf")
