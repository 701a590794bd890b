import functools
import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import RATE_HZ, Float32, blocks, noise, phrase, pieces, silence, talk

from edge.features import FeatureConfig, FeatureExtractor, deltas
from edge.framing import Framer, OffsetRemover
from edge.frontend import Chunk, FrontEnd, Segment
from edge.gate import GateConfig

FEATURES = FeatureConfig(
    sample_rate_hz=RATE_HZ,
    window_ms=25,
    hop_ms=10,
    n_mels=24,
    f_min_hz=60,
    f_max_hz=7600,
    n_mfcc=8,
    columns=("mfcc", "mfcc_delta", "rms", "zcr", "pitch"),
    level_memory_s=10,
    floor_db=-50,
    noise_reduction_db=0,
)
GATE = GateConfig(
    open_db=12,
    close_db=8,
    min_level_db=-62,
    initial_floor_db=-50,
    rise_db_per_s=3,
    onset_ms=60,
    pre_roll_ms=120,
    hangover_ms=500,
    min_speech_ms=150,
    max_segment_s=10,
)
HOP_S = 0.01
FRAME_S = 0.025
SPEECH_S = ((0.6, 1.9), (2.8, 3.6), (5.01, 6.11))
"""Where the phrases of `talk` are; the click is between the second and the third."""


def front_end(chunk_frames: int = 32, **settings: float) -> FrontEnd:
    return FrontEnd(FEATURES, msgspec.structs.replace(GATE, **settings), chunk_frames)


def facts(chunks: list[Chunk]) -> list[tuple]:
    """Chunks as values that can be compared bit for bit."""
    return [(c.features.shape, c.features.tobytes(), c.end_s, c.is_last, c.segment) for c in chunks]


def hear(front_end: FrontEnd, *parts: Float32) -> list[Chunk]:
    return [*(chunk for part in parts for chunk in front_end.push(part)), *front_end.flush()]


def found(chunks: list[Chunk]) -> list[Segment]:
    return [c.segment for c in chunks if c.segment is not None]


def rows_of(chunks: list[Chunk]) -> list[Float32]:
    """Feature vectors of each stretch, dropped ones included."""
    out, parts = [], []
    for chunk in chunks:
        parts.append(chunk.features)
        if chunk.is_last:
            out.append(np.concatenate(parts))
            parts = []
    assert not parts
    return out


@functools.cache
def whole(chunk_frames: int = 32) -> list[Chunk]:
    return hear(front_end(chunk_frames), talk())


# Any block size -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [16, 37, 160, 320, 512, 4096, RATE_HZ, 10 * RATE_HZ])
def test_any_block_size_gives_the_same_bits(length):
    assert facts(hear(front_end(), *blocks(talk(), length))) == facts(whole())


@pytest.mark.parametrize("chunk_frames", [1, 7, 20, 50, 300])
def test_any_block_size_gives_the_same_bits_for_any_chunk_size(chunk_frames):
    assert facts(hear(front_end(chunk_frames), *blocks(talk(), 333))) == facts(whole(chunk_frames))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 30_000), max_size=12))
def test_any_cut_gives_the_same_bits(cuts):
    assert facts(hear(front_end(), *pieces(talk(), cuts))) == facts(whole())


@pytest.mark.parametrize("length", [16, 100, 320])
def test_frames_wait_only_while_nothing_depends_on_them(length):
    """Chunks, edges and time come with the very block that completes them, as if every frame were looked at at once."""
    patient, eager = front_end(), front_end()
    n_looked = 0
    for block in blocks(talk(), length):
        eager._n_needed = 1
        before = eager._n_frames
        assert facts(patient.push(block)) == facts(eager.push(block))
        assert (patient.speaking, patient.time_s) == (eager.speaking, eager.time_s)
        assert eager._n_frames - patient._n_frames < 8
        n_looked += eager._n_frames > before
    assert n_looked > 100
    assert facts(patient.flush()) == facts(eager.flush())


def test_chunks_are_full_but_the_last_of_a_segment():
    for chunk in whole():
        assert len(chunk.features) == 32 or (chunk.is_last and len(chunk.features) < 32)
        assert chunk.is_last or chunk.segment is None


def test_each_chunk_knows_its_time():
    end_s = None
    for chunk in whole():
        if end_s is not None and chunk.features.size:
            assert chunk.end_s == pytest.approx(end_s + len(chunk.features) * HOP_S)
        end_s = None if chunk.is_last else chunk.end_s


