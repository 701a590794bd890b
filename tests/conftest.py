"""For all tests."""

import signal


def pytest_configure() -> None:
    # a shell starts what runs in the background deaf to Ctrl-C, `nohup` makes it deaf to hanging up, and children
    # inherit both: tests that press Ctrl-C or hang up would wait in vain
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
