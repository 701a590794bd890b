"""What the emulated board has only for these tests: pins and a button through rpi-lgpio, and an LED of the kernel's."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from board_image import ROOT, for_board
from board_life import CAPTURED, LINES, begin_to_listen, hear, lights, said_since, uptime_s
from board_lights import other_lights
from board_machine import Machine

# The pins of a Raspberry Pi's header are lines of a chip that rpi-lgpio knows by its number; this is its first one.
PINS = {name: line + 2 for line, name in LINES.items()}
BUTTON = 16
NAMES = {pin: name for name, pin in PINS.items()} | {BUTTON: "button"}
WRITTEN, BRIGHTNESS = "/run/board/pi", "/run/board/brightness"
REVISION = "b03114"  # of a Raspberry Pi 4
CHIP = """set -e
chip=/sys/kernel/config/gpio-sim/pi
mkdir $chip $chip/bank0
echo 58 >$chip/bank0/num_lines
echo pinctrl-bcm2711 >$chip/bank0/label
echo 1 >$chip/live
device=/sys/devices/platform/$(cat $chip/dev_name)
python3 /board/lines.py $device %s >/dev/null 2>&1 &
ln -sfn $device/$(cat $chip/bank0/chip_name)/sim_gpio%d/pull /run/board/button
sed 's/gpiochip//' $chip/bank0/chip_name
"""


@pytest.fixture
def libraries(board: Machine, tmp_path: Path) -> str:
    """rpi-lgpio and lgpio in the versions that a Raspberry Pi gets, on the board; the folder they are in."""
    lock = (ROOT / "edge/locks/pi.txt").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    entries = [part for part in lock if part.startswith(("lgpio==", "rpi-lgpio=="))]
    assert len(entries) == 2
    (tmp_path / "lock.txt").write_text("\n".join(entry.partition(";")[0].partition("--hash")[0] for entry in entries))
    python = board.run("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").strip()
    wanted = for_board(python, board.run("uname -m").strip())
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", *wanted]
    done = subprocess.run([*pip, "-d", tmp_path, "-r", tmp_path / "lock.txt"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no rpi-lgpio could be had: {done.stderr.strip().splitlines()[-1]}")
    for wheel in tmp_path.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(tmp_path / "libraries")
    board.put(tmp_path / "libraries", "/opt/libraries")
    return "/opt/libraries"


def press(board: Machine) -> None:
    """Press the button, which connects its pin to ground, and let it go; not in the same moment as the last time, which
    the card may still be busy with."""
    board.run("cd /run/board; sleep 2; echo pull-down >button; sleep 0.3; echo pull-up >button")


def test_rpi_lgpio_lights_the_pins_and_hears_a_button(board: Machine, libraries: str) -> None:
    number = board.run(CHIP % (WRITTEN, BUTTON)).strip()
    pins = "\n".join(f"{name} = {pin}" for name, pin in PINS.items())
    environment = {"PYTHONPATH": libraries, "RPI_LGPIO_REVISION": REVISION, "RPI_LGPIO_CHIP": number}
    settings = f'[leds]\nkind = "pins"\n[leds.pins]\n{pins}\n[mute]\nbutton_pin = {BUTTON}'
    with other_lights(board, settings, **environment):
        begin_to_listen(board)
        board.until(f"grep -q ' {PINS['listening']} 1' {WRITTEN}")
        began_s = uptime_s(board)
        [heard] = hear(board, "kettle")
        board.until("sleep 6")  # what was heard last stays for five seconds
        shown = {name for at_s, name, is_lit in lights(board, WRITTEN, NAMES) if is_lit and at_s >= began_s}
        assert ("uncertain" if heard["uncertain"] else heard["label"]) in shown
        assert not {"starting", "muted", "fault"} & shown
        press(board)
        try:
            board.until(f"grep -q closed {CAPTURED} && grep -q ' {PINS['muted']} 1' {WRITTEN}")
            press(board)
            board.until(f"! grep -q closed {CAPTURED}")
        finally:
            board.run("rm -f /var/lib/tonelight/mute")
        begin_to_listen(board)
        board.run("systemctl stop tonelight")
        board.until("sleep 1")
        level = {name: is_lit for _, name, is_lit in lights(board, WRITTEN, NAMES) if name != "button"}
        assert not any(level.values()), level
        assert not re.search("Traceback|WARNING|ERROR", said_since(board, began_s))


@pytest.fixture
def led(board: Machine) -> Iterator[str]:
    """The name of an LED that the kernel drives; its brightness is written down."""
    name = "board:status"
    board.run(f"modprobe uleds; python3 /board/uled.py {name} {BRIGHTNESS} >/dev/null 2>&1 & echo $! >/run/board/uled")
    board.until(f"test $(stat -c %G /sys/class/leds/{name}/brightness) = gpio")  # by the rule that came with tonelight
    yield name
    board.run("kill $(cat /run/board/uled)")


def test_an_led_of_the_kernel_is_dimmed_within_the_sandbox(board: Machine, led: str) -> None:
    with other_lights(board, f'[leds]\nkind = "kernel"\ndevice = "{led}"'):
        begin_to_listen(board)
        began_s = uptime_s(board)
        hear(board, "kettle")
        levels = [(float(at), int(value)) for at, value in map(str.split, board.run(f"cat {BRIGHTNESS}").splitlines())]
        assert len({value for at, value in levels if at >= began_s}) > 3
        assert max(value for _, value in levels) <= 255
        board.run("systemctl stop tonelight")
        board.until(f"tail -n 1 {BRIGHTNESS} | grep -q ' 0$'")
        assert not re.search("Traceback|WARNING|ERROR", said_since(board, began_s))
