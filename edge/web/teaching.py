"""Clips of speech: have them kept for a while, hear them, say what they were, delete them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edge.capture import MAX_S, CaptureSwitch
from edge.clips import Clip, Clips, NoSuchClipError
from edge.errors import ClipError
from edge.labels import EMOTIONS
from edge.mute import Mute
from edge.observers import Health
from edge.web.answers import refuse, small_body
from edge.web.live import Live
from edge.web.setup import Setup

FOLLOW_S: Final = 3.0
"""How long the daemon may take to follow the switch."""


class _CaptureRequest(msgspec.Struct, forbid_unknown_fields=True):
    for_s: Annotated[float, Meta(ge=0, le=MAX_S)]


class _LabelRequest(msgspec.Struct, forbid_unknown_fields=True):
    emotion: str | None


class Teaching:
    """What the page offers to teach the light by."""

    def __init__(self, setup: Setup, live: Live) -> None:
        self._switch = CaptureSwitch(Path(setup.capture))
        self._clips = Clips(Path(setup.clips))
        self._mute = Mute(Path(setup.mute))
        self._live = live
        self.routes = [
            Route("/api/capture", self.set_capture, methods=["POST"]),
            Route("/api/clips", self.list_clips, methods=["GET"]),
            Route("/api/clips", self.delete_all, methods=["DELETE"]),
            Route("/api/clips/{id}", self.play, methods=["GET"]),
            Route("/api/clips/{id}", self.label, methods=["POST"]),
            Route("/api/clips/{id}", self.delete, methods=["DELETE"]),
        ]

    async def set_capture(self, request: Request) -> Response:
        """Have clips kept for so many seconds, or no longer; answers once the daemon has followed."""
        try:
            wanted = msgspec.json.decode(await small_body(request), type=_CaptureRequest)
        except msgspec.DecodeError:
            return refuse(400, f'expected {{"for_s": 1800}}: seconds, at most {MAX_S:.0f}, or 0 to end it')
        if wanted.for_s and self._mute.is_on:
            return refuse(409, "muted: nothing is heard, so there is nothing to keep; unmute first")
        try:
            await asyncio.to_thread(self._switch.set, wanted.for_s)
            if not await self._has_followed(wanted.for_s > 0):
                if wanted.for_s:
                    await asyncio.to_thread(self._switch.set, 0.0)
                return refuse(
                    409,
                    "the board does not follow: clips are only kept while a light shows it; is there one that works?",
                )
        except OSError as error:
            return refuse(500, f"{self._switch.path}: cannot be changed: {error.strerror}; check the folder's owner")
        return JSONResponse({"for_s": wanted.for_s})

    async def list_clips(self, request: Request) -> Response:
        """Every clip, the newest first."""
        return await _answered(lambda: [_told(clip) for clip in reversed(self._clips.all())])

    async def delete_all(self, request: Request) -> Response:
        """Every clip is gone for good; answers how many there were."""
        return await _answered(lambda: {"n_deleted": self._clips.delete_all()})

    async def play(self, request: Request) -> Response:
        """The recording, as FLAC."""
        try:
            recording = self._clips.recording(request.path_params["id"])
            return Response(await asyncio.to_thread(recording.read_bytes), media_type="audio/flac")
        except ClipError as error:
            return refuse(404, str(error))
        except OSError as error:
            return refuse(404, f"the recording of this clip cannot be read: {error.strerror}; delete it")

    async def label(self, request: Request) -> Response:
        """Note which emotion it was; null for not knowing."""
        try:
            wanted = msgspec.json.decode(await small_body(request), type=_LabelRequest)
            if wanted.emotion not in (None, *EMOTIONS):
                raise msgspec.DecodeError("no such emotion")
        except msgspec.DecodeError:
            known = ", ".join(EMOTIONS)
            return refuse(400, f'expected {{"emotion": "sad"}}, or null for not knowing; emotions are {known}')
        clip_id = request.path_params["id"]
        return await _answered(lambda: _told(self._clips.label(clip_id, wanted.emotion)))

    async def delete(self, request: Request) -> Response:
        """This clip is gone for good."""
        clip_id = request.path_params["id"]

        def delete() -> dict[str, int]:
            self._clips.delete(clip_id)
            return {"n_deleted": 1}

        return await _answered(delete)

    async def _has_followed(self, on: bool) -> bool:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + FOLLOW_S
        while loop.time() < end_s:
            if self._live.health and (self._health().capturing_s > 0) == on:
                return True
            await asyncio.sleep(0.05)
        return False

    def _health(self) -> Health:
        return msgspec.json.decode(self._live.health, type=Health)


def _told(clip: Clip) -> dict[str, Any]:
    return {"id": clip.id, **msgspec.to_builtins(clip.about)}


async def _answered(do: Any) -> Response:
    """What `do` returns, as JSON; it may take as long as a card takes."""
    try:
        return JSONResponse(await asyncio.to_thread(do))
    except NoSuchClipError as error:
        return refuse(404, str(error))
    except ClipError as error:
        return refuse(500, str(error))
