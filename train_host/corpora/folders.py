"""One's own recordings: a sub-folder for each emotion (`happy/`, `anger/`), in it files or a folder for each speaker.

A file directly in the emotion's folder has no known speaker, and none is guessed from its name: a wrong guess would
put one voice on both sides of a split.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from train_host.corpora.clip import UNKNOWN_SPEAKER, Clip, LeftOut, Problem, emotion_of, unknown_label

EXAMPLE: Final = "happy/anna/1.wav"


def find(paths: Iterable[Path], root: Path) -> set[Path]:
    """The folders, `root` or below, that have a folder for an emotion with one of the recordings `paths` in it."""
    return {
        folder.parent
        for path in paths
        for folder in (path.parent, path.parent.parent)
        if folder != root and folder.is_relative_to(root) and emotion_of(folder.name)
    }


def read(paths: Iterable[Path], root: Path, name: str) -> Iterator[Clip | LeftOut | Problem]:
    """The recordings `paths`, all below `root`, as the corpus `name`."""
    for path in paths:
        folder, *inner = path.relative_to(root).parts[:-1] or [""]
        emotion = emotion_of(folder)
        if not folder:
            yield Problem("unknown label", path, f"lies beside the folders of the emotions, not in one: {root}")
        elif emotion is None:
            yield unknown_label(path, folder)
        elif len(inner) > 1:
            yield Problem("unknown label", path, f"deeper than {folder}/SPEAKER/FILE, so its speaker is not clear")
        else:
            yield Clip(path, name, inner[0] if inner else UNKNOWN_SPEAKER, None, None, emotion, folder)
