"""`docs/accuracy.md` from results: tables in Markdown, and plots beside them. No figure is written anywhere else.

All figures are of the counts in `train_host.evaluate.result`. Over folds counts are added up, so that every tested
speaker counts alike; over seeds figures are averaged. A protocol with folds missing has no total.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.labels import EMOTIONS
from train_host import ablations, plots
from train_host.evaluate.adaptation import CONDITIONS, N_CLIPS, N_KEPT, Adaptation
from train_host.evaluate.result import N_COVERAGES, Result, uar
from train_host.evaluate.tasks import CROSS, RANDOM, UNSEEN
from train_host.figures import (
    COVERAGE,
    HOW,
    Counts,
    Row,
    accuracy,
    by_form,
    calibration_error,
    label,
    macro_f1,
    precision,
    recall,
    row_title,
    rows_of,
    seen_rows,
    title,
)
from train_host.goals import GOALS, Evidence, Goal, Measured
from train_host.recipes.tonelight import TONELIGHT
from train_host.recipes.variants import VARIANTS

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


# --- the document -----------------------------------------------------------------------------------------------------


def write(results: Sequence[Result], path: Path, adaptations: Sequence[Adaptation] = ()) -> None:
    """Write the document to `path`, its plots into a folder beside it that is named after it."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    parts = ["# Accuracy", INTRODUCTION, _made_with(results, adaptations)]
    every, results = results, [result for result in results if result.recipe not in VARIANTS]
    parts += _goals(results, adaptations)
    parts += _beside_each_other(results)
    for protocol in sorted({result.protocol for result in results} - {UNSEEN, RANDOM}, key=_primary_first):
        corpora = {c for result in results if result.protocol == protocol for c in result.corpora}
        for corpus in sorted(corpora):
            rows, missing = rows_of(results, protocol, corpus)
            leaky, _ = rows_of(results, RANDOM, corpus)
            n_classes = max(len(r.corpora[corpus].classes) for r in results if corpus in r.corpora)
            how = HOW.get(protocol, protocol)
            parts += [f"## {title(corpus, n_classes)}, {how}", f"Protocol `{protocol}`{ABOUT.get(protocol, '')}."]
            parts += [*_section(rows, leaky, missing, folder, protocol), _folds(results, protocol, corpus)]
    parts += _unseen(results, folder)
    if any(result.protocol == RANDOM for result in results):
        parts += _random(results)
    parts += _noise(results)
    parts += _adapted(adaptations)
    parts += ablations.section(every)
    path.write_text("\n\n".join(part.strip() for part in parts if part.strip()) + "\n", encoding="utf-8")


ABOUT: Final = {
    CROSS: ": five trainings, each of which tests speakers of every corpus at once, and every speaker in one of them. "
    "A training has fewer voices than where one corpus alone is tested, so figures are, if anything, lower"
}


def _primary_first(protocol: str) -> tuple[bool, bool, str]:
    return protocol != "ravdess_luna5", protocol == CROSS, protocol


def _goals(results: Sequence[Result], adaptations: Sequence[Adaptation]) -> list[str]:
    """Goal and reached, of the default recipe, one table for each form of it."""
    own = [result for result in results if result.recipe == TONELIGHT.name]
    parts = []
    for name, digest in sorted({(label(result), result.recipe_digest) for result in own}):
        mine = [result for result in own if (label(result), result.recipe_digest) == (name, digest)]
        steps = {(result.recipe_digest, result.steps) for result in mine}
        evidence = Evidence(mine, [one for one in adaptations if (one.recipe_digest, one.steps) in steps])
        lines = [_goal(goal, goal.measure(evidence)) for goal in GOALS]
        parts += [f"### {name} (form {digest})", _table(("goal", "done", "reach for", "reached", "", "of"), lines)]
    words = (
        "Of the default recipe; the figures of the tables below, each against the goal it was set. Where a goal is "
        "for several corpora the figure is that of the worst, so that no corpus pays for another."
    )
    return ["## Goal and reached", words, *parts] if parts else []


def _goal(goal: Goal, found: Measured | None) -> tuple[str, ...]:
    sign = "≥" if goal.at_least else "≤"
    aims = (f"{sign} {goal.done:g}", "" if goal.reach is None else f"{sign} {goal.reach:g}")
    if found is None:
        return (goal.name, *aims, "–", "not measured here", "")
    if goal.reach is not None and goal.is_met(found.value, goal.reach):
        state = "reached what was to be reached for"
    elif goal.is_met(found.value, goal.done):
        state = "done"
    else:
        state = f"**missed by {abs(found.value - goal.done):.{goal.digits}f}**"
    return (goal.name, *aims, f"{found.value:.{goal.digits}f}", state, found.of)


