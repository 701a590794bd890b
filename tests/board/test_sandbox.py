"""What the service may not do, tried by a program that is locked in by the very same unit."""

import json
from pathlib import Path

import pytest
from board_life import begin_to_listen
from board_machine import Machine

# The unit as it is installed, but for what it starts.
PROBE = """
sed -e 's|^ExecStart=.*|ExecStart=/opt/tonelight/bin/python /board/probe.py|' \\
  -e 's/^Type=.*/Type=oneshot/' -e '/^Restart/d' -e '/^WatchdogSec/d' -e '/^ExecReload/d' \\
  /etc/systemd/system/tonelight.service >/run/systemd/system/probe.service
mkdir -p /home/anna && echo dear >/home/anna/diary && chmod -R a+rwX /home/anna
echo secret >/root/secret && chmod 644 /root/secret && chmod 755 /root
systemctl daemon-reload
systemctl stop tonelight
systemctl start probe; rc=$?
systemctl start tonelight
journalctl -b -u probe -o cat --no-pager | grep '^{"forbidden' || { journalctl -b -u probe --no-pager; exit 1; }
exit $rc
"""


@pytest.fixture(scope="module")
def probed(board: Machine) -> dict:
    board.put(Path(__file__).with_name("board_probe.py"), "/board/probe.py")
    answer = json.loads(board.run(PROBE))
    begin_to_listen(board)
    return answer


def test_it_can_do_nothing_else(probed: dict) -> None:
    done = [name for name, outcome in probed["forbidden"].items() if outcome == "done"]
    assert done == []
    assert len(probed["forbidden"]) > 30


def test_it_can_do_what_it_has_to(probed: dict) -> None:
    assert set(probed["needed"].values()) <= {"done"}, probed["needed"]


def test_it_sees_no_network(probed: dict) -> None:
    assert probed["networks"] == ["lo"]
    assert probed["forbidden"]["talk AF_INET"] in ("EAFNOSUPPORT", "EPERM")
