"""The measuring of costs: what is measured must be there and be of the right kind, however slow the machine is."""

import json
import os
import time
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from bundles import copy_bundle, edit
from signals import silence, talk

from edge import bench
from edge.bundle import default_bundle_path, load_bundle
from edge.cli import main
from edge.commands.bench import table
from edge.errors import TonelightError


@pytest.fixture(autouse=True, scope="module")
def soon_over():
    """A daemon that is left to hear on, and not for long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "HEARD_S", 1.0)
        patch.setattr(bench, "LISTENED_S", 0.5)
        yield


@pytest.fixture(scope="module")
def figures(soon_over) -> dict[str, bench.Figure]:
    return bench.examine(load_bundle(default_bundle_path()), bench.demo()[: 8 * 16_000], n_rounds=1)


def test_tasks_run_in_turns():
    ran = []
    taken = bench.interleaved({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, n_rounds=3)
    assert "".join(ran) == "ab" + "ababab"  # once before it counts
    assert {name: len(all_s) for name, all_s in taken.items()} == {"a": 3, "b": 3}


def test_what_works_longer_costs_more():
    taken = bench.interleaved({"long": lambda: sum(range(1_000_000)), "short": lambda: sum(range(1000))}, n_rounds=3)
    assert min(taken["long"]) > max(taken["short"]) >= 0


def test_every_part_costs_something(figures):
    cost = {name: figure.value for name, figure in figures.items()}
    parts = ("microphone", "gate", "features", "model", "whole_path", "whole_path_silence", "daemon")
    assert min(cost[name] for name in parts) > 0
    assert cost["share_of_core"] == pytest.approx(cost["whole_path"] / 10)
    assert cost["daemon_share_of_core"] == pytest.approx(cost["daemon"] / 10)
    assert 50 < cost["speech"] < 100
    assert cost["model_half_second"] == pytest.approx(cost["model"] / 2)


def test_an_event_cannot_come_before_the_hangover_is_over(figures):
    assert figures["event_after_hangover"].value >= 0
    assert figures["event_after_hangover_20"].value >= 0


def test_callbacks_in_order(figures):
    assert 0 < figures["callback_p50"].value <= figures["callback_p99"].value <= figures["callback"].value


def test_the_microphone_is_read_block_by_block():
    """With all that is done to sound on its way: its channels are averaged."""
    microphone, read = bench._Microphone(), []
    read_block = microphone.read
    microphone.read = lambda timeout_s: read.append(read_block(timeout_s)) or read[-1]
    for _ in range(50):
        microphone.hear(np.tile(np.float32([0.25, 0.75]), (bench._BLOCK_ROWS, 1)))
    assert [len(block.samples) for block in read] == [16 * bench.BLOCK_MS] * 50
    assert read[-1].samples == pytest.approx(0.5, abs=1e-3)


def test_cpu_time_is_that_of_the_process():
    began_s, own_s = bench._cpu_s(os.getpid()), time.process_time()
    sum(range(1_000_000))
    own_s = time.process_time() - own_s
    assert bench._cpu_s(os.getpid()) - began_s >= own_s > 0


def test_the_size_is_that_of_all_that_is_needed():
    """numpy alone has tens of megabytes; a workstation's TensorFlow, in the same environment, has hundreds."""
    assert 50 < bench.footprint_mb() < 400


def test_the_size_of_what_is_not_installed_is_unknown(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(bench, "distribution", missing)
    assert bench.footprint_mb() is None


def test_the_daemon_is_a_real_one(figures):
    """No Python with numpy and a runtime is smaller or starts in no time."""
    assert 20 < figures["memory"].value < 500
    assert figures["start_cpu"].value > 0.05
    assert figures["start"].value > 0


def test_a_daemon_that_does_not_start_is_told(tmp_path):
    bundle = load_bundle(copy_bundle(tmp_path))
    (bundle.path / "manifest.json").unlink()
    with pytest.raises(
        TonelightError, match=r"the daemon cannot be measured: .*manifest.json.*; see `tonelight doctor`"
    ):
        bench._daemon(bundle, 1)


def test_a_recording_without_speech_measures_no_event():
    with pytest.raises(TonelightError, match="hears no speech"):
        bench._event_ms(load_bundle(default_bundle_path()), talk()[:4000], 40)


def test_blocks_are_the_whole_recording():
    assert [len(block) for block in bench.blocks(silence(0.05), 20)] == [320, 320, 160]


def test_the_command(home, capsys):
    assert main(["bench", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["bundle"] == load_bundle(default_bundle_path()).id
    about = {name: words for name, words in answer.items() if name != "figures"}
    figures = {name: bench.Figure(**figure) for name, figure in answer["figures"].items()}
    lines = table(about, figures).split("\n")
    assert f"machine     {answer['machine']}" in lines
    assert lines[-len(figures) :] == [f"{f.what:<48}  {f.value:8.3f}  {f.unit}" for f in figures.values()]
    assert max(map(len, lines)) <= 100


def test_a_broken_bundle_is_one_line(home, tmp_path, capsys):
    bundle = copy_bundle(tmp_path)
    edit(bundle, lambda manifest: manifest.pop("gate"))
    assert main(["bench", "--bundle", str(bundle)]) == 1
    said = capsys.readouterr().err
    assert "manifest.json" in said
    assert said.count("\n") == 1
