"""The table of ablations: what the default recipe loses without one of its ingredients.

Every training without an ingredient is compared with the default's training of the same split and the same seed, so
that a change is of the ingredient and of chance, and of nothing else. How much is chance is told by the default itself:
its own trainings of one split differ by their seed alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from train_host.evaluate.result import Result, uar
from train_host.evaluate.tasks import CROSS, RANDOM, UNSEEN
from train_host.figures import label
from train_host.recipes.tonelight import TONELIGHT
from train_host.recipes.variants import VARIANTS

Task = tuple[str, int]
"""Split and seed."""


class Change(NamedTuple):
    """A figure without the ingredient, what it changes by and one standard deviation of chance, all as shares.

    `chance` is None where no split has several seeds of the default to tell it from.
    """

    figure: float
    by: float
    chance: float | None
    n_pairs: int


def _ravdess(result: Result) -> float | None:
    is_seen = result.protocol not in (UNSEEN, RANDOM) and "ravdess" in result.corpora
    return uar(result.emotions("ravdess")) if is_seen else None


def _seen(result: Result) -> float | None:
    return result.uar if result.protocol == CROSS else None


def _unseen(result: Result) -> float | None:
    return result.uar if result.protocol == UNSEEN else None


def _unseen_activation(result: Result) -> float | None:
    if result.protocol != UNSEEN:
        return None
    return uar(np.sum([speaker.activation for speaker in result.speakers], axis=0))


COLUMNS: Final[Mapping[str, Callable[[Result], float | None]]] = {
    "RAVDESS": _ravdess,
    "seen corpora, mean": _seen,
    "unseen corpora, mean": _unseen,
    "unseen activation, mean": _unseen_activation,
}
"""What each column takes from one result, None where that result has no part in it."""


def changes(results: Sequence[Result]) -> dict[str, dict[str, Change]]:
    """By variant and column; nothing of a recipe that is there in two forms, and of variants without any pair.

    Only whole trainings: trials of fewer steps flatter recipes that are held back less.
    """
    whole = [result for result in results if not result.trial]
    default = _tasks(whole, TONELIGHT.name)
    found: dict[str, dict[str, Change]] = {}
    for variant in VARIANTS:
        mine = _tasks(whole, variant)
        own = {name: change for name, of in COLUMNS.items() if (change := _change(mine, default, of)) is not None}
        if own:
            found[variant] = own
    return found


def _tasks(results: Sequence[Result], recipe: str) -> dict[Task, Result]:
    own = [result for result in results if label(result) == recipe]
    return {(r.split, r.seed): r for r in own} if len({r.recipe_digest for r in own}) == 1 else {}


def _change(
    mine: Mapping[Task, Result], default: Mapping[Task, Result], of: Callable[[Result], float | None]
) -> Change | None:
    with_it = {task: value for task, result in default.items() if (value := of(result)) is not None}
    without = {task: value for task, result in mine.items() if (value := of(result)) is not None}
    pairs = sorted(with_it.keys() & without.keys())
    if not pairs:
        return None
    by_split: dict[str, list[float]] = defaultdict(list)
    for (split, _), value in with_it.items():
        by_split[split].append(value)
    variances = [np.var(values, ddof=1) for values in by_split.values() if len(values) > 1]
    # both sides of a pair have their chance
    chance = float(np.sqrt(2 * np.mean(variances) / len(pairs))) if variances else None
    return Change(
        figure=float(np.mean([without[task] for task in pairs])),
        by=float(np.mean([without[task] - with_it[task] for task in pairs])),
        chance=chance,
        n_pairs=len(pairs),
    )


WORDS: Final = f"""\
What an ingredient is worth: the default recipe trained without it (`--recipe {TONELIGHT.name}-without-…`). In brackets,
what the figure changes by against the default's trainings of the same splits and seeds, ± one standard deviation of
what chance does to such a change, as told by the default's own seeds; **bold** is a change of more than two of them. An
ingredient earns its place where leaving it out is a loss. Under *trainings* the pairs that were compared, of new
speakers of seen corpora and of unseen corpora; figures are means over these, and so not those of the tables above.
"""


def section(results: Sequence[Result]) -> list[str]:
    """Paragraphs of the report, the largest loss first; empty where no variant has been trained."""
    found = changes(results)
    if not found:
        return []
    lines = [("the recipe …", *COLUMNS, "trainings"), ("---",) * (len(COLUMNS) + 2)]
    for variant, own in sorted(found.items(), key=lambda one: sum(change.by for change in one[1].values())):
        n = [str(own[name].n_pairs) if name in own else "0" for name in ("RAVDESS", "unseen corpora, mean")]
        cells = [_cell(own.get(name)) for name in COLUMNS]
        lines.append((VARIANTS[variant].summary.removeprefix("the default "), *cells, " + ".join(n)))
    return ["## Ablations", WORDS, "\n".join("| " + " | ".join(line) + " |" for line in lines)]


def _cell(change: Change | None) -> str:
    if change is None:
        return "–"
    by = f"{100 * change.by:+.1f}"
    if change.chance is None:
        return f"{100 * change.figure:.1f} ({by})"
    if abs(change.by) > 2 * change.chance:
        by = f"**{by}**"
    return f"{100 * change.figure:.1f} ({by} ± {100 * change.chance:.1f})"
