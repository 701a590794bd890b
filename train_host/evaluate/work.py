"""One task, in a process of its own (`python -m train_host.evaluate.work ORDER`): trained, exported, measured."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from rich.console import Console

from edge.errors import TonelightError
from train_host.corpora.clip import Clip
from train_host.errors import EvaluationError, ParityError
from train_host.evaluate import adaptation
from train_host.evaluate.result import RESULT, Condition, CorpusResult, Result, load, save, uar
from train_host.evaluate.tasks import RANDOM, Task, clips_digest, make_split
from train_host.folds import Split
from train_host.recipes import Recipe, find_recipe
from train_host.recipes.digest import recipe_digest

if TYPE_CHECKING:
    from train_host.scoring import NoiseHeard
    from train_host.train import RunInfo

TRAINING: Final = "training.json"
LOG: Final = "log.txt"


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a process is to do. `corpora` is their folder; `features` one that `features.write` wrote, for a training
    without recordings; `n_processes` how many may measure at once; `digest` the recipe's form where the order was given
    (None where that does not matter)."""

    task: Task
    out: str
    corpora: str | None
    features: str | None
    train: bool
    score: bool
    noise: bool
    n_processes: int
    adapt: bool = False
    digest: str | None = None


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a finished training beside its run folder."""

    schema: Literal[1]
    recipe_digest: str
    train_clips: str
    test_clips: str
    """Digests of who was on which side: a run is only measured on the split it was trained for."""
    seconds: float | None
    device: str
    commit: str


def is_done(task: Task, out: Path, *, train: bool, score: bool, noise: bool, adapt: bool = False) -> bool:
    """Whether nothing is left to do. Raises EvaluationError where what is there is of another form of the recipe."""
    folder = task.folder(out)
    digest = recipe_digest(find_recipe(task.recipe))
    if (folder / RESULT).exists():
        result = load(folder / RESULT)
        if result.recipe_digest != digest:
            raise EvaluationError(
                f"{folder / RESULT} is of an earlier form of the recipe {task.recipe}; give another --out, or delete "
                "the folder"
            )
        return not score or (_is_scored(folder, noise) and not (adapt and _wants_adaptation(task, folder)))
    if not train or score or not (folder / TRAINING).exists():
        return False
    _load_training(folder, digest, task.recipe)
    return True


def perform(order: Order, console: Console) -> None:
    """Do what is left of the task. Raises TonelightError where it cannot be done."""
    task = order.task
    recipe = find_recipe(task.recipe)
    if order.digest not in (None, recipe_digest(recipe)):
        raise EvaluationError(
            f"here the recipe {recipe.name} has another form than where the command was given; install the same "
            "tonelight in both places"
        )
    folder = task.folder(Path(order.out))
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        _do(order, recipe, folder, console)


def _do(order: Order, recipe: Recipe, folder: Path, console: Console) -> None:
    task = order.task
    clips = _clips(order, recipe)
    split = make_split(task, clips)
    is_trained = (folder / TRAINING).exists()
    if order.train and not is_trained:
        _train(order, recipe, split, clips, folder, console)
    if order.score and not _is_scored(folder, order.noise):
        _score(order, recipe, split, folder, console)
    if order.score and order.adapt and _wants_adaptation(task, folder):
        _adapt(order, recipe, split, folder)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time in a task's folder: one that is taken for dead may still be at it for a moment."""
    # to append: a mere look leaves the time of the file as it is
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_scored(folder: Path, noise: bool) -> bool:
    if not (folder / RESULT).exists():
        return False
    result = load(folder / RESULT)
    return not noise or bool(result.conditions)


def _wants_adaptation(task: Task, folder: Path) -> bool:
    """A random split has nobody to adapt to: all voices are known."""
    return task.protocol != RANDOM and not (folder / adaptation.ADAPTATION).exists()


def _clips(order: Order, recipe: Recipe) -> Sequence[Clip]:
    if order.corpora is None:
        from train_host.evaluate.features import read_clips

        return read_clips(Path(str(order.features)), recipe)
    from train_host.corpora import find_corpora

    return [clip for corpus in find_corpora(Path(order.corpora)) for clip in corpus.clips]


