"""Which corpora lie under a folder: those of its manifest, or those whose file names say what they are."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from train_host.corpora import cremad, emodb, folders, iemocap, manifest, noises, ravdess, savee, tess
from train_host.corpora.clip import AUDIO_SUFFIXES, FOREIGN_SUFFIXES, Corpus, LeftOut, Problem, build
from train_host.corpora.known import KNOWN
from train_host.errors import CorpusError

READERS: Final = (ravdess, tess, savee, cremad, emodb, iemocap)
_READERS_BY_NAME: Final = {reader.NAME: reader for reader in READERS}


@dataclass(frozen=True)
class Found:
    """What lies under a folder: corpora, and recordings that belong to none of them, each with the reason."""

    corpora: tuple[Corpus, ...]
    unrecognised: tuple[Problem, ...]


def find_corpora(root: Path) -> list[Corpus]:
    """The corpora under `root`, known ones first.

    A `manifest.csv` in `root` decides alone. Otherwise each recording below is known by its name: the original layouts
    of RAVDESS, TESS, SAVEE, CREMA-D, EMO-DB and IEMOCAP, in any sub-folder, and folders with one sub-folder for each
    emotion. Raises CorpusError where the folder is missing or holds nothing of these.
    """
    return list(scan(root).corpora)


def scan(root: Path) -> Found:
    """As `find_corpora`, with the recordings that belong to no corpus."""
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder; name the one with the corpora by --corpora or TONELIGHT_CORPORA")
    paths = _recordings(root)
    table = root / manifest.FILE
    if table.is_file():
        corpora = manifest.read(table)
        listed = {
            *(clip.path for corpus in corpora for clip in corpus.clips),
            *(problem.path for corpus in corpora for problem in corpus.problems),
            *(sound.path for sound in noises.find_sounds(root)),
        }
        rest = [Problem("unlisted", path, f"{table.name} does not list it") for path in paths if path not in listed]
    else:
        corpora, rest = _by_name(root, paths)
    if not corpora:
        examples = ", ".join(
            f"{KNOWN[reader.NAME].title.removesuffix(' speech')} ({reader.EXAMPLE})" for reader in READERS
        )
        raise CorpusError(
            f"{root}: holds no corpus ({len(paths)} recordings); looked for {manifest.FILE}, {examples} and folders "
            f"named by emotion ({folders.EXAMPLE})"
        )
    return Found(tuple(corpora), tuple(rest))


def original_names(corpus: Corpus) -> set[str] | None:
    """Which recordings of the original release are here, by the release's names; None for other corpora."""
    reader = _READERS_BY_NAME.get(corpus.name)
    if reader is None:
        return None
    paths = [clip.path for clip in corpus.clips] + [one.path for one in corpus.left_out if one.published]
    return {name for path in paths if (name := reader.original_name(path))}


def missing_names(corpus: Corpus) -> list[str]:
    """Names of recordings that the original release has and `corpus` lacks, where the release names them by a rule."""
    names = original_names(corpus)
    rule = {reader.NAME: reader.missing for reader in (ravdess, tess, savee)}.get(corpus.name)
    return rule(names) if rule and names else []


def _recordings(root: Path) -> list[Path]:
    """All audio files below `root`, sorted; hidden ones and the copies that macOS leaves in archives are none."""
    found: list[Path] = []
    walked: set[str] = set()
    # links are followed, as corpora are often linked from another disk; each folder once, so no ring is endless
    for folder, inner, names in os.walk(root, followlinks=True, onerror=_not_walked):
        real = os.path.realpath(folder)
        if real in walked:
            inner.clear()
            continue
        walked.add(real)
        inner[:] = [name for name in inner if not name.startswith(".") and name != "__MACOSX"]
        found += [
            Path(folder, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES | FOREIGN_SUFFIXES
        ]
    return sorted(found)


def _not_walked(error: OSError) -> None:
    raise CorpusError(f"{error.filename}: {error.strerror}; make the folder readable") from None


def _by_name(root: Path, paths: list[Path]) -> tuple[list[Corpus], list[Problem]]:
    corpora, rest = [], paths
    for reader in READERS:
        mine: dict[str, list[Path]] = {}
        others = []
        for path in rest:
            name = reader.original_name(path) if path.suffix.lower() in AUDIO_SUFFIXES else None
            mine.setdefault(name, []).append(path) if name else others.append(path)
        rest = others
        if mine:
            first = [same[0] for same in mine.values()]
            corpora.append(build(reader.NAME, root, [*reader.read(first), *_copies(mine.values(), root)]))
    for folder in sorted(folders.find(rest, root), key=lambda folder: (len(folder.parts), folder)):
        below = [path for path in rest if path.is_relative_to(folder)]
        rest = [path for path in rest if not path.is_relative_to(folder)]
        if below:  # a folder of emotions inside one that was taken already has nothing left
            corpora.append(build(_name(folder, root), folder, folders.read(below, folder, _name(folder, root))))
    return corpora, [Problem("unrecognised", path, "of no layout known here") for path in rest]


def _name(folder: Path, root: Path) -> str:
    name = (folder.resolve().name if folder == root else folder.relative_to(root).as_posix()).casefold()
    return f"{name}-folder" if name in KNOWN else name


def _copies(groups: Iterable[list[Path]], root: Path) -> Iterable[LeftOut | Problem]:
    """Some downloads hold a whole corpus twice, one inside the other: the second is named and left out."""
    for first, *others in groups:
        where = first.relative_to(root)
        for other in others:
            if filecmp.cmp(first, other, shallow=False):
                yield LeftOut(other, f"second copy of {where}", published=False)
            else:
                yield Problem("same name", other, f"bears the name of {where} but holds something else; remove one")
