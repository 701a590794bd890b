"""Reports of made-up counts, whose figures can be computed by hand."""

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from made_up import HAPPY, SAD, counts, outcome, speaker

from train_host import figures, report
from train_host.evaluate.adaptation import CONDITIONS, Adaptation, AdaptedSpeaker
from train_host.evaluate.result import Bin, Condition, Result, Speaker, save, uar
from train_host.figures import Row
from train_host.goals import GOALS, Evidence
from train_host.scoring import NoiseHeard


def fold(number: int, *speakers: Speaker, **changes) -> Result:
    return outcome(*speakers, split=f"savee_loso/{number}", **changes)


ANNA = speaker("anna", (3, 1, 0), (1, 3, 0))  # UAR 0.75
BOB = speaker("bob", (2, 1, 1), (4, 0, 0), "male")  # UAR 0.25
WHOLE = [fold(1, ANNA), fold(2, BOB)]


def written(results: list[Result], tmp_path: Path) -> str:
    path = tmp_path / "accuracy.md"
    report.write(results, path)
    text = path.read_text()
    for image in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (tmp_path / image).read_bytes().startswith(b"\x89PNG")
    return text


def after(text: str, heading: str) -> str:
    """The document from the line on that begins with `heading`."""
    return text[text.index(f"\n{heading}") :]


def line(text: str, start: str) -> list[str]:
    (found,) = [one for one in text.splitlines() if one.startswith(f"| {start} |")][:1]
    return [cell.strip() for cell in found.strip("|").split("|")]


# --- figures ----------------------------------------------------------------------------------------------------------


def test_figures_by_hand():
    table = np.array(counts((3, 1, 0), (2, 1, 1)))
    assert uar(table) == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert figures.accuracy(table) == pytest.approx(4 / 8)
    assert figures.recall(table)[[HAPPY, SAD]].tolist() == [0.75, 0.25]
    assert figures.precision(table)[[HAPPY, SAD]].tolist() == [3 / 5, 1 / 2]
    assert np.isnan(figures.precision(table)[0])
    assert np.isnan(figures.recall(table)[0])
    happy, sad = 2 * 0.75 * 0.6 / 1.35, 2 * 0.25 * 0.5 / 0.75
    assert figures.macro_f1(table) == pytest.approx((happy + sad) / 2)
    with pytest.raises(ValueError, match="no clips"):
        uar(np.zeros((8, 9), int))


def test_an_emotion_that_is_never_answered_counts_as_zero():
    assert figures.macro_f1(np.array(counts((4, 0, 0), (4, 0, 0)))) == pytest.approx((2 * 1 * 0.5 / 1.5 + 0) / 2)


def test_calibration_error_by_hand():
    bins = [Bin(0, 0.0, 0), Bin(4, 2.0, 1), Bin(6, 5.4, 6)]
    assert figures.calibration_error(bins) == pytest.approx(0.4 * abs(0.5 - 0.25) + 0.6 * abs(0.9 - 1))
    assert figures.calibration_error([Bin(0, 0.0, 0)]) == 0


def test_the_interval_is_the_same_each_time_and_holds_the_figure():
    rng = np.random.default_rng(1)
    speakers = []
    for _ in range(12):
        right = int(rng.integers(2, 9))
        speakers.append(counts((right, 10 - right, 0), (10 - right, right, 0)))
    seeds = [np.array(speakers)]
    interval = figures.bootstrap(seeds)
    assert interval == figures.bootstrap(seeds)
    assert interval[0] < uar(np.sum(speakers, axis=0)) < interval[1]
    # every speaker has as many clips, so a draw's UAR is the mean over those drawn: its deviation is known
    each = np.array([uar(np.array(one)) for one in speakers])
    half = 1.96 * each.std() / np.sqrt(len(each))
    assert (interval[1] - interval[0]) / 2 == pytest.approx(half, rel=0.15)


def test_the_interval_of_few_speakers():
    same = np.array([counts((1, 1, 0), (1, 1, 0))] * 5)
    assert figures.bootstrap([same, same]) == (0.5, 0.5)
    assert figures.bootstrap([same[:1]]) is None


