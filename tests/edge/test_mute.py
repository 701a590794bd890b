"""The mute switch: a file, a button on an emulated pin, and the commands with the real program and a real device."""

# ruff: noqa: F401, F811 (a fixture is used by its name)

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import audio_files
import pytest
from emulated_pins import gpio

from edge import config
from edge.button import N_EQUAL, Buttons, Debounce, mute_button
from edge.cli import main
from edge.clips import Clips
from edge.errors import ConfigError
from edge.health import read_report
from edge.mute import Mute
from edge.observers import Phase

PATIENCE_S = 60.0


def wait_until(condition: Callable[[], object]) -> None:
    """As long as it takes: this machine may be busy."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


# The file -------------------------------------------------------------------------------------------------------------


def test_the_switch_is_a_file_that_everybody_sees(tmp_path):
    mute, other = Mute(tmp_path / "state" / "mute"), Mute(tmp_path / "state" / "mute")
    assert not mute.is_on
    mute.set(False)  # harmless
    mute.set(True)
    mute.set(True)
    assert mute.is_on and other.is_on
    assert mute.path.read_bytes() == b""
    other.set(False)
    assert not mute.is_on


def test_what_cannot_be_seen_any_more_stays_as_it_was(tmp_path):
    """A card that fails: its folder becomes a loop of links, which not even root can look through."""
    folder = tmp_path / "state"
    for was_on in (True, False):
        folder.mkdir()
        mute = Mute(folder / "mute")
        mute.set(was_on)
        assert mute.is_on is was_on
        folder.rename(tmp_path / f"away-{was_on}")
        folder.symlink_to(folder)
        assert mute.is_on is was_on
        assert Mute(folder / "mute").is_on  # nothing is known: no ear is opened
        folder.unlink()
        (tmp_path / f"away-{was_on}").rename(tmp_path / f"back-{was_on}")


def test_a_switch_that_cannot_be_kept_moves_all_the_same_until_somebody_moves_the_file(tmp_path):
    folder = tmp_path / "state"
    mute = Mute(folder / "mute")
    folder.symlink_to(folder)
    with pytest.raises(OSError):
        mute.set(False)
    assert not mute.is_on
    with pytest.raises(OSError):
        mute.set(True)
    assert mute.is_on
    folder.unlink()
    Mute(folder / "mute").set(True)
    assert mute.is_on
    Mute(folder / "mute").set(False)
    assert not mute.is_on


# The button -----------------------------------------------------------------------------------------------------------


def presses(looks: str) -> list[int]:
    """At which looks at a contact ("d" down, "u" up) a press was seen."""
    contact = Debounce()
    return [i for i, look in enumerate(looks) if contact.push(look == "d")]


def test_a_press_counts_once_however_the_contact_bounces():
    assert N_EQUAL == 3
    assert presses("uuuudududddddddddudududuuuuuu") == [10]
    assert presses("uuuddduuuddduuu") == [5, 11]
    assert presses("uuuuduuuudduuuu") == []  # a spark is no press
    assert presses("ddddddduuuddd") == [12]  # down from the start: it was not pressed


def test_each_press_of_the_button_moves_the_switch_and_the_pin_is_given_back(gpio, tmp_path):
    mute = Mute(tmp_path / "mute")
    button = mute_button(17, mute)
    wait_until(lambda: gpio.state(17) == ("in", 1))  # pulled up
    try:
        for expected in (True, False, True):
            # down until it is seen; then up, long enough to be seen for certain
            time.sleep(0.1)
            gpio.levels[17] = 0
            wait_until(lambda expected=expected: mute.is_on is expected)
            time.sleep(0.1)  # holding it does nothing more
            assert mute.is_on is expected
            gpio.levels[17] = 1
    finally:
        button.close()
    assert gpio._use == {}


def test_the_buttons_are_those_that_were_asked_for_last(gpio, tmp_path):
    buttons = Buttons(Mute(tmp_path / "mute"), Clips(tmp_path / "clips"))
    for text, pins in (
        ("[mute]\nbutton_pin = 17\n[capture.buttons]\nhappy = 23\nsad = 24", {17, 23, 24}),
        ("[capture.buttons]\nhappy = 17", {17}),
        ("", set()),
        ("[mute]\nbutton_pin = 5", {5}),
    ):
        buttons.fit(config.parse(text, tmp_path / "config.toml"))
        wait_until(lambda pins=pins: set(gpio._use) == pins)
    buttons.close()
    assert gpio._use == {}


def test_a_button_that_cannot_be_read_is_reported_and_stops_nothing(gpio, tmp_path, caplog):
    gpio.broken.add(17)
    button = mute_button(17, Mute(tmp_path / "mute"))
    wait_until(lambda: caplog.messages)
    button.close()
    (line,) = caplog.messages
    assert line.startswith("mute.button_pin = 17: GPIO 17 cannot be read: GPIO not allocated; is this user in ")


def test_a_switch_that_cannot_be_kept_is_moved_by_the_button_too(gpio, tmp_path, caplog):
    mute = Mute(tmp_path / "file" / "mute")
    (tmp_path / "file").touch()
    button = mute_button(17, mute)
    wait_until(lambda: gpio.state(17) == ("in", 1))
    time.sleep(0.1)
    gpio.levels[17] = 0
    wait_until(lambda: mute.is_on)
    button.close()
    (line,) = caplog.messages
    assert line.startswith(f"{mute.path}: the mute switch has moved, but that cannot be kept: ")


def test_the_button_and_a_light_cannot_share_a_pin(tmp_path):
    with pytest.raises(ConfigError, match=r"mute.button_pin = 17: leds.pins.red uses it; choose another one"):
        config.parse("[mute]\nbutton_pin = 17\n[leds]\nkind = 'rgb'", tmp_path / "config.toml")
    with pytest.raises(ConfigError, match=r"mute.button_pin = 1: expected a whole number from 2 to 27"):
        config.parse("[mute]\nbutton_pin = 1", tmp_path / "config.toml")
    loaded = config.parse("[mute]\nbutton_pin = 23\n[leds]\nkind = 'rgb'", tmp_path / "config.toml")
    assert loaded.mute.button_pin == 23
    assert config.parse("", tmp_path / "config.toml").mute.button_pin is None


# The commands ---------------------------------------------------------------------------------------------------------


def test_without_a_daemon_the_switch_is_set_for_its_start(home, monkeypatch, capsys):
    monkeypatch.setattr(config, "SYSTEM_STATE", home / "no-service-here")
    assert main(["mute"]) == 0
    assert capsys.readouterr().out == "muted; tonelight does not run here now, and this holds when it starts\n"
    assert (home / "state" / "mute").exists()
    assert main(["unmute"]) == 0
    assert capsys.readouterr().out.startswith("unmuted; ")
    assert not (home / "state" / "mute").exists()


def test_a_switch_that_cannot_be_moved_is_one_line(home, capsys):
    (home / "state").write_text("a file where the folder should be")
    assert main(["mute"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"tonelight: {home}/state/mute cannot be changed: ")
    assert err.count("\n") == 1


@pytest.fixture
def murmur(tmp_path) -> Iterator[Path]:
    """A pipe in which somebody murmurs without end, at about the pace of a microphone of two channels at 44.1 kHz."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feed = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    noise = audio_files.noise(1, 44_100, 2, peak=0.01).astype("<f4").tobytes()
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.02):
            try:
                os.write(feed, noise[: 44_100 * 8 // 50])
            except BlockingIOError:  # nobody listens now
                continue

    thread = threading.Thread(target=write)
    thread.start()
    yield pipe
    stop.set()
    thread.join()
    os.close(feed)


def has_open(process: subprocess.Popen[str], path: Path) -> bool:
    """Whether `process` has the file or pipe `path` open, by what the kernel says."""
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            if link.readlink() == path:
                return True
        except OSError:
            continue
    return False


def phase(home: Path) -> Phase | None:
    report = read_report(home / "run" / "health.json")
    return None if report is None else report.health.phase


def test_mute_closes_the_device_itself_and_the_program_can_be_stopped_then(home, murmur, capsys):
    pytest.importorskip("sounddevice", exc_type=OSError, reason="needs PortAudio")
    (home / "mine.toml").write_text("[audio]\ndevice = 'desk'")
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", "run", "--config", str(home / "mine.toml")],
        env=os.environ | audio_files.write_alsa_config(home, murmur),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: phase(home) is Phase.LISTENING)
        assert has_open(process, murmur)

        assert main(["mute"]) == 0
        assert capsys.readouterr().out == "muted: the microphone is closed\n"
        assert not has_open(process, murmur)
        time.sleep(1.5)  # nor is it opened again in the meantime
        assert phase(home) is Phase.MUTED
        assert not has_open(process, murmur)

        assert main(["unmute"]) == 0
        wait_until(lambda: phase(home) is Phase.LISTENING)
        assert has_open(process, murmur)

        assert main(["mute"]) == 0
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "muted" in out  # the light
    assert "muted: nothing is captured until `tonelight unmute`" in err
    assert not (home / "run" / "health.json").exists()
    assert (home / "state" / "mute").exists()
