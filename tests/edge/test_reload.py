"""Configuration and bundle are taken over while the sound goes on; what cannot be used changes nothing."""

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
from audio_files import write
from signals import talk
from signed import Maker

from edge.bundle import CARD, load_bundle
from edge.button import Buttons
from edge.capture import CaptureSwitch
from edge.clips import Clips
from edge.commands.common import open_pipeline
from edge.config import Config
from edge.daemon import Daemon
from edge.leds import open_lights
from edge.leds.settings import LedSettings
from edge.mute import Mute
from edge.probation import HEALTHY_S, N_STARTS, Probation
from edge.recorder import Recorder
from edge.reload import Reload, Request
from edge.sources import Block, FileSource
from edge.store import Store

PATIENCE_S = 60.0  # nothing is measured by it: a test that fails ends some time


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("bundles"))


class Service:
    """A real daemon with minutes of talk as its microphone, and the service manager's end of its socket."""

    def __init__(self, folder: Path, maker: Maker) -> None:
        self.store = Store(folder / "state" / "models", folder / "keys")
        self.store.keys.mkdir()
        shutil.copy(maker.public, self.store.keys)
        self.config = folder / "config.toml"
        self.config.write_text('[leds]\nkind = "none"\n')
        self.environ = os.environ | {"STATE_DIRECTORY": str(folder / "state")}
        self.talk = write(folder / "talk.wav", np.tile(talk(), 20), 16_000)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.manager.settimeout(PATIENCE_S)
        self.lines: Queue[str] = Queue()
        self.told: list[str] = []

    def start(self, *argv: str | Path, managed: bool = True) -> None:
        environ = self.environ | ({"NOTIFY_SOCKET": self.manager.getsockname()} if managed else {})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", "--config", self.config, "--source", self.talk, *argv],
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.put(line)

    def says(self, pattern: str) -> str:
        """The next line of the log in which `pattern` is found."""
        while True:
            self.told.append(self.lines.get(timeout=PATIENCE_S))
            if re.search(pattern, self.told[-1]):
                return self.told[-1]

    def hears(self, *flags: str) -> None:
        """What the service manager is told, but for the status and that all is well: these `flags`, in this order."""
        for flag in flags:
            while (told := self.manager.recv(4096).decode()).startswith(("WATCHDOG=", "STATUS=")):
                pass
            assert re.fullmatch(flag, told)

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)
        self.hears(r"RELOADING=1\nMONOTONIC_USEC=\d+", "READY=1")

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0, self.told


@pytest.fixture
def service(tmp_path: Path, maker: Maker) -> Iterator[Service]:
    service = Service(tmp_path, maker)
    yield service
    service.process.kill()
    service.process.wait()
    service.manager.close()


def test_another_bundle_and_other_lights_while_the_sound_goes_on(service, maker):
    service.store.install(maker.make("1.0.0"))
    service.store.mark_good("test-1.0.0")
    service.start()
    service.hears("READY=1")
    service.store.install(maker.make("1.1.0", note="another"))
    service.reload()
    service.says("test-1.1.0 is on probation: start 1 of 3")
    service.says("reloaded: test-1.1.0 listens$")
    service.config.write_text('[leds]\nkind = "terminal"\n[audio]\nblock_ms = 50\n')
    service.reload()
    service.says("WARNING audio.block_ms: what changed there waits for `sudo systemctl restart tonelight`")
    service.says("reloaded: test-1.1.0 listens$")
    service.reload()
    service.says("reloaded: test-1.1.0 listens as before")
    service.end()
    service.says(r"heard \d+\.\d s of sound, \d+ stretches of speech$")
    assert sum("listening to" in line for line in service.told) == 1
    assert not [line for line in service.told if re.search("lost|ERROR|Traceback", line)]
    assert service.store.starts == 0


def test_what_cannot_be_used_is_refused(service, maker):
    service.store.install(maker.make("1.0.0"))
    service.start()
    service.hears("READY=1")
    service.config.write_text("[leds]\nkind = 'sun'\n")
    service.reload()
    service.says(r"ERROR not reloaded, test-1.0.0 listens as before: .*config\.toml: leds\.kind")
    service.config.write_text("[model]\nbundle = '/nowhere'\n")
    service.reload()
    service.says("ERROR not reloaded, test-1.0.0 listens as before: bundle /nowhere does not exist")
    service.config.unlink()
    service.reload()
    service.says(r"ERROR not reloaded, .*config\.toml: no such file")
    service.config.write_text("")
    service.store.install(maker.make("1.1.0", note="another"))
    (service.store.folder / "test-1.1.0" / CARD).write_text("Better than it is.\n")
    service.reload()
    service.says(r"ERROR not reloaded, test-1.0.0 listens as before: .*MODEL_CARD\.md is damaged")
    service.end()


