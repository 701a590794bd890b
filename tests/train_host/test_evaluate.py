"""Evaluation on two tiny corpora that are called savee and tess, so that their protocols apply."""

import csv
import importlib.util
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

pytest.importorskip("keras")

from rich.console import Console
from tiny_corpus import RATE_HZ, SPEAKERS, VOICES, voice
from tiny_recipe import tiny

from edge.labels import EMOTIONS
from edge.pipeline import FileResult
from edge.smoothing import DecisionConfig
from train_host.cli import main
from train_host.corpora import find_corpora, find_sounds
from train_host.corpora.clip import Clip
from train_host.dataset import Extraction, Sounds, training_sounds
from train_host.errors import EvaluationError, FoldError, RecipeError
from train_host.evaluate import features, measure, noise, result, work
from train_host.evaluate.tasks import Task, all_splits, clips_digest, find_tasks, make_split
from train_host.recipes import RECIPES, Recipe
from train_host.recordings import read_recording
from train_host.train import load_data, load_run

PEOPLE = {"savee": ("DC", "JE", "JK", "KL"), "tess": ("OAF", "YAF")}
TASK = Task("small", "savee_loso", "savee_loso/1", 4, 0)
needs_tensorflow = pytest.mark.skipif(not importlib.util.find_spec("tensorflow"), reason="exports with TensorFlow")


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora with a manifest, 4 and 2 speakers, four emotions, two takes; two noises and a room."""
    root = tmp_path_factory.mktemp("protocols")
    rows = []
    with pytest.MonkeyPatch.context() as patch:
        for corpus, people in PEOPLE.items():
            for number, who in enumerate(people):
                patch.setitem(SPEAKERS, who, 0.92 + 0.04 * number)
                for emotion in VOICES:
                    for take in range(2):
                        path = root / corpus / who / f"{who}-{emotion}-{take}.wav"
                        path.parent.mkdir(parents=True, exist_ok=True)
                        soundfile.write(path, voice(emotion, who, take, 0.6), RATE_HZ)
                        gender = "male" if corpus == "savee" else "female"
                        rows.append((path.relative_to(root), corpus, who, gender, "en", emotion, emotion))
    with (root / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "dataset", "speaker", "gender", "language", "emotion", "emotion8"))
        writer.writerows(rows)
    rng = np.random.default_rng(0)
    for name in ("tap", "cafe"):
        soundfile.write(root / f"{name}.wav", 0.05 * rng.standard_normal(3 * RATE_HZ), RATE_HZ)
    room = np.zeros(2000)
    room[10], room[500] = 1, 0.4
    soundfile.write(root / "hall.wav", room, RATE_HZ)
    (root / "noise_manifest.csv").write_text(
        "path,kind,source,licence\ntap.wav,noise,here,CC0\ncafe.wav,noise,there,private use only\n"
        "hall.wav,rir,here,CC0\n"
    )
    return root


@pytest.fixture(scope="session")
def both(corpora) -> list[Clip]:
    return [clip for corpus in find_corpora(corpora) for clip in corpus.clips]


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    """A recipe of its own with a network that is trained in a moment; one augmented copy of each clip."""
    import keras

    from train_host import model

    def build(n_features: int) -> keras.Model:
        return model.build(n_features, units=8, n_layers=1, n_heads=1, dropout=0.1, hears_speech=False)

    recipe = tiny(RECIPES["tonelight"], steps=20, batch_size=8, crop_frames=64, views=1, n_scenes=0)
    return replace(recipe, name="small", build=build)


@pytest.fixture
def small(small_recipe, monkeypatch) -> Recipe:
    monkeypatch.setitem(RECIPES, "small", small_recipe)
    return small_recipe


def order(out: Path, corpora: Path, task: Task = TASK, **changes) -> work.Order:
    fields = {"features": None, "train": True, "score": False, "noise": False, "n_processes": 1}
    return work.Order(task=task, out=str(out), corpora=str(corpora), **{**fields, **changes})


def perform(given: work.Order) -> str:
    said = io.StringIO()
    work.perform(given, Console(file=said, width=200))
    return said.getvalue()


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_protocols_are_those_whose_corpora_are_there():
    assert all_splits({"savee", "tess"}) == {
        "savee_loso": ["savee_loso/1", "savee_loso/2", "savee_loso/3", "savee_loso/4"],
        "tess_twoway": ["tess_twoway/1", "tess_twoway/2"],
        "unseen": ["unseen_savee", "unseen_tess"],
        "random": ["random"],
    }
    assert set(all_splits({"ravdess"})) == {"ravdess_luna5", "ravdess_emobox6", "cross", "random"}
    # a corpus that trains nothing is still tested, unseen
    assert all_splits({"savee", "tess", "ased"})["unseen"] == ["unseen_ased", "unseen_savee", "unseen_tess"]
    assert all_splits({"ased"}) == {}


def test_tasks_are_all_recipes_splits_and_seeds_the_first_seed_first():
    tasks = find_tasks(["tess_twoway", "unseen_savee"], ["tonelight", "lstm128"], 2, {"savee", "tess"}, None)
    assert [(t.seed, t.recipe, t.split, t.n_folds) for t in tasks[:4]] == [
        (0, "tonelight", "tess_twoway/1", 2),
        (0, "tonelight", "tess_twoway/2", 2),
        (0, "tonelight", "unseen_savee", 2),
        (0, "lstm128", "tess_twoway/1", 2),
    ]
    assert len(tasks) == len(set(tasks)) == 12
    assert {t.seed for t in tasks[6:]} == {1}
    everything = find_tasks([], ["lstm128"], 1, {"savee", "tess"}, None)
    assert len(everything) == 4 + 2 + 2 + 1
    one = find_tasks(["savee_loso/3", "savee_loso/3"], ["lstm128"], 1, {"savee", "tess"}, None)
    assert [t.split for t in one] == ["savee_loso/3"]


def test_what_is_no_protocol_is_refused_in_a_line():
    with pytest.raises(FoldError, match=r"ravdess_luna5 needs the corpus ravdess, which is not there; there is savee"):
        find_tasks(["ravdess_luna5"], ["lstm128"], 1, {"savee"}, None)
    with pytest.raises(FoldError, match=r"no protocol 'luna'; with these corpora there are savee_loso, random"):
        find_tasks(["luna"], ["lstm128"], 1, {"savee"}, None)
    with pytest.raises(RecipeError, match="no recipe 'x'"):
        find_tasks([], ["x"], 1, {"savee"}, None)


def test_a_trial_is_never_in_the_place_of_the_real_one(tmp_path):
    folders = {replace(TASK, steps=steps).folder(tmp_path) for steps in (None, 10, 20)}
    assert len(folders) == 3
    assert TASK.folder(tmp_path) == tmp_path / "small" / "savee_loso-1" / "seed-0"


def test_splits_of_tasks(both):
    split = make_split(TASK, both)
    assert {clip.speaker_id for clip in split.test} == {"savee/DC"}
    unseen = make_split(Task("small", "unseen", "unseen_tess", 2, 0), both)
    assert {clip.corpus for clip in unseen.test} == {"tess"}
    assert {clip.corpus for clip in (*unseen.train, *unseen.val)} == {"savee"}
    leaky = [make_split(Task("small", "random", "random", 1, seed), both) for seed in (0, 0, 1)]
    assert leaky[0] == leaky[1] != leaky[2]


def test_a_corpus_of_unknown_terms_is_tested_but_trains_nothing(both):
    other = [replace(clip, corpus="ased", path=Path("ased") / clip.path.name) for clip in both if clip.corpus == "tess"]
    for task in (TASK, Task("small", "random", "random", 1, 0), Task("small", "unseen", "unseen_tess", 3, 0)):
        split = make_split(task, [*both, *other])
        assert "ased" not in {clip.corpus for clip in (*split.train, *split.val, *split.test)}
    split = make_split(Task("small", "unseen", "unseen_ased", 3, 0), [*both, *other])
    assert {clip.corpus for clip in split.test} == {"ased"}


# --- features ---------------------------------------------------------------------------------------------------------


def test_features_of_a_split_are_those_that_training_would_load(both, corpora, small_recipe, tmp_path):
    sounds = training_sounds(corpora)
    split = make_split(TASK, both)
    console = Console(file=io.StringIO())
    wanted = load_data(split, small_recipe, sounds, console)
    measured = features.measure(both, small_recipe, sounds, console)(split)
    features.write(tmp_path, corpora, both, [], small_recipe, sounds, console)
    known = features.read_clips(tmp_path, small_recipe)
    elsewhere = features.read(tmp_path, small_recipe, make_split(TASK, known))
    assert len(wanted.train) > len(split.train)  # the augmented copies, too
    for data in (measured, elsewhere):
        for side in ("train", "val"):
            mine, theirs = getattr(data, side), getattr(wanted, side)
            assert [one.clip.path.name for one in mine] == [one.clip.path.name for one in theirs]
            assert all(np.array_equal(a.features, b.features) for a, b in zip(mine, theirs, strict=True))


def test_a_folder_of_features_says_what_is_missing(both, corpora, small_recipe, tmp_path):
    console = Console(file=io.StringIO())
    with pytest.raises(EvaluationError, match=r"index.json is missing; `tonelight-train evaluate --phase features"):
        features.read_clips(tmp_path, small_recipe)
    paths = features.write(tmp_path, corpora, both, [], small_recipe, Sounds([], []), console)
    assert {path.name for path in paths} == {
        "index.json", *(f"{corpus}-view{view}-00.npz" for corpus in PEOPLE for view in (0, 1))
    }  # fmt: skip
    clips = features.read_clips(tmp_path, small_recipe)
    lost = tmp_path / "small" / "tess-view1-00.npz"
    whole = lost.read_bytes()
    lost.write_bytes(whole[:100])
    with pytest.raises(EvaluationError, match=r"tess-view1-00.npz is damaged; copy it here again"):
        features.read(tmp_path, small_recipe, make_split(TASK, clips))
    lost.unlink()
    with pytest.raises(EvaluationError, match=r"tess-view1-00.npz is missing, and savee_loso/1 trains on tess; copy"):
        features.read(tmp_path, small_recipe, make_split(TASK, clips))
    # and does not ask for what the split does not need
    features.read(tmp_path, small_recipe, make_split(Task("small", "unseen", "unseen_tess", 2, 0), clips))
    with pytest.raises(EvaluationError, match=r"written for another form of the recipe small"):
        features.read_clips(tmp_path, tiny(small_recipe, views=0))


# --- noise ------------------------------------------------------------------------------------------------------------


def test_a_recording_gets_the_same_noise_whatever_else_is_measured(corpora, both):
    around = {one.name: one for one in noise.surroundings(find_sounds(corpora))}
    assert list(around) == ["noise at 20 dB", "noise at 10 dB", "noise at 5 dB", "noise at 0 dB", "rooms"]
    again = {one.name: one for one in noise.surroundings(find_sounds(corpora))}
    clip = both[0]
    samples = read_recording(clip.path)
    for name, one in around.items():
        heard = one(samples, clip.path)
        assert heard.shape == samples.shape
        assert not np.array_equal(heard, samples)
        np.testing.assert_array_equal(heard, again[name](samples, Path("elsewhere") / clip.path.name))
        assert again[name].chosen(clip.path) == one.chosen(clip.path)
    # both noises are drawn
    assert len({around["noise at 5 dB"].chosen(one.path).path.stem for one in both}) == 2


def test_the_noise_is_as_loud_as_it_says(corpora, both):
    from train_host.augment import active_level

    samples = read_recording(both[0].path)
    for one in noise.surroundings(find_sounds(corpora))[:4]:
        added = one(samples, both[0].path) - samples
        found = 20 * np.log10(active_level(samples) / np.sqrt(np.mean(added**2)))
        assert found == pytest.approx(one.snr_db, abs=0.1)


# --- measuring --------------------------------------------------------------------------------------------------------


def of(emotion: str, speaker: str = "a", gender: str | None = None) -> Clip:
    return Clip(Path(f"{speaker}-{emotion}.wav"), "corpus", speaker, gender, None, emotion, emotion)


def probs(**shares: float) -> list[float]:
    return [shares.get(emotion, 0.0) for emotion in EMOTIONS]


CLIPS = [of("happy"), of("sad"), of("disgusted"), of("happy", "b"), of("calm", "b")]
PROBS = np.array(
    [
        probs(happy=0.6, sad=0.4),
        probs(calm=0.5, sad=0.3, angry=0.2),  # calm is no answer where the corpus has none
        probs(disgusted=0.9, happy=0.1),
        probs(),  # no speech
        probs(calm=0.7, sad=0.3),
    ]
)


DECISION = DecisionConfig(
    temperature=1,
    time_constant_s=0.6,
    enter=0.55,
    exit=0.4,
    uncertain_below=0.55,
    speech_from=0.0,
    activation_scale=2,
    activation_offset=0,
)


def test_answers_are_out_of_the_classes():
    assert measure.answers(PROBS).tolist() == [2, 1, 6, -1, 1]
    assert measure.answers(PROBS, ("happy", "sad", "disgusted")).tolist() == [2, 3, 6, -1, 3]


def test_counts_of_speakers():
    classes = ("happy", "sad", "disgusted")
    a, b = measure.speakers(CLIPS, PROBS, {"corpus": classes}, DECISION)
    wanted = np.zeros((8, 9), int)
    wanted[2, 2] = wanted[3, 3] = wanted[6, 6] = 1
    assert np.array_equal(a.emotions, wanted)
    wanted = np.zeros((8, 9), int)
    wanted[2, 8] = 1  # and calm is not counted: the training has none
    assert np.array_equal(b.emotions, wanted)
    # disgust has no activation; sad is low, for calm and sad together are 0.8
    assert a.activation == ((1, 0, 0), (0, 1, 0))
    assert b.activation == ((0, 0, 1), (0, 0, 0))


def test_figures_of_a_corpus():
    found = measure.corpus_result(CLIPS, PROBS, PROBS, ("happy", "sad", "disgusted"), DECISION)
    # by confidence: disgusted 0.9 right, happy 0.6 right, sad 0.5 wrong (calm), happy 0 wrong (no speech)
    assert [b for b in found.calibration if b.n] == [
        result.Bin(1, 0.0, 0),
        result.Bin(1, 0.5, 0),
        result.Bin(1, 0.6, 1),
        result.Bin(1, 0.9, 1),
    ]
    assert (found.n_certain, found.n_certain_right) == (2, 2)
    assert found.coverage[9] == 1
    assert found.coverage[-1] == 0.5
    assert np.array(found.all_answers)[3].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert np.array(found.keras)[3].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_the_activation_is_told_by_the_calibration_of_the_bundle():
    classes = ("happy", "sad", "disgusted")
    found = measure.corpus_result(CLIPS, PROBS, PROBS, classes, DECISION)
    # odds of 3 to 2 and of 1 to 4 squared; both right; nothing heard is wrong, and not confident
    assert [(b.n, b.confidence, b.n_right) for b in found.activation_calibration if b.n] == [
        (1, 0.0, 0),
        (1, round(9 / 13, 4), 1),
        (1, round(16 / 17, 4), 1),
    ]
    assert found.activation_coverage[12] == 1
    assert found.activation_coverage[-1] == pytest.approx(2 / 3, abs=1e-4)
    low = msgspec.structs.replace(DECISION, activation_offset=-1)
    assert measure.speakers(CLIPS, PROBS, {"corpus": classes}, low)[0].activation == ((0, 1, 0), (0, 1, 0))


def test_probabilities_of_recordings_without_speech_are_zero():
    found = measure.probabilities([FileResult(1.0, 0, None, 0.0, {}, True, None)])
    assert found.shape == (1, 8)
    assert not found.any()
    assert measure.probabilities([]).shape == (0, 8)


def test_shared_classes():
    assert measure.shared_classes({"sad", "happy", "calm"}, {"happy", "sad", "angry"}) == ("happy", "sad")


@pytest.mark.slow
@needs_tensorflow
def test_the_float_model_is_asked_on_the_features_and_by_the_rule_of_the_device(run, both, tmp_path):
    """Without quantization the two must say the same, to the fourth digit: all that differs is the arithmetic."""
    from edge.bundle import load_bundle
    from train_host.export import export
    from train_host.scoring import hear
    from train_host.train import load_model

    console = Console(file=io.StringIO())
    bundle = export(run, tmp_path, name="b", version="0.0.0", quantization="none", clips=None, console=console)
    _, recipe, model = load_model(run)
    paths = [clip.path for clip in both[::4]]
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(RATE_HZ), RATE_HZ)
    # two stretches of speech, of which the longer counts more
    pause = np.zeros(RATE_HZ, np.float32)
    two = np.concatenate(
        [read_recording(paths[0]), pause, np.tile(read_recording(paths[-1])[RATE_HZ // 2 : -RATE_HZ // 2], 2), pause]
    )
    soundfile.write(tmp_path / "two.wav", two, RATE_HZ)
    paths += [silence, tmp_path / "two.wav"]
    heard = list(hear(bundle, paths, 1))
    assert heard[-1].segments == 2
    wanted = measure.probabilities(heard)
    seen: list[int] = []
    found = measure.keras_probabilities(model, load_bundle(bundle), recipe, paths, lambda: seen.append(1))
    assert len(seen) == len(paths)
    assert not found[-2].any()
    assert len(set(measure.answers(wanted).tolist())) > 2
    np.testing.assert_allclose(found, wanted, atol=1e-4)


# --- one task, in this process ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory, corpora, small_recipe) -> Path:
    """The folder `out` of a finished training of `TASK`."""
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "small", small_recipe)
        perform(order(out, corpora))
    return out


def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "out"))


@pytest.mark.slow
def test_a_tested_speaker_reaches_nothing(trained, small, corpora, both):
    """Neither weights nor normaliser, nor what calibration and thresholds are made from."""
    run = TASK.folder(trained) / "run"
    info, recipe = load_run(run)
    assert "savee/DC" not in {*info.train_speakers, *info.val_speakers}
    assert not set(info.train_speakers) & set(info.val_speakers)
    assert set(info.train_speakers) | set(info.val_speakers) == {
        f"{corpus}/{who}" for corpus, people in PEOPLE.items() for who in people
    } - {"savee/DC"}

    # the normaliser is the mean over the training speakers, and over nobody else
    split = make_split(TASK, both)
    extraction = Extraction(recipe, training_sounds(corpora))
    own = [clip for clip in both if clip.speaker_id in info.train_speakers]
    rows = [one.features.astype(float) for view in (0, 1) for one in extraction.examples(own, view)]
    np.testing.assert_allclose(info.normalizer.mean, np.concatenate(rows).mean(axis=0), atol=1e-3)
    with_tested = [*rows, *(one.features.astype(float) for one in extraction.examples(split.test, 0))]
    assert not np.allclose(info.normalizer.mean, np.concatenate(with_tested).mean(axis=0), atol=1e-3)

    # calibration and thresholds come from validation.npz: the segments of the validation speakers
    validation = [clip for clip in both if clip.speaker_id in info.val_speakers]
    with np.load(run / "validation.npz") as file:
        assert len(file["truth"]) == len(extraction.examples(validation, 0))
    with np.load(run / "sequences.npz") as file:
        assert len(file.files) == len(extraction.examples(validation, 0))

    done = msgspec.json.decode((TASK.folder(trained) / "training.json").read_bytes(), type=work.Training)
    assert done.test_clips == clips_digest(split.test)
    assert done.seconds > 0


@pytest.mark.slow
def test_what_is_done_is_known_and_not_done_again(trained, small, corpora):
    assert work.is_done(TASK, trained, train=True, score=False, noise=False)
    assert not work.is_done(TASK, trained, train=True, score=True, noise=False)
    assert not work.is_done(replace(TASK, seed=1), trained, train=True, score=False, noise=False)
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    assert perform(order(trained, corpora)) == ""
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_run_of_another_form_of_the_recipe_is_refused(trained, small, corpora, monkeypatch):
    monkeypatch.setitem(RECIPES, "small", tiny(small, learning_rate=1e-3))
    with pytest.raises(EvaluationError, match=r"trained with an earlier form of the recipe small; give another --out"):
        work.is_done(TASK, trained, train=True, score=False, noise=False)
    with pytest.raises(EvaluationError, match=r"trained with an earlier form of the recipe small"):
        perform(order(trained, corpora, train=False, score=True))


@pytest.mark.slow
def test_a_run_is_only_measured_on_whom_it_was_not_trained(trained, small, corpora, tmp_path):
    out = copied(trained, tmp_path)
    other = replace(TASK, split="savee_loso/2")
    # as if by mistake: the run of another fold, which has trained on the speaker that this one tests
    other.folder(out).parent.mkdir()
    TASK.folder(out).rename(other.folder(out))
    with pytest.raises(EvaluationError, match=r"was trained on another split than savee_loso/2 is now"):
        perform(order(out, corpora, other, train=False, score=True))


@pytest.mark.slow
def test_an_interrupted_training_goes_on(small, corpora, tmp_path, monkeypatch):
    folder = TASK.folder(tmp_path)
    savez = np.savez

    def stop(path, **arrays):
        if "logits" in arrays:  # after the last checkpoint, before the end
            raise KeyboardInterrupt
        savez(path, **arrays)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "savez", stop)
        perform(order(tmp_path, corpora))
    assert not (folder / "training.json").exists()
    assert not work.is_done(TASK, tmp_path, train=True, score=False, noise=False)
    assert "from step 20" in perform(order(tmp_path, corpora))
    done = msgspec.json.decode((folder / "training.json").read_bytes(), type=work.Training)
    assert done.seconds is None  # it was interrupted: nobody knows how long it took


@pytest.mark.slow
@needs_tensorflow
def test_scoring_needs_a_training(small, corpora, tmp_path):
    with pytest.raises(EvaluationError, match=r"is not trained yet; leave --phase out"):
        perform(order(tmp_path, corpora, train=False, score=True))


# --- the whole of it --------------------------------------------------------------------------------------------------


def evaluate(out: Path, corpora: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "train_host.cli", "evaluate", "--corpora", str(corpora), "--out", str(out)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


SHORT = ("--recipe", "lstm128", "--seeds", "1", "--steps", "6")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, corpora) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Both directions of tess, of which one cannot be done, in processes of their own."""
    out = tmp_path_factory.mktemp("evaluated")
    blocked = Task("lstm128", "tess_twoway", "tess_twoway/2", 2, 0, 6).folder(out)
    blocked.mkdir(parents=True)
    (blocked / "run").write_text("a file where a folder must be")
    return out, evaluate(out, corpora, "--protocol", "tess_twoway", "--noise", *SHORT)


