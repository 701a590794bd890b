"""Real trainings, small ones: sixty steps on synthetic voices."""

import csv
import io
import multiprocessing
import re
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from rich.console import Console  # noqa: E402
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorboard.util.tensor_util import make_ndarray  # noqa: E402
from tiny_recipe import tiny  # noqa: E402

from edge.labels import EMOTIONS  # noqa: E402
from train_host import train as training  # noqa: E402
from train_host.dataset import Sounds  # noqa: E402
from train_host.errors import RecipeError, TrainingError  # noqa: E402
from train_host.folds import Split, everything  # noqa: E402
from train_host.recipes import RECIPES, Recipe  # noqa: E402

CHECKPOINT_STEPS = 30  # of the fixture `run`


def begin(run: Path, recipe: Recipe, split: Split, seed: int = 0, **options) -> str:
    """Train, or go on, as the fixture `run` does; what the terminal said."""
    said = io.StringIO()
    console = Console(file=said, width=200)
    training.train(run, recipe, split, Sounds([], []), seed, console, checkpoint_steps=CHECKPOINT_STEPS, **options)
    return said.getvalue()


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(run: Path) -> list[np.ndarray]:
    with np.load(run / "weights.npz") as file:
        return [file[name] for name in sorted(file.files)]


# --- the whole of it --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_training_learns(run):
    rows = history(run)
    assert [int(row["step"]) for row in rows] == [30, 60]
    # on examples in each other's style, which takes half of what tells these four tones apart
    assert float(rows[-1]["loss"]) < 0.8 * np.log(4)
    # a voice it never heard, four emotions: chance is 0.25
    assert float(rows[-1]["val_uar"]) >= 0.7
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    loss, uar = (EventAccumulator(str(run / "tensorboard" / part)).Reload() for part in ("train", "validation"))
    assert "epoch_loss" in loss.Tags()["tensors"]
    told = [float(make_ndarray(event.tensor_proto)) for event in uar.Tensors("uar")]
    assert told == pytest.approx([float(row["val_uar"]) for row in rows])
    said = (run / "said.txt").read_text()
    assert "trained" in said
    assert f"UAR of the validation speakers {100 * float(rows[-1]['val_uar']):.1f}%" in said


@pytest.mark.slow
def test_a_training_says_how_long_it_waited_for_data(run):
    rows = history(run)
    waited_s, took_s = (sum(float(row[name]) for row in rows) for name in ("waited_seconds", "seconds"))
    said = (run / "said.txt").read_text()
    told = re.search(r"60 steps in (\d+) s; waited for data: (\d+)% of the time", said)
    assert told, said
    # the first batch cannot be there before it is asked for
    assert 0 < waited_s < took_s
    assert int(told[1]) == pytest.approx(took_s, abs=1)
    assert int(told[2]) == pytest.approx(100 * waited_s / took_s, abs=1)


@pytest.mark.slow
def test_a_finished_run_says_what_it_is(run, clips):
    info, recipe, model = training.load_model(run)
    split = everything(clips)
    assert (info.recipe, info.seed, info.steps, info.split) == ("tonelight", 0, 60, "everything")
    assert set(info.train_speakers) == {clip.speaker_id for clip in split.train}
    assert set(info.val_speakers) == {clip.speaker_id for clip in split.val}
    assert not set(info.val_speakers) & set(info.train_speakers)
    assert info.corpora == {"voices": (32, 2)}
    assert recipe is RECIPES["tonelight"]
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights(run), strict=True))
    assert not list(run.glob("*.tmp*"))
    assert not (run / "checkpoint.npz").exists()


@pytest.mark.slow
def test_what_is_kept_for_the_export(run):
    with np.load(run / "validation.npz") as file:
        logits, truth = file["logits"], file["truth"]
    assert logits.shape == (16, 8)
    # as the device answers: with emotions, too, that the corpus lacks
    assert np.isfinite(logits).all()
    there = np.isin(EMOTIONS, ("neutral", "happy", "sad", "angry"))
    assert np.mean(np.where(there, logits, -np.inf).argmax(axis=1) == truth) == pytest.approx(
        float(history(run)[-1]["val_uar"])
    )
    with np.load(run / "sequences.npz") as file:
        sequences = [file[name] for name in file.files]
    assert len(sequences) == 16
    assert np.abs(np.concatenate(sequences)).mean() < 2  # normalised


