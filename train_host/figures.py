"""Figures of results: the rows of the report's tables, computed from the counts in `train_host.evaluate.result`.

Over folds counts are added up, so that every tested speaker counts alike; over seeds figures are averaged. A protocol
with folds missing has no total.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train_host.corpora.known import KNOWN
from train_host.evaluate.result import Bin, CorpusResult, Emotions, Result, Speaker, uar
from train_host.evaluate.tasks import CROSS, RANDOM, UNSEEN

N_RESAMPLES: Final = 2000
COVERAGE: Final = 0.7
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """What one recipe did on one corpus under one protocol: `seeds[i]` are the results of all folds with one seed."""

    recipe: str
    corpus: str
    seeds: tuple[tuple[Result, ...], ...]

    @property
    def results(self) -> list[Result]:
        return [result for folds in self.seeds for result in folds]

    def counts(self, keep: Callable[[Speaker], bool] = lambda speaker: True) -> list[Counts]:
        """For each seed the counts `(8, 9)` over all folds, of the speakers that `keep` says yes to."""
        return [
            np.sum(
                [s.emotions for result in folds for s in result.speakers if s.corpus == self.corpus and keep(s)]
                or _NONE,
                axis=0,
                dtype=np.int64,
            )
            for folds in self.seeds
        ]

    @property
    def n_classes(self) -> int:
        """Emotions that are told apart."""
        return len(self.results[0].corpora[self.corpus].classes)

    @property
    def folds(self) -> dict[str, float]:
        """UAR of this corpus in each fold, mean over the seeds, by the number of the fold."""
        figures: dict[str, list[float]] = defaultdict(list)
        for result in self.results:
            figures[result.split.partition("/")[2]].append(uar(result.emotions(self.corpus)))
        return {fold: float(np.mean(own)) for fold, own in sorted(figures.items())}

    @property
    def speech_found(self) -> float:
        """Share of the recordings in which speech was found, over all seeds."""
        counts = np.sum(self.counts(), axis=0)
        return 1 - float(counts[:, -1].sum() / counts.sum())

    def in_noise(self, condition: str, kinds: Collection[str] = ("familiar", "new")) -> list[Counts]:
        """For each seed the counts `(8, 9)` under a condition, of familiar sounds, new ones, or both."""
        return [
            np.sum(
                [
                    getattr(one, kind)[self.corpus]
                    for result in folds
                    for one in result.conditions
                    if one.name == condition
                    for kind in kinds
                ]
                or _NONE,
                axis=0,
                dtype=np.int64,
            )
            for folds in self.seeds
        ]

    @property
    def uars(self) -> list[float]:
        return [uar(counts) for counts in self.counts()]

    @property
    def float_uars(self) -> list[float]:
        return [uar(counts) for counts in self._of_corpus(lambda corpus: corpus.keras)]

    @property
    def uars_of_8(self) -> list[float]:
        return [uar(counts) for counts in self._of_corpus(lambda corpus: corpus.all_answers)]

    @property
    def activation(self) -> list[Counts]:
        """For each seed `(2, 3)`: high, low; the last column is no answer."""
        return [
            np.sum(
                [s.activation for result in folds for s in result.speakers if s.corpus == self.corpus],
                axis=0,
                dtype=np.int64,
            )
            for folds in self.seeds
        ]

    @property
    def bins(self) -> list[Bin]:
        """Histogram of confidence over all folds and seeds."""
        return self._bins(lambda corpus: corpus.calibration)

    @property
    def activation_bins(self) -> list[Bin]:
        """The same of the activation."""
        return self._bins(lambda corpus: corpus.activation_calibration)

    def _bins(self, of: Callable[[CorpusResult], Sequence[Bin]]) -> list[Bin]:
        each = [of(result.corpora[self.corpus]) for result in self.results]
        return [
            Bin(sum(b.n for b in same), sum(b.confidence for b in same), sum(b.n_right for b in same))
            for same in zip(*each, strict=True)
        ]

    @property
    def coverage(self) -> NDArray[np.float64]:
        """Share right at each coverage, each fold with its own threshold, folds by their number of clips."""
        return self._coverage(lambda corpus: (corpus.coverage, corpus.calibration))

    @property
    def activation_coverage(self) -> NDArray[np.float64] | None:
        """The same of the activation; None where no clip has one."""
        if not any(b.n for b in self.activation_bins):
            return None
        return self._coverage(lambda corpus: (corpus.activation_coverage, corpus.activation_calibration))

    def _coverage(self, of: Callable[[CorpusResult], tuple[Sequence[float], Sequence[Bin]]]) -> NDArray[np.float64]:
        each = [of(result.corpora[self.corpus]) for result in self.results]
        weights = [sum(b.n for b in bins) for _, bins in each]
        return np.average([shares for shares, _ in each], axis=0, weights=weights)

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """95% of the UAR over draws of speakers with replacement; None of a sole speaker."""
        return bootstrap(self._by_speaker())

    def _by_speaker(self) -> list[NDArray[np.int64]]:
        """For each seed `(n_speakers, 8, 9)`: the same speakers in the same order, zeros where a seed lacks one."""
        each = [
            {s.speaker: s.emotions for result in folds for s in result.speakers if s.corpus == self.corpus}
            for folds in self.seeds
        ]
        names = sorted({name for own in each for name in own})
        return [np.array([own.get(name, _NONE[0]) for name in names], np.int64) for own in each]

    @property
    def worst_speaker(self) -> tuple[str, float]:
        """The speaker of the lowest UAR, mean over the seeds."""
        figures: dict[str, list[float]] = defaultdict(list)
        for result in self.results:
            for speaker in result.speakers:
                if speaker.corpus == self.corpus and np.any(speaker.emotions):
                    figures[speaker.speaker].append(uar(np.array(speaker.emotions)))
        return min(((name, float(np.mean(own))) for name, own in figures.items()), key=lambda one: (one[1], one[0]))

    def _of_corpus(self, of: Callable[[CorpusResult], Emotions]) -> list[Counts]:
        return [
            np.sum([of(result.corpora[self.corpus]) for result in folds], axis=0, dtype=np.int64)
            for folds in self.seeds
        ]


_NONE: Final = (np.zeros((8, 9), np.int64),)


# --- figures ----------------------------------------------------------------------------------------------------------


def accuracy(counts: Counts) -> float:
    """Share on the diagonal."""
    return float(np.trace(counts) / counts.sum())


def precision(counts: Counts) -> NDArray[np.float64]:
    """Of each answer the share that was right; nan where it was never given."""
    given = counts[:, : len(counts)].sum(axis=0)
    return np.where(given > 0, counts.diagonal() / np.maximum(given, 1), np.nan)


def recall(counts: Counts) -> NDArray[np.float64]:
    """Of each truth the share that was recognised; nan where it does not occur."""
    there = counts.sum(axis=1)
    return np.where(there > 0, counts.diagonal() / np.maximum(there, 1), np.nan)


def macro_f1(counts: Counts) -> float:
    """Mean over the truths that occur of the harmonic mean of precision and recall; 0 where nothing was right."""
    p, r = np.nan_to_num(precision(counts)), recall(counts)
    there = ~np.isnan(r)
    both = p[there] + r[there]
    return float(np.mean(np.where(both > 0, 2 * p[there] * r[there] / np.where(both > 0, both, 1), 0.0)))


def calibration_error(bins: Iterable[Bin]) -> float:
    """Expected calibration error of a histogram."""
    bins = list(bins)
    return sum(abs(b.confidence - b.n_right) for b in bins) / max(1, sum(b.n for b in bins))


def bootstrap(seeds: Sequence[NDArray[np.int64]], n_resamples: int = N_RESAMPLES) -> tuple[float, float] | None:
    """95% interval of the UAR, mean over seeds, over draws of speakers: `seeds[i]` is `(n_speakers, 8, 9)`.

    The same draws each time it is called. None of a sole speaker.
    """
    if len(seeds[0]) < 2:
        return None
    low, high = np.nanpercentile(np.mean([drawn_uars(counts, n_resamples) for counts in seeds], axis=0), [2.5, 97.5])
    return float(low), float(high)


def drawn_uars(counts: NDArray[np.int64], n_resamples: int = N_RESAMPLES) -> NDArray[np.float64]:
    """UAR of each of `n_resamples` draws of speakers with replacement, of counts `(n_speakers, 8, 9)`.

    The same draws for the same number of speakers, so figures of two models can be compared draw by draw; nan where a
    draw has no clip.
    """
    n_speakers = len(counts)
    draws = np.random.default_rng(0).integers(n_speakers, size=(n_resamples, n_speakers))
    weights = np.zeros((n_resamples, n_speakers), np.int64)
    np.add.at(weights, (np.arange(n_resamples)[:, None], draws), 1)
    drawn = np.einsum("ds,sij->dij", weights, counts)
    there = drawn.sum(axis=2)
    hits = np.diagonal(drawn, axis1=1, axis2=2)
    n_rows = (there > 0).sum(axis=1)
    shares = (hits / np.maximum(there, 1)).sum(axis=1)
    return np.where(n_rows > 0, shares / np.maximum(n_rows, 1), np.nan)


# --- rows -------------------------------------------------------------------------------------------------------------


def label(result: Result) -> str:
    """Recipe, and that it is a trial where it is one."""
    return f"{result.recipe}, **trial of {result.steps} steps**" if result.trial else result.recipe


def by_form(results: Sequence[Result], among: Sequence[Result]) -> dict[str, list[Result]]:
    """`results` by the name of their model. Another form of a recipe is another model, never averaged with this one:
    where there are several `among` all that is shown, each has its form in its name."""
    forms: dict[str, set[str]] = defaultdict(set)
    for result in among:
        forms[label(result)].add(result.recipe_digest)
    found: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        name = label(result)
        found[name if len(forms[name]) == 1 else f"{name} (form {result.recipe_digest})"].append(result)
    return dict(sorted(found.items()))


def rows_of(results: Sequence[Result], protocol: str, corpus: str) -> tuple[list[Row], list[str]]:
    """The rows of a protocol, and in words what is missing: only seeds with all folds are in a row."""
    rows, missing = [], []
    own = [result for result in results if result.protocol == protocol]
    if protocol in (UNSEEN, RANDOM):  # one training tests all of a corpus
        own = [result for result in own if corpus in result.corpora]
    for name, mine in by_form(own, results).items():
        by_seed: dict[int, list[Result]] = defaultdict(list)
        for result in mine:
            by_seed[result.seed].append(result)
        n_folds = 1 if protocol in (UNSEEN, RANDOM) else max(result.n_folds for result in mine)
        # of five folds that test all corpora, one of four speakers is tested in four
        whole = [
            tuple(one for one in by_seed[seed] if corpus in one.corpora)
            for seed in sorted(by_seed)
            if len(by_seed[seed]) == n_folds
        ]
        missing += [
            f"{name}, seed {seed}: {len(folds)} of {n_folds} folds done, so there is no total"
            for seed, folds in sorted(by_seed.items())
            if len(folds) < n_folds
        ]
        if whole and whole[0]:
            rows.append(Row(name, corpus, tuple(whole)))
    return rows, missing


HOW: Final = {
    "ravdess_luna5": "Luna 5 folds",
    "tess_twoway": "other actress",
    "savee_loso": "leave one speaker out",
    "emodb_loso": "leave one speaker out",
    CROSS: "cross folds",
}


def title(corpus: str, n_classes: int | None = None) -> str:
    """`RAVDESS 8` of `ravdess` with eight emotions."""
    name = KNOWN[corpus].title.removesuffix(" speech") if corpus in KNOWN else corpus
    return f"{name} {n_classes}" if n_classes else name


def row_title(protocol: str, row: Row) -> str:
    """What a row measures, as people call it: `RAVDESS 8, Luna 5 folds`."""
    how = {UNSEEN: "corpus unseen", RANDOM: "random split, **leaky**"}.get(protocol, HOW.get(protocol, protocol))
    return f"{title(row.corpus, row.n_classes)}, {how}"


def seen_rows(results: Sequence[Result]) -> dict[str, list[tuple[str, Row]]]:
    """For each corpus the rows of new speakers of it, under the published protocol where there is one that is whole,
    else under `cross`; with the protocol's name."""
    found: dict[str, list[tuple[str, Row]]] = {}
    protocols = {result.protocol for result in results} - {UNSEEN, RANDOM}
    # the primary protocol of a corpus before its others, and all of these before `cross`
    ordered = sorted(protocols, key=lambda name: (name == CROSS, name not in HOW, name))
    for corpus in sorted({corpus for result in results for corpus in result.corpora}):
        for protocol in ordered:
            if protocol != CROSS and protocol.partition("_")[0] != corpus:
                continue
            known = {row.recipe for _, row in found.get(corpus, [])}
            rows, _ = rows_of(results, protocol, corpus)
            found.setdefault(corpus, []).extend((protocol, row) for row in rows if row.recipe not in known)
    return {corpus: rows for corpus, rows in found.items() if rows}
