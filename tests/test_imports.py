"""Who may import whom: the device side stands alone, and needs nothing that pyproject.toml does not declare."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {
    # distribution: module, where the two are not the same word
    "ai-edge-litert": "ai_edge_litert",
    "tflite-runtime": "tflite_runtime",
    "rpi-lgpio": "RPi",
    "Jetson.GPIO": "Jetson",
    "paho-mqtt": "paho",
    "prometheus-client": "prometheus_client",
    "pillow": "PIL",
}
# tomllib is new in 3.11 (before that, tomli stands in); SHA-256 has changed its name with 3.12
STANDARD_LIBRARY = sys.stdlib_module_names | {"tomllib", "_sha256", "_sha2"}
NEVER_ON_A_BOARD = {"train_host", "tensorflow", "keras", "scipy", "librosa", "matplotlib", "rich", "tensorboard"}


def imports(package: str) -> Iterator[tuple[str, str]]:
    """Yield each import of the package, wherever it stands in a file: `file:line`, top-level module."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                yield from ((where, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield where, package if node.level else (node.module or "").split(".")[0]


def declared(*extras: str) -> set[str]:
    """Modules of the device's dependencies and of the extras named."""
    requirements = [*PROJECT["dependencies"], *(r for e in extras for r in PROJECT["optional-dependencies"][e])]
    names = {Requirement(requirement).name for requirement in requirements}
    return {MODULES.get(name, name) for name in names}


def strangers(package: str, allowed: set[str]) -> list[str]:
    return [f"{where} {module}" for where, module in imports(package) if module not in allowed | STANDARD_LIBRARY]


def python(code: str) -> str:
    """Standard output of the code in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_reader_of_imports_sees_them_all() -> None:
    assert {module for _, module in imports("edge")} >= {"edge", "numpy", "dataclasses"}


def test_edge_imports_nothing_of_the_workstation() -> None:
    assert [f"{where} {module}" for where, module in imports("edge") if module in NEVER_ON_A_BOARD] == []


def test_edge_imports_only_declared_dependencies() -> None:
    assert strangers("edge", {"edge"} | declared("pi", "jetson", "web", "mqtt", "metrics", "plot")) == []


def test_train_host_imports_edge_and_only_declared_dependencies() -> None:
    assert strangers("train_host", {"edge", "train_host"} | declared("train", "jax")) == []


def test_every_dependency_of_the_device_is_used() -> None:
    used = {module for _, module in imports("edge")}
    assert declared() - used == set()


def test_command_line_starts_without_numpy() -> None:
    heavy = python("import sys, edge.cli; print(sorted({'numpy', 'soundfile', 'soxr'} & set(sys.modules)))")
    assert heavy.strip() == "[]"


def test_no_module_needs_a_library_of_the_system_to_be_imported() -> None:
    """sounddevice raises on import where the system has no PortAudio, and soundfile where it has no libsndfile: only
    opening a microphone may import the one, and only what reads or writes a recording the other."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "edge").rglob("*.py"))
        if path.stem not in ("__init__", "__main__")
    ]
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
print(sorted({{'sounddevice', 'soundfile', 'RPi', 'Jetson', 'tensorflow', 'train_host'}} & set(sys.modules)))
"""
    assert python(code).strip() == "[]"


@pytest.mark.parametrize(
    "line", ["import keras.layers", "from train_host.folds import x", "def f():\n    import scipy"]
)
def test_a_wrong_import_is_found(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "wrong.py").write_text(line + "\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert len([module for _, module in imports("edge") if module in NEVER_ON_A_BOARD]) == 1
    assert len(strangers("edge", {"edge"} | declared("pi", "jetson", "web", "mqtt", "metrics", "plot"))) == 1
