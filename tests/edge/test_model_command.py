"""`tonelight model` as it is typed: what it prints, where, and with which exit status."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from signed import Maker, skip_unless_shipped_bundle_works

from edge.bundle import DEFAULT_BUNDLE, MODEL, default_bundle_path
from edge.cli import main
from edge.config import Config
from edge.signing import read_public_key
from edge.store import Store


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def board(home: Path, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty board; its state folder. It trusts the maker."""
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(home / "etc"))
    (home / "etc" / "keys").mkdir(parents=True)
    shutil.copy(maker.public, home / "etc" / "keys")
    return home / "state"


@pytest.fixture
def told(capfd: pytest.CaptureFixture[str]):
    """Run the command, expect a status, return its lines on stdout and stderr."""

    def run(*argv: str | Path, status: int = 0) -> tuple[list[str], list[str]]:
        assert main(["model", *map(str, argv)]) == status
        out, err = capfd.readouterr()
        return out.splitlines(), err.splitlines()

    return run


def test_list_on_an_empty_board(board, told):
    assert told("list") == ([f"-> {DEFAULT_BUNDLE}  comes with tonelight"], [])
    assert not board.exists()


def test_list_says_which_one_listens_and_where_rollback_goes(board, maker, told):
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        told("install", maker.make(version))
    Store().mark_good("test-1.2.0")
    (board / "models" / "test-1.0.0" / MODEL).write_bytes(b"")
    lines, err = told("list")
    assert err == []
    assert lines[0].split() == [DEFAULT_BUNDLE, "comes", "with", "tonelight"]
    assert lines[1].startswith(f"   test-1.0.0       {board}/models/test-1.0.0/model.tflite is damaged")
    assert lines[2] == "   test-1.1.0       `tonelight model rollback` goes here"
    assert lines[3] == "-> test-1.2.0       good"
    told("install", maker.make("1.3.0"))
    assert told("list")[0][4] == "-> test-1.3.0       on probation"
    Store().count_start(2)
    assert told("list")[0][4] == "-> test-1.3.0       on probation, begun 2 of 3 times"
    Store().give_up()
    lines, _ = told("list")
    assert lines[3:] == ["-> test-1.2.0       good", "   test-1.3.0       did not get through its probation"]
    del lines[4]
    assert len(lines) == 4


def test_list_for_programs(board, maker, told, home):
    def listing():
        return json.loads(told("list", "--json")[0][0])

    before = listing()
    assert (before["active"], before["good"]) == (DEFAULT_BUNDLE, DEFAULT_BUNDLE)
    assert (before["health"], before["health_file"]) == (None, str(home / "run" / "health.json"))
    assert before["n_free_bytes"] > 0
    source = maker.make("1.0.0")
    told("install", source)
    (board / "models" / "test-1.0.0" / MODEL).write_bytes(b"")
    after = listing()
    assert (after["active"], after["good"], after["configured"]) == ("test-1.0.0", DEFAULT_BUNDLE, "")
    [shipped, installed] = after["bundles"]
    assert (shipped["id"], installed["id"]) == (DEFAULT_BUNDLE, "test-1.0.0")
    assert installed["manifest_sha256"] == hashlib.sha256((source / "manifest.json").read_bytes()).hexdigest()
    assert installed["faults"][0].startswith(f"{board}/models/test-1.0.0/model.tflite is damaged")


def test_list_shows_an_active_one_that_is_gone(board, maker, told):
    told("install", maker.make("1.0.0"))
    shutil.rmtree(board / "models" / "test-1.0.0")
    lines, _ = told("list")
    assert lines[-1] == "-> test-1.0.0       on probation, not there; `tonelight model rollback` goes to one that is"


