"""Personal adaptation: a finished run and a few labelled clips of one person, to a run that is this person's own.

In two steps. What the network makes of a stretch of speech just before its last layer (the embedding) already tells
emotions apart; where the borders between them lie differs from voice to voice, room to room and language to language.
So the last layer is first fitted anew to the clips' embeddings by logistic regression that pulls it towards the weights
it had (`PRIOR`): clips say where they must, the corpora where the clips say nothing. From there the whole network is
trained on for some seconds (`finetune`).

Emotions that the person did not record can be neither right nor wrong: nothing is learned of them.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import keras
import msgspec
import numpy as np
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from edge.labels import EMOTIONS
from train_host.convert import load_sequences
from train_host.corpora import manifest
from train_host.corpora.clip import Clip
from train_host.dataset import Example, Extraction, Sounds
from train_host.errors import CorpusError, TrainingError
from train_host.finetune import FineTuner
from train_host.metrics import unweighted_average_recall
from train_host.recipes import Recipe
from train_host.train import RUN, SEQUENCES, VALIDATION, WEIGHTS, RunInfo, load_model, normalized, predict, progress_bar
from train_host.train import validation_inputs as batches_of

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

PRIOR: Final = 0.03
"""How hard the new layer is held to the old: half of this times the squared distance of all weights is added to the
mean loss. Chosen on validation speakers, and on a corpus that is never trained on."""
PERSONAL: Final = "personal.json"
"""In an adapted run folder: whose it is."""
N_FOLDS: Final = 5
"""Parts of the clips that are left out in turn, to see what the others make of them."""


class Personal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run was adapted with: clips of each emotion, and the share of them recognised (UAR), each answered
    without having learned from it, before and after; None where every emotion had one clip only."""

    clips: dict[str, Annotated[int, msgspec.Meta(ge=1)]]
    uar_before: float | None
    uar_after: float | None


@dataclass(frozen=True)
class Head:
    """The last layer: logits are `embedding @ kernel + bias`; kernel `(n, 8)`, bias `(8,)`."""

    kernel: Float64
    bias: Float64

    def __call__(self, embeddings: NDArray[np.floating]) -> Float64:
        """Embeddings `(n_segments, n)` to logits `(n_segments, 8)`."""
        return embeddings @ self.kernel + self.bias


def fit_head(head: Head, embeddings: NDArray[np.floating], emotions: Int64, weights: Float64) -> Head:
    """`head`, moved to answer `emotions` (indices into `EMOTIONS`, at least two kinds of them) for `embeddings`.

    `weights` say how much each row counts; emotions count alike, however many rows they have.
    """
    present = np.unique(emotions)
    shares = np.zeros(len(emotions))
    for emotion in present:
        own = emotions == emotion
        shares[own] = weights[own] / weights[own].sum() / len(present)
    # the best change is a sum of embeddings: as many directions as there are rows are enough, and much faster
    basis, rows = scipy.linalg.qr(np.asarray(embeddings, np.float64).T, mode="economic")
    rows = np.column_stack([rows.T, np.ones(len(emotions))])  # one more column for the bias
    before = head(embeddings)[:, present]
    truth = (emotions[:, None] == present).astype(float)

    def loss(flat: Float64) -> tuple[float, Float64]:
        change = flat.reshape(rows.shape[1], len(present))
        logits = before + rows @ change
        logits -= logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        slope = shares[:, None] * (np.exp(logits - log_sum) - truth)
        value = float((shares[:, None] * truth * (log_sum - logits)).sum() + PRIOR / 2 * (change**2).sum())
        return value, (rows.T @ slope + PRIOR * change).ravel()

    start = np.zeros(rows.shape[1] * len(present))
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    change = found.x.reshape(rows.shape[1], len(present))
    kernel, bias = head.kernel.copy(), head.bias.copy()
    kernel[:, present] += basis @ change[:-1]
    bias[present] += change[-1]
    return Head(kernel, bias)


