"""For all tests."""

import signal


def pytest_configure() -> None:
    # a shell starts what runs in the background deaf to Ctrl-C, and children inherit it: tests that press it would hang
    signal.signal(signal.SIGINT, signal.default_int_handler)
