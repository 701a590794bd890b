"""Two real bundles on one page: the one that ships, and copies of it with other settings."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from edge.bundle import default_bundle_path, load_bundle
from edge.labels import EMOTIONS
from train_host import compare
from train_host.cli import main
from train_host.corpora.clip import Clip
from train_host.scoring import Scores


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The bundle that ships, less sure of itself."""
    folder = tmp_path / "tonelight-9.9.9"
    shutil.copytree(default_bundle_path(), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["version"] = "9.9.9"
    manifest["decision"]["temperature"] = 3.5
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


class Cells(HTMLParser):
    """The tables of a page as rows of text, and its tags counted open and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data


def rows(page: str) -> dict[str, list[str]]:
    cells = Cells()
    cells.feed(page)
    assert cells.open == []
    return {row[0]: row[1:] for row in cells.rows}


def clip(number: int, emotion: str, speaker: str, corpus: str = "mine") -> Clip:
    return Clip(Path(f"{number}.wav"), corpus, speaker, None, None, emotion, emotion, None)


def scores(clips: tuple[Clip, ...], answers: list[str], confidence: float = 0.5) -> Scores:
    n = len(clips)
    return Scores(
        clips,
        np.array([EMOTIONS.index(answer) for answer in answers]),
        np.full(n, confidence),
        np.zeros(n, bool),
        np.full(n, 0.7),
    )


CLIPS = (clip(0, "happy", "anna"), clip(1, "sad", "anna"), clip(2, "happy", "ben"), clip(3, "sad", "ben"))


def test_figures_by_hand(other):
    a, b = load_bundle(default_bundle_path()), load_bundle(other)
    right = ["happy", "sad", "happy", "sad"]
    page = compare.page(a, b, (scores(CLIPS, ["happy", "happy", "happy", "sad"]), scores(CLIPS, right, 0.9)))
    cells = [row for row in (line for line in _all_rows(page)) if row[0] == "mine"]
    figures, agreement = cells
    # known to neither; 3 of 4 right in the mean over happy and sad, then all; anna gains half, ben nothing
    assert figures[1:6] == ["neither", "4", "75.0", "100.0", "+25.0"]
    low, high = map(float, figures[6].split(" to "))
    assert (low, high) == (0, 50)
    assert figures[9:11] == ["0.250", "0.100"]
    assert agreement[1:] == ["3", "0", "1", "0", "75.0"]
    assert rows(page)["sad"] == ["2", "50.0", "100.0", "+50.0", "100.0", "100.0"]
    assert len(re.findall(r'<img src="data:image/png;base64,iVBOR[^"]*" alt="[^"]+"', page)) == 5


def _all_rows(page: str) -> list[list[str]]:
    cells = Cells()
    cells.feed(page)
    return cells.rows


def test_what_a_bundle_was_trained_on_is_said(other):
    a, b = load_bundle(default_bundle_path()), load_bundle(other)
    clips = tuple(clip(i, emotion, "x", "ravdess") for i, emotion in enumerate(("happy", "sad")))
    same = scores(clips, ["happy", "sad"])
    (figures, _) = [row for row in _all_rows(compare.page(a, b, (same, same))) if row[0] == "ravdess"]
    assert figures[1] == "both"
    assert figures[5:7] == ["+0.0", "–"]  # a sole speaker has no interval


def test_settings_that_differ_and_no_others(other, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TONELIGHT_CORPORA", raising=False)
    out = tmp_path / "page.html"
    assert main(["compare", str(default_bundle_path()), str(other), "--out", str(out)]) == 0
    assert "settings only: name recordings to listen to by --corpora DIR" in capsys.readouterr().out
    table = rows(out.read_text())
    before = load_bundle(default_bundle_path()).manifest
    assert table.pop("setting") == ["A", "B"]
    assert table == {
        "version": [before.version, "9.9.9"],
        "decision.temperature": [f"{before.decision.temperature:.4g}", "3.5"],
    }


def test_a_bundle_beside_itself(tmp_path):
    same = load_bundle(default_bundle_path())
    assert "They are the same model, too." in compare.page(same, same, None)


def test_names_are_text_and_no_markup(other):
    odd = other.rename(other.with_name("<b>&"))
    page = compare.page(load_bundle(default_bundle_path()), load_bundle(odd), None)
    assert "<b>&/" not in page
    assert "&lt;b&gt;&amp;" in page


def test_both_listen_to_the_same_recordings(other, voices, tmp_path):
    out = tmp_path / "page.html"
    command = ["compare", str(default_bundle_path()), str(other), "--corpora", str(voices), "--out", str(out)]
    assert main(command) == 0
    figures, agreement = [row for row in _all_rows(out.read_text()) if row[0] == "voices"]
    assert figures[1:3] == ["neither", "48"]
    # another temperature changes how sure it is, and of nearly nothing what it says
    assert figures[9] != figures[10]
    assert float(agreement[-1]) > 90
    assert sum(map(int, agreement[1:5])) == 48


def test_what_cannot_be_read_is_named_in_one_line(other, voices, tmp_path, capsys):
    (other / "model.tflite").write_bytes(b"damaged")
    out = tmp_path / "page.html"
    assert main(["compare", str(default_bundle_path()), str(other), "--out", str(out)]) == 1
    assert not out.exists()
    assert main(["compare", str(default_bundle_path()), str(tmp_path / "none"), "--out", str(out)]) == 1
    same = str(default_bundle_path())
    assert main(["compare", same, same, "--corpora", str(voices), "--only", "tess", "--out", str(out)]) == 1
    assert main(["compare", same, same, "--out", str(tmp_path / "nowhere" / "page.html")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    for line, words in zip(
        lines, ("model.tflite", "none", "holds no corpus tess; it holds voices", "nowhere"), strict=True
    ):
        assert words in line
