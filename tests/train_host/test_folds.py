from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from edge.labels import EMOTIONS
from train_host import folds
from train_host.corpora import KNOWN, UNKNOWN_SPEAKER, Clip
from train_host.errors import FoldError

PROTOCOLS = folds.load_protocols()
SPEAKERS = {
    "ravdess": [f"{number:02}" for number in range(1, 25)],
    "savee": ["DC", "JE", "JK", "KL"],
    "tess": ["OAF", "YAF"],
    "emodb": ["03", "08", "09", "10", "11", "12", "13", "14", "15", "16"],
    "cremad": [str(number) for number in range(1001, 1092)],
}


def clip(corpus: str, speaker: str, number: int, emotion: str = "sad", gender: str | None = None) -> Clip:
    path = Path(corpus, speaker, f"{number}.wav")
    return Clip(path, corpus, speaker, gender, "en", emotion, emotion, text=f"text {number}")


def corpus_of(name: str, n_each: int = 2) -> list[Clip]:
    """`n_each` clips of every speaker; women and men in turn, except where all are one."""
    one = {"savee": "male", "tess": "female"}.get(name)
    return [
        clip(name, speaker, number, EMOTIONS[number % 8], one or ("male", "female")[index % 2])
        for index, speaker in enumerate(SPEAKERS[name])
        for number in range(n_each)
    ]


def speakers(clips) -> set[str]:
    return {one.speaker_id for one in clips}


def assert_sound(split: folds.Split, clips: list[Clip]) -> None:
    everywhere = [*split.train, *split.val, *split.test, *split.dropped]
    assert sorted(one.path for one in everywhere) == sorted(one.path for one in clips)
    assert not speakers(split.test) & speakers(split.train)
    assert not speakers(split.test) & speakers(split.val)


# --- all corpora at once ----------------------------------------------------------------------------------------------


def test_crossed_folds_test_every_speaker_of_every_corpus_once():
    clips = [*corpus_of("ravdess"), *corpus_of("savee"), *corpus_of("tess"), *corpus_of("emodb")]
    found = [folds.crossed(clips, number) for number in range(1, folds.N_CROSSED + 1)]
    assert [split.name for split in found] == [f"cross/{number}" for number in range(1, 6)]
    for split in found:
        assert_sound(split, clips)
        assert not speakers(split.val) & speakers(split.train)
        assert {one.corpus for one in split.val} == {"ravdess", "emodb"}  # the others have no voice to spare
    tested = [speaker for split in found for speaker in sorted(speakers(split.test))]
    assert sorted(tested) == sorted(speakers(clips))
    for split, fold in zip(found, PROTOCOLS["ravdess_luna5"].folds, strict=True):
        assert {one.speaker for one in split.test if one.corpus == "ravdess"} == set(fold.test)
        assert {one.speaker for one in split.val if one.corpus == "ravdess"} == set(fold.val)
        assert len({one.speaker for one in split.test if one.corpus == "savee"}) <= 1


# --- the published folds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_tests_every_speaker_once(name):
    protocol = PROTOCOLS[name]
    clips = corpus_of(protocol.corpus) + (corpus_of("savee") if protocol.corpus != "savee" else corpus_of("emodb"))
    found = list(folds.splits(protocol, clips))
    assert [split.name for split in found] == [f"{name}/{number}" for number in range(1, len(protocol.folds) + 1)]
    for split in found:
        assert_sound(split, clips)
        assert not speakers(split.val) & speakers(split.train)
        assert split.val
    tested = [speaker for split in found for speaker in sorted(speakers(split.test))]
    assert sorted(tested) == sorted(f"{protocol.corpus}/{speaker}" for speaker in SPEAKERS[protocol.corpus])


def test_luna5_is_as_published():
    clips = corpus_of("ravdess")
    first, *_, last = folds.splits(PROTOCOLS["ravdess_luna5"], clips)
    assert speakers(first.test) == {f"ravdess/{n}" for n in ("02", "05", "14", "15", "16")}
    assert speakers(first.val) == {"ravdess/03", "ravdess/06"}
    assert speakers(last.test) == {f"ravdess/{n}" for n in ("01", "04", "09", "22")}
    assert len(speakers(last.train)) == 18


def test_other_corpora_only_train():
    clips = corpus_of("ravdess") + corpus_of("savee") + corpus_of("tess")
    for split in folds.splits(PROTOCOLS["ravdess_luna5"], clips):
        assert {one.corpus for one in (*split.val, *split.test)} == {"ravdess"}
        assert len([one for one in split.train if one.corpus != "ravdess"]) == 12


def test_equal_speaker_names_of_two_corpora_are_not_one_speaker():
    clips = [*corpus_of("ravdess"), clip("own", "02", 1)]
    first = next(folds.splits(PROTOCOLS["ravdess_luna5"], clips))
    assert "own/02" in speakers(first.train)


