"""A daemon that hangs or dies is back soon, and one that is stopped is dark at once."""

from board_life import LINES, begin_to_listen, hear, kill, lights, restarts, said_at_s, uptime_s
from board_machine import Machine


def test_what_hangs_is_started_anew(board: Machine, figures: dict[str, float]) -> None:
    begin_to_listen(board)
    before, began_s = restarts(board), uptime_s(board)
    board.run("kill -STOP $(systemctl show -P MainPID tonelight)")
    board.until(f"test $(systemctl show -P NRestarts tonelight) -gt {before}")
    assert "Watchdog timeout" in board.journal()
    begin_to_listen(board)
    figures["hung to listening again, s"] = said_at_s(board, "listening to")[-1] - began_s
    assert len(hear(board, "kettle")) == 1


def test_what_is_killed_is_started_anew(board: Machine, figures: dict[str, float]) -> None:
    begin_to_listen(board)
    board.run("rm -f /run/tonelight/failures")  # as after ten good minutes
    began_s = uptime_s(board)
    kill(board)
    figures["killed to listening again, s"] = said_at_s(board, "listening to")[-1] - began_s
    assert len(hear(board, "kettle")) == 1


def test_what_is_stopped_is_dark_within_a_second(board: Machine, figures: dict[str, float]) -> None:
    begin_to_listen(board)
    pid = board.run("systemctl show -P MainPID tonelight").strip()
    took = board.run(
        "read from _ </proc/uptime; systemctl stop --no-block tonelight;"
        f"while test -e /proc/{pid}; do sleep 0.01; done;"
        "read to _ </proc/uptime; echo $from $to"
    )
    began_s, ended_s = map(float, took.split())
    figures["told to stop to its end, s"] = ended_s - began_s
    assert ended_s - began_s <= 1
    last = {name: is_lit for _, name, is_lit in lights(board)}
    assert set(last) <= set(LINES.values())
    assert not any(last.values())
    board.run("systemctl start tonelight")
    begin_to_listen(board)
