"""What is adapted is never measured on, every condition is measured on the same clips, and the report says so."""

import io
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("keras")

from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import outcome, speaker
from rich.console import Console

from edge.labels import EMOTIONS
from train_host import report
from train_host.corpora import find_corpora
from train_host.corpora.clip import Clip
from train_host.errors import EvaluationError
from train_host.evaluate import adaptation, work
from train_host.evaluate.adaptation import CONDITIONS, N_CLIPS, N_KEPT, Adaptation, AdaptedSpeaker, draw, measure
from train_host.evaluate.result import save
from train_host.evaluate.tasks import Task, clips_digest, make_split
from train_host.folds import Split
from train_host.recipes import find_recipe
from train_host.recipes.digest import recipe_digest


def clip(speaker: str, emotion: str, take: int, corpus: str = "home") -> Clip:
    return Clip(Path(f"{speaker}-{emotion}-{take}.wav"), corpus, speaker, None, None, emotion, emotion)


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(N_KEPT + 1, 12), min_size=1, max_size=8), number=st.integers(0, 20))
def test_no_clip_is_both_drawn_and_measured_on(sizes, number):
    clips = [clip("ann", emotion, take) for emotion, n in zip(EMOTIONS, sizes, strict=False) for take in range(n)]
    chosen, tested = draw(clips, number)
    everything = set(chosen[max(N_CLIPS)])
    assert everything.isdisjoint(tested)
    assert everything | set(tested) == set(range(len(clips)))
    for few, more in ((1, 3), (3, 5)):
        assert set(chosen[few]) <= set(chosen[more])
    for emotion, n in zip(EMOTIONS, sizes, strict=False):
        for wanted in N_CLIPS:
            own = [i for i in chosen[wanted] if clips[i].emotion == emotion]
            assert len(own) == len(set(own)) == min(wanted, n - N_KEPT)
    assert draw(clips, number) == (chosen, tested)


def test_draws_differ_and_a_speaker_with_too_few_clips_has_none():
    clips = [clip("ann", emotion, take) for emotion in ("sad", "happy") for take in range(9)]
    assert len({tuple(draw(clips, number)[1]) for number in range(8)}) == 8
    assert draw([*clips, clip("ann", "angry", 0), clip("ann", "angry", 1)], 0) is None


def counts(right: int, wrong: int) -> tuple:
    matrix = np.zeros((8, 9), int)
    for emotion in (2, 3):
        matrix[emotion, emotion], matrix[emotion, 8] = right, wrong
    return tuple(map(tuple, matrix.tolist()))


def made(speaker="DC", seed=0, fold=1, n_folds=1, **changes) -> Adaptation:
    each = {name: counts(2 + i, 8 - i) for i, name in enumerate(CONDITIONS)}
    fields = {
        "schema": 1,
        "protocol": "unseen",
        "split": f"unseen_savee/{fold}",
        "n_folds": n_folds,
        "recipe": "tonelight",
        "recipe_digest": "abc",
        "seed": seed,
        "steps": 9,
        "trial": False,
        "n_draws": 5,
        "prior": 0.03,
        "commit": "",
        "speakers": (AdaptedSpeaker("savee", speaker, each),),
        "left_out": (),
    }
    return Adaptation(**{**fields, **changes})


def test_what_is_written_is_read_and_what_is_damaged_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    adaptation.save(made(), tmp_path / "a")
    assert adaptation.load_all(tmp_path) == [made()]
    content = msgspec.json.decode((tmp_path / "a" / "adaptation.json").read_bytes())
    content["speakers"][0]["conditions"]["3"][2][2] += 1
    (tmp_path / "a" / "adaptation.json").write_bytes(msgspec.json.encode(content))
    with pytest.raises(EvaluationError, match=r"adaptation\.json.*not measured on the same clips"):
        adaptation.load_all(tmp_path)
    del content["speakers"][0]["conditions"]["3"]
    (tmp_path / "a" / "adaptation.json").write_bytes(msgspec.json.encode(content))
    with pytest.raises(EvaluationError, match="is not under the conditions none, unlabelled, 1, 3, 5"):
        adaptation.load_all(tmp_path)