def test_light_and_button_change_places(service):
    service.environ |= {"PYTHONPATH": str(Path(__file__).with_name("emulated")), "LG_WD": "/tmp"}
    here = '[leds]\nkind = "none"\n[mute]\nbutton_pin = 17\n'
    there = '[leds]\nkind = "rgb"\n[mute]\nbutton_pin = 5\n'  # red is 17
    service.config.write_text(here)
    service.start()
    service.hears("READY=1")
    for text in (there, here, there):
        service.config.write_text(text)
        service.reload()
        service.says("reloaded: .* listens$")
    service.end()
    assert not [line for line in service.told if re.search("WARNING|ERROR|Traceback", line)]


def test_limits_are_taken_over_and_the_rest_is_named_by_its_key(service):
    service.start()
    service.hears("READY=1")
    service.config.write_text(
        'node = "shelf"\nstop_after_silence_s = 0.3\n[history]\nmax_days = 7\npath = "other.db"\n'
        "[capture]\nmax_clips = 5\n[mqtt]\nport = 1884\n"
    )
    service.reload()
    service.says("WARNING node, history.path, mqtt.port: what changed there waits for `sudo systemctl restart")
    service.says("reloaded: .* listens$")
    service.says("no speech for 0.3 s: the end")
    assert service.process.wait(PATIENCE_S) == 0


def test_a_closed_terminal_is_an_end_in_good_order(service, maker):
    service.store.install(maker.make("1.0.0"))
    service.start(managed=False)
    service.says("listening to")
    service.process.send_signal(signal.SIGHUP)
    assert service.process.wait(PATIENCE_S) == 0
    service.says("heard ")
    assert service.store.starts == 0


class Lossy(FileSource):
    """A microphone, as it is to somebody who is too slow for it, and the clock of such a daemon."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, block_ms=500)
        self._now_s = 0.0

    def read(self, timeout_s: float) -> Block | None:
        block = super().read(timeout_s)
        self._now_s += 0.5
        return None if block is None else Block(block.samples, lost=200)

    def monotonic(self) -> float:
        return self._now_s

    def now(self) -> datetime:
        return datetime.now(timezone.utc)


def test_a_bundle_that_is_too_slow_is_left_and_the_microphone_stays_open(tmp_path, maker, caplog):
    caplog.set_level(logging.INFO, "edge")
    store = Store(tmp_path / "models", tmp_path / "keys")
    store.keys.mkdir()
    shutil.copy(maker.public, store.keys)
    store.install(maker.make("1.0.0"))
    store.mark_good("test-1.0.0")
    store.install(maker.make("1.1.0"))

    def opened(config):
        return probation.begin(lambda folder: (load_bundle(folder), open_pipeline(load_bundle(folder))))

    wanted, request = Config(leds=LedSettings(kind="none")), Request()
    minutes = N_STARTS * HEALTHY_S + 10
    source = Lossy(write(tmp_path / "quiet.wav", np.zeros(round(16_000 * minutes)), 16_000))
    probation = Probation(store, request.make, source.monotonic)
    bundle, pipeline = opened(wanted)
    assert bundle.id == "test-1.1.0"
    clips = Clips(tmp_path / "clips")
    lights = open_lights(wanted.leds)
    recorder = Recorder(CaptureSwitch(tmp_path / "capture"), clips, wanted.capture, has_view=False)
    n_opened = 0

    def open_source():
        nonlocal n_opened
        n_opened += 1
        return source

    daemon = Daemon(
        open_source=open_source,
        pipeline=pipeline,
        lights=lights,
        history=None,
        clock=source,
        stop=threading.Event(),
        node="desk",
        model=bundle.id,
        observers=[probation],
        reload=Reload(
            request,
            loaded=wanted,
            bundle=bundle,
            lights=lights,
            buttons=Buttons(Mute(tmp_path / "mute"), clips),
            history=None,
            recorder=recorder,
            read=lambda: wanted,
            look=lambda config: load_bundle(store.active_path),
            open_bundle=opened,
        ),
    )
    daemon.run()
    assert (store.active, store.failed, store.starts) == ("test-1.0.0", "test-1.1.0", 0)
    assert "reloaded: test-1.0.0 listens" in caplog.messages
    assert n_opened == 1