# Where speech is ------------------------------------------------------------------------------------------------------


def test_segments_are_where_the_phrases_are():
    for segment, (start_s, end_s) in zip(found(whole()), SPEECH_S, strict=True):
        # it opens once the voice has risen above the room, and reaches back for the pre-roll
        assert start_s - 0.12 - FRAME_S <= segment.start_s <= start_s
        # a frame that holds any of the voice may still be voiced
        assert end_s - 0.05 <= segment.end_s <= end_s + FRAME_S


def test_segment_times_are_right_to_a_frame():
    # noise switched on and off: no doubt where it begins and ends
    samples = np.concatenate([silence(1), noise(0.8, -25), silence(1)])
    (segment,) = found(hear(front_end(), samples))
    # the first frame that holds enough of it begins up to a window earlier
    assert 1 - 0.12 - FRAME_S < segment.start_s <= 1 - 0.12
    assert 1.8 <= segment.end_s < 1.8 + FRAME_S
    # both are edges of frames
    assert segment.start_s / HOP_S == pytest.approx(round(segment.start_s / HOP_S))
    assert (segment.end_s - FRAME_S) / HOP_S == pytest.approx(round((segment.end_s - FRAME_S) / HOP_S))


def test_a_segment_keeps_its_place_however_late_it_comes():
    (early,) = found(hear(front_end(), silence(1), noise(0.8, -25), silence(1)))
    (late,) = found(hear(front_end(), silence(101), noise(0.8, -25), silence(1)))
    assert late.start_s - early.start_s == pytest.approx(100)
    assert late.end_s - early.end_s == pytest.approx(100)


def test_a_click_is_no_segment_and_leaves_no_trace():
    assert hear(front_end(), silence(1), np.full(160, 0.5, np.float32), silence(1)) == []


def test_what_is_too_short_is_dropped_and_said():
    samples = np.concatenate([silence(1), noise(0.1, -25), silence(1)])
    (chunk,) = hear(front_end(chunk_frames=200), samples)
    assert chunk.is_last
    assert chunk.segment is None
    assert front_end().segments(samples) == []
    assert len(front_end(min_speech_ms=50).segments(samples)) == 1


def test_a_voice_that_never_pauses_is_cut_into_pieces_that_touch():
    samples = np.concatenate([silence(1), noise(3, -25), silence(1)])
    segments = found(hear(front_end(max_segment_s=0.8), samples))
    assert len(segments) >= 4
    for before, after in itertools.pairwise(segments):
        assert after.start_s >= before.end_s - FRAME_S
        # the onset lies within the reach of the next piece: nothing is lost between
        assert after.start_s <= before.end_s + HOP_S


def test_a_segment_does_not_reach_back_into_the_one_before():
    # the hangover is shorter than the pre-roll: an unchecked reach would take frames twice
    samples = np.concatenate([silence(1), noise(0.5, -25), silence(0.1), noise(0.5, -25), silence(1)])
    end = front_end(pre_roll_ms=300, hangover_ms=50)
    chunks = hear(end, samples)
    first, second = found(chunks)
    n_rows = [len(rows) for rows in rows_of(chunks)]
    # rows include the hangover: the second begins exactly where they end
    assert second.start_s == pytest.approx(first.start_s + n_rows[0] * HOP_S)


def test_features_are_those_of_the_frames_of_the_segment():
    samples = talk()
    frames = Framer(FEATURES.window_length, FEATURES.hop_length).push(samples)
    frames, _ = OffsetRemover(FEATURES.hop_ms).push(frames)
    extractor = FeatureExtractor(FEATURES)
    static = [c for c in range(FEATURES.n_features) if not 8 <= c < 16]
    for rows, segment in zip(rows_of(whole()), found(whole()), strict=True):
        first = round(segment.start_s / HOP_S)
        expected = extractor.compute(frames[first : first + len(rows)])
        np.testing.assert_allclose(rows[:, static], expected[:, static], atol=1e-3)
        # from the opening to the hangover's last frame
        assert first + len(rows) == pytest.approx((segment.end_s - FRAME_S) / HOP_S + 1 + 50)


def test_deltas_are_those_of_the_whole_segment():
    where = FEATURES.slices
    for rows in rows_of(whole()):
        assert (rows[:, where["mfcc_delta"]] == deltas(rows[:, where["mfcc"]])).all()


