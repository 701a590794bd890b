"""The service with Jetson.GPIO, which takes the board for a Jetson Orin Nano: its lines are those of the header."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from board_image import ROOT
from board_life import begin_to_listen, hear, lights, uptime_s
from board_lights import other_lights
from board_machine import Machine

# each LED: its pin by GPIO number as in the configuration, and the line of the Orin's chip that is led there
PINS = {
    "neutral": (4, 144),
    "calm": (17, 112),
    "happy": (18, 50),
    "sad": (27, 122),
    "angry": (22, 85),
    "fearful": (23, 126),
    "disgusted": (24, 125),
    "surprised": (10, 135),
    "uncertain": (9, 134),
    "starting": (25, 123),
    "listening": (11, 133),
    "muted": (8, 136),
    "fault": (7, 137),
}
NAMES = {line: name for name, (_, line) in PINS.items()}
WRITTEN = "/run/board/header"

# a second chip, until the next boot
CHIP = f"""set -e
chip=/sys/kernel/config/gpio-sim/jetson
mkdir $chip $chip/bank0
echo 164 >$chip/bank0/num_lines
echo tegra234-gpio >$chip/bank0/label
echo 1 >$chip/live
python3 /board/lines.py /sys/devices/platform/$(cat $chip/dev_name) {WRITTEN} >/dev/null 2>&1 &
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Jetson.GPIO in the version that a Jetson gets. It comes as source, and is Python only."""
    folder = tmp_path_factory.mktemp("jetson")
    lock = (ROOT / "edge/locks/jetson.txt").read_text(encoding="utf-8")
    [entry] = [part for part in lock.replace("\\\n", " ").splitlines() if part.startswith("jetson-gpio==")]
    (folder / "lock.txt").write_text(entry)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-deps"]
    done = subprocess.run([*pip, "-w", folder, "-r", folder / "lock.txt"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no Jetson.GPIO could be had: {done.stderr.strip().splitlines()[-1]}")
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def jetson(board: Machine, wheel: Path) -> Iterator[Machine]:
    """The board, as long as it takes itself for a Jetson."""
    board.put(wheel, "/opt/jetson.whl")
    board.run(CHIP)
    pins = "\n".join(f"{name} = {pin}" for name, (pin, _) in PINS.items())
    environment = {"JETSON_TESTING_MODEL_NAME": "JETSON_ORIN_NANO", "PYTHONPATH": "/opt/jetson.whl"}
    with other_lights(board, f'[leds]\nkind = "pins"\n[leds.pins]\n{pins}', **environment):
        yield board


def test_jetson_gpio_lights_the_lines_of_the_header(jetson: Machine) -> None:
    begin_to_listen(jetson)
    jetson.until(f"grep -q ' {PINS['listening'][1]} 1' {WRITTEN}")
    began_s = uptime_s(jetson)
    [heard] = hear(jetson, "kettle")
    jetson.until("sleep 6")  # what was heard last stays for five seconds
    shown = {name for at_s, name, is_lit in lights(jetson, WRITTEN, NAMES) if is_lit and at_s >= began_s}
    assert ("uncertain" if heard["uncertain"] else heard["label"]) in shown
    assert not {"starting", "muted", "fault"} & shown
    jetson.run("systemctl stop tonelight")
    jetson.until("sleep 1")
    level = {name: is_lit for _, name, is_lit in lights(jetson, WRITTEN, NAMES)}
    assert not any(level.values()), level
    assert "Traceback" not in jetson.journal()
    assert "WARNING" not in jetson.journal()
