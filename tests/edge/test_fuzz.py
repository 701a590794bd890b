"""The first of the inputs of benchmarks/fuzz.py: taken, or refused by one line."""

from pathlib import Path

import pytest
from fuzzing import TARGETS, content_of, is_taken

SEED = 1
N_INPUTS = {
    "config": 600,
    "manifest": 500,
    "bundle": 150,
    "key": 500,
    "golden": 60,
    "recording": 500,
    "sound": 60,
    "history": 100,
    "health": 500,
}
"""Not `model`: what is changed there never gets through `bundle`, and may end the process."""

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers without end are part of it


@pytest.mark.parametrize("name", N_INPUTS)
def test_taken_or_refused_by_one_line(name: str, tmp_path: Path) -> None:
    target = TARGETS[name](tmp_path / name)
    n_taken = 0
    for number in range(N_INPUTS[name]):
        content = content_of(target, name, SEED, number)
        try:
            n_taken += is_taken(target, content)
        except Exception as error:
            raise AssertionError(f"{name} {SEED} {number}: {error!r}") from error
    # neither all nor none: otherwise the inputs would prove nothing; a signed bundle is whole or it is none
    assert n_taken < N_INPUTS[name] or name == "sound"
    assert n_taken > 0 or name == "bundle"


def test_a_log_whose_schema_is_no_text_is_refused_or_set_aside(tmp_path: Path) -> None:
    """SQLite repeats it in its complaint, which Python then cannot decode."""
    target = TARGETS["history"](tmp_path / "history")
    assert not is_taken(target, content_of(target, "history", SEED, 570))


def test_the_same_number_gives_the_same_input(tmp_path: Path) -> None:
    first, second = (TARGETS["manifest"](tmp_path / name) for name in "ab")
    contents = [content_of(first, "manifest", SEED, number) for number in range(20)]
    assert contents == [content_of(second, "manifest", SEED, number) for number in range(20)]
    assert len(set(contents)) > 10
