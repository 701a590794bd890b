"""What the daemon keeps and what it sends, watched from outside: by the kernel's eyes, and by looking for the sound.

The real program runs with the demo recording as its microphone, page and MQTT off, as they are unless switched on.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bundles import n_in_demo

from edge.cli import main
from edge.clips import Clips
from edge.config import demo_path

PATIENCE_S = 300.0


def run_demo(home: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """The program, started by `before`, with the demo recording; with a folder for temporary files of its own."""
    (home / "tmp").mkdir(exist_ok=True)
    command = [*before, sys.executable, "-m", "edge", "run", "--source", str(demo_path()), "--fast"]
    environ = os.environ | {"TMPDIR": str(home / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, cwd=home)
    assert done.returncode == 0, done.stderr
    assert f"{n_in_demo()} stretches of speech" in done.stderr
    return done


# By looking for the sound ---------------------------------------------------------------------------------------------


def traces(samples: np.ndarray) -> list[bytes]:
    """Pieces of a few milliseconds, as they lie in memory and files: 16 and 32 bits, whole numbers and floating
    point, and as FLAC holds them when it cannot compress: 16 bits, big end first."""
    loud = np.argsort(-np.abs(samples).reshape(-1))[:4000:200]
    pieces = [samples[at : at + 16] for at in loud if at + 16 <= len(samples)]
    kinds = ("<i2", ">i2", "<i4", "<f4", "<f8")
    return [_as(piece, kind) for piece in pieces for kind in kinds]


def _as(samples: np.ndarray, kind: str) -> bytes:
    if "f" in kind:
        return samples.astype(kind).tobytes()
    return np.round(samples.astype(np.float64) * 2.0 ** (8 * int(kind[2]) - 1)).astype(kind).tobytes()


def sound_in(folder: Path, demo: np.ndarray) -> list[str]:
    """The files under `folder` that hold pieces of the demo, as samples or as a recording in any known form."""
    found = []
    looked_for = traces(demo)
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        content = path.read_bytes()
        magic = (b"fLaC", b"RIFF", b"OggS", b"FORM", b".snd", b"ID3")
        if any(sign in content for sign in magic) or any(piece in content for piece in looked_for):
            found.append(path.name)
    return found


@pytest.fixture(scope="module")
def demo() -> np.ndarray:
    return soundfile.read(demo_path(), dtype="float32")[0]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {"subtype": "PCM_16"}),
        ("a.raw", {"subtype": "FLOAT", "format": "RAW"}),
        ("a.raw", {"subtype": "PCM_32", "format": "RAW", "endian": "LITTLE"}),
        ("a.flac", {}),
    ],
)
def test_the_tripwire_would_find_sound(tmp_path, demo, name, options):
    assert sound_in(tmp_path, demo) == []
    soundfile.write(tmp_path / name, demo[50_000:150_000], 16_000, **options)
    assert sound_in(tmp_path, demo) == [name]


def test_no_sound_is_left_anywhere(home, demo):
    before = {path.name for path in Path("/tmp").iterdir()}
    run_demo(home)
    assert sound_in(home, demo) == []
    files = {path.relative_to(home / "state").as_posix() for path in home.rglob("*") if path.is_file()}
    assert files == {"history.db", "history.db.clock"}
    fresh = [path for path in Path("/tmp").iterdir() if path.name not in before and not path.is_symlink()]
    for path in fresh:  # of whoever else is busy on this machine
        assert not path.is_file() or not os.access(path, os.R_OK) or not holds(path, demo), path


def holds(file: Path, demo: np.ndarray) -> bool:
    try:
        content = file.read_bytes()
    except OSError:  # gone in the meantime
        return False
    return any(piece in content for piece in traces(demo))


def test_with_capture_on_exactly_the_clips_are_there_and_then_nothing(home, demo, capsys):
    assert main(["capture", "on", "--for", "1h"]) == 0
    run_demo(home)
    clips = Clips(home / "state" / "clips")
    ids = [clip.id for clip in clips.all()]
    assert len(ids) == n_in_demo()
    assert sound_in(home, demo) == [f"{clip_id}.flac" for clip_id in ids]
    # nothing of it is in the log or anywhere else: nothing but the clips' folder is new
    files = {path.relative_to(home / "state").parts[0] for path in (home / "state").rglob("*") if path.is_file()}
    assert files == {"history.db", "history.db.clock", "capture", "clips", "clips.clock"}
    assert main(["capture", "off"]) == 0
    assert main(["clips", "delete", "--all", "--yes"]) == 0
    assert sound_in(home, demo) == []
    files = {path.name for path in (home / "state").rglob("*") if path.is_file()}
    assert files == {"history.db", "history.db.clock", "clips.clock"}
    run_demo(home)
    assert sound_in(home, demo) == []


# By the kernel's eyes -------------------------------------------------------------------------------------------------

CALLS = "open,openat,creat,socket,connect,bind,sendto,sendmsg,memfd_create,write,pwrite64,writev,pwritev,rename,link"


@pytest.fixture(scope="module")
def strace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """How to call strace, where there is one that may watch."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("there is no strace: sudo apt install strace")
    record = tmp_path_factory.mktemp("strace") / "calls"
    if subprocess.run([strace, "-f", "-o", str(record), "true"], capture_output=True).returncode:
        pytest.skip("processes may not be watched here (ptrace)")
    yield [strace, "-f", "-qq", "-y", "-s", "64", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(record)]