# --- validation speakers ----------------------------------------------------------------------------------------------


def test_validation_speakers_follow_the_tested_ones():
    found = list(folds.splits(PROTOCOLS["savee_loso"], corpus_of("savee")))
    assert [sorted(speakers(split.val)) for split in found] == [["savee/JE"], ["savee/JK"], ["savee/KL"], ["savee/DC"]]


def test_validation_speakers_are_women_and_men():
    found = list(folds.splits(PROTOCOLS["ravdess_emobox6"], corpus_of("ravdess")))
    for split in found:
        assert sorted(one.gender for one in split.val[::2]) == ["female", "male"]
    assert speakers(found[0].val) == {"ravdess/22", "ravdess/23"}  # the next after 01, 11, 20, 21


def test_tess_alone_holds_out_words_of_the_training_actress():
    clips = corpus_of("tess", n_each=16)
    for split in folds.splits(PROTOCOLS["tess_twoway"], clips):
        assert_sound(split, clips)
        assert not {one.text for one in split.val} & {one.text for one in split.train}
        assert len(split.val) == 2
        assert "texts" in split.val_from


def test_tess_among_others_validates_on_their_speakers():
    clips = corpus_of("tess") + corpus_of("savee")
    for split in folds.splits(PROTOCOLS["tess_twoway"], clips):
        assert speakers(split.val) == {"savee/DC"}
        assert len(speakers(split.train)) == 4


@given(st.sets(st.text("abc", min_size=1), max_size=40), st.text("abc"), st.booleans())
def test_validation_speakers_are_an_eighth_and_never_all(names, after, gendered):
    clips = [clip("own", name, 1, gender=("male", "female")[len(name) % 2] if gendered else None) for name in names]
    chosen = folds.validation_speakers(clips, after)
    assert set(chosen) <= names
    assert len(chosen) == len(set(chosen)) == (max(1, len(names) // 8) if len(names) > 1 else 0)
    assert chosen == folds.validation_speakers(clips[::-1], after)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_speaker_that_is_not_there_is_named():
    clips = [one for one in corpus_of("ravdess") if one.speaker not in ("05", "11")]
    with pytest.raises(FoldError, match=r"ravdess_luna5: ravdess has no clip of speaker 05, 11;"):
        next(folds.splits(PROTOCOLS["ravdess_luna5"], clips))
    with pytest.raises(FoldError, match="emodb is not among the corpora"):
        next(folds.splits(PROTOCOLS["emodb_loso"], clips))


def test_unknown_speakers_are_refused_where_they_could_leak():
    clips = [*corpus_of("ravdess"), clip("ravdess", UNKNOWN_SPEAKER, 1)]
    with pytest.raises(FoldError, match="1 clips have no speaker"):
        next(folds.splits(PROTOCOLS["ravdess_luna5"], clips))


def test_unknown_speakers_train_or_are_tested_together():
    own = [clip("own", UNKNOWN_SPEAKER, number) for number in range(20)]
    clips = corpus_of("savee") + own
    split = folds.unseen_corpus(clips, "own")
    assert len(split.test) == 20
    assert_sound(split, clips)
    split = folds.everything(clips)
    assert speakers(split.val) == {"savee/DC"}
    assert all(one in split.train for one in own)


def test_nobody_to_validate_with_is_refused():
    clips = [clip("own", UNKNOWN_SPEAKER, number) for number in range(20)]
    with pytest.raises(FoldError, match="no speaker can be spared"):
        folds.everything(clips)
    with pytest.raises(FoldError, match="no speaker can be spared"):
        folds.unseen_corpus(clips + corpus_of("savee"), "savee")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("[]", "not a file of folds"),
        ("{", "not a file of folds"),
        ('{"a_b": {"source": "x", "folds": [{"test": ["1"]}]}}', "val"),
        ('{"a_b": {"source": "x", "folds": [{"test": ["1"], "val": null, "dev": []}]}}', "dev"),
        ('{"a_b": {"source": "x", "folds": []}}', "nobody"),
        ('{"a_b": {"source": "x", "folds": [{"test": [], "val": null}]}}', "nobody"),
        ('{"a_b": {"source": "x", "folds": [{"test": ["1"], "val": null}, {"test": ["1"], "val": null}]}}', "twice"),
        ('{"a_b": {"source": "x", "folds": [{"test": ["1"], "val": ["1"]}]}}', "validates with a speaker"),
    ],
)
def test_a_damaged_folds_file_is_one_clear_line(tmp_path, content, match):
    path = tmp_path / "folds.json"
    path.write_text(content)
    with pytest.raises(FoldError, match=match) as raised:
        folds.load_protocols(path)
    assert str(path) in str(raised.value)
    with pytest.raises(FoldError, match="gone"):
        folds.load_protocols(tmp_path / "gone")


