"""The table of ablations: what the default recipe loses without one of its ingredients.

Trainings without an ingredient are compared with the default's of the same split. How much of a change is chance is
told by the default itself: its own trainings of one split differ by their seed alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from train_host.evaluate.result import Result, uar
from train_host.evaluate.tasks import CROSS, RANDOM, UNSEEN
from train_host.recipes.tonelight import TONELIGHT
from train_host.recipes.variants import VARIANTS

Values = dict[str, list[float]]
"""Of each split a figure for every seed."""


class Change(NamedTuple):
    """A figure without the ingredient, what it changes by and one standard deviation of chance, all as shares.

    `chance` is None where no split has several seeds of the default to tell it from.
    """

    figure: float
    by: float
    chance: float | None
    n_splits: int


def _ravdess(result: Result) -> float | None:
    is_seen = result.protocol not in (UNSEEN, RANDOM) and "ravdess" in result.corpora
    return uar(result.emotions("ravdess")) if is_seen else None


def _seen(result: Result) -> float | None:
    return result.uar if result.protocol == CROSS else None


def _unseen(result: Result) -> float | None:
    return result.uar if result.protocol == UNSEEN else None


def _noisy(result: Result) -> float | None:
    heard = [one for one in result.conditions if one.snr_db == 10]
    if result.protocol != CROSS or not heard:
        return None
    each = [np.add(heard[0].familiar[corpus], heard[0].new[corpus]) for corpus in result.corpora]
    return float(np.mean([uar(counts) for counts in each]))


def _unseen_activation(result: Result) -> float | None:
    if result.protocol != UNSEEN:
        return None
    counts = np.sum([speaker.activation for speaker in result.speakers], axis=0)
    return uar(counts) if counts.any() else None


COLUMNS: Final[Mapping[str, Callable[[Result], float | None]]] = {
    "RAVDESS": _ravdess,
    "seen corpora, mean": _seen,
    "the same, noise at 10 dB": _noisy,
    "unseen corpora, mean": _unseen,
    "unseen activation, mean": _unseen_activation,
}
"""What each column takes from one result, None where that result has no part in it."""


def changes(results: Sequence[Result]) -> dict[str, dict[str, Change]]:
    """By variant and column; nothing of a recipe that is there in two forms, and of variants without any pair.

    Only whole trainings: trials of fewer steps flatter recipes that are held back less.
    """
    whole = [result for result in results if not result.trial]
    default = _of_one_form(whole, TONELIGHT.name)
    found: dict[str, dict[str, Change]] = {}
    for variant in VARIANTS:
        mine = _of_one_form(whole, variant)
        own = {column: _change(_values(mine, of), _values(default, of)) for column, of in COLUMNS.items()}
        if any(own.values()):
            found[variant] = {column: change for column, change in own.items() if change is not None}
    return found


def _of_one_form(results: Sequence[Result], recipe: str) -> list[Result]:
    own = [result for result in results if result.recipe == recipe]
    return own if len({result.recipe_digest for result in own}) == 1 else []


def _values(results: Sequence[Result], of: Callable[[Result], float | None]) -> Values:
    values: Values = defaultdict(list)
    for result in results:
        value = of(result)
        if value is not None:
            values[result.split].append(value)
    return values


def _change(without: Values, default: Values) -> Change | None:
    splits = sorted(without.keys() & default.keys())
    if not splits:
        return None
    variances = [np.var(values, ddof=1) for values in default.values() if len(values) > 1]
    # the mean of either side has its chance, the smaller the more seeds it has
    parts = [1 / len(without[split]) + 1 / len(default[split]) for split in splits]
    chance = float(np.sqrt(np.mean(variances) * sum(parts)) / len(splits)) if variances else None
    return Change(
        figure=float(np.mean([np.mean(without[split]) for split in splits])),
        by=float(np.mean([np.mean(without[split]) - np.mean(default[split]) for split in splits])),
        chance=chance,
        n_splits=len(splits),
    )


WORDS: Final = f"""\
What an ingredient is worth: the default recipe trained without it (`--recipe {TONELIGHT.name}-without-…`), or with one
that it does not have. In brackets, what the figure changes by against the default's trainings of the same splits, ± one
standard deviation of what chance does to such a change, as told by the default's own seeds; **bold** is a change of
more than two of them. An ingredient earns its place where leaving it out is a loss. *Splits* are those compared, of new
speakers of seen corpora and of unseen corpora; figures are means over these, and so not those of the tables above.
"""


def section(results: Sequence[Result]) -> list[str]:
    """Paragraphs of the report, the largest loss first; empty where no variant has been trained."""
    found = changes(results)
    if not found:
        return []
    lines = [("the recipe …", *COLUMNS, "splits"), ("---",) * (len(COLUMNS) + 2)]
    for variant, own in sorted(found.items(), key=lambda one: np.mean([change.by for change in one[1].values()])):
        n = [str(own[name].n_splits) if name in own else "0" for name in ("RAVDESS", "unseen corpora, mean")]
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
