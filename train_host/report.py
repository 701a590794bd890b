"""`docs/accuracy.md` from results: tables in Markdown, and plots beside them. No figure is written anywhere else.

All figures are of the counts in `train_host.evaluate.result`. Over folds counts are added up, so that every tested
speaker counts alike; over seeds figures are averaged. A protocol with folds missing has no total.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.labels import EMOTIONS
from train_host import plots
from train_host.evaluate.adaptation import CONDITIONS, N_CLIPS, N_KEPT, Adaptation
from train_host.evaluate.result import N_COVERAGES, Bin, CorpusResult, Emotions, Result, Speaker, uar

N_RESAMPLES: Final = 2000
COVERAGE: Final = 0.7
Counts = NDArray[np.int64]

INTRODUCTION: Final = """\
Generated from the results by `tonelight-train evaluate`; nothing here is typed by hand.

What is measured is the exported, quantized model on whole recordings, run by the device's own pipeline. **UAR** is the
mean over the emotions of the share recognised (unweighted average recall), in per cent; answers are out of the emotions
that the corpus has, and *of 8* is the same with all eight answers allowed, as the light gives them. A recording in
which no speech was found counts as wrong. **Float** is the trained Keras model on the same features. Counts are added
up over folds; `±` is the standard deviation over seeds; the interval holds 95% of 2000 draws of speakers. ECE is the
expected calibration error of the device's own confidence, 15 bins. **Activation** is high (angry, happy, fearful,
surprised) or low (sad, calm, neutral), as the device tells it, calibrated on the validation speakers; disgust counts
for neither. **Named** are the recordings sure enough for the name of an emotion, the others are `uncertain`; *at 70%
coverage* is among the most confident seven of ten. No tested speaker was trained on, stopped on or
calibrated on, except in rows marked **leaky**: there the recordings were split by chance, voices are on both sides, and
the figure says how well a model remembers voices. Such rows are here because most published figures are of that kind.
"""


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
    n_speakers = len(seeds[0])
    if n_speakers < 2:
        return None
    rng = np.random.default_rng(0)
    draws = rng.integers(n_speakers, size=(n_resamples, n_speakers))
    weights = np.zeros((n_resamples, n_speakers), np.int64)
    np.add.at(weights, (np.arange(n_resamples)[:, None], draws), 1)
    figures = np.zeros(n_resamples)
    for counts in seeds:
        drawn = np.einsum("ds,sij->dij", weights, counts)
        there = drawn.sum(axis=2)
        hits = np.diagonal(drawn, axis1=1, axis2=2)
        n_rows = (there > 0).sum(axis=1)
        shares = (hits / np.maximum(there, 1)).sum(axis=1)
        figures += np.where(n_rows > 0, shares / np.maximum(n_rows, 1), np.nan)
    low, high = np.nanpercentile(figures / len(seeds), [2.5, 97.5])
    return float(low), float(high)


# --- rows -------------------------------------------------------------------------------------------------------------


def label(result: Result) -> str:
    """Recipe, and that it is a trial where it is one."""
    return f"{result.recipe}, **trial of {result.steps} steps**" if result.trial else result.recipe


def rows_of(results: Sequence[Result], protocol: str, corpus: str) -> tuple[list[Row], list[str]]:
    """The rows of a protocol, and in words what is missing: only seeds with all folds are in a row."""
    rows, missing = [], []
    own = [result for result in results if result.protocol == protocol and corpus in result.corpora]
    for name in sorted({label(result) for result in own}):
        for digest in sorted({result.recipe_digest for result in own if label(result) == name}):
            mine = [result for result in own if (label(result), result.recipe_digest) == (name, digest)]
            # another form of the recipe is another model: never averaged with this one
            forms = {result.recipe_digest for result in own if label(result) == name}
            shown = name if len(forms) == 1 else f"{name} (form {digest})"
            by_seed: dict[int, list[Result]] = defaultdict(list)
            for result in mine:
                by_seed[result.seed].append(result)
            n_folds = 1 if protocol in ("unseen", "random") else max(result.n_folds for result in mine)
            whole = [tuple(by_seed[seed]) for seed in sorted(by_seed) if len(by_seed[seed]) == n_folds]
            missing += [
                f"{shown}, seed {seed}: {len(folds)} of {n_folds} folds done, so there is no total"
                for seed, folds in sorted(by_seed.items())
                if len(folds) < n_folds
            ]
            if whole:
                rows.append(Row(shown, corpus, tuple(whole)))
    return rows, missing


# --- the document -----------------------------------------------------------------------------------------------------


def write(results: Sequence[Result], path: Path, adaptations: Sequence[Adaptation] = ()) -> None:
    """Write the document to `path`, its plots into a folder beside it that is named after it."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    parts = ["# Accuracy", INTRODUCTION, _made_with(results)]
    protocols = sorted({result.protocol for result in results} - {"unseen", "random"}, key=_primary_first)
    for protocol in protocols:
        corpus = protocol.partition("_")[0]
        rows, missing = rows_of(results, protocol, corpus)
        leaky, _ = rows_of(results, "random", corpus)
        parts += [f"## {protocol}", *_section(rows, leaky, missing, folder, protocol), _folds(results, protocol)]
    parts += _unseen(results, folder)
    if any(result.protocol == "random" for result in results):
        parts += _random(results)
    parts += _noise(results)
    parts += _adapted(adaptations)
    path.write_text("\n\n".join(part.strip() for part in parts if part.strip()) + "\n", encoding="utf-8")