def calls(before: list[str]) -> list[tuple[str, str, str]]:
    """Name, arguments and result of each call that succeeded or is not known to have failed."""
    seen = []
    for line in Path(before[-1]).read_text(errors="replace").splitlines():
        told = re.match(r"\d+\s+(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*?)(?:\)\s+= (.*)| <unfinished \.\.\.>)$", line)
        if told and not (told[3] or "").startswith("-1"):
            seen.append((told[1], told[2], told[3] or ""))
    return seen


def files_written(seen: list[tuple[str, str, str]]) -> set[str]:
    """The files into which something was written, or that were opened for it, as the kernel names them."""
    found = set()
    for name, arguments, _ in seen:
        if name.startswith(("write", "pwrite")) and (target := re.match(r"\d+<(/[^>]*)>", arguments)):
            found.add(target[1])
        elif name in ("open", "openat", "creat") and re.search(r"O_WRONLY|O_RDWR|O_CREAT", arguments):
            found |= set(re.findall(r'"(/[^"]*)"', arguments))
    return {path for path in found if not path.startswith(("/dev/", "/proc/")) and not path.startswith("/memfd:")}


def sockets(seen: list[tuple[str, str, str]]) -> list[str]:
    return [arguments for name, arguments, _ in seen if name == "socket"]


def test_the_kernel_sees_no_file_but_the_log_and_the_health_and_no_network(home, strace):
    run_demo(home, *strace)
    seen = calls(strace)
    assert any(name == "openat" and str(demo_path()) in arguments for name, arguments, _ in seen)  # it does watch
    written = files_written(seen)
    own = {path.removeprefix(f"{home}/") for path in written if path.startswith(f"{home}/")}
    log = {f"state/history.db{end}" for end in ("", "-wal", "-shm", "-journal", ".clock", ".clock.new")}
    assert own - log <= {"run/health.json", "run/.health.json.new"}
    assert "state/history.db" in own
    assert {path for path in written if not path.startswith(f"{home}/")} == set()
    assert [one for one in sockets(seen) if not one.startswith("AF_UNIX")] == []
    assert not any(name == "memfd_create" for name, _, _ in seen)
    # what goes through pipes and sockets besides: the light and the log, in words
    amounts = [int(re.match(r"\d+", result)[0]) for name, _, result in seen if name in ("sendto", "sendmsg") and result]
    assert sum(amounts) < 1000


def test_the_kernel_would_see_a_clip_and_a_connection(home, strace):
    """The same eyes, where there is something to be seen."""
    assert main(["capture", "on"]) == 0
    run_demo(home, *strace)
    written = {path.removeprefix(f"{home}/") for path in files_written(calls(strace))}
    assert len({path for path in written if path.endswith(".flac.new")}) == n_in_demo()
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9)); open('x', 'w').write('x')"
    subprocess.run([*strace, sys.executable, "-c", code], check=True, cwd=home)
    assert [one for one in sockets(calls(strace)) if not one.startswith("AF_UNIX")] != []
    assert f"{home}/x" in files_written(calls(strace))
