"""For all tests."""

from __future__ import annotations

import signal

import hypothesis
import pytest

TOGETHER = ("tests/board/", "tests/train_host/")
"""Each is for one worker: its tests share what takes long to make (a board that runs, TensorFlow and a training)."""


def pytest_configure() -> None:
    # a shell starts what runs in the background deaf to Ctrl-C, `nohup` makes it deaf to hanging up, and children
    # inherit both: tests that press Ctrl-C or hang up would wait in vain
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # a slow or busy machine takes long, and nothing is wrong with that
    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")


def unit(nodeid: str) -> str:
    """What a test belongs to that one worker has to do: its folder, if that is one of TOGETHER, or else its file."""
    file = nodeid.partition("::")[0]
    return next((folder for folder in TOGETHER if file.startswith(folder)), file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # what takes longest first, so that the other workers have the rest meanwhile
    order = {folder: i for i, folder in enumerate(TOGETHER)}
    items.sort(key=lambda item: order.get(unit(item.nodeid), len(order)))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, for `pytest -n 3`: what `make test` does
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from xdist.scheduler import LoadScopeScheduling

    class ByUnit(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

    config.option.loadscopereorder = False
    return ByUnit(config, log)