# --- rows -------------------------------------------------------------------------------------------------------------


def test_counts_are_added_over_folds_and_figures_averaged_over_seeds():
    second = [fold(1, ANNA, seed=1), fold(2, speaker("bob", (4, 0, 0), (0, 4, 0), "male"), seed=1)]
    (row,), missing = figures.rows_of([*WHOLE, *second], "savee_loso", "savee")
    assert missing == []
    first = np.array(ANNA.emotions) + np.array(BOB.emotions)
    assert np.array_equal(row.counts()[0], first)
    assert row.uars == [pytest.approx((5 / 8 + 3 / 8) / 2), pytest.approx((7 / 8 + 7 / 8) / 2)]
    assert row.float_uars == [1.0, 1.0]
    assert row.uars_of_8 == [0.0, 0.0]
    assert row.worst_speaker == ("bob", pytest.approx((0.25 + 1) / 2))
    assert [b.n for b in row.bins if b.n] == [32]
    assert row.coverage[-1] == pytest.approx((8 + 14) / 32)


def test_folds_that_are_missing_give_no_total(tmp_path):
    rows, missing = figures.rows_of(WHOLE[:1], "savee_loso", "savee")
    assert rows == []
    assert missing == ["tonelight, seed 0: 1 of 2 folds done, so there is no total"]
    text = written(WHOLE[:1], tmp_path)
    assert missing[0] in text
    assert "95% interval |" not in text
    assert line(text, "tonelight") == ["tonelight", "1: 75.0", "1 of 2 folds", "–"]


def test_a_seed_with_all_folds_counts_while_another_is_still_running():
    rows, missing = figures.rows_of([*WHOLE, fold(1, ANNA, seed=1)], "savee_loso", "savee")
    assert [len(row.seeds) for row in rows] == [1]
    assert missing == ["tonelight, seed 1: 1 of 2 folds done, so there is no total"]


def test_another_form_of_a_recipe_and_a_trial_are_rows_of_their_own():
    other = [fold(n, ANNA, recipe_digest="f" * 12) for n in (1, 2)]
    trial = [fold(n, BOB, trial=True, steps=9) for n in (1, 2)]
    rows, _ = figures.rows_of([*WHOLE, *other, *trial], "savee_loso", "savee")
    assert [row.recipe for row in rows] == [
        "tonelight (form 000000000000)",
        "tonelight (form ffffffffffff)",
        "tonelight, **trial of 9 steps**",
    ]


def test_speakers_whom_only_one_seed_tested():
    row = Row("r", "savee", ((outcome(ANNA),), (outcome(BOB),)))
    low, high = row.interval
    assert 0 <= low <= high <= 1


# --- the document -----------------------------------------------------------------------------------------------------


def test_the_document(tmp_path):
    second = [fold(1, ANNA, seed=1), fold(2, speaker("bob", (4, 0, 0), (0, 4, 0), "male"), seed=1)]
    text = after(written([*WHOLE, *second], tmp_path), "Command")
    tables = after(text, "## SAVEE 2, leave one speaker out")
    summary = line(tables, "tonelight")
    mean, std = np.mean([50, 87.5]), np.std([50, 87.5], ddof=1)
    assert summary[1] == f"**{mean:.1f} ± {std:.1f}**"
    assert summary[3] == "100.0 ± 0.0"
    assert summary[4] == "0.0 ± 0.0"
    assert summary[5] == f"{np.mean([50, 87.5]):.1f} ± {std:.1f}"
    # always 0.8 sure; right in 22 of 32
    assert summary[7] == f"{0.8 - 22 / 32:.3f}"
    assert summary[8:] == ["2", "16"]
    details = [one for one in tables.splitlines() if one.startswith("| tonelight |")][1].strip("|").split("|")
    women, men, worst, activation = (cell.strip() for cell in details[1:5])
    assert women == "75.0 ± 0.0"
    assert men == f"{np.mean([25, 100]):.1f} ± {np.std([25, 100], ddof=1):.1f}"
    assert worst == "62.5 (bob)"
    assert activation == f"{mean:.1f} ± {std:.1f}"
    # of the activation all are right and 0.9 sure; half of the clips are named, and half of the names right
    full = 22 / 32
    at = 1 + (full - 1) * 13 / 19
    assert [cell.strip() for cell in details[5:-2]] == [
        *("0.100", "100.0 (+0.0)"),
        f"{100 * at:.1f} ({100 * (at - full):+.1f})",
    ]
    assert [cell.strip() for cell in details[-2:]] == ["50.0", "50.0"]
    assert line(text, "happy")[2] == f"{np.mean([62.5, 87.5]):.1f} ± {np.std([62.5, 87.5], ddof=1):.1f}"
    assert f"against float {mean - 100:+.2f} points" in text
    assert "`tonelight-train evaluate --protocol savee_loso --recipe tonelight --seeds 2`" in text
    assert "Trained at commit abc, measured at def+" in text
    assert "jax, a GPU; measured on a processor. A training took 2.0 minutes" in text
    assert text.count("![") == 4