class Adapter:
    """Adapts one network to one set of examples after the other, from where it began each time."""

    def __init__(self, model: keras.Model, recipe: Recipe, info: RunInfo) -> None:
        self._model, self._recipe, self._info = model, recipe, info
        self._head = head_of(model)
        self._tuner = FineTuner(model, recipe, info)

    def fit(self, examples: Sequence[Example]) -> None:
        """Adapt the network to `examples`, segments of at least two emotions; it is no other's any more."""
        self.restore()
        embeddings, examples = embed(self._model, examples, self._recipe, self._info)
        emotions, _, weights = segments(examples)
        head = fit_head(self._head, embeddings, emotions, weights)
        self._model.get_layer("logits").set_weights([head.kernel, head.bias])
        self._tuner.fit(examples)

    def restore(self) -> None:
        """The network as it was at first."""
        self._tuner.restore()

    def logits(self, examples: Sequence[Example]) -> Float64:
        """What the network as it is now says of each of `examples`, `(n, 8)`."""
        order = sorted(range(len(examples)), key=lambda i: len(examples[i].features))
        inputs, _, _ = batches_of([examples[i] for i in order], self._recipe, self._info)
        logits = np.empty((len(examples), len(EMOTIONS)))
        logits[order] = predict(self._model, inputs)[:, : len(EMOTIONS)]
        return logits


def head_of(model: keras.Model) -> Head:
    """The last layer of a network."""
    kernel, bias = (np.asarray(array, np.float64) for array in model.get_layer("logits").get_weights())
    return Head(kernel, bias)


def embed(
    model: keras.Model, examples: Sequence[Example], recipe: Recipe, info: RunInfo
) -> tuple[NDArray[np.float32], list[Example]]:
    """Embeddings `(n, width)`, and the examples in the same order."""
    ordered = sorted(examples, key=lambda example: len(example.features))
    inputs, _, _ = batches_of(ordered, recipe, info)
    return predict(keras.Model(model.inputs, model.get_layer("logits").input), inputs), ordered


def read_clips(table: Path) -> list[Clip]:
    """The clips of one person's manifest. Raises CorpusError where one of them cannot be used: with so few, each
    counts; where they are of several people; or of fewer than two emotions."""
    if not table.is_file():
        raise CorpusError(
            f"{table} is no file; --clips takes a CSV table with the columns path and emotion, one line for each clip"
        )
    corpora = manifest.read(table)
    for problem in (problem for corpus in corpora for problem in corpus.problems):
        raise CorpusError(f"{problem.path}: {problem.text}; mend the line in {table}, or take it out")
    clips = [clip for corpus in corpora for clip in corpus.clips]
    speakers = sorted({clip.speaker for clip in clips})
    if len(speakers) > 1:
        raise CorpusError(
            f"{table} holds clips of {', '.join(speakers)}; a bundle is adapted to one person: give each a manifest"
        )
    emotions = {clip.emotion for clip in clips}
    if len(emotions) < 2:
        raise CorpusError(
            f"{table} holds clips of {' and '.join(emotions) or 'no emotion'} only; record at least two emotions, "
            f"better all of {', '.join(EMOTIONS)}"
        )
    return clips


def adapt(run: Path, clips: Sequence[Clip], out: Path, console: Console, cache: Path | None = None) -> None:
    """Write the run folder `out`: the finished run in folder `run`, adapted to the one person of `clips`.

    Raises TrainingError where the run is not finished or adapted already, CorpusError where a clip has no speech.
    """
    info, recipe, model = load_model(run)
    if load_personal(run) is not None:
        raise TrainingError(f"{run} is adapted already; adapt the run that it came from, with all clips of the person")
    extraction = Extraction(recipe, Sounds([], []), cache)
    examples = extraction.examples(clips, 0)
    for path, reason in extraction.failed.items():
        what = reason if str(path) in reason else f"{path}: {reason}"
        raise CorpusError(f"{what}; record it again, or take its line out of the manifest")
    emotions, owners, weights = segments(examples)
    adapter = Adapter(model, recipe, info)
    unadapted = adapter.logits(examples)

    # what it is worth: each clip answered by a network that was adapted without it
    with progress_bar(console) as progress:
        held = _held_out(adapter, examples, emotions, owners, progress)
    is_tested = np.isfinite(held).all(axis=1)
    before = after = None
    if is_tested.any():
        tested = sorted(set(owners[is_tested]))
        recorded = np.isin(np.arange(len(EMOTIONS)), emotions)
        before, after = (
            _uar_of_clips(tested, logits, emotions, owners, weights, recorded) for logits in (unadapted, held)
        )
        of = f"{len(tested)} of these {len(clips)}" if len(tested) < len(clips) else f"these {len(clips)}"
        console.print(
            f"of {of} clips {100 * before:.0f}% were recognised before, {100 * after:.0f}% are now "
            "(UAR; each answered without having learned from it)"
        )
    else:
        console.print("one clip of each emotion: nothing is left to test on; the thresholds stay as they were")

    out.mkdir(parents=True, exist_ok=True)
    n_clips = Counter(clip.emotion for clip in clips)
    personal = Personal({emotion: n_clips[emotion] for emotion in EMOTIONS if n_clips[emotion]}, before, after)
    (out / PERSONAL).write_bytes(msgspec.json.encode(personal) + b"\n")
    shutil.copyfile(run / RUN, out / RUN)
    with np.load(run / VALIDATION) as file:
        validation = {name: file[name] for name in file.files}
    if is_tested.any():
        # the rest stays: whether anybody speaks at all is told as before
        validation |= {"logits": held[is_tested].astype(np.float32), "truth": emotions[is_tested]}
    np.savez(out / VALIDATION, **validation)
    sequences = [*load_sequences(run / SEQUENCES), *(normalized(example, recipe, info) for example in examples)]
    np.savez(out / SEQUENCES, **{f"{i:04}": sequence for i, sequence in enumerate(sequences)})
    adapter.fit(examples)
    np.savez(out / WEIGHTS, **{f"weights.{i:03}": array for i, array in enumerate(model.get_weights())})