def _train_in_a_process(run: Path, recipe_training, clips) -> None:
    recipe = replace(RECIPES["tonelight"], training=recipe_training)
    begin(run, recipe, everything(clips))


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_nothing_had_been(run, clips, tiny_recipe, tmp_path):
    killed = tmp_path / "killed"
    process = multiprocessing.get_context("spawn").Process(
        target=_train_in_a_process, args=(killed, tiny_recipe.training, clips)
    )
    process.start()
    while process.is_alive() and not (killed / "checkpoint.npz").exists():
        time.sleep(0.05)
    process.kill()
    process.join()
    assert (killed / "checkpoint.npz").exists()
    assert not (killed / "weights.npz").exists()
    with pytest.raises(TrainingError, match=r"not finished; go on with `tonelight-train train --recipe tonelight"):
        training.load_model(killed)

    said = begin(killed, tiny_recipe, everything(clips))
    assert "from step 30" in said
    # on one CPU to the last bit, dropout and all; threads of TensorFlow may add in another order
    for a, b in zip(weights(run), weights(killed), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert [row["step"] for row in history(killed)] == ["30", "60"]
    for a, b in zip(history(run), history(killed), strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), abs=1e-4)

    with pytest.raises(TrainingError, match=r"killed holds a finished run; give another folder by --run, or export"):
        begin(killed, tiny_recipe, everything(clips))


# --- taking up, and refusing to ---------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch) -> Recipe:
    """A recipe of its own with a network that is trained in a moment."""
    from train_host import model

    def build(n_features: int) -> keras.Model:
        return model.build(n_features, units=8, n_layers=1, n_heads=1, dropout=0.1, hears_speech=True)

    recipe = replace(tiny(RECIPES["tonelight"], batch_size=4, crop_frames=32), name="small", build=build)
    monkeypatch.setitem(RECIPES, "small", recipe)
    return recipe


@pytest.fixture
def interrupted(small, clips, tmp_path, monkeypatch) -> Path:
    """A run of `small` that was stopped before its second checkpoint."""
    folder = tmp_path / "interrupted"
    save = np.savez

    def stop(path, **arrays):
        save(path, **arrays)
        if "step.000" in arrays and int(arrays["step.000"]) == 60:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "savez", stop)  # the disk is slow just then
        begin(folder, small, everything(clips))
    return folder


@pytest.mark.slow
def test_stopped_while_the_checkpoint_is_written(interrupted, small, clips):
    assert [row["step"] for row in history(interrupted)] == ["30", "60"]
    assert "from step 30" in begin(interrupted, small, everything(clips))
    assert [row["step"] for row in history(interrupted)] == ["30", "60"]


@pytest.mark.slow
def test_stopped_after_the_last_checkpoint(interrupted, small, clips):
    # what the interrupted write left is the whole last checkpoint
    (interrupted / "checkpoint.tmp.npz").replace(interrupted / "checkpoint.npz")
    said = begin(interrupted, small, everything(clips))
    assert "from step 60" in said
    assert "trained" in said
    assert (interrupted / "weights.npz").exists()


@pytest.mark.slow
def test_a_folder_with_another_run_is_refused(interrupted, small, clips):
    before = {path: path.read_bytes() for path in interrupted.iterdir() if path.is_file()}
    split = everything(clips)
    for match, refused in (
        (r"another kind \(seed 0, now 1\); give another folder by --run", lambda: begin(interrupted, small, split, 1)),
        (r"another kind \(steps 60, now 90\)", lambda: begin(interrupted, small, split, steps=90)),
        (
            r"another kind \(recipe small, now tonelight\)",
            lambda: begin(interrupted, tiny(RECIPES["tonelight"]), split),
        ),
        (
            r"another kind \(corpora .*32.*now .*24",
            lambda: begin(interrupted, small, replace(split, train=split.train[:24])),
        ),
        (
            r"begun with another form of the recipe small; give another folder",
            lambda: begin(interrupted, replace(small, gate=replace_gate(small)), split),
        ),
    ):
        with pytest.raises(TrainingError, match=match) as error:
            refused()
        assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in interrupted.iterdir() if path.is_file()} == before


@pytest.mark.slow
def test_a_run_that_does_not_know_its_form_is_refused_by_its_features(interrupted, small, clips):
    kept = (interrupted / "run.json").read_bytes()
    forget_form(interrupted)
    with pytest.raises(TrainingError, match=r"other features of the same clips"):
        begin(interrupted, replace(small, gate=replace_gate(small)), everything(clips))
    (interrupted / "run.json").write_bytes(kept)


@pytest.mark.slow
def test_a_run_of_another_form_is_not_exported(run, monkeypatch):
    assert training.load_run(run)[0].digest
    other = replace(RECIPES["tonelight"], gate=replace_gate(RECIPES["tonelight"]))
    monkeypatch.setitem(RECIPES, "tonelight", other)
    with pytest.raises(TrainingError, match=r"trained with another form of the recipe tonelight than this version"):
        training.load_model(run)