# --- unseen corpus, everything, random --------------------------------------------------------------------------------


def test_unseen_corpus_is_tested_whole():
    clips = corpus_of("ravdess") + corpus_of("savee") + corpus_of("tess")
    split = folds.unseen_corpus(clips, "savee")
    assert_sound(split, clips)
    assert len(split.test) == 8
    # two actresses are too few to spare one
    assert speakers(split.val) == {"ravdess/01", "ravdess/02", "ravdess/04"}
    assert split.val_from == "speakers of ravdess"


def test_unseen_corpus_with_only_two_other_speakers():
    clips = corpus_of("savee") + corpus_of("tess")
    split = folds.unseen_corpus(clips, "savee")
    assert speakers(split.val) == {"tess/OAF"}
    assert speakers(split.train) == {"tess/YAF"}


def test_unseen_corpus_needs_two_corpora():
    for clips, name in ((corpus_of("savee"), "savee"), (corpus_of("savee"), "tess"), ([], "tess")):
        with pytest.raises(FoldError, match="at least one other"):
            folds.unseen_corpus(clips, name)


def test_random_split_is_stratified_and_repeatable():
    clips = corpus_of("ravdess", n_each=16) + corpus_of("savee", n_each=16)
    split = folds.random_split(clips, seed=3)
    assert len(split.train) + len(split.val) + len(split.test) == len(clips) == 448
    for corpus in ("ravdess", "savee"):
        for emotion in EMOTIONS:
            n = len([one for one in clips if (one.corpus, one.emotion) == (corpus, emotion)])
            for side, share in ((split.train, 0.7), (split.val, 0.1), (split.test, 0.2)):
                there = len([one for one in side if (one.corpus, one.emotion) == (corpus, emotion)])
                assert abs(there - share * n) <= 1
    assert folds.random_split(clips[::-1], seed=3) == split
    assert folds.random_split(clips, seed=4).test != split.test
    with pytest.raises(FoldError, match="too few"):
        folds.random_split(clips[:2], seed=0)


# --- duplicates -------------------------------------------------------------------------------------------------------


def ravdess_twins() -> list[Clip]:
    return [
        Clip(Path(f"Actor_07/{stem}.wav"), "ravdess", "07", "male", "en", "happy", "03", text="Dogs")
        for stem in KNOWN["ravdess"].twins[0]
    ]


def test_known_twins_are_dropped_by_name_in_every_split():
    twins = ravdess_twins()
    clips = corpus_of("ravdess") + twins + corpus_of("savee")
    made = [
        *folds.splits(PROTOCOLS["ravdess_luna5"], clips),
        folds.unseen_corpus(clips, "savee"),
        folds.everything(clips),
        folds.random_split(clips, 0),
    ]
    for split in made:
        assert split.dropped == (twins[1],)
        assert twins[0] in (*split.train, *split.val, *split.test)


def test_a_twin_without_its_other_stays():
    assert folds.drop_duplicates(ravdess_twins()[1:]) == (tuple(ravdess_twins()[1:]), ())


def test_a_clip_given_twice_is_used_once():
    clips = corpus_of("savee")
    split = folds.everything([*clips, clips[0]])
    assert split.dropped == (clips[0],)
    assert len(split.train) + len(split.val) == len(clips)


# --- whatever the corpora ---------------------------------------------------------------------------------------------

many_clips = st.lists(
    st.builds(
        clip,
        corpus=st.sampled_from(["a", "b", "c"]),
        speaker=st.sampled_from(["1", "2", "3", "4", UNKNOWN_SPEAKER]),
        number=st.integers(0, 30),
        emotion=st.sampled_from(EMOTIONS),
        gender=st.sampled_from(["female", "male", None]),
    ),
    max_size=60,
    unique_by=lambda one: one.path,
)


@settings(deadline=None)
@given(many_clips, st.sampled_from(["a", "b", "c"]), st.integers(0, 5))
def test_every_split_is_sound_or_refused(clips, name, seed):
    two = folds.Protocol("a_two", "a", "", (folds.Fold(("1", "2"), None), folds.Fold(("3",), ("4",))))
    for make in (
        lambda: list(folds.splits(two, clips)),
        lambda: [folds.unseen_corpus(clips, name)],
        lambda: [folds.everything(clips)],
    ):
        try:
            made = make()
        except FoldError as error:
            assert "\n" not in str(error)
            continue
        for split in made:
            assert_sound(split, clips)
            assert split.train
            assert split.val
            if "texts" not in split.val_from:
                assert not speakers(split.train) & speakers(split.val)
            assert not [one for one in split.val if one.speaker == UNKNOWN_SPEAKER]
