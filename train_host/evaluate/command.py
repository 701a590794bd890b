"""`tonelight-train evaluate`: the tasks of protocols, each in a process of its own, and the tables in the end."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Final

from edge.errors import TonelightError
from edge.usage import HelpFormatter
from train_host.errors import EvaluationError

PHASES: Final = ("features", "train", "score", "report")
DESCRIPTION: Final = """\
Trains a recipe on the training side of every fold, exports it, and runs the exported bundle over the tested recordings
by the device's own pipeline. Results are written as they come, to OUT/<recipe>/<split>/seed-<n>/result.json; what is
done is not done again, and an interrupted training goes on. In the end, the tables of all that is there.
"""
EPILOG: Final = """\
protocols: those of folds.json whose corpus is there, `unseen` (train without one corpus, test on all of it), `random`
(a split by clip, leaky, for comparison with figures from elsewhere); or one split, as ravdess_luna5/1 or unseen_savee.

train where there are no recordings (a machine with a GPU, KERAS_BACKEND=jax):
  tonelight-train evaluate --phase features --features DIR      # here; then copy DIR there
  tonelight-train evaluate --phase train --features DIR         # there; then copy results/ back
  tonelight-train evaluate --phase score                        # here
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the command `evaluate` to the subparsers of `tonelight-train`; the parsed `args.run` is `run`."""
    from train_host.corpora.command import add_corpora_argument

    parser: argparse.ArgumentParser = subparsers.add_parser(
        "evaluate",
        help="the tables of protocols: train, export and measure over folds and seeds",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add_corpora_argument(parser)
    parser.add_argument("--protocol", nargs="+", default=[], metavar="P", help="which (default: all that can be)")
    parser.add_argument("--recipe", nargs="+", default=["tonelight"], metavar="R", help="which (default: tonelight)")
    parser.add_argument("--seeds", type=_positive, default=5, metavar="N", help="seeds 0 to N-1 (default: 5)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=_positive, default=1, metavar="N", help="processes at a time (default: 1)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="run the tasks on the workers of this Dask scheduler, "
                       "tcp://HOST:PORT, instead of here (docs/workstation.md)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    parser.add_argument("--noise", action="store_true", help="measure in noise and in rooms, too")
    parser.add_argument("--adapt", action="store_true", help="measure with a few clips of each tested speaker, too")
    parser.add_argument("--steps", type=_positive, metavar="N", help="a trial with other than the recipe's steps")
    parser.add_argument("--phase", choices=PHASES, help="only this one (default: train, score and report)")
    parser.add_argument("--features", type=Path, metavar="DIR", help="where the phase `features` writes them to, and "
                        "the phase `train` takes them from, without recordings")  # fmt: skip
    parser.add_argument("--report", type=Path, metavar="FILE", help="the tables (default: OUT/accuracy.md)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit status: 1 where a task failed, else 0. Raises TonelightError where nothing can be begun."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if args.phase == "report":
        return _report(args, console)
    if args.features is not None and args.phase not in ("features", "train"):
        raise EvaluationError("--features goes with --phase features or --phase train: measuring needs the recordings")
    if args.phase == "features":
        return _features(args, console)
    n_failed = _tasks(args, console)
    if args.phase != "train":
        _report(args, console)
    return 1 if n_failed else 0


def _report(args: argparse.Namespace, console: Any) -> int:
    from train_host.evaluate import adaptation
    from train_host.evaluate.result import load_all
    from train_host.report import write

    path = args.report or args.out / "accuracy.md"
    write(load_all(args.out), path, adaptation.load_all(args.out))
    console.print(f"tables: {path}", markup=False)
    return 0


def _features(args: argparse.Namespace, console: Any) -> int:
    from train_host.cli import NOT_FOR_WEIGHTS
    from train_host.corpora import find_corpora
    from train_host.corpora.command import corpora_folder
    from train_host.dataset import training_sounds
    from train_host.evaluate import features
    from train_host.recipes import find_recipe

    if args.features is None:
        raise EvaluationError("--phase features needs a folder to write to: --features DIR")
    root = corpora_folder(args)
    clips = [clip for corpus in find_corpora(root) for clip in corpus.clips]
    training = [clip for clip in clips if clip.corpus not in NOT_FOR_WEIGHTS]
    tested = [clip for clip in clips if clip.corpus in NOT_FOR_WEIGHTS]
    for name in args.recipe:
        paths = features.write(args.features, root, training, tested, find_recipe(name), training_sounds(root), console)
        n_bytes = sum(path.stat().st_size for path in paths)
        console.print(f"{name}: {len(paths)} files, {n_bytes / 2**20:.0f} MiB in {args.features / name}", markup=False)
    return 0


# --- tasks ------------------------------------------------------------------------------------------------------------


def _tasks(args: argparse.Namespace, console: Any) -> int:
    """Run what is left to do; the number of tasks that failed."""
    from train_host.corpora import find_corpora, find_sounds
    from train_host.corpora.command import corpora_folder
    from train_host.evaluate.engine import run_tasks
    from train_host.evaluate.tasks import find_tasks
    from train_host.evaluate.work import Order, is_done
    from train_host.recipes import find_recipe
    from train_host.recipes.digest import recipe_digest

    root = None if args.features is not None else corpora_folder(args)
    if root is not None:
        corpora = {corpus.name for corpus in find_corpora(root) if corpus.clips}
    else:
        from train_host.evaluate.features import read_clips

        corpora = {clip.corpus for name in args.recipe for clip in read_clips(args.features, find_recipe(name))}
    if args.noise and root is not None and not find_sounds(root):
        raise EvaluationError(f"--noise: {root} has no noise_manifest.csv that lists noises and rooms; add it")
    tasks = find_tasks(args.protocol, args.recipe, args.seeds, corpora, args.steps)
    phases = {"train": args.phase in (None, "train"), "score": args.phase in (None, "score"), "noise": args.noise}
    phases["adapt"] = args.adapt
    args.out.mkdir(parents=True, exist_ok=True)
    # results may be committed, what they were made with is large
    (args.out / ".gitignore").write_text("run/\nbundle/\ntraining.json\nlog.txt\n.*\n!.gitignore\n")
    orders, n_failed = [], 0
    for task in tasks:
        try:
            if is_done(task, args.out, **phases):
                continue
        except TonelightError as error:
            n_failed += 1
            console.print(f"[red]failed[/] {task}: ", end="")
            console.print(str(error), markup=False)
            continue
        orders.append(
            Order(
                task=task,
                out=str(args.out),
                corpora=None if root is None else str(root),
                features=None if args.features is None else str(args.features),
                n_processes=max(1, (os.cpu_count() or 1) // args.jobs),
                digest=recipe_digest(find_recipe(task.recipe)),
                **phases,
            )
        )
    console.print(f"{len(tasks)} tasks, {len(tasks) - len(orders) - n_failed} of them done before")
    return n_failed + run_tasks(orders, args.jobs, args.scheduler, console)


def _positive(text: str) -> int:
    from train_host.cli import _positive

    return _positive(text)
