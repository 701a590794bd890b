"""The page over HTTP: a real process that serves, real sockets that ask."""

import io
import json
import logging
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from bundles import copy_bundle, edit
from signals import noise, talk
from web_page import PATIENCE_S, Client, Served, event, free_port, health, score, served

import edge.web
from edge import config
from edge.bundle import default_bundle_path, load_bundle
from edge.config import demo_path
from edge.errors import ConfigError, SourceError
from edge.events import Detection
from edge.history import History
from edge.leds.base import activation_colour, parse_colour
from edge.observers import Phase
from edge.pipeline import Pipeline
from edge.sources import input_devices
from edge.web import analyse, limits
from edge.web.settings import WebSettings

pytest.importorskip("starlette", reason="the page needs starlette and uvicorn: pip install 'tonelight[web]'")
pytest.importorskip("uvicorn", reason="the page needs starlette and uvicorn: pip install 'tonelight[web]'")

FILES = Path(edge.web.__file__).with_name("files")


@pytest.fixture(scope="module")
def open_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page for this machine, without a token; what tests do to it is undone by them."""
    with served(tmp_path_factory.mktemp("page")) as page:
        yield page


@pytest.fixture(scope="module")
def guarded_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page for every network, with a token that was made up."""
    with served(tmp_path_factory.mktemp("guarded"), host="0.0.0.0") as page:
        yield page


