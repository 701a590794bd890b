"""`tonelight-train deploy` to boards with a real sshd, a real `tonelight` and a real daemon each."""

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import pytest
from rich.console import Console
from signed import Maker, skip_unless_shipped_bundle_works
from ssh_boards import Network, SshBoard, until

from edge.bundle import DEFAULT_BUNDLE, MODEL
from edge.health import Report
from edge.observers import Health, Phase
from train_host.cli import main
from train_host.deploy import Limits, Package, Result, Watch, deploy, pack
from train_host.deploy_command import choose, read_inventory, summarise
from train_host.deploy_ssh import Board
from train_host.errors import DeployError
from train_host.signing import keygen, sign

LIMITS = Limits(steady_s=2.0, healthy_s=40.0, poll_s=0.2)
SHORT = Limits(steady_s=2.0, healthy_s=6.0, poll_s=0.2)


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    skip_unless_shipped_bundle_works()
    return Maker(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def packed(maker: Maker) -> Package:
    return pack(maker.make("1.0.0"))


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    for name in ("NOTIFY_SOCKET", "JOURNAL_STREAM"):
        monkeypatch.delenv(name, raising=False)
    network = Network(tmp_path, monkeypatch)
    yield network
    network.close()


@pytest.fixture
def board(network: Network, maker: Maker) -> SshBoard:
    """A board on which nothing runs yet."""
    return network.board("kitchen", maker.public)


class Seen:
    """A view that keeps what it was shown, and acts at a step."""

    def __init__(self, at: dict[str, Callable[[], None]] | None = None) -> None:
        self.steps: list[tuple[str, str]] = []
        self.results: list[Result] = []
        self.notes: list[str] = []
        self._at = at or {}
        self._lock = threading.Lock()

    def step(self, board: Board, step: str) -> None:
        with self._lock:
            self.steps.append((board.name, step))
            act = self._at.pop(step, None)
        if act:
            act()

    def result(self, result: Result) -> None:
        self.results.append(result)

    def note(self, text: str) -> None:
        self.notes.append(text)


def to(board: SshBoard, package: Package, limits: Limits = LIMITS, view: Seen | None = None, **more) -> Result:
    [result] = deploy(package, [board.entry], view or Seen(), limits=limits, **more)
    return result


def listens(board: SshBoard) -> str:
    """What the daemon on the board says that it listens with."""
    return json.loads((board.folder / "run" / "health.json").read_text())["health"]["model"]


def clean(board: SshBoard) -> bool:
    """Nothing was left behind on the way."""
    return not list((board.folder / "tmp").iterdir()) and not list(board.store.folder.glob(".incoming-*"))


def test_copied_taken_up_watched_and_then_left_alone(board, packed):
    board.start()
    seen = Seen()
    result = to(board, packed, view=seen)
    assert (result.outcome, result.before, result.now, result.message) == ("done", DEFAULT_BUNDLE, packed.id, "")
    steps = list(dict.fromkeys(step.partition(" ")[0] for _, step in seen.steps))
    assert steps == ["connecting", "looking", "copying", "installing", "taking", "watching"]
    assert listens(board) == board.store.active == packed.id
    assert clean(board)
    journal = board.journal
    again = Seen()
    result = to(board, packed, view=again)
    assert (result.outcome, result.before, result.now, result.message) == ("already", packed.id, packed.id, "")
    assert [step for _, step in again.steps] == ["connecting", "looking"]
    assert board.journal == journal


def test_where_nothing_runs_it_waits_for_the_start(board, packed):
    result = to(board, packed)
    assert (result.outcome, result.now) == ("installed", packed.id)
    assert "sudo systemctl start tonelight" in result.message
    assert to(board, packed).outcome == "already"
    board.store.folder.joinpath(packed.id, MODEL).write_bytes(b"")  # a card gone bad
    assert to(board, packed).outcome == "installed"
    assert board.store.verify(board.store.folder / packed.id).bundle.id == packed.id


@pytest.mark.slow
def test_what_was_installed_and_not_taken_up_is_taken_up_by_the_next_call(board, maker, packed):
    board.start()
    board.store.install(_unpacked(maker, packed))
    assert listens(board) == DEFAULT_BUNDLE
    seen = Seen()
    assert to(board, packed, view=seen).outcome == "done"
    assert not any("copying" in step for _, step in seen.steps)
    assert listens(board) == packed.id


def _unpacked(maker: Maker, package: Package) -> Path:
    """The folder that `package` was made of."""
    [folder] = [
        path for path in maker.folder.glob(f"*/{package.id}") if pack(path).manifest_sha256 == package.manifest_sha256
    ]
    return folder


@pytest.mark.slow
def test_not_well_after_the_switch(board, maker, packed):
    board.start()
    assert to(board, packed).outcome == "done"
    later = pack(maker.make("1.1.0"))
    # a card that goes bad between the installation and the reload
    board.script("before-reload", f'#!/bin/sh\n: >"{board.store.folder}/{later.id}/{MODEL}"\n')
    result = to(board, later, SHORT)
    assert (result.outcome, result.before, result.now) == ("rolled back", packed.id, packed.id)
    assert f"{packed.id} still listens: {later.id} was not taken up; {packed.id} listens again" in result.message
    assert listens(board) == board.store.active == packed.id
    assert "not reloaded" in board.journal


@pytest.mark.slow
def test_a_board_that_was_quicker_to_go_back(board, packed):
    board.start()
    board.script("before-reload", f'#!/bin/sh\n: >"{board.store.folder}/{packed.id}/{MODEL}"\n')
    tonelight = f'{sys.executable} -m edge "$@"'
    board.script(
        "bin/tonelight",
        f'#!/bin/sh\n[ "$2" = rollback ] || exec {tonelight}\n{tonelight}\necho "was left meanwhile" >&2\nexit 1\n',
    )
    result = to(board, packed, SHORT)
    assert (result.outcome, result.now) == ("rolled back", DEFAULT_BUNDLE), result.message


@pytest.mark.slow
def test_a_daemon_that_dies_after_the_switch(board, packed):
    board.start()
    board.script(
        "before-reload",
        '#!/bin/sh\n(sleep 1; until grep -q test-1.0.0 "$BOARD/run/health.json"; do sleep 0.1; done; sleep 1; '
        'kill -9 "$(cat "$BOARD/pid")") >/dev/null 2>&1 &\n',
    )
    result = to(board, packed, Limits(steady_s=20.0, healthy_s=40.0, poll_s=0.2))
    assert (result.outcome, result.now) == ("rolled back", DEFAULT_BUNDLE)
    assert f"tonelight ended with {packed.id} and was started again" in result.message
    assert listens(board) == DEFAULT_BUNDLE
    assert board.store.active is None


@pytest.mark.slow
def test_what_the_board_refuses_is_told_in_its_words(board, maker, packed, tmp_path):
    for folder, words in (
        (_stranger(maker, tmp_path), r"bundle test-2\.0\.0 is signed by key \w+, which this board was not given"),
        (_signed_before_a_change(maker), r"bundle test-2\.0\.1: its manifest is not the one that key"),
    ):
        result = to(board, pack(folder))
        assert (result.outcome, result.now) == ("failed", DEFAULT_BUNDLE)
        _matches(words, result.message)
    assert to(board, packed).outcome == "installed"
    result = to(board, pack(maker.make("0.9.0")))
    assert (result.outcome, result.now) == ("failed", packed.id)
    _matches(r"bundle test-0\.9\.0 is older than test-1\.0\.0, the active one.*--allow-downgrade", result.message)
    result = to(board, pack(maker.make("0.9.0")), allow_downgrade=True)
    assert (result.outcome, result.now) == ("installed", "test-0.9.0"), result.message
    result = to(board, pack(maker.make("0.9.0", note="another")))
    _matches(r"another bundle test-0\.9\.0 is here already", result.message)
    assert clean(board)


def _matches(pattern: str, text: str) -> None:
    assert re.search(pattern, text) and "\n" not in text, text


def _stranger(maker: Maker, folder: Path) -> Path:
    bundle = maker.make("2.0.0", signed=False)
    sign(bundle, keygen(folder / "stranger")[0])
    return bundle


def _signed_before_a_change(maker: Maker) -> Path:
    bundle = maker.make("2.0.1")
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"commit": "after"}))
    return bundle


