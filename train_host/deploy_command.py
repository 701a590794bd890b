"""`tonelight-train deploy`: which boards, what is shown meanwhile, and what is said in the end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from edge.usage import HelpFormatter
from train_host.errors import DeployError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from train_host.deploy import Result
    from train_host.deploy_ssh import Board

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DESCRIPTION: Final = """\
Brings a signed bundle to boards over the system's ssh: copied, verified and tried on the board, taken up by its
service, and watched; a board that is not well with it goes back. The first board goes alone, the others follow when it
hears sound with it. Calling it again goes on where it ended; a board that has the bundle is left alone.
"""
EPILOG: Final = """\
an inventory (boards.toml):
  [boards.kitchen]            # all of it may be left out
  host = "kitchen.local"      # name, address, or Host of your ssh configuration; default: the board's name
  user = "pi"
  port = 22
  sudo = true                 # false: tonelight there belongs to this user, not to root

examples:
  tonelight-train deploy models/tonelight-0.2.0 pi@kitchen.local
  tonelight-train deploy models/tonelight-0.2.0 --inventory boards.toml
  tonelight-train deploy models/tonelight-0.2.0 kitchen hall --inventory boards.toml
"""


class BoardEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A board in an inventory."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    sudo: bool = True


class Inventory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of an inventory."""

    boards: dict[str, BoardEntry]


def add_arguments(commands: Any) -> None:
    """Add the command to the parser's `commands`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "deploy",
        help="bring a signed bundle to one board or many, over SSH",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of a bundle, signed (`sign`)")
    parser.add_argument(
        "boards", nargs="*", metavar="HOST", help="[USER@]HOST, or a board of the inventory (default: all of them)"
    )
    parser.add_argument("--inventory", type=Path, metavar="FILE", help="the boards there are, as TOML; see below")
    parser.add_argument("--canary", type=_count, default=1, metavar="N", help="so many boards go first (default: 1)")
    parser.add_argument("--parallel", type=_positive, default=4, metavar="N", help="boards at a time (default: 4)")
    parser.add_argument("--allow-downgrade", action="store_true", help="an older version than a board has, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, for other programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 when every board has the bundle, 1 otherwise, 130 after a second Ctrl-C.

    Raises:
        TonelightError: bundle, inventory or hosts cannot be used; no board was touched.
    """
    from rich.console import Console

    from train_host.deploy import GOOD, deploy, pack

    boards = choose(args.boards, args.inventory)
    package = pack(args.bundle)
    try:
        with Progress(Console(stderr=True, highlight=False, soft_wrap=True)) as view:
            results = deploy(
                package,
                boards,
                view,
                n_canaries=args.canary,
                n_parallel=args.parallel,
                allow_downgrade=args.allow_downgrade,
            )
    except KeyboardInterrupt:
        print(
            "tonelight-train: interrupted; boards that were begun look after themselves, and deploy goes on when it is "
            "given again",
            file=sys.stderr,
        )
        return 130
    is_ok = all(result.outcome in GOOD for result in results)
    if args.json:
        print(msgspec.json.encode({"ok": is_ok, "bundle": package.id, "boards": results}).decode())
    else:
        summarise(results, package.id, Console(highlight=False))
    return 0 if is_ok else 1


def choose(hosts: Sequence[str], inventory: Path | None) -> list[Board]:
    """The boards that are meant, in the order of `hosts`, or all of the inventory in its order.

    Raises:
        DeployError: there are none, one is named twice, or a name or the inventory cannot be used.
    """
    known = {} if inventory is None else read_inventory(inventory)
    if not hosts and not known:
        raise DeployError("no board is named; give [USER@]HOST, or --inventory FILE")
    boards = [known.get(host) or _board(host, BoardEntry(), "") for host in hosts] or list(known.values())
    seen: dict[tuple[str, str | None, int | None], Board] = {}
    for board in boards:
        same = seen.setdefault((board.host, board.user, board.port), board)
        if same is not board or sum(other is board for other in boards) > 1:
            raise DeployError(f"{board.name} and {same.name} are the same board; name it once")
    return boards


