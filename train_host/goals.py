"""What the project set out to reach, and what its results say of it. The goals are typed here, and nowhere else.

Source: issue 3, "Accuracy that survives an unseen speaker, and an unseen room", its figures and the paragraph below
them. All are of the quantized model, mean over the seeds; shares in per cent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from train_host.evaluate.adaptation import Adaptation
from train_host.evaluate.result import N_COVERAGES, Result, uar
from train_host.evaluate.tasks import UNSEEN
from train_host.figures import COVERAGE, Row, calibration_error, row_title, rows_of, seen_rows

UNSEEN_GOALS: Final = ("savee", "nemo", "tess")
"""The corpora whose unseen figures have a goal."""
BYTES_PER_MB: Final = 1e6


@dataclass(frozen=True)
class Evidence:
    """All results of one recipe in one form, and its adaptations."""

    results: Sequence[Result]
    adaptations: Sequence[Adaptation]

    @property
    def seen(self) -> dict[str, tuple[str, Row]]:
        """For each corpus the protocol that is preferred, and its row of new speakers."""
        return {corpus: rows[0] for corpus, rows in seen_rows(self.results).items()}

    @property
    def in_noise(self) -> dict[str, tuple[str, Row]]:
        """The same of the trainings that were measured in noise."""
        return Evidence([result for result in self.results if result.conditions], ()).seen

    @property
    def unseen(self) -> dict[str, tuple[str, Row]]:
        """For each corpus its row where no training knew it."""
        corpora = sorted({c for result in self.results if result.protocol == UNSEEN for c in result.corpora})
        rows = {corpus: rows_of(self.results, UNSEEN, corpus)[0] for corpus in corpora}
        return {corpus: (UNSEEN, own[0]) for corpus, own in rows.items() if own}


@dataclass(frozen=True)
class Measured:
    """A figure, and in words what it is of."""

    value: float
    of: str


@dataclass(frozen=True)
class Goal:
    """`done` is what was asked for, `reach` what then to reach for; `measure` says None where results are missing."""

    name: str
    done: float
    reach: float | None
    measure: Callable[[Evidence], Measured | None]
    at_least: bool = True
    digits: int = 1

    def is_met(self, value: float, goal: float) -> bool:
        """Whether `value`, as it is shown, is as good as `goal`."""
        shown = round(value, self.digits)
        return shown >= goal if self.at_least else shown <= goal


def _percent(values: Sequence[float]) -> float:
    return 100 * float(np.mean(values))


def _speakers_of(corpus: str) -> Callable[[Evidence], Measured | None]:
    def measure(evidence: Evidence) -> Measured | None:
        if corpus not in evidence.seen:
            return None
        protocol, row = evidence.seen[corpus]
        return Measured(_percent(row.uars), row_title(protocol, row))

    return measure


def _tess_folds(of: Callable[[Sequence[float]], float], words: str) -> Callable[[Evidence], Measured | None]:
    def measure(evidence: Evidence) -> Measured | None:
        if "tess" not in evidence.seen:
            return None
        protocol, row = evidence.seen["tess"]
        return Measured(100 * of(list(row.folds.values())), f"{row_title(protocol, row)}, {words}")

    return measure


def _unseen_uar(corpus: str) -> Callable[[Evidence], Measured | None]:
    def measure(evidence: Evidence) -> Measured | None:
        if corpus not in evidence.unseen:
            return None
        protocol, row = evidence.unseen[corpus]
        return Measured(_percent(row.uars), row_title(protocol, row))

    return measure


def _unseen_activation(evidence: Evidence) -> Measured | None:
    rows = [evidence.unseen[corpus][1] for corpus in UNSEEN_GOALS if corpus in evidence.unseen]
    if len(rows) < len(UNSEEN_GOALS):
        return None
    figures = [_percent([uar(counts) for counts in row.activation]) for row in rows]
    each = ", ".join(f"{row.corpus} {figure:.1f}" for row, figure in zip(rows, figures, strict=True))
    return Measured(float(np.mean(figures)), f"mean of {each}")


def _adapted_savee(evidence: Evidence) -> Measured | None:
    own = [one for one in evidence.adaptations if one.split == f"{UNSEEN}_savee"]
    if not own:
        return None
    return Measured(
        _percent([uar(one.counts("savee", "3")) for one in own]), "float network, see *Adapted to the speaker*"
    )


def _worst(
    rows_of_evidence: Callable[[Evidence], dict[str, tuple[str, Row]]],
    figure: Callable[[Row], float | None],
    pick: Callable[..., tuple[float, str]] = max,
) -> Callable[[Evidence], Measured | None]:
    """The worst row's figure: a mean over corpora would let a good one pay for a bad one."""

    def measure(evidence: Evidence) -> Measured | None:
        found = [(figure(row), row_title(protocol, row)) for protocol, row in rows_of_evidence(evidence).values()]
        there = [(value, words) for value, words in found if value is not None]
        if not there:
            return None
        value, words = pick(there)
        return Measured(value, f"worst of {len(there)}: {words}")

    return measure


