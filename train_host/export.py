"""A finished run to a bundle: converted, compared with what was trained, calibrated, measured, only then written."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Final, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from edge import __version__
from edge.bundle import CARD, GOLDEN, MANIFEST, MODEL, SCHEMA, Bundle, CorpusUse, Manifest, load_bundle
from edge.classifier import Classifier
from edge.errors import BundleError
from edge.frontend import FrontEnd
from edge.labels import EMOTIONS
from edge.pipeline import golden_probabilities, verify_golden
from edge.smoothing import DecisionConfig, activation_log_odds, speech_probability
from train_host import card
from train_host.adapt import load_personal
from train_host.convert import convert, load_sequences
from train_host.corpora.clip import Clip
from train_host.corpora.known import KNOWN
from train_host.corpora.noises import Sound
from train_host.errors import ExportError, ParityError
from train_host.goals import Quoted
from train_host.golden import golden_signal
from train_host.metrics import activation_of, fit_activation, fit_temperature
from train_host.recipes import Recipe
from train_host.scoring import NoiseHeard, Scores, hear_noises, score
from train_host.train import SEQUENCES, VALIDATION, RunInfo, load_model

Float32 = NDArray[np.float32]

COVERAGE: Final = 0.7
"""Share of the validation speakers' segments that are answered with an emotion; the rest is `uncertain`."""
SPEECH_HEARD: Final = 0.995
"""Share of the validation speakers' segments that must be taken for speech; the threshold is 0.95 at the most."""
MAX_DIFFERENCE: Final = {"none": 1e-3, "float16": 2e-2, "dynamic": 0.15, "int8": 0.5}
"""Largest difference of any probability from Keras on real features that an export may show."""
MIN_AGREEMENT: Final = {"none": 1.0, "float16": 0.99, "dynamic": 0.97, "int8": 0.8}
"""Least share of segments whose likeliest emotion is Keras' own."""


@dataclass(frozen=True)
class Parity:
    """How close the exported model comes to the trained one on the same features."""

    largest_difference: float
    mean_difference: float
    agreement: float


@dataclass(frozen=True)
class Measured:
    """The bundle on recordings, through the device's pipeline: of speakers it trained on, and of the others."""

    training: Scores
    validation: Scores
    noises: tuple[NoiseHeard, ...]


def export(
    run: Path,
    out: Path,
    *,
    name: str,
    version: str,
    quantization: str | None = None,
    clips: Sequence[Clip] | None,
    noises: Sequence[Sound] = (),
    figures: Sequence[Quoted] = (),
    console: Console,
) -> Path:
    """Make the bundle `out/<name>-<version>` from the finished run in folder `run`; return its path.

    `clips` are the recordings of its corpora, to measure the bundle on, and `noises` what it should not answer to;
    None leaves its figures out and the card says so. `figures` of the recipe are quoted there. `quantization`
    None is the recipe's. Raises ExportError where the bundle exists or its name or version cannot be one, ParityError
    where the converted model does not say what the trained one says.
    """
    target = check_target(out, name, version)
    info, recipe, model = load_model(run)
    personal = load_personal(run)
    quantization = quantization or recipe.quantization
    with np.load(run / VALIDATION) as file:
        if "speech" not in file.files:
            raise ExportError(f"{run} was trained by an earlier version of tonelight; train again")
        logits, speech, truth = file["logits"], file["speech"], file["truth"]
    sequences = load_sequences(run / SEQUENCES)

    with TemporaryDirectory(prefix="tonelight-export-") as folder:
        draft = Path(folder) / target.name
        draft.mkdir()
        console.print(f"converting {run} to TFLite ({quantization}) …")
        tensors = convert(recipe, run / "weights.npz", quantization, run / SEQUENCES, draft)
        (draft / "tensors.json").unlink()
        temperature = fit_temperature(logits, truth)
        if personal is None and not np.isfinite(logits).all():
            console.print(
                "this run was trained by an earlier version, which kept only the emotions of each corpus: the "
                "thresholds are too high for a device that may answer all eight; train again for better ones"
            )
        decision = decide(logits, speech, truth, temperature)
        manifest = Manifest(
            schema=SCHEMA,
            name=name,
            version=version,
            created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            recipe=recipe.name,
            labels=EMOTIONS,
            features=recipe.features,
            gate=recipe.gate,
            normalizer=info.normalizer,
            model=tensors,
            quantization=quantization,
            decision=decision,
            metrics={},
            corpora=tuple(
                CorpusUse(corpus, clips_, speakers, KNOWN[corpus].licence if corpus in KNOWN else "not stated")
                for corpus, (clips_, speakers) in sorted(info.corpora.items())
            )
            + ((CorpusUse("personal", sum(personal.clips.values()), 1, "the person's own"),) if personal else ()),
            commit=current_commit(),
            tools=_tools(info),
            files={},
        )
        (draft / CARD).write_text("draft\n")
        np.savez_compressed(draft / GOLDEN, samples=np.zeros(0), features=np.zeros(0), probabilities=np.zeros(0))
        _write_manifest(draft, manifest)

        parity = check_parity(load_bundle(draft), model, recipe, sequences, quantization)
        console.print(
            f"parity with Keras on {len(sequences)} real segments: probabilities differ by "
            f"{parity.mean_difference:.4f} on average, {parity.largest_difference:.4f} at most; "
            f"same emotion in {100 * parity.agreement:.1f}%"
        )
        _write_golden(load_bundle(draft))
        _write_manifest(draft, manifest)
        measured = None if clips is None else _measure(draft, info, clips, noises, console)
        metrics = {"parity_agreement": parity.agreement, "parity_mean_difference": parity.mean_difference}
        if personal is not None and personal.uar_before is not None and personal.uar_after is not None:
            metrics |= {"uar_own_clips_before": personal.uar_before, "uar_own_clips_after": personal.uar_after}
        if measured is not None:
            new = measured.validation
            metrics |= {
                "uar_validation_speakers": new.uar,
                "accuracy_validation_speakers": new.accuracy,
                "calibration_error_validation_speakers": new.calibration_error,
                "named_validation_speakers": new.named,
                "accuracy_named_validation_speakers": new.accuracy_named,
                "activation_uar_validation_speakers": new.activation_uar,
                "activation_calibration_error_validation_speakers": new.activation_calibration_error,
                "uar_training_speakers": measured.training.uar,
            }
        rounded = {name: round(value, 4) for name, value in metrics.items() if np.isfinite(value)}
        manifest = msgspec.structs.replace(manifest, metrics=rounded)
        size = (draft / MODEL).stat().st_size
        (draft / CARD).write_text(card.render(manifest, info, parity, measured, size, personal, figures))
        _write_manifest(draft, manifest)
        verify_golden(load_bundle(draft))
        out.mkdir(parents=True, exist_ok=True)
        # whole or not at all: what is half there could be neither used nor exported again
        copy = Path(mkdtemp(prefix=f".{target.name}-", dir=out))
        try:
            shutil.copytree(draft, copy / target.name)
            (copy / target.name).rename(target)
        finally:
            shutil.rmtree(copy)
    return target


