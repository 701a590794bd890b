"""Recordings of every kind and quality, and a microphone through the real PortAudio and ALSA."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from audio_files import noise, tone, write, write_alsa_config, write_microphone
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import AudioError, SourceError
from edge.sources import FileSource, InputDevice, MicrophoneSource, Source, input_devices
from edge.sources.blocks import Blocks, Stillness
from edge.sources.microphone import _averaged, _stable_names, choose


def samples_of(source: Source) -> np.ndarray:
    """All of a recording, in one piece."""
    with source:
        blocks = []
        while (block := source.read(1)) is not None:
            assert block.lost == 0
            blocks.append(block.samples)
    samples = np.concatenate(blocks)
    assert samples.dtype == np.float32
    assert samples.min() >= -1
    assert samples.max() < 1
    return samples


def refusal(path) -> str:
    """The one line a recording is refused with."""
    with pytest.raises(AudioError) as caught:
        samples_of(FileSource(path))
    line = str(caught.value)
    assert "\n" not in line
    return line


# Recordings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 0.01),
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_32", 1e-6),
        ("a.wav", "FLOAT", 1e-6),
        ("a.wav", "DOUBLE", 1e-6),
        ("a.wav", "ULAW", 0.02),
        ("a.wav", "IMA_ADPCM", 0.02),
        ("a.flac", "PCM_16", 1e-4),
        ("a.flac", "PCM_24", 1e-6),
        ("a.aiff", "PCM_16", 1e-4),
        ("a.w64", "PCM_16", 1e-4),
        ("a.ogg", "VORBIS", 0.03),
    ],
)
def test_formats(tmp_path, name, subtype, tolerance):
    wanted = tone(0.5, 16_000)
    got = samples_of(FileSource(write(tmp_path / name, wanted, 16_000, subtype)))
    heard = slice(100, len(wanted))  # ADPCM finds its step size first
    np.testing.assert_allclose(got[heard], wanted[heard, 0], atol=tolerance)
    assert 0 <= len(got) - len(wanted) < 600  # ADPCM fills its last packet up


def test_mp3(tmp_path):
    path = write(tmp_path / "a.mp3", tone(1, 16_000), 16_000)
    got = samples_of(FileSource(path))
    assert abs(len(got) - 16_000) < 2_000
    np.testing.assert_allclose(np.sqrt(np.mean(got[4_000:12_000] ** 2)), 0.4 / np.sqrt(2), rtol=0.02)


def test_sixteen_bit_samples_at_16_khz_come_unchanged(tmp_path):
    path = write(tmp_path / "a.wav", np.array([0, 1, -1, 32767, -32768], np.int16), 16_000, "PCM_16")
    assert (samples_of(FileSource(path)) * 32768).tolist() == [0, 1, -1, 32767, -32768]


@pytest.mark.parametrize("rate_hz", [4_000, 8_000, 11_025, 12_347, 22_050, 44_100, 48_000, 96_000, 192_000, 384_000])
def test_every_rate_becomes_16_khz(tmp_path, rate_hz):
    path = write(tmp_path / "a.wav", tone(0.5, rate_hz), rate_hz, "FLOAT")
    got = samples_of(FileSource(path))
    assert abs(len(got) - 8_000) <= 1
    middle = slice(1_000, 7_000)  # the tone begins and ends with a step, around which no two resamplers agree
    np.testing.assert_allclose(got[middle], tone(0.5, 16_000)[middle, 0], atol=1e-4)


@pytest.mark.parametrize("n_channels", [2, 3, 6])
def test_channels_are_averaged(tmp_path, n_channels):
    samples = noise(0.1, 16_000, n_channels)
    got = samples_of(FileSource(write(tmp_path / "a.wav", samples, 16_000, "FLOAT")))
    np.testing.assert_allclose(got, samples.mean(axis=1), atol=1e-6)


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory) -> Path:
    """Three pieces of the reader long, at a rate that divides nothing."""
    return write(tmp_path_factory.mktemp("long") / "a.wav", noise(5, 44_100), 44_100, "FLOAT")


@given(block_ms=st.integers(1, 1_000))
@settings(max_examples=25)
def test_the_block_size_changes_nothing(long_recording, block_ms):
    with FileSource(long_recording, block_ms) as source:
        blocks = []
        while (block := source.read()) is not None:
            blocks.append(block.samples)
    assert {len(b) for b in blocks[:-1]} <= {16 * block_ms}
    assert 1 <= len(blocks[-1]) <= 16 * block_ms
    got = np.concatenate(blocks)
    assert len(got) == 80_000
    np.testing.assert_allclose(got, samples_of(FileSource(long_recording)), atol=1e-6)


@given(cuts=st.lists(st.integers(0, 4_800), max_size=20), rate_hz=st.sampled_from([8_000, 16_000, 44_100, 48_000]))
@settings(max_examples=50)
def test_the_rhythm_of_arrival_changes_nothing(cuts, rate_hz):
    """What holds for block sizes holds for the pieces a driver delivers."""
    samples = noise(0.1, rate_hz)[:, 0]

    def blocks_of(pieces: list[np.ndarray]) -> list[np.ndarray]:
        blocks = Blocks(rate_hz, 20)
        for piece in pieces:
            blocks.push(piece)
        blocks.push(samples[:0], last=True)
        return [b.samples for b in iter(blocks.pop, None)]

    whole = blocks_of([samples])
    pieces = blocks_of(np.split(samples, sorted(c for c in cuts if c < len(samples))))
    assert [len(b) for b in whole] == [len(b) for b in pieces] == [320] * 5
    np.testing.assert_allclose(np.concatenate(pieces), np.concatenate(whole), atol=1e-6)


def test_a_gap_ends_a_stretch_and_keeps_time():
    """0.25 s, 0.5 s lost, 0.25 s: nothing of the first part reaches the second, and the clock goes on."""
    blocks = Blocks(48_000, 20)
    blocks.push(tone(0.25, 48_000)[:, 0])
    blocks.lose(24_000)
    blocks.push(np.zeros(12_000, np.float32))
    blocks.push(np.zeros(0, np.float32), last=True)
    got = list(iter(blocks.pop, None))
    assert [b.lost for b in got] == [0] * 13 + [8_000] + [0] * 12
    assert sum(len(b.samples) for b in got[:13]) == 4_000
    assert len(got[12].samples) == 160  # the stretch ended within a block
    assert blocks.n_out == 16_000
    assert not np.concatenate([b.samples for b in got[13:]]).any()


def test_gaps_that_follow_each_other_add_up():
    blocks = Blocks(48_000, 20)
    blocks.lose(300)
    blocks.lose(300)
    blocks.lose(1)
    blocks.push(np.zeros(48_000, np.float32), last=True)
    first = blocks.pop()
    assert first is not None
    assert first.lost == 201  # 601 at 48 kHz, and never none for a loss


def test_rounding_does_not_add_up_over_many_gaps():
    blocks = Blocks(44_100, 20)
    lost = 0
    for _ in range(300):
        blocks.push(np.zeros(441, np.float32))
        blocks.lose(100)
        lost += sum(b.lost for b in iter(blocks.pop, None))
    assert abs(blocks.n_out - 300 * 541 * 16_000 / 44_100) <= 1


def test_a_long_recording_takes_little_memory(tmp_path):
    """Three hours in stereo are 4 GB of samples; five minutes of them take hardly more memory than one second."""
    path = tmp_path / "a.wav"
    write(path, np.zeros((48_000, 2), np.float32), 48_000, "PCM_16")
    script = """
