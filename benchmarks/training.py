"""What training costs: features the first and the second time, a step, and how long it waits for its batch.

    python -m benchmarks.training [--corpora DIR] [--quick]

Writes docs/training.md. Takes clips evenly from all corpora that train, so that the measure is their mixture, and the
default recipe as `tonelight-train train` uses it: all processors, the GPU if Keras sees one (KERAS_BACKEND chooses).
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.common import table
from edge.errors import TonelightError

if TYPE_CHECKING:
    from rich.console import Console

    from train_host.batches import Batches
    from train_host.corpora.clip import Clip
    from train_host.recipes import Recipe
    from train_host.train import Data

OUT = Path(__file__).parents[1] / "docs" / "training.md"
ABOUT = """\
# What training costs

Made by `{command}`; nothing here is written by hand.

On {device}, {backend}. So many processes wanted a processor at a time, this one included (`uptime`'s load): {load}.
Times are on the clock, and longer the busier the machine is.
"""


def main() -> int:
    """Write the document."""
    from train_host.corpora.command import add_corpora_argument

    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    add_corpora_argument(parser)
    parser.add_argument("--quick", action="store_true", help="fewer clips and steps, and less certain")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="instead of docs/training.md")
    args = parser.parse_args()
    try:
        args.out.write_text(_document(args), encoding="utf-8")
    except TonelightError as error:
        print(f"benchmarks.training: {error}", file=sys.stderr)
        return 1
    print(args.out)
    return 0


def _document(args: argparse.Namespace) -> str:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from rich.console import Console

    from train_host.cli import NOT_FOR_WEIGHTS
    from train_host.corpora import find_corpora
    from train_host.corpora.command import corpora_folder
    from train_host.evaluate.work import training_device
    from train_host.folds import everything
    from train_host.recipes import RECIPES

    console = Console(file=io.StringIO())
    root = corpora_folder(args)
    clips = [clip for corpus in find_corpora(root) if corpus.name not in NOT_FOR_WEIGHTS for clip in corpus.clips]
    few = some(clips, 80 if args.quick else 400)
    recipe = RECIPES["tonelight"]
    # as many scenes for these clips as for all
    n_scenes = max(1, round(recipe.training.n_scenes * len(few) / len(clips)))
    recipe = replace(recipe, training=replace(recipe.training, n_scenes=n_scenes))
    load = f"{os.getloadavg()[0]:.1f} before the run, {{:.1f}} at its end, of {os.cpu_count()} cores"
    print(f"features of {len(few)} clips, twice ...", flush=True)
    split = everything(few)
    data, features = _features(split, recipe, root, console)
    print("steps ...", flush=True)
    steps = _steps(data, recipe, len(split.train), len(clips), 3 if args.quick else 7, 10 if args.quick else 25)
    backend, _, device = training_device().partition(", ")
    about = ABOUT.format(
        command="python -m benchmarks.training" + args.quick * " --quick",
        device=device,
        backend=f"Keras on {backend}",
        load=load.format(os.getloadavg()[0]),
    )
    return "\n".join([about, features, steps])


def some(clips: Sequence[Clip], n: int) -> list[Clip]:
    """About `n` of them, spread evenly over each corpus, in proportion to its size and two at the least."""
    chosen = []
    for corpus in sorted({clip.corpus for clip in clips}):
        own = sorted((clip for clip in clips if clip.corpus == corpus), key=lambda clip: clip.path)
        n_own = min(len(own), max(2, round(n * len(own) / len(clips))))
        chosen += [own[i * len(own) // n_own] for i in range(n_own)]
    return chosen


def _features(split, recipe: Recipe, root: Path, console: Console) -> tuple[Data, str]:
    """What is trained on, and the section on how it is extracted into an empty cache, and read from it."""
    from train_host.dataset import training_sounds
    from train_host.train import load_data

    sounds = training_sounds(root)
    took_s = []
    with tempfile.TemporaryDirectory(prefix="tonelight-features-") as cache:
        for _ in range(2):
            began_s = time.perf_counter()
            data = load_data(split, recipe, sounds, console, Path(cache))
            took_s.append(time.perf_counter() - began_s)
        size_mb = sum(path.stat().st_size for path in Path(cache).iterdir()) / 1e6
    examples = [*data.train, *data.val]
    hours = sum(len(example.features) for example in examples) * recipe.features.hop_ms / 3.6e6
    text = "## Features, in parallel and from the cache\n\n"
    text += (
        f"{len(split.train) + len(split.val)} clips, evenly from the corpora "
        f"{', '.join(sorted({clip.corpus for clip in (*split.train, *split.val)}))}; each as it is, those that train "
        f"augmented besides ({recipe.training.views} view), and their share of the scenes without speech: "
        f"{hours:.2f} hours of speech in {len(examples)} segments, {size_mb:.0f} MB in the cache, {os.cpu_count()} "
        "processes.\n\n"
    )
    first_s, second_s = took_s
    rows = [
        ["first run: everything is computed", f"{first_s:.1f} s", "1x"],
        ["second run: everything is read", f"{second_s:.2f} s", f"{first_s / second_s:.0f}x faster"],
    ]
    return data, text + table(["", "time", "against the first"], rows)


def _steps(data: Data, recipe: Recipe, n_clips: int, n_all: int, n_rounds: int, n_steps: int) -> str:
    """The section on steps: the same network on batches that are made, and on one that is there already, in turn."""
    import keras

    from train_host.ahead import N_THREADS, BatchesAhead
    from train_host.batches import Batches, fit_normalizer
    from train_host.devices import shared_batches
    from train_host.train import compile_model

    keras.utils.set_random_seed(0)
    shared = shared_batches(recipe.training.batch_size)
    with shared:
        model = recipe.build(recipe.features.n_features)
        compile_model(model, recipe, 1000)
    batches = Batches(data.train, recipe, fit_normalizer(data.train, recipe), 0, n_steps, data.scenes)
    ready = _one_batch(batches, n_steps)
    taken: dict[str, list[float]] = {"made": [], "ready": [], "waited": []}

    def step_s(batches: keras.utils.PyDataset) -> float:
        began_s = time.perf_counter()
        with shared:
            model.fit(batches, steps_per_epoch=n_steps, epochs=1, shuffle=False, verbose=0)
        return (time.perf_counter() - began_s) / n_steps

    with BatchesAhead(batches, n_steps * (n_rounds + 1)) as ahead:
        for number in range(n_rounds + 1):
            ahead.begin(number * n_steps, n_steps)
            waited_s = ahead.waited_s
            taken["made"].append(step_s(ahead))
            taken["waited"].append((ahead.waited_s - waited_s) / n_steps)
            taken["ready"].append(step_s(ready))
    began_s = time.perf_counter()
    for step in range(n_steps):
        batches[step]
    alone_s = (time.perf_counter() - began_s) / n_steps
    # the first round compiles
    with_s, without_s, waited_s = (median(taken[name][1:]) for name in ("made", "ready", "waited"))
    rows = [
        ["step, its batch made ahead", f"{1000 * with_s:.1f} ms"],
        ["of that, waited for the batch at the most", f"{1000 * waited_s:.1f} ms, {100 * waited_s / with_s:.0f}%"],
        ["step, with a batch that is there", f"{1000 * without_s:.1f} ms"],
        ["making a batch, in one thread and beside nothing else", f"{1000 * alone_s:.1f} ms"],
    ]
    # as many segments as these clips give, each of which is there as it is and in its views
    n_examples = len(data.train) / n_clips * n_all
    n_epoch = max(1, round(n_examples / recipe.training.batch_size))
    rows.append([
        f"as many examples as {n_all} clips of all corpora give ({n_examples:.0f}: {n_epoch} steps)",
        f"{n_epoch * with_s:.0f} s",
    ])  # fmt: skip
    n_whole = recipe.training.steps
    rows.append([f"a whole training: {n_whole} steps", f"{n_whole * with_s / 60:.0f} min"])
    text = "## Steps, from mixed corpora\n\n"
    text += (
        f"Batches of {recipe.training.batch_size} examples of {recipe.training.crop_frames} frames, drawn from all "
        f"corpora and changed anew each time. {n_rounds} rounds of {n_steps} steps of each kind, in turn. Batches "
        f"are made ahead, {N_THREADS} at a time; where the network computes on the processor, that costs it time.\n\n"
    )
    return text + table(["", "time"], rows)


def _one_batch(batches: Batches, n_steps: int):
    """A data set of one batch over and over."""
    import keras

    batch = batches[0]

    class Ready(keras.utils.PyDataset):
        def __len__(self) -> int:
            return n_steps

        def __getitem__(self, index: int):
            return batch

    return Ready()


if __name__ == "__main__":
    sys.exit(main())