def check_target(out: Path, name: str, version: str) -> Path:
    """Where the bundle goes. Raises ExportError where it exists, or its name or version cannot be one: before the
    conversion, which takes its time."""
    fields = get_type_hints(Manifest, include_extras=True)
    try:
        msgspec.convert(name, fields["name"])
        msgspec.convert(version, fields["version"])
    except msgspec.ValidationError:
        raise ExportError(
            f"{name!r} {version!r} cannot be name and version of a bundle; a --name is of a-z, 0-9, - and _, "
            "a --version of three numbers as in 0.2.0"
        ) from None
    target = out / f"{name}-{version}"
    if target.exists():
        raise ExportError(f"{target} exists; give another --version, or delete it first: a bundle never changes")
    return target


def next_version(out: Path, name: str) -> str:
    """A minor version above the newest bundle of that name in `out`; tonelight's own where there is none."""
    pattern = re.compile(re.escape(name) + r"-(\d+)\.(\d+)\.\d+")
    found = [pattern.fullmatch(path.name) for path in out.iterdir()] if out.is_dir() else []
    newest = max(((int(one[1]), int(one[2])) for one in found if one), default=None)
    return __version__ if newest is None else f"{newest[0]}.{newest[1] + 1}.0"


def decide(logits: Float32, speech: Float32, truth: NDArray[np.int64], temperature: float) -> DecisionConfig:
    """Thresholds from the validation speakers' logits: an emotion is named for `COVERAGE` of the segments, the
    activation is calibrated on those that have one, and `SPEECH_HEARD` of the segments are taken for speech.

    `logits (n, 8)`, `speech (n, 1)` or, of a network that cannot tell, `(n, 0)`; `truth (n,)`.
    """
    probs = _softmax(logits / temperature)
    confidence = probs.max(axis=1)
    kinds = activation_of(truth)
    scale, offset = fit_activation(activation_log_odds(probs[kinds >= 0], EMOTIONS), kinds[kinds >= 0] == 0)
    # 0.99 at the most: the smoothed share of an emotion never reaches 1
    threshold = min(0.99, round(float(np.quantile(confidence, 1 - COVERAGE)), 3))
    return DecisionConfig(
        temperature=round(temperature, 4),
        time_constant_s=0.6,
        enter=threshold,
        exit=round(0.8 * threshold, 3),
        uncertain_below=threshold,
        speech_from=_speech_from(speech),
        activation_scale=round(scale, 4),
        activation_offset=round(offset, 4),
    )


def _speech_from(speech: Float32) -> float:
    if speech.shape[1] == 0:
        return 0.0
    probabilities = [speech_probability(logit) for logit in speech[:, 0]]
    # one of theirs, not a value between two: of a few segments none is to be lost; and a little less, for quantization
    least = float(np.quantile(probabilities, 1 - SPEECH_HEARD, method="lower"))
    return round(min(0.95, max(0.0, least - 0.01)), 3)


