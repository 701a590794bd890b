"""`tonelight-train data summary|verify`: which corpora are there, and are they whole."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge.usage import HelpFormatter
from train_host.corpora.clip import Problem
from train_host.corpora.find import Found, scan
from train_host.corpora.noises import find_sounds
from train_host.corpora.summary import summarize, tables
from train_host.corpora.verify import verify
from train_host.errors import CorpusError

ENV = "TONELIGHT_CORPORA"


def add_arguments(subparsers: Any) -> None:
    """Adds the command `data` to the subparsers of `tonelight-train`; the parsed `args.run` is `run`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "data",
        help="which corpora are there, complete or not",
        description="Which corpora are there: clips, speakers, hours, emotions, terms of use; or what is damaged, "
        "missing or there twice, by name.",
        epilog="examples:\n  tonelight-train data summary --corpora ~/corpora\n  tonelight-train data verify",
        formatter_class=HelpFormatter,
    )
    add_corpora_argument(parser)
    parser.add_argument("what", choices=("summary", "verify"), help="figures only, or every recording read and checked")
    parser.set_defaults(run=run)


def add_corpora_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--corpora DIR`, for every command that reads corpora."""
    parser.add_argument("--corpora", type=Path, metavar="DIR", help=f"folder with the corpora (default: {ENV})")


def corpora_folder(args: argparse.Namespace) -> Path:
    """The folder that `--corpora` or the environment names. Raises CorpusError where neither does."""
    folder: Path | None = args.corpora
    if folder is None and os.environ.get(ENV):
        folder = Path(os.environ[ENV])
    if folder is None:
        raise CorpusError(f"no corpora: name their folder by --corpora DIR or by the environment variable {ENV}")
    return folder


def run(args: argparse.Namespace) -> int:
    """Exit status: 1 where `verify` found something wrong, else 0. Raises CorpusError where there is nothing to see."""
    console = Console(highlight=False, soft_wrap=True)
    root = corpora_folder(args)
    found = scan(root)
    return _summary(console, found, root) if args.what == "summary" else _verify(console, found, root)


def _summary(console: Console, found: Found, root: Path) -> int:
    for table in tables(summarize(found.corpora)):
        console.print(table, soft_wrap=False)
        console.print()
    sounds = Counter(sound.kind for sound in find_sounds(root))
    if sounds:
        console.print(f"to augment with: {sounds['noise']} noises, {sounds['rir']} room responses")
    from train_host.evaluate.tasks import all_splits

    protocols = all_splits({corpus.name for corpus in found.corpora if corpus.clips})
    if protocols:
        each = ", ".join(f"{name} ({len(splits)})" for name, splits in protocols.items())
        console.print(f"protocols of `evaluate`, and their trainings for each seed: {each}", markup=False)
    for corpus in found.corpora:
        for reason, n in Counter(_short(one.reason) for one in corpus.left_out).items():
            console.print(f"{corpus.name}: {n} left out: {reason}", markup=False)
        if corpus.problems:
            console.print(f"{corpus.name}: {len(corpus.problems)} not usable; `data verify` names them", markup=False)
    if found.unrecognised:
        console.print(f"{len(found.unrecognised)} recordings belong to no corpus; `data verify` names them")
    return 0


def _short(reason: str) -> str:
    return "second copies" if reason.startswith("second copy") else reason


def _verify(console: Console, found: Found, root: Path) -> int:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    n_wrong = 0
    # the bar is for people; a log or a pipe gets the findings only
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        for corpus in found.corpora:
            task = progress.add_task(corpus.name, total=len(corpus.clips))
            report = verify(corpus, on_clip=lambda task=task: progress.advance(task))  # type: ignore[misc]
            progress.remove_task(task)
            n_wrong += len(report.problems)
            state = f"{len(report.problems)} problems" if report.problems else "ok"
            console.print(
                f"{corpus.name}: {len(corpus.clips)} clips, {report.seconds / 3600:.2f} h: {state}", markup=False
            )
            _print(console, "  ", report.problems, root)
            _print(console, "  known of the original, no fault of this copy: ", report.notes, root)
            for one in corpus.left_out:
                console.print(f"  left out: {_relative(one.path, root)}: {one.reason}", markup=False)
    _print(console, "", found.unrecognised, root)
    missing = [sound.path for sound in find_sounds(root) if not sound.path.is_file()]
    _print(console, "", [Problem("missing", path, "listed, but not there") for path in missing], root)
    return 1 if n_wrong or found.unrecognised or missing else 0


def _print(console: Console, start: str, problems: Iterable[Problem], root: Path) -> None:
    for problem in problems:
        path = f"{_relative(problem.path, root)}: " if problem.path else ""
        console.print(f"{start}{problem.kind}: {path}{problem.text}", markup=False)


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path
