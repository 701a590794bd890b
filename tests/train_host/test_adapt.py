"""Adaptation to a person whose happy voice sounds like everybody else's angry one, and the other way round."""

import csv
import io
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

keras = pytest.importorskip("keras")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from rich.console import Console  # noqa: E402
from tiny_corpus import RATE_HZ, SPEAKERS, VOICES, voice  # noqa: E402

from edge.bundle import load_bundle  # noqa: E402
from edge.labels import EMOTIONS  # noqa: E402
from edge.pipeline import verify_golden  # noqa: E402
from train_host.adapt import (  # noqa: E402
    PERSONAL,
    PRIOR,
    Adapter,
    Head,
    adapt,
    embed,
    fit_head,
    head_of,
    load_personal,
    read_clips,
)
from train_host.cli import main  # noqa: E402
from train_host.dataset import Extraction  # noqa: E402
from train_host.errors import CorpusError, TrainingError  # noqa: E402
from train_host.scoring import score  # noqa: E402
from train_host.train import VALIDATION, load_model  # noqa: E402

pytestmark = pytest.mark.usefixtures("few_steps")

OTHER_WAY = {"happy": "angry", "angry": "happy", "sad": "sad", "neutral": "neutral"}


def record(root: Path, takes: range, seconds: float = 0.8) -> Path:
    """A manifest of the odd person's clips, and the clips; its path."""
    root.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch, (root / "mine.csv").open("w", newline="") as file:
        patch.setitem(SPEAKERS, "dora", 1.02)
        writer = csv.writer(file)
        writer.writerow(("path", "emotion", "speaker"))
        for emotion in VOICES:
            for take in takes:
                name = f"{emotion}-{take}.wav"
                soundfile.write(root / name, voice(emotion, "dora", take, seconds), RATE_HZ)
                writer.writerow((name, OTHER_WAY[emotion], "dora"))
    return root / "mine.csv"


@pytest.fixture(scope="session")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("person") / "clips", range(3))


