from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("keras")

from edge.bundle import CorpusUse, WindowModel
from edge.labels import EMOTIONS
from train_host import card
from train_host.corpora.clip import Clip
from train_host.export import Measured, Parity
from train_host.goals import Quoted
from train_host.recipes import RECIPES
from train_host.scoring import NoiseHeard, Scores
from train_host.train import RunInfo


def clip(corpus: str, speaker: str, emotion: str) -> Clip:
    return Clip(Path("x.wav"), corpus, speaker, None, None, emotion, emotion)


@pytest.fixture
def manifest(bundle_of):
    made = bundle_of(RECIPES["lstm128"], WindowModel(50, 300, "features", "logits", False), b"").manifest
    return msgspec.structs.replace(made, corpora=(CorpusUse("home", 12, 3, "not stated"),), tools={"keras": "3.15.1"})


def info(train=("home/a", "home/b"), val=("home/c",)) -> RunInfo:
    from edge.normalize import NormalizerConfig

    return RunInfo(
        "lstm128", 7, 99, "everything", train, val, {"home": (12, 3)}, NormalizerConfig((), (), (), 0, 1), {}
    )


PARITY = Parity(0.0123, 0.0045, 0.995)
MEASURED = Measured(
    training=Scores(
        (clip("home", "a", "sad"), clip("home", "b", "sad"), clip("away", "d", "happy")),
        np.array([3, 3, -1]),
        np.array([0.9, 0.8, 0.0]),
        np.array([False, False, True]),
        np.array([0.1, 0.2, np.nan]),
    ),
    validation=Scores(
        (clip("home", "c", "sad"), clip("home", "c", "angry")),
        np.array([3, 3]),
        np.array([0.7, 0.6]),
        np.array([False, True]),
        np.array([0.6, 0.8]),
    ),
    noises=(
        NoiseHeard("dishes", True, 60.0, 0),
        NoiseHeard("engine", False, 90.0, 1),
        NoiseHeard("rain", False, 90.0, 0),
        NoiseHeard("babble", False, 30.0, 2),
    ),
)


def row(text: str, after: str, start: str) -> list[str]:
    """Cells of the first table row that starts with `start` after the line `after`."""
    lines = text.splitlines()
    found = next(line for line in lines[lines.index(after) :] if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_says_what_it_is_and_what_it_is_not_for(manifest):
    text = card.render(manifest, info(), PARITY, MEASURED, 123456)
    assert text.startswith("# test 0.0.1\n")
    assert "Recipe `lstm128`, seed 7, 99 steps" in text
    assert "121 KiB" in text
    assert "window form" in text
    assert all(emotion in text for emotion in EMOTIONS)
    assert "## What it is not for" in text
    assert "Article 5(1)(f)" in text
    assert "| home | 12 | 3 | not stated |" in text
    assert "Speakers held out for validation: home/c." in text
    assert "0.0045 on average and 0.0123 at most" in text
    assert "99.5%" in text


def test_figures_of_new_voices_come_first_and_training_data_is_called_so(manifest):
    text = card.render(manifest, info(), PARITY, MEASURED, 1)
    new, known = "### Speakers it was not trained on", "### Speakers it was trained on"
    assert text.index(new) < text.index("decided nothing but") < text.index(known) < text.index("**Training data**")
    # sad was right and named, angry was wrong and uncertain; both activations were taken for high, 0.6 and 0.8 sure
    assert row(text, new, "all") == ["all", "2", "50.0", "50.0", "0.450", "50.0", "100.0", "50.0", "0.400", "100.0"]
    assert row(text, new, "sad") == ["sad", "0", "0", "0", "1", "0", "0", "0", "0", "0"]
    assert row(text, new, "angry") == ["angry", "0", "0", "0", "1", "0", "0", "0", "0", "0"]
    assert row(text, known, "all")[:4] == ["all", "3", "50.0", "66.7"]
    assert row(text, "#### home (training data)", "sad")[4] == "2"
    assert row(text, "#### away (training data)", "happy")[-1] == "1"


def test_noises_are_told_by_what_was_known_of_them(manifest):
    text = card.render(manifest, info(), PARITY, MEASURED, 1)
    where = "### Noise"
    assert row(text, where, "all that its training used") == ["all that its training used", "1", "1.0", "0"]
    assert row(text, where, "all that is new to it") == ["all that is new to it", "3", "3.5", "3"]
    assert row(text, where, "engine")[1:] == ["1", "1.5", "1"]
    assert row(text, where, "babble")[1:] == ["1", "0.5", "2"]
    assert "| rain |" not in text
    assert where not in card.render(manifest, info(), PARITY, replace(MEASURED, noises=()), 1)


def test_says_what_share_is_named_and_how_often_right(manifest):
    text = " ".join(card.render(manifest, info(), PARITY, MEASURED, 1).split())
    assert "From 50.0% of confidence on an emotion is named: of these recordings 50.0% are, and 100.0% of" in text
    nothing = Measured(MEASURED.training, MEASURED.training.of(lambda one: one.emotion == "happy"), ())
    text = card.render(manifest, info(), PARITY, nothing, 1)
    assert row(text, "### Speakers it was not trained on", "all") == [
        *("all", "1", "0.0", "0.0", "0.000", "0.0", "–", "0.0", "0.000", "0.0")
    ]
    assert "nan" not in text


def test_says_so_when_nothing_was_measured(manifest):
    text = card.render(manifest, info(), PARITY, None, 1)
    assert "Not measured: the corpora were not at hand" in text
    assert "UAR" not in text


def test_says_so_when_nobody_was_held_out(manifest):
    text = card.render(manifest, info(("home/a",), ("home/a",)), PARITY, None, 1)
    assert "No speaker was held out for validation" in text
    assert "held out for validation: home/a" not in text


def test_figures_of_the_recipe_are_told_apart_from_those_of_the_bundle(manifest):
    figures = [Quoted("SAVEE, leave one speaker out", "54.3", "SAVEE 7, cross folds", (0, 1))]
    text = card.render(manifest, info(), PARITY, MEASURED, 123456, None, figures)
    recipe, bundle = text.index("### The recipe"), text.index("### This bundle")
    assert recipe < bundle
    assert "**not of this bundle**" in text[recipe:bundle]
    assert "how many of the 2 seeds each is of" in text[recipe:bundle]
    assert "| SAVEE, leave one speaker out | 54.3 | SAVEE 7, cross folds |" in text[recipe:bundle]
    assert "### The recipe" not in card.render(manifest, info(), PARITY, MEASURED, 123456)
