"""A light that may not be there yet, or may go: it is opened when it is needed, and again when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from edge.errors import LightError
from edge.leds.base import LightBackend, Look

RETRY_S: Final = 30.0
"""A light that cannot be driven is opened anew this often."""


class PatientLight:
    """Opens what `open_backend` opens at the first `show`, and anew when it has failed, every `RETRY_S` seconds.

    In between, `show` raises what went wrong, so that nobody takes the light for well.
    """

    def __init__(
        self, open_backend: Callable[[], LightBackend], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._open = open_backend
        self._monotonic = monotonic
        self._backend: LightBackend | None = None
        self._fault = ""
        self._retry_s = float("-inf")
        self._is_closed = False

    def show(self, look: Look) -> None:
        """Show `look`.

        Raises:
            LightError: the light cannot be opened or driven; it will be tried again.
        """
        if self._is_closed:
            return
        if self._backend is None and self._monotonic() < self._retry_s:
            raise LightError(self._fault)
        try:
            if self._backend is None:
                self._backend = self._open()
            self._backend.show(look)
        except LightError as error:
            self._fault = str(error)
            self._retry_s = self._monotonic() + RETRY_S
            self._give_up()
            raise

    def close(self) -> None:
        """Leave the light off and give it back.

        Raises:
            LightError: it could not be turned off.
        """
        self._is_closed = True
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def _give_up(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            with suppress(LightError):  # the first fault is the one to be told
                backend.close()
