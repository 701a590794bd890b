"""A disk that is full, and a clock that jumps."""

from board_life import LINES, begin_to_listen, events, expected, hear, n_events, restarts, say, uptime_s
from board_machine import Machine

# to the millisecond, as in the log
NOW = "date -u +%Y-%m-%dT%H:%M:%S.%3NZ"


def test_disk_full(board: Machine) -> None:
    begin_to_listen(board)
    before, began_before = n_events(board), restarts(board)
    board.run("fallocate -l $(df -B1 --output=avail /var/lib | tail -n 1) /var/lib/full")
    began_s = uptime_s(board)
    [wanted] = expected("kettle")
    [line] = [line for line, name in LINES.items() if name == wanted.label]
    n_said = 0
    try:
        while "No space" not in (said := board.journal()) and "disk is full" not in said:
            say(board, "kettle")
            n_said += 1
            board.until("sleep 8")  # the log is written every few seconds
            assert n_said < 20, said
        board.until(f"awk '$1 > {began_s} && $2 == {line} && $3 == 1' /run/board/lines | grep -q .")
    finally:
        board.run("rm /var/lib/full")
    board.until(f"test $(tonelight history --json | wc -l) -ge {before + n_said}")
    assert len(events(board)) == before + n_said
    assert restarts(board) == began_before


def test_clock_jumps(board: Machine) -> None:
    begin_to_listen(board)
    before = restarts(board)
    for jump in ("+3 hours", "-3 hours"):
        board.run(f"date -s '{jump}'")
        began = board.run(NOW)
        [heard] = hear(board, "kettle")
        assert began.strip() < heard["ts"] <= board.run(NOW).strip()
        assert 2 < heard["end_s"] - heard["start_s"] < 5
    assert restarts(board) == before
    assert "Watchdog" not in board.run("journalctl -b -u tonelight -n 30 -o cat")
