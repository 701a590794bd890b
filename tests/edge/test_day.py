"""A day of the log: its bounds, its sums, and the day as it is shown in a terminal."""

import io
import re
import time
from datetime import date, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from observed import event as observed_event

from edge.cli import main
from edge.day import FELT, Day, Part, bounds_of, day_meant, in_words, summarise
from edge.day_table import LETTERS, _cells, write_day
from edge.events import UNCERTAIN
from edge.history import Event, History, utc_text
from edge.labels import EMOTIONS
from edge.leds.ink import Ink

DAY = date(2026, 3, 2)


@pytest.fixture(autouse=True)
def berlin(monkeypatch):
    """A place where local time is not UTC, and not always as far from it."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def event(local: str, label: str = "happy", length_s: float = 2.0, *, uncertain: bool = False) -> Event:
    return msgspec.structs.replace(
        observed_event(uncertain=uncertain),
        ts=utc_text(datetime.fromisoformat(f"{local}+01:00")),
        label=label,
        start_s=10.0,
        end_s=10.0 + length_s,
    )


EVENTS = [
    event("2026-03-01T23:59:59", "sad"),  # the day before
    event("2026-03-02T00:00:00", "calm", 6.0),
    event("2026-03-02T07:30:00", "angry", 30.0),
    event("2026-03-02T07:31:00", "calm", 60.0),
    event("2026-03-02T07:59:59", "surprised", 30.0, uncertain=True),
    event("2026-03-02T09:00:00", "calm", 4.0),
    event("2026-03-03T00:00:00", "sad"),  # the day after
]


def test_a_day_begins_and_ends_at_local_midnight():
    day = summarise(EVENTS, DAY)
    assert [part.n_stretches for part in day.parts] == [1, 0, 0, 0, 0, 0, 0, 3, 0, 1] + [0] * 14
    assert day.whole.n_stretches == 5
    assert {name: s for name, s in day.whole.felt_s.items() if s} == {"calm": 70, "angry": 30, UNCERTAIN: 30}
    assert day.whole.most_felt == "calm"
    assert day.parts[7].most_felt == "calm" and day.parts[8].most_felt is None
    assert day.whole.activation == pytest.approx(0.9) and day.parts[8].activation is None


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (DAY, 24), (date(2026, 10, 25), 25)])
def test_days_on_which_the_clocks_change(day, hours):
    start, end = bounds_of(day)
    assert end - start == timedelta(hours=hours)
    parts = summarise([], day).parts
    assert len(parts) == hours and parts[-1].start.hour == 23
    assert len(summarise([], day, part_minutes=10).parts) == 6 * hours


def test_the_day_that_is_meant():
    now = datetime(2026, 3, 2, 23, 30, tzinfo=timezone.utc)  # 0:30 of the third in Berlin
    said = {text: day_meant(text, now) for text in ("today", "yesterday", "2026-02-01", "2d")}
    assert said == {
        "today": date(2026, 3, 3),
        "yesterday": date(2026, 3, 2),
        "2026-02-01": date(2026, 2, 1),
        "2d": date(2026, 3, 1),
    }


def test_events_of_the_first_version_have_no_activation():
    day = summarise([msgspec.structs.replace(EVENTS[1], activation=None)], DAY)
    assert day.whole.activation is None
    assert "activation" not in shown(day)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3569, "59 min"), (3580, "1 h 00"), (11_100, "3 h 05")],
)
def test_lengths_in_words(seconds, words):
    assert in_words(seconds) == words


# --- in the terminal


class Screen(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def shown(day: Day, columns: int = 80, **environ: str) -> str:
    screen = Screen()
    write_day(day, screen, Ink(screen, environ), columns)
    return screen.getvalue()


def test_a_day_in_letters():
    assert shown(summarise(EVENTS, DAY), NO_COLOR="1").splitlines() == [
        "Monday 2 March 2026: 2 min of speech in 5 stretches",
        "",
        f"  00:00      6 s  {'CC':<39}  high  90%  calm",
        *(f"  0{hour}:00" for hour in range(1, 7)),
        f"  07:00    2 min  {'C' * 19 + 'A' * 10 + '.' * 10}  high  90%  calm",
        "  08:00",
        f"  09:00      4 s  {'C':<39}  high  90%  calm",
        "",
        "   C  calm         1 min   54%",
        "   A  angry         30 s   23%",
        "   .  uncertain     30 s   23%",
        "",
        "  most felt: calm; activation: high 90%",
    ]


def test_colours_add_nothing_but_colour():
    coloured = shown(summarise(EVENTS, DAY), COLORTERM="truecolor")
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == shown(summarise(EVENTS, DAY), NO_COLOR="1")
    assert "\x1b[48;2;213;94;0;30mAAAA" in coloured


def test_a_day_in_a_narrow_terminal_stays_within_it():
    for columns in (60, 80, 100, 200):
        assert max(map(len, shown(summarise(EVENTS, DAY), columns, NO_COLOR="1").splitlines())) < columns


def test_a_quiet_day_and_one_without_a_sure_emotion():
    assert shown(summarise([], DAY), NO_COLOR="1") == "Monday 2 March 2026: nothing was heard\n"
    assert "no emotion was sure" in shown(summarise([EVENTS[4]], DAY))
    assert "0 s of speech in 1 stretch\n" in shown(
        summarise([event("2026-03-02T10:00:00", "sad", 0.0)], DAY), NO_COLOR="1"
    )


def test_every_emotion_has_a_letter_of_its_own():
    assert set(LETTERS) == set(FELT) and len(set(LETTERS.values())) == len(FELT)


@given(st.lists(st.tuples(st.sampled_from(FELT), st.floats(0, 1e4)), max_size=9), st.integers(1, 72))
def test_cells_fill_the_bar_and_are_as_near_to_the_shares_as_cells_can_be(felt, n_cells):
    part = Part(datetime(2026, 3, 2))
    part.felt_s.update(felt)
    cells = _cells(part, n_cells)
    assert sum(cells.values()) == n_cells
    if part.spoken_s:
        assert all(abs(cells[name] - n_cells * part.felt_s[name] / part.spoken_s) < 1 for name in FELT)


# --- the command


@pytest.fixture
def heard(home):
    history = History(home / "state" / "history.db", max_mb=10, max_days=36_500)
    for each in EVENTS:
        history.write(each)
    history.close()


def test_a_day_by_the_command(heard, capsys):
    assert main(["history", "--day", "2026-03-02"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Monday 2 March 2026: 2 min of speech in 5 stretches\n") and "\x1b" not in out
    assert main(["history", "--day"]) == 0
    assert capsys.readouterr().out.endswith(": nothing was heard\n")


def test_a_day_in_other_forms(heard, capsys):
    assert main(["history", "--day", "2026-03-02", "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 5
    assert main(["history", "--since", "2026-03-02T07:31", "--until", "2026-03-02T09:00"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2


def test_no_day(heard, capsys):
    assert main(["history", "--day", "someday"]) == 1
    assert capsys.readouterr().err.startswith('tonelight: "someday" is no time since when: write ')


def test_every_label_of_the_model_is_counted():
    day = summarise([event("2026-03-02T10:00:00", label, 1.0) for label in EMOTIONS], DAY)
    assert day.whole.felt_s == dict.fromkeys(EMOTIONS, 1.0) | {UNCERTAIN: 0.0}
