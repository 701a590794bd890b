"""Teaching the light on its page: over HTTP, and in a real browser. The daemon's word is played by the test."""

import io
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
import soundfile
from observed import event
from web_page import Served, health, served
from web_page import event as heard_now

from edge.clips import Clip
from edge.config import demo_path
from edge.history import utc_text
from edge.observers import Health

pytest.importorskip("uvicorn", reason="the page needs starlette and uvicorn: pip install 'tonelight[web]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 60_000


def flac(n_samples: int = 16_000) -> bytes:
    """A piece of the demo recording."""
    samples, rate_hz = soundfile.read(demo_path(), frames=n_samples, start=30_000)
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return out.getvalue()


@pytest.fixture
def kitchen(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as page:
        page.page.on_health(health())
        yield page


def keep(page: Served, ago_s: float = 0.0) -> Clip:
    moment = datetime.now(timezone.utc) - timedelta(seconds=ago_s)
    return page.clips.add(flac(), 1.0, msgspec.structs.replace(event(), ts=utc_text(moment)))


TELLING = threading.Lock()
"""A daemon tells its page everything from one thread."""


@contextmanager
def following(page: Served) -> Iterator[None]:
    """A daemon that follows the switch, as far as the page can see."""
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(0.05):
            with TELLING:
                page.page.on_health(keeping(page.capture.left_s))

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def keeping(for_s: float) -> Health:
    """A daemon that keeps clips for so long."""
    return replace(health(), capturing_s=round(for_s, 1))


# Over HTTP ------------------------------------------------------------------------------------------------------------


def test_capture_is_on_once_the_daemon_has_followed(kitchen):
    with following(kitchen):
        assert kitchen.post("/api/capture", b'{"for_s": 600}') == (200, {"for_s": 600})
        assert 590 < kitchen.capture.left_s <= 600
        assert kitchen.post("/api/capture", b'{"for_s": 0}') == (200, {"for_s": 0})
        assert kitchen.capture.left_s == 0


def test_where_the_daemon_does_not_follow_it_is_off_again(kitchen):
    status, answer = kitchen.post("/api/capture", b'{"for_s": 600}')
    assert status == 409
    assert answer["error"].startswith("the board does not follow: clips are only kept while a light shows it")
    assert kitchen.capture.left_s == 0


def test_what_is_muted_keeps_nothing(kitchen):
    kitchen.mute.set(True)
    status, answer = kitchen.post("/api/capture", b'{"for_s": 600}')
    assert (status, answer["error"]) == (409, "muted: nothing is heard, so there is nothing to keep; unmute first")
    assert kitchen.capture.left_s == 0


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"for_s": -1}', b'{"for_s": 86401}', b'{"for_s": true}', b'{"on": true}', b" " * 2000]
)
def test_capture_takes_only_what_it_knows(kitchen, body):
    status, answer = kitchen.post("/api/capture", body)
    assert (status, answer["error"].partition(":")[0]) == (400, 'expected {"for_s"')
    assert kitchen.capture.left_s == 0


def test_clips_are_listed_heard_named_and_deleted(kitchen):
    older, newer = keep(kitchen, 60), keep(kitchen)
    status, clips = kitchen.get("/api/clips")
    assert status == 200
    assert [clip["id"] for clip in clips] == [newer.id, older.id]
    assert (clips[0]["guess"], clips[0]["emotion"], clips[0]["seconds"]) == ("happy", None, 1.0)
    status, headers, body = kitchen.request("GET", f"/api/clips/{older.id}")
    assert (status, headers["content-type"], body) == (200, "audio/flac", flac())
    assert headers["cache-control"] == "no-store"
    status, clip = kitchen.post(f"/api/clips/{older.id}", b'{"emotion": "sad"}')
    assert (status, clip["id"], clip["emotion"]) == (200, older.id, "sad")
    assert [clip.about.emotion for clip in kitchen.clips.all()] == ["sad", None]
    status, _, body = kitchen.request("DELETE", f"/api/clips/{older.id}")
    assert (status, json.loads(body)) == (200, {"n_deleted": 1})
    assert kitchen.clips.all() == [newer]
    status, _, body = kitchen.request("DELETE", "/api/clips")
    assert (status, json.loads(body)) == (200, {"n_deleted": 1})
    assert list(kitchen.clips.folder.iterdir()) == []
    assert kitchen.get("/api/clips") == (200, [])


@pytest.mark.parametrize("clip_id", ["20200101-000000-000", "..%2fmute", "%2e%2e", "x"])
def test_a_clip_that_is_not_there_is_named(kitchen, clip_id):
    keep(kitchen)
    (kitchen.state / "mute.json").write_text("{}")
    for method in ("GET", "DELETE", "POST"):
        status, _, body = kitchen.request(method, f"/api/clips/{clip_id}", b'{"emotion": null}')
        assert status == 404
        assert json.loads(body)["error"].startswith("there is no")
    assert (kitchen.state / "mute.json").exists()
    assert len(kitchen.clips.all()) == 1


@pytest.mark.parametrize("body", [b"", b'{"emotion": "glad"}', b'{"emotion": 1}', b'{"label": "sad"}', b"x" * 2000])
def test_an_emotion_is_one_of_eight(kitchen, body):
    clip = keep(kitchen)
    status, answer = kitchen.post(f"/api/clips/{clip.id}", body)
    assert status == 400
    assert answer["error"].startswith(
        'expected {"emotion": "sad"}, or null for not knowing; emotions are neutral, calm'
    )
    assert kitchen.clips.all() == [clip]