def _primary_first(protocol: str) -> tuple[bool, str]:
    return protocol != "ravdess_luna5", protocol


def _made_with(results: Sequence[Result]) -> str:
    recipes = sorted({result.recipe for result in results})
    protocols = sorted({result.protocol for result in results}, key=_primary_first)
    seeds = sorted({result.seed for result in results})
    trials = sorted({result.steps for result in results if result.trial})
    command = f"tonelight-train evaluate --protocol {' '.join(protocols)} --recipe {' '.join(recipes)}"
    command += f" --seeds {max(seeds) + 1}" + (" --noise" if any(result.conditions for result in results) else "")
    seconds = [result.train_seconds for result in results if result.train_seconds is not None]
    lines = [
        f"Command, from a clean checkout with `TONELIGHT_CORPORA` set: `{command}`"
        + (f"; with `--steps {trials[0]}` for the trials" if len(trials) == 1 else "")
        + ".",
        f"Trained at commit {_words(r.train_commit for r in results)}, measured at "
        f"{_words(r.score_commit for r in results)} (+: with changes that were not committed). "
        f"Seeds {', '.join(map(str, seeds))}; {len(results)} trainings.",
        f"Trained on {_words(r.train_device for r in results)}; measured on {_words(r.score_device for r in results)}."
        + (f" A training took {_span([s / 60 for s in seconds])} minutes." if seconds else ""),
        "Tools: " + ", ".join(f"{tool} {version}" for tool, version in _tools(results)) + ".",
    ]
    return "\n\n".join(lines)


def _words(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))