@pytest.mark.slow
@needs_tensorflow
def test_a_failing_task_is_reported_and_the_others_go_on(evaluated):
    out, done = evaluated
    assert done.returncode == 1, done.stdout + done.stderr
    assert "done lstm128 tess_twoway/1 seed 0 (6 steps): UAR" in done.stdout
    assert "failed lstm128 tess_twoway/2 seed 0 (6 steps)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert len(list(out.rglob("result.json"))) == 1


@pytest.mark.slow
@needs_tensorflow
def test_the_result_of_a_task(evaluated, both):
    out, _ = evaluated
    (found,) = result.load_all(out)
    assert (found.protocol, found.split, found.n_folds) == ("tess_twoway", "tess_twoway/1", 2)
    assert (found.trial, found.steps, found.seed, found.leaky, found.quantization) == (True, 6, 0, False, "dynamic")
    assert [(s.corpus, s.speaker, s.gender) for s in found.speakers] == [("tess", "YAF", "female")]
    assert found.corpora["tess"].classes == ("neutral", "happy", "sad", "angry")
    assert found.n_test == sum(clip.speaker_id == "tess/YAF" for clip in both) == found.emotions("tess").sum()
    assert found.emotions("tess").sum(axis=1).tolist() == [2, 0, 2, 2, 2, 0, 0, 0]
    # the exported model is as good as the one that was exported, on the same features
    assert found.uar == pytest.approx(found.uar_float, abs=0.13)
    assert found.parity_agreement >= 0.97
    assert found.train_commit
    assert found.score_commit
    assert [one.name for one in found.conditions][-1] == "rooms"
    for one in found.conditions:
        # lstm128 trains without augmentation: it knows no noise
        assert not np.any(one.familiar["tess"])
        assert np.sum(one.new["tess"]) == found.n_test
    assert found.conditions[0].new_sounds == ("cafe", "tap")
    assert [(one.name, one.is_familiar, one.seconds) for one in found.noises] == [("tap", False, 3), ("cafe", False, 3)]
    text = (next(out.rglob("result.json"))).read_text()
    assert ".wav" not in text
    assert len(text) < 20_000