def test_other_sites_and_those_without_the_token_get_no_clip(tmp_path):
    with served(tmp_path, host="0.0.0.0") as page:
        clip = keep(page)
        for method, path in (("GET", ""), ("GET", f"/{clip.id}"), ("DELETE", ""), ("DELETE", f"/{clip.id}")):
            assert page.request(method, f"/api/clips{path}")[0] == 401
        assert page.post("/api/capture", b'{"for_s": 600}')[0] == 401
        token = page.page.url.partition("?token=")[2]
        own = {"authorization": f"Bearer {token}"}
        assert page.request("GET", f"/api/clips/{clip.id}", None, own)[0] == 200
        foreign = own | {"origin": "http://elsewhere.example", "sec-fetch-site": "cross-site"}
        assert page.request("GET", f"/api/clips/{clip.id}", None, foreign)[0] == 403
        assert page.request("DELETE", "/api/clips", None, foreign)[0] == 403
        assert (
            page.post("/api/capture", b'{"for_s": 600}', **{k.replace("-", "_"): v for k, v in foreign.items()})[0]
            == 403
        )
        assert page.clips.all() == [clip]


# In a browser ---------------------------------------------------------------------------------------------------------

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: sudo apt install chromium")


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, page: Served, **options):
    """The page in a tab; a fault in its scripts, or a request to anybody else, fails the test."""
    from playwright.sync_api import expect

    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    page.get("/style.css")
    tab = context.new_page()
    faults: list[str] = []
    own = ("http://127.0.0.1:", "blob:http://127.0.0.1:")
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("console", lambda told: faults.append(told.text) if "Content Security Policy" in told.text else None)
    tab.on("request", lambda asked: None if asked.url.startswith(own) else faults.append(asked.url))
    tab.goto(page.page.url)
    expect(tab.locator("#phase")).to_have_text("listening")
    yield tab
    context.close()
    assert faults == []


@pytest.mark.browser
@needs_browser
def test_a_browser_teaches_the_light(browser, kitchen):
    from playwright.sync_api import expect

    older = keep(kitchen, 60)
    with following(kitchen), opened(browser, kitchen) as tab:
        capture = tab.locator("#capture")
        expect(tab.locator("#clips li")).to_have_count(1)
        expect(tab.locator("#capturing")).to_be_hidden()
        capture.click()
        expect(tab.locator("#capturing")).to_be_visible()
        expect(capture).to_have_attribute("aria-pressed", "true")
        expect(capture).to_contain_text("Stop keeping clips (30 min left)")
        assert kitchen.capture.left_s > 0

        newer = keep(kitchen)
        with TELLING:
            kitchen.page.on_event(heard_now("happy"))  # what was just said is in the list by itself
        rows = tab.locator("#clips li")
        expect(rows).to_have_count(2)
        expect(tab.locator("#clips-state")).to_have_text("2 clips, 0 named. ")
        expect(rows.first).to_contain_text("guessed happy, 65 %")

        rows.first.get_by_title("sad").press("Enter")
        expect(rows.first.get_by_title("sad")).to_have_attribute("aria-pressed", "true")
        expect(rows.first.get_by_title("sad")).to_be_focused()  # the list was made anew
        expect(rows.first).to_contain_text("named sad, guessed happy")
        assert [clip.about.emotion for clip in kitchen.clips.all()] == [None, "sad"]

        rows.last.get_by_title("Play").click()
        for _ in range(200):  # not `wait_for_function`: it evaluates strings, which the page's policy forbids
            if tab.evaluate("document.getElementById('clip-player').duration") == 1:
                break
            tab.wait_for_timeout(100)
        else:
            pytest.fail("the clip is not played")

        rows.last.get_by_title("Delete").click()
        expect(rows).to_have_count(1)
        assert [clip.id for clip in kitchen.clips.all()] == [newer.id] != [older.id]

        capture.click()
        expect(tab.locator("#capturing")).to_be_hidden()
        assert kitchen.capture.left_s == 0

        tab.once("dialog", lambda dialog: dialog.dismiss())
        tab.locator("#delete-clips").click()
        assert len(kitchen.clips.all()) == 1
        tab.once("dialog", lambda dialog: dialog.accept())
        tab.locator("#delete-clips").click()
        expect(tab.locator("#clips-state")).to_have_text("There are no clips.")
        assert list(kitchen.clips.folder.iterdir()) == []


@pytest.mark.browser
@needs_browser
def test_a_refusal_is_said_on_the_page(browser, kitchen):
    from playwright.sync_api import expect

    with opened(browser, kitchen) as tab:
        tab.locator("#capture").click()
        expect(tab.locator("#teach-error")).to_contain_text("clips are only kept while a light shows it")
        assert kitchen.capture.left_s == 0


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (360, 740)])
def test_everybody_can_teach_it(browser, kitchen, scheme, width, height):
    """axe finds nothing, and nothing is wider than the screen."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    from playwright.sync_api import expect

    kitchen.clips.label(keep(kitchen, 60).id, "calm")
    keep(kitchen)
    kitchen.page.on_health(keeping(600.0))
    # axe is injected as a script, which the page's policy is there to forbid
    options = {"viewport": {"width": width, "height": height}, "color_scheme": scheme, "bypass_csp": True}
    with opened(browser, kitchen, reduced_motion="reduce", **options) as tab:
        expect(tab.locator("#clips li")).to_have_count(2)
        expect(tab.locator("#capturing")).to_be_visible()
        tab.locator("#clips li").last.get_by_title("Play").click()
        expect(tab.locator("#clip-player")).to_be_visible()
        found = axe.Axe().run(tab).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert (
            tab.evaluate("document.getElementById('clips').scrollWidth - document.getElementById('clips').clientWidth")
            <= 0
        )
