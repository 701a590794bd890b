"""Tasks on real workers of a real scheduler, each a process of its own; one is killed in the middle of a task."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("keras")
distributed = pytest.importorskip("distributed")

from test_evaluate import SHORT, corpora, needs_tensorflow, processes_with  # noqa: E402, F401

from train_host.cli import main  # noqa: E402
from train_host.evaluate import result  # noqa: E402
from train_host.evaluate.tasks import Task  # noqa: E402
from train_host.evaluate.work import Order  # noqa: E402

TASKS = ("--protocol", "tess_twoway")
PATIENCE_S = 900
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums that several threads add up may differ in the last digit from one time to the next."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            patch.setenv(name, "1")
        yield


@contextmanager
def started(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        process.wait()


@contextmanager
def scheduler() -> Iterator[str]:
    """A scheduler without workers, on a port of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    with started(*command):
        wait_until(lambda: listens(port))
        yield f"tcp://127.0.0.1:{port}"


def worker(address: str, mark: str, folder: Path):
    """A worker that takes one task at a time; all that it starts has `mark` in its environment."""
    return started(
        *("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"),
        *("--local-directory", str(folder)),
        MARK=mark,
    )


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def wait_until(is_so: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def tasks_of(mark: str) -> list[int]:
    """The processes of tasks that a worker has started."""
    found = processes_with(f"MARK={mark}\0")
    return [number for number, command in found.items() if "train_host.evaluate.work" in command]


def begun(client, out: Path) -> set[str]:
    """The addresses of workers that have told the command at work in `out` of a task that they have begun."""
    return {
        worker
        for marker in out.glob(".tonelight-*")
        for _, (_, worker, what, _) in client.get_events(marker.name[1:])
        if what == "begun"
    }


def evaluate(out: Path, corpora: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:  # noqa: F811
    return subprocess.Popen(
        [sys.executable, "-m", "train_host.cli", "evaluate", "--corpora", corpora, "--out", out, *SHORT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def results(out: Path) -> dict[str, dict]:
    """What was found of each split, but for times, devices and commits."""
    found = {}
    for path in out.rglob("result.json"):
        whole = json.loads(path.read_bytes())
        for field in ("train_seconds", "train_device", "score_device", "train_commit", "score_commit"):
            del whole[field]
        found[whole["split"]] = whole
    return found


@pytest.fixture(scope="module")
def local(tmp_path_factory, corpora) -> Path:  # noqa: F811
    """Results by processes of this machine."""
    out = tmp_path_factory.mktemp("local")
    said, wrong = (process := evaluate(out, corpora, *TASKS)).communicate()
    assert process.returncode == 0, said + wrong
    return out


@pytest.mark.slow
@needs_tensorflow
def test_a_killed_workers_task_is_run_again_and_results_are_the_same(local, corpora, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    with ExitStack() as stack:
        address = stack.enter_context(scheduler())
        client = stack.enter_context(distributed.Client(address, set_as_default=False))
        victim = stack.enter_context(worker(address, "victim", tmp_path / "victim"))
        stack.enter_context(worker(address, "other", tmp_path / "other"))
        client.wait_for_workers(2, timeout=PATIENCE_S)
        process = evaluate(out, corpora, *TASKS, "--scheduler", address)
        wait_until(lambda: tasks_of("victim"))
        (task,) = tasks_of("victim")
        os.kill(task, signal.SIGSTOP)  # however slow the machine is, it will not be done before
        wait_until(lambda: len(begun(client, out)) == 2)
        victim.kill()
        os.kill(task, signal.SIGCONT)
        wait_until(lambda: not tasks_of("victim"))  # nor does its task go on, beside the one that is run again
        said, wrong = process.communicate()
        assert process.returncode == 0, said + wrong
        assert "again lstm128 tess_twoway/" in said
        assert " is gone, tcp://" in said
        assert said.count("done lstm128 tess_twoway/") == 2
        assert tasks_of("other") == []
    assert len(results(local)) == 2
    assert results(out) == results(local)
    assert result.load_all(out)
    assert not list(out.glob(".tonelight-*"))


@pytest.mark.slow
@needs_tensorflow
def test_a_worker_with_a_disk_of_its_own_sends_the_folder_back(local, corpora, tmp_path):  # noqa: F811
    from rich.console import Console

    from train_host.evaluate.cluster import Cluster

    task = Task("lstm128", "tess_twoway", "tess_twoway/1", 2, 0, 6)
    out = tmp_path / "out"
    order = Order(task, str(out), str(corpora), None, train=True, score=True, noise=False, n_processes=1)
    out.mkdir()

    def done(cluster, order) -> str | None:
        one = cluster.start(order)
        wait_until(one.is_over)
        return one.failure()

    with scheduler() as address, worker(address, "far", tmp_path / "far"), Cluster(address, out, Console()) as cluster:
        # without its mark, the folder is as any folder of that name on another machine
        next(out.glob(".tonelight-*")).unlink()
        assert done(cluster, order) is None
        assert results(out) == {"tess_twoway/1": results(local)["tess_twoway/1"]}
        there, here = (
            {path.relative_to(task.folder(root)) for path in task.folder(root).rglob("*")} for root in (out, local)
        )
        # files of TensorBoard have the time and the process in their names
        there, here = ({path for path in paths if "events.out" not in path.name} for paths in (there, here))
        assert there == here - {Path(".lock")}
        # it does not have what was trained before
        failure = done(cluster, msgspec.structs.replace(order, train=False))
        assert f"can only be measured where {out} is the same folder" in failure
        # a failure comes back with its log
        other = Task("lstm128", "tess_twoway", "tess_twoway/2", 2, 0, 6)
        failure = done(cluster, msgspec.structs.replace(order, task=other, digest="another"))
        assert "here the recipe lstm128 has another form" in failure
        assert "another form" in (other.folder(out) / "log.txt").read_text()
        assert not list((tmp_path / "far").rglob("seed-0*"))


@pytest.mark.slow
def test_an_interruption_leaves_no_task_on_a_worker(corpora, tmp_path):  # noqa: F811
    with scheduler() as address, worker(address, "left", tmp_path / "left") as alive:
        process = evaluate(tmp_path / "out", corpora, *TASKS, "--phase", "train", "--scheduler", address)
        wait_until(lambda: tasks_of("left"))
        process.send_signal(signal.SIGINT)
        said, wrong = process.communicate()
        assert process.returncode == 130, said + wrong
        assert wrong.splitlines()[-1].startswith("tonelight-train: interrupted")
        assert "Traceback" not in said + wrong
        assert tasks_of("left") == []
        # neither does the death of the command
        process = evaluate(tmp_path / "out", corpora, *TASKS, "--phase", "train", "--scheduler", address)
        wait_until(lambda: tasks_of("left"))
        process.kill()
        process.communicate()
        wait_until(lambda: not tasks_of("left"))
        assert alive.poll() is None


@pytest.mark.slow
def test_a_scheduler_that_goes_is_one_line_and_leaves_no_task(corpora, tmp_path):  # noqa: F811
    with ExitStack() as stack:
        with scheduler() as address:
            process = evaluate(tmp_path / "out", corpora, *TASKS, "--phase", "train", "--scheduler", address)
            stack.enter_context(worker(address, "orphan", tmp_path / "orphan"))
            wait_until(lambda: tasks_of("orphan"))
        said, wrong = process.communicate()
        assert process.returncode == 1, said + wrong
        assert wrong.count("\n") == 1
        assert f"the Dask scheduler at {address} has gone; start it again" in wrong
        wait_until(lambda: not tasks_of("orphan"))


@pytest.mark.slow
def test_a_killed_command_leaves_no_task(corpora, tmp_path):  # noqa: F811
    process = evaluate(tmp_path / "out", corpora, *TASKS, "--phase", "train", MARK="alone")
    wait_until(lambda: tasks_of("alone"))
    process.kill()
    process.communicate()
    wait_until(lambda: not processes_with("MARK=alone\0"))


@pytest.mark.parametrize("address", ["nowhere", "tcp://127.0.0.1", "tcp://127.0.0.1:{port}", "tcp://127.0.0.1:x"])
def test_where_there_is_no_scheduler_is_one_line(address, corpora, tmp_path, capsys):  # noqa: F811
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        address = address.format(port=bound.getsockname()[1])
        arguments = ["--corpora", str(corpora), "--out", str(tmp_path), *SHORT, "--scheduler", address]
        assert main(["evaluate", *arguments]) == 1
    said = capsys.readouterr().err
    assert f"no Dask scheduler at {address} (" in said
    assert said.count("\n") == 1