@pytest.fixture(scope="session")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the same person says after the adaptation."""
    return record(tmp_path_factory.mktemp("person") / "later", range(10, 14))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory, run: Path, mine: Path, few_steps: None) -> Path:
    out = tmp_path_factory.mktemp("adapted") / "run"
    adapt(run, read_clips(mine), out, Console(file=io.StringIO()))
    return out


# --- the layer --------------------------------------------------------------------------------------------------------


def random_head(rng: np.random.Generator, width: int = 6) -> Head:
    return Head(rng.standard_normal((width, len(EMOTIONS))), rng.standard_normal(len(EMOTIONS)))


def objective(head: Head, old: Head, rows: np.ndarray, emotions: np.ndarray) -> float:
    """What the layer is to minimise, in other words: mean over emotions of the mean loss, and the distance."""
    present = np.unique(emotions)
    logits = head(rows)[:, present]
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(rows)), np.searchsorted(present, emotions)]
    far = ((head.kernel - old.kernel) ** 2).sum() + ((head.bias - old.bias) ** 2).sum()
    return float(np.mean([losses[emotions == e].mean() for e in present]) + PRIOR / 2 * far)


def test_the_layer_is_the_best_one_and_no_direction_is_better():
    rng = np.random.default_rng(0)
    old, rows, emotions = random_head(rng), rng.standard_normal((7, 6)), np.array([2, 2, 2, 2, 3, 3, 4])
    new = fit_head(old, rows, emotions, np.ones(7))
    best = objective(new, old, rows, emotions)
    assert best < objective(old, old, rows, emotions)
    for _ in range(200):
        other = Head(
            new.kernel + 0.02 * rng.standard_normal(new.kernel.shape), new.bias + 0.02 * rng.standard_normal(8)
        )
        assert objective(other, old, rows, emotions) > best


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), emotions=st.lists(st.integers(0, 7), min_size=2, max_size=12))
def test_emotions_that_nobody_recorded_keep_their_weights(seed, emotions):
    rng = np.random.default_rng(seed)
    old = random_head(rng)
    new = fit_head(old, rng.standard_normal((len(emotions), 6)), np.array(emotions), np.ones(len(emotions)))
    absent = [i for i in range(8) if i not in emotions]
    assert np.array_equal(new.kernel[:, absent], old.kernel[:, absent])
    assert np.array_equal(new.bias[absent], old.bias[absent])
    assert np.isfinite(new.kernel).all()


def test_an_emotion_with_many_clips_counts_no_more_than_one_with_few():
    rng = np.random.default_rng(1)
    old, rows = random_head(rng), rng.standard_normal((3, 6))
    once = fit_head(old, rows, np.array([0, 0, 1]), np.ones(3))
    twice = fit_head(old, rows[[0, 1, 2, 2]], np.array([0, 0, 1, 1]), np.ones(4))
    assert np.allclose(once.kernel, twice.kernel, atol=1e-3)


# --- the clips --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("path,emotion\na.wav,bored\n", "'bored' is none of neutral"),
        (
            "path,emotion,speaker\na.wav,sad,ann\nb.wav,happy,bea\n",
            "holds clips of ann, bea; a bundle is adapted to one",
        ),
        ("path,emotion\na.wav,sad\nb.wav,sad\n", "holds clips of sad only; record at least two emotions"),
        ("path,emotion\n", "holds clips of no emotion only"),
        ("path,mood\na.wav,sad\n", "has no column 'emotion'"),
        ("path,emotion\na.wav,sad\na.wav,happy\n", "listed already in line 2"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(tmp_path, table, words):
    (tmp_path / "mine.csv").write_text(table)
    with pytest.raises(CorpusError, match=words) as caught:
        read_clips(tmp_path / "mine.csv")
    assert "mine.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_table_says_what_one_is(tmp_path):
    with pytest.raises(CorpusError, match="is no file; --clips takes a CSV table with the columns path and emotion"):
        read_clips(tmp_path)


# --- the run ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_the_person_says_later_is_recognised_better(run, adapted, later, no_sounds):
    clips = read_clips(later)
    shares = []
    for folder in (run, adapted):
        info, recipe, model = load_model(folder)
        embeddings, examples = embed(model, Extraction(recipe, no_sounds).examples(clips, 0), recipe, info)
        answers = head_of(model)(embeddings)[:, [EMOTIONS.index(emotion) for emotion in sorted(VOICES)]].argmax(axis=1)
        shares.append(np.mean([sorted(VOICES)[a] == e.clip.emotion for a, e in zip(answers, examples, strict=True)]))
    assert shares[0] <= 0.6
    assert shares[1] >= 0.85


@pytest.mark.slow
def test_the_embedding_leads_to_the_last_layer(run, clips, no_sounds):
    info, recipe, model = load_model(run)
    some = Extraction(recipe, no_sounds).examples(clips[:3], 0)
    embeddings, examples = embed(model, some, recipe, info)
    from train_host.train import predict, validation_inputs

    assert np.allclose(
        head_of(model)(embeddings), predict(model, validation_inputs(examples, recipe, info)[0]), atol=1e-4
    )


@pytest.mark.slow
def test_an_adapter_begins_anew_each_time(run, mine, no_sounds):
    info, recipe, model = load_model(run)
    examples = Extraction(recipe, no_sounds).examples(read_clips(mine), 0)
    adapter = Adapter(model, recipe, info)
    before = adapter.logits(examples)
    adapter.fit(examples)
    once = adapter.logits(examples)
    assert np.abs(once - before).max() > 0.1
    adapter.fit(examples[::-1][: len(examples) // 2])
    adapter.fit(examples)
    assert np.allclose(adapter.logits(examples), once, atol=1e-3)
    adapter.restore()
    assert np.allclose(adapter.logits(examples), before, atol=1e-5)


@pytest.mark.slow
def test_figures_are_of_clips_that_were_left_out(run, adapted):
    personal = load_personal(adapted)
    assert personal is not None
    assert personal.clips == {"neutral": 3, "happy": 3, "sad": 3, "angry": 3}
    assert personal.uar_before <= 0.6
    assert 0.75 <= personal.uar_after <= 1
    with np.load(adapted / VALIDATION) as file, np.load(run / VALIDATION) as before:
        assert file.files == before.files
        assert np.array_equal(file["speech"], before["speech"])
        assert file["logits"].shape == (len(file["truth"]), len(EMOTIONS))
        assert len(file["truth"]) >= 12
        # the device may answer all eight, so thresholds are set on all eight
        assert np.isfinite(file["logits"]).all()


@pytest.mark.slow
def test_one_clip_of_each_emotion_leaves_nothing_to_test_on(tmp_path, run):
    said = io.StringIO()
    adapt(run, read_clips(record(tmp_path / "one", range(1))), tmp_path / "run", Console(file=said, width=200))
    assert "nothing is left to test on" in said.getvalue()
    personal = load_personal(tmp_path / "run")
    assert (personal.uar_before, personal.uar_after) == (None, None)
    with np.load(tmp_path / "run" / VALIDATION) as after, np.load(run / VALIDATION) as before:
        assert all(np.array_equal(after[name], before[name]) for name in before.files)


@pytest.mark.slow
def test_a_clip_without_speech_is_named(tmp_path, run, mine):
    shutil.copytree(mine.parent, tmp_path / "clips")
    soundfile.write(tmp_path / "clips" / "happy-1.wav", np.zeros(RATE_HZ), RATE_HZ)
    with pytest.raises(CorpusError, match=r"happy-1\.wav: no speech found; record it again, or take its line out"):
        adapt(run, read_clips(tmp_path / "clips" / "mine.csv"), tmp_path / "run", Console(file=io.StringIO()))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_adapted_run_is_not_adapted_again(tmp_path, adapted, mine):
    with pytest.raises(TrainingError, match="is adapted already; adapt the run that it came from"):
        adapt(adapted, read_clips(mine), tmp_path / "run", Console(file=io.StringIO()))


def test_a_damaged_note_is_refused(tmp_path):
    assert load_personal(tmp_path) is None
    (tmp_path / PERSONAL).write_bytes(msgspec.json.encode({"clips": {"sad": 0}, "uar_before": 0, "uar_after": 0}))
    with pytest.raises(TrainingError, match="adapt again"):
        load_personal(tmp_path)


# --- the bundle -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_makes_a_bundle_that_the_device_answers_with(tmp_path, run, mine, later, bundle, capsys):
    arguments = ["adapt", str(run), "--clips", str(mine), "--version", "0.7.0", "--out", str(tmp_path)]
    assert main(arguments) == 0
    path = tmp_path / "tonelight-personal-0.7.0"
    assert f"bundle {path}" in capsys.readouterr().out
    loaded = load_bundle(path)
    verify_golden(loaded)
    assert loaded.manifest.corpora[-1].name == "personal"
    assert loaded.manifest.metrics["uar_own_clips_after"] > loaded.manifest.metrics["uar_own_clips_before"]
    ordinary = load_bundle(bundle)
    assert loaded.manifest.model == ordinary.manifest.model
    assert len(loaded.model) == len(ordinary.model)
    card = (path / "MODEL_CARD.md").read_text()
    assert "## Personal" in card
    assert "**For nobody else**" in card
    assert "Not measured" not in card
    clips = read_clips(later)
    assert score(bundle, clips, n_processes=1).uar <= 0.6
    assert score(path, clips, n_processes=1).uar >= 0.75

    assert main(arguments) == 1
    assert "exists; give another --version" in capsys.readouterr().err
