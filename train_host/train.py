"""Training, from top to bottom: a run folder in the end, and at any moment enough in it to go on after an interruption.

runs/<name>/
    run.json           recipe, seed, corpora, speakers of each side, normalisation: everything but the weights
    checkpoint.npz     weights, their average, the optimizer and the step; replaced every `CHECKPOINT_STEPS`
    history.csv        loss and validation UAR over the steps, the seconds they took, and those waited for batches
    weights.npz        the averaged weights, once training has ended
    validation.npz     what they say of the validation speakers: logits, speech and truth, to calibrate on
    sequences.npz      normalised features of some of their segments, to check and calibrate an export on
    curves.png, tensorboard/
"""

from __future__ import annotations

import csv
import importlib.util
import platform
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import keras
import msgspec
import numpy as np
from keras import ops
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edge.labels import EMOTIONS
from edge.normalize import Normalizer, NormalizerConfig
from train_host import plots
from train_host.ahead import BatchesAhead
from train_host.batches import N_LABELS, Batches, fit_normalizer, label_mask, pad
from train_host.corpora.clip import Clip
from train_host.dataset import Example, Extraction, Sounds
from train_host.devices import shared_batches
from train_host.errors import TrainingError
from train_host.folds import Split
from train_host.metrics import unweighted_average_recall
from train_host.recipes import Recipe, find_recipe
from train_host.recipes.digest import recipe_digest

if TYPE_CHECKING:
    from rich.progress import TaskID

CHECKPOINT_STEPS: Final = 250
AVERAGE_EVERY: Final = 10
"""Steps between two updates of the averaged weights; ten steps change them little, and copying them costs."""
RUN, CHECKPOINT, HISTORY, WEIGHTS = "run.json", "checkpoint.npz", "history.csv", "weights.npz"
VALIDATION, SEQUENCES = "validation.npz", "sequences.npz"
N_SEQUENCES: Final = 128


class RunInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run is, but for its weights."""

    recipe: str
    seed: int
    steps: int
    split: str
    train_speakers: tuple[str, ...]
    val_speakers: tuple[str, ...]
    corpora: dict[str, tuple[int, int]]
    """Clips and speakers that train, for each corpus."""
    normalizer: NormalizerConfig
    tools: dict[str, str]
    digest: str | None = None
    """The recipe's form (`train_host.recipes.digest`); None of a run of a version that did not keep it."""


@dataclass
class Data:
    """What a run trains and validates on."""

    train: list[Example]
    val: list[Example]
    failed: dict[Path, str]
    n_drowned: int
    scenes: Sequence[NDArray[np.float16]] = ()
    """Features of what is no speech."""


def load_data(split: Split, recipe: Recipe, sounds: Sounds, console: Console, cache: Path | None = None) -> Data:
    """Features of the split's clips, from the cache where they are in it; the training side in all its views."""
    extraction = Extraction(recipe, sounds, cache)
    n_views = recipe.training.views
    train: list[Example] = []
    with progress_bar(console) as progress:
        n_scenes = recipe.training.n_scenes
        task = progress.add_task("features", total=len(split.train) * (1 + n_views) + len(split.val) + n_scenes)

        def advance(n: int) -> None:
            progress.advance(task, n)

        for view in range(1 + n_views):
            train += extraction.examples(split.train, view, advance)
        val = extraction.examples(split.val, 0, advance)
        scenes = extraction.scenes(advance) if recipe.hears_speech else []
    return Data(train, val, extraction.failed, extraction.n_drowned, scenes)