def test_a_corpus_without_activation_has_no_figures_of_it(tmp_path):
    mute = msgspec.structs.replace(ANNA, activation=((0, 0, 0), (0, 0, 0)))
    text = after(written([outcome(mute, n_folds=1)], tmp_path), "## SAVEE 2, leave one speaker out")
    details = [one for one in text.splitlines() if one.startswith("| tonelight |")][1].strip("|").split("|")
    assert [cell.strip() for cell in details[4:7]] == ["–", "–", "–"]
    assert text.count("![") == 3


def test_the_leaky_row_stands_beside_and_is_called_leaky(tmp_path):
    leaky = outcome(
        speaker("anna", (4, 0, 0), (0, 4, 0)), protocol="random", split="random_seed0", n_folds=1, leaky=True
    )
    text = written([*WHOLE, leaky], tmp_path)
    assert line(text, "tonelight") == ["tonelight", "2", "50.0", "100.0", "–"]
    text = after(text, "## SAVEE 2, leave one speaker out")
    assert line(text, "tonelight, **leaky**: random split")[1] == "**100.0**"
    assert "## Random split by clip (**leaky**)" in text
    # not one of the figures that count
    assert line(text, "tonelight")[1] == "**50.0**"


def test_unseen_corpora_have_a_mean_only_when_all_are_done(tmp_path):
    def unseen(corpus: str, happy: tuple[int, int, int]) -> Result:
        one = speaker("x", happy, (0, 4, 0), None, corpus)
        return outcome(one, protocol="unseen", split=f"unseen_{corpus}", n_folds=2)

    partial = written([unseen("savee", (4, 0, 0))], tmp_path)
    assert line(partial, "tonelight") == ["tonelight", "100.0", "1 of 2 corpora"]
    whole = written([unseen("savee", (4, 0, 0)), unseen("tess", (2, 2, 0))], tmp_path)
    assert line(whole, "recipe") == ["recipe", "SAVEE 2", "TESS 2", "mean"]
    assert line(whole, "tonelight") == ["tonelight", "100.0", "75.0", "87.5"]
    assert line(after(whole, "The same, activation"), "tonelight") == ["tonelight", "100.0", "75.0", "87.5"]
    # nobody's gender is known, and a sole speaker has no interval
    assert "| – | – | 100.0 (x) |" in whole
    assert "| **100.0** | – |" in whole


def test_noise_beside_clean_familiar_beside_new(tmp_path):
    condition = Condition(
        "noise at 5 dB", 5, {"savee": counts((4, 0, 0), (0, 4, 0))}, {"savee": counts((0, 4, 0), (4, 0, 0))},
        ("tap",), ("cafe",),
    )  # fmt: skip
    text = written([fold(1, ANNA, conditions=(condition,)), fold(2, BOB, conditions=(condition,))], tmp_path)
    assert "| tonelight | SAVEE 2, leave one speaker out | clean | 50.0 |  |  |" in text
    assert "| tonelight | SAVEE 2, leave one speaker out | noise at 5 dB | 50.0 | 100.0 | 0.0 |" in text
    assert "Noises: familiar tap; new cafe." in text
    partial = written([fold(1, ANNA, conditions=(condition,))], tmp_path)
    assert "No protocol has all of its folds in noise yet." in partial
    assert "noise at 5 dB" not in partial
    assert "--noise`" in text
    assert "Noise alone" not in text


