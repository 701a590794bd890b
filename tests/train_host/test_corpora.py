import argparse
import itertools
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.labels import EMOTIONS
from train_host.corpora import (
    KNOWN,
    UNKNOWN_SPEAKER,
    Clip,
    Corpus,
    command,
    find_corpora,
    find_sounds,
    load_sounds,
    ravdess,
    savee,
    scan,
    summarize,
    tess,
    verify,
)
from train_host.errors import CorpusError

# taken before the other tests' own environment hides it
REAL_CORPORA = os.environ.get("TONELIGHT_CORPORA")

RATE_HZ = 16000


def record(path: Path, seconds: float = 0.4, gain: float = 0.1, seed: int | None = None) -> Path:
    """A recording of noise, another one for each path unless the seed is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(str(path).encode()) if seed is None else seed)
    soundfile.write(path, gain * rng.uniform(-1, 1, int(seconds * RATE_HZ)), RATE_HZ)
    return path


def only(root: Path) -> Corpus:
    (corpus,) = find_corpora(root)
    return corpus


# --- the original layouts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "corpus", "speaker", "gender", "language", "emotion", "intensity"),
    [
        ("Actor_07/03-01-05-02-01-02-07.wav", "ravdess", "07", "male", "en", "angry", "strong"),
        ("Actor_24/03-01-01-01-02-01-24.wav", "ravdess", "24", "female", "en", "neutral", "normal"),
        ("OAF_angry/OAF_back_angry.wav", "tess", "OAF", "female", "en", "angry", None),
        ("OA_bite_neutral.wav", "tess", "OAF", "female", "en", "neutral", None),
        ("YAF_pleasant_surprised/YAF_gaze_ps.wav", "tess", "YAF", "female", "en", "surprised", None),
        ("AudioData/DC/a01.wav", "savee", "DC", "male", "en", "angry", None),
        ("KL_su15.wav", "savee", "KL", "male", "en", "surprised", None),
        ("JE/sa03.wav", "savee", "JE", "male", "en", "sad", None),
        ("AudioWAV/1001_DFA_ANG_XX.wav", "cremad", "1001", None, "en", "angry", None),
        ("AudioWAV/1001_IEO_FEA_HI.wav", "cremad", "1001", None, "en", "fearful", "high"),
        ("AudioWAV/1040_ITH_SAD_X.wav", "cremad", "1040", None, "en", "sad", None),
        ("wav/03a01Fa.wav", "emodb", "03", "male", "de", "happy", None),
        ("wav/16b10Wb.wav", "emodb", "16", "female", "de", "angry", None),
    ],
)
def test_reads_an_original_name(tmp_path, name, corpus, speaker, gender, language, emotion, intensity):
    path = record(tmp_path / name)
    found = only(tmp_path)
    (clip,) = found.clips
    assert found.name == corpus
    assert (clip.path, clip.corpus, clip.speaker, clip.gender) == (path, corpus, speaker, gender)
    assert (clip.language, clip.emotion, clip.intensity) == (language, emotion, intensity)


def test_ravdess_songs_and_films_are_left_out_by_name(tmp_path):
    speech = record(tmp_path / "Actor_01/03-01-04-01-01-01-01.wav")
    song = record(tmp_path / "Actor_01/03-02-04-01-01-01-01.wav")
    film = record(tmp_path / "Actor_01/01-01-04-01-01-01-01.wav")
    corpus = only(tmp_path)
    assert [clip.path for clip in corpus.clips] == [speech]
    assert {one.path: one.reason for one in corpus.left_out} == {
        song: "song",
        film: "modality 01, channel 01: not speech in audio only",
    }
    assert corpus.n_published_found == 1


def test_an_emotion_that_ravdess_does_not_have_is_named(tmp_path):
    path = record(tmp_path / "Actor_01/03-01-09-01-01-01-01.wav")
    corpus = only(tmp_path)
    assert corpus.clips == ()
    assert [(problem.kind, problem.path) for problem in corpus.problems] == [("unknown label", path)]


def test_cremad_takes_gender_from_its_table(tmp_path):
    record(tmp_path / "AudioWAV/1001_DFA_ANG_XX.wav")
    record(tmp_path / "AudioWAV/1002_DFA_ANG_XX.wav")
    (tmp_path / "VideoDemographics.csv").write_text("ActorID,Age,Sex\n1001,51,Male\n1002,21,Female\n")
    assert {clip.speaker: clip.gender for clip in only(tmp_path).clips} == {"1001": "male", "1002": "female"}


def test_cremad_recordings_that_are_faulty_at_the_source_are_left_out(tmp_path):
    record(tmp_path / "AudioWAV/1076_MTI_SAD_XX.wav")
    record(tmp_path / "AudioWAV/1076_MTI_SAD_LO.wav")
    corpus = only(tmp_path)
    assert [clip.path.stem for clip in corpus.clips] == ["1076_MTI_SAD_LO"]
    assert [one.reason for one in corpus.left_out] == ["holds no sound, as its authors say"]
    assert corpus.n_published_found == 2


def test_a_cremad_table_without_its_columns_is_one_clear_line(tmp_path):
    record(tmp_path / "AudioWAV/1001_DFA_ANG_XX.wav")
    (tmp_path / "VideoDemographics.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CorpusError, match=r"VideoDemographics\.csv: .*ActorID"):
        find_corpora(tmp_path)


def test_emodb_boredom_is_left_out_but_counts_as_published(tmp_path):
    record(tmp_path / "wav/03a01Fa.wav")
    record(tmp_path / "wav/03a01La.wav")
    corpus = only(tmp_path)
    assert [clip.path.stem for clip in corpus.clips] == ["03a01Fa"]
    assert [(one.path.stem, one.reason) for one in corpus.left_out] == [("03a01La", "boredom")]
    assert corpus.n_published_found == 2


def test_iemocap_labels_come_from_the_evaluation(tmp_path):
    dialog = "Ses01F_impro01"
    labels = {"F000": "neu", "M000": "exc", "F001": "fru", "M001": "xxx", "F002": "new"}
    for number in (*labels, "M009"):
        record(tmp_path / f"Session1/sentences/wav/{dialog}/{dialog}_{number}.wav")
    table = tmp_path / f"Session1/dialog/EmoEvaluation/{dialog}.txt"
    table.parent.mkdir(parents=True)
    head = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    lines = (
        f"[6.29 - 8.23]\t{dialog}_{n}\t{label}\t[2.5, 2.5, 2.5]\nC-E2:\tNeutral;\t()\n" for n, label in labels.items()
    )
    table.write_text(head + "".join(lines))
    corpus = only(tmp_path)
    assert [(c.speaker, c.gender, c.label, c.emotion) for c in corpus.clips] == [
        ("Ses01F", "female", "neu", "neutral"),
        ("Ses01M", "male", "exc", "happy"),
    ]
    assert sorted((one.path.stem[-4:], one.reason) for one in corpus.left_out) == [
        ("F001", "frustrated"),
        ("M001", "no majority among the labellers"),
    ]
    assert sorted(problem.path.stem[-4:] for problem in corpus.problems) == ["F002", "M009"]


def test_iemocap_without_its_evaluation_names_every_utterance(tmp_path):
    path = record(tmp_path / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav")
    assert [problem.path for problem in only(tmp_path).problems] == [path]


def test_several_corpora_in_subfolders_linked_ones_too(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    record(root / "SAVEE/DC/a01.wav")
    record(root / "emo/wav/03a01Fa.wav")
    record(elsewhere / "Actor_01/03-01-04-01-01-01-01.wav")
    (root / "RAVDESS").symlink_to(elsewhere)
    (root / "SAVEE/ring").symlink_to(root)
    assert sorted(corpus.name for corpus in find_corpora(root)) == ["emodb", "ravdess", "savee"]


def test_a_download_that_holds_itself_twice_is_read_once(tmp_path):
    for folder in ("Actor_01", "audio_speech_actors_01-24/Actor_01"):
        record(tmp_path / folder / "03-01-04-01-01-01-01.wav", seed=1)
    corpus = only(tmp_path)
    assert len(corpus.clips) == 1
    assert [one.reason for one in corpus.left_out] == ["second copy of Actor_01/03-01-04-01-01-01-01.wav"]
    assert corpus.n_published_found == 1


def test_two_recordings_of_one_name_are_a_problem(tmp_path):
    record(tmp_path / "a/Actor_01/03-01-04-01-01-01-01.wav", seed=1)
    second = record(tmp_path / "b/Actor_01/03-01-04-01-01-01-01.wav", seed=2)
    assert [(p.kind, p.path) for p in only(tmp_path).problems] == [("same name", second)]


@pytest.mark.parametrize("reader", [ravdess, tess, savee])
def test_what_a_complete_release_lacks_is_named(reader):
    if reader is tess:  # its words are known from the recordings, so begin with one actress in one emotion
        complete = {
            f"{who}_w{'abcdefghij'[n]}_{label}" for who in ("OAF", "YAF") for n in range(10) for label in tess._LABELS
        }
    else:
        complete = set(reader.missing(set()))
        assert len(complete) == KNOWN[reader.NAME].n_published
    assert all(reader.original_name(Path(f"{name}.wav")) == name for name in complete)
    assert reader.missing(complete) == []
    gone = sorted(complete)[7]
    assert reader.missing(complete - {gone}) == [gone]


# --- folders of one's own ---------------------------------------------------------------------------------------------


def test_one_folder_for_each_emotion(tmp_path):
    record(tmp_path / "mine/Happy/anna/1.wav")
    record(tmp_path / "mine/anger/ben/1.wav")
    record(tmp_path / "mine/Pleasant Surprise/anna_7.wav")
    corpus = only(tmp_path)
    assert corpus.name == "mine"
    assert sorted((clip.emotion, clip.speaker, clip.label) for clip in corpus.clips) == [
        ("angry", "ben", "anger"),
        ("happy", "anna", "Happy"),
        ("surprised", UNKNOWN_SPEAKER, "Pleasant Surprise"),  # not guessed from the file's name
    ]


def test_what_does_not_fit_beside_emotions_is_named(tmp_path):
    record(tmp_path / "mine/sad/anna/1.wav")
    bored = record(tmp_path / "mine/bored/anna/1.wav")
    deep = record(tmp_path / "mine/sad/anna/monday/1.wav")
    loose = record(tmp_path / "mine/1.wav")
    corpus = only(tmp_path)
    assert len(corpus.clips) == 1
    assert {p.path for p in corpus.problems} == {bored, deep, loose}
    assert all(p.kind == "unknown label" for p in corpus.problems)
    assert "bored" in next(p.text for p in corpus.problems if p.path == bored)


def test_a_folder_cannot_pass_for_a_known_corpus(tmp_path):
    record(tmp_path / "ravdess/sad/anna/1.wav")
    assert only(tmp_path).name == "ravdess-folder"


def test_recordings_of_no_corpus_are_named(tmp_path):
    record(tmp_path / "DC/a01.wav")
    stray = record(tmp_path / "other/hello.wav")
    phone = tmp_path / "other/memo.m4a"
    phone.write_bytes(b"x")
    record(tmp_path / ".hidden/x.wav")
    found = scan(tmp_path)
    assert [corpus.name for corpus in found.corpora] == ["savee"]
    assert {problem.path for problem in found.unrecognised} == {stray, phone}


def test_nothing_known_says_what_was_looked_for(tmp_path):
    with pytest.raises(CorpusError, match=r"holds no corpus.*manifest\.csv.*RAVDESS.*IEMOCAP.*happy/anna") as raised:
        find_corpora(tmp_path)
    assert "\n" not in str(raised.value)
    with pytest.raises(CorpusError, match="no such folder"):
        find_corpora(tmp_path / "gone")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_an_error_not_an_empty_one(tmp_path):
    record(tmp_path / "DC/a01.wav")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(CorpusError, match="closed"):
        find_corpora(tmp_path)


# --- manifests --------------------------------------------------------------------------------------------------------

HEAD = "path,dataset,speaker,gender,language,emotion,emotion8,intensity,sentence,seconds\r\n"


def test_manifest_of_two_corpora(tmp_path):
    record(tmp_path / "a/1.wav")
    record(tmp_path / "b/1.wav")
    (tmp_path / "manifest.csv").write_text(
        "\ufeff" + HEAD + 'a/1.wav,CREMA-D,1001,male,en,ANG,angry,high,"one, two",0.4\r\nb/1.wav,own,,,,joy,,,,\r\n',
        encoding="utf-8",
    )
    first, second = find_corpora(tmp_path)
    assert (first.name, second.name) == ("cremad", "own")
    assert first.clips == (
        Clip(tmp_path / "a/1.wav", "cremad", "1001", "male", "en", "angry", "ANG", "high", "one, two", 0.4),
    )
    assert second.clips == (Clip(tmp_path / "b/1.wav", "own", UNKNOWN_SPEAKER, None, None, "happy", "joy"),)


def test_manifest_needs_only_path_and_emotion(tmp_path):
    root = tmp_path / "voices"
    record(root / "1.wav")
    (root / "manifest.csv").write_text("path,emotion\n1.wav,sadness\n")
    corpus = only(root)
    assert (corpus.name, corpus.clips[0].emotion) == ("voices", "sad")


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("a.wav,own,s,woman,en,happy,happy,,,1", "line 2: gender 'woman'"),
        ("a.wav,own,s,male,en,happy,happy,,,0", "line 2: seconds '0'"),
        ("a.wav,own,s,male,en,happy,happy,,,inf", "line 2: seconds 'inf'"),
        ("a.wav,own,s,male,en,happy,happy,,,1s", "line 2: seconds '1s'"),
        (",own,s,male,en,happy,happy,,,1", "line 2: no path"),
        ("a.wav,own,s,male,en,bored,,,,1", "'bored' is none of"),
        ("a.wav,own,s,male,en,happy,glad,,,1", "'glad' is none of"),
    ],
)
def test_a_bad_row_is_named_and_the_others_stay(tmp_path, row, text):
    (tmp_path / "manifest.csv").write_text(f"{HEAD}{row}\r\nb.wav,own,s,male,en,happy,happy,,,1\r\n")
    corpus = only(tmp_path)
    assert [clip.path.name for clip in corpus.clips] == ["b.wav"]
    (problem,) = corpus.problems
    assert text in problem.text


def test_a_path_listed_twice_is_used_once(tmp_path):
    (tmp_path / "manifest.csv").write_text("path,emotion\na.wav,sad\na.wav,happy\n")
    corpus = only(tmp_path)
    assert [clip.emotion for clip in corpus.clips] == ["sad"]
    assert "line 3: listed already in line 2" in corpus.problems[0].text


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"file,emotion\n1,2\n", "no column 'path'"),
        (b"", "no column 'path' and no column 'emotion'"),
        (b"path,emotion\n\xff\xfe,sad\n", "UTF-8"),
        (b"path,emotion\n\0,sad\n", "zero bytes"),
        (b'path,emotion\n"a"b,sad\n', "line 2"),
    ],
)
def test_an_unusable_manifest_is_one_clear_line(tmp_path, content, match):
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(CorpusError, match=match) as raised:
        find_corpora(tmp_path)
    assert str(tmp_path / "manifest.csv") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_recordings_that_the_manifest_does_not_list_are_named(tmp_path):
    record(tmp_path / "1.wav")
    record(tmp_path / "noise/hum.wav")
    stray = record(tmp_path / "2.wav")
    (tmp_path / "manifest.csv").write_text("path,emotion\n1.wav,sad\n")
    (tmp_path / "noise_manifest.csv").write_text("path,kind\nnoise/hum.wav,noise\n")
    assert [problem.path for problem in scan(tmp_path).unrecognised] == [stray]


def test_noises_and_rooms(tmp_path):
    soundfile.write(tmp_path / "hum.wav", np.full((8000, 2), 0.25), 8000)
    soundfile.write(tmp_path / "hall.wav", np.eye(1, 100)[0] * 0.5, RATE_HZ)
    table = tmp_path / "noise_manifest.csv"
    table.write_text('path,kind,licence\nhum.wav,noise,"CC BY,\n4.0"\nhall.wav,rir,CC0\n')
    sounds = find_sounds(tmp_path)
    assert [(sound.kind, sound.licence) for sound in sounds] == [("noise", "CC BY,\n4.0"), ("rir", "CC0")]
    (noise,), (room,) = load_sounds(sounds, "noise"), load_sounds(sounds, "rir")
    assert noise.dtype == room.dtype == np.float32
    assert len(noise) == RATE_HZ  # one second, from two channels at 8 kHz
    np.testing.assert_allclose(noise[1000:-1000], 0.25, atol=1e-3)
    np.testing.assert_allclose(room, np.eye(1, 100)[0] * 0.5, atol=1e-4)
    (tmp_path / "hum.wav").write_bytes(b"no audio")
    with pytest.raises(CorpusError, match=r"hum\.wav: cannot be read"):
        load_sounds(sounds, "noise")
    table.write_text("path,kind\nhum.wav,hiss\n")
    with pytest.raises(CorpusError, match="line 2: needs a path and a kind"):
        find_sounds(tmp_path)
    assert find_sounds(tmp_path / "elsewhere") == []


# --- verify -----------------------------------------------------------------------------------------------------------


def manifest(root: Path, *rows: str) -> Corpus:
    (root / "manifest.csv").write_text("path,dataset,speaker,emotion,seconds\n" + "\n".join(rows) + "\n")
    return only(root)


def test_verify_names_everything_that_is_wrong(tmp_path):
    record(tmp_path / "good.wav")
    record(tmp_path / "first.wav", seed=5)
    record(tmp_path / "copy.wav", seed=5)
    record(tmp_path / "short.wav", seconds=0.29)
    record(tmp_path / "silent.wav", gain=0)
    record(tmp_path / "long.wav", seconds=0.6)
    (tmp_path / "broken.wav").write_bytes(b"RIFF but no more")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "memo.m4a").write_bytes(b"x")
    nan = np.full(RATE_HZ, np.nan, np.float32)
    soundfile.write(tmp_path / "nan.wav", nan, RATE_HZ, "FLOAT")
    names = ["good", "first", "copy", "short", "silent", "broken", "empty", "nan", "gone"]
    rows = [f"{name}.wav,own,s,{'sad' if name == 'first' else 'happy'}," for name in names]
    corpus = manifest(tmp_path, *rows, "long.wav,own,s,happy,0.4", "memo.m4a,own,s,happy,")
    seen = []
    report = verify(corpus, on_clip=lambda: seen.append(1))
    assert len(seen) == len(corpus.clips)
    found = {(problem.kind, problem.path.name) for problem in report.problems}
    assert found == {
        ("duplicate", "copy.wav"),
        ("too short", "short.wav"),
        ("silent", "silent.wav"),
        ("unreadable", "broken.wav"),
        ("unreadable", "empty.wav"),
        ("unreadable", "nan.wav"),
        ("unreadable", "memo.m4a"),
        ("missing", "gone.wav"),
        ("length", "long.wav"),
    }
    assert "emotion sad there, happy here" in next(p.text for p in report.problems if p.kind == "duplicate")
    assert report.duplicates == ((tmp_path / "first.wav", tmp_path / "copy.wav"),)
    assert not any("\n" in problem.text for problem in report.problems)


def test_verify_finds_nothing_wrong_with_what_is_right(tmp_path):
    for name in "abc":
        record(tmp_path / f"{name}.wav")
    report = verify(manifest(tmp_path, *(f"{name}.wav,own,s,sad,0.4" for name in "abc")))
    assert (report.problems, report.notes, report.duplicates) == ((), (), ())
    assert report.seconds == pytest.approx(1.2)


def test_the_same_samples_at_another_rate_are_another_recording(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 16000)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    soundfile.write(tmp_path / "b.wav", samples, 8000)
    assert verify(manifest(tmp_path, "a.wav,own,s,sad,", "b.wav,own,s,sad,")).duplicates == ()


def test_copies_in_another_format_are_found(tmp_path):
    samples = np.random.default_rng(0).integers(-3000, 3000, 8000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, RATE_HZ)
    soundfile.write(tmp_path / "b.flac", samples, RATE_HZ)
    assert len(verify(manifest(tmp_path, "a.wav,own,s,sad,", "b.flac,own,s,sad,")).duplicates) == 1


def test_twins_of_the_original_release_are_a_note(tmp_path):
    first, second = KNOWN["ravdess"].twins[0]
    record(tmp_path / f"Actor_07/{first}.wav", seed=1)
    record(tmp_path / f"Actor_07/{second}.wav", seed=1)
    report = verify(only(tmp_path))
    assert [(note.kind, note.path.stem) for note in report.notes] == [("duplicate", second)]
    assert Counter(problem.kind for problem in report.problems) == {"missing": 1438, "count": 1}
    assert "2 recordings found, 1440 published" in report.problems[-1].text


def test_verify_in_processes_says_the_same(tmp_path):
    for number in range(5):
        record(tmp_path / f"{number}.wav", seed=number // 2)
    (tmp_path / "3.wav").write_bytes(b"broken")
    corpus = manifest(tmp_path, *(f"{number}.wav,own,s,sad," for number in range(5)))
    assert verify(corpus, n_processes=2) == verify(corpus, n_processes=1)


# --- summary and command ----------------------------------------------------------------------------------------------


def test_summary_counts(tmp_path):
    for speaker, code in itertools.product(("DC", "JE"), ("a01", "a02", "n01")):
        record(tmp_path / f"SAVEE/{speaker}/{code}.wav", seconds=0.5)
    record(tmp_path / "mine/calm/anna/1.wav")
    record(tmp_path / "mine/calm/1.wav")
    (tmp_path / "mine/sad/ben").mkdir(parents=True)
    (tmp_path / "mine/sad/ben/1.wav").write_bytes(b"broken")
    known, own = summarize(find_corpora(tmp_path))
    assert (known.n_clips, known.n_speakers, known.n_women, known.n_men) == (6, 2, 0, 2)
    assert known.hours == pytest.approx(3 / 3600)
    assert known.n_by_emotion == {emotion: {"angry": 4, "neutral": 2}.get(emotion, 0) for emotion in EMOTIONS}
    assert (known.languages, known.licence) == (("en",), KNOWN["savee"].licence)
    assert (known.n_published_found, known.n_published) == (6, 480)
    assert (own.n_clips, own.n_speakers, own.n_without_speaker, own.hours) == (3, 2, 1, None)
    assert (own.licence, own.n_published) == ("not stated", None)


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser.add_subparsers(required=True))
    args = parser.parse_args(["data", *arguments])
    return args.run(args)


def test_command_summary(tmp_path, capsys, monkeypatch):
    record(tmp_path / "DC/a01.wav")
    record(tmp_path / "wav/03a01Fa.wav")
    record(tmp_path / "wav/03a01La.wav")
    monkeypatch.setenv("TONELIGHT_CORPORA", str(tmp_path))
    assert run("summary") == 0
    out = capsys.readouterr().out
    assert "1 of 480" in out
    assert "EMO-DB" in out
    assert "emodb: 1 left out: boredom" in out
    assert all(emotion in out for emotion in EMOTIONS)  # none cut short in 80 columns
    lines = [line.split() for line in out.splitlines()]
    assert [line[1:3] for line in lines if line[:1] == ["all"]] == [["2", "2"], ["1", "1"]]
    assert "protocols of `evaluate`, and their trainings for each seed: savee_loso (4), emodb_loso (10)" in out


def test_a_sole_corpus_has_no_sums(tmp_path, capsys):
    record(tmp_path / "DC/a01.wav")
    assert run("summary", "--corpora", str(tmp_path)) == 0
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("all ")]


def test_command_verify_exits_with_1_when_something_is_wrong(tmp_path, capsys):
    record(tmp_path / "mine/sad/anna/1.wav")
    assert run("verify", "--corpora", str(tmp_path)) == 0
    assert "mine: 1 clips, 0.00 h: ok" in capsys.readouterr().out
    record(tmp_path / "stray.wav")
    assert run("verify", "--corpora", str(tmp_path)) == 1
    assert "stray.wav" in capsys.readouterr().out
    (tmp_path / "stray.wav").unlink()
    record(tmp_path / "mine/sad/anna/[2].wav", seconds=0.1)
    assert run("verify", "--corpora", str(tmp_path)) == 1
    assert "too short: mine/sad/anna/[2].wav" in capsys.readouterr().out


def test_command_names_a_noise_that_is_not_there(tmp_path, capsys):
    record(tmp_path / "1.wav")
    (tmp_path / "manifest.csv").write_text("path,emotion\n1.wav,sad\n")
    (tmp_path / "noise_manifest.csv").write_text("path,kind\nhum.wav,noise\n")
    assert run("verify", "--corpora", str(tmp_path)) == 1
    assert "missing: hum.wav" in capsys.readouterr().out


def test_command_without_a_folder_says_how_to_name_one(monkeypatch):
    monkeypatch.delenv("TONELIGHT_CORPORA", raising=False)
    with pytest.raises(CorpusError, match=r"--corpora DIR.*TONELIGHT_CORPORA"):
        run("summary")


# --- the real ones ----------------------------------------------------------------------------------------------------


@pytest.fixture
def corpora() -> Path:
    folder = REAL_CORPORA
    if not folder:
        pytest.skip("TONELIGHT_CORPORA is not set")
    return Path(folder)


@pytest.mark.corpora
def test_every_known_corpus_is_complete(corpora):
    summaries = {one.name: one for one in summarize(find_corpora(corpora)) if one.n_published}
    assert summaries
    assert {name: one.n_published_found for name, one in summaries.items()} == {
        name: KNOWN[name].n_published for name in summaries
    }
    assert (summaries["ravdess"].n_women, summaries["ravdess"].n_men) == (12, 12)
    assert summaries["ravdess"].n_by_emotion["neutral"] == 96


@pytest.mark.corpora
def test_ravdess_is_whole_but_for_its_twins(corpora):
    report = verify(next(corpus for corpus in find_corpora(corpora) if corpus.name == "ravdess"))
    assert report.problems == ()
    assert [note.path.stem for note in report.notes] == ["03-01-03-01-02-02-07"]
