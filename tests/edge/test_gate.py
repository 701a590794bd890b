"""The gate on levels that can be read: `_` silence at -70 dB, `s` speech at -30 dB, `m` in between at -60 dB.

Frames are 10 ms apart, the settings small: opens with 3 voiced of 6 frames, reaches back 2, waits for 4.
"""

import copy
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.gate import Edge, Gate, GateConfig

CONFIG = GateConfig(
    open_db=12,
    close_db=8,
    min_level_db=-62,
    initial_floor_db=-50,
    rise_db_per_s=3,
    onset_ms=30,
    pre_roll_ms=20,
    hangover_ms=40,
    min_speech_ms=50,
    max_segment_s=0.2,
)
HOP_MS = 10
LEVELS = {"_": -70.0, "s": -30.0, "m": -60.0}
MARKS = {Edge.OPEN: "(", Edge.CLOSE: ")", None: "."}


def gate(**settings: float) -> Gate:
    return Gate(msgspec.structs.replace(CONFIG, **settings), HOP_MS)


def edges(gate: Gate, text: str) -> str:
    return "".join(MARKS[edge] for edge in gate.push(LEVELS[letter] for letter in text))


def feed(gate: Gate, level_db: float, seconds: float) -> list[Edge | None]:
    return list(gate.push([level_db] * round(seconds * 1000 / HOP_MS)))


def floor_after(gate: Gate, levels_db: Iterable[float]) -> float:
    for _ in gate.push(levels_db):
        pass
    assert gate.floor_db is not None
    return gate.floor_db


def test_opens_after_the_onset_and_closes_after_the_hangover():
    assert edges(gate(), "_____sssss____") == ".......(.....)"


def edges_of(gate: Gate, levels_db: Iterable[float]) -> list[Edge]:
    return [edge for edge in gate.push(levels_db) if edge is not None]


@given(st.lists(st.sampled_from("_sm"), max_size=60), st.sampled_from("_s"))
def test_no_edge_comes_before_it_says_so(letters, last):
    one = gate()
    for letter in letters:
        one._step(LEVELS[letter])
        assert one.n_without_edge >= 0
        other = copy.deepcopy(one)
        assert edges_of(other, [LEVELS[last]] * one.n_without_edge) == []


def test_an_edge_may_come_right_after_that():
    one = gate()
    assert one.n_without_edge == 2
    assert edges_of(one, [LEVELS["s"]] * 3) == [Edge.OPEN]
    assert one.n_without_edge == 3
    assert edges_of(one, [LEVELS["_"]] * 4) == [Edge.CLOSE]


def test_a_click_does_not_open_it():
    assert edges(gate(), "_____ss___________ss____") == "." * 24


def test_voiced_frames_need_not_be_neighbours():
    # three of the last six
    assert edges(gate(), "_____s_s_s___") == ".........(..."
    assert edges(gate(), "_____s__s__s___") == "." * 15


def test_a_short_pause_does_not_close_it():
    assert edges(gate(), "_____sss___s____") == ".......(.......)"


def test_hysteresis_what_would_not_open_it_keeps_it_open():
    quiet = gate(min_level_db=-80)
    # -60 dB is 10 dB above the floor: more than close_db, less than open_db
    assert edges(quiet, "_____mmmmmmmm") == "." * 13
    assert edges(quiet, "sssmmmmmmmm____") == "..(...........)"


def test_nothing_below_the_least_level_is_speech():
    deaf = gate(min_level_db=-55)
    assert list(deaf.push([-90.0] * 50 + [-58.0] * 50)) == [None] * 100
    assert Edge.OPEN in list(deaf.push([-54.0] * 10))


def test_says_how_far_the_segment_reaches_back():
    g = gate()
    edges(g, "_____sss")
    assert g.n_before == 2 + 2  # the onset's other two frames, and the pre-roll
    g = gate()
    edges(g, "_____s_ss")
    assert g.n_before == 3 + 2
    assert g.n_before <= g.look_back


def test_counts_voiced_frames_and_those_since():
    g = gate()
    edges(g, "_____s_ss")
    assert (g.n_voiced, g.n_since_voiced, g.n_frames) == (3, 0, 1)
    edges(g, "s__")
    assert (g.n_voiced, g.n_since_voiced, g.n_frames) == (4, 2, 4)
    assert edges(g, "__") == ".)"
    # still there for whoever asks after the segment
    assert (g.n_voiced, g.n_since_voiced) == (4, 4)


def test_what_is_too_short_to_count_is_known_by_its_voiced_frames():
    assert gate().min_speech == 5
    assert gate(min_speech_ms=0).min_speech == 0