def _both(evidence: Evidence) -> dict[str, tuple[str, Row]]:
    return {**evidence.seen, **{f"unseen {corpus}": one for corpus, one in evidence.unseen.items()}}


def _quantization_loss(row: Row) -> float:
    return _percent(row.float_uars) - _percent(row.uars)


def _coverage_gain(row: Row) -> float:
    return 100 * float(row.coverage[round(COVERAGE * N_COVERAGES) - 1] - row.coverage[-1])


def _gender_gap(row: Row) -> float | None:
    women, men = (
        [uar(counts) for counts in row.counts(lambda one, g=gender: one.gender == g) if counts.any()]  # type: ignore[misc]
        for gender in ("female", "male")
    )
    return abs(_percent(women) - _percent(men)) if women and men else None


def _loss_at_10_db(row: Row) -> float | None:
    names = {one.name for result in row.results for one in result.conditions if one.snr_db == 10}
    if not names:
        return None
    noisy = [uar(counts) for name in names for counts in row.in_noise(name)]
    return _percent(row.uars) - _percent(noisy)


def _megabytes(evidence: Evidence) -> Measured | None:
    if not evidence.results:
        return None
    return Measured(max(one.model_bytes for one in evidence.results) / BYTES_PER_MB, "`model.tflite`, the largest")


def _false_alarms(evidence: Evidence) -> Measured | None:
    """Of noises that hold no voices, each as often as there are trainings."""
    heard = [one for result in evidence.results for one in result.noises if not one.has_voices]
    if not heard:
        return None
    n, hours = sum(one.n_events for one in heard), sum(one.seconds for one in heard) / 3600
    trainings = sum(bool(result.noises) for result in evidence.results)
    return Measured(n / hours, f"noises without voices, {n} events in {hours:.1f} hours by {trainings} trainings")


GOALS: Final = (
    Goal("RAVDESS 8, Luna 5 folds", 66, 70, _speakers_of("ravdess")),
    Goal("TESS, other actress, mean", 65, 78, _tess_folds(lambda folds: float(np.mean(folds)), "mean")),
    Goal("TESS, other actress, worse", 60, 72, _tess_folds(min, "worse")),
    Goal("SAVEE, leave one speaker out", 55, 62, _speakers_of("savee")),
    Goal("unseen corpus: SAVEE 7", 35, 45, _unseen_uar("savee")),
    Goal("unseen corpus: nEMO 6", 40, 50, _unseen_uar("nemo")),
    Goal("unseen corpus: TESS 7", 45, 60, _unseen_uar("tess")),
    Goal("unseen corpus, activation", 82, 88, _unseen_activation),
    Goal("SAVEE after 3 labelled clips per emotion, corpus unseen", 60, 70, _adapted_savee),
    Goal("size in MB", 1, None, _megabytes, at_least=False, digits=3),
    Goal("points lost by quantization", 0.5, None, _worst(_both, _quantization_loss), at_least=False, digits=2),
    Goal(
        "calibration error, seen corpora",
        0.05,
        None,
        _worst(lambda e: e.seen, lambda row: calibration_error(row.bins)),
        at_least=False,
        digits=3,
    ),
    Goal(
        "calibration error, unseen corpora",
        0.1,
        None,
        _worst(lambda e: e.unseen, lambda row: calibration_error(row.bins)),
        at_least=False,
        digits=3,
    ),
    Goal("points of accuracy gained at 70% coverage", 8, None, _worst(_both, _coverage_gain, min)),
    Goal("points between women and men", 3, None, _worst(lambda e: e.seen, _gender_gap), at_least=False),
    Goal("points lost at 10 dB of noise", 6, None, _worst(lambda e: e.in_noise, _loss_at_10_db), at_least=False),
    Goal("speech found in clean clips", 98, None, _worst(_both, lambda row: 100 * row.speech_found, min)),
    Goal("events per hour on noise alone", 1, None, _false_alarms, at_least=False),
)


@dataclass(frozen=True)
class Quoted:
    """A figure of the recipe for a card: what was measured, how much, of what."""

    name: str
    value: str
    of: str
    seeds: tuple[int, ...]
    """Of all trainings that the figures are of."""


def quoted(results: Sequence[Result], adaptations: Sequence[Adaptation], recipe: str, digest: str) -> list[Quoted]:
    """The figures with a goal, of a recipe in its present form; none where no result is of that form."""
    own = [one for one in results if (one.recipe, one.recipe_digest) == (recipe, digest) and not one.trial]
    evidence = Evidence(own, [one for one in adaptations if one.recipe_digest == digest and not one.trial])
    seeds = tuple(sorted({one.seed for one in own}))
    found = [(goal, goal.measure(evidence)) for goal in GOALS] if own else []
    return [Quoted(goal.name, f"{one.value:.{goal.digits}f}", one.of, seeds) for goal, one in found if one is not None]
