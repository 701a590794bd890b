"""What a few labelled clips of a tested speaker are worth: `train_host.adapt` on some, measured on the others.

For every tested speaker, `N_DRAWS` times: of each emotion clips are drawn at random, and everything is measured on the
clips that were not drawn, the same ones under every condition:

    none          the network as it was trained
    unlabelled    its features centred on the mean of the drawn clips, whose labels nobody told
    1, 3, 5       adapted to that many of the drawn clips per emotion

At least `N_KEPT` clips of each emotion stay to be measured on: where a speaker has fewer than are to be drawn and kept,
fewer are drawn. Answers are those of the float network, out of the classes of the corpus. These figures are kept apart
from the plain ones (`adaptation.json` beside `result.json`): whoever reads them must know that the voice was known.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from train_host.corpora.clip import Clip
from train_host.errors import EvaluationError
from train_host.evaluate.result import Emotions, Natural

if TYPE_CHECKING:
    from train_host.dataset import Example
    from train_host.folds import Split

Int64 = NDArray[np.int64]

ADAPTATION: Final = "adaptation.json"
N_CLIPS: Final = (1, 3, 5)
N_KEPT: Final = 2
N_DRAWS: Final = 3
CONDITIONS: Final = ("none", "unlabelled", *map(str, N_CLIPS))
PRIOR_FRAMES: Final = 3000
"""Frames that the mean of the training counts for against the mean of the drawn clips: 30 s of speech."""


class AdaptedSpeaker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts `(8, 9)` of one speaker under each condition, over all draws."""

    corpus: str
    speaker: str
    conditions: dict[str, Emotions]


