"""The committed results: what docs/accuracy.md is made from, and that a cell of its tables can be made again."""

import os
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from edge.bundle import CARD, default_bundle_path
from train_host import card, report
from train_host.cli import main
from train_host.evaluate import adaptation
from train_host.evaluate.result import RESULT, load, load_all
from train_host.goals import quoted
from train_host.recipes import find_recipe
from train_host.recipes.digest import recipe_digest

# taken before the other tests' own environment hides them
REAL_CORPORA = os.environ.get("TONELIGHT_CORPORA")
REAL_CACHE = os.environ.get("XDG_CACHE_HOME")

DOCUMENT = Path(__file__).parents[2] / "docs" / "accuracy.md"
RESULTS = DOCUMENT.with_suffix("") / "results"
AGAIN = "TONELIGHT_AGAIN"
LARGEST_BYTES = 100_000
CELL = Path("functionals/cross-5/seed-0") / RESULT
"""A training of a minute, of all corpora, that tests some thousand recordings."""
TOLERANCE = 0.05
"""Another backend of Keras draws other chances, another processor rounds otherwise."""


def test_the_document_is_made_of_the_committed_results(tmp_path):
    again = tmp_path / DOCUMENT.name
    report.write(load_all(RESULTS), again, adaptation.load_all(RESULTS))
    assert again.read_text() == DOCUMENT.read_text(), (
        "tonelight-train evaluate --phase report --out docs/accuracy/results --report docs/accuracy.md"
    )
    drawn = {path.name for path in again.with_suffix("").glob("*.png")}
    assert drawn == {path.name for path in DOCUMENT.with_suffix("").glob("*.png")}


def test_the_results_are_of_the_default_recipe_as_it_is():
    forms = {one.recipe_digest for one in load_all(RESULTS) if one.recipe == "tonelight"}
    assert forms == {recipe_digest(find_recipe("tonelight"))}


def test_results_are_small_and_name_no_recording():
    for path in RESULTS.rglob(RESULT):
        content = path.read_text()
        assert len(content) < LARGEST_BYTES
        assert ".wav" not in content.lower()


def test_the_card_of_the_default_bundle_quotes_the_committed_results():
    digest = recipe_digest(find_recipe("tonelight"))
    figures = quoted(load_all(RESULTS), adaptation.load_all(RESULTS), "tonelight", digest)
    told = (default_bundle_path() / CARD).read_text()
    assert figures
    for part in card._recipe(figures):
        assert part.strip() in told


@pytest.mark.slow
@pytest.mark.corpora
def test_a_cell_of_the_table_can_be_made_again(tmp_path, monkeypatch):
    if not REAL_CORPORA or os.environ.get(AGAIN) != "1":
        pytest.skip(f"takes minutes, ten where no features are in the cache: TONELIGHT_CORPORA=DIR {AGAIN}=1")
    pytest.importorskip("tensorflow")
    # features of all corpora take a minute or two: those that this user has already are taken
    if REAL_CACHE:
        monkeypatch.setenv("XDG_CACHE_HOME", REAL_CACHE)
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
    then = load(RESULTS / CELL)
    assert then.recipe_digest == recipe_digest(find_recipe(then.recipe)), "the committed cell is of an earlier recipe"
    command = ["evaluate", "--protocol", then.split, "--recipe", then.recipe, "--seeds", "1", "--out", str(tmp_path)]
    assert main([*command, "--corpora", REAL_CORPORA, "--jobs", "1"]) == 0
    now = load(tmp_path / CELL)
    # the same task on the same recordings
    for name in ("protocol", "split", "recipe", "seed", "steps", "n_train", "n_val", "n_test", "val_from"):
        assert getattr(now, name) == getattr(then, name), name
    for name, corpus in then.corpora.items():
        assert now.corpora[name].classes == corpus.classes
    assert now.uar == pytest.approx(then.uar, abs=TOLERANCE)
    assert now.uar_float == pytest.approx(then.uar_float, abs=TOLERANCE)
