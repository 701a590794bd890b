"""Clips on disk: what is kept, for whom, for how long, and that what is deleted is gone."""

import csv
import io
import os
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from observed import event

from edge.cli import main
from edge.clips import Clip, Clips, NoSuchClipError
from edge.errors import ClipError
from edge.history import Event, utc_text

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
FLAC = b"fLaC, for all that is known here" * 100


def at(moment: datetime) -> Event:
    return msgspec.structs.replace(event(), ts=utc_text(moment))


def filled(folder: Path, n_clips: int, flac: bytes = FLAC) -> tuple[Clips, list[Clip]]:
    """A folder of clips, one a minute."""
    clips = Clips(folder)
    return clips, [clips.add(flac, 1.5, at(NOON + timedelta(minutes=n))) for n in range(n_clips)]


def test_a_clip_is_a_recording_and_what_is_known_of_it_for_its_owner_only(tmp_path):
    clips, (clip,) = filled(tmp_path / "clips", 1)
    assert clip.id == "20260301-120000-000"
    assert clips.all() == [clip]
    assert clips.recording(clip.id).read_bytes() == FLAC
    about = clip.about
    assert (about.guess, about.confidence, about.emotion, about.node) == ("happy", 0.65, None, "kitchen")
    assert sorted(path.name for path in clips.folder.iterdir()) == [f"{clip.id}.flac", f"{clip.id}.json"]
    assert stat.S_IMODE(clips.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in clips.folder.iterdir()} == {0o600}


def test_two_clips_of_one_moment_are_two(tmp_path):
    clips = Clips(tmp_path)
    ids = [clips.add(FLAC, 1.0, at(NOON)).id for _ in range(3)]
    assert ids == ["20260301-120000-000", "20260301-120000-000-2", "20260301-120000-000-3"]
    assert [clip.id for clip in clips.all()] == ids


def test_where_nothing_was_ever_kept_there_is_nothing(tmp_path):
    clips = Clips(tmp_path / "none")
    clips.prune(1, 1, 1)
    clips.remove_halves()
    assert clips.all() == []
    assert clips.delete_all() == 0
    assert not clips.folder.exists()


def test_a_clip_is_named_and_renamed_and_forgotten(tmp_path):
    clips, (clip, other) = filled(tmp_path, 2)
    for emotion in ("sad", "calm", None):
        assert clips.label(clip.id, emotion).about.emotion == emotion
        assert [one.about.emotion for one in clips.all()] == [emotion, None]
    with pytest.raises(ClipError, match='there is no emotion "glad", only neutral, calm, happy'):
        clips.label(other.id, "glad")


@pytest.mark.parametrize("clip_id", ["20260301-120000-001", "", "../mute", "20260301-120000-000.flac", "a" * 5000])
def test_an_id_leads_nowhere_else(tmp_path, clip_id):
    clips, _ = filled(tmp_path / "clips", 1)
    (tmp_path / "mute").touch()
    for do in (clips.recording, clips.delete, lambda clip_id: clips.label(clip_id, "sad")):
        with pytest.raises(NoSuchClipError, match=r"there is no clip .*`tonelight clips list` shows"):
            do(clip_id)
    assert (tmp_path / "mute").exists()


def test_what_is_deleted_is_overwritten_first(tmp_path):
    clips, (clip, other) = filled(tmp_path / "clips", 2)
    os.link(clips.recording(clip.id), tmp_path / "same file")
    clips.delete(clip.id)
    assert (tmp_path / "same file").read_bytes() == bytes(len(FLAC))
    assert clips.all() == [other]
    assert sorted(path.name for path in clips.folder.iterdir()) == [f"{other.id}.flac", f"{other.id}.json"]


def test_all_is_all_also_what_is_damaged(tmp_path):
    clips, (whole, damaged) = filled(tmp_path, 2)
    (tmp_path / f"{damaged.id}.json").write_text("{")
    (tmp_path / "20260301-130000-000.flac.new").write_bytes(FLAC)
    assert clips.all() == [whole]
    with pytest.raises(ClipError, match=f"damaged; `tonelight clips delete {damaged.id}` removes it"):
        clips.label(damaged.id, "sad")
    assert clips.delete_all() == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("jump_days", [0, 60])
def test_what_is_too_old_goes_unless_only_the_clock_says_so(tmp_path, monkeypatch, jump_days):
    monkeypatch.setattr("edge.clock.TIMESYNC", tmp_path / "no network")
    folder = tmp_path / "clips"
    clips, (old, new) = filled(folder, 2)
    old = clips.label(old.id, "sad")
    stray = folder / "20260201-130000-000.flac"
    stray.write_bytes(FLAC)
    now_s = (NOON + timedelta(days=30, seconds=30)).timestamp()
    os.utime(stray, (now_s - 31 * 86_400, now_s - 31 * 86_400))
    (tmp_path / "clips.clock").write_text(f"{now_s - 1e9} {now_s - jump_days * 86_400}")
    clips.prune(100, 100, 30, now_s)
    assert clips.all() == ([old, new] if jump_days else [new])
    assert len(list(folder.iterdir())) == (5 if jump_days else 2)


@pytest.mark.parametrize(("max_clips", "max_mb"), [(3, 100), (100, 0.0125)])
def test_of_too_many_the_oldest_go_and_of_these_the_unnamed_first(tmp_path, max_clips, max_mb):
    clips, kept = filled(tmp_path, 5)
    clips.label(kept[0].id, "sad")
    clips.prune(max_clips, max_mb, 30, NOON.timestamp())
    assert [clip.id for clip in clips.all()] == [kept[n].id for n in (0, 3, 4)]
    for clip in kept[3:]:
        clips.label(clip.id, "happy")
    clips.prune(1, 100, 30, NOON.timestamp())
    assert [clip.id for clip in clips.all()] == [kept[4].id]