class Adaptation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One task. `left_out` are tested speakers with too few clips of some emotion."""

    schema: Literal[1]
    protocol: str
    split: str
    n_folds: Annotated[int, Meta(ge=1)]
    recipe: str
    recipe_digest: str
    seed: Natural
    steps: Annotated[int, Meta(ge=1)]
    trial: bool
    n_draws: Annotated[int, Meta(ge=1)]
    prior: float
    commit: str
    speakers: tuple[AdaptedSpeaker, ...]
    left_out: tuple[str, ...]

    def __post_init__(self) -> None:
        for one in self.speakers:
            if tuple(one.conditions) != CONDITIONS:
                raise ValueError(f"{one.corpus}/{one.speaker} is not under the conditions {', '.join(CONDITIONS)}")
            if len({tuple(map(sum, counts)) for counts in one.conditions.values()}) > 1:
                raise ValueError(f"{one.corpus}/{one.speaker} is not measured on the same clips under all conditions")

    def counts(self, corpus: str, condition: str) -> Int64:
        """Counts `(8, 9)` of all speakers of a corpus, over all draws."""
        own = [one.conditions[condition] for one in self.speakers if one.corpus == corpus]
        return np.sum(own or [np.zeros((8, 9))], axis=0, dtype=np.int64)


def draw(clips: Sequence[Clip], number: int) -> tuple[dict[int, list[int]], list[int]] | None:
    """Of one speaker's clips the indices to adapt to, for each of `N_CLIPS`, and those to measure on.

    The smaller draws are parts of the larger ones; draw `number` of a speaker is always the same. None where some
    emotion has too few clips.
    """
    chosen: dict[int, list[int]] = {n: [] for n in N_CLIPS}
    tested: list[int] = []
    rng = np.random.default_rng([zlib.crc32(clips[0].speaker_id.encode()), number])
    for emotion in sorted({clip.emotion for clip in clips}):
        own = sorted((i for i, c in enumerate(clips) if c.emotion == emotion), key=lambda i: str(clips[i].path.name))
        if len(own) <= N_KEPT:
            return None
        order = rng.permutation(own).tolist()
        n_drawn = min(max(N_CLIPS), len(own) - N_KEPT)
        for n in N_CLIPS:
            chosen[n] += order[: min(n, n_drawn)]
        tested += order[n_drawn:]
    return chosen, tested


def measure(
    run: Path, split: Split, classes: dict[str, tuple[str, ...]], n_draws: int = N_DRAWS, cache: Path | None = None
) -> tuple[tuple[AdaptedSpeaker, ...], tuple[str, ...]]:
    """The tested speakers of a split under every condition, and those with too few clips.

    `classes` are the emotions of each corpus that answers are chosen from.
    """
    from train_host.adapt import Adapter, clip_posterior, segments
    from train_host.dataset import Extraction, Sounds
    from train_host.evaluate.measure import emotion_counts
    from train_host.train import load_model

    info, recipe, model = load_model(run)
    adapter = Adapter(model, recipe, info)
    mine: dict[tuple[str, str], list[Clip]] = {}
    for clip in split.test:
        if clip.emotion in classes[clip.corpus]:
            mine.setdefault((clip.corpus, clip.speaker), []).append(clip)
    enough = {who: own for who, own in sorted(mine.items()) if len({c.emotion for c in own}) > 1 and draw(own, 0)}
    heard = {clip.path for own in enough.values() for clip in own}
    examples = Extraction(recipe, Sounds([], []), cache).examples([c for c in split.test if c.path in heard], 0)
    plain = adapter.logits(examples)
    emotions, owners, weights = segments(examples)
    rows_of: dict[str, list[int]] = {}
    for row, owner in enumerate(owners.tolist()):
        rows_of.setdefault(owner, []).append(row)

    def rows(clips: Sequence[Clip], chosen: Sequence[int]) -> list[int]:
        return [row for i in chosen for row in rows_of.get(str(clips[i].path), [])]

    counts = {who: dict.fromkeys(CONDITIONS, np.zeros((8, 9), np.int64)) for who in enough}
    for number in range(n_draws):
        draws = {who: draw(own, number) for who, own in enough.items()}
        shifts = np.zeros((len(examples), recipe.features.n_features), np.float32)
        for who, own in enough.items():
            told, _ = draws[who] or ({}, [])
            shift = mean_shift([examples[row] for row in rows(own, told[max(N_CLIPS)])], info.normalizer.mean)
            shifts[rows(own, range(len(own)))] = shift
        moved = [
            type(one)((one.features - shift).astype(np.float16), one.clip)
            for one, shift in zip(examples, shifts, strict=True)
        ]
        adapter.restore()
        unlabelled = adapter.logits(moved)
        for (corpus, speaker), own in enough.items():
            told, tested = draws[corpus, speaker] or ({}, [])
            asked = rows(own, tested)
            answers = {"none": plain, "unlabelled": unlabelled}
            for n in N_CLIPS:
                answers[str(n)] = plain
                chosen = rows(own, told[n])
                if len(set(emotions[chosen])) > 1:
                    adapter.fit([examples[row] for row in chosen])
                    answers[str(n)] = np.zeros_like(plain)
                    answers[str(n)][asked] = adapter.logits([examples[row] for row in asked])
            for condition in CONDITIONS:
                logits = answers[condition]
                probs = np.array(
                    [clip_posterior(logits[found], weights[found]) for found in (rows(own, [i]) for i in tested)]
                )
                found = emotion_counts([own[i] for i in tested], probs, classes[corpus], classes[corpus])
                counts[corpus, speaker][condition] = counts[corpus, speaker][condition] + np.array(found)
    speakers = tuple(
        AdaptedSpeaker(
            corpus,
            speaker,
            {name: tuple(map(tuple, matrix.tolist())) for name, matrix in each.items()},  # type: ignore
        )
        for (corpus, speaker), each in counts.items()
    )
    return speakers, tuple(f"{corpus}/{speaker}" for corpus, speaker in sorted(mine) if (corpus, speaker) not in enough)


def mean_shift(examples: Sequence[Example], mean: Sequence[float]) -> NDArray[np.float32]:
    """What to take off features so that they are centred on the speaker: `(n_features,)`, zero of no examples."""
    n = sum(len(one.features) for one in examples)
    total = np.sum([one.features.astype(np.float64).sum(axis=0) for one in examples] or [0.0], axis=0)
    return np.asarray((total - n * np.asarray(mean)) / (n + PRIOR_FRAMES), np.float32)


def save(adaptation: Adaptation, folder: Path) -> None:
    """Write `folder/adaptation.json`, whole or not at all."""
    temporary = folder / f".{ADAPTATION}.tmp"
    temporary.write_bytes(msgspec.json.encode(adaptation) + b"\n")
    temporary.replace(folder / ADAPTATION)


def load_all(folder: Path) -> list[Adaptation]:
    """All of them under a folder, in the order of their names. Raises EvaluationError, naming the file, for one that
    is damaged."""
    found = []
    for path in sorted(folder.rglob(ADAPTATION)):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Adaptation))
        except msgspec.DecodeError as error:
            raise EvaluationError(
                f"{path}: no result of this program ({error}); delete it, and evaluate again"
            ) from None
    return found