def forget_form(run: Path) -> None:
    """As a version wrote it that did not keep the form."""
    info = msgspec.json.decode((run / "run.json").read_bytes(), type=training.RunInfo)
    (run / "run.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(info, digest=None)))


def replace_gate(recipe: Recipe):
    return msgspec.structs.replace(recipe.gate, hangover_ms=100)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_one_clear_line(interrupted, small, clips):
    checkpoint = interrupted / "checkpoint.npz"
    whole = checkpoint.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        checkpoint.write_bytes(content)
        with pytest.raises(TrainingError, match=r"checkpoint\.npz is damaged .*; delete it to start again") as error:
            begin(interrupted, small, everything(clips))
        assert "\n" not in str(error.value)
    # of a network that the recipe no longer builds
    checkpoint.write_bytes(whole)
    forget_form(interrupted)
    other = replace(small, build=RECIPES["tonelight"].build)
    with pytest.raises(TrainingError, match=r"of another network than small is now"):
        begin(interrupted, other, everything(clips))


@pytest.mark.slow
def test_a_training_that_diverges_stops_and_says_so(small, clips, tmp_path):
    hopeless = replace(small, training=replace(small.training, learning_rate=float("inf")))
    with pytest.raises(TrainingError, match=r"the loss is no number any more between the steps 0 and 30"):
        begin(tmp_path / "run", hopeless, everything(clips))
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"is no run folder \(it has no run.json\); `tonelight-train train` makes"):
        training.load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"recipe": 3}')
    with pytest.raises(TrainingError, match=r"run\.json: .*train again"):
        training.load_run(tmp_path)


def test_a_run_of_a_recipe_that_is_gone_names_those_there_are(tmp_path):
    import msgspec

    from edge.normalize import NormalizerConfig

    nothing = NormalizerConfig((0.0,), (1.0,), (False,), 0, 1)
    info = training.RunInfo("lost", 0, 1, "everything", (), (), {}, nothing, {})
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(info))
    with pytest.raises(RecipeError, match="no recipe 'lost'; there are: tonelight"):
        training.load_run(tmp_path)


# --- parts ------------------------------------------------------------------------------------------------------------


def test_the_loss_is_cross_entropy_over_all_emotions():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 8)).astype(np.float32)
    targets = np.eye(8, dtype=np.float32)[[4, 2, 7]]
    found = np.asarray(training.loss_of(0.1)(np.concatenate([targets, np.ones((3, 1))], axis=1).astype("f4"), logits))
    for row in range(3):
        p = np.exp(logits[row]) / np.exp(logits[row]).sum()
        assert found[row] == pytest.approx(-((0.9 * targets[row] + 0.1 / 8) * np.log(p)).sum(), abs=1e-5)


def test_a_ninth_logit_learns_whether_anybody_speaks():
    emotions = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    targets = np.zeros((2, 9), np.float32)
    targets[0, [2, 8]] = 1  # a voice; the other row is a scene without one
    loss = training.loss_of(0.1)
    of_emotions = np.asarray(loss(targets, emotions))
    assert of_emotions[1] == 0
    for heard, wanted in ((0, np.log(2)), (3, np.log1p(np.exp(-3)))):
        logits = np.concatenate([emotions, np.array([[heard], [-heard]])], axis=1).astype(np.float32)
        np.testing.assert_allclose(np.asarray(loss(targets, logits)) - of_emotions, wanted, atol=1e-5)


def test_masked_argmax_answers_with_what_the_corpus_has():
    logits = np.array([[9, 1, 2, 0, 0, 0, 0, 0]] * 2, np.float32)
    masks = {"a": np.ones(8, np.float32), "b": np.array([0, 1, 1, 0, 0, 0, 0, 0], np.float32)}
    assert training.masked_argmax(logits, ["a", "b"], masks).tolist() == [0, 2]


def test_the_average_is_a_mean_at_first_and_fades_later():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    averager = training.Averager(model, 0.5 ** (1 / training.AVERAGE_EVERY))
    seen = []
    for value in (4.0, 2.0, 8.0):
        model.set_weights([np.array([[value]], np.float32)])
        for batch in range(training.AVERAGE_EVERY):
            averager.on_train_batch_end(batch)
        seen.append(float(averager.weights[0][0, 0]))
    assert seen == pytest.approx([4, 3, 5.5])  # the mean of two, then half of what was and half of what is
    with averager.applied():
        assert float(model.get_weights()[0][0, 0]) == pytest.approx(5.5)
    assert float(model.get_weights()[0][0, 0]) == 8
    averager.apply()
    assert float(model.get_weights()[0][0, 0]) == pytest.approx(5.5)


def test_the_learning_rate_warms_up_and_falls():
    recipe = RECIPES["lstm128"]
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    training.compile_model(model, recipe, 1000)
    schedule = model.optimizer._learning_rate
    peak = recipe.training.learning_rate
    rates = [float(schedule(step)) for step in range(0, 1001, 10)]
    assert rates[0] == pytest.approx(peak / 25)
    assert max(rates) == pytest.approx(peak)
    assert np.argmax(rates) == 5
    assert rates[-1] == pytest.approx(peak / 100, rel=1e-2)