def test_a_voice_that_never_pauses_is_cut_without_losing_a_frame():
    g = gate()
    opened, closed, reach = [], [], []
    for i, edge in enumerate(g.push([-70.0] * 5 + [-30.0] * 60)):
        if edge is Edge.OPEN:
            opened.append(i)
            reach.append(g.n_before)
        if edge is Edge.CLOSE:
            closed.append(i)
    assert opened[:2] == [7, 29]
    assert closed[:2] == [26, 48]  # 20 frames from opening to closing
    # the second segment may begin where the first one ended
    assert opened[1] - reach[1] <= closed[0] + 1


def test_close_forgets_the_segment_and_keeps_the_floor():
    g = gate()
    edges(g, "_____ss")
    floor_db = g.floor_db
    g.close()
    assert g.floor_db == floor_db
    assert edges(g, "s__") == "..."  # the two frames before the gap do not count for the onset
    edges(g, "sss")
    assert g.is_open
    g.close()
    assert not g.is_open
    assert edges(g, "____") == "...."


def test_reset_forgets_the_floor():
    g = gate()
    feed(g, -20, 20)
    g.reset()
    assert g.floor_db is None
    assert edges(g, "sss") == "..("


def test_a_recording_that_begins_with_speech_is_heard_at_once():
    assert edges(gate(), "sss") == "..("


def test_digital_silence_is_silence_and_speech_after_it_is_heard():
    g = gate()
    assert feed(g, -100, 5) == [None] * 500
    assert g.floor_db == g.config.min_level_db - 2 * g.config.open_db  # not further: it has to come back
    assert edges(g, "sss") == "..("


def test_the_floor_follows_down_within_a_tenth_of_a_second():
    g = gate()
    floor_after(g, [-52.0] * 50)
    assert g.floor_db == pytest.approx(-52)
    assert floor_after(g, [-70.0] * 10) == pytest.approx(-70, abs=2.1)


def test_the_floor_follows_up_slowly_and_never_above_the_level():
    g = gate()
    floor_after(g, [-70.0] * 100)
    before_db = g.floor_db
    assert before_db is not None
    assert floor_after(g, [-40.0] * 100) == pytest.approx(before_db + 3)
    assert floor_after(g, [-40.0] * 2000) == pytest.approx(-40)


def test_a_fan_switched_on_is_taken_for_speech_only_until_the_floor_has_followed():
    g = gate()
    feed(g, -70, 2)
    assert Edge.OPEN in feed(g, -50, 1)
    # 20 dB at 3 dB/s: from then on less than close_db is left, then less than open_db
    feed(g, -50, 6)
    assert not g.is_open
    assert feed(g, -50, 30) == [None] * 3000
    assert edges(g, "sss") == "..("


def test_a_steady_room_stays_shut_for_ever():
    assert set(feed(gate(), -45, 600)) == {None}


levels = st.lists(st.floats(-100, 0), max_size=120)


@given(levels, st.integers(1, 50))
def test_any_grouping_gives_the_same_edges(levels_db, n):
    whole = list(gate().push(levels_db))
    grouped = gate()
    assert [e for i in range(0, len(levels_db), n) for e in grouped.push(levels_db[i : i + n])] == whole


@given(levels)
def test_edges_alternate_and_segments_hold_what_they_claim(levels_db):
    g = gate(max_segment_s=0.1)
    n_since_opening, since_close = 0, 10_000
    was_open = False
    for edge in g.push(levels_db):
        since_close += 1
        if edge is Edge.OPEN:
            assert not was_open
            was_open, n_since_opening = True, 0
            assert 3 <= g.n_voiced <= g.n_before + 1
            assert g.n_before <= g.look_back
        if was_open:
            n_since_opening += 1
            assert n_since_opening <= 10
        if edge is Edge.CLOSE:
            assert was_open
            was_open, since_close = False, 0
        assert g.is_open == was_open
    assert g.floor_db is None or -100 <= g.floor_db <= 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("open_db", 8),
        ("open_db", float("nan")),
        ("open_db", 1e300),
        ("close_db", 0),
        ("close_db", 13),
        ("min_level_db", 5),
        ("initial_floor_db", float("-inf")),
        ("rise_db_per_s", 0),
        ("rise_db_per_s", float("inf")),
        ("onset_ms", 0),
        ("onset_ms", 1e300),
        ("hangover_ms", -1),
        ("max_segment_s", 0),
        ("max_segment_s", 1e308),
        ("pre_roll_ms", -1),
        ("min_speech_ms", float("nan")),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        gate(**{name: value})
