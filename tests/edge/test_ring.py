"""The ring against a list, and with two threads."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ring import Ring


def rows(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 1)


def read(ring: Ring, n_max: int = 1000) -> tuple[list[float], int] | None:
    """What can be had at once."""
    got = ring.read(n_max, 0)
    return None if got is None else (got[0][:, 0].tolist(), got[1])


def test_rows_come_out_in_order_and_around_the_end():
    ring = Ring(4)
    ring.write(rows(1, 2, 3))
    assert read(ring, 2) == ([1, 2], 0)
    ring.write(rows(4, 5, 6))
    assert read(ring) == ([3, 4, 5, 6], 0)
    assert (ring.n_overruns, ring.n_lost) == (0, 0)


def test_what_does_not_fit_is_dropped_counted_and_told_at_that_point():
    ring = Ring(4)
    ring.write(rows(1, 2, 3))
    ring.write(rows(4, 5, 6))
    assert read(ring, 2) == ([1, 2], 0)
    ring.write(rows(7))  # there is room again, but row 7 after row 4 would be a splice
    assert read(ring) == ([3, 4], 0)
    ring.write(rows(8, 9))
    assert read(ring) == ([8, 9], 3)
    assert (ring.n_overruns, ring.n_lost) == (1, 3)


def test_rows_lost_by_the_driver_are_a_gap_too():
    ring = Ring(10)
    ring.write(rows(1, 2))
    ring.write(rows(3), broken=True)
    ring.write(rows(4))
    assert read(ring) == ([1, 2], 0)
    assert read(ring) == ([3, 4], 1)
    assert (ring.n_overruns, ring.n_lost) == (0, 1)


def test_a_gap_of_the_driver_before_an_overrun_does_not_end_the_dropping():
    ring = Ring(3)
    ring.write(rows(1))
    ring.write(rows(2, 3, 4), broken=True)
    assert read(ring) == ([1], 0)
    assert read(ring, 1) == ([2], 1)
    ring.write(rows(5))
    assert read(ring) == ([3], 0)
    ring.write(rows(6))  # empty, so rows are taken again
    assert read(ring) == ([6], 2)


def test_channels_stay_apart():
    ring = Ring(3, 2)
    ring.write(np.array([[1, -1], [2, -2]], np.float32))
    got = ring.read(5, 0)
    assert got is not None
    assert got[0].tolist() == [[1, -1], [2, -2]]


def test_the_writer_may_reuse_its_memory():
    ring = Ring(4)
    buffer = rows(1, 2)
    ring.write(buffer)
    got = ring.read(1, 0)
    buffer[:] = 9
    ring.write(buffer)
    ring.write(buffer)
    assert got is not None
    assert got[0].tolist() == [[1]]
    assert read(ring) == ([2, 9, 9, 9], 0)


def test_a_closed_ring_hands_out_the_rest_and_then_none():
    ring = Ring(4)
    ring.write(rows(1))
    ring.close()
    assert ring.closed
    assert read(ring) == ([1], 0)
    assert ring.read(1, 60) is None


@pytest.mark.parametrize("size", [(0, 1), (1, 0)])
def test_a_ring_of_nothing_is_refused(size):
    with pytest.raises(ValueError, match="at least one"):
        Ring(*size)


actions = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 7), st.booleans()),
        st.tuples(st.just("read"), st.integers(1, 7), st.none()),
    ),
    max_size=60,
)


@given(capacity=st.integers(1, 9), actions=actions)
def test_a_plain_list_does_the_same(capacity, actions):
    """The model: stored rows and marks of lost ones in one list, full when it holds `capacity` rows."""
    ring = Ring(capacity)
    model: list[float | str] = []
    dropping = False
    value = n_lost = n_overruns = 0
    for action, n, broken in actions:
        if action == "write":
            values = [float(value + i) for i in range(n)]
            value += n
            ring.write(rows(*values), broken=broken)
            if broken:
                model.append("lost")
                n_lost += 1
            for v in values:
                if dropping or sum(isinstance(x, float) for x in model) == capacity:
                    n_overruns += not dropping
                    dropping = True
                    model.append("lost")
                    n_lost += 1
                else:
                    model.append(v)
        else:
            lost = 0
            while model and model[0] == "lost":
                model.pop(0)
                lost += 1
            out: list[float] = []
            while model and model[0] != "lost" and len(out) < n:
                out.append(model.pop(0))  # type: ignore[arg-type]
            if out:
                assert read(ring, n) == (out, lost)
            else:
                assert read(ring, n) is None
                model[:0] = ["lost"] * lost  # told with the next row
            if not any(isinstance(x, float) for x in model):
                dropping = False
        assert (ring.n_lost, ring.n_overruns) == (n_lost, n_overruns)


@pytest.mark.parametrize("capacity", [64, 100_000])
def test_two_threads_account_for_every_row(capacity):
    """Every row is read in its place or counted as lost in its place; in the large ring, none is lost."""
    n = 50_000
    ring = Ring(capacity)

    def produce() -> None:
        for start in range(0, n, 40):
            ring.write(np.arange(start, start + 40, dtype=np.float32).reshape(-1, 1))
        ring.close()

    producer = threading.Thread(target=produce)
    producer.start()
    position = n_read = 0
    while (got := ring.read(50, 60)) is not None:
        values, lost = got
        position += lost
        np.testing.assert_array_equal(values[:, 0], np.arange(position, position + len(values)))
        position += len(values)
        n_read += len(values)
    producer.join()
    assert n_read + ring.n_lost == n
    assert (ring.n_lost == 0) == (ring.n_overruns == 0)
    if capacity == 100_000:
        assert ring.n_lost == 0