def _beside_each_other(results: Sequence[Result]) -> list[str]:
    """All recipes in one table: new speakers, the same corpus by the leaky split, unseen corpora."""
    seen = {corpus: _of_the_same_folds(results, corpus, rows) for corpus, rows in seen_rows(results).items()}
    leaky = {corpus: rows_of(results, RANDOM, corpus)[0] for corpus in seen}
    unseen = _unseen_means(results)
    recipes = sorted({row.recipe for rows in seen.values() for _, row in rows}, key=_default_first)
    if not recipes:
        return []
    heads: list[str] = []
    for corpus, rows in seen.items():
        heads.append(f"{title(corpus, rows[0][1].n_classes)}, {' or '.join(sorted({HOW.get(p, p) for p, _ in rows}))}")
        if leaky[corpus]:
            heads.append(f"{title(corpus)}, **leaky**")
    lines = []
    for recipe in recipes:
        cells = []
        for corpus, rows in seen.items():
            cells.append(_figure_of(recipe, [row for _, row in rows]))
            if leaky[corpus]:
                cells.append(_figure_of(recipe, leaky[corpus]))
        sizes = [r.model_bytes / 1024 for rows in seen.values() for _, row in rows if row.recipe == recipe
                 for r in row.results]  # fmt: skip
        lines.append((recipe, f"{max(sizes):.0f}", *cells, unseen.get(recipe, "–")))
    words = (
        "UAR of the quantized models under the same folds. Beside each figure of new speakers stands the one that the "
        "same network gets when recordings are split by chance (**leaky**), which is the kind most projects publish."
    )
    return ["## The recipes side by side", words, _table(("recipe", "KiB", *heads, "unseen corpora, mean"), lines)]