# --- training ---------------------------------------------------------------------------------------------------------


def _train(order: Order, recipe: Recipe, split: Split, clips: Sequence[Clip], folder: Path, console: Console) -> None:
    from train_host.cli import NOT_FOR_WEIGHTS
    from train_host.dataset import Sounds, training_sounds
    from train_host.evaluate import features
    from train_host.export import current_commit
    from train_host.train import CHECKPOINT, train

    task = order.task
    if order.features is not None:
        data = features.read(Path(order.features), recipe, split)
        sounds = Sounds([], [])
    else:
        training = [clip for clip in clips if clip.corpus not in NOT_FOR_WEIGHTS]
        sounds = training_sounds(Path(str(order.corpora)))
        with (Path(order.out) / ".features.lock").open("w") as lock:
            # of several tasks that begin together one measures, and the others find it in the cache
            fcntl.flock(lock, fcntl.LOCK_EX)
            data = features.measure(training, recipe, sounds, console)(split)
    run = folder / "run"
    shutil.rmtree(folder / "bundle", ignore_errors=True)  # of a run that is gone
    (folder / adaptation.ADAPTATION).unlink(missing_ok=True)
    is_resumed = (run / CHECKPOINT).exists()
    if (run / "weights.npz").exists():  # ended between its last file and this module's own
        shutil.rmtree(run)
    started_s = time.monotonic()
    train(run, recipe, split, sounds, task.seed, console, steps=task.steps, data=data)
    done = Training(
        schema=1,
        recipe_digest=recipe_digest(recipe),
        train_clips=clips_digest((*split.train, *split.val)),
        test_clips=clips_digest(split.test),
        seconds=None if is_resumed else round(time.monotonic() - started_s, 1),
        device=training_device(),
        commit=current_commit(),
    )
    temporary = folder / f".{TRAINING}.tmp"
    temporary.write_bytes(msgspec.json.encode(done) + b"\n")
    temporary.replace(folder / TRAINING)


def training_device() -> str:
    """What Keras computes on, in words: backend, and GPU or processor."""
    import keras

    backend = keras.backend.backend()
    if all(device.startswith("cpu") for device in keras.distribution.list_devices()):
        return f"{backend}, {processor()}"
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=True
        ).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        told = []
    return f"{backend}, {told[0] if told and told[0] else 'GPU'}"


def processor() -> str:
    """The processor in words, and how many cores of it there are."""
    name = ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        pass
    return f"{name or platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _load_training(folder: Path, digest: str, recipe: str) -> Training:
    path = folder / TRAINING
    try:
        done = msgspec.json.decode(path.read_bytes(), type=Training)
    except FileNotFoundError:
        raise EvaluationError(
            f"{folder} is not trained yet; leave --phase out, or give --phase train first, with the same --out"
        ) from None
    except msgspec.DecodeError as error:
        raise EvaluationError(f"{path}: {error}; delete the folder, and evaluate again") from None
    if done.recipe_digest != digest:
        raise EvaluationError(
            f"{folder} was trained with an earlier form of the recipe {recipe}; give another --out, or delete it"
        )
    return done


# --- measuring --------------------------------------------------------------------------------------------------------