def test_damaged_on_the_way(board, packed):
    tar = shutil.which("tar")
    board.script(
        "bin/tar", f'#!/bin/sh\n{tar} "$@" && printf x | dd of="$4/{packed.id}/{MODEL}" conv=notrunc 2>/dev/null\n'
    )
    result = to(board, packed)
    assert (result.outcome, result.now) == ("failed", DEFAULT_BUNDLE)
    _matches(rf"{packed.id}/{MODEL} is damaged or was changed", result.message)
    assert clean(board)


@pytest.mark.parametrize("step", ["copying", "installing", "taking it up"])
def test_a_connection_that_is_cut(step, board, packed):
    result = to(board, packed, view=Seen({step: board.unplug}))
    assert result.outcome == "failed"
    _matches("it goes on listening, .*deploy again to go on", result.message)
    board.listen()
    until(lambda: clean(board))
    result = to(board, packed)
    assert result.outcome in ("installed", "already")
    assert board.store.active == packed.id
    assert board.store.verify(board.store.folder / packed.id)


def test_a_connection_that_comes_back_while_it_is_watched(board, packed):
    board.start()
    result = to(board, packed, view=Seen({"watching": board.cut}))
    assert (result.outcome, result.now) == ("done", packed.id)


def test_a_board_that_is_not_there(board, packed):
    board.unplug()
    _matches(r"it cannot be reached \(.*Connection refused\); is it on", to(board, packed).message)


