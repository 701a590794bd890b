"""What root does in the state folder of a service that somebody has taken over, with the real commands.

The service is a user of its own; its folder is full of links to what only root may touch.
"""

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from observed import event
from signed import Maker

from edge import config
from edge.capture import CaptureSwitch
from edge.cli import main
from edge.clips import Clips
from edge.history import History, utc_text
from edge.owner import as_caller, as_owner_of
from edge.store import Store

SERVICE, USER = 12345, 23456
FLAC = b"fLaC, for all that is known here"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def board(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that everybody may look into, with `state/`, which belongs to the service, and root's `secret/`."""
    with TemporaryDirectory() as name:  # not in `home`, which nobody else can reach
        board = Path(name)
        board.chmod(0o755)
        (board / "state").mkdir()
        os.chown(board / "state", SERVICE, SERVICE)
        (board / "secret").mkdir()
        monkeypatch.setenv("STATE_DIRECTORY", str(board / "state"))
        monkeypatch.setattr(config, "SYSTEM_STATE", board / "state")
        yield board


def owner(path: Path) -> int:
    return path.lstat().st_uid


def kept(board: Path, *days_ago: float) -> Clips:
    """Clips of the service, made so many days ago."""
    clips = Clips(board / "state" / "clips")
    with as_owner_of(board / "state"):
        for ago in days_ago:
            ts = utc_text(datetime.now(timezone.utc) - timedelta(days=ago))
            clips.add(FLAC, 1.5, msgspec.structs.replace(event(), ts=ts))
    return clips


# Who root is ----------------------------------------------------------------------------------------------------------


@needs_root
def test_root_is_the_owner_within_and_itself_before_and_after_and_in_between(board):
    me = os.geteuid(), os.getegid(), os.getgroups()
    with as_owner_of(board / "state" / "not" / "there" / "yet"):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (SERVICE, SERVICE, [])
        with as_caller():
            assert os.geteuid() == 0
        with as_owner_of(board / "secret"):
            assert os.geteuid() == 0
        assert (os.geteuid(), os.getegid()) == (SERVICE, SERVICE)
    assert (os.geteuid(), os.getegid(), os.getgroups()) == me
    with pytest.raises(ZeroDivisionError), as_owner_of(board / "state"):
        raise ZeroDivisionError
    assert (os.geteuid(), os.getegid(), os.getgroups()) == me
    with as_owner_of(board):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == me


@needs_root
def test_a_user_that_root_cannot_become_is_named(board):
    code = "\n".join(
        [
            "from edge.errors import TonelightError",
            "from edge.owner import as_owner_of",
            "from pathlib import Path",
            "try:",
            f"    with as_owner_of(Path({str(board / 'state')!r})): print('became')",
            "except TonelightError as error: print(error)",
        ]
    )
    bounded = ["setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-all"]
    if shutil.which("setpriv") is None or subprocess.run([*bounded, "true"], capture_output=True).returncode:
        pytest.skip("no setpriv here")
    done = subprocess.run([*bounded, sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == (
        f"{board}/state belongs to user {SERVICE}, and root cannot become that user here: Operation not permitted; "
        "run this as that user\n"
    )


def test_everybody_else_stays_who_they_are():
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.getuid() == 0:
                os.setresuid(USER, USER, USER)
            me = os.getresuid()
            with as_owner_of(Path("/etc/nowhere")), as_caller():
                status = int(os.getresuid() != me or me[0] == 0)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


# The commands ---------------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("argv", [["list"], ["delete", "--all", "--yes"]])
def test_clips_that_are_a_link_cost_nothing_of_roots(board, capsys, argv):
    (board / "secret" / "passwd").write_text("all of them")
    os.utime(board / "secret" / "passwd", (0, 0))
    (board / "state" / "clips").symlink_to(board / "secret")
    (board / "state" / "clips.clock").write_text(f"0 {datetime.now().timestamp()}")
    os.chown(board / "state" / "clips.clock", SERVICE, SERVICE)
    assert main(["clips", *argv]) == 1
    assert capsys.readouterr().err.startswith(f"tonelight: {board}/state/clips/passwd: cannot be removed: Permission")
    assert (board / "secret" / "passwd").read_text() == "all of them"


@needs_root
def test_what_root_names_stays_the_services_and_what_it_exports_is_for_whom_it_is(board, capsys):
    clips = kept(board, 31, 0.1, 0)
    (board / "mine").mkdir()
    os.chown(board / "mine", USER, USER)
    assert main(["clips", "label", "last", "sad"]) == 0
    assert {owner(path) for path in (board / "state").rglob("*")} == {SERVICE}
    assert main(["clips", "export", str(board / "mine" / "clips")]) == 0
    (row,) = csv.DictReader((board / "mine" / "clips" / "manifest.csv").open())
    assert (board / "mine" / "clips" / row["path"]).read_bytes() == FLAC
    assert {owner(path) for path in (board / "mine").rglob("*")} == {USER}
    (board / "secret").chmod(0o700)
    assert main(["clips", "export", str(board / "secret" / "clips")]) == 0
    assert len(list((board / "secret" / "clips").iterdir())) == 2
    assert {owner(path) for path in (board / "secret").rglob("*")} == {0}
    assert main(["clips", "delete", "--all", "--yes"]) == 0
    assert list(clips.folder.iterdir()) == []


@needs_root
def test_what_only_root_may_read_is_not_exported_to_whom_it_is_for(board, capsys):
    clips = kept(board, 0)
    clip = clips.label(clips.all()[0].id, "sad")
    (board / "secret").chmod(0o700)
    (board / "secret" / "key").write_text("root's own")
    clips.recording(clip.id).unlink()
    (clips.folder / f"{clip.id}.flac").symlink_to(board / "secret" / "key")
    assert main(["clips", "export", str(board / "mine")]) == 1
    assert not list(board.glob("mine/*"))


@needs_root
def test_the_switch_overwrites_nothing(board, capsys):
    (board / "secret" / "shadow").write_text("hashes")
    (board / "secret" / "shadow").chmod(0o600)
    (board / "state" / ".capture.new").symlink_to(board / "secret" / "shadow")
    assert main(["capture", "on"]) == 0
    assert CaptureSwitch(board / "state" / "capture").left_s > 0
    assert owner(board / "state" / "capture") == SERVICE
    assert (board / "secret" / "shadow").read_text() == "hashes"
    assert stat.S_IMODE((board / "secret" / "shadow").stat().st_mode) == 0o600
    assert main(["capture", "off"]) == 0
    assert list((board / "state").iterdir()) == []


@needs_root
def test_what_an_older_root_left_behind_is_in_nobodys_way(board, capsys):
    """A switch and half-written files that belong to root in the service's folder."""
    for name in (".capture.new", "mute", "clips.clock.new"):
        (board / "state" / name).touch(mode=0o600)
    kept(board, 0)
    for argv in (["mute"], ["unmute"], ["capture", "on"], ["clips", "list"]):
        assert main(argv) == 0
    assert sorted(path.name for path in (board / "state").iterdir()) == ["capture", "clips", "clips.clock"]
    assert {owner(path) for path in (board / "state").rglob("*")} == {SERVICE}


@needs_root
def test_muting_makes_no_file_elsewhere(board, capsys):
    (board / "state" / "mute").symlink_to(board / "secret" / "nologin")
    assert main(["mute"]) == 0
    assert not (board / "secret" / "nologin").exists()
    assert main(["unmute"]) == 0
    assert list((board / "state").iterdir()) == []
    assert main(["mute"]) == 0
    assert owner(board / "state" / "mute") == SERVICE


@needs_root
def test_a_state_folder_that_is_not_there_yet_belongs_to_root_until_systemd_gives_it_away(board, capsys, monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", str(board / "new" / "state"))
    assert main(["mute"]) == 0
    assert owner(board / "new") == owner(board / "new" / "state" / "mute") == 0


@needs_root
def test_the_log_is_read_and_deleted_as_its_owner(board, capsys):
    log = History(board / "state" / "history.db", 1, 1)
    with as_owner_of(board / "state"):
        log.write(event())
        log.close()
    (board / "secret").chmod(0o700)
    assert main(["history", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == "happy"
    day = event().ts[:10]
    assert main(["history", "--day", day, "--plot", str(board / "secret" / "day.svg")]) == 0
    assert owner(board / "secret" / "day.svg") == 0
    assert {owner(path) for path in (board / "state").iterdir()} == {SERVICE}
    assert main(["history", "--delete", "--yes"]) == 0

    (board / "state" / "history.db").rename(board / "secret" / "history.db")  # somebody else's now
    os.chown(board / "secret" / "history.db", 0, 0)
    (board / "state" / "history.db").symlink_to(board / "secret" / "history.db")
    capsys.readouterr()
    for argv in (["--json"], ["--delete", "--yes"]):
        assert main(["history", *argv]) == 1
        assert "Permission denied" in capsys.readouterr().err


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("bundles"))


@needs_root
def test_models_are_installed_from_where_only_root_may_read_and_belong_to_the_service(
    board, maker, monkeypatch, capsys
):
    """The folders of the maker and of the keys are root's alone."""
    (board / "secret").chmod(0o700)
    (board / "secret" / "keys").mkdir()
    shutil.copy(maker.public, board / "secret" / "keys")
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(board / "secret"))
    shutil.copytree(maker.make("1.0.0"), board / "secret" / "one")
    shutil.copytree(maker.make("1.1.0"), board / "secret" / "two")
    assert main(["model", "install", str(board / "secret" / "one")]) == 0
    assert main(["model", "install", str(board / "secret" / "two")]) == 0
    assert main(["model", "verify", "test-1.0.0"]) == 0
    assert main(["model", "rollback"]) == 0
    assert main(["model", "activate", "test-1.1.0"]) == 0
    assert Store().active == "test-1.1.0"
    assert {owner(path) for path in (board / "state").rglob("*")} == {SERVICE}


@needs_root
def test_models_that_are_a_link_change_nothing_of_roots(board, maker, monkeypatch, capsys):
    shutil.copytree(maker.public.parent, board / "etc" / "keys")
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(board / "etc"))
    for name in ("linux-6.1.0", "linux-6.1.1", "linux-6.1.2", "linux-6.1.3", ".removed-not"):
        (board / "secret" / name).mkdir()
    (board / "state" / "models").symlink_to(board / "secret")
    for argv in (["install", str(maker.make("1.0.0"))], ["activate", "linux-6.1.0"], ["rollback"]):
        assert main(["model", *argv]) == 1
        assert "Permission denied" in capsys.readouterr().err
    assert len(list((board / "secret").iterdir())) == 5
    assert {owner(path) for path in (board / "secret").rglob("*")} == {0}


# Whose it is for everybody else ---------------------------------------------------------------------------------------


@pytest.fixture
def user(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An ordinary user of a board with a service, which this process is meanwhile; gives the user's home."""
    with TemporaryDirectory() as name:
        board = Path(name)
        board.chmod(0o755)
        (board / "service").mkdir()
        (board / "user").mkdir()
        monkeypatch.setattr(config, "SYSTEM_STATE", board / "service")
        for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("HOME", str(board / "user"))
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(board / "user" / "run"))
        is_root = os.geteuid() == 0
        config.load(Path(os.devnull))  # brings what Python imports late, as Python may lie where only root can read
        if is_root:
            os.chown(board / "user", USER, USER)
            os.seteuid(USER)
        try:
            yield board / "user"
        finally:
            if is_root:
                os.seteuid(0)


def complaint(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err.removeprefix("tonelight: ").rstrip("\n")


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        (["mute"], "a switch"),
        (["capture", "off"], "clips"),
        (["clips", "list"], "clips"),
        (["history"], "a log"),
        (["history", "--delete"], "a log"),
        (["model", "list"], "bundles"),
        (["model", "install", "my bundle"], "bundles"),
        (["model", "activate", "test-1.0.0"], "bundles"),
        (["model", "rollback"], "bundles"),
    ],
)
def test_what_is_meant_for_the_service_does_not_happen_to_ones_own(user, capsys, argv, what):
    command = " ".join(argv).replace("my bundle", "'my bundle'")
    line = f"the service on this board has {what} of its own: sudo tonelight {command}"
    assert complaint(capsys, *argv) == line
    assert list(user.iterdir()) == []
    if what in ("a log", "bundles"):  # also where this user has tried it before; the way there is said
        own = user / ".local" / "state" / "tonelight"
        (own / "models").mkdir(parents=True)
        (own / "history.db").touch()
        assert complaint(capsys, *argv) == f"{line}; for yours: STATE_DIRECTORY={own} tonelight {command}"


@pytest.mark.parametrize(
    ("argv", "answer"),
    [(["history"], "there is no log yet"), (["model", "rollback"], "there is nothing to go back to")],
)
def test_whoever_names_what_is_meant_gets_that(user, capsys, monkeypatch, argv, answer):
    (user / "mine.toml").touch()
    assert answer in complaint(capsys, *argv, "--config", str(user / "mine.toml"))
    monkeypatch.setenv("STATE_DIRECTORY", str(user / "mine"))
    assert answer in complaint(capsys, *argv)


def test_a_log_that_the_users_own_configuration_names_is_meant(user, capsys):
    (user / ".config" / "tonelight").mkdir(parents=True)
    (user / ".config" / "tonelight" / "config.toml").write_text("[history]\npath = '/nowhere/history.db'")
    assert complaint(capsys, "history").startswith("/nowhere/history.db: there is no log yet")


def test_a_bundle_is_verified_by_everybody(user, capsys):
    assert complaint(capsys, "model", "verify", "/nowhere").startswith("bundle /nowhere does not exist")