def _tools(results: Sequence[Result]) -> list[tuple[str, str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for result in results:
        for tool, version in result.tools.items():
            found[tool].add(version)
    return [(tool, " and ".join(sorted(versions))) for tool, versions in sorted(found.items())]


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"


def _section(rows: list[Row], leaky: list[Row], missing: list[str], folder: Path, name: str) -> list[str]:
    parts = []
    if rows:
        parts += [_summary(rows, leaky), _details(rows, leaky), _quantization(rows)]
        for row in rows:
            parts += [f"### {name}: {row.recipe}", _classes(row), *_plots(row, folder, name)]
    if missing:
        parts.append("\n".join(f"- {line}" for line in missing))
    return parts


def _summary(rows: list[Row], leaky: list[Row]) -> str:
    marked = [*((row.recipe, row) for row in rows), *((f"{row.recipe}, **leaky**: random split", row) for row in leaky)]
    return _table(
        ("recipe", "UAR", "95% interval", "float", "of 8", "accuracy", "macro-F1", "ECE", "seeds", "clips"),
        [
            (
                name,
                f"**{_mean(row.uars)}**",
                "–" if row.interval is None else f"{100 * row.interval[0]:.1f} to {100 * row.interval[1]:.1f}",
                _mean(row.float_uars),
                _mean(row.uars_of_8),
                _mean([accuracy(counts) for counts in row.counts()]),
                _mean([macro_f1(counts) for counts in row.counts()]),
                f"{calibration_error(row.bins):.3f}",
                str(len(row.seeds)),
                str(int(row.counts()[0].sum())),
            )
            for name, row in marked
        ],
    )


def _details(rows: list[Row], leaky: list[Row]) -> str:
    marked = [*((row.recipe, row) for row in rows), *((f"{row.recipe}, **leaky**: random split", row) for row in leaky)]
    lines = []
    for name, row in marked:
        named, right = _named(row)
        speaker, worst = row.worst_speaker
        lines.append(
            (
                name,
                *(_gender(row, gender) for gender in ("female", "male")),
                f"{100 * worst:.1f} ({speaker})",
                _mean([uar(counts) for counts in row.activation if counts.any()]),
                "–" if row.activation_coverage is None else f"{calibration_error(row.activation_bins):.3f}",
                _at_coverage(row.activation_coverage),
                _at_coverage(row.coverage),
                f"{100 * named:.1f}",
                "–" if right is None else f"{100 * right:.1f}",
            )
        )
    return _table(
        (
            "recipe",
            "women",
            "men",
            "worst speaker",
            "activation (UAR of 2)",
            "activation ECE",
            "activation, accuracy at 70% coverage",
            "accuracy of 8 at 70% coverage",
            "named",
            "of these right",
        ),
        lines,
    )


def _gender(row: Row, gender: str) -> str:
    counts = [c for c in row.counts(lambda speaker: speaker.gender == gender) if c.any()]
    return _mean([uar(c) for c in counts])


def _at_coverage(shares: NDArray[np.float64] | None) -> str:
    """Share right among the most confident, and what that is more than among all."""
    if shares is None:
        return "–"
    at, full = shares[round(COVERAGE * N_COVERAGES) - 1], shares[-1]
    return f"{100 * at:.1f} ({100 * (at - full):+.1f})"


def _named(row: Row) -> tuple[float, float | None]:
    """Share of the clips that the device gives the name of an emotion, and share of the names that are right."""
    corpora = [result.corpora[row.corpus] for result in row.results]
    n_named, n_right = sum(c.n_certain for c in corpora), sum(c.n_certain_right for c in corpora)
    named = n_named / max(1, sum(b.n for c in corpora for b in c.calibration))
    return named, n_right / n_named if n_named else None


def _quantization(rows: list[Row]) -> str:
    return "\n".join(
        f"- {row.recipe}: quantized ({_words(r.quantization for r in row.results)}, "
        f"{_span([r.model_bytes / 1024 for r in row.results])} KiB) against float "
        f"{100 * (np.mean(row.uars) - np.mean(row.float_uars)):+.2f} points of UAR; the likeliest emotion is the same "
        f"in {_span([100 * r.parity_agreement for r in row.results])}% of validation segments."
        for row in rows
    )


def _classes(row: Row) -> str:
    counts = row.counts()
    there = [i for i in range(len(EMOTIONS)) if counts[0][i].any()]
    with np.errstate(all="ignore"):
        p, r = np.array([precision(c) for c in counts]), np.array([recall(c) for c in counts])
    return _table(
        ("emotion", "precision", "recall", "clips"),
        [
            (EMOTIONS[i], _mean([v for v in p[:, i] if not np.isnan(v)]), _mean(list(r[:, i])), str(counts[0][i].sum()))
            for i in there
        ],
    )


def _plots(row: Row, folder: Path, name: str) -> list[str]:
    stem = "".join(letter if letter.isalnum() else "-" for letter in f"{name}-{row.recipe}".replace("*", ""))
    images = []
    coverages = {"emotion, of 8": row.coverage}
    drawn: list[tuple[str, Callable[[Path], None]]] = [
        ("confusion", lambda out: plots.confusion(np.sum(row.counts(), axis=0), EMOTIONS, f"{name}, all seeds", out)),
        ("coverage", lambda out: plots.coverage(coverages, out)),
        ("reliability", lambda out: plots.reliability(row.bins, out)),
    ]
    if row.activation_coverage is not None:
        coverages["activation"] = row.activation_coverage
        drawn.append(("activation-reliability", lambda out: plots.reliability(row.activation_bins, out)))
    for what, draw in drawn:
        path = folder / f"{stem}-{what}.png"
        draw(path)
        images.append(f"![{what} of {name}]({folder.name}/{path.name})")
    return images


def _folds(results: Sequence[Result], protocol: str) -> str:
    own = [result for result in results if result.protocol == protocol]
    lines = []
    for name in sorted({label(result) for result in own}):
        figures: dict[str, list[float]] = defaultdict(list)
        for result in own:
            if label(result) == name:
                figures[result.split].append(result.uar)
        means = {split: float(np.mean(values)) for split, values in figures.items()}
        n_folds = max(result.n_folds for result in own)
        each = ", ".join(f"{split.partition('/')[2]}: {100 * means[split]:.1f}" for split in sorted(means))
        whole = len(means) == n_folds
        lines.append(
            (
                name,
                each,
                f"{100 * np.mean(list(means.values())):.1f}" if whole else f"{len(means)} of {n_folds} folds",
                f"{100 * min(means.values()):.1f}" if whole else "–",
            )
        )
    return "UAR by fold, mean over the seeds:\n\n" + _table(("recipe", "folds", "mean", "worst fold"), lines)


def _unseen(results: Sequence[Result], folder: Path) -> list[str]:
    own = [result for result in results if result.protocol == "unseen"]
    if not own:
        return []
    corpora = sorted({corpus for result in own for corpus in result.corpora})
    n_corpora = max(result.n_folds for result in own)
    parts = [
        "## Unseen corpora",
        "Trained without the corpus, tested on all of it: other voices, rooms, microphones, languages, as at home.",
    ]
    every: dict[str, list[Row]] = defaultdict(list)
    for corpus in corpora:
        rows, _ = rows_of(results, "unseen", corpus)
        leaky, _ = rows_of(results, "random", corpus)
        parts += [f"### unseen {corpus}", _summary(rows, leaky), _details(rows, leaky)]
        for row in rows:
            every[row.recipe].append(row)
            parts += [_classes(row), *_plots(row, folder, f"unseen_{corpus}")]
    lines = []
    for recipe, rows in sorted(every.items()):
        figures = [float(np.mean(row.uars)) for row in rows]
        activations = [float(np.mean([uar(c) for c in row.activation])) for row in rows]
        whole = len(rows) == n_corpora
        lines.append(
            (
                recipe,
                ", ".join(f"{row.corpus} {100 * figure:.1f}" for row, figure in zip(rows, figures, strict=True)),
                f"{100 * np.mean(figures):.1f}" if whole else f"{len(rows)} of {n_corpora} corpora",
                f"{100 * np.mean(activations):.1f}" if whole else "–",
            )
        )
    head = ("recipe", "UAR", "mean", "mean of activation (UAR of 2)")
    return [*parts[:2], _table(head, lines), *parts[2:]]


def _random(results: Sequence[Result]) -> list[str]:
    corpora = sorted({corpus for r in results if r.protocol == "random" for corpus in r.corpora})
    parts = [
        "## Random split by clip (**leaky**)",
        "Voices are on both sides. Not a figure of what the light does for somebody it has not heard.",
    ]
    for corpus in corpora:
        rows, _ = rows_of(results, "random", corpus)
        parts += [f"### {corpus}, leaky", _summary([], rows)]
    return parts


def _noise(results: Sequence[Result]) -> list[str]:
    heard = [result for result in results if result.conditions]
    if not heard:
        return []
    parts = [
        "## Noise and rooms",
        "UAR of the same bundles with a noise or a room mixed into every tested recording. The files of *familiar* "
        "sounds were mixed into recordings of the training, too; those of *new* ones were not.",
    ]
    lines = []
    for protocol in sorted({result.protocol for result in heard}, key=_primary_first):
        for corpus in sorted({c for result in heard if result.protocol == protocol for c in result.corpora}):
            rows, _ = rows_of(heard, protocol, corpus)
            for row in rows:
                name = f"{protocol} {corpus}" + (" (**leaky**)" if protocol == "random" else "")
                lines.append((row.recipe, name, "clean", _mean(row.uars), "", ""))
                for condition in [one.name for one in row.results[0].conditions]:
                    both, familiar, new = (
                        [_condition(folds, corpus, condition, k) for folds in row.seeds] for k in KINDS
                    )
                    lines.append((row.recipe, name, condition, *(_uars(one) for one in (both, familiar, new))))
    if not lines:
        return [*parts, "No protocol has all of its folds in noise yet."]
    parts.append(_table(("recipe", "protocol", "condition", "UAR", "familiar", "new"), lines))
    for is_rooms, what in ((False, "Noises"), (True, "Rooms")):
        own = [c for result in heard for c in result.conditions if (c.snr_db is None) == is_rooms]
        if own:
            familiar = sorted({name for one in own for name in one.familiar_sounds})
            new = sorted({name for one in own for name in one.new_sounds})
            parts.append(f"{what}: familiar {_names(familiar)}; new {_names(new)}.")
    return parts


def _adapted(adaptations: Sequence[Adaptation]) -> list[str]:
    """Rows of whole protocols only; never in a table with plain figures."""
    lines = []
    groups: dict[tuple[str, str, str, str], list[Adaptation]] = defaultdict(list)
    for one in adaptations:
        name = f"{one.recipe}, **trial of {one.steps} steps**" if one.trial else one.recipe
        for corpus in sorted({speaker.corpus for speaker in one.speakers}):
            groups[one.protocol, corpus, name, one.recipe_digest].append(one)
    for (protocol, corpus, name, digest), own in sorted(groups.items()):
        forms = {one.recipe_digest for one in adaptations if one.recipe == own[0].recipe}
        n_folds = 1 if protocol == "unseen" else own[0].n_folds
        by_seed: dict[int, list[Adaptation]] = defaultdict(list)
        for one in own:
            by_seed[one.seed].append(one)
        seeds = [folds for folds in by_seed.values() if len(folds) == n_folds]
        if not seeds:
            continue
        figures = {
            condition: [uar(np.sum([one.counts(corpus, condition) for one in folds], axis=0)) for folds in seeds]
            for condition in CONDITIONS
        }
        speakers = {s.speaker for folds in seeds for one in folds for s in one.speakers if s.corpus == corpus}
        left_out = {who for folds in seeds for one in folds for who in one.left_out if who.startswith(f"{corpus}/")}
        lines.append(
            (
                name if len(forms) == 1 else f"{name} (form {digest})",
                f"{protocol} {corpus}",
                *(_mean(figures[condition]) for condition in CONDITIONS),
                f"{len(speakers)}" + (f" of {len(speakers) + len(left_out)}" if left_out else ""),
                str(len(seeds)),
            )
        )
    if not lines:
        return []
    draws = " or ".join(map(str, sorted({one.n_draws for one in adaptations})))
    words = (
        "What a few clips of the tested speaker's own are worth. Each speaker is adapted to alone, on "
        f"{draws} random draws of clips, and measured on the clips that were not drawn, the same "
        f"ones in every column: *none* is the network as it was trained, *unlabelled* centres its features on the "
        f"drawn clips without their labels, *{', '.join(map(str, N_CLIPS))}* adapt its last layer to so many labelled "
        f"clips per emotion (`tonelight-train adapt`; fewer where not {N_KEPT} would be left to measure on). UAR of "
        "the float network. The voice, its room and sometimes its sentences are known here: **not to be compared with "
        "the tables above**, whose speakers are new."
    )
    head = ("recipe", "protocol", *CONDITIONS, "speakers", "seeds")
    return ["## Adapted to the speaker", words, _table(head, lines)]


def _names(names: Sequence[str]) -> str:
    return f"{len(names)} of them" if len(names) > MANY else ", ".join(names) or "none"


MANY: Final = 30
KINDS: Final = (("familiar", "new"), ("familiar",), ("new",))


def _condition(folds: Iterable[Result], corpus: str, name: str, kinds: Collection[str]) -> Counts:
    return np.sum(
        [
            getattr(condition, kind)[corpus]
            for result in folds
            for condition in result.conditions
            if condition.name == name
            for kind in kinds
        ],
        axis=0,
        dtype=np.int64,
    )


def _uars(counts: Sequence[Counts]) -> str:
    return _mean([uar(c) for c in counts if c.any()])


def _mean(values: Sequence[float]) -> str:
    """Mean and standard deviation in per cent; – where there is nothing."""
    if not len(values):
        return "–"
    mean = f"{100 * np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * np.std(values, ddof=1):.1f}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
