"""The command that adds a library is one that can be run as it stands."""

import shlex
import subprocess
import sys
from importlib.metadata import metadata

import pytest

from edge.extras import how_to_add


@pytest.mark.parametrize("extra", ["web", "mqtt", "metrics", "plot", "pi", "jetson", "gpiod"])
def test_the_command_is_of_this_python_and_of_an_extra_that_there_is(extra):
    python, *arguments = shlex.split(how_to_add(extra).strip("`"))
    assert python == sys.executable
    assert arguments == ["-m", "pip", "install", f"tonelight[{extra}]"]
    assert extra in metadata("tonelight").get_all("Provides-Extra")


def test_pip_takes_it():
    """Of what is installed already nothing is fetched, so this needs no network."""
    command = shlex.split(how_to_add("plot").strip("`"))
    done = subprocess.run([*command, "--dry-run", "--no-index"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
