"""Tasks on the workers of a Dask scheduler: `Cluster` on the side of the command, `perform` on that of a worker.

A worker runs the same process for a task as the command itself would, with the same paths. Where the folder of results
is not the same on its machine, it works in a folder of its own, and the task's folder comes back whole. A task whose
worker dies is run again on another one.
"""

from __future__ import annotations

import io
import itertools
import logging
import os
import shutil
import socket
import time
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import dask
import msgspec
from distributed import Client, Future, KilledWorker, Reschedule, Status, get_worker
from rich.console import Console

from edge.errors import one_line
from train_host.errors import EvaluationError
from train_host.evaluate.engine import GRACE_S, POLL_S, Process, Running
from train_host.evaluate.work import LOG, TRAINING, Order

CONNECT_S: Final = 15
LOOK_S: Final = 2
"""Between two looks at which workers there are."""


class Outcome(msgspec.Struct, frozen=True):
    """What comes back from a worker: why the task failed, if it did, and a ZIP archive of its folder where that is not
    the one of the command (of the log alone, where it failed)."""

    failure: str | None
    archive: bytes = b""


class Said(msgspec.Struct):
    """What workers have said of one task while it runs. `n_begun`: how often it was begun."""

    name: str
    worker: str = ""
    n_begun: int = 0
    is_over: bool = False
    words: str = ""


# --- where the command is ---------------------------------------------------------------------------------------------


class Cluster:
    """The workers of the scheduler at `address`, inside a `with` block. Raises EvaluationError where there is none."""

    def __init__(self, address: str, out: Path, console: Console) -> None:
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of it is said here
        self._address, self._console = address, console
        _knock(address)
        try:
            self._client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except OSError as error:
            raise _nobody(address, error) from None
        self._token = f"tonelight-{uuid.uuid4().hex[:12]}"
        self._marker = out.absolute() / f".{self._token}"
        self._marker.touch()  # a worker that sees it has the same folder
        self._said: dict[str, Said] = {}
        self._client.subscribe_topic(self._token, self._hear)
        self._n_places, self._looked_s = 0, -float("inf")

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self._marker.unlink(missing_ok=True)
        self._client.close(timeout=CONNECT_S)

    def n_places(self) -> int:
        if time.monotonic() - self._looked_s >= LOOK_S:
            if self._client.status != "running":
                raise self.gone()
            try:
                self._n_places = sum(self._client.nthreads().values())
            except OSError:
                raise self.gone() from None
            self._looked_s = time.monotonic()
        return self._n_places

    def gone(self) -> EvaluationError:
        return EvaluationError(
            f"the Dask scheduler at {self._address} has gone; start it again, and give the same command again: what is "
            "done is not done again"
        )

    def start(self, order: Order) -> RemoteTask:
        key = f"{order.task} {self._token}-{len(self._said)}"
        self._said[key] = Said(str(order.task))
        absolute = msgspec.structs.replace(
            order,
            out=str(Path(order.out).absolute()),
            corpora=order.corpora and str(Path(order.corpora).absolute()),
            features=order.features and str(Path(order.features).absolute()),
        )
        needs_folder = not order.train or (order.task.folder(Path(order.out)) / TRAINING).exists()
        arguments = (msgspec.json.encode(absolute), self._token, needs_folder)
        future = self._client.submit(perform, *arguments, key=key, pure=False)
        return RemoteTask(order, future, self._said[key], self)

    def stop(self, running: Sequence[Running]) -> None:
        tasks = [one for one in running if isinstance(one, RemoteTask)]
        if self._client.status != "running" or not tasks:
            return
        self._client.cancel([one.future for one in tasks], force=True)
        deadline_s = time.monotonic() + GRACE_S
        while any(one.said.n_begun and not one.said.is_over for one in tasks) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)

    def _hear(self, event: tuple[float, tuple[str, str, str, str]]) -> None:
        """Called in the client's thread, with what `perform` tells."""
        key, worker, what, words = event[1]
        said = self._said[key]
        if what == "begun":
            if said.n_begun:
                self._console.print(
                    f"[yellow]again[/] {said.name}: the worker {said.worker} is gone, {worker} does it now"
                )
            said.worker, said.n_begun, said.is_over = worker, said.n_begun + 1, False
        said.is_over = said.is_over or (what == "over" and worker == said.worker)
        said.words = words


