"""Features for the training side of any split: measured once for all clips, or read from a folder that travels.

The folder (`write`) is for a machine that trains without recordings: `index.json` names every clip, and files of a few
MiB hold the features of some clips of one corpus in one view. What a split does not train on need not travel.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from train_host.corpora.clip import Clip
from train_host.dataset import Example, Extraction, Sounds
from train_host.errors import EvaluationError
from train_host.folds import Split, everything
from train_host.recipes import Recipe
from train_host.recipes.digest import recipe_digest
from train_host.train import Data, progress_bar

INDEX: Final = "index.json"
SCENES: Final = "scenes.npz"
FILE_BYTES: Final = 12 << 20
"""A file is closed once its features are longer than this."""


class _Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal[1]
    recipe: str
    digest: str
    clips: tuple[Clip, ...]
    """All there are, tested ones too; paths relative to the folder of the corpora."""
    failed: dict[str, str]
    files: tuple[tuple[str, str, int], ...]
    """Name, corpus, view."""


def measure(clips: Sequence[Clip], recipe: Recipe, sounds: Sounds, console: Console) -> Callable[[Split], Data]:
    """What `train_host.train.load_data` gives, for any split of `clips`, with one cache for all of them.

    The parts of the cache are those of `tonelight-train train`, which trains on everybody: both share it.
    """
    extraction = Extraction(recipe, sounds)
    whole = everything(clips)
    by_view: list[list[Example]] = []
    n_views = 1 + recipe.training.views
    with progress_bar(console) as progress:
        bar = progress.add_task("features", total=n_views * (len(whole.train) + len(whole.val)))
        for view in range(n_views):
            sides = [
                extraction.examples(side, view, lambda n: progress.advance(bar, n)) for side in (whole.train, whole.val)
            ]
            by_view.append([*sides[0], *sides[1]])
        scenes = extraction.scenes() if recipe.hears_speech else []
    return lambda split: _select(by_view, scenes, split, extraction.failed)


def _select(
    by_view: Sequence[Sequence[Example]], scenes: Sequence[NDArray[np.float16]], split: Split, failed: dict[Path, str]
) -> Data:
    """In the order of views and files: the same whichever way the features came."""
    train, val = set(split.train), set(split.val)
    kept = [
        sorted((one for one in view if one.clip in train), key=lambda one: (one.clip.corpus, one.clip.path))
        for view in by_view
    ]
    own = {clip.path for clip in (*split.train, *split.val)}
    return Data(
        train=[one for view in kept for one in view],
        val=sorted((one for one in by_view[0] if one.clip in val), key=lambda one: (one.clip.corpus, one.clip.path)),
        failed={path: reason for path, reason in failed.items() if path in own},
        n_drowned=0,
        scenes=scenes,
    )


def write(
    folder: Path,
    root: Path,
    clips: Sequence[Clip],
    tested: Sequence[Clip],
    recipe: Recipe,
    sounds: Sounds,
    console: Console,
) -> list[Path]:
    """Write the features of `clips`, and the names of `tested` ones beside them, to `folder/<recipe>`; the paths.

    `root` is the folder of the corpora, which the clips' paths lie in.
    """
    target = folder / recipe.name
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.npz"):
        old.unlink()
    extraction = Extraction(recipe, sounds)
    index_of = {clip: number for number, clip in enumerate((*clips, *tested))}
    whole = everything(clips)
    files: list[tuple[str, str, int]] = []
    with progress_bar(console) as progress:
        n_views = 1 + recipe.training.views
        bar = progress.add_task("features", total=n_views * (len(whole.train) + len(whole.val)))
        for view in range(n_views):
            found: list[Example] = []
            for side in (whole.train, whole.val):
                found += extraction.examples(side, view, lambda n: progress.advance(bar, n))
            found.sort(key=lambda one: (one.clip.corpus, one.clip.path))
            for corpus, own in groupby(found, key=lambda one: one.clip.corpus):
                for number, batch in enumerate(_batches(list(own))):
                    name = f"{corpus}-view{view}-{number:02}.npz"
                    np.savez_compressed(
                        target / name,
                        rows=np.concatenate([one.features for one in batch]),
                        lengths=np.array([len(one.features) for one in batch], np.int64),
                        owners=np.array([index_of[one.clip] for one in batch], np.int64),
                    )
                    files.append((name, corpus, view))
        names = [INDEX, *(name for name, _, _ in files)]
    if recipe.hears_speech:
        scenes = extraction.scenes()
        lengths = np.array([len(one) for one in scenes], np.int64)
        np.savez_compressed(target / SCENES, rows=np.concatenate(scenes), lengths=lengths)
        names.append(SCENES)
    index = _Index(
        schema=1,
        recipe=recipe.name,
        digest=recipe_digest(recipe),
        clips=tuple(replace(clip, path=clip.path.relative_to(root)) for clip in (*clips, *tested)),
        failed={str(path.relative_to(root)): reason for path, reason in extraction.failed.items()},
        files=tuple(files),
    )
    (target / INDEX).write_bytes(msgspec.json.encode(index, enc_hook=str))
    return [target / name for name in names]


def _batches(examples: list[Example]) -> list[list[Example]]:
    batches: list[list[Example]] = [[]]
    n_bytes = 0
    for one in examples:
        if n_bytes > FILE_BYTES:
            batches.append([])
            n_bytes = 0
        batches[-1].append(one)
        n_bytes += one.features.nbytes
    return batches


def read_clips(folder: Path, recipe: Recipe) -> tuple[Clip, ...]:
    """The clips that a folder of features knows of. Raises EvaluationError where it is none, or of another recipe."""
    return _read_index(folder, recipe).clips


def read(folder: Path, recipe: Recipe, split: Split) -> Data:
    """The data of a split out of a folder that `write` wrote. Raises EvaluationError, naming what is missing."""
    index = _read_index(folder, recipe)
    corpora = {clip.corpus for clip in (*split.train, *split.val)}
    by_view: list[list[Example]] = [[] for _ in range(1 + recipe.training.views)]
    for name, corpus, view in index.files:
        if corpus not in corpora:
            continue
        file = _read(folder / recipe.name / name, f"{split.name} trains on {corpus}")
        by_view[view] += [
            Example(rows, index.clips[owner])
            for rows, owner in zip(_sequences(file), file["owners"].tolist(), strict=True)
        ]
    scenes: list[NDArray[np.float16]] = []
    if recipe.hears_speech:
        scenes = _sequences(_read(folder / recipe.name / SCENES, f"{recipe.name} trains on what is no speech"))
    return _select(by_view, scenes, split, {Path(path): reason for path, reason in index.failed.items()})


def _read(path: Path, why: str) -> dict[str, NDArray]:
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise EvaluationError(f"{path} is missing, and {why}; copy it here, too") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        raise EvaluationError(f"{path} is damaged; copy it here again") from None


def _sequences(file: dict[str, NDArray]) -> list[NDArray[np.float16]]:
    ends = np.cumsum(file["lengths"]).tolist()
    return [file["rows"][end - n : end] for end, n in zip(ends, file["lengths"].tolist(), strict=True)]


def _read_index(folder: Path, recipe: Recipe) -> _Index:
    path = folder / recipe.name / INDEX
    again = f"`tonelight-train evaluate --phase features --recipe {recipe.name} --features {folder}` writes it"
    try:
        index = msgspec.json.decode(path.read_bytes(), type=_Index, dec_hook=_to_path)
    except FileNotFoundError:
        raise EvaluationError(f"{path} is missing; {again}") from None
    except msgspec.DecodeError as error:
        raise EvaluationError(f"{path}: {error}; {again}") from None
    if index.digest != recipe_digest(recipe):
        raise EvaluationError(f"{path} was written for another form of the recipe {recipe.name}; {again} anew")
    return index


def _to_path(kind: type, value: Any) -> Path:
    return Path(value)
