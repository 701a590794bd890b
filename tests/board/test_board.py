"""The service on a board that runs: x86-64, Debian's kernel and systemd, a sound card, simulated GPIO."""

import re

from board_life import begin_to_listen, expected, hear, lights, restarts, said_at_s, uptime_s
from board_machine import Machine


def test_starts_with_the_board_and_lights(board: Machine, figures: dict[str, float]) -> None:
    begin_to_listen(board)
    assert restarts(board) == 0
    assert board.run("systemctl is-active tonelight") == "active\n"
    assert board.run("systemctl --failed --plain --no-legend") == ""
    assert "tonelight.service: " not in board.journal()
    board.until("grep -q ' 10 1' /run/board/lines")
    shown = [name for _, name, is_lit in lights(board) if is_lit]
    assert shown[-1] == "listening"
    assert set(shown) <= {"starting", "listening"}
    figures["boot to first light, s"] = lights(board)[0][0]
    figures["boot to listening, s"] = said_at_s(board, "listening to")[0]


def test_speech_lights_its_line_and_is_in_the_log(board: Machine, figures: dict[str, float]) -> None:
    begin_to_listen(board)
    said = ("kettle", "news")
    for phrase, wanted in zip(said, expected(*said), strict=True):
        began_s = uptime_s(board)
        [heard] = hear(board, phrase)
        # not to the last digit: what it heard between the phrases counts a little, too
        assert all(abs(heard["probs"][label] - share) < 0.15 for label, share in wanted.probs.items())
        assert abs(heard["activation"] - wanted.activation) < 0.15
        assert (heard["node"], heard["model"]) == ("board", "tonelight-0.1.0")
        board.until("sleep 6")  # what was heard last stays for five seconds
        shown = {name for at_s, name, is_lit in lights(board) if is_lit and at_s >= began_s}
        assert ("uncertain" if heard["uncertain"] else heard["label"]) in shown
        assert not {"starting", "muted", "fault"} & shown
    # with a real sound card, by PortAudio
    resident = board.run("grep VmRSS /proc/$(systemctl show -P MainPID tonelight)/status")
    figures["memory of the service that has heard speech, MB"] = int(resident.split()[1]) * 1024 / 1e6


def test_locked_in(board: Machine, figures: dict[str, float]) -> None:
    said = board.run("systemd-analyze security tonelight --no-pager | tail -n 1")
    exposure = float(re.findall(r"level for tonelight\.service: ([\d.]+)", said)[0])
    figures["exposure (systemd-analyze security), of 10"] = exposure
    assert exposure <= 0.5