def test_noise_alone(tmp_path):
    heard = (NoiseHeard("tap", True, 1800, 0), NoiseHeard("cafe", False, 900, 2), NoiseHeard("babble", False, 360, 9))
    condition = Condition(
        "noise at 5 dB", 5, {"savee": counts((4, 0, 0), (0, 4, 0))}, {"savee": counts((0, 0, 0), (0, 0, 0))},
        ("tap",), (),
    )  # fmt: skip
    results = [
        fold(1, ANNA, conditions=(condition,), noises=heard),
        fold(2, BOB, conditions=(condition,), noises=heard),
    ]
    text = after(written(results, tmp_path), "### Noise alone")
    assert "| tonelight | familiar | 2 | 1.00 | 0 | 0.0 |  |" in text
    assert "| tonelight | new | 2 | 0.50 | 4 | 8.0 | cafe |" in text
    assert "| tonelight | of voices | 2 | 0.20 | 18 | 90.0 | babble |" in text


def test_a_result_survives_being_written(tmp_path):
    from train_host.evaluate.result import load_all

    for one in WHOLE:
        folder = tmp_path / one.split
        folder.mkdir(parents=True)
        save(one, folder)
    assert load_all(tmp_path) == WHOLE


# --- all corpora at once ----------------------------------------------------------------------------------------------

CAROL = speaker("carol", (4, 0, 0), (2, 2, 0), corpus="tess")  # UAR 0.75


def crossed(number: int, *speakers: Speaker, **changes) -> Result:
    return outcome(*speakers, protocol="cross", split=f"cross/{number}", n_folds=3, **changes)


CROSSED = [crossed(1, ANNA, CAROL), crossed(2, BOB, speaker("dora", (2, 2, 0), (2, 2, 0), corpus="tess")),
           crossed(3, speaker("emil", (4, 0, 0), (0, 4, 0), "male"))]  # fmt: skip


def test_folds_of_all_corpora_give_a_row_for_each_corpus():
    (savee,), missing = figures.rows_of(CROSSED, "cross", "savee")
    (tess,), _ = figures.rows_of(CROSSED, "cross", "tess")
    assert missing == []
    assert savee.uars == [pytest.approx((9 / 12 + 7 / 12) / 2)]
    # the third fold tests nobody of it
    assert savee.folds == {"1": 0.75, "2": 0.25, "3": 1.0}
    assert tess.folds == {"1": 0.75, "2": 0.5}
    rows, missing = figures.rows_of(CROSSED[:2], "cross", "tess")
    assert rows == []
    assert missing == ["tonelight, seed 0: 2 of 3 folds done, so there is no total"]


def test_the_document_of_all_corpora_at_once(tmp_path):
    text = written(CROSSED, tmp_path)
    tess = after(text, "## TESS 2, cross folds")
    assert line(tess, "tonelight")[1] == "**62.5**"
    assert "| tonelight | 1: 75.0, 2: 50.0 | 62.5 | 50.0 |" in tess


def test_a_published_protocol_comes_before_cross():
    found = figures.seen_rows([*CROSSED, *WHOLE])
    assert {corpus: [protocol for protocol, _ in rows] for corpus, rows in found.items()} == {
        "savee": ["savee_loso"],
        "tess": ["cross"],
    }
    # one that lacks a fold does not
    found = figures.seen_rows([*CROSSED, *WHOLE[:1]])
    assert [protocol for protocol, _ in found["savee"]] == ["cross"]


# --- goals ------------------------------------------------------------------------------------------------------------


def reached(evidence: Evidence) -> dict[str, float | None]:
    found = {goal.name: goal.measure(evidence) for goal in GOALS}
    return {name: None if one is None else round(one.value, 4) for name, one in found.items()}


