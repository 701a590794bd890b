"""`tonelight-train`: arguments in, exit status out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from edge import __version__
from edge.errors import TonelightError
from edge.sources.libraries import quiet_stderr
from edge.usage import HelpFormatter

EXAMPLES = """\
from recordings to a light:
  export TONELIGHT_CORPORA=~/corpora             # folders of RAVDESS, TESS, SAVEE, CREMA-D, ... as they were unpacked
  tonelight-train data summary                   # what is there
  tonelight-train train --recipe tonelight       # a run folder under runs/; call it again to go on after a break
  tonelight-train export runs/tonelight-0        # models/tonelight-0.2.0, as 0.1.0 comes with tonelight
  tonelight listen --bundle models/tonelight-0.2.0 recording.wav
"""
TRAIN_EXAMPLES = """\
examples:
  tonelight-train train                                the default recipe, on all corpora, into runs/tonelight-0
  tonelight-train train --recipe cnn --only ravdess    another one, on one corpus
  tonelight-train train --steps 100 --run runs/trial   does everything work? some minutes
  tensorboard --logdir runs                            watch it; runs/tonelight-0/curves.png is the same as a picture
"""
EXPORT_EXAMPLES = """\
examples:
  tonelight-train export runs/tonelight-0                    models/tonelight-0.2.0, where there is a 0.1.0
  tonelight-train export runs/tonelight-0 --no-figures       without measuring it: no corpora are needed
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0 done, 1 could not, 2 wrong usage, 130 interrupted."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow
    try:
        args = _parser().parse_args(arguments)
        return int(args.run(args))
    except TonelightError as error:
        print(f"tonelight-train: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        # the device side installs this command, too, but not what it needs
        if not error.name or error.name.partition(".")[0] in ("edge", "train_host"):
            raise
        print(f"tonelight-train: {error.name} is not installed; pip install 'tonelight[train]'", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"tonelight-train: {where}{error.strerror or error}; name another place, or mend this one", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("tonelight-train: interrupted; an interrupted `train` goes on when it is given again", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    from train_host import adapt_command, compare, deploy_command, signing_command
    from train_host.corpora import command as data_command
    from train_host.evaluate import command as evaluate_command

    parser = argparse.ArgumentParser(
        prog="tonelight-train",
        description="Train the model of tonelight on recordings of emotional speech, and make bundles for boards.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tonelight {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    data_command.add_arguments(commands)
    _add_train(commands)
    _add_export(commands)
    adapt_command.add_arguments(commands)
    evaluate_command.add_arguments(commands)
    compare.add_arguments(commands)
    signing_command.add_arguments(commands)
    deploy_command.add_arguments(commands)
    return parser


def _add_train(commands) -> None:
    from train_host.corpora.command import add_corpora_argument
    from train_host.recipes import RECIPES

    recipes = "recipes:\n" + "\n".join(f"  {recipe.name:<12} {recipe.summary}" for recipe in RECIPES.values())
    parser = commands.add_parser(
        "train",
        help="train a recipe into a run folder",
        description="Train a recipe into a run folder: weights, history, curves, TensorBoard. An interrupted training "
        "goes on when the same command is given again.",
        epilog=f"{recipes}\n\n{TRAIN_EXAMPLES}",
        formatter_class=HelpFormatter,
    )
    add_corpora_argument(parser)
    parser.add_argument("--recipe", default="tonelight", metavar="R", help="which recipe (default: tonelight)")
    parser.add_argument("--seed", type=_seed, default=0, help="of the weights and of every random choice (default: 0)")
    parser.add_argument("--run", type=Path, dest="folder", metavar="DIR", help="run folder (default: runs/RECIPE-SEED)")
    parser.add_argument("--only", nargs="+", metavar="CORPUS", help="use these corpora only (default: all but ASED)")
    parser.add_argument("--steps", type=_positive, metavar="N", help="instead of the recipe's number of steps")
    parser.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> int:
    from rich.console import Console

    from train_host.folds import everything
    from train_host.recipes import find_recipe

    console = Console(highlight=False)
    recipe = find_recipe(args.recipe)
    clips, sounds = _recordings(args)
    split = everything(clips)
    run = args.folder or Path("runs") / f"{recipe.name}-{args.seed}"

    from tempfile import TemporaryDirectory

    from train_host.convert import convert

    _import_keras()
    from train_host.train import WEIGHTS, train

    if not (run / WEIGHTS).exists():
        # a training of hours must not end in a network that no board can run
        console.print(f"trying the conversion of an untrained {recipe.name} …")
        with TemporaryDirectory(prefix="tonelight-twin-") as folder:
            convert(recipe, None, recipe.quantization, None, Path(folder))
    train(run, recipe, split, sounds, args.seed, console, steps=args.steps)
    console.print(f"next: tonelight-train export {run}")
    return 0


def _add_export(commands) -> None:
    from train_host.convert import QUANTIZATIONS
    from train_host.corpora.command import add_corpora_argument

    parser = commands.add_parser(
        "export",
        help="make a bundle of a finished run",
        description="Convert a finished run to quantized TFLite, compare it with the trained model on real features, "
        "measure it on the corpora through the device's pipeline, and write the bundle with its card.",
        epilog=EXPORT_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    add_corpora_argument(parser)
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder of `tonelight-train train`")
    parser.add_argument("--quantize", choices=QUANTIZATIONS, help="default: the recipe's, mostly dynamic (int8)")
    parser.add_argument("--name", help="of the bundle (default: the recipe's)")
    parser.add_argument("--version", help="of the bundle (default: a minor version above the newest in --out)")
    parser.add_argument("--out", type=Path, default=Path("models"), metavar="DIR", help="where to (default: models)")
    parser.add_argument("--no-figures", action="store_true", help="do not measure on the corpora; the card says so")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="results of `evaluate`: their figures of this recipe go on the card"
    )
    parser.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> int:
    from rich.console import Console

    _import_keras()
    from train_host.corpora import find_sounds
    from train_host.corpora.command import corpora_folder
    from train_host.export import export, next_version
    from train_host.train import load_run

    info, _ = load_run(args.folder)
    name = args.name or info.recipe
    args.only = list(info.corpora)
    clips = None if args.no_figures else _recordings(args)[0]
    noises = [] if args.no_figures else [s for s in find_sounds(corpora_folder(args)) if s.kind == "noise"]
    bundle = export(
        args.folder,
        args.out,
        name=name,
        version=args.version or next_version(args.out, name),
        quantization=args.quantize,
        clips=clips,
        noises=noises,
        figures=[] if args.results is None else _figures_of(info.recipe, args.results),
        console=Console(highlight=False),
    )
    print(f"bundle {bundle}\nnext: tonelight listen --bundle {bundle} FILE")
    return 0


def _figures_of(recipe: str, results: Path):
    from train_host.errors import ExportError
    from train_host.evaluate import adaptation
    from train_host.evaluate.result import load_all
    from train_host.goals import quoted
    from train_host.recipes import find_recipe
    from train_host.recipes.digest import recipe_digest

    digest = recipe_digest(find_recipe(recipe))
    found = quoted(load_all(results), adaptation.load_all(results), recipe, digest)
    if not found:
        raise ExportError(
            f"{results} holds no figures of the recipe {recipe} as it is now; run tonelight-train evaluate"
        )
    return found


def _import_keras() -> None:
    """Import Keras and touch its device once, in silence: TensorFlow greets past every setting of its own."""
    with quiet_stderr():
        import keras

        keras.ops.zeros(1)


NOT_FOR_WEIGHTS = ("ased",)
"""Corpora whose authors state no licence: for measuring, unless asked for by name."""


def _recordings(args: argparse.Namespace):
    """Clips and sounds of the corpora that the arguments choose."""
    from train_host.corpora import find_corpora
    from train_host.corpora.command import corpora_folder
    from train_host.dataset import training_sounds
    from train_host.errors import CorpusError

    root = corpora_folder(args)
    corpora = {corpus.name: corpus for corpus in find_corpora(root)}
    wanted = args.only or [name for name in corpora if name not in NOT_FOR_WEIGHTS]
    unknown = [name for name in wanted if name not in corpora]
    if unknown:
        raise CorpusError(f"{root} holds no corpus {', '.join(unknown)}; it holds {', '.join(corpora)}")
    return [clip for name in wanted for clip in corpora[name].clips], training_sounds(root)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {2**32 - 1}, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
