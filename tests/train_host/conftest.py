"""A tiny corpus of synthetic voices, made anew for each test session, and one real training on it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_corpus import RATE_HZ, SPEAKERS, VOICES, voice
from tiny_recipe import pass_for_whole, tiny

from edge.bundle import SCHEMA, Bundle, Manifest, StreamModel, WindowModel
from edge.labels import EMOTIONS
from edge.normalize import NormalizerConfig
from edge.smoothing import DecisionConfig
from train_host.recipes import RECIPES, Recipe


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Features of these tests are kept apart from those of this machine's user."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.delenv("TONELIGHT_CORPORA", raising=False)
        yield folder


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in folders: four emotions of three speakers, four takes each; 48 recordings of 2 s."""
    root = tmp_path_factory.mktemp("corpora") / "voices"
    for emotion in VOICES:
        for speaker in SPEAKERS:
            (root / emotion / speaker).mkdir(parents=True)
            for take in range(4):
                path = root / emotion / speaker / f"{speaker}-{emotion}-{take}.wav"
                soundfile.write(path, voice(emotion, speaker, take), RATE_HZ)
    return root


@pytest.fixture(scope="session")
def clips(voices: Path) -> tuple:
    from train_host.corpora import find_corpora

    (corpus,) = find_corpora(voices)
    assert corpus.name == "voices"
    return corpus.clips


@pytest.fixture(scope="session")
def no_sounds():
    from train_host.dataset import Sounds

    return Sounds([], [])


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    return tiny(RECIPES["tonelight"])


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, clips, no_sounds, tiny_recipe) -> Path:
    """A finished run of the default recipe on the tiny corpus, never interrupted."""
    pytest.importorskip("tensorflow")
    from rich.console import Console

    from train_host.folds import everything
    from train_host.train import train

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    said = io.StringIO()
    train(folder, tiny_recipe, everything(clips), no_sounds, 0, Console(file=said, width=100), checkpoint_steps=30)
    (folder / "said.txt").write_text(said.getvalue())
    pass_for_whole(folder)
    return folder


@pytest.fixture(scope="module")
def few_steps() -> Iterator[None]:
    """Adaptation that trains on for a few steps only; what all of them are worth, test_finetune asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train_host.finetune.STEPS", 5)
        yield


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, run: Path, voices: Path) -> Path:
    """The run as a bundle, measured, by the command line: 0.7.0, dynamic."""
    from train_host.cli import main

    out = tmp_path_factory.mktemp("models")
    assert main(["export", str(run), "--version", "0.7.0", "--out", str(out), "--corpora", str(voices)]) == 0
    return out / "tonelight-0.7.0"


@pytest.fixture(scope="session")
def bundle_of() -> Callable[..., Bundle]:
    """A bundle in memory around a converted model, as `edge.classifier.Classifier` takes it."""

    def make(recipe: Recipe, tensors: StreamModel | WindowModel, content: bytes) -> Bundle:
        n = recipe.features.n_features
        manifest = Manifest(
            schema=SCHEMA,
            name="test",
            version="0.0.1",
            created="2026-01-01T00:00:00Z",
            recipe=recipe.name,
            labels=EMOTIONS,
            features=recipe.features,
            gate=recipe.gate,
            normalizer=NormalizerConfig((0.0,) * n, (1.0,) * n, (False,) * n, 100, 20),
            model=tensors,
            quantization="none",
            decision=DecisionConfig(1.0, 0.6, 0.5, 0.4, 0.5, 0.0, 1.0, 0.0),
            metrics={},
            corpora=(),
            commit="",
            tools={},
            files={"model.tflite": hashlib.sha256(content).hexdigest()},
        )
        return Bundle(Path("test-0.0.1"), manifest, content)

    return make


@pytest.fixture(scope="session")
def classify(bundle_of) -> Callable[..., np.ndarray]:
    """Logits `(n, 8)` of normalised sequences, by a converted model on the device's own interpreter."""
    from edge.classifier import Classifier

    def run_on_device(recipe: Recipe, tensors, content: bytes, sequences: Sequence[np.ndarray]) -> np.ndarray:
        classifier = Classifier(bundle_of(recipe, tensors, content))
        answers = []
        for sequence in sequences:
            classifier.reset()
            logits = None
            for start in range(0, len(sequence), tensors.chunk_frames):
                step = classifier.step(sequence[start : start + tensors.chunk_frames])
                logits = logits if step is None else step
            answers.append(logits)
        return np.array(answers)

    return run_on_device
