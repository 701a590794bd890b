"""The running of tasks: each in a process of its own, here or, through a Dask scheduler, on the machines of workers."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from train_host.evaluate.result import RESULT, load
from train_host.evaluate.work import LOG, Order

GRACE_S: Final = 30
"""What an interrupted task has to end in good order."""
POLL_S: Final = 0.2


class Running(Protocol):
    """A task that was handed over."""

    order: Order

    def progress(self) -> str:
        """How far it is, in words; empty where there is nothing to say yet."""

    def is_over(self) -> bool:
        """Whether it has ended, well or not."""

    def failure(self) -> str | None:
        """Why it could not be done; None where it is done. Only asked when it is over, and once."""


class Workers(Protocol):
    """Where tasks are run."""

    def n_places(self) -> int:
        """How many tasks may run at this moment. Raises EvaluationError where nothing can run any more."""

    def start(self, order: Order) -> Running:
        """Hand a task over."""

    def stop(self, running: Sequence[Running]) -> None:
        """Interrupt tasks and wait for their ends, `GRACE_S` at most: each is left at its last checkpoint."""


def run_tasks(orders: Sequence[Order], n_jobs: int, scheduler: str | None, console: Console) -> int:
    """Do the orders, `n_jobs` at a time on this machine, or as many as the workers of a scheduler take; the number of
    those that failed, each of which is told on the console. Raises EvaluationError where there is no scheduler at this
    address, or not any more."""
    if not orders:
        return 0
    with _workers(n_jobs, scheduler, Path(orders[0].out), console) as workers:
        return _run_all(orders, workers, console)


@contextmanager
def _workers(n_jobs: int, scheduler: str | None, out: Path, console: Console) -> Iterator[Workers]:
    if scheduler is None:
        yield ThisMachine(n_jobs)
        return
    from train_host.evaluate.cluster import Cluster

    with Cluster(scheduler, out, console) as cluster:
        yield cluster


def _run_all(orders: Sequence[Order], workers: Workers, console: Console) -> int:
    waiting, n_failed = list(orders), 0
    running: dict[Running, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        total = progress.add_task("tasks", total=len(orders))
        try:
            while waiting or running:
                n_places = workers.n_places()
                while waiting and len(running) < n_places:
                    one = workers.start(waiting.pop(0))
                    running[one] = progress.add_task(str(one.order.task), total=None)
                progress.update(total, description="tasks" if n_places else "tasks, waiting for a worker")
                time.sleep(POLL_S)
                for one, bar in list(running.items()):
                    if words := one.progress():
                        progress.update(bar, description=f"{one.order.task}: {words}")
                    if not one.is_over():
                        continue
                    failure = one.failure()
                    del running[one]
                    progress.remove_task(bar)
                    progress.advance(total)
                    n_failed += failure is not None
                    _tell(one.order, failure, console)
        finally:
            workers.stop(list(running))
    return n_failed


def _tell(order: Order, failure: str | None, console: Console) -> None:
    """Say that a task is done, or why not."""
    folder = order.task.folder(Path(order.out))
    if failure is None:
        figures = ""
        if order.score:
            result = load(folder / RESULT)
            figures = f": UAR {100 * result.uar:.1f}%, float {100 * result.uar_float:.1f}%"
        console.print(f"[green]done[/] {order.task}{figures}")
        return
    more = f" ({folder / LOG} has all it said)" if (folder / LOG).exists() else ""
    console.print(f"[red]failed[/] {order.task}: ", end="")
    console.print(f"{failure}{more}", markup=False)


# --- one task, one process --------------------------------------------------------------------------------------------


class Process:
    """The process of a task, with a log in the task's folder. It ends itself where this process dies before it."""

    def __init__(self, order: Order, environment: dict[str, str] | None = None) -> None:
        self.order = order
        self._folder = order.task.folder(Path(order.out))
        self._folder.mkdir(parents=True, exist_ok=True)
        # several trainings share a GPU: none may take all of its memory beforehand, which is what JAX does
        defaults = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONUNBUFFERED": "1"}
        with (self._folder / LOG).open("w") as log:
            # a session of its own: an interruption at the terminal reaches it through this process, once; and a pipe
            # that is never written to, whose end tells it that this process is gone
            self._process = subprocess.Popen(
                [sys.executable, "-m", "train_host.evaluate.work", msgspec.json.encode(order).decode()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**defaults, **(os.environ if environment is None else environment)},
                start_new_session=True,
            )

    def progress(self) -> str:
        """How far a training is, by what it has written last."""
        try:
            with (self._folder / "run" / "history.csv").open(newline="") as file:
                *_, last = csv.DictReader(file)
            return f"step {int(last['step'])}, UAR of validation {100 * float(last['val_uar']):.1f}%"
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def is_over(self) -> bool:
        return self._process.poll() is not None

    def failure(self) -> str | None:
        self.end()
        if self._process.returncode == 0:
            return None
        if self._process.returncode < 0:
            return f"its process was ended from outside (signal {-self._process.returncode}; out of memory?)"
        lines = [line for line in (self._folder / LOG).read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"

    def interrupt(self) -> None:
        """As Ctrl-C: it ends its own workers."""
        self._process.send_signal(signal.SIGINT)

    def end(self, grace_s: float = 0) -> None:
        """Leave nothing of it behind: what was killed could not end its own workers."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its session, which is its own
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


class ThisMachine:
    """Tasks on this machine, `n_jobs` at a time."""

    def __init__(self, n_jobs: int) -> None:
        self._n_jobs = n_jobs

    def n_places(self) -> int:
        return self._n_jobs

    def start(self, order: Order) -> Process:
        return Process(order)

    def stop(self, running: Sequence[Running]) -> None:
        processes = [one for one in running if isinstance(one, Process)]
        for one in processes:
            one.interrupt()
        deadline_s = time.monotonic() + GRACE_S
        for one in processes:
            one.end(max(0, deadline_s - time.monotonic()))
