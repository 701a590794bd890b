"""The model card: what a bundle is, what it learned from, what it was measured to do, what it must not be used for."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING

from edge.bundle import Manifest, StreamModel
from edge.labels import EMOTIONS, HIGH, LOW

if TYPE_CHECKING:
    from train_host.adapt import Personal
    from train_host.export import Measured, Parity
    from train_host.goals import Quoted
    from train_host.scoring import NoiseHeard, Scores
    from train_host.train import RunInfo

LIMITS = """\
## What it is not for

It was trained on actors reading set sentences. What it shows is how a voice sounds to it, not what a person feels.
Acted emotion is louder than lived emotion; other languages, ages, microphones and rooms lower every figure below.
Do not use it to judge, grade, hire, treat or police anybody. Since 2 February 2025 Article 5(1)(f) of the EU AI Act
forbids inferring emotions at workplaces and in education, but for medical or safety reasons; Article 50 asks that
people exposed to such a system be told.
"""


def render(
    manifest: Manifest,
    info: RunInfo,
    parity: Parity,
    measured: Measured | None,
    model_bytes: int,
    personal: Personal | None = None,
    recipe: Sequence[Quoted] = (),
) -> str:
    """The card in Markdown; `recipe` are the cross-validated figures of what it was trained by."""
    features = manifest.features
    columns = ", ".join(column.upper() for column in features.columns)
    form = "stream" if isinstance(manifest.model, StreamModel) else "window"
    parts = [
        f"# {manifest.name} {manifest.version}",
        f"Recipe `{manifest.recipe}`, seed {info.seed}, {info.steps} steps; commit {manifest.commit}, "
        f"{manifest.created}.",
        f"Eight emotions from speech: {', '.join(EMOTIONS)}. {columns} ({features.n_features} columns) every "
        f"{features.hop_ms:g} ms at {features.sample_rate_hz // 1000} kHz; {form} form, "
        f"quantized: {manifest.quantization}; `model.tflite` is {model_bytes / 1024:.0f} KiB.",
        "Made with " + ", ".join(f"{tool} {version}" for tool, version in sorted(manifest.tools.items())) + ".",
        *(_personal(personal) if personal else ()),
        LIMITS,
        "## What it was trained on\n",
        _table(
            ("corpus", "clips", "speakers", "terms"),
            [(use.name, str(use.clips), str(use.speakers), use.licence) for use in manifest.corpora],
        ),
        "Where one of these terms forbids commercial use, take the weights as bound by it. "
        + (
            f"Speakers held out for validation: {', '.join(info.val_speakers)}."
            if not set(info.val_speakers) & set(info.train_speakers)
            else "No speaker was held out for validation, only some of their texts: there was nobody to spare."
        ),
        "## The exported model against the trained one\n",
        "On the same features of real speech the probabilities of the emotions differ from those of the Keras model by "
        f"{parity.mean_difference:.4f} on average and {parity.largest_difference:.4f} at most; the likeliest emotion "
        f"is the same in {100 * parity.agreement:.1f}% of the segments.",
        "## What it was measured to do\n",
    ]
    if personal is not None:
        parts.append("See above: a personal bundle is measured on the person's own clips, and on nobody else.")
        return "\n\n".join(part.strip() for part in parts) + "\n"
    if measured is None:
        parts.append("Not measured: the corpora were not at hand when this bundle was exported.")
        return "\n\n".join(part.strip() for part in parts) + "\n"
    parts += _recipe(recipe) if recipe else []
    parts += [
        "### This bundle\n",
        "The exported model, run over whole recordings by the device's own pipeline (`tonelight listen`), all eight "
        "answers allowed. UAR is the mean over the emotions of the share recognised (unweighted average recall). "
        "*Named* are the recordings that are sure enough for the name of an emotion, the others are `uncertain`; "
        "*activation* is high (" + ", ".join(HIGH) + ") or low (" + ", ".join(LOW) + "), and always told.",
        "### Speakers it was not trained on\n",
        "These speakers decided nothing but the temperature, the thresholds and the calibration of the activation. "
        "They come from the same corpora, so the rooms and microphones are known to the model: **expect less of a "
        "voice and a room at home**.",
        f"From {100 * manifest.decision.uncertain_below:.1f}% of confidence on an emotion is named: of these "
        f"recordings {_percent(measured.validation.named)}% are, and {_percent(measured.validation.accuracy_named)}% "
        "of the names are right.",
        _figures(measured.validation),
        _confusion(measured.validation),
        *(_noises(measured.noises) if measured.noises else ()),
        "### Speakers it was trained on\n",
        "**Training data**: these figures say how well the model remembers, and nothing about new voices. They are "
        "here because figures like them are what is usually published.",
        _figures(measured.training),
        *(_corpus(measured.training, corpus) for corpus in sorted({clip.corpus for clip in measured.training.clips})),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _recipe(figures: Sequence[Quoted]) -> list[str]:
    return [
        "### The recipe, on speakers and on corpora left out\n",
        "These figures are **not of this bundle** but of other trainings by the same recipe, from which the tested "
        "speakers, or whole corpora, had been left out (`tonelight-train evaluate`; docs/accuracy.md tells how many of "
        f"the {len(figures[0].seeds)} seeds each is of). This bundle has heard most of those speakers, so "
        "nothing honest can be measured of it there. They are the nearest to what a new voice in a new room will find.",
        _table(("UAR in per cent where nothing else is said", "", "of"), [(f.name, f.value, f.of) for f in figures]),
    ]


def _personal(personal: Personal) -> list[str]:
    before, after = personal.uar_before, personal.uar_after
    figures = (
        f"Of these clips, but for those that are the only one of their emotion, {100 * before:.1f}% were recognised "
        f"before the adaptation and {100 * after:.1f}% after it (UAR, answers out of the recorded emotions), each clip "
        "answered by a network that was adapted without it."
        if before is not None and after is not None
        else "There was one clip of each emotion: what the adaptation is worth could not be measured."
    )
    return [
        "## Personal\n",
        "Adapted to one person: it was trained on with labelled clips of one voice, at one microphone in one "
        "room. **For nobody else**: expect other voices to be recognised worse than by the bundle it came from. It "
        "holds no recording, but weights that were fitted to that voice; hand it on only if that person agrees.",
        _table(("emotion", "clips"), [(emotion, str(personal.clips.get(emotion, "–"))) for emotion in EMOTIONS]),
        figures,
    ]


def _noises(noises: Sequence[NoiseHeard]) -> list[str]:
    rows = [
        (title, [one for one in noises if one.is_familiar == is_familiar])
        for title, is_familiar in (("all that its training used", True), ("all that is new to it", False))
    ]
    rows += [(one.name, [one]) for one in noises if one.n_events]
    return [
        "### Noise\n",
        "Every stretch of speech that is heard where nobody speaks is a false alarm, whether it is given a name or is "
        "`uncertain`. Recordings that gave any are named; some of them may hold voices, as babble does.",
        _table(
            ("noise", "recordings", "minutes", "stretches heard"),
            [
                (
                    title,
                    str(len(own)),
                    f"{sum(one.seconds for one in own) / 60:.1f}",
                    str(sum(one.n_events for one in own)),
                )
                for title, own in rows
            ],
        ),
    ]


def _corpus(scores: Scores, corpus: str) -> str:
    return f"#### {corpus} (training data)\n\n" + _confusion(scores.of(lambda clip: clip.corpus == corpus))


def _figures(scores: Scores) -> str:
    rows = [("all", scores)]
    rows += [
        (name, scores.of(lambda clip, n=name: clip.corpus == n)) for name in sorted({c.corpus for c in scores.clips})
    ]
    return _table(
        (
            *("corpus", "clips", "UAR %", "accuracy %", "calibration error", "named %", "of these right %"),
            *("activation UAR %", "activation calibration error", "speech found %"),
        ),
        [
            (
                name,
                str(len(part.clips)),
                _percent(part.uar),
                _percent(part.accuracy),
                f"{part.calibration_error:.3f}",
                _percent(part.named),
                _percent(part.accuracy_named),
                _percent(part.activation_uar),
                "–" if isnan(part.activation_calibration_error) else f"{part.activation_calibration_error:.3f}",
                _percent(part.speech_found),
            )
            for name, part in rows
        ],
    )


def _percent(share: float) -> str:
    return "–" if isnan(share) else f"{100 * share:.1f}"


def _confusion(scores: Scores) -> str:
    counts = scores.confusion
    present = [i for i in range(len(EMOTIONS)) if counts[i].any()]
    return _table(
        ("truth \\ answer", *EMOTIONS, "none"),
        [(EMOTIONS[i], *(str(count) for count in counts[i])) for i in present],
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