def check_parity(bundle: Bundle, model, recipe: Recipe, sequences: Sequence[Float32], quantization: str) -> Parity:
    """Compare the bundle's model, run as the device runs it, with Keras on normalised features of real segments.

    Raises ParityError where they differ by more than the quantization explains, ExportError where the model cannot be
    run.
    """
    instead = f"use --quantize {'float16' if quantization == 'dynamic' else 'dynamic'}, or train again"
    try:
        found, expected = _logits(bundle, model, recipe, sequences)
    except BundleError as error:
        raise ExportError(f"the converted model ({quantization}) is one that no board can run; {instead}") from error
    n_labels = len(bundle.labels)
    a, b = _softmax(np.array(found)[:, :n_labels]), _softmax(np.array(expected)[:, :n_labels])
    difference = np.abs(a - b).max(axis=1)
    parity = Parity(float(difference.max()), float(difference.mean()), float(np.mean(a.argmax(1) == b.argmax(1))))
    if parity.largest_difference > MAX_DIFFERENCE[quantization] or parity.agreement < MIN_AGREEMENT[quantization]:
        raise ParityError(
            f"the converted model ({quantization}) does not say what the trained one says: probabilities differ by up "
            f"to {parity.largest_difference:.3f} (allowed {MAX_DIFFERENCE[quantization]}), the emotion agrees in "
            f"{100 * parity.agreement:.2f}% (needed {100 * MIN_AGREEMENT[quantization]:.0f}%); {instead}"
        )
    return parity


def _logits(bundle: Bundle, model, recipe: Recipe, sequences: Sequence[Float32]) -> tuple[list[Float32], list[Float32]]:
    """What the bundle's model and Keras say of each sequence that has an answer."""
    from train_host.batches import pad

    classifier = Classifier(bundle)
    chunk = bundle.manifest.model.chunk_frames
    found, expected = [], []
    for sequence in sequences:
        classifier.reset()
        logits = None
        for start in range(0, len(sequence), chunk):
            step = classifier.step(sequence[start : start + chunk])
            logits = logits if step is None else step
        if logits is None:
            continue
        whole = sequence[-recipe.window_frames :] if recipe.form == "window" else sequence
        n_frames = recipe.window_frames if recipe.form == "window" else -(-len(whole) // 128) * 128
        expected.append(np.asarray(model.predict_on_batch(pad([whole], n_frames, recipe)))[0])
        found.append(logits)
    return found, expected


def _measure(draft: Path, info: RunInfo, clips: Sequence[Clip], noises: Sequence[Sound], console: Console) -> Measured:
    from train_host.train import progress_bar

    train, val = set(info.train_speakers), set(info.val_speakers)
    if train & val:
        raise ExportError(
            f"the run trained on its validation speakers too ({', '.join(sorted(train & val))}: other texts of "
            "theirs), so it cannot be measured on new voices; give --no-figures"
        )
    known = [clip for clip in clips if clip.speaker_id in train | val]
    if not any(clip.speaker_id in train for clip in known) or not any(clip.speaker_id in val for clip in known):
        raise ExportError(
            "the corpora at hand are not those of the run; name their folder by --corpora, or give --no-figures"
        )
    with progress_bar(console) as progress:
        task = progress.add_task("measuring on the device's pipeline", total=len(known))
        scores = score(draft, known, lambda: progress.advance(task))
        task = progress.add_task("measuring on noise", total=len(noises))
        heard = hear_noises(draft, noises, lambda: progress.advance(task))
    return Measured(
        scores.of(lambda clip: clip.speaker_id in train),
        scores.of(lambda clip: clip.speaker_id in val),
        heard,
    )


def _write_golden(bundle: Bundle) -> None:
    manifest = bundle.manifest
    samples = golden_signal()
    as_float = samples.astype(np.float32) / np.float32(32768)
    front_end = FrontEnd(manifest.features, manifest.gate, manifest.model.chunk_frames)
    probabilities = golden_probabilities(bundle, as_float)
    if not len(probabilities):
        raise ExportError("the gate of this recipe hears nothing in the golden signal; its settings shut out speech")
    np.savez_compressed(
        bundle.path / GOLDEN,
        samples=samples,
        features=np.concatenate(front_end.segments(as_float)),
        probabilities=probabilities,
    )


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MODEL, GOLDEN, CARD)}
    content = msgspec.json.encode(msgspec.structs.replace(manifest, files=files))
    (folder / MANIFEST).write_bytes(msgspec.json.format(content, indent=1) + b"\n")


def _softmax(logits: Float32) -> Float32:
    exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponential / exponential.sum(axis=1, keepdims=True)


def _tools(info: RunInfo) -> dict[str, str]:
    return {
        **info.tools,
        **{tool: version(tool) for tool in ("tensorflow", "keras", "ai-edge-litert", "numpy", "tonelight")},
    }


def current_commit() -> str:
    """Commit of the checkout this runs from, with a "+" where it was changed; "unknown" outside of one."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", ".", "../edge"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changed else "")