import resource, sys
from edge.sources import FileSource
with FileSource(sys.argv[1]) as source:
    n = 0
    peak_kb = 0
    while (block := source.read()) is not None and n < 16_000 * 60 * 5:
        n += len(block.samples)
        if n == 16_000 // 2: peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kb)
"""
    seconds = 3 * 3600
    header = bytearray(path.read_bytes()[:44])
    header[4:8] = (seconds * 192_000 + 36).to_bytes(4, "little")
    header[40:44] = (seconds * 192_000).to_bytes(4, "little")
    path.write_bytes(header)
    os.truncate(path, 44 + seconds * 192_000)  # sparse: silence that takes no room
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    n, grown_kb = map(int, done.stdout.split())
    assert n == 16_000 * 60 * 5
    assert grown_kb < 20_000


def test_real_time_follows_the_clock_it_is_given(tmp_path):
    path = write(tmp_path / "a.wav", tone(0.1, 16_000), 16_000)
    now_s = 100.0
    waits = []

    def sleep(seconds: float) -> None:
        nonlocal now_s
        waits.append(seconds)
        now_s += seconds

    with FileSource(path, 20, realtime=True, clock=lambda: now_s, sleep=sleep) as source:
        source.read()
        source.read()
        now_s += 0.05  # the reader was busy: two blocks are due at once, then it waits again
        for _ in range(3):
            source.read()
        assert source.read() is None
    np.testing.assert_allclose(waits, [0.02, 0.02, 0.01], atol=1e-9)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_again_and_again_without_a_gap(tmp_path, rate_hz):
    recording = tone(0.1, rate_hz)
    once = write(tmp_path / "once.wav", recording, rate_hz)
    thrice = write(tmp_path / "thrice.wav", np.concatenate([recording] * 3), rate_hz)
    expected = np.concatenate([block.samples for block in iter(FileSource(thrice).read, None)])
    with FileSource(once, again=True) as source:
        heard = np.concatenate([source.read().samples for _ in range(14)])  # 0.28 of 0.3 s, and it goes on
        assert source.warnings == []
    # resampled in pieces of another length, the last bit may differ
    np.testing.assert_allclose(heard, expected[: len(heard)], atol=1e-6)


def test_without_real_time_nothing_waits(tmp_path):
    path = write(tmp_path / "a.wav", tone(0.1, 16_000), 16_000)

    def sleep(seconds: float) -> None:
        raise AssertionError("waited")

    samples_of(FileSource(path, sleep=sleep))


# Recordings that are none ---------------------------------------------------------------------------------------------


def test_what_is_no_recording_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("Dear diary, " * 100)
    (tmp_path / "noise.raw").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "riff.wav").write_bytes(b"RIFF")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    assert refusal(tmp_path / "none.wav").endswith("none.wav: there is no such file")
    assert "is a folder; name a recording in it" in refusal(tmp_path)
    assert "empty.wav is empty (0 bytes)" in refusal(tmp_path / "empty.wav")
    assert "text.wav is not a recording that can be read (Format not recognised)" in refusal(tmp_path / "text.wav")
    assert "noise.raw is not a recording" in refusal(tmp_path / "noise.raw")
    assert "riff.wav is not a recording" in refusal(tmp_path / "riff.wav")
    assert "pipe.wav is a device or a pipe" in refusal(tmp_path / "pipe.wav")
    assert "/dev/zero is a device or a pipe" in refusal("/dev/zero")
    assert "loop.wav cannot be read" in refusal(tmp_path / "loop.wav")
    assert "cannot be read" in refusal(tmp_path / "text.wav" / "a.wav")
    assert "cannot be read" in refusal("a\0.wav")


def test_a_name_that_cannot_be_printed_still_gives_one_line(tmp_path):
    assert "a\N{REPLACEMENT CHARACTER}b.wav: there is no such file" in refusal(tmp_path / "a\nb.wav")
    refusal(tmp_path / os.fsdecode(b"a\xff.wav")).encode()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_recording_that_may_not_be_read(tmp_path):
    path = write(tmp_path / "a.wav", tone(0.1, 16_000), 16_000)
    path.chmod(0)
    assert "a.wav cannot be read: Permission denied" in refusal(path)


def test_refused_recordings_leave_no_file_open(tmp_path):
    path = tmp_path / "text.wav"
    path.write_text("Dear diary, " * 100)
    n_open = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        refusal(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == n_open


@pytest.mark.parametrize("rate_hz", [100, 3_999, 384_001, 2_000_000])
def test_absurd_rates_are_refused(tmp_path, rate_hz):
    path = write(tmp_path / "a.wav", np.zeros(100, np.float32), rate_hz)
    assert f"a sample rate of {rate_hz} Hz; only 4000 to 384000 Hz" in refusal(path)


def test_no_samples_are_refused_and_one_is_enough(tmp_path):
    assert "holds no samples" in refusal(write(tmp_path / "a.wav", np.zeros(0, np.float32), 16_000))
    assert "holds no samples" in refusal(write(tmp_path / "a.wav", np.zeros(1, np.float32), 192_000))
    assert len(samples_of(FileSource(write(tmp_path / "a.wav", np.zeros(1, np.float32), 16_000)))) == 1
    assert len(samples_of(FileSource(write(tmp_path / "a.wav", np.zeros(1, np.float32), 8_000)))) == 2


@pytest.mark.parametrize(("value", "word"), [(np.nan, "not a number"), (np.inf, "infinite"), (-np.inf, "infinite")])
@pytest.mark.parametrize("row", [0, 4_000, 99_999])  # in the first piece, and in the last
def test_samples_that_are_no_numbers_are_refused_by_place(tmp_path, value, word, row):
    samples = noise(12.5, 8_000, 2)
    samples[row, 1] = value
    line = refusal(write(tmp_path / "a.wav", samples, 8_000, "FLOAT"))
    assert f"sample {row} (at {row / 8_000:.3f} s) is {word}" in line


def test_numbers_too_large_for_float32_are_refused(tmp_path):
    assert "is infinite" in refusal(write(tmp_path / "a.wav", np.full(100, 1e300), 8_000, "DOUBLE"))


def test_integers_called_floats_are_refused(tmp_path):
    line = refusal(write(tmp_path / "a.wav", tone(0.1, 16_000) * 32_768, 16_000, "FLOAT"))
    assert "lie between -1 and 1" in line


def test_floats_that_overshoot_a_little_are_limited(tmp_path):
    got = samples_of(FileSource(write(tmp_path / "a.wav", np.float32([0, 1, 1.5, -1.5]), 16_000, "FLOAT")))
    assert got.tolist() == [0, 1 - 2.0**-24, 1 - 2.0**-24, -1]


def test_a_decoder_that_gives_up_is_an_error(tmp_path):
    path = write(tmp_path / "a.flac", noise(1, 16_000), 16_000)
    path.write_bytes(path.read_bytes()[:20_000])
    assert "a.flac is damaged or cut short" in refusal(path)


def test_after_an_error_there_is_nothing_more(tmp_path):
    samples = noise(10, 16_000)
    samples[100_000] = np.nan
    with FileSource(write(tmp_path / "a.wav", samples, 16_000, "FLOAT"), 1_000) as source:
        with pytest.raises(AudioError):
            while source.read():
                pass
        assert source.read() is None


# Recordings to warn of ------------------------------------------------------------------------------------------------


def warnings_of(path) -> list[str]:
    source = FileSource(path)
    samples_of(source)
    return source.warnings


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.w64"])
def test_a_recording_cut_short_is_read_as_far_as_it_goes(tmp_path, name):
    path = write(tmp_path / name, noise(2, 16_000), 16_000, "PCM_16")
    path.write_bytes(path.read_bytes()[:-32_000])
    source = FileSource(path)
    assert len(samples_of(source)) == 16_000
    assert source.warnings == [f"{path} is cut short: it should last 2.0 s and ends after 1.0 s"]


def test_an_mp3_cut_short_is_read_as_far_as_it_goes(tmp_path, capfd):
    path = write(tmp_path / "a.mp3", noise(2, 16_000), 16_000)
    path.write_bytes(path.read_bytes()[:2_500])
    (warning,) = warnings_of(path)
    assert "is cut short: it should last 2.0 s" in warning
    assert capfd.readouterr().err == ""


def test_damage_in_an_mp3_prints_nothing(tmp_path, capfd):
    path = write(tmp_path / "a.mp3", noise(2, 16_000), 16_000)
    content = bytearray(path.read_bytes())
    content[2_500:3_100] = b"U" * 600
    path.write_bytes(content)
    samples_of(FileSource(path))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 0x7FFF_FFFF, 0x8000_0000])
def test_a_recorder_that_did_not_know_the_length_is_not_blamed(tmp_path, length):
    path = write(tmp_path / "a.wav", noise(1, 16_000), 16_000, "PCM_16")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = length.to_bytes(4, "little")
    path.write_bytes(content)
    source = FileSource(path)
    assert len(samples_of(source)) == 16_000
    assert source.warnings == []


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
def test_clipped_samples_are_told(tmp_path, subtype):
    loud = np.clip(tone(1, 16_000, peak=2.0), -1, 1)
    (warning,) = warnings_of(write(tmp_path / "a.wav", loud, 16_000, subtype))
    assert "of the samples are clipped; lower the recording level" in warning
    share = float(warning.split(": ")[1].split("%")[0])
    np.testing.assert_allclose(share, 100 * 2 / 3, atol=2)  # |2 sin x| > 1 for two thirds of the time
    fitting = np.clip(tone(1, 16_000, peak=1.0, f_hz=3_000), -1, 1)
    assert warnings_of(write(tmp_path / "b.wav", fitting, 16_000, subtype)) == []


@given(runs=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 5)), max_size=30), cut=st.integers(1, 200))
def test_clipped_runs_are_counted_across_pieces(runs, cut):
    from edge.sources.recording import _Level

    samples = np.array([v for n_full, n_free in runs for v in [1.0] * n_full + [0.5] * n_free] or [0.5], np.float32)
    level = _Level(1, "FLOAT")
    for start in range(0, len(samples), cut):
        piece = samples[start : start + cut]
        level.push(piece[:, np.newaxis], piece)
    n_clipped = sum(n_full for n_full, _ in runs if n_full >= 3)
    share = f"{n_clipped / len(samples):.1%} of the samples are clipped; lower the recording level"
    assert level.findings() == ([share] if n_clipped else [])


def test_channels_that_cancel_out_are_told(tmp_path):
    one = noise(1, 16_000)
    (warning,) = warnings_of(write(tmp_path / "a.wav", np.hstack([one, -one]), 16_000))
    assert "cancel each other out" in warning
    assert warnings_of(write(tmp_path / "b.wav", np.hstack([one, one * 0]), 16_000)) == []
    assert warnings_of(write(tmp_path / "c.wav", noise(1, 16_000, 2), 16_000)) == []
    assert warnings_of(write(tmp_path / "d.wav", np.zeros((100, 2)), 16_000)) == []


# Names of microphones -------------------------------------------------------------------------------------------------


def device(name: str, alsa_name: str = "", is_default: bool = False) -> InputDevice:
    return InputDevice(name, alsa_name, "ALSA", 1, 48_000, is_default)


LISTED = [
    (0, device("USB PnP Sound Device", "hw:CARD=Device,DEV=0")),
    (3, device("USB PnP Sound Device", "hw:CARD=Device_1,DEV=0")),
    (4, device("seeed-2mic-voicecard", "hw:CARD=seeed,DEV=0")),
    (7, device("default", "default", is_default=True)),
    (8, device("default (tuned)", "tuned")),
]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [("", 7), ("SEEED", 4), ("hw:CARD=Device_1,DEV=0", 3), ("default", 7), ("tuned", 8)],
)
def test_a_microphone_is_chosen_by_name(wanted, index):
    assert choose(LISTED, wanted)[0] == index


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("usb", "'usb' fits more than one microphone: 'USB PnP Sound Device' (hw:CARD=Device,DEV=0), 'USB"),
        ("hw:1,0", "no microphone is called 'hw:1,0' or it is in use; there are: 'USB PnP Sound Device' (hw:"),
        ("3", "no microphone is called '3' or it is in use; there are: 'USB"),
    ],
)
def test_a_name_that_fits_none_or_many_is_refused_with_the_choice(wanted, words):
    with pytest.raises(SourceError) as caught:
        choose(LISTED, wanted)
    assert str(caught.value).startswith(words)
    assert "'default'," in str(caught.value) or wanted == "usb"


def test_without_a_microphone_or_a_default_one():
    with pytest.raises(SourceError, match="no microphone was found"):
        choose([], "")
    with pytest.raises(SourceError, match="no default microphone; name one of these: 'USB"):
        choose(LISTED[:1], "")


def test_names_hold_no_card_numbers(tmp_path):
    (tmp_path / "card1").mkdir()
    (tmp_path / "card1" / "id").write_text("Device\n")
    names = _stable_names("USB PnP Sound Device: Audio (hw:1,0)", "ALSA", tmp_path)
    assert names == ("USB PnP Sound Device: Audio", "hw:CARD=Device,DEV=0")
    assert _stable_names("snd: - (hw:2,0)", "ALSA", tmp_path) == ("snd", "")
    assert _stable_names("default", "ALSA", tmp_path) == ("default", "default")
    assert _stable_names("Built-in", "Core Audio", tmp_path) == ("Built-in", "")


def test_without_portaudio_the_package_is_named():
    """A new process in which no library called portaudio can be found."""
    script = """