def _of_the_same_folds(results: Sequence[Result], corpus: str, rows: list[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """The rows under one protocol: where some recipes have been through `cross` only, all are shown by that."""
    if len({protocol for protocol, _ in rows}) == 1:
        return rows
    return [(CROSS, row) for row in rows_of(results, CROSS, corpus)[0]] or rows


def _figure_of(recipe: str, rows: Iterable[Row]) -> str:
    return next((_mean(row.uars) for row in rows if row.recipe == recipe), "–")


def _default_first(recipe: str) -> tuple[bool, str]:
    return not recipe.startswith(TONELIGHT.name), recipe


def _made_with(results: Sequence[Result], adaptations: Sequence[Adaptation]) -> str:
    recipes = sorted({result.recipe for result in results})
    protocols = sorted({result.protocol for result in results}, key=_primary_first)
    seeds = sorted({result.seed for result in results})
    trials = sorted({result.steps for result in results if result.trial})
    command = f"tonelight-train evaluate --protocol {' '.join(protocols)} --recipe {' '.join(recipes)}"
    command += f" --seeds {max(seeds) + 1}" + (" --noise" if any(result.conditions for result in results) else "")
    command += " --adapt" if adaptations else ""
    seconds = [result.train_seconds for result in results if result.train_seconds is not None]
    lines = [
        f"Command that makes all of it, from a clean checkout with `TONELIGHT_CORPORA` set: `{command}`"
        + (f"; with `--steps {trials[0]}` for the trials" if len(trials) == 1 else "")
        + f". Of its trainings {len(results)} are done so far; *seeds* tells where, and a figure is never of a part.",
        f"Trained at commit {_words(r.train_commit for r in results)}, measured at "
        f"{_words(r.score_commit for r in results)} (+: with changes that were not committed). "
        f"Seeds {', '.join(map(str, seeds))}; {_count(len(results), 'training')}.",
        # a device's name has commas of its own
        f"Trained on {_words((r.train_device for r in results), between=' and ')}; "
        f"measured on {_words((r.score_device for r in results), between=' and ')}."
        + (f" A training took {_span([s / 60 for s in seconds])} minutes." if seconds else ""),
        "Tools: " + ", ".join(f"{tool} {version}" for tool, version in _tools(results)) + ".",
    ]
    return "\n\n".join(lines)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


def _words(values: Iterable[str], between: str = ", ") -> str:
    return between.join(sorted(set(values)))


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
            parts += [f"### {row_title(name, row)}: {row.recipe}", _classes(row)]
            parts += _plots(row, folder, f"{name}_{row.corpus}") if _is_drawn(row, rows) else []
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


def _is_drawn(row: Row, rows: Sequence[Row]) -> bool:
    """Plots are of the default recipe; of the others only where it is not among them."""
    own = [one for one in rows if one.results[0].recipe == TONELIGHT.name]
    return row in own or not own


def _plots(row: Row, folder: Path, name: str) -> list[str]:
    stem = "".join(letter if letter.isalnum() else "-" for letter in f"{name}-{row.recipe}".replace("*", ""))
    words = f"{row_title(name.rpartition('_')[0], row)}, {row.recipe}".replace("*", "")
    images = []
    coverages = {"emotion, of 8": row.coverage}
    drawn: list[tuple[str, Callable[[Path], None]]] = [
        ("confusion", lambda out: plots.confusion(np.sum(row.counts(), axis=0), EMOTIONS, f"{words}, all seeds", out)),
        ("coverage", lambda out: plots.coverage(coverages, out)),
        ("reliability", lambda out: plots.reliability(row.bins, out)),
    ]
    if row.activation_coverage is not None:
        coverages["activation"] = row.activation_coverage
        drawn.append(("activation-reliability", lambda out: plots.reliability(row.activation_bins, out)))
    for what, draw in drawn:
        path = folder / f"{stem}-{what}.png"
        draw(path)
        images.append(f"![{what}: {words}]({folder.name}/{path.name})")
    return images


def _folds(results: Sequence[Result], protocol: str, corpus: str) -> str:
    own = [result for result in results if result.protocol == protocol]
    lines = []
    for name, mine in by_form(own, results).items():
        figures: dict[str, list[float]] = defaultdict(list)
        for result in mine:
            if corpus in result.corpora:
                figures[result.split.partition("/")[2]].append(uar(result.emotions(corpus)))
        if not figures:
            continue
        means = {fold: float(np.mean(figures[fold])) for fold in sorted(figures)}
        n_done, n_folds = len({result.split for result in mine}), max(result.n_folds for result in mine)
        whole = n_done == n_folds
        lines.append(
            (
                name,
                ", ".join(f"{fold}: {100 * figure:.1f}" for fold, figure in means.items()),
                f"{100 * np.mean(list(means.values())):.1f}" if whole else f"{n_done} of {n_folds} folds",
                f"{100 * min(means.values()):.1f}" if whole else "–",
            )
        )
    return "UAR by fold, mean over the seeds:\n\n" + _table(("recipe", "folds", "mean", "worst fold"), lines)


def _unseen_rows(results: Sequence[Result]) -> dict[str, dict[str, Row]]:
    """Of each recipe its rows of unseen corpora, by corpus."""
    found: dict[str, dict[str, Row]] = defaultdict(dict)
    for corpus in sorted({corpus for result in results if result.protocol == UNSEEN for corpus in result.corpora}):
        for row in rows_of(results, UNSEEN, corpus)[0]:
            found[row.recipe][corpus] = row
    return dict(sorted(found.items(), key=lambda one: _default_first(one[0])))


def _unseen_means(results: Sequence[Result]) -> dict[str, str]:
    """The mean over all unseen corpora in per cent, or how many are there."""
    n_corpora = max((result.n_folds for result in results if result.protocol == UNSEEN), default=0)
    return {
        recipe: _mean([float(np.mean([np.mean(row.uars) for row in rows.values()]))])
        if len(rows) == n_corpora
        else f"{len(rows)} of {n_corpora} corpora"
        for recipe, rows in _unseen_rows(results).items()
    }


def _unseen(results: Sequence[Result], folder: Path) -> list[str]:
    own = [result for result in results if result.protocol == UNSEEN]
    if not own:
        return []
    corpora = sorted({corpus for result in own for corpus in result.corpora})
    n_corpora = max(result.n_folds for result in own)
    every = _unseen_rows(results)
    means = _unseen_means(results)
    n_classes = {c: max(len(r.corpora[c].classes) for r in own if c in r.corpora) for c in corpora}
    lines, activations = [], []
    for recipe, rows in every.items():
        lines.append((recipe, *(_mean(rows[c].uars) if c in rows else "–" for c in corpora), means[recipe]))
        figures = {c: [uar(counts) for counts in row.activation if counts.any()] for c, row in rows.items()}
        there = [float(np.mean(values)) for values in figures.values() if values]
        whole = _mean([float(np.mean(there))]) if len(rows) == n_corpora and there else "–"
        activations.append((recipe, *(_mean(figures.get(c, [])) for c in corpora), whole))
    parts = [
        "## Unseen corpora",
        "Trained without the corpus, tested on all of it: other voices, rooms, microphones, languages, as at home. "
        "A column is a corpus that the training did not have, with the number of emotions told apart.",
        _table(("recipe", *(title(c, n_classes[c]) for c in corpora), "mean"), lines),
        "The same, activation (UAR of 2):",
        _table(("recipe", *(title(c) for c in corpora), "mean"), activations),
    ]
    for corpus in corpora:
        rows = [own[corpus] for own in every.values() if corpus in own]
        leaky, _ = rows_of(results, RANDOM, corpus)
        parts += [
            f"### {title(corpus, n_classes[corpus])}, corpus unseen",
            _summary(rows, leaky),
            _details(rows, leaky),
        ]
        for row in rows:
            parts.append(f"#### {row_title(UNSEEN, row)}: {row.recipe}")
            parts += [_classes(row), *(_plots(row, folder, f"unseen_{corpus}") if _is_drawn(row, rows) else [])]
    return parts


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
                name = row_title(protocol, row)
                lines.append((row.recipe, name, "clean", _mean(row.uars), "", ""))
                for condition in [one.name for one in row.results[0].conditions]:
                    lines.append((row.recipe, name, condition, *(_uars(row.in_noise(condition, k)) for k in KINDS)))
    if not lines:
        return [*parts, "No protocol has all of its folds in noise yet.", *_noise_alone(heard)]
    parts.append(_table(("recipe", "protocol", "condition", "UAR", "familiar", "new"), lines))
    for is_rooms, what in ((False, "Noises"), (True, "Rooms")):
        own = [c for result in heard for c in result.conditions if (c.snr_db is None) == is_rooms]
        if own:
            familiar = sorted({name for one in own for name in one.familiar_sounds})
            new = sorted({name for one in own for name in one.new_sounds})
            parts.append(f"{what}: familiar {_names(familiar)}; new {_names(new)}.")
    return [*parts, *_noise_alone(heard)]


def _noise_alone(results: Sequence[Result]) -> list[str]:
    """What every training's bundle heard where nobody speaks."""
    lines = []
    for recipe in sorted({result.recipe for result in results}, key=_default_first):
        own = [result for result in results if result.recipe == recipe and result.noises]
        kinds = (
            ("familiar", [one for result in own for one in result.noises if one.is_familiar and not one.has_voices]),
            ("new", [one for result in own for one in result.noises if not one.is_familiar and not one.has_voices]),
            ("of voices", [one for result in own for one in result.noises if one.has_voices]),
        )
        for kind, heard in kinds:
            if not heard:
                continue
            n, hours = sum(one.n_events for one in heard), sum(one.seconds for one in heard) / 3600
            where = sorted({one.name for one in heard if one.n_events})
            lines.append((recipe, kind, str(len(own)), f"{hours:.2f}", str(n), f"{n / hours:.1f}", ", ".join(where)))
    if not lines:
        return []
    return [
        "### Noise alone",
        "Every stretch of noise in which speech is heard is a false alarm, be it named or `uncertain`, but where the "
        "noise is made of voices. Each recording counts once for each training.",
        _table(("recipe", "noises", "trainings", "hours", "events", "an hour", "in"), lines),
    ]


def _adapted(adaptations: Sequence[Adaptation]) -> list[str]:
    """Rows of whole protocols only; never in a table with plain figures."""
    lines = []
    # a protocol is whole by its folds, whichever corpora each of them tests; unseen corpora are wholes of their own
    groups: dict[tuple[str, str, str, str], list[Adaptation]] = defaultdict(list)
    for one in adaptations:
        name = f"{one.recipe}, **trial of {one.steps} steps**" if one.trial else one.recipe
        groups[one.protocol, one.split if one.protocol == UNSEEN else "", name, one.recipe_digest].append(one)
    rows: list[tuple[str, str, str, str, list[list[Adaptation]]]] = []
    for (protocol, _, name, digest), own in groups.items():
        by_seed: dict[int, list[Adaptation]] = defaultdict(list)
        for one in own:
            by_seed[one.seed].append(one)
        n_folds = 1 if protocol == UNSEEN else own[0].n_folds
        whole = [folds for _, folds in sorted(by_seed.items()) if len(folds) == n_folds]
        for corpus in {speaker.corpus for folds in whole for one in folds for speaker in one.speakers}:
            rows.append((protocol, corpus, name, digest, whole))
    for protocol, corpus, name, digest, seeds in sorted(rows, key=lambda row: row[:4]):
        forms = {one.recipe_digest for one in adaptations if one.recipe == seeds[0][0].recipe}
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
        f"drawn clips without their labels, *{', '.join(map(str, N_CLIPS))}* adapt it to so many labelled clips "
        f"per emotion (`tonelight-train adapt`; fewer where not {N_KEPT} would be left to measure on). UAR of "
        "the float network. The voice, its room and sometimes its sentences are known here: **not to be compared with "
        "the tables above**, whose speakers are new."
    )
    head = ("recipe", "protocol", *CONDITIONS, "speakers", "seeds")
    return ["## Adapted to the speaker", words, _table(head, lines)]


def _names(names: Sequence[str]) -> str:
    return f"{len(names)} of them" if len(names) > MANY else ", ".join(names) or "none"


MANY: Final = 30
KINDS: Final = (("familiar", "new"), ("familiar",), ("new",))


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
