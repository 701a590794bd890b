"""What training costs: features the first and the second time, a step, and how long it waits for its batch.

    python -m benchmarks.training [--corpora DIR] [--quick]

Takes clips evenly from all corpora that train, so that the measure is their mixture, and the default recipe as
`tonelight-train train` uses it: all processors, the GPU if Keras sees one (KERAS_BACKEND chooses). Leaves its figures
in docs/training, one file for each backend with and without a GPU, and writes docs/training.md from all that are there:
bring the file of another machine, and how many times as fast it is stands in the table.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks.common import table
from edge.errors import TonelightError

if TYPE_CHECKING:
    from rich.console import Console

    from train_host.batches import Batches
    from train_host.corpora.clip import Clip
    from train_host.recipes import Recipe
    from train_host.train import Data

OUT: Final = Path(__file__).parents[1] / "docs" / "training.md"
HEAD: Final = """\
# What training costs

Made by `python -m benchmarks.training` on each of these machines; nothing here is written by hand.

{machines}

Load is how many processes wanted a processor, this one included (`uptime`), before the run and at its end. Times are
on the clock, and longer the busier a machine is.
"""
FEATURES: Final = """\
## Features, in parallel and from the cache

{n_clips} clips, evenly from the corpora {corpora}; each as it is, those that train augmented besides ({n_views} view),
and their share of the scenes without speech: {hours:.2f} hours of speech in {n_segments} segments, {cache_mb:.0f} MB in
the cache.
"""
STEPS: Final = """\
## Steps, from mixed corpora