import ctypes.util
ctypes.util.find_library = lambda name: None
from edge.sources import FileSource, MicrophoneSource, input_devices
for function in (MicrophoneSource, input_devices):
    try:
        function()
    except OSError as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    line = "SourceError microphones need PortAudio, which is missing; sudo apt install libportaudio2"
    assert done.stdout.splitlines() == [line, line]
    assert done.stderr == ""


# A microphone, through PortAudio and ALSA, that hears a file ----------------------------------------------------------


def _has_portaudio_with_alsa() -> bool:
    try:
        import sounddevice
    except OSError:
        return False
    return any(api["name"] == "ALSA" for api in sounddevice.query_hostapis())


needs_alsa = pytest.mark.skipif(not _has_portaudio_with_alsa(), reason="needs PortAudio with ALSA (libportaudio2)")


@pytest.fixture
def microphone(tmp_path, monkeypatch):
    """A function that makes the desk microphone hear samples of shape (n, 2) at 44.1 kHz."""

    def hear(samples: np.ndarray) -> None:
        for key, value in write_microphone(tmp_path, samples).items():
            monkeypatch.setenv(key, value)

    return hear


@needs_alsa
def test_microphones_are_listed(microphone):
    microphone(np.zeros((10, 2)))
    found = input_devices()
    assert [(d.name, d.alsa_name, d.host_api, d.rate_hz, d.is_default) for d in found] == [
        ("desk microphone", "desk microphone", "ALSA", 44_100, False),
        ("default", "default", "ALSA", 44_100, True),
    ]


