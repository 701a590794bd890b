"""When what looks old may be removed: one wrong clock costs nothing that was kept."""

import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge import clock
from edge.clock import can_tell_age, clock_synced

DAY_S = 86_400.0
NOW_S = datetime(2026, 3, 1, 12, tzinfo=timezone.utc).timestamp()


@pytest.fixture(autouse=True)
def synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of systemd-timesyncd, on a board that has none yet."""
    folder = tmp_path / "timesync"
    monkeypatch.setattr(clock, "TIMESYNC", folder)
    return folder / "synchronized"


def looks(stamp: Path, first_s: float, n_days: int) -> list[bool]:
    """What is said once a day."""
    return [can_tell_age(30, first_s + day * DAY_S, stamp) for day in range(n_days)]


def test_a_clock_is_believed_once_it_has_run_on_for_as_long(tmp_path):
    stamp = tmp_path / "log.clock"
    assert looks(stamp, NOW_S, 32) == [False] * 30 + [True] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["log.clock"]


@pytest.mark.parametrize("jump_s", [8 * DAY_S, 400 * DAY_S, -400 * DAY_S, -NOW_S])
def test_a_clock_that_jumps_is_believed_only_after_as_long_again(tmp_path, jump_s):
    stamp = tmp_path / "log.clock"
    assert looks(stamp, NOW_S, 32)[-1]
    assert looks(stamp, NOW_S + 32 * DAY_S + jump_s, 32) == [False] * 30 + [True] * 2


def test_a_board_that_starts_in_1970_believes_nothing_when_its_clock_is_set(tmp_path):
    stamp = tmp_path / "log.clock"
    assert not any(can_tell_age(1, now_s, stamp) for now_s in (5.0, 3605.0, NOW_S, NOW_S + 3600))


def test_a_few_days_without_power_are_no_jump(tmp_path):
    stamp = tmp_path / "log.clock"
    looks(stamp, NOW_S, 29)
    assert can_tell_age(30, NOW_S + 34 * DAY_S, stamp)


def test_whether_the_clock_is_set_is_known_from_timesyncd(synced):
    assert clock_synced() is None
    synced.parent.mkdir()
    assert clock_synced() is False
    synced.touch()
    assert clock_synced() is True


def test_the_network_vouches_for_a_day(tmp_path, synced):
    stamp = tmp_path / "log.clock"
    synced.parent.mkdir()
    synced.touch()
    os.utime(synced, (NOW_S, NOW_S))
    assert can_tell_age(30, NOW_S + 2000, stamp)
    assert not can_tell_age(30, NOW_S + 400 * DAY_S, stamp)  # somebody sets the clock by hand


def test_a_note_is_written_once_an_hour(tmp_path):
    stamp = tmp_path / "log.clock"
    can_tell_age(30, NOW_S, stamp)
    noted = stamp.read_text()
    can_tell_age(30, NOW_S + 3599, stamp)
    assert stamp.read_text() == noted
    can_tell_age(30, NOW_S + 3600, stamp)
    assert stamp.read_text() == f"{NOW_S} {NOW_S + 3600}"


@pytest.mark.parametrize("text", ["", "1", "nan nan", "x y", "1 2 3", "\0" * 30])
def test_a_damaged_note_is_a_new_beginning(tmp_path, text):
    stamp = tmp_path / "log.clock"
    stamp.write_text(text)
    assert not can_tell_age(30, NOW_S, stamp)
    assert stamp.read_text() == f"{NOW_S} {NOW_S}"


def test_where_no_note_can_be_kept_no_age_is_believed(tmp_path):
    assert not any(looks(tmp_path / "nowhere" / "log.clock", NOW_S, 40))