def test_segments_of_a_recording_are_what_a_stream_gives():
    end = front_end()
    end.push(noise(1, -20))  # whatever was there before
    streamed = rows_of(whole())
    for _ in range(2):
        recorded = end.segments(talk())
        assert [rows.tobytes() for rows in recorded] == [rows.tobytes() for rows in streamed]


# The end of a stream, and gaps in it ----------------------------------------------------------------------------------


def test_flush_ends_an_open_segment():
    end = front_end()
    before = end.push(np.concatenate([silence(1), noise(0.9, -25)]))
    assert end.speaking
    assert not any(chunk.is_last for chunk in before)
    chunks = end.flush()
    assert [chunk.is_last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert not end.speaking
    (segment,) = found(chunks)
    assert segment.end_s == pytest.approx(1.9, abs=HOP_S)
    assert end.flush() == []


def test_flush_drops_a_segment_that_is_too_short():
    end = front_end()
    end.push(np.concatenate([silence(1), noise(0.1, -25)]))
    assert end.speaking
    *_, last = end.flush()
    assert last.is_last
    assert last.segment is None


def test_flush_of_nothing():
    end = front_end()
    assert end.flush() == []
    end.push(silence(0.01))
    assert end.flush() == []


def test_no_frame_spans_a_gap():
    # half a frame of noise before the gap and half after it: neither makes a frame
    end = front_end(onset_ms=10, min_speech_ms=10)
    end.push(silence(1))
    end.push(noise(0.0125, -10))
    end.flush()
    assert end.time_s == pytest.approx(1.0125)
    assert end.push(noise(0.0125, -10)) == []
    assert end.level_db < -15


def test_time_goes_on_after_a_gap():
    # what a frame still lacked when the stream broke is time, too: places stay right after any number of gaps
    end = front_end()
    parts = [noise(0.777, -80, seed) for seed in range(20)]
    for part in parts:
        end.push(part)
        end.flush()
    n_samples = sum(map(len, parts))
    assert end.time_s == pytest.approx(n_samples / RATE_HZ, abs=1e-9)
    (segment,) = found(hear(end, silence(1), noise(0.8, -25), silence(1)))
    start_s = n_samples / RATE_HZ + 1
    assert start_s - 0.12 - FRAME_S < segment.start_s <= start_s - 0.12 + HOP_S
    assert start_s + 0.8 - HOP_S <= segment.end_s < start_s + 0.8 + FRAME_S


def test_time_never_runs_backwards():
    end = front_end()
    times_s = [end.time_s]
    for i, block in enumerate(blocks(talk(), 100)):
        end.push(block)
        times_s.append(end.time_s)
        if i % 7 == 0:
            end.flush()
            times_s.append(end.time_s)
    assert times_s == sorted(times_s)


def test_reset_starts_a_new_stream():
    end = front_end()
    end.push(np.concatenate([noise(2, -20), phrase(100, 120, 1)]))
    end.reset()
    assert (end.time_s, end.speaking, end.level_db) == (0, False, -100)
    assert facts(hear(end, talk())) == facts(whole())


def test_what_is_held_does_not_grow():
    end = front_end()
    most, buffer = 0, end._frames
    for _ in range(15):
        for block in blocks(np.concatenate([silence(1), phrase(120, 140, 1)]), 800):
            end.push(block)
            most = max(most, end._end - end._begin)
    assert most <= max(end.chunk_frames, end._gate.look_back) + 5
    assert len(end._ready) < end.chunk_frames
    assert end._frames is buffer


def test_a_long_block_needs_no_more_memory_than_a_short_one():
    """What is held and what is computed at a time has one length, however much comes at once."""
    end = front_end()
    n_bytes = end._frames.nbytes
    end.push(np.concatenate([phrase(120, 140, 12), silence(20), phrase(200, 220, 12)]))
    assert end._frames.nbytes == n_bytes
    assert len(end._extractor._windowed) <= 2 * (end.chunk_frames + end._gate.look_back)


@pytest.mark.parametrize("offset", [-0.2, 0.001, 0.05])
def test_an_offset_of_the_microphone_changes_nothing(offset):
    samples = talk()
    shifted = hear(front_end(), samples + np.float32(offset))
    assert found(shifted) == found(whole())
    for rows, expected in zip(rows_of(shifted), rows_of(whole()), strict=True):
        difference = np.abs(rows - expected)
        # pitch is left out of the strictest: in a pause it is chosen among near equals
        assert np.quantile(difference, 0.99) < 0.02
