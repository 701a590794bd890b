"""What was heard, from the log, as JSON Lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from edge.errors import ConfigError, HistoryError
from edge.history import Event, parse_since, read_events
from edge.web.answers import refuse

MAX_READERS: Final = 4
READ_S: Final = 60.0
"""Whoever takes longer to read the log makes room for others."""
_STEP: Final = 200
_LINES: Final = "application/x-ndjson"


class Past:
    """GET /api/history?since=1d: every event of the log since then, one JSON object a line."""

    def __init__(self, path: str) -> None:
        """`path` is the file of the log; empty where none is kept."""
        self._path = path
        self._n_readers = 0

    async def history(self, request: Request) -> Response:
        """The events; `since` as `tonelight history --since` takes it (default: the last day)."""
        if not self._path:
            return refuse(404, "no log is kept here; set history.enabled = true to have one")
        if self._n_readers >= MAX_READERS:
            return refuse(503, "the log is being read by others; try again in a moment")
        pieces = self._read(request.query_params.get("since", "1d"))
        try:
            first = await anext(pieces, b"")
        except ConfigError as error:
            return refuse(400, str(error))
        except HistoryError as error:
            return refuse(500, str(error))
        return StreamingResponse(_chained(first, pieces), media_type=_LINES)

    async def _read(self, since: str) -> AsyncIterator[bytes]:
        """A few rows at a time, never further ahead than the browser takes them.

        Raises:
            ConfigError: `since` is no time.
            HistoryError: the log cannot be read.
        """
        moment = parse_since(since)
        if not Path(self._path).exists():
            return  # nothing was heard yet
        loop = asyncio.get_running_loop()
        end_s = time.monotonic() + READ_S
        events = cast(Generator[Event, None, None], read_events(Path(self._path), moment))
        self._n_readers += 1
        # one thread, and for all of it the same one: SQLite is bound to it
        thread = ThreadPoolExecutor(1, "log")
        try:
            while time.monotonic() < end_s:
                batch = await loop.run_in_executor(thread, lambda: list(islice(events, _STEP)))
                if not batch:
                    return
                yield b"".join(msgspec.json.encode(event) + b"\n" for event in batch)
            raise TimeoutError(f"the log was not read within {READ_S:g} s")
        finally:
            self._n_readers -= 1
            thread.submit(events.close)
            thread.shutdown(wait=False)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