def test_what_is_installed_is_what_listens(board, maker, told, capfd):
    key = read_public_key(maker.public)
    lines, err = told("install", maker.make("1.0.0"))
    assert lines == [
        f"installed and active: test-1.0.0, signed by {key}, in {board}/models/test-1.0.0",
        "a tonelight that is running takes it up when it is told to: sudo systemctl reload tonelight",
    ]
    assert err == []
    assert Config().bundle_path == board / "models" / "test-1.0.0"
    assert main(["listen", "--json", str(Path(sys.modules["edge"].__file__).parent / "data" / "demo.flac")]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {event["model"] for event in events} == {"test-1.0.0"}


def test_rollback_and_activate(board, maker, told):
    told("install", maker.make("1.0.0"))
    told("install", maker.make("1.1.0"))
    assert told("rollback")[0][0] == f"active: test-1.0.0 in {board}/models/test-1.0.0"
    assert told("activate", "test-1.1.0")[0][0].startswith("active: test-1.1.0, signed by ")
    (board / "models" / "test-1.0.0" / MODEL).unlink()
    Store().mark_good("test-1.1.0")
    told("install", maker.make("1.2.0"))
    shutil.rmtree(board / "models" / "test-1.1.0")
    skip_unless_shipped_bundle_works()
    out, err = told("rollback")
    assert out[0] == f"active: {DEFAULT_BUNDLE} in {default_bundle_path()}"
    assert len(err) == 1 and err[0].startswith("tonelight: passed over: there is no bundle 'test-1.1.0'")


def test_older_ones_only_when_it_is_asked_for(board, maker, told):
    older = maker.make("1.0.0")
    told("install", older)
    told("install", maker.make("1.1.0"))
    for what, bundle in (("install", older), ("activate", "test-1.0.0")):
        _, [line] = told(what, bundle, status=1)
        assert line.startswith("tonelight: bundle test-1.0.0 is older than test-1.1.0, the active one; ")
        assert "--allow-downgrade" in line
        for argv in ((what, bundle, "--allow-downgrade"), (what, "--allow-downgrade", bundle)):
            assert told(*argv)[0][0].split(": ")[1].startswith("test-1.0.0, signed by ")
            told("activate", "test-1.1.0")


def test_rollback_with_nowhere_to_go(board, told):
    out, err = told("rollback", status=1)
    there = f"{DEFAULT_BUNDLE}, which comes with tonelight, is active already"
    assert (out, err) == ([], [f"tonelight: there is nothing to go back to: {there}"])


def test_verify_a_folder_and_an_id(board, maker, told, monkeypatch):
    source = maker.make("1.0.0")
    key = read_public_key(maker.public)
    end = "; whole, and computes here what it computed at export"
    assert told("verify", source) == ([f"ok: test-1.0.0, signed by {key}, in {source}{end}"], [])
    assert told("list")[0][0].startswith("->")
    told("install", source)
    assert told("verify", "test-1.0.0")[0] == [f"ok: test-1.0.0, signed by {key}, in {board}/models/test-1.0.0{end}"]
    monkeypatch.chdir(source)
    assert told("verify", ".")[0] == [f"ok: test-1.0.0, signed by {key}, in .{end}"]
    _, err = told("verify", "test-9.0.0", status=1)
    assert err == [
        "tonelight: there is no folder test-9.0.0 here, and no bundle of that id on this board; "
        "`tonelight model list` shows them"
    ]
    (board / "models" / "test-1.0.0" / MODEL).write_bytes(b"")
    assert told("verify", "test-1.0.0", status=1)[1][0].startswith(f"tonelight: {board}/models/test-1.0.0/model.tflite")


def test_verify_the_one_that_ships(board, told):
    skip_unless_shipped_bundle_works()
    for name in (DEFAULT_BUNDLE, default_bundle_path()):
        [line], _ = told("verify", name)
        assert line.startswith(f"ok: {DEFAULT_BUNDLE}, which comes with tonelight, in {default_bundle_path()};")


def test_a_key_is_given_by_copying_it_as_the_error_says(board, maker, told):
    source = maker.make("1.0.0")
    shutil.rmtree(board.parent / "etc")
    _, [line] = told("install", source, status=1)
    command = line.rpartition("`")[0].rpartition("`")[2].removeprefix("sudo ")
    assert command.endswith(" KEY.pub")
    shutil.copy(maker.public, board.parent / "KEY.pub")
    subprocess.run(["sh", "-c", command], cwd=board.parent, check=True)
    told("install", source)


def test_a_configured_bundle_that_takes_precedence_is_named(board, maker, told, home):
    (home / "mine.toml").write_text("[model]\nbundle = '/srv/mine'\n")
    bundle, mine = maker.make("1.0.0"), ("--config", home / "mine.toml")
    for argv in (("install", bundle, *mine), ("install", *mine, bundle), (*mine, "install", bundle)):
        _, err = told(*argv)
        assert err == ["tonelight: model.bundle is set: /srv/mine listens in place of the active one"]


@pytest.mark.parametrize(
    "argv",
    [
        ["install"],
        ["verify"],
        ["activate"],
        ["list", "x"],
        ["rollback", "x"],
        ["eat", "x"],
        ["list", "--allow-downgrade"],
        ["verify", "x", "--json"],
    ],
)
def test_wrong_usage_is_2(argv, board, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["model", *argv])
    assert ended.value.code == 2
    assert "usage: tonelight model" in capsys.readouterr().err