def train(
    run: Path,
    recipe: Recipe,
    split: Split,
    sounds: Sounds,
    seed: int,
    console: Console,
    *,
    steps: int | None = None,
    checkpoint_steps: int = CHECKPOINT_STEPS,
    data: Data | None = None,
) -> None:
    """Train `recipe` on `split` into the folder `run`; where it holds an unfinished run of the same kind, go on.

    `steps` replaces the recipe's number of steps; `checkpoint_steps` is a multiple of `AVERAGE_EVERY`; `data` is what
    `load_data` would return, where it is already at hand (the recordings need not be there then). Raises
    TrainingError where `run` holds something else, or where the loss stops being a number.
    """
    n_steps = steps or recipe.training.steps
    if (run / WEIGHTS).exists():
        raise TrainingError(f"{run} holds a finished run; give another folder by --run, or export it: it is done")
    data = data or load_data(split, recipe, sounds, console)
    for path, reason in data.failed.items():
        console.print(f"[yellow]left out[/] {escape(reason if str(path) in reason else f'{path}: {reason}')}")
    if data.n_drowned:
        console.print(f"{data.n_drowned} augmented copies left out: no speech found in their noise")
    if not data.train or not data.val:
        raise TrainingError(
            f"split {split.name}: nothing left to train or to validate on; see `tonelight-train data verify`"
        )

    # the network, compiled; the conversion is tried before any time is spent (train_host.export does it in the command)
    keras.utils.set_random_seed(seed)
    shared = shared_batches(recipe.training.batch_size)
    with shared:
        model = recipe.build(recipe.features.n_features)
        compile_model(model, recipe, n_steps)
    info = RunInfo(
        recipe=recipe.name,
        seed=seed,
        steps=n_steps,
        split=split.name,
        train_speakers=_speakers(split.train),
        val_speakers=_speakers(split.val),
        corpora=_corpora(split.train),
        normalizer=fit_normalizer(data.train, recipe),
        tools={"python": platform.python_version(), "keras": keras.__version__, "backend": keras.backend.backend()},
        digest=recipe_digest(recipe),
    )
    averager = Averager(model, recipe.training.average)
    with shared:
        first_step = _begin(run, info, model, averager, console)

    # the loop
    batches = Batches(data.train, recipe, info.normalizer, seed, checkpoint_steps, data.scenes)
    train_s = 0.0
    inputs, labels, corpora = validation_inputs(data.val, recipe, info)
    # of both sides: a validation speaker may show an emotion that nobody else in the corpus does
    masks = label_mask([*data.train, *data.val])
    # by epoch, which is from one checkpoint to the next: Keras counts batches from zero in each of them
    watchers = []
    board = None
    if importlib.util.find_spec("tensorflow"):  # which writes the events; a machine with JAX only does without them
        from tensorboard.summary import Writer

        watchers.append(keras.callbacks.TensorBoard(str(run / "tensorboard"), write_graph=False))
        board = Writer(str(run / "tensorboard" / "validation"))
    with progress_bar(console) as progress, BatchesAhead(batches, n_steps) as ahead:
        task = progress.add_task("training", total=n_steps, completed=first_step)
        on_step = _StepBar(progress, task)
        for step in range(first_step, n_steps, checkpoint_steps):
            ahead.begin(step, min(checkpoint_steps, n_steps - step))
            began_s, waited_s = time.perf_counter(), ahead.waited_s
            with shared:
                history = model.fit(
                    ahead,
                    steps_per_epoch=len(ahead),
                    initial_epoch=step // checkpoint_steps,
                    epochs=step // checkpoint_steps + 1,
                    shuffle=False,
                    verbose=0,
                    callbacks=[averager, on_step, *watchers],
                )
            took_s = time.perf_counter() - began_s
            train_s += took_s
            done = min(step + checkpoint_steps, n_steps)
            if not np.isfinite(history.history["loss"][-1]):
                raise TrainingError(
                    f"{run}: the loss is no number any more between the steps {step} and {done}; give another --seed, "
                    "or lower the recipe's learning_rate"
                )
            with averager.applied():
                logits = predict(model, inputs)[:, :N_LABELS]
            uar = unweighted_average_recall(labels, masked_argmax(logits, corpora, masks))
            row = {"step": done, "loss": history.history["loss"][-1], "val_uar": uar}
            row |= {"seconds": round(took_s, 2), "waited_seconds": round(ahead.waited_s - waited_s, 2)}
            _append(run / HISTORY, row)
            if board is not None:
                board.add_scalar("uar", uar, step=step // checkpoint_steps)
                board.flush()
            _save_checkpoint(run / CHECKPOINT, done, model, averager)
            progress.update(
                task, description=f"training  loss {row['loss']:.3f}  UAR of unseen speakers {100 * uar:.1f}%"
            )

    if board is not None:
        board.close()
    averager.apply()
    answers = predict(model, inputs)
    # all eight, whatever the corpus has: the device, too, may answer with any of them
    logits = answers[:, :N_LABELS]
    np.savez(run / VALIDATION, logits=logits, speech=answers[:, N_LABELS:], truth=labels)
    every = max(1, len(data.val) // N_SEQUENCES)
    np.savez(run / SEQUENCES, **{f"{i:04}": normalized(e, recipe, info) for i, e in enumerate(data.val[::every])})
    _save_arrays(run / WEIGHTS, {"weights": model.get_weights()})
    (run / CHECKPOINT).unlink()
    plots.curves(run / HISTORY, run / "curves.png")
    uar = unweighted_average_recall(labels, masked_argmax(logits, corpora, masks))
    console.print(f"[green]trained[/] {escape(str(run))}: UAR of the validation speakers {100 * uar:.1f}%")
    if train_s:
        console.print(
            f"{n_steps - first_step} steps in {train_s:.0f} s; waited for data: "
            f"{100 * min(1, ahead.waited_s / train_s):.0f}% of the time"
        )


def normalized(example: Example, recipe: Recipe, info: RunInfo) -> NDArray[np.float32]:
    """Features as the network sees them, `(n_frames, n_features)`."""
    return Normalizer(info.normalizer, recipe.features.hop_ms).push(example.features.astype(np.float32))


def compile_model(model: keras.Model, recipe: Recipe, n_steps: int) -> None:
    """AdamW with warm-up and cosine, and the loss."""
    training = recipe.training
    schedule = keras.optimizers.schedules.CosineDecay(
        training.learning_rate / 25,
        decay_steps=max(1, round(0.95 * n_steps)),
        alpha=0.01,
        warmup_target=training.learning_rate,
        warmup_steps=max(1, round(0.05 * n_steps)),
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=training.weight_decay, clipnorm=1.0)
    # XLA made this network five times slower on CPUs with TensorFlow; JAX has no other way
    jit = "auto" if keras.backend.backend() == "jax" else False
    model.compile(optimizer, loss=loss_of(training.label_smoothing), jit_compile=jit)


def loss_of(label_smoothing: float) -> Callable:
    """Cross entropy over all eight emotions, whichever the example's corpus has: the board, too, may answer with any,
    and what a corpus calls sad is not calm. Where the network has a ninth logit, it learns whether anybody speaks.

    Takes `targets (B, 9)` (one-hot, speech) and `logits (B, 8 or 9)`, gives `(B,)`.
    """

    def loss(targets, logits):
        truth, speech = targets[:, :N_LABELS], targets[:, N_LABELS]
        smooth = (1 - label_smoothing) * truth + label_smoothing / N_LABELS
        of_emotion = -speech * ops.sum(smooth * ops.log_softmax(logits[:, :N_LABELS]), axis=1)
        if logits.shape[-1] == N_LABELS:
            return of_emotion
        heard = logits[:, N_LABELS]
        return of_emotion + speech * ops.softplus(-heard) + (1 - speech) * ops.softplus(heard)

    return loss


class Averager(keras.callbacks.Callback):
    """Exponential moving average of the weights: less noise than the last step, at no cost on the board."""

    def __init__(self, model: keras.Model, momentum: float) -> None:
        super().__init__()
        self._network = model
        self._momentum = momentum**AVERAGE_EVERY
        self._batch = 0
        self.weights: list[NDArray[np.float32]] = model.get_weights()
        self.n_updates = 0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._batch += 1
        if self._batch % AVERAGE_EVERY:
            return
        if keras.backend.backend() == "jax":
            # there, the loop keeps the weights to itself until it is asked
            self._network.jax_state_sync()
        self.n_updates += 1
        # no memory of the random start: the first updates are a plain mean
        momentum = min(self._momentum, 1 - 1 / self.n_updates)
        self.weights = [
            momentum * average + (1 - momentum) * weight
            for average, weight in zip(self.weights, self._network.get_weights(), strict=True)
        ]

    def apply(self) -> None:
        """Give the network its averaged weights, for good."""
        self._network.set_weights(self.weights)

    def applied(self):
        """The network with its averaged weights, inside a `with` block."""
        return _Applied(self._network, self.weights)


class _Applied:
    def __init__(self, model: keras.Model, weights: list[NDArray[np.float32]]) -> None:
        self._model, self._weights = model, weights

    def __enter__(self) -> None:
        self._own = self._model.get_weights()
        self._model.set_weights(self._weights)

    def __exit__(self, *exception: object) -> None:
        self._model.set_weights(self._own)


def validation_inputs(
    examples: Sequence[Example], recipe: Recipe, info: RunInfo
) -> tuple[list, NDArray[np.int64], list[str]]:
    """Batches of whole segments, with the label and the corpus of each segment in the same order."""
    ordered = sorted(examples, key=lambda example: len(example.features))
    batches = []
    for i in range(0, len(ordered), 64):
        sequences = [normalized(example, recipe, info) for example in ordered[i : i + 64]]
        if recipe.form == "window":
            sequences = [sequence[-recipe.window_frames :] for sequence in sequences]
            batches.append(pad(sequences, recipe.window_frames, recipe))
        else:
            # few different lengths, because each is compiled once
            n_frames = -(-max(map(len, sequences)) // 128) * 128
            batches.append(pad(sequences, n_frames, recipe))
    labels = np.array([EMOTIONS.index(example.clip.emotion) for example in ordered])
    return batches, labels, [example.clip.corpus for example in ordered]


def predict(model: keras.Model, inputs: Sequence) -> NDArray[np.float32]:
    """Logits of batches of inputs, `(n, 8)`, or `(n, 9)` of a network that hears whether anybody speaks."""
    return np.concatenate([np.asarray(model.predict_on_batch(batch)) for batch in inputs])


def masked_argmax(
    logits: NDArray[np.float32], corpora: Sequence[str], masks: dict[str, NDArray[np.float32]]
) -> NDArray[np.int64]:
    """The likeliest of the emotions that each example's corpus has."""
    allowed = np.array([masks[corpus] > 0 for corpus in corpora])
    return np.argmax(np.where(allowed, logits, -np.inf), axis=1)


def load_run(run: Path) -> tuple[RunInfo, Recipe]:
    """What a run folder says of itself. Raises TrainingError where it is none, or of another form of its recipe."""
    info = _read_info(run)
    recipe = find_recipe(info.recipe)
    if info.digest not in (None, recipe_digest(recipe)):
        raise TrainingError(
            f"{run} was trained with another form of the recipe {info.recipe} than this version of tonelight has; "
            "train again into another folder, or go back to the version that trained it"
        )
    return info, recipe


def _read_info(run: Path) -> RunInfo:
    try:
        return msgspec.json.decode((run / RUN).read_bytes(), type=RunInfo)
    except FileNotFoundError:
        raise TrainingError(f"{run} is no run folder (it has no {RUN}); `tonelight-train train` makes one") from None
    except msgspec.DecodeError as error:
        raise TrainingError(f"{run / RUN}: {error}; train again") from None


def load_model(run: Path) -> tuple[RunInfo, Recipe, keras.Model]:
    """The finished run's network with its averaged weights. Raises TrainingError where it is not finished."""
    if not (run / WEIGHTS).exists():
        raise TrainingError(
            f"{run} is not finished; go on with `tonelight-train train --recipe {_read_info(run).recipe} --run {run}`"
        )
    info, recipe = load_run(run)
    model = recipe.build(recipe.features.n_features)
    try:
        model.set_weights(_load_arrays(run / WEIGHTS)["weights"])
    except _UNUSABLE as error:
        raise TrainingError(
            f"{run / WEIGHTS} is damaged or of another network than {recipe.name} is now ({_first_line(error)}); "
            "train again"
        ) from None
    return info, recipe, model


def _begin(run: Path, info: RunInfo, model: keras.Model, averager: Averager, console: Console) -> int:
    """Write `run.json`, or check it and take up the checkpoint; the step to go on from."""
    run.mkdir(parents=True, exist_ok=True)
    if not (run / RUN).exists():
        temporary = (run / RUN).with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(info), indent=1))
        temporary.replace(run / RUN)
        return 0
    known = _read_info(run)
    for field in ("recipe", "seed", "steps", "split", "corpora"):
        if getattr(known, field) != getattr(info, field):
            raise TrainingError(
                f"{run} is a run of another kind ({field} {getattr(known, field)}, now {getattr(info, field)}); "
                "give another folder by --run"
            )
    if known.digest not in (None, info.digest):
        raise TrainingError(
            f"{run} was begun with another form of the recipe {info.recipe}; give another folder by --run"
        )
    if not all(
        np.allclose(getattr(known.normalizer, field), getattr(info.normalizer, field), rtol=1e-3, atol=1e-3)
        for field in ("mean", "std")
    ):
        raise TrainingError(
            f"{run} was begun with other features of the same clips (the recordings, the noises or the signal code "
            "have changed since); give another folder by --run"
        )
    if not (run / CHECKPOINT).exists():
        _truncate_history(run / HISTORY, 0)
        return 0
    try:
        arrays = _load_arrays(run / CHECKPOINT)
        model.optimizer.build(model.trainable_variables)
        model.set_weights(arrays["weights"])
        averager.weights = arrays["average"]
        for variable, value in zip(model.optimizer.variables, arrays["optimizer"], strict=True):
            variable.assign(value)
        for variable, value in zip(dropout_seeds(model), arrays["seeds"], strict=True):
            variable.assign(value)
        (step,), (averager.n_updates,) = arrays["step"], arrays["updates"]
    except _UNUSABLE as error:
        raise TrainingError(
            f"{run / CHECKPOINT} is damaged or of another network than {info.recipe} is now ({_first_line(error)}); "
            "delete it to start again, or give another folder by --run"
        ) from None
    _truncate_history(run / HISTORY, int(step))
    console.print(f"going on with {escape(str(run))} from step {int(step)}")
    return int(step)


_UNUSABLE: Final = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What reading and taking up arrays raises for a damaged file, or one of another network."""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def dropout_seeds(model: keras.Model) -> list:
    """Where the random generators of the dropout layers stand: state that Keras does not count among the weights."""
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _save_checkpoint(path: Path, step: int, model: keras.Model, averager: Averager) -> None:
    _save_arrays(
        path,
        {
            "weights": model.get_weights(),
            "average": averager.weights,
            "optimizer": [np.asarray(variable) for variable in model.optimizer.variables],
            "seeds": [np.asarray(variable) for variable in dropout_seeds(model)],
            "step": [np.array(step)],
            "updates": [np.array(averager.n_updates)],
        },
    )


def _save_arrays(path: Path, groups: dict[str, Sequence[NDArray]]) -> None:
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **{f"{name}.{i:03}": a for name, group in groups.items() for i, a in enumerate(group)})
    temporary.replace(path)  # whole or not at all


def _load_arrays(path: Path) -> dict[str, list[NDArray]]:
    groups: dict[str, list[NDArray]] = {}
    with np.load(path) as file:
        for key in sorted(file.files):
            groups.setdefault(key.rsplit(".", 1)[0], []).append(file[key])
    return groups


def _append(path: Path, row: dict[str, float]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def _truncate_history(path: Path, step: int) -> None:
    """Take out what was written after the checkpoint that training goes on from: it comes again."""
    if not path.exists():
        return
    head, *rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([head, *(row for row in rows if int(row.partition(",")[0]) <= step)]))


class _StepBar(keras.callbacks.Callback):
    def __init__(self, progress: Progress, task: TaskID) -> None:
        super().__init__()
        self._progress, self._task = progress, task

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._progress.advance(self._task)


def progress_bar(console: Console) -> Progress:
    """The one look of long work: what, how far, since when, how much longer."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _speakers(clips: Sequence[Clip]) -> tuple[str, ...]:
    return tuple(sorted({clip.speaker_id for clip in clips}))


def _corpora(clips: Sequence[Clip]) -> dict[str, tuple[int, int]]:
    names = sorted({clip.corpus for clip in clips})
    mine = {name: [clip for clip in clips if clip.corpus == name] for name in names}
    return {name: (len(of), len({clip.speaker for clip in of})) for name, of in mine.items()}