@pytest.mark.parametrize("first", [0, 3])
def test_a_disk_that_is_full_here(first, board, packed, monkeypatch):
    """No room for what ssh says: at once, or when the board was begun."""
    n_before = first

    def temporary() -> IO[bytes]:
        nonlocal n_before
        n_before -= 1
        if n_before < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return TemporaryFile()

    monkeypatch.setattr("train_host.deploy_ssh.TemporaryFile", temporary)
    # all in one wave, one at a time: what waits is not begun either
    others = [Board(name, "nobody.invalid") for name in ("hall", "attic")]
    seen = Seen()
    results = deploy(packed, [board.entry, *others], seen, n_canaries=0, n_parallel=1, limits=LIMITS)
    assert [result.outcome for result in results] == ["failed", "untouched", "untouched"]
    assert seen.results == results
    _matches("^No space left on device, on this machine and not there; mend that", results[0].message)
    assert results[0].message.endswith("deploy again to go on") == (first > 0)
    assert board.store.active is None


def test_an_ssh_that_may_not_be_run(packed, tmp_path, monkeypatch):
    (tmp_path / "ssh").write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    [result] = deploy(packed, [Board("kitchen", "nobody.invalid")], Seen(), limits=LIMITS)
    assert (result.outcome, result.message.partition(";")[0]) == ("failed", "ssh may not be run here")


def test_host_keys(board, packed):
    board.unplug()
    board.new_host_key()
    board.listen()
    result = to(board, packed)
    assert (result.outcome, result.before) == ("failed", None)
    way_out = f"ssh-keygen -R '[127.0.0.1]:{board.port}', then `ssh -p {board.port} 127.0.0.1` once by hand"
    assert "its host key has changed" in result.message and way_out in result.message
    known = board.network.known_hosts
    known.write_text("")
    result = to(board, packed)
    assert f"its host key is not known here; `ssh -p {board.port} 127.0.0.1` once by hand" in result.message
    assert known.read_text() == ""
    assert board.store.installed() == []
    board.know()
    assert to(board, packed).outcome == "installed"


def test_a_user_it_does_not_know(board, packed):
    (board.network.folder / "id.pub").write_text("")
    result = to(board, packed)
    assert "it lets nobody in without a password; ssh-copy-id -p" in result.message


def test_boards_without_tonelight_or_with_a_bundle_of_their_own(board, packed):
    (board.folder / "config" / "tonelight" / "config.toml").write_text("[model]\nbundle = '/srv/mine'\n")
    assert "model.bundle is set there: /srv/mine would listen" in to(board, packed).message
    (board.folder / "config" / "tonelight" / "config.toml").write_text("[model]\nbundel = ''\n")
    assert "unknown key model.bundel" in to(board, packed).message
    board.script("bin/tonelight", "#!/bin/sh\necho 'usage: tonelight' >&2\nexit 2\n")
    assert "too old" in to(board, packed).message
    (board.folder / "bin" / "tonelight").unlink()
    if shutil.which("tonelight", path="/usr/local/bin:/usr/bin:/bin") is None:
        assert "tonelight is not installed there" in to(board, packed).message


