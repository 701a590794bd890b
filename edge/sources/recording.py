"""A recording as a source, with a clear word on every file that is none."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import AudioError
from edge.sources.blocks import SAMPLE_RATE_HZ, Block, Blocks, Samples
from edge.sources.libraries import quiet_stderr, reason


class FileSource:
    """A recording in any format libsndfile reads (WAV, FLAC, Ogg, MP3, AIFF, ...), at 4 to 384 kHz.

    Channels are averaged. It is read piece by piece: a recording of hours takes no more memory than one of seconds.
    With `realtime`, blocks come as a microphone would deliver them; otherwise as fast as they are read. With `again`,
    it begins anew when it is over, without a gap and without end.

    Raises AudioError, from the constructor or from `read`: there is no such file, it is not a recording, it is damaged
    or holds no samples, or samples that are no numbers. A file that ends earlier than its header says is read as far as
    it goes, with a warning. Further warnings tell of clipped samples and of channels that cancel each other out.
    """

    n_overruns: Final = 0
    n_lost: Final = 0
    stuck_s: Final = 0.0

    def __init__(
        self,
        path: str | os.PathLike[str],
        block_ms: int = 20,
        realtime: bool = False,
        again: bool = False,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in os.fspath(path))
        self.warnings: list[str] = []
        self._realtime = realtime
        self._again = again
        self._clock = clock
        self._sleep = sleep
        self._started_s: float | None = None
        self._n_delivered = 0
        self._n_rows = 0
        self._ended = False
        self._handle = _open_regular(Path(path), self.name)
        self._file: Any = None
        try:
            self._file = _open_recording(self._handle, self.name)
            self._rate_hz: int = self._file.samplerate
            if not 4_000 <= self._rate_hz <= 384_000:
                raise AudioError(
                    f"{self.name} has a sample rate of {self._rate_hz} Hz; only 4000 to 384000 Hz can be used"
                )
            self._promised_rows = _promised_rows(self._file)
            # The size of a piece sets memory use only: blocks are cut from the resampled stream.
            self._piece_rows = max(1, 65_536 // self._file.channels)
            self._blocks = Blocks(self._rate_hz, block_ms)
            self._level = _Level(self._file.channels, self._file.subtype)
            self._fill()
        except BaseException:
            self.close()
            raise

    def read(self, timeout_s: float = 0.0) -> Block | None:
        """The next block, or None at the end. A recording keeps nobody waiting: `timeout_s` plays no part."""
        while (block := self._blocks.pop()) is None:
            if self._ended:
                return None
            try:
                self._fill()
            except AudioError:
                self.close()
                raise
        self._n_delivered += len(block.samples)
        if self._realtime:
            if self._started_s is None:
                self._started_s = self._clock()
            wait_s = self._started_s + self._n_delivered / SAMPLE_RATE_HZ - self._clock()
            if wait_s > 0:
                self._sleep(wait_s)
        return block

    def close(self) -> None:
        self._ended = True
        if self._file is not None:
            self._file.close()
        self._handle.close()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _fill(self) -> None:
        """Read one more piece, or finish."""
        try:
            with quiet_stderr():  # the MP3 decoder reports each damaged frame there
                rows: Samples = self._file.read(self._piece_rows, dtype="float32", always_2d=True)
        except RuntimeError as error:
            raise AudioError(
                f"{self.name} is damaged or cut short after {self._n_rows / self._rate_hz:.1f} s"
                f" ({reason(error)}); copy or convert it anew"
            ) from error
        if len(rows):
            self._check(rows)
            mono = rows.mean(axis=1, dtype=np.float32)
            self._level.push(rows, mono)
            self._n_rows += len(rows)
            self._blocks.push(mono)
            return
        if self._again and self._n_rows:
            self._file.seek(0)
            return
        self._blocks.push(np.zeros(0, np.float32), last=True)
        self.close()
        if self._blocks.n_out == 0:
            raise AudioError(f"{self.name} holds no samples; it was cut short, or nothing was recorded")
        if self._n_rows < self._promised_rows:
            self.warnings.append(
                f"{self.name} is cut short: it should last {self._promised_rows / self._rate_hz:.1f} s"
                f" and ends after {self._n_rows / self._rate_hz:.1f} s"
            )
        self.warnings += [f"{self.name}: {text}" for text in self._level.findings()]

    def _check(self, rows: Samples) -> None:
        finite = np.isfinite(rows)
        if not finite.all():
            row = int(np.argmin(finite.all(axis=1)))
            kind = "not a number" if np.isnan(rows[row]).any() else "infinite"
            position = self._n_rows + row
            raise AudioError(
                f"{self.name}: sample {position} (at {position / self._rate_hz:.3f} s) is {kind};"
                " record or convert it anew"
            )
        # A float recording may overshoot a little; beyond that it holds integers called floats, and no loudness.
        peak = float(np.abs(rows).max())
        if peak > 10:
            raise AudioError(
                f"{self.name}: samples reach {peak:.6g}, but those of a float recording lie between -1 and 1; scale it"
            )


def _open_regular(path: Path, name: str) -> BinaryIO:
    """The opened file, or AudioError where there is none that could hold a recording."""
    try:
        status = path.stat()
        # Not before its kind is known: to open a pipe is to wait for somebody to write to it.
        handle = path.open("rb") if stat.S_ISREG(status.st_mode) else None
    except FileNotFoundError:
        raise AudioError(f"{name}: there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{name} is a folder; name a recording in it")
    if handle is None:
        raise AudioError(f"{name} is a device or a pipe; save the sound as a file first")
    if status.st_size == 0:
        handle.close()
        raise AudioError(f"{name} is empty (0 bytes)")
    return handle


def _open_recording(handle: BinaryIO, name: str) -> Any:
    """`handle` as a `soundfile.SoundFile`, or AudioError."""
    try:
        import soundfile  # late: its wheel for 32-bit ARM lacks the library
    except OSError as error:
        raise AudioError("recordings need libsndfile, which is missing; sudo apt install libsndfile1") from error
    try:
        with quiet_stderr():
            # Not by name: soundfile would take any *.raw for samples without a header.
            return soundfile.SoundFile(handle.fileno(), closefd=False)
    except RuntimeError as error:  # soundfile's LibsndfileError
        raise AudioError(
            f"{name} is not a recording that can be read ({reason(error)}); convert it to WAV or FLAC"
        ) from error


def _promised_rows(file: Any) -> int:
    """How long the header says the recording is, in samples of each channel; 0 where it does not say.

    libsndfile corrects the length of a file that was cut short by itself, and only its log tells.
    """
    found = re.search(r"^\s*(?:data|SSND|riff)\s*: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if found:
        promised, held = int(found[1]), int(found[2])
        # Recorders that write to a pipe cannot know the length, and say 2 or 4 GiB.
        return file.frames * promised // held if 0 < held < promised < 0x7FFF_0000 else 0
    return file.frames if file.frames < 2**62 else 0


class _Level:
    """Gathers what can be said of a recording's level once all of it was seen."""

    def __init__(self, n_channels: int, subtype: str) -> None:
        # The largest positive sample: one step below 1. Wider formats mostly hold what a 16-bit converter gave.
        self._full_scale = 1 - 2.0**-7 if subtype in ("PCM_S8", "PCM_U8") else 1 - 2.0**-15
        self._n = 0
        self._n_clipped = 0
        self._full: NDArray[np.bool_] = np.zeros((2, n_channels), np.bool_)  # the last two rows
        self._in_run: NDArray[np.bool_] = np.zeros((1, n_channels), np.bool_)
        self._channel_energy = 0.0
        self._mono_energy = 0.0

    def push(self, rows: Samples, mono: Samples) -> None:
        """Take in `rows`, shape (n, n_channels), and their average, shape (n,)."""
        # Clipped is a run of three or more at full scale: a single one may be a peak that just fits. Such a run is
        # L - 2 triples, the first of which begins it.
        full = np.concatenate([self._full, np.abs(rows) >= self._full_scale])
        triple = full[:-2] & full[1:-1] & full[2:]
        begins = triple & ~np.concatenate([self._in_run, triple[:-1]])
        self._n_clipped += int(triple.sum()) + 2 * int(begins.sum())
        self._full, self._in_run = full[-2:], triple[-1:]
        self._n += rows.size
        self._channel_energy += float(np.vdot(rows, rows)) / rows.shape[1]
        self._mono_energy += float(np.vdot(mono, mono))

    def findings(self) -> list[str]:
        found = []
        share = self._n_clipped / self._n
        if share >= 0.001:
            found.append(f"{share:.1%} of the samples are clipped; lower the recording level")
        if self._mono_energy < 0.01 * self._channel_energy:
            found.append("its channels cancel each other out in the mono mix; use one of them")
        return found