def read_inventory(path: Path) -> dict[str, Board]:
    """Boards by name, in the order of the file.

    Raises:
        DeployError: it cannot be read, is no TOML, or holds something else.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        entries = msgspec.convert(content, Inventory).boards
    except OSError as error:
        raise DeployError(
            f"{path} cannot be read: {error.strerror}; `tonelight-train deploy --help` shows an inventory"
        ) from None
    except UnicodeDecodeError:
        raise DeployError(f"{path} is not a text file in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise DeployError(f"{path}: not valid TOML: {' '.join(str(error).split())}") from None
    except msgspec.ValidationError as error:
        raise DeployError(f"{path}: {error}; `tonelight-train deploy --help` shows an inventory") from None
    if not entries:
        raise DeployError(f"{path} names no board; `tonelight-train deploy --help` shows an inventory")
    return {name: _board(name, entry, f"{path}: ") for name, entry in entries.items()}


def _board(name: str, entry: BoardEntry, where: str) -> Board:
    from train_host.deploy_ssh import Board

    user, at, host = (entry.host or name).rpartition("@")
    if at and entry.user is not None:
        raise DeployError(f"{where}{name}: the user is named twice, as user and in host; leave one out")
    board = Board(name, host, entry.user if not at else user, entry.port, entry.sudo)
    for what in (board.name, board.host, board.user):
        # what begins with a dash would be an option of ssh
        if what is not None and (not what or what[0] == "-" or not what.isprintable() or " " in what):
            raise DeployError(f"{where}{what!r} cannot be the name of a board, a host or a user; [USER@]HOST")
    return board


class Progress:
    """A line for each board at work on a terminal, and a line for each that is through, anywhere."""

    def __init__(self, console: Console) -> None:
        from rich.progress import Progress as Bars
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = console
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.fields[name]}", markup=False),
            TextColumn("{task.fields[step]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = Lock()

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def step(self, board: Board, step: str) -> None:
        """See `train_host.deploy.View`."""
        with self._lock:
            if board.name not in self._tasks:
                self._tasks[board.name] = self._bars.add_task("", total=None, name=board.name, step=step)
            self._bars.update(self._tasks[board.name], step=step)

    def result(self, result: Result) -> None:
        """See `train_host.deploy.View`."""
        with self._lock:
            if result.board in self._tasks:
                self._bars.remove_task(self._tasks.pop(result.board))
        if result.outcome != "untouched":
            self.note(f"{result.board}: {result.outcome}" + (f": {result.message}" if result.message else ""))

    def note(self, text: str) -> None:
        """See `train_host.deploy.View`."""
        self._console.print(text, markup=False)


def summarise(results: Sequence[Result], bundle_id: str, console: Console) -> None:
    """Print what became of each board as a table, and one line in the end."""
    from rich.table import Table
    from rich.text import Text

    from train_host.deploy import GOOD

    table = Table("board", "outcome", "before", "now", "seconds", box=None, pad_edge=False)
    for result in results:
        style = "green" if result.outcome in GOOD else "dim" if result.outcome == "untouched" else "bold red"
        seconds = f"{result.seconds:.0f}" if result.seconds else ""
        cells = (result.board, result.outcome, result.before or "", result.now or "", seconds)
        table.add_row(*(Text(cell, style=style if cell is cells[1] else "") for cell in cells))
    console.print(table)
    n_good = sum(result.outcome in GOOD for result in results)
    has_failure = any(result.outcome not in (*GOOD, "untouched") for result in results)
    rest = f"; {'mend what failed and ' * has_failure}deploy again: it goes on with the others"
    if n_good == len(results):
        rest = ""
    console.print(Text(f"{n_good} of {len(results)} boards have {bundle_id}{rest}"), soft_wrap=True)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)