def test_sudo_that_would_ask(board, packed):
    # as a user that is not root, with a sudo that wants a password
    board.script("bin/id", "#!/bin/sh\necho 1000\n")
    board.script("bin/sudo", "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    entry = Board("kitchen", "127.0.0.1", port=board.port)
    [result] = deploy(packed, [entry], Seen(), limits=LIMITS)
    assert "sudo asks for a password there" in result.message
    board.script("bin/sudo", '#!/bin/sh\n[ "$1" = -n ] && shift && exec "$@"\n')
    [result] = deploy(packed, [entry], Seen(), limits=LIMITS)
    assert result.outcome == "installed"


def test_a_full_disk(board, packed):
    if os.geteuid() != 0:
        pytest.skip("needs root, for a file system of its own")
    state = board.folder / "state"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", state], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        result = to(board, packed)
        assert (result.outcome, result.now) == ("failed", DEFAULT_BUNDLE)
        _matches("its disk is full: 0.1 MB free", result.message)
    finally:
        subprocess.run(["umount", state], check=True)


@pytest.mark.slow
def test_one_of_three_fails_and_the_rest_are_not_touched(network, maker, packed):
    boards = [network.board(name, maker.public) for name in ("a", "b", "c")]
    entries = [board.entry for board in boards]
    shutil.rmtree(boards[1].folder / "etc" / "keys")
    results = deploy(packed, entries, Seen(), n_canaries=0, n_parallel=1, limits=LIMITS)
    assert [result.outcome for result in results] == ["installed", "failed", "untouched"]
    assert [board.store.active for board in boards] == [packed.id, None, None]
    shutil.copytree(boards[0].folder / "etc" / "keys", boards[1].folder / "etc" / "keys")
    boards[0].start()
    results = deploy(packed, entries, Seen(), limits=LIMITS)
    assert [result.outcome for result in results] == ["already", "installed", "installed"]


@pytest.mark.slow
def test_the_canary_goes_alone(network, maker, packed):
    boards = [network.board(name, maker.public) for name in ("a", "b", "c")]
    boards[0].start()
    seen = Seen()
    deploy(packed, [board.entry for board in boards], seen, limits=LIMITS)
    names = [name for name, _ in seen.steps]
    assert set(names[: names.count("a")]) == {"a"}
    shutil.rmtree(boards[0].folder / "etc" / "keys")
    results = deploy(pack(maker.make("1.2.0")), [board.entry for board in boards], seen, limits=LIMITS)
    assert [result.outcome for result in results] == ["failed", "untouched", "untouched"]


def test_a_canary_that_does_not_run_is_no_proof(network, maker, packed):
    boards = [network.board(name, maker.public) for name in ("a", "b")]
    entries = [board.entry for board in boards]
    for outcome in ("installed", "already"):
        seen = Seen()
        results = deploy(packed, entries, seen, limits=LIMITS)
        assert [result.outcome for result in results] == [outcome, "untouched"]
        [note] = seen.notes
        _matches(
            r"no other board is begun: a has heard no sound with test-1\.0\.0 \(.*systemctl start tonelight\)", note
        )
        assert "name another board first, or --canary 0" in note
    assert boards[1].store.active is None
    seen = Seen()
    results = deploy(packed, entries, seen, n_canaries=2, limits=LIMITS)  # there are no others that it could speak for
    assert ([result.outcome for result in results], seen.notes) == (["already", "installed"], [])


@pytest.mark.slow
def test_a_canary_that_is_muted_is_no_proof(network, maker, packed):
    boards = [network.board(name, maker.public) for name in ("a", "b")]
    entries = [board.entry for board in boards]
    boards[0].start()
    tonelight = boards[0].folder / "bin" / "tonelight"
    subprocess.run([tonelight, "mute"], env=os.environ | boards[0].environ, check=True)
    for outcome in ("done", "already"):
        seen = Seen()
        results = deploy(packed, entries, seen, limits=LIMITS)
        assert [result.outcome for result in results] == [outcome, "untouched"]
        assert results[0].message == "it is muted: sudo tonelight unmute"
        [note] = seen.notes
        assert "a has heard no sound" in note and results[0].message in note
    subprocess.run([tonelight, "unmute"], env=os.environ | boards[0].environ, check=True)
    results = deploy(packed, entries, Seen(), limits=LIMITS)
    assert [result.outcome for result in results] == ["already", "installed"]


def test_the_command(network, maker, packed, tmp_path, capsys):
    boards = [network.board(name, maker.public) for name in ("a", "b")]
    inventory = tmp_path / "boards.toml"
    inventory.write_text(
        "".join(f'[boards.{b.entry.name}]\nhost = "127.0.0.1"\nport = {b.port}\nsudo = false\n' for b in boards)
    )
    bundle = str(_unpacked(maker, packed))
    assert main(["deploy", bundle, "b", "--inventory", str(inventory), "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["ok"], told["bundle"]) == (True, packed.id)
    assert [(b["board"], b["outcome"], b["now"]) for b in told["boards"]] == [("b", "installed", packed.id)]
    assert err.startswith("b: installed: the service does not run there")
    shutil.rmtree(boards[0].folder / "etc" / "keys")
    assert main(["deploy", bundle, "--inventory", str(inventory)]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"a: failed: bundle {packed.id} is signed by key ") and err.count("\n") == 1
    lines = out.splitlines()
    assert lines[1].split() == ["a", "failed", DEFAULT_BUNDLE, DEFAULT_BUNDLE, lines[1].split()[-1]]
    assert lines[2].split() == ["b", "untouched"]
    assert lines[3].startswith(f"0 of 2 boards have {packed.id}; mend what failed")


@pytest.mark.parametrize(
    ("outcome", "rest"), [("installed", "; deploy again"), ("failed", "; mend what failed and deploy")]
)
def test_the_last_line_asks_to_mend_only_what_failed(outcome, rest):
    out = io.StringIO()
    results = [Result("a", outcome, None, None, "", 1.0), Result("b", "untouched", None, None, "", 0.0)]
    summarise(results, "test-1.0.0", Console(file=out))
    assert f"of 2 boards have test-1.0.0{rest}" in out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("n_interrupts", [1, 2])
def test_interrupted(n_interrupts, network, maker, packed):
    boards = [network.board(name, maker.public) for name in ("a", "b")]
    boards[0].start()
    inventory = network.folder / "boards.toml"
    inventory.write_text(
        "".join(f'[boards.{b.entry.name}]\nhost = "127.0.0.1"\nport = {b.port}\nsudo = false\n' for b in boards)
    )
    command = [sys.executable, "-m", "train_host.cli", "deploy", str(_unpacked(maker, packed)), "--json"]
    with (network.folder / "err").open("wb") as err:
        process = subprocess.Popen([*command, "--inventory", inventory], stdout=subprocess.PIPE, stderr=err, text=True)
    said = network.folder / "err"
    until(lambda: listens(boards[0]) == packed.id)  # and is being watched
    process.send_signal(signal.SIGINT)
    until(lambda: "boards that were begun are finished" in said.read_text())
    if n_interrupts == 2:
        process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert "Traceback" not in said.read_text()
    if n_interrupts == 1:
        assert process.returncode == 1
        assert [board["outcome"] for board in json.loads(out)["boards"]] == ["done", "untouched"]
    else:
        assert (process.returncode, out) == (130, "")
    assert listens(boards[0]) == packed.id
    assert boards[1].store.active is None


def test_an_unsigned_or_damaged_bundle_goes_nowhere(maker, capsys):
    bundle = maker.make("3.0.0", signed=False)
    assert main(["deploy", str(bundle), "nobody.invalid"]) == 1
    assert f"tonelight-train sign {bundle} --key FILE" in capsys.readouterr().err
    bundle = maker.make("3.0.0")
    (bundle / MODEL).write_bytes(b"")
    assert main(["deploy", str(bundle), "nobody.invalid"]) == 1
    assert f"{MODEL} is damaged" in capsys.readouterr().err


# --- which boards


def test_boards_of_an_inventory_and_others(tmp_path):
    file = tmp_path / "boards.toml"
    file.write_text(
        '[boards.kitchen]\nhost = "k.local"\nuser = "pi"\nport = 2222\nsudo = false\n[boards.hall]\n'
        '[boards.attic]\nhost = "anna@attic.local"\n'
    )
    kitchen, hall = Board("kitchen", "k.local", "pi", 2222, False), Board("hall", "hall")
    attic = Board("attic", "attic.local", "anna")
    assert list(read_inventory(file).values()) == choose([], file) == [kitchen, hall, attic]
    assert choose(["hall", "root@fe80::1%eth0"], file) == [hall, Board("root@fe80::1%eth0", "fe80::1%eth0", "root")]
    for hosts in (["hall", "hall"], ["hall", "k", "k"]):
        with pytest.raises(DeployError, match="the same board"):
            choose(hosts, file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "missing required field `boards`"),
        ("[boards]\n", "names no board"),
        ("[boards.a]\nhots = 'x'\n", "unknown field `hots`"),
        ("[boards.a]\nport = 0\n", "`int` >= 1"),
        ("[boards.a]\nport = '22'\n", "Expected `int"),
        ("[boards.a]\nhost = 'b@c'\nuser = 'd'\n", "the user is named twice"),
        ("[boards.a]\nhost = '-oProxyCommand=x'\n", "cannot be the name"),
        ("[boards.-oProxyCommand]\n", "cannot be the name"),
        ("[boards.a]\nhost = 'a b'\n", "cannot be the name"),
        ("[boards.a\n", "not valid TOML"),
        ("\xff", "not a text file in UTF-8"),
    ],
)
def test_what_is_no_inventory(content, words, tmp_path):
    file = tmp_path / "boards.toml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(DeployError, match=words) as error:
        choose([], file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_no_board_and_no_such_inventory(tmp_path):
    with pytest.raises(DeployError, match="no board is named; give"):
        choose([], None)
    with pytest.raises(DeployError, match=r"none\.toml cannot be read: No such file"):
        choose([], tmp_path / "none.toml")
    for host in ("", "-l", "pi@", "@host", "pi@-l", "a b"):
        with pytest.raises(DeployError, match="cannot be the name of a board, a host or a user"):
            choose([host], None)


# --- the watch


def report(mono_s: float, model: str = "new", phase: Phase = Phase.LISTENING, pid: int = 7) -> Report:
    return Report(
        pid, mono_s, None, Health(phase, "no microphone" * (phase is Phase.FAULT), "n", model, "", 1, 1, 0, 0, 0)
    )


def judged(*reports: Report | None, steady_s: float = 3.0, bears_fault: bool = False) -> Watch:
    """One report a second."""
    watch = Watch("new", steady_s, bears_fault)
    for second, each in enumerate(reports):
        assert not watch.is_over
        watch.see(each, 100.0 + second)
    return watch


def test_well_after_steady_reports():
    assert judged(*map(report, range(4))).why is None
    assert judged(*map(report, range(3))).why is not None
    assert judged(report(0), report(1), steady_s=0.0).why is None


def test_well_and_deaf():
    """A board that is muted, or had a fault before, is no failure, and it is said that it hears nothing."""
    for phase, deaf in ((Phase.MUTED, "it is muted: sudo tonelight unmute"), (Phase.FAULT, "no microphone")):
        for n_deaf in (4, 1):
            phases = [phase] * n_deaf + [Phase.LISTENING] * (4 - n_deaf)
            watch = judged(*(report(n, phase=each) for n, each in enumerate(phases)), bears_fault=True)
            assert (watch.why, watch.deaf) == (None, deaf)
    assert judged(*map(report, range(4)), bears_fault=True).deaf == ""
    # of what was before a break, nothing counts
    reports = [report(0, phase=Phase.MUTED), report(1, phase=Phase.STARTING), *(report(n) for n in range(2, 6))]
    watch = judged(*reports)
    assert (watch.why, watch.deaf) == (None, "")


@pytest.mark.parametrize(
    ("reports", "why"),
    [
        ([None] * 5, "does not say how it is"),
        ([report(n, "old") for n in range(5)], "old still listens: new was not taken up"),
        ([report(n, phase=Phase.FAULT) for n in range(5)], "no microphone"),
        ([report(n, phase=Phase.STARTING) for n in range(5)], "first sound"),
        ([report(0)] * 12, "nothing heard of it for 10 s"),
        ([report(0), report(1), report(2), report(0, pid=8)], "was started again"),
        ([report(0), report(1), None, report(3), report(4), report(5)], "not well with new for 3 s"),
    ],
)
def test_not_well(reports, why):
    watch = judged(*reports)
    assert watch.why is not None and why in watch.why