def test_what_a_power_cut_left_half_is_removed(tmp_path):
    clips, (clip,) = filled(tmp_path, 1)
    (tmp_path / "20260301-130000-000.flac").write_bytes(FLAC)
    (tmp_path / "20260301-130000-000.json.new").write_text("{")
    clips.remove_halves()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{clip.id}.flac", f"{clip.id}.json"]


def test_a_full_disk_leaves_no_half_clip(tmp_path):
    clips = Clips(tmp_path / "clips")
    (tmp_path / "clips" / "20260301-120000-000.json.new").mkdir(parents=True)  # cannot be written
    with pytest.raises(OSError):
        clips.add(FLAC, 1.0, at(NOON))
    assert [path.name for path in clips.folder.iterdir()] == ["20260301-120000-000.json.new"]


# Export ---------------------------------------------------------------------------------------------------------------


def test_what_was_named_is_exported_with_a_table(tmp_path):
    clips, (first, _, third) = filled(tmp_path / "clips", 3)
    clips.label(first.id, "sad")
    clips.label(third.id, "happy")
    assert clips.export(tmp_path / "out" / "mine") == 2
    folder = tmp_path / "out" / "mine"
    rows = list(csv.DictReader((folder / "manifest.csv").open()))
    assert [(row["path"], row["emotion"], row["guess"]) for row in rows] == [
        (f"{first.id}.flac", "sad", "happy"),
        (f"{third.id}.flac", "happy", "happy"),
    ]
    assert {path.name for path in folder.iterdir()} == {"manifest.csv", f"{first.id}.flac", f"{third.id}.flac"}
    assert (folder / rows[0]["path"]).read_bytes() == FLAC
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(clips.all()) == 3  # they stay


def test_an_export_overwrites_nothing_and_needs_something(tmp_path):
    clips, (clip,) = filled(tmp_path / "clips", 1)
    with pytest.raises(ClipError, match="no clip has been named yet"):
        clips.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    clips.label(clip.id, "sad")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(ClipError, match="is not empty; name a folder that does not exist yet"):
        clips.export(tmp_path / "out")
    with pytest.raises(ClipError, match="cannot be written: Not a directory; name another folder"):
        clips.export(tmp_path / "out" / "thesis.txt" / "x")


# The command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(home: Path) -> list[Clip]:
    """Two clips of the last minutes."""
    clips = Clips(home / "state" / "clips")
    now = datetime.now(timezone.utc)
    return [clips.add(FLAC, 1.5, at(now - timedelta(minutes=ago))) for ago in (2, 1)]


def told(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> str:
    assert main(["clips", *argv]) == status
    out, err = capsys.readouterr()
    return err if status else out


def test_clips_are_listed_named_exported_and_deleted(home, kept, capsys):
    listed = told(capsys, "list")
    assert [line.split()[0] for line in listed.splitlines()[1:3]] == [clip.id for clip in kept]
    assert listed.endswith(f"2 clips, 0 of them named; in {home}/state/clips\ncapture is off\n")
    assert told(capsys, "label", "last", "sad") == f"{kept[1].id}: sad (guessed: happy)\n"
    assert told(capsys, "label", kept[0].id, "happy") == f"{kept[0].id}: happy (guessed: happy)\n"
    assert told(capsys, "export", str(home / "mine")).startswith(f"2 clips in {home}/mine; on the workstation: ")
    assert told(capsys, "delete", kept[0].id) == "deleted: 1 clip\n"
    assert told(capsys, "delete", "--all", "--yes") == "deleted: 1 clip\n"
    assert list((home / "state" / "clips").iterdir()) == []
    assert told(capsys, "list") == "there are no clips\ncapture is off\n"


def test_all_are_deleted_only_when_that_is_confirmed(kept, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    assert told(capsys, "delete", "--all", status=1) == (
        "tonelight: nothing was deleted: answer y, or give --yes not to be asked\n"
    )
    assert told(capsys, "list").count("happy") == 2


def test_clips_that_are_too_old_are_deleted_also_where_nothing_runs(home, kept, capsys):
    now = datetime.now(timezone.utc)
    Clips(home / "state" / "clips").add(FLAC, 1.5, at(now - timedelta(days=31)))
    (home / "state" / "clips.clock").write_text(f"{now.timestamp() - 1e9} {now.timestamp()}")
    told(capsys, "list")
    assert [clip.id for clip in Clips(home / "state" / "clips").all()] == [clip.id for clip in kept]


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["label", "last", "glad"], 'there is no emotion "glad", only neutral, '),
        (["label", "20200101-000000-000", "sad"], 'there is no clip "20200101-000000-000"; '),
        (["delete", "../mute"], 'there is no clip "../mute"; '),
        (["export", "/dev/null/x"], "no clip has been named yet"),
    ],
)
def test_what_cannot_be_done_is_one_line(kept, capsys, argv, complaint):
    err = told(capsys, *argv, status=1)
    assert err.startswith(f"tonelight: {complaint}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "argv",
    [["list", "x"], ["label", "last"], ["delete"], ["delete", "a", "--all"], ["export"], ["list", "--all"]],
)
def test_wrong_usage_is_named(home, capsys, argv):
    with pytest.raises(SystemExit):
        main(["clips", *argv])
    assert "tonelight clips" in capsys.readouterr().err.splitlines()[-1]


def test_without_clips_there_is_no_last_one(home, capsys):
    assert told(capsys, "label", "last", "sad", status=1).startswith(
        "tonelight: there are no clips; `tonelight capture"
    )