def _score(order: Order, recipe: Recipe, split: Split, folder: Path, console: Console) -> None:
    from edge.bundle import MODEL, load_bundle
    from train_host.evaluate.measure import (
        corpus_result,
        keras_probabilities,
        probabilities,
        speakers,
    )
    from train_host.export import current_commit
    from train_host.scoring import hear
    from train_host.train import load_model, progress_bar

    task, run = order.task, folder / "run"
    done = _load_training(folder, recipe_digest(recipe), task.recipe)
    info, _, model = load_model(run)
    _check_split(done, info, split, folder)

    path = folder / "bundle" / f"{recipe.name}-0.0.0"
    if not path.exists():
        _export(recipe, folder, console)
    bundle = load_bundle(path)
    clips = split.test
    paths = [clip.path for clip in clips]
    corpora = sorted({clip.corpus for clip in clips})
    classes = _classes(split)
    with progress_bar(console) as progress:
        bar = progress.add_task("the bundle, on the device's pipeline", total=len(clips))
        found = []
        for one in hear(path, paths, order.n_processes):
            found.append(one)
            progress.advance(bar)
        probs = probabilities(found)
        bar = progress.add_task("the float Keras model", total=len(clips))
        keras_probs = keras_probabilities(model, bundle, recipe, paths, lambda: progress.advance(bar))
    measured: dict[str, CorpusResult] = {}
    for corpus in corpora:
        own = [i for i, clip in enumerate(clips) if clip.corpus == corpus]
        measured[corpus] = corpus_result(
            [clips[i] for i in own],
            probs[own],
            keras_probs[own],
            classes[corpus],
            bundle.manifest.decision,
        )
    each = speakers(clips, probs, classes, bundle.manifest.decision)
    conditions = _conditions(order, recipe, path, split, classes, console) if order.noise else ()
    noises = _noises_alone(order, recipe, path, console) if order.noise else ()
    save(
        Result(
            schema=2,
            protocol=task.protocol,
            split=split.name,
            n_folds=task.n_folds,
            leaky=task.protocol == RANDOM,
            trial=task.steps is not None and task.steps != recipe.training.steps,
            recipe=recipe.name,
            recipe_digest=recipe_digest(recipe),
            seed=task.seed,
            steps=info.steps,
            uar=_mean_uar([_summed(one.emotions for one in each if one.corpus == corpus) for corpus in corpora]),
            uar_float=_mean_uar([_summed([measured[corpus].keras]) for corpus in corpora]),
            n_train=len(split.train),
            n_val=len(split.val),
            n_test=len(split.test),
            val_from=split.val_from,
            quantization=bundle.manifest.quantization,
            model_bytes=(path / MODEL).stat().st_size,
            parity_agreement=bundle.manifest.metrics["parity_agreement"],
            parity_mean_difference=bundle.manifest.metrics["parity_mean_difference"],
            temperature=bundle.manifest.decision.temperature,
            uncertain_below=bundle.manifest.decision.uncertain_below,
            train_seconds=done.seconds,
            train_device=done.device,
            score_device=processor(),
            train_commit=done.commit,
            score_commit=current_commit(),
            tools=dict(bundle.manifest.tools),
            speakers=each,
            corpora=measured,
            conditions=conditions,
            noises=noises,
        ),
        folder,
    )


def _export(recipe: Recipe, folder: Path, console: Console) -> None:
    """The run's bundle. A network that does not bear its recipe's quantization is measured with half floats: what its
    result says, and what a user of the recipe would be told to do."""
    from train_host.export import export

    for quantization in (None, "float16"):
        try:
            export(
                folder / "run",
                folder / "bundle",
                name=recipe.name,
                version="0.0.0",
                quantization=quantization,
                clips=None,
                console=console,
            )
            return
        except ParityError as error:
            if quantization or recipe.quantization == "float16":
                raise
            console.print(f"{error}: measured with float16")


def _check_split(done: Training, info: RunInfo, split: Split, folder: Path) -> None:
    """Raises EvaluationError where a run was trained on another split, or with a speaker that is tested."""
    if done.test_clips != clips_digest(split.test) or done.train_clips != clips_digest((*split.train, *split.val)):
        raise EvaluationError(
            f"{folder} was trained on another split than {split.name} is now (the corpora have changed); give another "
            "--out, or delete the folder"
        )
    known = {*info.train_speakers, *info.val_speakers} & {clip.speaker_id for clip in split.test}
    if known and not split.name.startswith(f"{RANDOM}_"):
        raise EvaluationError(f"{folder} was trained with speakers that {split.name} tests: {', '.join(sorted(known))}")


def _classes(split: Split) -> dict[str, tuple[str, ...]]:
    """Of each tested corpus the emotions that the training has, too."""
    from train_host.evaluate.measure import shared_classes

    trained = {clip.emotion for clip in split.train}
    corpora = sorted({clip.corpus for clip in split.test})
    return {
        corpus: shared_classes({clip.emotion for clip in split.test if clip.corpus == corpus}, trained)
        for corpus in corpora
    }