def test_the_report_tells_them_in_a_table_of_their_own():
    text = "\n\n".join(report._adapted([made(seed=0), made(seed=1, left_out=("savee/JE",))]))
    assert "## Adapted to the speaker" in text
    assert "not to be compared with the tables above" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| tonelight |")]
    assert row == (
        "| tonelight | unseen savee | 20.0 ± 0.0 | 30.0 ± 0.0 | 40.0 ± 0.0 | 50.0 ± 0.0 | 60.0 ± 0.0 | 1 of 2 | 2 |"
    )


def test_a_protocol_with_folds_missing_has_no_row():
    one = made(protocol="savee_loso", n_folds=2)
    assert report._adapted([one]) == []
    both = report._adapted([one, made("JE", protocol="savee_loso", fold=2, n_folds=2)])
    assert "| savee_loso savee | 20.0 |" in both[-1]


def test_a_trial_is_marked():
    assert "**trial of 9 steps**" in report._adapted([made(trial=True)])[-1]


def test_the_mean_is_moved_by_what_was_heard_only():
    from train_host.dataset import Example

    one = Example(np.full((1000, 2), 4, np.float16), clip("ann", "sad", 0))
    shift = adaptation.mean_shift([one], (0.0, 4.0))
    assert np.allclose(shift, (4 * 1000 / (1000 + adaptation.PRIOR_FRAMES), 0))
    assert np.array_equal(adaptation.mean_shift([], (1.0, 2.0)), (0, 0))


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps")
def test_tested_speakers_of_a_run_under_every_condition(run, clips):
    tested = tuple(one for one in clips if one.speaker == "anna")
    few = tuple(clip("zoe", one.emotion, 0, one.corpus) for one in tested[:2])
    split = Split("voices/1", tuple(c for c in clips if c.speaker != "anna"), (), (*tested, *few), (), "")
    classes = {"voices": ("neutral", "happy", "sad", "angry")}
    (anna,), left_out = measure(run, split, classes, n_draws=2)
    assert (anna.corpus, anna.speaker, left_out) == ("voices", "anna", ("voices/zoe",))
    assert tuple(anna.conditions) == CONDITIONS
    for matrix in anna.conditions.values():
        # 4 emotions of 4 takes, of which 2 are kept, in 2 draws
        assert [sum(row) for row in matrix] == [4, 0, 4, 4, 4, 0, 0, 0]
    assert anna.conditions["3"] == anna.conditions["5"]
    assert np.trace(np.array(anna.conditions["3"])) >= 12


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps")
def test_a_task_that_was_scored_is_adapted_and_then_done(run, clips, tmp_path):
    root, out = tmp_path / "corpora", tmp_path / "results"
    for name in ("voices", "more"):
        shutil.copytree(clips[0].path.parents[2], root / name)
    task = Task("tonelight", "unseen", "unseen_more", 2, 0)
    folder = task.folder(out)
    shutil.copytree(run, folder / "run")
    both = [clip for corpus in find_corpora(root) for clip in corpus.clips]
    split = make_split(task, both)
    digest = recipe_digest(find_recipe("tonelight"))
    told = {"schema": 1, "recipe_digest": digest, "seconds": None, "device": "", "commit": ""}
    told["train_clips"], told["test_clips"] = clips_digest((*split.train, *split.val)), clips_digest(split.test)
    (folder / work.TRAINING).write_bytes(msgspec.json.encode(told))
    save(outcome(speaker("anna", (1, 1, 0), (0, 2, 0)), recipe_digest=digest), folder)

    phases = {"train": True, "score": True, "noise": False}
    assert work.is_done(task, out, **phases)
    assert not work.is_done(task, out, **phases, adapt=True)
    order = work.Order(task=task, out=str(out), corpora=str(root), features=None, n_processes=1, **phases, adapt=True)
    work.perform(order, Console(file=io.StringIO()))
    assert work.is_done(task, out, **phases, adapt=True)
    (found,) = adaptation.load_all(out)
    assert (found.split, found.recipe_digest) == ("unseen_more", digest)
    assert {one.corpus for one in found.speakers} == {"more"}
