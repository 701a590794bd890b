"""For all tests."""

from __future__ import annotations

import signal

import hypothesis
import pytest

BOARD = "tests/board/"
PI = f"{BOARD}test_raspberry_pi.py"
LONGEST = (BOARD, "tests/train_host/")


def pytest_configure() -> None:
    # a shell starts what runs in the background deaf to Ctrl-C, `nohup` makes it deaf to hanging up, and children
    # inherit both: tests that press Ctrl-C or hang up would wait in vain
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # a slow or busy machine takes long, and nothing is wrong with that
    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # what takes longest first, so that the other workers have the rest meanwhile
    items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in LONGEST])


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, for `pytest -n 3`: what `make test` does
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        """The tests of a file share what is made for it and go to one worker, as do all with the emulated board; those
        with the emulated Raspberry Pi have another board."""

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return BOARD if file.startswith(BOARD) and file != PI else file

    config.option.loadscopereorder = False
    return ByFile(config, log)