@pytest.mark.parametrize("n_channels", [1, 2, 3, 8])
def test_the_channels_of_a_microphone_are_averaged_as_numpy_does(n_channels):
    rows = noise(0.1, 44_100, n_channels)
    assert _averaged(rows).tobytes() == rows.mean(axis=1, dtype=np.float32).tobytes()


def test_what_is_hushed_is_a_library_and_not_the_log():
    code = """
import logging, os
from edge.commands.run import _log_to_stderr
from edge.sources.libraries import quiet_stderr
with _log_to_stderr(None), quiet_stderr():
    os.write(2, b"ALSA lib pcm.c: nobody wants to know")
    logging.getLogger("edge.mqtt").warning("the broker is away")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.endswith("WARNING the broker is away\n")
    assert "ALSA" not in done.stderr


@needs_alsa
@pytest.mark.parametrize("name", ["", "desk", "DESK MIC"])
@pytest.mark.parametrize("block_ms", [10, 300])
def test_a_microphone_hears_what_a_recording_of_it_holds(microphone, tmp_path, name, block_ms):
    samples = noise(2, 44_100, 2)
    microphone(samples)
    wanted = samples_of(FileSource(write(tmp_path / "a.wav", samples, 44_100, "FLOAT")))
    with MicrophoneSource(name, block_ms) as source:
        blocks = [source.read(10) for _ in range(2_100 // block_ms)]
    assert {b.lost for b in blocks} == {0}
    assert {len(b.samples) for b in blocks} == {16 * block_ms}
    got = np.concatenate([b.samples for b in blocks])
    np.testing.assert_allclose(got[:31_900], wanted[:31_900], atol=1e-6)  # after its end, the recording is flushed
    assert (source.n_bad, source.n_overflows) == (0, 0)


@needs_alsa
def test_what_nobody_reads_in_time_is_lost_and_told(microphone):
    """This microphone knows no pace: the ring is full at once, holds 5 s, and then one gap is told."""
    microphone(noise(1, 44_100, 2))
    with MicrophoneSource() as source:
        while source.n_overruns == 0:
            time.sleep(0.001)
        blocks = [source.read(10) for _ in range(251)]
        assert source.n_lost * 16_000 / 44_100 >= blocks[-1].lost - 1
    assert [b.lost for b in blocks[:250]] == [0] * 250
    assert {len(b.samples) for b in blocks} == {320}
    assert blocks[250].lost > 0


@needs_alsa
def test_samples_that_are_no_numbers_are_replaced_and_counted(microphone):
    samples = tone(1, 44_100, 2)
    samples[1_000:1_003, 0] = [np.nan, np.inf, -np.inf]
    microphone(samples)
    with MicrophoneSource() as source:
        got = np.concatenate([source.read(10).samples for _ in range(10)])
        assert source.n_bad == 3
    assert np.abs(got).max() <= 0.45


@needs_alsa
def test_a_microphone_that_stalls_is_an_error_and_may_come_back(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feed = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    for key, value in write_alsa_config(tmp_path, pipe).items():
        monkeypatch.setenv(key, value)
    stop = threading.Event()

    def hum() -> None:
        while not stop.is_set():
            try:
                os.write(feed, bytes(4096))
            except BlockingIOError:  # full
                stop.wait(0.001)

    feeder = threading.Thread(target=hum, daemon=True)
    try:
        with MicrophoneSource("desk") as source:
            try:
                with pytest.raises(SourceError) as caught:
                    while True:
                        source.read(0.3)
            finally:
                feeder.start()  # also because a pipe that gives nothing cannot be closed: ALSA waits for it
            assert len(source.read(30).samples) == 320
    finally:
        stop.set()
        feeder.join()
        os.close(feed)
    assert str(caught.value) == (
        "the microphone 'desk microphone' has delivered nothing for 0.3 s; check that it is still plugged in"
    )


@needs_alsa
def test_a_microphone_plugged_in_later_is_found(microphone, tmp_path, monkeypatch):
    for key, value in write_alsa_config(tmp_path, Path("/dev/zero"), "other").items():
        monkeypatch.setenv(key, value)
    with pytest.raises(
        SourceError, match="no microphone is called 'desk' or it is in use; there are: 'other', 'default'"
    ):
        MicrophoneSource("desk")
    microphone(noise(1, 44_100, 2))
    with MicrophoneSource("desk") as source:
        assert len(source.read(10).samples) == 320


@needs_alsa
def test_a_microphone_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch, capfd):
    """It offers μ-law only, which PortAudio has no word for."""
    config = tmp_path / "asound.conf"
    device = '{ type mulaw slave { pcm "null" format S16_LE } }'
    config.write_text(f"pcm.null {{ type null }}\npcm.telephone {device}\npcm.default {device}\n")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(config))
    for _ in range(2):  # what failed is given back, and may be tried again
        with pytest.raises(SourceError) as caught:
            MicrophoneSource("telephone")
        line = str(caught.value)
        assert line.startswith("the microphone 'telephone' cannot be opened (Sample format not supported")
        assert "\n" not in line
    assert capfd.readouterr().err == ""


@needs_alsa
def test_one_microphone_at_a_time(microphone):
    microphone(noise(1, 44_100, 2))
    with MicrophoneSource("desk") as source:
        with pytest.raises(SourceError, match="only one microphone can be open at a time, and 'desk microphone' is"):
            MicrophoneSource("desk")
        assert len(input_devices()) == 2  # which may be listed meanwhile
        assert len(source.read(10).samples) == 320
    MicrophoneSource("desk").close()


@needs_alsa
def test_a_closed_microphone_says_so_and_may_be_closed_again(microphone):
    microphone(np.zeros((10, 2)))
    source = MicrophoneSource()
    source.close()
    source.close()
    with pytest.raises(SourceError, match="has stopped"):
        while True:
            source.read(1)


@needs_alsa
def test_a_closed_microphone_leaves_no_memory_behind(microphone):
    """Without waiting for Python's search for circles: one that is tried again and again would hold megabytes."""
    microphone(noise(1, 44_100, 2))
    gc.disable()
    try:
        source = MicrophoneSource("desk")
        source.read(10)
        ring = weakref.ref(source._ring)
        source.close()
        del source
        assert ring() is None
    finally:
        gc.enable()


