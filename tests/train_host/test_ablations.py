"""The table of ablations, of made-up counts."""

import numpy as np
import pytest
from made_up import counts, outcome, speaker

from train_host import ablations, report
from train_host.evaluate.result import Condition, Result
from train_host.recipes import VARIANTS

WITHOUT = next(iter(VARIANTS))
WHAT = VARIANTS[WITHOUT].summary.removeprefix("the default ")
RIGHT = (4, 0, 0), (0, 4, 0)
THREE_QUARTERS = (2, 2, 0), (0, 4, 0)
HALF = (0, 4, 0), (0, 4, 0)


def luna(answers, **changes) -> Result:
    one = {"protocol": "ravdess_luna5", "split": "ravdess_luna5/1", "n_folds": 5}
    return outcome(speaker("1", *answers, corpus="ravdess"), **{**one, **changes})


def unseen(answers, corpus="savee", **changes) -> Result:
    one = {"protocol": "unseen", "split": f"unseen_{corpus}", "n_folds": 3}
    return outcome(speaker("x", *answers, corpus=corpus), **{**one, **changes})


def cross(ravdess, savee, **changes) -> Result:
    speakers = speaker("1", *ravdess, corpus="ravdess"), speaker("x", *savee)
    return outcome(*speakers, **{"protocol": "cross", "split": "cross/1", "n_folds": 5, **changes})


def line(results: list[Result]) -> list[str]:
    """The cells of the variant's line."""
    rows = ablations.section(results)[-1].splitlines()
    (row,) = [row for row in rows if row.startswith(f"| {WHAT} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_what_is_lost_is_of_the_same_splits():
    results = [
        luna(RIGHT),
        luna(HALF, split="ravdess_luna5/2"),  # the variant has no such fold
        unseen(THREE_QUARTERS),
        unseen(HALF, corpus="tess"),
        luna(THREE_QUARTERS, recipe=WITHOUT),
        luna(RIGHT, recipe=WITHOUT, split="ravdess_luna5/3"),  # nor the default this one
        unseen(RIGHT, recipe=WITHOUT),
    ]
    assert line(results) == [WHAT, "75.0 (-25.0)", "–", "–", "100.0 (+25.0)", "100.0 (+25.0)", "1 + 1"]


def test_noise_is_compared_where_both_were_heard_in_it():
    def in_noise(familiar, new, snr_db=10.0):
        none = np.zeros((8, 9), int).tolist()
        tables = [{corpus: counts(*one) if one else none for corpus in ("ravdess", "savee")} for one in (familiar, new)]
        return (Condition(f"noise at {snr_db} dB", snr_db, *tables, ("tap",), ("cafe",)),)

    def crossed(**changes) -> Result:
        return cross(RIGHT, RIGHT, **changes)

    results = [
        crossed(conditions=in_noise(RIGHT, RIGHT)),
        crossed(seed=1),
        crossed(recipe=WITHOUT, conditions=in_noise(None, HALF, snr_db=5) + in_noise(RIGHT, HALF)),
    ]
    assert line(results)[2:4] == ["100.0 (+0.0 ± 0.0)", "75.0 (-25.0)"]


def test_folds_of_all_corpora_count_for_ravdess_and_for_the_mean():
    results = [cross(RIGHT, RIGHT), cross(THREE_QUARTERS, HALF, recipe=WITHOUT)]
    assert line(results) == [WHAT, "75.0 (-25.0)", "62.5 (-37.5)", "–", "–", "–", "1 + 0"]


def test_chance_is_what_the_seeds_of_the_default_differ_by():
    default = [luna(RIGHT), luna(THREE_QUARTERS, seed=1), luna(RIGHT, split="ravdess_luna5/2")]
    found = ablations.changes([*default, luna(HALF, recipe=WITHOUT)])[WITHOUT]["RAVDESS"]
    # the default's mean is of two seeds, the variant of one; the second fold's one seed tells nothing
    assert found.chance == pytest.approx(np.sqrt(np.var([1, 0.75], ddof=1) * (1 / 2 + 1)))
    assert found == (0.5, -0.375, found.chance, 1)
    assert line([*default, luna(HALF, recipe=WITHOUT)])[1] == "50.0 (-37.5 ± 21.7)"
    both = [luna(HALF, recipe=WITHOUT), luna(HALF, recipe=WITHOUT, split="ravdess_luna5/2")]
    found = ablations.changes([*default, *both])[WITHOUT]["RAVDESS"]
    # the mean of two folds: half the root of both variances
    assert found.chance == pytest.approx(np.sqrt(np.var([1, 0.75], ddof=1) * (3 / 2 + 2)) / 2)
    assert line([*default, *both])[1] == "50.0 (**-43.8** ± 16.5)"


def test_the_largest_loss_is_first():
    other = list(VARIANTS)[1]
    results = [luna(RIGHT), luna(THREE_QUARTERS, recipe=WITHOUT), luna(HALF, recipe=other)]
    rows = ablations.section(results)[-1].splitlines()[2:]
    assert [VARIANTS[name].summary.removeprefix("the default ") for name in (other, WITHOUT)] == [
        row.strip("|").split("|")[0].strip() for row in rows
    ]


@pytest.mark.parametrize(
    "unlike",
    [
        {"trial": True, "steps": 7},
        {"leaky": True, "protocol": "random", "split": "random/1"},
        {"split": "ravdess_luna5/2"},
    ],
)
def test_what_cannot_be_compared_is_not(unlike):
    assert ablations.section([luna(RIGHT), luna(HALF, recipe=WITHOUT, **unlike)]) == []


def test_a_recipe_in_two_forms_is_not_compared():
    other_form = luna(RIGHT, recipe_digest="1" * 12, seed=1)
    assert ablations.section([luna(RIGHT), other_form, luna(HALF, recipe=WITHOUT)]) == []
    assert ablations.section([luna(RIGHT), luna(HALF)]) == []


def test_variants_are_in_no_other_table(tmp_path):
    path = tmp_path / "accuracy.md"
    report.write([luna(RIGHT, n_folds=1), luna(HALF, n_folds=1, recipe=WITHOUT)], path)
    text = path.read_text()
    assert "## Ablations" in text
    assert text.count(f"| {WHAT} |") == 1
    assert f"| {WITHOUT} |" not in text