@pytest.mark.slow
@needs_tensorflow
def test_the_second_time_does_what_is_left(evaluated, corpora):
    out, _ = evaluated
    finished = next(out.rglob("result.json"))
    before = finished.stat().st_mtime_ns
    done = evaluate(out, corpora, "--protocol", "tess_twoway", *SHORT, "--phase", "score")
    assert "2 tasks, 1 of them done before" in done.stdout
    assert "failed lstm128 tess_twoway/2 seed 0 (6 steps)" in done.stdout
    assert "is not trained yet" in done.stdout
    assert finished.stat().st_mtime_ns == before
    report = (out / "accuracy.md").read_text()
    assert "1 of 2 folds done, so there is no total" in report


@pytest.mark.slow
@needs_tensorflow
def test_a_network_that_does_not_bear_quantization_is_measured_with_half_floats(
    evaluated, corpora, tmp_path, monkeypatch
):
    from train_host import export

    monkeypatch.setitem(export.MIN_AGREEMENT, "dynamic", 1.1)
    task = Task("lstm128", "tess_twoway", "tess_twoway/1", 2, 0, 6)
    out = copied(evaluated[0], tmp_path)
    shutil.rmtree(task.folder(out) / "bundle")
    (task.folder(out) / "result.json").unlink()
    assert "measured with float16" in perform(order(out, corpora, task, train=False, score=True))
    assert result.load(task.folder(out) / "result.json").quantization == "float16"


