"""A microphone as a source, and the list of those that are there."""

from __future__ import annotations

import re
import sys
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from edge.errors import SourceError
from edge.ring import Ring
from edge.sources.blocks import Block, Blocks, Samples, Stillness
from edge.sources.libraries import quiet_stderr, reason


@dataclass(frozen=True)
class InputDevice:
    """A microphone, as `tonelight devices` shows it.

    `name` and `alsa_name` survive a reboot; card numbers do not, and appear in neither. `alsa_name` is empty where
    the device is not one of ALSA's. `rate_hz` is the rate it runs at by itself.
    """

    name: str
    alsa_name: str
    host_api: str
    n_channels: int
    rate_hz: int
    is_default: bool


def input_devices() -> list[InputDevice]:
    """Every microphone that is there now. Raises SourceError where PortAudio is missing."""
    return [device for _, device in _listed(_portaudio())]


class MicrophoneSource:
    """A microphone, at its own rate and with its own channels, averaged and resampled to 16 kHz.

    `device` is a part of its name, in any case, or its ALSA name, as `input_devices` gives them; empty for the default
    one. Recording starts at once and is kept for a few seconds until it is read. Raises SourceError: PortAudio is
    missing, no device or more than one fits the name, it cannot be opened, or another one is open in this process.

    Counts since it was opened: `n_overruns` and `n_lost` (nobody read in time), `n_overflows` (lost by the driver; each
    stands in `n_lost` as one sample, as nobody knows the number), `n_bad` (no numbers, replaced by zero).
    """

    KEPT_S: Final = 5
    """Rides out a write to a slow SD card; beyond that, samples are lost and counted."""
    DRIVER_S: Final = 0.1
    """Kept by the driver while the callback waits its turn among Python's threads."""

    def __init__(self, device: str = "", block_ms: int = 20) -> None:
        global _open
        if _open is not None:
            raise SourceError(f"only one microphone can be open at a time, and '{_open.name}' is")
        sounddevice = _portaudio()
        index, chosen = choose(_listed(sounddevice), device)
        self.name: str = chosen.name
        self.warnings: list[str] = []
        self.n_overflows = 0
        self.n_bad = 0
        self._blocks = Blocks(chosen.rate_hz, block_ms)
        self._stillness = Stillness(chosen.rate_hz)
        self._waited_s = 0.0
        self._read_rows = max(1, chosen.rate_hz * block_ms // 1000)
        # Beyond a few, the channels are those of a virtual device that mixes as many as it is asked for.
        n_channels = chosen.n_channels if chosen.n_channels <= 8 else 2
        self._ring = Ring(chosen.rate_hz * self.KEPT_S, n_channels)
        self._stream: Any = None
        # A stream of sounddevice and its callback hold each other: a strong reference would keep the ring, megabytes,
        # until Python looks for such circles. (While the stream is open, `_open` keeps this alive.)
        own = weakref.proxy(self)
        try:
            with quiet_stderr():
                self._stream = sounddevice.InputStream(
                    device=index,
                    samplerate=chosen.rate_hz,
                    channels=n_channels,
                    dtype="float32",
                    latency=self.DRIVER_S,
                    callback=lambda *given: own._callback(*given),
                    finished_callback=lambda: own._ring.close(),
                )
                _open = self
                self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            self.close()
            raise SourceError(
                f"the microphone '{self.name}' cannot be opened ({reason(error)}); is another program using it?"
            ) from error

    @property
    def n_overruns(self) -> int:
        return self._ring.n_overruns

    @property
    def n_lost(self) -> int:
        return self._ring.n_lost

    @property
    def stuck_s(self) -> float:
        return self._stillness.seconds

    def read(self, timeout_s: float) -> Block:
        """The next block. Raises SourceError when nothing came for `timeout_s`, or the microphone has gone."""
        while (block := self._blocks.pop()) is None:
            got = self._ring.read(self._read_rows, timeout_s)
            if got is None:
                self._waited_s += timeout_s
                state = "has stopped" if self._ring.closed else f"has delivered nothing for {self._waited_s:g} s"
                raise SourceError(f"the microphone '{self.name}' {state}; check that it is still plugged in")
            self._waited_s = 0.0
            rows, lost = got
            if lost:
                self._blocks.lose(lost)
            # no sound is a thousand times full scale: what a broken driver left in memory must not drown the rest
            usable = np.abs(rows) < 1000
            if not usable.all():
                self.n_bad += int(np.count_nonzero(~usable))
                rows[~usable] = 0
            self._stillness.push(rows)
            self._blocks.push(_averaged(rows))
        return block

    def close(self) -> None:
        global _open
        if self._stream is not None:
            with quiet_stderr():  # a microphone that was pulled out fails here, too
                # Stopped first, so that the callback's thread ends by itself. Closing alone, or abort, cancels that
                # thread wherever it is, and in the middle of Python's own code that ends the whole process.
                self._stream.stop(ignore_errors=True)
                self._stream.close(ignore_errors=True)
            self._stream = None
            _open = None

    def __enter__(self) -> MicrophoneSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _callback(self, rows: Samples, n_rows: int, times: Any, status: Any) -> None:
        """Called by PortAudio's thread, which must never wait: copy, and return."""
        overflow = bool(status.input_overflow)
        self.n_overflows += overflow
        self._ring.write(rows, broken=overflow)


_open: MicrophoneSource | None = None
"""PortAudio keeps its last error in one place for all threads: a second stream that fails to open under a running one
can end the process."""


def _averaged(rows: Samples) -> Samples:
    """The mean of the channels, shape (n,), of rows of shape (n, n_channels)."""
    n_channels = rows.shape[1]
    if n_channels == 1:
        return rows[:, 0]
    if n_channels == 2:  # the same bits, and `mean` takes ten times as long
        return (rows[:, 0] + rows[:, 1]) / np.float32(2)
    mean: Samples = rows.mean(axis=1, dtype=np.float32)
    return mean


def _portaudio() -> Any:
    """The sounddevice module with a fresh list of devices, or SourceError.

    Imported late: it needs a library of the system, which a board that only reads recordings may lack. PortAudio looks
    for devices once, when it is started; to see one that was plugged in since, it has to be started anew, which must
    not be done under an open stream.
    """
    fresh = "sounddevice" not in sys.modules
    try:
        import sounddevice

        if not fresh and _open is None:
            if sounddevice._initialized:  # not where the last start failed
                sounddevice._terminate()
            sounddevice._initialize()
    except OSError as error:
        raise SourceError("microphones need PortAudio, which is missing; sudo apt install libportaudio2") from error
    except Exception as error:  # sounddevice.PortAudioError, which cannot be named where the import failed
        raise SourceError(f"PortAudio cannot be started ({reason(error)}); see `tonelight doctor`") from error
    return sounddevice


def _listed(sounddevice: Any) -> list[tuple[int, InputDevice]]:
    """Every input device with PortAudio's number for it, which is good only until PortAudio is started anew."""
    apis = sounddevice.query_hostapis()
    default = next((api["default_input_device"] for api in apis if api["default_input_device"] >= 0), None)
    found = []
    for index, device in enumerate(sounddevice.query_devices()):
        if device["max_input_channels"] > 0:
            host_api = apis[device["hostapi"]]["name"]
            name, alsa_name = _stable_names(device["name"], host_api)
            found.append(
                (
                    index,
                    InputDevice(
                        name=name,
                        alsa_name=alsa_name,
                        host_api=host_api,
                        n_channels=device["max_input_channels"],
                        rate_hz=round(device["default_samplerate"]),
                        is_default=index == default,
                    ),
                )
            )
    return found


def _stable_names(name: str, host_api: str, proc: Path = Path("/proc/asound")) -> tuple[str, str]:
    """PortAudio's "USB Audio: - (hw:1,0)" without the card's number, and with its id: "hw:CARD=Device,DEV=0"."""
    if host_api != "ALSA":
        return name, ""
    found = re.fullmatch(r"(.*?)[\s:-]*\(hw:(\d+),(\d+)\)", name)
    if found is None:
        return name, name
    try:
        card = (proc / f"card{found[2]}" / "id").read_text().strip()
    except OSError:
        return found[1], ""
    return found[1], f"hw:CARD={card},DEV={found[3]}"


def choose(listed: list[tuple[int, InputDevice]], wanted: str) -> tuple[int, InputDevice]:
    """The one device that `wanted` means, or SourceError with the choice there is."""
    # PortAudio leaves out what another program has opened.
    if not listed:
        raise SourceError("no microphone was found; plug one in, or end the program that uses it")
    if not wanted:
        fitting = [entry for entry in listed if entry[1].is_default]
    else:
        fitting = [entry for entry in listed if wanted in (entry[1].alsa_name, entry[1].name)]
        fitting = fitting or [entry for entry in listed if wanted.casefold() in entry[1].name.casefold()]
    if len(fitting) == 1:
        return fitting[0]
    choice = ", ".join(
        f"'{d.name}'" + (f" ({d.alsa_name})" if d.alsa_name not in ("", d.name) else "") for _, d in (fitting or listed)
    )
    if not wanted:
        raise SourceError(f"there is no default microphone; name one of these: {choice}")
    if not fitting:
        raise SourceError(f"no microphone is called '{wanted}' or it is in use; there are: {choice}")
    raise SourceError(f"'{wanted}' fits more than one microphone: {choice}; use a longer part, or the name in brackets")
