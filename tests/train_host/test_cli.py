import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from train_host.cli import main
from train_host.recipes import RECIPES

ENV = "TONELIGHT_CORPORA"


def failed(capsys, *arguments: object) -> str:
    """The one line that a command which could not do its work leaves on standard error."""
    assert main([str(argument) for argument in arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("tonelight-train: ")
    return line


def refused(capsys, *arguments: str) -> str:
    """What wrong usage is answered with."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", [[], ["data"], ["train"], ["export"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(" ".join(["usage: tonelight-train", *command]))
    if not command:
        assert all(name in said for name in ("data", "train", "export", "from recordings to a light:"))
    if command == ["train"]:
        assert all(name in said for name in ("tonelight ", "lstm128 ", "--corpora", "--steps", "--seed", "--run"))
    if command == ["export"]:
        assert all(name in said for name in ("dynamic", "int8", "float16", "none", "--no-figures"))


def test_wrong_usage(capsys):
    assert "COMMAND" in refused(capsys)
    assert "invalid choice: 'tarin'" in refused(capsys, "tarin")
    assert "--steps: must be a whole number of at least 1, got 'ten'" in refused(capsys, "train", "--steps", "ten")
    assert "--steps: must be a whole number of at least 1, got '0'" in refused(capsys, "train", "--steps", "0")
    assert "--seed: must be a whole number from 0 to 4294967295" in refused(capsys, "train", "--seed", "-1")
    assert "--seed: must be a whole number from 0 to 4294967295" in refused(capsys, "train", "--seed", str(2**32))
    assert "invalid choice: 'int4'" in refused(capsys, "export", "run", "--quantize", "int4")


@pytest.mark.parametrize("command", ["data summary", "data verify", "train"])
def test_corpora_that_nobody_named(command, capsys):
    line = failed(capsys, *command.split())
    assert line.endswith(f"no corpora: name their folder by --corpora DIR or by the environment variable {ENV}")


@pytest.mark.parametrize("command", ["data summary", "train"])
def test_corpora_that_are_not_there(command, capsys, tmp_path):
    line = failed(capsys, *command.split(), "--corpora", tmp_path / "none")
    assert f"{tmp_path / 'none'}: no such folder; name the one with the corpora" in line
    assert "holds no corpus (0 recordings)" in failed(capsys, *command.split(), "--corpora", tmp_path)


def test_corpora_from_the_environment(monkeypatch, capsys, voices):
    monkeypatch.setenv(ENV, str(voices))
    assert main(["data", "summary"]) == 0
    said = capsys.readouterr().out
    assert "voices" in said
    assert "48" in said


def test_a_corpus_that_is_not_among_them(capsys, voices):
    line = failed(capsys, "train", "--corpora", voices, "--only", "tess")
    assert line.endswith(f"{voices} holds no corpus tess; it holds voices")


def test_a_recipe_that_does_not_exist(capsys, voices):
    line = failed(capsys, "train", "--corpora", voices, "--recipe", "gru")
    assert line == "tonelight-train: no recipe 'gru'; there are: " + ", ".join(RECIPES)


def test_a_run_that_is_none(capsys, tmp_path):
    pytest.importorskip("keras")
    assert "is no run folder (it has no run.json)" in failed(capsys, "export", tmp_path, "--no-figures")
    (tmp_path / "file").write_text("")
    assert f"{tmp_path / 'file' / 'run.json'}: Not a directory" in failed(capsys, "export", tmp_path / "file")


def test_without_what_training_needs_the_way_to_get_it_is_named(tmp_path):
    # as on a board: the command is there, rich and the rest are not
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError(\"No module named 'rich'\", name='rich')\n")
    code = "import sys; from train_host.cli import main; sys.exit(main(['data', 'summary']))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "tonelight-train: rich is not installed; pip install 'tonelight[train]'\n"


@pytest.mark.slow
def test_from_recordings_to_a_bundle(voices, tmp_path, capsys):
    """The whole way, as in the help text, with as few steps as there can be."""
    pytest.importorskip("tensorflow")
    run = tmp_path / "runs" / "mine"
    assert main(["train", "--corpora", str(voices), "--run", str(run), "--recipe", "lstm128", "--steps", "2"]) == 0
    said = capsys.readouterr().out
    assert "trying the conversion of an untrained lstm128" in said
    assert "next: tonelight-train export" in said
    assert (run / "weights.npz").exists()
    assert "holds a finished run" in failed(
        capsys, "train", "--corpora", voices, "--run", run, "--recipe", "lstm128", "--steps", "2"
    )
    assert main(["export", str(run), "--out", str(tmp_path / "models"), "--corpora", str(voices), "--name", "one"]) == 0
    (bundle,) = (tmp_path / "models").iterdir()
    assert capsys.readouterr().out.splitlines()[-1] == f"next: tonelight listen --bundle {bundle} FILE"
    assert "window form" in (bundle / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_a_run_folder_that_cannot_be_written_is_one_clear_line(voices, tmp_path, capsys):
    pytest.importorskip("tensorflow")
    (tmp_path / "file").write_text("")
    arguments = ["--corpora", str(voices), "--run", str(tmp_path / "file" / "run"), "--recipe", "lstm128"]
    assert main(["train", *arguments, "--steps", "1"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"tonelight-train: {tmp_path / 'file'}")
    assert "Not a directory" in error


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_interrupted_with_ctrl_c_there_is_one_line_and_no_traceback(voices, tmp_path):
    pytest.importorskip("tensorflow")
    command = [sys.executable, "-m", "train_host.cli", "train", "--corpora", str(voices), "--run", "run"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        # extraction has begun, with its worker processes: Ctrl-C reaches them all
        while process.poll() is None and not (tmp_path / "tonelight" / "features").exists():
            time.sleep(0.05)
        time.sleep(8)  # by then they are at work, also on a machine that is at other tests, too
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate()
    lines = error.decode().splitlines()
    assert process.returncode == 130
    assert lines[-1].startswith("tonelight-train: interrupted; an interrupted `train` goes on when it is given again")
    assert "Traceback" not in error.decode()
