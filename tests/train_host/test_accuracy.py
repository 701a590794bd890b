"""The committed results: what docs/accuracy.md is made from."""

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from edge.bundle import CARD, default_bundle_path
from train_host import card, report
from train_host.evaluate import adaptation
from train_host.evaluate.result import RESULT, load_all
from train_host.evaluate.tasks import recipe_digest
from train_host.goals import quoted
from train_host.recipes import find_recipe

DOCUMENT = Path(__file__).parents[2] / "docs" / "accuracy.md"
RESULTS = DOCUMENT.with_suffix("") / "results"
LARGEST_BYTES = 100_000


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