@pytest.mark.slow
@needs_tensorflow
def test_what_was_made_may_be_committed(evaluated):
    out, _ = evaluated
    subprocess.run(["git", "init", "-q", str(out)], check=True)
    subprocess.run(["git", "-C", str(out), "add", "-A"], check=True)
    listed = subprocess.run(["git", "-C", str(out), "ls-files"], check=True, capture_output=True, text=True).stdout
    shutil.rmtree(out / ".git")
    names = {Path(line).name for line in listed.splitlines()}
    assert "result.json" in names
    assert not names & {"weights.npz", "model.tflite", "training.json", "log.txt", "sequences.npz"}


@pytest.mark.slow
def test_a_training_on_jax_without_recordings(corpora, both, tmp_path):
    if not importlib.util.find_spec("jax"):
        pytest.skip("jax is not installed")
    console = Console(file=io.StringIO())
    recipe = RECIPES["lstm128"]
    features.write(tmp_path / "features", corpora, both, [], recipe, Sounds([], []), console)
    command = [sys.executable, "-m", "train_host.cli", "evaluate", "--phase", "train", "--protocol", "tess_twoway/1"]
    done = subprocess.run(
        [*command, *SHORT, "--features", str(tmp_path / "features"), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = next((tmp_path / "out").rglob("run.json")).parent
    info, _ = load_run(run)
    assert info.tools["backend"] == "jax"
    assert (run / "weights.npz").exists()
    assert "tess/YAF" not in {*info.train_speakers, *info.val_speakers}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--phase", "features"], "needs a folder to write to: --features DIR"),
        (["--features", "x"], "--features goes with --phase features or --phase train"),
        (["--phase", "report"], "holds no result.json"),
        (["--phase", "train", "--features", "x"], "index.json is missing"),
        (["--corpora", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage_is_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments]) == 1
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1


# --- result.json ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_tensorflow
def test_a_result_is_strict(evaluated, tmp_path):
    out, _ = evaluated
    whole = msgspec.json.decode(next(out.rglob("result.json")).read_bytes())
    path = tmp_path / "result.json"

    def refused(**changes) -> str:
        path.write_bytes(msgspec.json.encode({**whole, **changes}))
        with pytest.raises(EvaluationError, match="no result of this program") as error:
            result.load(path)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "unknown field" in refused(extra=1)
    assert "uar 0.999 is not that of the counts" in refused(uar=0.999)
    assert "uar_float" in refused(uar_float=0.999)
    assert "same corpora" in refused(corpora={})
    assert "seed" in refused(seed=-1)
    fewer = {"tess": {**whole["corpora"]["tess"], "all_answers": [[0] * 9] * 8}}
    assert "counts of tess are not of the same clips" in refused(corpora=fewer)
    short = {"tess": {**whole["corpora"]["tess"], "coverage": [1.0]}}
    assert "coverage of tess does not have 20 points" in refused(corpora=short)
    del whole["split"]
    assert "split" in refused()
    path.write_text("{")
    with pytest.raises(EvaluationError, match=r"result.json: no result of this program .*; delete it, and evaluate"):
        result.load(path)


@pytest.mark.slow
@needs_tensorflow
def test_two_results_of_one_task_are_refused(evaluated, tmp_path):
    out, _ = evaluated
    source = next(out.rglob("result.json"))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(source, tmp_path / name)
    with pytest.raises(EvaluationError, match="are of the same task; delete one of them"):
        result.load_all(tmp_path)


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU")
def test_the_device_is_told_in_words():
    import keras

    assert work.training_device() == f"{keras.backend.backend()}, {work.processor()}"
    assert re.fullmatch(r".+, \d+ cores", work.processor())


def processes_with(word: str) -> dict[int, str]:
    """Command lines of the processes that have `word` in their environment, by their numbers."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if word.encode() in path.read_bytes():
                command = path.with_name("cmdline").read_bytes()
                found[int(path.parent.name)] = command.replace(b"\0", b" ").decode()
        except OSError:  # not ours, or gone meanwhile
            continue
    return found


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc")
def test_an_interruption_leaves_no_process_and_the_same_command_goes_on(corpora, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "train_host.cli", "evaluate", "--corpora", str(corpora), "--out", str(out)]
    command += ["--protocol", "savee_loso/1", *SHORT, "--phase", "train"]
    # a cache of its own: what is interrupted is the measuring of features, with its workers
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    lock = out / ".features.lock"
    deadline_s = time.monotonic() + 120
    while not lock.exists() and time.monotonic() < deadline_s:
        time.sleep(0.1)
    while len(processes_with(str(tmp_path / "cache"))) < 4 and time.monotonic() < deadline_s:  # its workers are there
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("tonelight-train: interrupted")
    assert "Traceback" not in said
    assert not processes_with(str(tmp_path / "cache"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "done lstm128 savee_loso/1" in done.stdout
    assert len(list(out.rglob("weights.npz"))) == 1
