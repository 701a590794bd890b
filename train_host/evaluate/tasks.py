"""Which trainings a protocol asks for, which clips are on which side of each, and where its files are."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from train_host.cli import NOT_FOR_WEIGHTS
from train_host.corpora.clip import Clip
from train_host.errors import FoldError
from train_host.folds import N_CROSSED, Split, crossed, load_protocols, random_split, splits, unseen_corpus
from train_host.recipes import find_recipe

UNSEEN, RANDOM, CROSS = "unseen", "random", "cross"


@dataclass(frozen=True)
class Task:
    """One training. `split` is `<protocol>/<fold>`, `cross/<fold>`, `unseen_<corpus>` or `random`; `n_folds` how many
    splits its protocol has; `steps` None for the recipe's own number."""

    recipe: str
    protocol: str
    split: str
    n_folds: int
    seed: int
    steps: int | None = None

    def folder(self, out: Path) -> Path:
        """Its files under `out`; a trial with other steps is never in the place of the real one."""
        trial = "" if self.steps is None else f"-trial-{self.steps}"
        return out / self.recipe / self.split.replace("/", "-") / f"seed-{self.seed}{trial}"

    def __str__(self) -> str:
        return f"{self.recipe} {self.split} seed {self.seed}" + (f" ({self.steps} steps)" if self.steps else "")


def find_tasks(
    names: Sequence[str], recipes: Sequence[str], n_seeds: int, corpora: Collection[str], steps: int | None
) -> list[Task]:
    """The tasks of protocols, or of single splits of theirs; all protocols that `corpora` allow where none is named.

    The first seed of everything comes first. Raises FoldError where a name is none, or its corpus is not among
    `corpora`; RecipeError where there is no such recipe.
    """
    known = all_splits(corpora)
    chosen: list[tuple[str, str]] = []
    for name in names or list(known):
        found = [(protocol, split) for protocol, own in known.items() for split in own if name in (protocol, split)]
        if not found:
            _refuse(name, known, corpora)
        chosen += [one for one in found if one not in chosen]
    for recipe in recipes:
        find_recipe(recipe)
    return [
        Task(recipe, protocol, split, len(known[protocol]), seed, steps)
        for seed in range(n_seeds)
        for recipe in recipes
        for protocol, split in chosen
    ]


def all_splits(corpora: Collection[str]) -> dict[str, list[str]]:
    """The splits of each protocol that the corpora of these names allow."""
    known = {
        name: [f"{name}/{number}" for number in range(1, len(protocol.folds) + 1)]
        for name, protocol in load_protocols().items()
        if protocol.corpus in corpora
    }
    if "ravdess" in corpora:
        known[CROSS] = [f"{CROSS}/{number}" for number in range(1, N_CROSSED + 1)]
    if len(set(corpora) - set(NOT_FOR_WEIGHTS)) > 1:
        known[UNSEEN] = [f"{UNSEEN}_{corpus}" for corpus in sorted(corpora)]
    if set(corpora) - set(NOT_FOR_WEIGHTS):
        known[RANDOM] = [RANDOM]
    return known


def _refuse(name: str, known: dict[str, list[str]], corpora: Collection[str]) -> None:
    protocol = load_protocols().get(name.partition("/")[0])
    if protocol is not None and protocol.corpus not in corpora:
        raise FoldError(
            f"{name} needs the corpus {protocol.corpus}, which is not there; there is {', '.join(sorted(corpora))}"
        )
    raise FoldError(
        f"no protocol {name!r}; with these corpora there are {', '.join(known) or 'none'}, and single splits of "
        "theirs, as ravdess_luna5/1 or unseen_savee"
    )


def make_split(task: Task, clips: Sequence[Clip]) -> Split:
    """Who trains, validates and is tested in a task. Raises FoldError where the clips do not allow it."""
    training = [clip for clip in clips if clip.corpus not in NOT_FOR_WEIGHTS]
    if task.protocol == RANDOM:
        return random_split(training, task.seed)
    if task.protocol == CROSS:
        return crossed(training, int(task.split.removeprefix(f"{CROSS}/")))
    if task.protocol == UNSEEN:
        corpus = task.split.removeprefix(f"{UNSEEN}_")
        return unseen_corpus(
            [clip for clip in clips if clip.corpus == corpus or clip.corpus not in NOT_FOR_WEIGHTS], corpus
        )
    protocol = load_protocols()[task.protocol]
    return next(split for split in splits(protocol, training) if split.name == task.split)


def clips_digest(clips: Sequence[Clip]) -> str:
    """Tells sets of clips apart, wherever their files lie."""
    names = sorted(f"{clip.speaker_id}/{clip.path.name}/{clip.emotion}" for clip in clips)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
