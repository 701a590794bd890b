"""Batches that threads make ahead."""

import threading
import time

import numpy as np
import pytest

pytest.importorskip("keras")

from test_batches import batches

from train_host.ahead import BatchesAhead


class Steps:
    """A source whose batches are their steps; it remembers what it was asked for."""

    def __init__(self, broken: int = -1) -> None:
        self.asked: list[int] = []
        self._broken = broken

    def __getitem__(self, step: int) -> int:
        self.asked.append(step)
        if step == self._broken:
            raise OSError(f"step {step} cannot be read")
        return step


def test_they_are_the_same_batches():
    plain = batches()
    with BatchesAhead(batches(), 8, n_threads=3) as ahead:
        # as Keras asks: the first two, then all from the first on
        found = [ahead[i] for i in (0, 1, 0, 1, 2, 3)]
        ahead.begin(4, 4)
        assert len(ahead) == 4
        found += [ahead[i] for i in (0, 1, 0, 1, 2, 3)]
    for ((features, valid), targets), step in zip(found, (0, 1, 0, 1, 2, 3, 4, 5, 4, 5, 6, 7), strict=True):
        (expected, expected_valid), expected_targets = plain[step]
        np.testing.assert_array_equal(features, expected)
        np.testing.assert_array_equal(valid, expected_valid)
        np.testing.assert_array_equal(targets, expected_targets)


def test_each_is_made_once_and_none_beyond_the_last():
    steps = Steps()
    with BatchesAhead(steps, 20, n_threads=2) as ahead:
        assert [ahead[i] for i in (0, 1, *range(12))] == [0, 1, *range(12)]
        ahead.begin(12, 8)
        assert [ahead[i] for i in (0, 1, *range(8))] == [12, 13, *range(12, 20)]
    assert sorted(steps.asked) == list(range(20))


def test_going_on_from_a_step_in_the_middle():
    steps = Steps()
    with BatchesAhead(steps, 20, n_threads=2) as ahead:
        ahead.begin(15, 5)
        assert [ahead[i] for i in range(5)] == [15, 16, 17, 18, 19]
    assert sorted(steps.asked) == [15, 16, 17, 18, 19]


def test_what_cannot_be_made_is_told_where_it_is_asked_for():
    with BatchesAhead(Steps(broken=2), 8) as ahead:
        assert [ahead[0], ahead[1]] == [0, 1]
        with pytest.raises(OSError, match="step 2 cannot be read"):
            ahead[2]


def test_waiting_is_counted():
    is_there = threading.Event()

    class Late:
        def __getitem__(self, step: int) -> int:
            is_there.wait()
            return step

    with BatchesAhead(Late(), 4, n_threads=1) as ahead:
        threading.Timer(0.2, is_there.set).start()
        began_s = time.perf_counter()
        assert ahead[0] == 0
        took_s = time.perf_counter() - began_s
        assert 0 < ahead.waited_s <= took_s
        # the timer, which was started just before, is what was waited for
        assert ahead.waited_s > 0.1


def test_its_end_ends_its_threads():
    before = set(threading.enumerate())
    with BatchesAhead(Steps(), 100, n_threads=4) as ahead:
        assert ahead[0] == 0
        own = set(threading.enumerate()) - before
        assert own
    for thread in own:
        thread.join(60)
        assert not thread.is_alive()