def load_personal(run: Path) -> Personal | None:
    """Whose an adapted run is; None of any other. Raises TrainingError where the file that says so is damaged."""
    try:
        return msgspec.json.decode((run / PERSONAL).read_bytes(), type=Personal)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise TrainingError(f"{run / PERSONAL}: {error}; adapt again") from None


def segments(examples: Sequence[Example]) -> tuple[Int64, NDArray[np.str_], Float64]:
    """Of each segment the emotion, the clip, and its share of the clip: clips count alike."""
    emotions = np.array([EMOTIONS.index(example.clip.emotion) for example in examples])
    owners = np.array([str(example.clip.path) for example in examples])
    lengths = np.array([len(example.features) for example in examples], float)
    weights = np.array([length / lengths[owners == owner].sum() for owner, length in zip(owners, lengths, strict=True)])
    return emotions, owners, weights


def clip_posterior(logits: Float64, weights: Float64) -> Float64:
    """Of a clip, `(8,)`: the mean over its segments by length; zeros of a clip without speech."""
    if len(logits) == 0:
        return np.zeros(len(EMOTIONS))
    each = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.average(each / each.sum(axis=1, keepdims=True), axis=0, weights=weights)


def _uar_of_clips(
    clips: Sequence[str],
    logits: Float64,
    emotions: Int64,
    owners: NDArray[np.str_],
    weights: Float64,
    recorded: NDArray[np.bool_],
) -> float:
    """UAR over clips, each answered by all of its segments, out of the emotions that were recorded."""
    own = [owners == clip for clip in clips]
    probs = np.array([clip_posterior(logits[rows], weights[rows]) for rows in own])
    truth = np.array([emotions[rows][0] for rows in own])
    return unweighted_average_recall(truth, np.where(recorded, probs, -np.inf).argmax(axis=1))


def _held_out(
    adapter: Adapter, examples: Sequence[Example], emotions: Int64, owners: NDArray[np.str_], progress: Progress
) -> Float64:
    """Logits `(n, 8)` of each segment by a network that was adapted without its clip; NaN where the clip is the only
    one of its emotion."""
    logits = np.full((len(emotions), len(EMOTIONS)), np.nan)
    fold = np.full(len(emotions), -1)
    number = 0
    for emotion in np.unique(emotions):
        own = sorted(set(owners[emotions == emotion]))
        for clip in own if len(own) > 1 else ():
            fold[owners == clip] = number % N_FOLDS
            number += 1
    task = progress.add_task("adapting, some clips left out in turn", total=min(number, N_FOLDS))
    for part in range(min(number, N_FOLDS)):
        tested = np.flatnonzero(fold == part)
        adapter.fit([examples[i] for i in np.flatnonzero(fold != part)])
        logits[tested] = adapter.logits([examples[i] for i in tested])
        progress.advance(task)
    return logits