def until(condition) -> None:
    """Wait for something that another process does."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def pid_of(page: Served) -> int:
    assert page.page._process is not None
    return page.page._process.pid


# --- what is served ---


def test_the_page_is_small_and_asks_nobody_else(open_page):
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 150_000
    for path in FILES.iterdir():
        links = [link for link in re.findall(r"https?://[^\"' )]*", path.read_text()) if "www.w3.org/" not in link]
        assert links == [], path.name
        status, headers, body = open_page.request("GET", "/" if path.name == "page.html" else f"/{path.name}")
        assert (status, body) == (200, path.read_bytes())
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"


def test_a_browser_that_has_a_file_does_not_get_it_again(open_page):
    _, headers, _ = open_page.request("GET", "/style.css")
    status, _, body = open_page.request("GET", "/style.css", None, {"If-None-Match": headers["etag"]})
    assert (status, body) == (304, b"")


@pytest.mark.parametrize("path", ["/nothing", "/files/page.html", "/../server.py", "/page.html", "/api"])
def test_nothing_else_is_there(open_page, path):
    status, answer = open_page.get(path)
    assert status == 404
    assert answer["error"].startswith("there is nothing here")


def test_only_what_is_meant_can_be_done(open_page):
    status, answer = open_page.post("/api/health", b"")
    assert status == 405
    assert answer["error"].startswith("this cannot be done here")


# --- live ---


def test_what_happens_is_told_in_its_order(open_page):
    with open_page.live() as events:
        kind, hello = next(events)
        assert kind == "hello"
        assert (hello["node"], hello["history"]) == ("kitchen", True)
        assert [emotion["name"] for emotion in hello["emotions"]][:2] == ["neutral", "calm"]
        assert hello["emotions"][1:3] == [{"name": "calm", "colour": "#56b4e9"}, {"name": "happy", "colour": "#ffee00"}]
        scale = [parse_colour(text) for text in hello["activation_colours"]]
        assert scale == [pytest.approx(activation_colour(n / 4), abs=1 / 255) for n in range(5)]
        said = [score("happy"), event("happy"), score("sad", is_sure=False), health(Phase.FAULT, "no microphone")]
        page = open_page.page
        for value, tell in zip(said, (page.on_score, page.on_event, page.on_score, page.on_health), strict=True):
            tell(value)
            kind, told = next(events)
            assert told == msgspec.to_builtins(value)
        assert kind == "health"
        assert told["phase"] == "fault"


def test_a_newcomer_hears_how_it_is_but_not_what_was(open_page):
    open_page.page.on_event(event("angry"))
    open_page.page.on_score(score("angry"))
    open_page.page.on_health(health(n_gaps=2))
    until(lambda: open_page.get("/api/health")[1].get("n_gaps") == 2)
    with open_page.live() as events:
        told = dict(next(events) for _ in range(2))
    assert set(told) - {"level"} == {"hello", "health"}
    assert told["health"] == open_page.get("/api/health")[1]


def test_levels_are_told_now_and_then_and_none_of_the_peaks_is_missed(open_page):
    with open_page.live() as events:
        next(events)
        peak_db = threading.Event()

        def tell() -> None:
            n = 0
            while not peak_db.is_set():
                open_page.page.on_level(-12.5 if n % 7 == 0 else -60.0, True)
                n += 1
                time.sleep(0.005)

        teller = threading.Thread(target=tell)
        teller.start()
        levels = []
        while len(levels) < 5:
            kind, value = next(events)
            if kind == "level":
                levels.append(value)
        peak_db.set()
        teller.join()
    # 70 ms of blocks of 5 ms and more: one of seven is loud, and sleeping may take longer
    assert {"level_db": -12.5, "speaking": True} in levels
    assert len(levels) < 20


def test_telling_never_waits_for_a_page_that_does_not_listen(tmp_path):
    with served(tmp_path) as page:
        page.page.on_health(health())
        until(lambda: page.get("/api/health")[0] == 200)
        with page.live() as events:
            os.kill(pid_of(page), signal.SIGSTOP)
            for n in range(20_000):  # would wait for ever if it waited at all
                page.page.on_score(score("sad"))
                if n % 4 == 0:
                    page.page.on_event(event("happy", confidence=n / 20_000, ago_s=n))
            os.kill(pid_of(page), signal.SIGCONT)
            end = event("surprised")
            page.page.on_event(end)
            until(lambda: page.page._flush())
            heard = []
            while not heard or heard[-1]["label"] != "surprised":
                kind, value = next(events)
                heard += [value] if kind == "event" else []
        # those that came last were kept, in their order
        assert [e["confidence"] for e in heard[-11:-1]] == [(19_996 - 4 * n) / 20_000 for n in reversed(range(10))]


def test_a_browser_that_reads_nothing_costs_the_others_nothing(open_page):
    with socket.create_connection(("127.0.0.1", open_page.port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(b"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        with open_page.live() as events:
            next(events)
            for n in range(3000):  # 2 MB
                open_page.page.on_event(event("calm", confidence=n / 3000))
                until(open_page.page._flush)
            open_page.page.on_event(event("surprised"))
            while next(events)[1].get("label") != "surprised":
                pass
        memory = Path(f"/proc/{pid_of(open_page)}/statm").read_text().split()
        assert int(memory[1]) * os.sysconf("SC_PAGE_SIZE") < 100e6


def test_there_is_room_for_so_many_and_no_more(open_page):
    until(lambda: _is_told(open_page))
    asked = []
    try:
        for _ in range(limits.MAX_CLIENTS):
            asked.append(open_page.live())
            assert next(asked[-1].__enter__())[0] == "hello"
        status, answer = open_page.get("/api/live")
        assert status == 503
        assert "close one of them" in answer["error"]
    finally:
        for one in asked:
            one.__exit__(None, None, None)
    until(lambda: _is_told(open_page))


def _is_told(page: Served) -> bool:
    try:
        with page.live() as events:
            return next(events)[0] == "hello"
    except AssertionError:
        return False


# --- the past ---


def test_the_log_is_read_as_it_is(tmp_path):
    with served(tmp_path) as page:
        assert page.get("/api/history") == (200, b"")  # nothing was heard yet
        log = History(page.history, max_mb=4, max_days=365)
        events = [event("happy", ago_s=3600.0 * n) for n in range(30, -1, -1)]
        events += [event("sad", confidence=0.3 + n / 2000, uncertain=True) for n in range(1000)]
        for one in events:
            log.write(one)
        log.close()
        for since, n in (("7d", 1031), ("30m", 1001), ("", 1024)):
            status, lines = page.get("/api/history" + (f"?since={since}" if since else ""))
            assert status == 200
            assert [json.loads(line) for line in lines.splitlines()] == [msgspec.to_builtins(e) for e in events[-n:]]


def test_a_wrong_time_says_which_are_right(open_page):
    status, answer = open_page.get("/api/history?since=soon")
    assert (status, answer["error"][:36]) == (400, '"soon" is no time since when: write ')


def test_without_a_log_the_page_says_how_to_have_one(tmp_path):
    with served(tmp_path, has_log=False) as page:
        status, answer = page.get("/api/history")
        assert (status, answer) == (404, {"error": "no log is kept here; set history.enabled = true to have one"})


def test_a_log_that_is_none_is_named(tmp_path):
    (tmp_path / "history.db").write_text("a shopping list" * 100)
    with served(tmp_path) as page:
        status, answer = page.get("/api/history")
        assert status == 500
        assert str(page.history) in answer["error"]


# --- mute ---


def test_mute_is_the_switch_of_the_daemon(open_page):
    assert open_page.post("/api/mute", b'{"on": true}') == (200, {"on": True})
    assert open_page.mute.is_on
    assert open_page.post("/api/mute", b'{"on": false}') == (200, {"on": False})
    assert not open_page.mute.is_on


@pytest.mark.parametrize(
    "body", [b"", b"on", b"{}", b'{"on": 1}', b'{"on": true, "for": 3}', b'{"on": true' + b" " * 2000]
)
def test_mute_takes_only_what_it_knows(open_page, body):
    status, answer = open_page.post("/api/mute", body)
    assert (status, answer) == (400, {"error": 'expected {"on": true} or {"on": false}'})
    assert not open_page.mute.is_on


def test_a_switch_that_cannot_be_set_is_named(tmp_path):
    state = tmp_path / "state"
    with served(state) as page:
        state.write_text("a file where the folder should be")
        status, answer = page.post("/api/mute", b'{"on": true}')
        assert status == 500
        assert str(page.mute.path) in answer["error"]


# --- who may ---


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8730", "localhost.evil.example", "192.168.1.2", "", "[fe80::1]"]
)
def test_a_foreign_name_does_not_lead_here(open_page, host):
    for path in ("/", "/api/health", "/style.css"):
        assert open_page.get(path, Host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "127.1.2.3", "[::1]:8730"])
def test_this_machine_has_several_names(open_page, host):
    assert open_page.get("/", Host=host)[0] == 200


def test_other_sites_can_neither_do_nor_read_anything(open_page):
    for foreign in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
        assert open_page.post("/api/mute", b'{"on": true}', **foreign)[0] == 403
    assert not open_page.mute.is_on
    assert open_page.get("/api/live", Sec_Fetch_Site="cross-site")[0] == 403
    assert open_page.get("/api/history", Sec_Fetch_Site="same-site")[0] == 403
    own = f"http://127.0.0.1:{open_page.port}"
    assert open_page.post("/api/mute", b'{"on": false}', Origin=own, Sec_Fetch_Site="same-origin")[0] == 200
    _, headers, _ = open_page.request("GET", "/api/history", None, {"Origin": "http://evil.example"})
    assert not [name for name in headers if name.startswith("access-control")]


def token_of(page: Served) -> str:
    return page.page.url.partition("?token=")[2]


def test_elsewhere_nothing_is_told_without_the_token(guarded_page):
    token = token_of(guarded_page)
    for method, path in (("GET", "/api/live"), ("GET", "/api/history"), ("GET", "/api/health"), ("POST", "/api/mute")):
        for headers in ({}, {"Authorization": f"Bearer {token}x"}, {"Authorization": f"Basic {token}"}):
            status, _, body = guarded_page.request(method, path, None, headers)
            assert status == 401
            assert "?token=" in json.loads(body)["error"]
    assert guarded_page.post("/api/analyse", b"x" * 1000)[0] == 401
    for path, why in (("/", b"This light asks for its token."), ("/?token=wrong", b"That is not its token.")):
        status, page = guarded_page.get(path)
        assert status == 401
        assert why in page
    assert guarded_page.get("/style.css")[0] == 200  # so that the question looks like the page


def test_the_token_in_the_address_becomes_a_cookie(guarded_page):
    token = token_of(guarded_page)
    status, headers, body = guarded_page.request("GET", f"/?token={token}")
    assert (status, body) == (200, (FILES / "page.html").read_bytes())
    cookie, *flags = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(flags)
    assert guarded_page.get("/", Cookie=cookie)[0] == 200
    guarded_page.page.on_health(health())
    until(lambda: guarded_page.get("/api/health", Cookie=f"other=1; {cookie}")[0] == 200)
    assert guarded_page.get("/api/health", Authorization=f"Bearer {token}", Host="kitchen.lan")[0] == 200
    assert guarded_page.get("/api/health", Cookie=cookie[:-1])[0] == 401
    assert (
        guarded_page.get(f"/api/health?token={token}")[0] == 401
    )  # only the page itself, so that it stays out of logs
    assert guarded_page.post("/api/mute", b'{"on": true}', Cookie=cookie, Origin="http://evil.example")[0] == 403


@pytest.mark.parametrize("other", ["user=Anna B", 'prefs={"theme":"dark"}', "forum[sid]=1", "ünïcode=1", "nonsense"])
def test_cookies_of_other_programs_on_the_same_host_are_no_obstacle(guarded_page, other):
    _, headers, _ = guarded_page.request("GET", f"/?token={token_of(guarded_page)}")
    cookie = headers["set-cookie"].partition(";")[0]
    for cookies in (f"{other}; {cookie}", f"{cookie}; {other}"):
        assert guarded_page.get("/", Cookie=cookies.encode())[0] == 200
        assert guarded_page.get("/", Cookie=cookies.replace(cookie, cookie[:-1]).encode())[0] == 401


def test_a_token_is_made_once_and_only_its_owner_reads_it(tmp_path):
    with served(tmp_path, host="0.0.0.0") as page:
        token = token_of(page)
        kept = tmp_path / "page-token"
        assert kept.read_text() == token + "\n"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert len(token) >= 32
    with served(tmp_path, host="0.0.0.0") as page:
        assert token_of(page) == token
    with served(tmp_path, host="0.0.0.0", token="correct-horse-battery") as page:
        assert token_of(page) == "correct-horse-battery"
    with served(tmp_path, token="correct-horse-battery") as page:  # asked for is asked for, on this machine as well
        assert page.get("/api/history")[0] == 401


def test_no_token_where_only_this_machine_can_ask(tmp_path):
    for host in ("127.0.0.1", "localhost", "127.9.9.9"):
        with served(tmp_path, host=host) as page:
            assert "token" not in page.page.url
    assert not (tmp_path / "page-token").exists()


def test_the_token_is_no_argument(guarded_page):
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert token_of(guarded_page).encode() not in process.read_bytes()
        except OSError:
            continue  # it has ended


# --- recordings ---


def flac(samples: np.ndarray, rate_hz: int = 16_000) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def test_a_recording_gets_the_answer_of_the_pipeline(open_page):
    recording = flac(talk())
    status, answer = open_page.post("/api/analyse", recording)
    assert status == 200
    samples = soundfile.read(io.BytesIO(recording), dtype="float32")[0]
    pipeline = Pipeline(load_bundle(default_bundle_path()))
    heard = [e for e in [*pipeline.push(samples), *pipeline.flush()] if isinstance(e, Detection)]
    assert len(heard) >= 2
    assert answer["segments"] == [msgspec.to_builtins(detection) for detection in heard]
    assert answer["seconds"] == len(samples) / 16_000
    assert answer["whole"]["segments"] == len(heard)
    assert len(answer["peaks"]) == analyse.N_PEAKS
    assert max(answer["peaks"]) == pytest.approx(np.abs(samples).max(), abs=1e-3)
    assert answer["model"] == load_bundle(default_bundle_path()).id


def test_the_bundle_that_is_active_is_asked(tmp_path, monkeypatch):
    models = tmp_path / "models"
    edit(copy_bundle(models), lambda manifest: manifest.update(name="another", version="9.0.0"))
    (models / "bundle").rename(models / "another-9.0.0")
    (models / "active").symlink_to("another-9.0.0")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    with served(tmp_path, bundle=None) as page:
        status, answer = page.post("/api/analyse", flac(noise(1, -40)))
    assert (status, answer["model"]) == (200, "another-9.0.0")


def test_nothing_is_imported_from_the_folder_it_is_started_in(tmp_path, monkeypatch):
    """Whoever may write there would otherwise run what they like, as root where somebody says sudo."""
    for name in ("edge", "socket", "json"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})\n")
    (tmp_path / "state" / "models").mkdir(parents=True)
    edit(copy_bundle(tmp_path / "state" / "models"), lambda manifest: manifest.update(name="another", version="9.0.0"))
    (tmp_path / "state" / "models" / "bundle").rename(tmp_path / "state" / "models" / "another-9.0.0")
    (tmp_path / "state" / "models" / "active").symlink_to("another-9.0.0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STATE_DIRECTORY", "state")  # what is relative counts from here all the same
    with served(Path("state"), bundle=None) as page:
        status, answer = page.post("/api/analyse", flac(noise(1, -40)))
    assert not (tmp_path / "imported").exists()
    assert (status, answer["model"]) == (200, "another-9.0.0")


def test_a_short_recording_without_speech_has_an_answer(tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, np.array([0.1, -0.5, 0.25]), 16_000)
    answer = analyse.analyse(path, default_bundle_path())
    assert answer["peaks"] == [0.1, 0.5, 0.25]
    assert (answer["segments"], answer["whole"]["label"]) == ([], None)


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "the recording is empty (0 bytes)"),
        (b"Dear diary, today somebody was happy.\n" * 50, 422, "the recording is not a recording that can be read"),
        (flac(noise(3, -40))[:5000], 422, "the recording is "),
        (b"RIFF\x00\x00\x00\x00WAVEfmt " + b"\xff" * 400, 422, "the recording is not a recording"),
    ],
)
def test_what_is_no_recording_is_refused_in_one_line(open_page, body, status, error):
    found, answer = open_page.post("/api/analyse", body)
    assert found == status
    assert answer["error"].startswith(error)
    assert "\n" not in answer["error"]
    assert "/proc" not in answer["error"]


def test_a_recording_that_says_it_is_too_large_is_not_even_received(open_page):
    with socket.create_connection(("127.0.0.1", open_page.port), PATIENCE_S) as sender:
        sender.sendall(b"POST /api/analyse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
        assert b" 413 " in sender.recv(1000)


def test_a_recording_that_does_not_say_how_large_it_is_is_cut_off(open_page):
    piece = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    with socket.create_connection(("127.0.0.1", open_page.port), PATIENCE_S) as sender:
        sender.sendall(b"POST /api/analyse HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer, n_sent = b"", 0
        try:
            while n_sent < 1000:  # a gigabyte
                sender.sendall(piece)
                n_sent += 1
        except OSError:
            pass
        try:
            answer = sender.recv(1000)
        except OSError:
            answer = b" 413 "  # the answer was overtaken by the end of the connection
        assert b" 413 " in answer
        assert n_sent < 60
    assert int(Path(f"/proc/{pid_of(open_page)}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") < 100e6


def test_a_bomb_is_defused(open_page):
    """Hours of silence are a small FLAC: what counts is what comes out of it."""
    bomb = flac(np.zeros(4000 * 60 * 40, np.int16), 4000)
    assert len(bomb) < 1e6
    status, answer = open_page.post("/api/analyse", bomb)
    assert (status, answer) == (
        422,
        {"error": "the recording is longer than 10 minutes; cut it, or use `tonelight listen`"},
    )


def test_a_hundred_at_once_get_an_answer_each(open_page):
    recording = flac(talk())
    with ThreadPoolExecutor(100) as senders:
        answers = list(senders.map(lambda _: open_page.post("/api/analyse", recording), range(100)))
    taken = [answer for status, answer in answers if status == 200]
    refused = [answer for status, answer in answers if status == 429]
    assert limits.MAX_WAITING <= len(taken) <= len(answers) - len(refused)
    assert len(taken) + len(refused) == 100
    assert all(answer["segments"] == taken[0]["segments"] for answer in taken)
    assert all("try again" in answer["error"] for answer in refused)
    until(lambda: open_page.post("/api/analyse", b"no recording")[0] == 422)  # and nobody is still in the way


def test_nobody_analyses_for_somebody_who_has_left(open_page):
    recording = flac(np.tile(talk(), 60))
    head = f"POST /api/analyse HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(recording)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", open_page.port), PATIENCE_S) as sender:
        sender.sendall(head + recording)
        until(lambda: children_of(pid_of(open_page)))
    until(lambda: not children_of(pid_of(open_page)))


def children_of(pid: int) -> list[int]:
    return [int(n) for path in Path(f"/proc/{pid}/task").glob("*/children") for n in path.read_text().split()]


def test_the_processes_of_the_page_step_back(open_page):
    """The daemon comes first, in time and in memory."""
    until(lambda: open_page.get("/")[0] == 200)
    assert os.getpriority(os.PRIO_PROCESS, pid_of(open_page)) >= 10
    assert Path(f"/proc/{pid_of(open_page)}/oom_score_adj").read_text().strip() == "500"


# --- the process ---


def test_a_page_that_was_killed_comes_back(tmp_path):
    with served(tmp_path) as page:
        assert page.get("/")[0] == 200
        first = pid_of(page)
        os.kill(first, signal.SIGKILL)
        until(lambda: pid_of(page) != first)
        page.page.on_health(health())
        assert page.get("/")[0] == 200


def test_a_page_that_cannot_be_started_is_said_once_and_tried_again(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("edge.web.page.RETRY_S", (0.05,))
    with monkeypatch.context() as without:
        without.setattr(sys, "executable", str(tmp_path / "gone"))
        with served(tmp_path) as page:
            until(lambda: caplog.records)
            time.sleep(0.3)
            (line,) = [record.getMessage() for record in caplog.records]
            assert line.startswith("the page cannot be started: No such file or directory; is there too little memory")
            page.page.on_level(-40, False)  # the rest goes on
            without.undo()
            monkeypatch.setattr("edge.web.page.RETRY_S", (0.05,))
            assert page.get("/")[0] == 200


def test_a_port_that_is_taken_is_said_once_and_tried_again(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("edge.web.page.RETRY_S", (0.05,))
    port = free_port()
    caplog.set_level(logging.INFO, "edge.web")
    with socket.create_server(("127.0.0.1", port)) as taken, served(tmp_path, port=port) as page:
        until(lambda: caplog.records)
        time.sleep(0.3)
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith(f"the page cannot be served at 127.0.0.1:{port}: Address already in use; set web.host")
        page.page.on_level(-40, False)  # the rest goes on
        taken.close()
        assert page.get("/")[0] == 200
    assert [r.getMessage() for r in caplog.records if r.levelno < logging.ERROR] == [f"the page is at {page.page.url}"]


def test_the_end_of_the_daemon_is_the_end_of_the_page(tmp_path):
    with served(tmp_path) as page, page.live() as events:
        pid = pid_of(page)
        page.page.close()
        assert "hello" in [kind for kind, _ in events]  # and then the stream ends
        assert not Path(f"/proc/{pid}").exists()


def test_without_its_libraries_the_page_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with (
        pytest.raises(ConfigError, match=r'^the page needs uvicorn: `\S+ -m pip install "tonelight\[web\]"`') as error,
        served(tmp_path),
    ):
        pass
    assert "\n" not in str(error.value)


# --- the settings ---


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('host = "kitchen.local"', 'web.host: "kitchen.local" is no address: write 127.0.0.1, 0.0.0.0, or localhost'),
        ('token = "short"', "web.token: expected 16 to 200 letters, digits or any of . _ ~ -"),
        ('token = "with spaces and umläuts"', "web.token: expected 16 to 200 letters"),
        ("port = 0", "web.port = 0: expected a whole number from 1 to 65535"),
        ("enabled = 1", "web.enabled = 1: expected true or false"),
    ],
)
def test_wrong_settings_are_named(text, complaint):
    with pytest.raises(ConfigError) as error:
        config.parse(f"[web]\n{text}", Path("c.toml"))
    assert str(error.value).startswith(f"c.toml: {complaint}")


@pytest.mark.parametrize(
    ("host", "is_private"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
    ],
)
def test_who_can_reach_an_address(host, is_private):
    assert WebSettings(host=host).is_private == is_private


# --- the whole program ---


def test_run_serves_the_page_where_it_is_asked_to(home):
    """The daemon with a recording as microphone: what it hears is told, and the page's mute closes its ears."""
    port = free_port()
    (home / "config.toml").write_text(f'[leds]\nkind = "none"\n[web]\nport = {port}\n')
    command = [sys.executable, "-m", "edge", "run", "--config", "config.toml", "--page", "--source", str(demo_path())]
    environment = {**os.environ, "RUNTIME_DIRECTORY": str(home / "run")}
    with subprocess.Popen(command, cwd=home, env=environment, stderr=subprocess.PIPE, text=True) as run:
        page = Client(port)
        told = set()
        try:
            with page.live() as events:
                for kind, value in events:
                    told.add(kind)
                    if kind == "event":
                        assert page.post("/api/mute", b'{"on": true}') == (200, {"on": True})
                    if kind == "health" and value["phase"] == "muted":
                        break
        finally:
            run.send_signal(signal.SIGTERM)
            log = run.communicate(timeout=PATIENCE_S)[1]
    assert run.returncode == 0
    assert told == {"hello", "level", "score", "event", "health"}
    assert f"the page is at http://127.0.0.1:{port}/" in log


def test_without_a_microphone_there_is_something_to_see_for_as_long_as_it_runs(home):
    """A newcomer's `make page`: the browser comes to a page where somebody speaks."""
    with suppress(SourceError):
        if input_devices():
            pytest.skip("this machine has a microphone")
    port = free_port()
    (home / "config.toml").write_text(f'[leds]\nkind = "none"\n[web]\nport = {port}\n')
    command = [sys.executable, "-m", "edge", "run", "--config", "config.toml", "--page", "--source", "auto"]
    environment = {**os.environ, "RUNTIME_DIRECTORY": str(home / "run")}
    with subprocess.Popen(command, cwd=home, env=environment, stderr=subprocess.PIPE, text=True) as run:
        try:
            with Client(port).live() as events:
                assert "score" in (kind for kind, _ in events)
        finally:
            run.send_signal(signal.SIGTERM)
            log = run.communicate(timeout=PATIENCE_S)[1]
    assert run.returncode == 0
    assert "playing the demo recording that comes with tonelight instead, again and again until Ctrl-C" in log