Batches of {batch_size} examples of {crop_frames} frames, drawn from all corpora and changed anew each time. {n_rounds}
rounds of {n_steps} steps of each kind, in turn. Batches are made ahead, by half of the processors and eight at the
most; where the network computes on the processor, that costs it time. A GPU is kept busy where its step takes longer
than a batch does that is made ahead, for nobody.
"""
NO_GPU: Final = """\
**On a GPU: not measured**, for none was at hand. `python -m benchmarks.training` on a machine with one adds its column,
tells whether cuDNN computed the LSTM, and how many times faster a step is.
"""


def main() -> int:
    """Measure here, and write the document of all that was measured."""
    from train_host.corpora.command import add_corpora_argument

    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    add_corpora_argument(parser)
    parser.add_argument("--quick", action="store_true", help="fewer clips and steps, and less certain")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="instead of docs/training.md")
    args = parser.parse_args()
    folder = args.out.with_suffix("")
    try:
        figures = _measure(args)
    except TonelightError as error:
        print(f"benchmarks.training: {error}", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{figures['backend']}-{'gpu' if figures['is_gpu'] else 'cpu'}.json"
    (folder / name).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    args.out.write_text(
        document([json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]),
        encoding="utf-8",
    )
    print(args.out)
    return 0


def document(measured: Sequence[dict[str, Any]]) -> str:
    """The document from the figures of at least one machine; ratios are against the first without a GPU."""
    names = [f"{one['device']}, {one['backend']}" for one in measured]
    machines = "\n".join(
        f"- {name}: load {one['load'][0]:.1f} and {one['load'][1]:.1f}{', --quick' * one['is_quick']}"
        for name, one in zip(names, measured, strict=True)
    )
    plain = next((one for one in measured if not one["is_gpu"]), None)

    def row(what: str, say: Any) -> list[str]:
        return [what, *map(say, measured)]

    def against(one: dict[str, Any]) -> str:
        return f"{plain['step_s'] / one['step_s']:.1f}x as fast" if plain else "–"

    features = [
        row("first run: everything is computed", lambda one: f"{one['first_s']:.1f} s"),
        row(
            "second run: everything is read",
            lambda one: f"{one['second_s']:.2f} s, {one['first_s'] / one['second_s']:.0f}x as fast",
        ),
    ]
    first = measured[0]
    all_examples = f"as many examples as {first['n_all']} clips of all corpora give ({first['n_epoch']} steps)"
    steps = [
        row("the LSTM is computed by", lambda one: "cuDNN" if one["is_cudnn"] else "Keras' own loop"),
        row("step, its batch made ahead", lambda one: _ms(one["step_s"])),
        row(f"the same against {names[measured.index(plain)] if plain else 'a processor'}", against),
        row(
            "of that, waited for the batch at the most",
            lambda one: f"{_ms(one['waited_s'])}, {100 * one['waited_s'] / one['step_s']:.0f}%",
        ),
        row("step, with a batch that is there", lambda one: _ms(one["ready_s"])),
        row("a batch made ahead, for nobody", lambda one: f"{_ms(one['ahead_s'])}, {one['n_threads']} at a time"),
        row("a batch, in one thread and beside nothing else", lambda one: _ms(one["batch_s"])),
        row(all_examples, lambda one: f"{one['n_epoch'] * one['step_s']:.0f} s"),
        row(
            f"a whole training: {first['n_whole']} steps", lambda one: f"{one['n_whole'] * one['step_s'] / 60:.0f} min"
        ),
    ]
    return "\n".join([
        HEAD.format(machines=machines),
        FEATURES.format(**first),
        table(["", *names], features),
        STEPS.format(**first),
        table(["", *names], steps),
        *([] if any(one["is_gpu"] for one in measured) else [NO_GPU]),
    ])  # fmt: skip


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    """What `document` needs to know of this machine."""
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
    load = os.getloadavg()[0]
    print(f"features of {len(few)} clips, twice ...", flush=True)
    split = everything(few)
    data, features = _features(split, recipe, root, console)
    print("steps ...", flush=True)
    steps = _steps(data, recipe, len(split.train), len(clips), 3 if args.quick else 7, 10 if args.quick else 25)
    backend, _, device = training_device().partition(", ")
    about = {"backend": backend, "device": device, "is_quick": args.quick, "load": [load, os.getloadavg()[0]]}
    return about | features | steps


def some(clips: Sequence[Clip], n: int) -> list[Clip]:
    """About `n` of them, spread evenly over each corpus, in proportion to its size and two at the least."""
    chosen = []
    for corpus in sorted({clip.corpus for clip in clips}):
        own = sorted((clip for clip in clips if clip.corpus == corpus), key=lambda clip: clip.path)
        n_own = min(len(own), max(2, round(n * len(own) / len(clips))))
        chosen += [own[i * len(own) // n_own] for i in range(n_own)]
    return chosen


def _features(split, recipe: Recipe, root: Path, console: Console) -> tuple[Data, dict[str, Any]]:
    """What is trained on, and how long it took to extract it into an empty cache, and to read it from there."""
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
    return data, {
        "n_clips": len(split.train) + len(split.val),
        "corpora": ", ".join(sorted({clip.corpus for clip in (*split.train, *split.val)})),
        "n_views": recipe.training.views,
        "hours": sum(len(example.features) for example in examples) * recipe.features.hop_ms / 3.6e6,
        "n_segments": len(examples),
        "cache_mb": size_mb,
        "first_s": took_s[0],
        "second_s": took_s[1],
    }


def _steps(data: Data, recipe: Recipe, n_clips: int, n_all: int, n_rounds: int, n_steps: int) -> dict[str, Any]:
    """What steps take: the same network on batches that are made, and on one that is there already, in turn."""
    import keras

    from train_host.ahead import N_THREADS, BatchesAhead
    from train_host.batches import Batches, fit_normalizer
    from train_host.devices import shared_batches, uses_cudnn
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
    with BatchesAhead(batches, n_steps) as ahead:
        ahead[0]  # from here on all threads are at it
        began_s = time.perf_counter()
        for step in range(1, n_steps):
            ahead[step]
        ahead_s = (time.perf_counter() - began_s) / (n_steps - 1)
    # the first round compiles
    step_s, ready_s, waited_s = (median(taken[name][1:]) for name in ("made", "ready", "waited"))
    # as many segments as these clips give, each of which is there as it is and in its views
    n_examples = len(data.train) / n_clips * n_all
    return {
        "is_gpu": not all(device.startswith("cpu") for device in keras.distribution.list_devices()),
        "is_cudnn": uses_cudnn(model, batches[0][0]),
        "batch_size": recipe.training.batch_size,
        "crop_frames": recipe.training.crop_frames,
        "n_rounds": n_rounds,
        "n_steps": n_steps,
        "n_threads": N_THREADS,
        "step_s": step_s,
        "waited_s": waited_s,
        "ready_s": ready_s,
        "batch_s": alone_s,
        "ahead_s": ahead_s,
        "n_all": n_all,
        "n_epoch": max(1, round(n_examples / recipe.training.batch_size)),
        "n_whole": recipe.training.steps,
    }


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