def test_goals_by_hand():
    unseen = [
        outcome(speaker("x", (4, 0, 0), (n, 4 - n, 0), None, corpus), protocol="unseen", split=f"unseen_{corpus}",
                n_folds=3)
        for corpus, n in (("savee", 0), ("nemo", 2), ("tess", 4))
    ]  # fmt: skip
    clips = dict.fromkeys(CONDITIONS, counts((2, 2, 0), (2, 2, 0))) | {"3": counts((4, 0, 0), (1, 3, 0))}
    adapted = Adaptation(1, "unseen", "unseen_savee", 3, "tonelight", "0" * 12, 0, 100, False, 1, 1.0, "abc",
                         (AdaptedSpeaker("savee", "x", clips),), ())  # fmt: skip
    noisy = Condition("noise at 10 dB", 10, {c: counts((0, 0, 0), (0, 0, 0)) for c in ("savee", "tess")},
                      {c: counts((2, 2, 0), (0, 4, 0)) for c in ("savee", "tess")}, (), ("cafe",))  # fmt: skip
    crossed = [msgspec.structs.replace(one, conditions=(noisy,)) for one in CROSSED]
    found = reached(Evidence([*crossed, *unseen], [adapted]))
    assert found["RAVDESS 8, Luna 5 folds"] is None
    assert found["SAVEE, leave one speaker out"] == pytest.approx(66.6667)
    assert found["TESS, other actress, mean"] == 62.5
    assert found["TESS, other actress, worse"] == 50
    assert [found[f"unseen corpus: {name}"] for name in ("SAVEE 7", "nEMO 6", "TESS 7")] == [100, 75, 50]
    assert found["unseen corpus, activation"] == 75
    assert found["SAVEE after 3 labelled clips per emotion, corpus unseen"] == 87.5
    assert found["size in MB"] == pytest.approx(0.002)
    # the float model is always right: most is lost where the device is right in half
    assert found["points lost by quantization"] == 50
    # always 0.8 sure; right in 2/3 of savee, 10/16 of tess
    assert found["calibration error, seen corpora"] == pytest.approx(0.8 - 10 / 16)
    assert found["calibration error, unseen corpora"] == pytest.approx(0.8 - 0.5)
    # women of savee: anna 0.75; men: bob and emil (0.25 + 1) / 2
    assert found["points between women and men"] == pytest.approx(12.5)
    assert found["points lost at 10 dB of noise"] == pytest.approx(max(66.6667 - 75, 62.5 - 75))
    # another seed that was not measured in noise changes nothing there
    quiet = [msgspec.structs.replace(one, seed=one.seed + 1) for one in CROSSED]
    of_both = reached(Evidence([*crossed, *quiet], []))["points lost at 10 dB of noise"]
    assert of_both == found["points lost at 10 dB of noise"]
    assert found["speech found in clean clips"] == pytest.approx(100 * (1 - 1 / 24))
    assert found["events per hour on noise alone"] is None
    heard = (NoiseHeard("tap", True, 1800, 1), NoiseHeard("cafe", False, 1800, 2), NoiseHeard("babble", False, 60, 9))
    alone = [msgspec.structs.replace(one, noises=heard) for one in CROSSED[:2]]
    assert reached(Evidence([*alone, *unseen], []))["events per hour on noise alone"] == 3


def test_nothing_is_reached_without_results():
    assert set(reached(Evidence([], [])).values()) == {None}


def test_goals_say_how_far(tmp_path):
    text = after(written(CROSSED, tmp_path), "## Goal and reached")
    assert line(text, "SAVEE, leave one speaker out")[1:5] == [
        *("≥ 55", "≥ 62", "66.7", "reached what was to be reached for"),
    ]
    assert line(text, "TESS, other actress, worse")[1:5] == ["≥ 60", "≥ 72", "50.0", "**missed by 10.0**"]
    assert line(text, "RAVDESS 8, Luna 5 folds")[1:] == ["≥ 66", "≥ 70", "–", "not measured here", ""]
    assert line(text, "size in MB")[1:5] == ["≤ 1", "", "0.002", "done"]


def test_plots_are_of_the_default_recipe(tmp_path):
    other = [msgspec.structs.replace(one, recipe="lstm128") for one in WHOLE]
    both = written([*WHOLE, *other], tmp_path)
    assert both.count("![") == 4
    assert written(other, tmp_path).count("![") == 4
    assert len(list((tmp_path / "accuracy").iterdir())) == 4