# A microphone that gives no sound -------------------------------------------------------------------------------------


def test_stillness_is_measured_up_to_now_and_over_all_channels():
    still = Stillness(100)
    pieces = [
        ([[5, 0]] * 10, 0.1),
        ([[5, 0]] * 5, 0.15),  # it adds up
        ([[5, 0], [5, 1]], 0.0),  # one channel that moves is enough
        ([[5, 1]] * 3, 0.03),  # from there on
        ([[5, 2]] * 3, 0.0),  # the step counts as sound
        ([[5, 2]], 0.01),
    ]
    for rows, seconds in pieces:
        still.push(np.array(rows, np.float32))
        assert still.seconds == pytest.approx(seconds)


@needs_alsa
def test_a_microphone_says_for_how_long_it_has_given_one_value(microphone):
    """It hears half a second of noise, then a value that stays, and says so by the clock of its own samples."""
    held = np.full((44_100 * 3, 2), 0.25)
    microphone(np.concatenate([noise(0.5, 44_100, 2), held]))
    with MicrophoneSource() as source:
        heard = [(source.read(10), source.stuck_s)[1] for _ in range(150)]
    assert heard[:20] == [0.0] * 20
    assert heard[149] == pytest.approx(2.5, abs=0.1)
    assert heard[50:] == sorted(heard[50:])
