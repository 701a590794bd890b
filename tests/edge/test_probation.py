"""A bundle with which the daemon does not live is left by itself, however it dies; and one always listens."""

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from audio_files import write
from observed import health
from signals import talk
from signed import Maker, skip_unless_shipped_bundle_works

from edge.bundle import DEFAULT_BUNDLE, MODEL, load_bundle
from edge.commands.common import open_pipeline
from edge.errors import BundleError
from edge.observers import Phase
from edge.probation import HEALTHY_S, N_STARTS, Probation
from edge.store import ACTIVE, GOOD, STARTS, Store
from train_host.signing import sign


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def store(tmp_path: Path, maker: Maker) -> Store:
    """An empty store that trusts the maker."""
    keys = tmp_path / "etc" / "keys"
    keys.mkdir(parents=True)
    shutil.copy(maker.public, keys)
    return Store(tmp_path / "state" / "models", keys)


@pytest.fixture(autouse=True)
def shipped() -> None:
    skip_unless_shipped_bundle_works()


class Board:
    """Starts of the daemon's choice of a bundle, one after the other, with a clock that sound moves."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now_s = 100.0
        self.n_left = 0
        self._n_lost = 0

    def start(self) -> str:
        """Begin anew, as after a crash; return the id of the bundle that listens."""
        self.probation = Probation(self.store, self._leave, lambda: self.now_s)
        return self.probation.begin(_load)

    def _leave(self) -> None:
        self.n_left += 1

    def hear(self, seconds: float, block_s: float = 0.5) -> None:
        """So many seconds of sound, in blocks."""
        for _ in range(round(seconds / block_s)):
            self.now_s += block_s
            self.probation.on_level(-60.0, False)

    def lose(self, n_minutes: int) -> None:
        """So many minutes, each with more loss than is bearable."""
        for _ in range(n_minutes):
            self.tell(Phase.LISTENING, n_lost=self._n_lost)
            self.hear(HEALTHY_S / 2)
            self._n_lost += 10_000
            self.tell(Phase.LISTENING, n_lost=self._n_lost)
            self.hear(HEALTHY_S / 2 + 0.5)

    def tell(self, phase: Phase, n_lost: int = 0) -> None:
        """What the daemon does now."""
        self.probation.on_health(health(phase, n_lost=n_lost))


def _load(folder: Path) -> str:
    bundle = load_bundle(folder)
    open_pipeline(bundle)
    return bundle.id


@pytest.fixture
def board(store: Store) -> Board:
    return Board(store)


def damage(store: Store, bundle_id: str) -> None:
    (store.folder / bundle_id / MODEL).write_bytes(b"")


def test_without_any_bundle_nothing_is_written(board):
    assert board.start() == DEFAULT_BUNDLE
    board.hear(2 * HEALTHY_S)
    board.probation.end()
    assert not board.store.folder.exists()


def test_good_after_enough_sound(board, maker):
    board.store.install(maker.make("1.0.0"))
    assert board.start() == "test-1.0.0"
    board.hear(HEALTHY_S - 1)
    assert (board.store.good, board.store.starts) == (None, 1)
    board.hear(2)
    assert (board.store.good, board.store.starts) == ("test-1.0.0", 0)
    for _ in range(2 * N_STARTS):
        assert board.start() == "test-1.0.0"
    assert board.store.starts == 0


def test_time_without_sound_does_not_count(board, maker):
    board.store.install(maker.make("1.0.0"))
    board.start()
    for _ in range(10):
        board.now_s += HEALTHY_S  # the microphone was away
        board.hear(1)
    assert board.store.good is None


@pytest.mark.parametrize("good", ["test-1.0.0", DEFAULT_BUNDLE])
def test_back_after_three_starts(good, board, maker, caplog):
    if good != DEFAULT_BUNDLE:
        board.store.install(maker.make("1.0.0"))
        board.store.mark_good(good)
    board.store.install(maker.make("1.1.0"))
    for number in range(N_STARTS):
        assert (board.start(), board.store.starts) == ("test-1.1.0", number + 1)
        board.hear(HEALTHY_S / 2)
    assert board.start() == good
    assert caplog.records[-1].getMessage() == f"test-1.1.0 did not get through 3 starts: back to {good}"
    assert (board.store.active or DEFAULT_BUNDLE, board.store.failed, board.store.starts) == (good, "test-1.1.0", 0)
    assert board.store.installed()[-1] == "test-1.1.0"
    for _ in range(2 * N_STARTS):
        assert board.start() == good


def test_back_past_a_good_one_that_is_damaged(board, maker, caplog):
    board.store.install(maker.make("1.0.0"))
    board.store.mark_good("test-1.0.0")
    board.store.install(maker.make("1.1.0"))
    damage(board.store, "test-1.0.0")
    assert [board.start() for _ in range(N_STARTS + 1)] == ["test-1.1.0"] * N_STARTS + [DEFAULT_BUNDLE]
    assert "passed over: " in caplog.text and "test-1.0.0/model.tflite is damaged" in caplog.text


def test_an_end_in_good_order_does_not_count(board, maker):
    board.store.install(maker.make("1.0.0"))
    for _ in range(2 * N_STARTS):
        assert board.start() == "test-1.0.0"
        board.hear(1)
        board.probation.end()
        assert board.store.starts == 0


@pytest.mark.parametrize("phase", [Phase.MUTED, Phase.FAULT])
def test_a_plug_that_is_pulled_while_nothing_is_heard_does_not_count(phase, board, maker):
    board.store.install(maker.make("1.0.0"))
    for _ in range(2 * N_STARTS):
        assert board.start() == "test-1.0.0"
        board.tell(Phase.STARTING)
        assert board.store.starts == 1  # should it hang with the bundle
        board.tell(phase)
        assert board.store.starts == 0
    board.probation.end()
    assert board.store.starts == 0
    for number in range(1, N_STARTS + 1):  # unmuted, and each time it dies with the first sound
        assert (board.start(), board.store.starts) == ("test-1.0.0", number)
        for now in (phase, Phase.STARTING, Phase.LISTENING):
            board.tell(now)
        assert board.store.starts == number
    assert board.start() == DEFAULT_BUNDLE


def test_one_with_which_sound_is_lost_is_left_while_the_daemon_goes_on(board, maker, caplog):
    board.store.install(maker.make("1.0.0"))
    assert board.start() == "test-1.0.0"
    for number in range(1, N_STARTS):
        board.lose(1)
        assert (board.store.good, board.store.starts, board.n_left) == (None, number, 0)
    board.lose(1)
    assert (board.store.active, board.store.failed, board.store.starts) == (None, "test-1.0.0", 0)
    assert board.n_left == 1
    assert caplog.text.count("stays on probation: 0.6 s of a minute of sound were lost; is it too") == 1
    assert f"test-1.0.0 loses too much sound: back to {DEFAULT_BUNDLE}" in caplog.text
    assert board.probation.begin(_load) == DEFAULT_BUNDLE  # as at a reload
    board.lose(N_STARTS)
    board.probation.end()
    assert (board.store.active, board.store.starts, board.n_left) == (None, 0, 1)


def test_minutes_with_loss_and_starts_count_alike(board, maker):
    board.store.install(maker.make("1.0.0"))
    for number in range(1, N_STARTS + 1):
        assert (board.start(), board.store.starts) == ("test-1.0.0", number)
        if number < N_STARTS:
            board.lose(1)
            board.probation.end()  # an end in good order, but not a good one
            assert board.store.starts == number
    board.lose(1)
    assert (board.n_left, board.store.failed) == (1, "test-1.0.0")


def test_one_that_is_lost_sound_with_while_another_is_activated_is_not_left_for_that(board, maker):
    board.store.install(maker.make("1.0.0"))
    board.start()
    board.lose(N_STARTS - 1)
    board.store.install(maker.make("1.1.0"))
    board.lose(N_STARTS)
    assert (board.store.active, board.store.failed, board.n_left) == ("test-1.1.0", None, 0)


def test_one_that_loses_no_more_becomes_good(board, maker):
    board.store.install(maker.make("1.0.0"))
    board.start()
    board.tell(Phase.LISTENING, n_lost=500_000)  # with the one before a reload
    board.hear(HEALTHY_S / 2)
    board.tell(Phase.LISTENING, n_lost=600_000)
    board.hear(HEALTHY_S / 2 + 1)
    assert board.store.good is None
    board.tell(Phase.LISTENING, n_lost=600_000 + 9_000)
    board.hear(HEALTHY_S + 1)
    assert (board.store.good, board.store.starts) == ("test-1.0.0", 0)


def test_one_that_cannot_be_loaded(board, maker):
    board.store.install(maker.make("1.0.0"))
    board.store.mark_good("test-1.0.0")
    board.store.install(maker.make("1.1.0"))
    damage(board.store, "test-1.1.0")
    for number in range(1, N_STARTS + 1):
        with pytest.raises(BundleError, match=rf"model\.tflite is damaged .*\(start {number} of 3; after the last"):
            board.start()
    assert board.start() == "test-1.0.0"


def test_a_good_one_that_cannot_be_loaded_any_more(board, maker):
    board.store.install(maker.make("1.0.0"))
    board.store.mark_good("test-1.0.0")
    damage(board.store, "test-1.0.0")
    for _ in range(N_STARTS):
        with pytest.raises(BundleError, match="is damaged"):
            board.start()
    assert board.start() == DEFAULT_BUNDLE
    assert (board.store.active, board.store.good, board.store.failed) == (None, None, "test-1.0.0")


def test_a_good_one_may_have_a_bad_day(board, maker):
    board.store.install(maker.make("1.0.0"))
    board.store.mark_good("test-1.0.0")
    model = board.store.folder / "test-1.0.0" / MODEL
    whole = model.read_bytes()
    for _ in range(2):
        model.write_bytes(b"")
        with pytest.raises(BundleError, match="start 1 of 3"):
            board.start()
        model.write_bytes(whole)
        assert (board.start(), board.store.starts) == ("test-1.0.0", 0)


def test_a_bundle_whose_folder_is_gone(board, maker):
    board.store.install(maker.make("1.0.0"))
    shutil.rmtree(board.store.folder / "test-1.0.0")
    for _ in range(N_STARTS):
        with pytest.raises(BundleError, match=r"test-1\.0\.0 does not exist"):
            board.start()
    assert board.start() == DEFAULT_BUNDLE


def test_activating_it_again_gives_it_another_chance(board, maker):
    board.store.install(maker.make("1.0.0"))
    for _ in range(N_STARTS + 1):
        board.start()
    assert (board.store.active, board.store.failed) == (None, "test-1.0.0")
    board.store.activate("test-1.0.0")
    assert (board.store.failed, board.store.starts) == (None, 0)
    assert board.start() == "test-1.0.0"
    board.hear(HEALTHY_S + 1)
    assert board.store.good == "test-1.0.0"


def test_starts_of_another_bundle_do_not_count(board, maker):
    board.store.install(maker.make("1.0.0"))
    for _ in range(N_STARTS):
        board.start()
    board.store.install(maker.make("1.1.0"))
    assert board.store.starts == 0
    (board.store.folder / STARTS).write_text("test-1.0.0 3")  # a cut may leave it
    assert board.start() == "test-1.1.0"


def test_another_one_is_activated_meanwhile(board, maker):
    board.store.install(maker.make("1.0.0"))
    board.start()
    board.store.install(maker.make("1.1.0"))
    board.hear(2 * HEALTHY_S)
    assert (board.store.active, board.store.good) == ("test-1.1.0", None)


def test_what_comes_of_this_one_does_not_count_for_another_that_is_activated_meanwhile(board, maker):
    board.store.install(maker.make("1.0.0"))
    board.start()
    board.start()
    board.store.install(maker.make("1.1.0"))
    board.tell(Phase.MUTED)
    assert board.store.starts == 0
    board.tell(Phase.LISTENING)
    board.probation.end()
    assert board.store.starts == 0


def test_what_a_cut_left_of_a_count_is_in_nobodys_way(board, maker):
    board.store.install(maker.make("1.0.0"))
    # stands for a file that the service may not write, which root in a test may
    (board.store.folder / f".{STARTS}").symlink_to("/nowhere/at-all")
    assert (board.start(), board.store.starts) == ("test-1.0.0", 1)


@pytest.mark.parametrize("content", ["", "nonsense", "test-1.0.0 many", "test-1.0.0 ", "\x00" * 20])
def test_a_count_that_cannot_be_read_is_none(content, board, maker):
    board.store.install(maker.make("1.0.0"))
    (board.store.folder / STARTS).write_text(content)
    assert (board.start(), board.store.starts) == ("test-1.0.0", 1)


# A broken store -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [ACTIVE, GOOD, STARTS])
def test_a_folder_in_place_of_a_link(name, board, maker, caplog):
    board.store.install(maker.make("1.0.0"))
    (board.store.folder / name).unlink(missing_ok=True)
    (board.store.folder / name).mkdir()
    assert board.start() == DEFAULT_BUNDLE
    assert f"models/{name}" in caplog.records[-2].getMessage()
    assert caplog.records[-1].getMessage() == (
        f"{DEFAULT_BUNDLE}, which comes with tonelight, listens until that is mended"
    )
    board.hear(2 * HEALTHY_S)
    board.probation.end()


def test_a_file_in_place_of_the_store(board):
    board.store.folder.parent.mkdir()
    board.store.folder.write_text("mine")
    assert board.start() == DEFAULT_BUNDLE
    assert board.store.folder.read_text() == "mine"


def test_a_store_that_cannot_be_written_runs_what_is_active(board, maker, caplog):
    board.store.install(maker.make("1.0.0"))
    (board.store.folder / ".lock").unlink()
    (board.store.folder / ".lock").mkdir()
    assert board.start() == "test-1.0.0"
    assert "the probation of test-1.0.0 cannot be noted: " in caplog.text
    n_told = len(caplog.records)
    board.hear(5 * HEALTHY_S)
    assert len(caplog.records) == n_told  # once is enough
    damage(board.store, "test-1.0.0")
    assert board.start() == DEFAULT_BUNDLE


# Real daemons ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def environ(tmp_path: Path, store: Store) -> dict[str, str]:
    """Of a service on this board; its microphone plays ten minutes of talk, its log is in the state folder."""
    (tmp_path / "etc" / "config.toml").write_text("")
    return os.environ | {
        "STATE_DIRECTORY": str(store.folder.parent),
        "CONFIGURATION_DIRECTORY": str(store.keys.parent),
        "XDG_CONFIG_HOME": str(tmp_path / "nothing"),
    }


def daemon(folder: Path, environ: dict[str, str]) -> subprocess.Popen:
    argv = ["run", "--config", folder / "etc/config.toml", "--source", folder / "talk.wav"]
    command = [sys.executable, "-m", "edge", *argv]
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def told_by(argv: list[str], environ: dict[str, str]) -> list[str]:
    done = subprocess.run([sys.executable, "-m", "edge", *argv], env=environ, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    return done.stdout.splitlines()


def test_a_daemon_that_is_killed_three_times_goes_back(tmp_path, store, maker, environ):
    write(tmp_path / "talk.wav", talk(), 16_000)
    store.install(maker.make("1.0.0"))
    store.mark_good("test-1.0.0")
    store.install(maker.make("1.1.0"))
    for number in range(1, N_STARTS + 1):
        with daemon(tmp_path, environ) as process:
            lines = []
            while not lines or "listening to" not in lines[-1]:
                lines.append(process.stderr.readline())
                assert lines[-1], lines
            process.kill()
        assert any(f"test-1.1.0 is on probation: start {number} of 3" in line for line in lines)
    with daemon(tmp_path, environ) as process:
        told = process.stderr.read()
    assert process.returncode == 0, told
    assert "ERROR test-1.1.0 did not get through 3 starts: back to test-1.0.0" in told
    assert json.loads(told_by(["history", "--json"], environ)[-1])["model"] == "test-1.0.0"
    assert "   test-1.1.0       did not get through its probation" in told_by(["model", "list"], environ)


PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["edge.probation", "edge.commands.common"])


def _live(store: Store, sources: list[Path], seed: int, told: Connection) -> None:
    """What a board does for ever: somebody installs and activates, and the daemon starts, passes and reloads."""
    logging.disable()
    rng = random.Random(seed)
    board = Board(store)
    while True:
        what = rng.randrange(4)
        try:
            if what == 0:
                store.install(rng.choice(sources), allow_downgrade=True)
            elif what == 1:
                store.activate(rng.choice([*store.installed(), DEFAULT_BUNDLE]), allow_downgrade=True)
            else:
                board.start()
                board.hear(HEALTHY_S + 5 if what == 2 else 5)
        except BundleError as error:
            assert "bad-1.0.0" in str(error), error
        told.send(what)


@pytest.mark.slow
def test_killed_at_any_moment_of_a_hundred(store, maker):
    """Whatever is being switched, counted or given up: the next start has a bundle, and nothing is half there."""
    sources = [maker.make(f"1.{minor}.0") for minor in range(4)]
    bad = maker.make("1.0.0", name="bad", signed=False)
    sign(bad, maker.key)
    store.install(sources[0])
    store.mark_good("test-1.0.0")
    rng = random.Random(3)
    n_active = set()
    for seed in range(100):
        told, child = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=_live, args=(store, [*sources, bad], seed, child))
        process.start()
        for _ in range(rng.randrange(3)):
            told.recv()
        time.sleep(rng.uniform(0.0, 0.2))
        if rng.random() < 0.3 and "bad-1.0.0" in store.installed():
            damage(store, "bad-1.0.0")
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        listens = None
        for _ in range(N_STARTS + 1):  # the daemon after the power is back
            try:
                listens = Probation(store, lambda: None).begin(_load)
                break
            except BundleError as error:
                assert "bad-1.0.0" in str(error), error
        assert listens is not None
        n_active.add(listens)
        for name in store.installed():
            if name != "bad-1.0.0":
                load_bundle(store.path(name))
        assert store.good is None or store.good in store.installed()
    assert len(n_active) > 2
