import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signals import RATE_HZ, noise, pieces, tone

from edge.framing import Framer, OffsetRemover, level_db, means


def frames_of(*parts: list[float], window_length: int = 4, hop_length: int = 2) -> list[list[float]]:
    framer = Framer(window_length, hop_length)
    return [frame for part in parts for frame in framer.push(np.array(part, np.float32)).tolist()]


def test_frames_overlap_and_end_with_the_last_whole_one():
    assert frames_of([0, 1, 2, 3, 4, 5, 6, 7, 8]) == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]


def test_frames_side_by_side():
    assert frames_of([0, 1, 2, 3, 4, 5], window_length=2, hop_length=2) == [[0, 1], [2, 3], [4, 5]]


def test_a_frame_waits_for_its_last_sample():
    assert frames_of([0, 1, 2]) == []
    assert frames_of([0, 1], [], [2], [3]) == [[0, 1, 2, 3]]
    assert frames_of([0, 1, 2, 3, 4], [5]) == [[0, 1, 2, 3], [2, 3, 4, 5]]


def test_reset_forgets_what_was_waiting():
    framer = Framer(4, 2)
    framer.push(np.array([9, 9, 9], np.float32))
    assert framer.n_pending == 3
    framer.reset()
    assert framer.n_pending == 0
    assert framer.push(np.array([0, 1, 2, 3], np.float32)).tolist() == [[0, 1, 2, 3]]


@given(
    st.integers(1, 12).flatmap(lambda window: st.tuples(st.just(window), st.integers(1, window))),
    st.integers(0, 60),
    st.lists(st.integers(0, 20), max_size=12),
)
def test_any_cut_into_blocks_gives_the_same_frames(lengths, n_samples, cuts):
    window_length, hop_length = lengths
    samples = np.arange(n_samples, dtype=np.float32)
    framer = Framer(window_length, hop_length)
    found = [frame.tolist() for piece in pieces(samples, cuts) for frame in framer.push(piece)]
    starts = range(0, n_samples - window_length + 1, hop_length)
    assert found == [list(range(start, start + window_length)) for start in starts]
    assert framer.n_pending == n_samples - len(found) * hop_length
    assert framer.n_pending < window_length or not found


def test_a_recording_is_neither_copied_nor_kept_alive_by_the_samples_that_wait():
    framer = Framer(400, 160)
    recording = np.zeros(10 * RATE_HZ, np.float32)
    assert np.shares_memory(framer.push(recording), recording)
    assert 0 < framer.n_pending < 400
    assert len(framer._held) < RATE_HZ
    assert framer._held.base is None
    assert not np.shares_memory(framer.push(np.zeros(400, np.float32)), recording)


def test_memory_does_not_grow_with_the_stream():
    framer = Framer(400, 160)
    held = framer._held
    for n in (160, 320, 7, 0, 960) * 200:
        framer.push(np.zeros(n, np.float32), at_least=8)
    assert framer._held is held


def test_more_frames_may_be_waited_for_than_there_is_room_at_first():
    framer, samples = Framer(4, 2), np.arange(300, dtype=np.float32)
    for start in range(0, 290, 29):
        assert framer.push(samples[start : start + 29], at_least=146).shape == (0, 4)
    assert framer.n_pending == 290
    frames = framer.push(samples[290:], at_least=146)
    assert frames[:, 0].tolist() == list(range(0, 298, 2))
    assert framer.n_pending == 2


def test_frames_wait_until_there_are_as_many_as_are_wanted():
    framer = Framer(4, 2)
    samples = np.arange(20, dtype=np.float32)
    block = samples[:7].copy()
    assert framer.push(block, at_least=3).shape == (0, 4)
    assert (framer.n_ready, framer.n_pending) == (2, 7)
    block[:] = -1  # the caller's own again
    assert framer.push(samples[7:8], at_least=3).tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]
    assert (framer.n_ready, framer.n_pending) == (0, 2)
    assert framer.push(samples[8:10], at_least=3).shape == (0, 4)
    # a call with nothing new takes what waited
    assert framer.push(samples[:0]).tolist() == [[6, 7, 8, 9]]


@pytest.mark.parametrize(("window_length", "hop_length"), [(4, 0), (4, 5), (0, 0), (4, -1)])
def test_lengths_that_leave_gaps_are_refused(window_length, hop_length):
    with pytest.raises(ValueError, match="hop_length"):
        Framer(window_length, hop_length)


def test_samples_of_several_channels_are_refused():
    with pytest.raises(ValueError, match="mono"):
        Framer(4, 2).push(np.zeros((8, 2), np.float32))


def level_of(samples: list[float] | np.ndarray) -> float:
    frames = np.array([samples], np.float32)
    return float(level_db(frames, means(frames))[0])


def test_level_readable():
    assert level_of([1, -1, 1, -1]) == 0
    assert level_of([0.1, -0.1, 0.1, -0.1]) == pytest.approx(-20, abs=1e-4)
    assert level_of([0, 0, 0, 0]) == pytest.approx(-100, abs=1e-4)
    assert level_of([1e-6, -1e-6, 1e-6, -1e-6]) == pytest.approx(-100, abs=1e-4)  # below what 24 bits resolve


def test_level_of_a_full_sine_is_3_db_below_full_scale():
    assert level_of(tone(1000, 0.025, amplitude=1)) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize("offset", [-0.3, 0.01, 0.5])
def test_level_ignores_a_constant_offset(offset):
    samples = noise(0.025, -50)
    assert level_of(samples + np.float32(offset)) == pytest.approx(level_of(samples), abs=0.1)
    assert level_of(np.full(400, offset, np.float32)) < -62  # less than any voice the gate opens for


def test_level_does_not_depend_on_how_frames_are_grouped():
    frames = Framer(400, 160).push(noise(2, -40))
    whole = level_db(*OffsetRemover(10).push(frames))
    for n in (1, 2, 7, 33):
        remover = OffsetRemover(10)
        groups = [frames[start : start + n] for start in range(0, len(frames), n)]
        assert [level for group in groups for level in level_db(*remover.push(group))] == whole.tolist()


def test_the_offset_of_the_microphone_is_taken_out_from_the_first_frame_on():
    frames, means_left = OffsetRemover(10).push(np.array([[3, 5], [5, 3], [4, 4]], np.float32))
    assert frames.tolist() == [[-1, 1], [1, -1], [0, 0]]
    assert means_left.tolist() == [0, 0, 0]


def test_the_mean_that_is_left_is_that_of_the_frame():
    frames, means_left = OffsetRemover(10).push(Framer(400, 160).push(tone(70, 1, amplitude=0.3) + np.float32(0.1)))
    assert np.abs(means_left).max() > 0.01  # a frame holds no whole number of periods
    assert means_left == pytest.approx(frames.mean(axis=1), abs=1e-7)


def test_an_offset_that_drifts_is_followed_within_seconds():
    remover = OffsetRemover(10)
    remover.push(np.full((500, 4), 0.1, np.float32))
    assert abs(remover.push(np.full((500, 4), 0.2, np.float32))[0][-1, 0]) < 0.001


def test_offset_removal_does_not_depend_on_how_frames_are_grouped():
    frames = Framer(400, 160).push(noise(2, -40) + np.float32(0.03))
    whole, _ = OffsetRemover(10).push(frames)
    remover = OffsetRemover(10)
    assert np.array_equal(np.concatenate([remover.push(frames[i : i + 7])[0] for i in range(0, len(frames), 7)]), whole)
