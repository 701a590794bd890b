"""A microphone that is pulled out, silent or not wanted."""

from board_life import CAPTURED, LISTENS, begin_to_listen, hear, lights, restarts, said_at_s, uptime_s
from board_machine import Machine

IS_LIT = "test $(cat /sys/devices/platform/gpio-sim.0/gpiochip*/sim_gpio{}/value) = 1"
FAULT = 'grep -q \'"phase":"fault"\' /run/tonelight/health.json'
DRIVER = "/sys/bus/platform/drivers/snd_aloop"


def test_unplugged_and_back(board: Machine, figures: dict[str, float]) -> None:
    begin_to_listen(board)
    before = restarts(board)
    # the kernel lets go of the card when the last program has closed it
    board.run(f"echo snd_aloop.0 >{DRIVER}/unbind & disown")
    board.until(FAULT)
    board.until(IS_LIT.format(12))
    assert "microphone" in board.run("systemctl show -P StatusText tonelight")
    board.until(f"test ! -e {DRIVER}/snd_aloop.0")
    board.run(f"echo snd_aloop.0 >{DRIVER}/bind")
    bound_s = uptime_s(board)
    board.until(LISTENS)
    figures["microphone back to listening, s"] = said_at_s(board, "listening to")[-1] - bound_s
    assert len(hear(board, "kettle")) == 1
    assert restarts(board) == before
    assert board.run("systemctl is-active tonelight") == "active\n"


def test_zeros_are_no_sound(board: Machine) -> None:
    begin_to_listen(board)
    before = restarts(board)
    board.run("systemctl stop board-room")  # the other end of the card: now it gives zeros
    try:
        board.until(FAULT)
        board.until(IS_LIT.format(12))
        assert "gives no sound" in board.run("systemctl show -P StatusText tonelight")
    finally:
        board.run("systemctl start board-room")
    board.until(LISTENS)
    assert len(hear(board, "kettle")) == 1
    assert restarts(board) == before


def test_muted_is_closed(board: Machine) -> None:
    begin_to_listen(board)
    board.run("tonelight mute")
    try:
        board.until(f"grep -q closed {CAPTURED}")
        board.until(IS_LIT.format(11))
        board.run("sleep 0.2")  # until what went dark then has been written down, too
        muted_s = uptime_s(board)
        board.run("cp /board/phrases/kettle.raw /run/board/say")
        board.until("! test -e /run/board/say")
        assert board.run(f"cat {CAPTURED}") == "closed\n"
        assert {name for at_s, name, _ in lights(board) if at_s > muted_s} <= {"muted"}
    finally:
        board.run("tonelight unmute")
    begin_to_listen(board)
    assert len(hear(board, "kettle")) == 1