def _knock(address: str) -> None:
    """Raises EvaluationError where nobody listens at the address: a client of Dask takes long to find out."""
    try:
        place = urlsplit(address)
        if place.scheme not in ("tcp", "tls") or not place.hostname or not place.port:
            raise ValueError("no tcp://HOST:PORT")
        socket.create_connection((place.hostname, place.port), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise _nobody(address, error) from None


def _nobody(address: str, error: Exception) -> EvaluationError:
    return EvaluationError(
        f"no Dask scheduler at {one_line(address)} ({one_line(error, 100)}); start one by `dask scheduler`, and give "
        "its address as tcp://HOST:PORT"
    )


class RemoteTask:
    """A task that was submitted."""

    def __init__(self, order: Order, future: Future, said: Said, cluster: Cluster) -> None:
        self.order, self.future, self.said = order, future, said
        self._cluster = cluster

    def progress(self) -> str:
        if not self.said.n_begun:
            return "waiting for a worker"
        return f"{self.said.words or 'begun'} ({self.said.worker})"

    def is_over(self) -> bool:
        return self.future.done()

    def failure(self) -> str | None:
        if self.future.status in ("cancelled", "lost"):
            raise self._cluster.gone()
        if self.future.status == "error":
            return self._unperformed(self.future.exception())
        outcome: Outcome = self.future.result()
        if outcome.archive:
            _unpack(outcome, self.order.task.folder(Path(self.order.out)))
        return None if outcome.failure is None else f"{outcome.failure}, on {self.said.worker}"

    def _unperformed(self, error: BaseException | None) -> str:
        if isinstance(error, KilledWorker):
            return f"{error.allowed_failures + 1} workers died with it, the last at {error.last_worker.address}"
        if isinstance(error, ModuleNotFoundError):
            return f"{error.name} is not installed where the workers are; pip install 'tonelight[train]' there"
        return f"{type(error).__name__}: {one_line(error)}, on {self.said.worker or 'a worker'}"


def _unpack(outcome: Outcome, folder: Path) -> None:
    """Put what came back in the folder's place: whole or, where the task failed, its log alone."""
    with zipfile.ZipFile(io.BytesIO(outcome.archive)) as archive:
        if outcome.failure is not None:
            archive.extractall(folder)
            return
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        archive.extractall(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)


# --- where the worker is ----------------------------------------------------------------------------------------------


def perform(message: bytes, token: str, needs_folder: bool) -> Outcome:
    """Run the order in `message` in a process, in a thread of a Dask worker, until it ends or is not wanted any more.

    `token` names the folder of results (which holds a file of this name, with a dot before it, where it is the same
    here) and the topic to tell progress under. `needs_folder`: a training that is there already is to be measured.
    """
    worker = get_worker()
    key = str(worker.get_current_task())
    order = msgspec.json.decode(message, type=Order)
    is_shared = (Path(order.out) / f".{token}").exists()
    if not is_shared and needs_folder:
        return Outcome(
            f"what is trained already can only be measured where {order.out} is the same folder as on the machine of "
            "the command; share it, or go on without --scheduler"
        )
    out = Path(order.out) if is_shared else Path(worker.local_directory) / token
    # all processors of this machine, shared by the tasks that it takes at a time
    n_processes = max(1, (os.cpu_count() or 1) // worker.state.nthreads)
    folder = order.task.folder(out)
    # a nanny gives its worker one thread for linear algebra; a task is no part of that
    of_nanny = {name: str(value) for name, value in dask.config.get("distributed.nanny.pre-spawn-environ").items()}
    environment = {name: value for name, value in os.environ.items() if of_nanny.get(name) != value}

    def tell(what: str, words: str = "") -> None:
        worker.log_event(token, (key, worker.address, what, words))

    tell("begun")
    process = Process(msgspec.structs.replace(order, out=str(out), n_processes=n_processes), environment)
    try:
        words = ""
        while not process.is_over():
            time.sleep(POLL_S)
            if not _is_wanted(worker, key):
                process.interrupt()
                process.end(GRACE_S)
                raise Reschedule  # to another worker, where it is only this one that goes
            if process.progress() != words:
                words = process.progress()
                tell("progress", words)
        failure = process.failure()
        return Outcome(failure, b"" if is_shared else _pack(folder, failure))
    finally:
        process.end()
        if not is_shared:
            shutil.rmtree(folder, ignore_errors=True)
        tell("over")


def _is_wanted(worker, key: str) -> bool:
    """Whether somebody still waits for the task: neither cancelled, nor given up together with this worker.

    Dask lets a thread go on whose task was cancelled, and also when the client that asked for it has died.
    """
    task = worker.state.tasks.get(key)
    return (
        task is not None
        and task.state == "executing"
        and worker.status not in (Status.closing, Status.closed, Status.failed)
    )


def _pack(folder: Path, failure: str | None) -> bytes:
    paths = [folder / LOG] if failure else itertools.chain(folder.glob("[!.]*"), folder.glob("[!.]*/**/*"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(set(paths)):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return packed.getvalue()
