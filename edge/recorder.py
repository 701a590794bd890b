"""From what is heard to clips, while the switch of `edge.capture` is on."""

from __future__ import annotations

import io
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge.capture import CaptureSwitch
from edge.clips import Clips, NoSuchClipError
from edge.config import CaptureSettings
from edge.errors import ClipError
from edge.events import Score
from edge.history import Event
from edge.observers import Health
from edge.sources import SAMPLE_RATE_HZ
from edge.trouble import Trouble

log = logging.getLogger(__name__)

HELD_S: Final = 30.0
"""Sound held in memory while it is on; a longer stretch of speech is not kept."""
AROUND_S: Final = 0.5
"""Of the room before and after the speech that belongs to a clip: ears need to know the silence, too."""
LOOK_S: Final = 0.25
"""The switch is looked at this often."""
PRUNE_S: Final = 3600.0
"""What is too old is removed this often, whether or not anything is kept."""
_N_WAITING: Final = 8  # clips that wait for a slow card
_Job = tuple[NDArray[np.float32], Event] | Literal["prune"] | None  # None: the end


class Recorder:
    """Makes a clip of each stretch of speech while the switch is on: an observer that is also given the sound.

    The sound of the last `HELD_S` is in memory only while the switch is on, and overwritten when it goes off. Clips
    are written by a thread of its own: a slow card holds up nothing.
    """

    def __init__(self, switch: CaptureSwitch, clips: Clips, settings: CaptureSettings, *, has_view: bool) -> None:
        """`has_view` says that something besides the light shows whether clips are kept."""
        self._switch = switch
        self._clips = clips
        self._settings = settings
        self._has_view = has_view
        self._ring = np.zeros(0, np.float32)
        self._first = self._end = 0  # samples of the source that the ring holds
        self._left_s = 0.0
        self._is_ended = False  # here, whatever the switch says, until it has been off
        self._next_look_s = float("-inf")
        self._trouble = Trouble("keeping of clips")
        self._jobs: queue.Queue[_Job] = queue.Queue(_N_WAITING)
        self._thread = threading.Thread(target=self._write, name="clips", daemon=True)
        self._thread.start()

    @property
    def left_s(self) -> float:
        """For how many seconds clips are still kept; 0 while none are."""
        return self._left_s

    @property
    def n_held(self) -> int:
        """Samples in memory."""
        return len(self._ring)

    def limit(self, settings: CaptureSettings) -> None:
        """From now on, keep no more than this; what is too much goes at once."""
        self._settings = settings
        with suppress(queue.Full):  # a clip that waits is followed by the same
            self._jobs.put_nowait("prune")

    def look(self, now_s: float, is_seen: bool) -> None:
        """Follow the switch; to be called for every block. `is_seen`: the light can show that clips are kept."""
        must_end = self._left_s > 0 and not (is_seen or self._has_view)
        if now_s < self._next_look_s and not must_end:
            return
        self._next_look_s = now_s + LOOK_S
        was_on = self._left_s > 0
        left_s = self._switch.left_s
        self._is_ended = self._is_ended and left_s > 0
        self._left_s = left_s if (is_seen or self._has_view) and not self._is_ended else 0.0
        if self._left_s > 0 and not was_on:
            log.info("clips of speech are kept in %s until this ends or is ended", self._clips.folder)
        elif was_on and not self._left_s:
            self.forget()
            log.info("clips of speech are no longer kept")

    def hear(self, samples: NDArray[np.float32], end: int) -> None:
        """Take samples, shape (n,), the last of which is sample number `end` - 1 of the source."""
        if not self._left_s:
            return
        if not len(self._ring):
            self._ring = np.zeros(round(HELD_S * SAMPLE_RATE_HZ), np.float32)
        if end - len(samples) != self._end:
            self._first = end - len(samples)  # others are missing in between
        samples = samples[-len(self._ring) :]
        places = np.arange(end - len(samples), end) % len(self._ring)
        self._ring[places] = samples
        self._end = end
        self._first = max(self._first, end - len(self._ring))

    def forget(self) -> None:
        """Overwrite the sound in memory: what follows has nothing to do with it, or must not be kept."""
        self._ring.fill(0.0)
        self._ring = np.zeros(0, np.float32)
        self._first = self._end = 0

    def end(self) -> None:
        """Switch it off, as somebody wants not to be heard. What was not yet a clip will not be one."""
        self._left_s = 0.0
        self._is_ended = True
        self.forget()
        try:
            self._switch.set(0)
        except OSError as error:
            self._trouble.begins(ClipError(f"{self._switch.path}: cannot be removed: {error.strerror}; remove it"))

    def on_event(self, event: Event) -> None:
        """A finished stretch of speech: keep it, if all of it was heard since the switch is on."""
        start = round(event.start_s * SAMPLE_RATE_HZ)
        end = min(round(event.end_s * SAMPLE_RATE_HZ), self._end)
        if not self._left_s or not self._first <= start < end:
            return
        around = round(AROUND_S * SAMPLE_RATE_HZ)
        places = np.arange(max(self._first, start - around), min(self._end, end + around)) % len(self._ring)
        try:
            self._jobs.put_nowait((self._ring[places], event))
        except queue.Full:
            log.warning("a clip could not be kept: the disk is too slow; everything else goes on")

    def on_level(self, level_db: float, speaking: bool) -> None:
        """Nothing to do."""

    def on_score(self, score: Score) -> None:
        """Nothing to do."""

    def on_health(self, health: Health) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Write what waits, and forget the rest."""
        self.forget()
        self._left_s = 0.0
        with suppress(queue.Full):
            self._jobs.put(None, timeout=1.0)
        self._thread.join(timeout=5.0)

    def _write(self) -> None:
        """Runs in a thread of its own, until it is closed."""
        pruned_s = float("-inf")
        self._try(self._clips.remove_halves)
        while True:
            if time.monotonic() - pruned_s >= PRUNE_S:
                pruned_s = time.monotonic()
                self._try(self._prune)
            try:
                job = self._jobs.get(timeout=PRUNE_S)
            except queue.Empty:
                continue
            if job is None:
                return
            if isinstance(job, str):
                pruned_s = float("-inf")
                continue
            samples, event = job
            self._try(lambda samples=samples, event=event: self._keep(samples, event))  # type: ignore[misc]
            samples.fill(0.0)
            del job, samples, event

    def _keep(self, samples: NDArray[np.float32], event: Event) -> None:
        try:
            import soundfile  # late: not every wheel has the library, and who keeps no clips needs no 2 MB for it
        except OSError as error:
            raise ClipError("clips need libsndfile, which is missing; sudo apt install libsndfile1") from error
        flac = io.BytesIO()
        soundfile.write(flac, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
        clip = self._clips.add(flac.getbuffer(), len(samples) / SAMPLE_RATE_HZ, event)
        self._prune()
        try:
            self._clips.recording(clip.id)
        except NoSuchClipError:
            raise ClipError(
                f"{self._clips.folder}: full of clips that have been named, so no others are kept; `tonelight clips "
                "export DIR` and `tonelight clips delete --all` make room, or [capture] max_clips and max_mb"
            ) from None

    def _prune(self) -> None:
        limits = self._settings
        self._clips.prune(limits.max_clips, limits.max_mb, limits.max_days)

    def _try(self, do: Callable[[], object]) -> None:
        try:
            do()
        except ClipError as error:
            self._trouble.begins(error, way=str(error))
        except OSError as error:
            why = f"{self._clips.folder}: a clip cannot be kept: {error.strerror or error}; check the disk's space"
            self._trouble.begins(ClipError(why), way=why)
        else:
            self._trouble.ends()