def _adapt(order: Order, recipe: Recipe, split: Split, folder: Path) -> None:
    from train_host.adapt import PRIOR
    from train_host.export import current_commit
    from train_host.train import load_run

    task = order.task
    done = _load_training(folder, recipe_digest(recipe), task.recipe)
    _check_split(done, load_run(folder / "run")[0], split, folder)
    speakers, left_out = adaptation.measure(folder / "run", split, _classes(split))
    adaptation.save(
        adaptation.Adaptation(
            schema=1,
            protocol=task.protocol,
            split=split.name,
            n_folds=task.n_folds,
            recipe=recipe.name,
            recipe_digest=recipe_digest(recipe),
            seed=task.seed,
            steps=task.steps or recipe.training.steps,
            trial=task.steps is not None and task.steps != recipe.training.steps,
            n_draws=adaptation.N_DRAWS,
            prior=PRIOR,
            commit=current_commit(),
            speakers=speakers,
            left_out=left_out,
        ),
        folder,
    )


def _conditions(
    order: Order, recipe: Recipe, bundle: Path, split: Split, classes: dict[str, tuple[str, ...]], console: Console
) -> tuple[Condition, ...]:
    """The bundle once more, in noise and in rooms."""
    from train_host.corpora import find_sounds
    from train_host.evaluate.measure import emotion_counts, probabilities
    from train_host.evaluate.noise import surroundings
    from train_host.scoring import hear
    from train_host.train import progress_bar

    clips = split.test
    conditions = []
    for around in surroundings(find_sounds(Path(str(order.corpora)))):
        with progress_bar(console) as progress:
            bar = progress.add_task(around.name, total=len(clips))
            found = []
            for one in hear(bundle, [clip.path for clip in clips], order.n_processes, around):
                found.append(one)
                progress.advance(bar)
        probs = probabilities(found)
        is_room = around.snr_db is None
        mixes = recipe.training.views > 0 and (not is_room or recipe.training.changes == "everything")
        counts: dict[bool, dict[str, tuple]] = {True: {}, False: {}}
        for is_familiar in (True, False):
            for corpus, own_classes in classes.items():
                own = [
                    i
                    for i, clip in enumerate(clips)
                    if clip.corpus == corpus and (mixes and around.chosen(clip.path).is_free) == is_familiar
                ]
                counts[is_familiar][corpus] = emotion_counts(
                    [clips[i] for i in own], probs[own], own_classes, own_classes
                )
        names = {
            is_familiar: tuple(sorted(s.path.stem for s in around.sounds if (mixes and s.is_free) == is_familiar))
            for is_familiar in (True, False)
        }
        conditions.append(Condition(around.name, around.snr_db, counts[True], counts[False], names[True], names[False]))
    return tuple(conditions)


def _noises_alone(order: Order, recipe: Recipe, bundle: Path, console: Console) -> tuple[NoiseHeard, ...]:
    """Noises by themselves, as a board hears them when nobody speaks."""
    from train_host.corpora import find_sounds
    from train_host.scoring import hear_noises
    from train_host.train import progress_bar

    noises = [sound for sound in find_sounds(Path(str(order.corpora))) if sound.kind == "noise"]
    training = recipe.training
    with progress_bar(console) as progress:
        bar = progress.add_task("noise alone", total=len(noises))
        return hear_noises(
            bundle,
            noises,
            lambda: progress.advance(bar),
            order.n_processes,
            are_familiar=training.views > 0 or training.n_scenes > 0,
        )


def _summed(matrices):
    import numpy as np

    return np.sum(list(matrices), axis=0, dtype=np.int64)


def _mean_uar(counts) -> float:
    return sum(map(uar, counts)) / len(counts)


def _end_with_parent() -> None:
    """Ends this process, and all that it has started, when the one at the other end of standard input is gone."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        try:
            os.killpg(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)  # where it is not the first of its session

    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=wait, name="parent", daemon=True).start()


def main(argument: str) -> int:
    """Exit status: 0 done, 1 could not, 130 interrupted. The last line on standard output says why."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _end_with_parent()
    console = Console(highlight=False, soft_wrap=True)
    try:
        perform(msgspec.json.decode(argument, type=Order), console)
    except TonelightError as error:
        print(error)
        return 1
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed; pip install 'tonelight[train]'")
        return 1
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
