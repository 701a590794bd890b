"""Recordings that somebody tries: taken into memory, never onto a disk, and analysed one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from edge.web.answers import refuse
from edge.web.limits import ANALYSE_S, MAX_BYTES, MAX_WAITING, RECEIVE_S


class Uploads:
    """POST /api/analyse: the body is the recording."""

    def __init__(self, bundle: str) -> None:
        """`bundle` is the folder of the bundle to analyse with, empty for the active one."""
        self._bundle = bundle
        self._n_waiting = 0
        self._turn = asyncio.Lock()

    async def analyse(self, request: Request) -> Response:
        """What the pipeline hears in the recording, as JSON (`edge.web.analyse.analyse`), or why it cannot say."""
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > MAX_BYTES:
            return _too_large()
        if self._n_waiting >= MAX_WAITING:
            return refuse(429, f"{MAX_WAITING} recordings are being looked at already; try again in a moment")
        self._n_waiting += 1
        try:
            with _memory_file() as file:
                try:
                    refusal = await asyncio.wait_for(_receive(request, file), RECEIVE_S)
                except asyncio.TimeoutError:
                    return refuse(408, f"the recording took longer than {RECEIVE_S} s to arrive; send a shorter one")
                if refusal:
                    return refusal
                gone = asyncio.ensure_future(_until_gone(request))
                try:
                    return await self._analysed(file, gone)
                finally:
                    gone.cancel()
        except ClientDisconnect:
            return refuse(400, "the recording did not arrive whole; send it again")
        finally:
            self._n_waiting -= 1

    async def _analysed(self, file: int, gone: asyncio.Future[None]) -> Response:
        async with self._turn:
            if gone.done():
                return refuse(400, "nobody waits for the answer any more")
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "edge.web.analyse", self._bundle),
                stdin=file,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                cwd="/",  # -m imports from the current folder first
            )
            answer = asyncio.ensure_future(process.communicate())
            try:
                either: set[asyncio.Future[Any]] = {answer, gone}
                await asyncio.wait(either, timeout=ANALYSE_S, return_when=asyncio.FIRST_COMPLETED)
                if answer.done() and process.returncode in (0, 1) and answer.result()[0]:
                    return Response(
                        answer.result()[0], 200 if process.returncode == 0 else 422, None, "application/json"
                    )
                return refuse(422, "the recording takes more time or memory than this board has for it; cut it shorter")
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await answer


async def _receive(request: Request, file: int) -> Response | None:
    """Write the body to `file`; returns a refusal when it cannot be a recording."""
    n_bytes = 0
    async for piece in request.stream():
        n_bytes += len(piece)
        if n_bytes > MAX_BYTES:
            return _too_large()
        view = memoryview(piece)
        while view:
            view = view[os.write(file, view) :]
    return None if n_bytes else refuse(400, "the recording is empty (0 bytes); send its file as the body")


def _too_large() -> Response:
    return refuse(
        413, f"the recording is larger than {MAX_BYTES // 1_000_000} MB; cut it, or convert it to FLAC or MP3"
    )


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@contextmanager
def _memory_file() -> Iterator[int]:
    """A file that exists only in memory."""
    file = os.memfd_create("recording")
    try:
        yield file
    finally:
        os.close(file)
