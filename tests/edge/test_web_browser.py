"""The page in a real browser: Chromium without a window, driven from outside. Nothing of the page is replaced."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_page import Served, event, health, score, served

from edge.config import demo_path
from edge.history import History
from edge.observers import Phase

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
pytest.importorskip("uvicorn", reason="the page needs starlette and uvicorn: pip install 'tonelight[web]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: sudo apt install chromium"),
]
PATIENCE_MS = 60_000
expect = sync_api.expect


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        options = [
            "--no-sandbox",  # which needs a user other than root
            "--use-fake-device-for-media-stream",  # a microphone that beeps
            "--use-fake-ui-for-media-stream",
        ]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def kitchen(tmp_path: Path) -> Iterator[Served]:
    """A page with a day behind it: happy every hour, angry three hours ago."""
    log = History(tmp_path / "history.db", max_mb=4, max_days=365)
    for n in range(20, 0, -1):
        log.write(event("happy", ago_s=3600 * n, seconds=3))
    log.write(event("angry", ago_s=3 * 3600 + 60, seconds=20))
    log.close()
    with served(tmp_path) as page:
        page.page.on_health(health())
        yield page


@pytest.fixture
def tab(browser: sync_api.Browser, kitchen: Served) -> Iterator[sync_api.Page]:
    """The page, opened; a fault in its scripts, or a request to anybody else, fails the test."""
    context = browser.new_context()
    tab, faults = watched(context, kitchen)
    tab.goto(kitchen.page.url)
    expect(tab.locator("#phase")).to_have_text("listening")
    yield tab
    context.close()
    assert faults == []


def watched(context: sync_api.BrowserContext, page: Served) -> tuple[sync_api.Page, list[str]]:
    context.set_default_timeout(PATIENCE_MS)
    page.get("/style.css")  # it is there
    tab = context.new_page()
    faults: list[str] = []
    own = ("http://127.0.0.1:", "blob:http://127.0.0.1:")
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("request", lambda asked: None if asked.url.startswith(own) else faults.append(asked.url))
    return tab, faults


def test_what_is_heard_is_seen_at_once(kitchen, tab):
    kitchen.page.on_score(score("happy", 0.83, activation=0.9))
    expect(tab.locator("#what")).to_have_text("happy")
    expect(tab.locator("#sure")).to_have_text("83 % sure")
    expect(tab.locator("#activation")).to_have_text("high, 90 %")
    expect(tab.locator("#face")).to_have_attribute("href", "#happy")
    expect(tab.locator("#orb")).to_have_css("color", "rgb(255, 238, 0)")  # the light's own, as configured
    kitchen.page.on_score(score("sad", 0.4, is_sure=False, activation=0.5))
    expect(tab.locator("#what")).to_have_text("not sure")
    expect(tab.locator("#sure")).to_have_text("perhaps sad, 40 %")
    expect(tab.locator("#orb")).to_have_css("color", "rgb(255, 255, 255)")  # neither high nor low
    kitchen.page.on_event(event("surprised", 0.71))
    expect(tab.locator("#last")).to_contain_text("surprised, 71 % at ")
    expect(tab.locator("#what")).to_have_text("Listening")  # after a while without anything new


def test_the_level_meter_moves(kitchen, tab):
    kitchen.page.on_level(-20.0, True)
    expect(tab.locator("#level")).to_have_attribute("aria-valuenow", "-20")
    expect(tab.locator("#level-db")).to_have_text("-20 dB")


def test_the_day_can_be_scrolled_zoomed_and_filtered_by_keyboard(kitchen, tab):
    lane = {name: tab.locator("#lanes button", has_text=name) for name in ("happy", "angry", "not sure")}
    expect(lane["happy"]).to_contain_text("75 %")  # 60 s of 80
    expect(lane["angry"]).to_contain_text("25 %")
    tab.get_by_text("As a list").click()
    rows = tab.locator("#rows tr")
    expect(rows).to_have_count(21)
    lane["happy"].press("Enter")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("angry")
    expect(lane["happy"]).to_have_attribute("aria-pressed", "false")
    expect(lane["angry"]).to_contain_text("100 %")
    lane["happy"].press("Enter")
    tab.get_by_role("button", name="10 min").click()
    expect(rows.first).to_have_text("Nothing was heard in this time.")
    kitchen.page.on_event(event("calm"))
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("calm")
    tab.get_by_role("button", name="1 h", exact=True).click()
    track = tab.locator("#track")
    for _ in range(8):
        track.press("+")
    expect(tab.locator("#follow")).to_have_attribute("aria-pressed", "true")  # however close
    tab.get_by_role("button", name="1 h", exact=True).click()
    for _ in range(24):
        track.press("ArrowLeft")  # an eighth of an hour
    expect(tab.locator("#follow")).to_have_attribute("aria-pressed", "false")
    expect(rows).to_have_count(2)  # three hours ago
    track.press("+")
    expect(tab.locator("#span")).to_contain_text("stretches of speech")
    track.press("End")
    expect(tab.locator("#follow")).to_have_attribute("aria-pressed", "true")
    expect(rows.first).to_contain_text("calm")


def test_the_timeline_says_what_is_under_the_pointer(kitchen, tab):
    tab.get_by_role("button", name="10 min").click()
    kitchen.page.on_event(event("sad", 0.66, ago_s=300, seconds=60))
    box = tab.locator("#canvas").bounding_box()
    lane = box["height"] / 10
    expect(tab.locator("#last")).to_contain_text("sad")
    tab.mouse.move(box["x"] + box["width"] * 0.45, box["y"] + 3.5 * lane)
    expect(tab.locator("#pointed")).to_contain_text("sad (66 %), 1 min 0 s")


def test_a_recording_is_answered_over_its_waveform(tab):
    tab.set_input_files("#file", demo_path())
    expect(tab.locator("#try-state")).to_contain_text("demo.flac: 25 s")
    segments = tab.locator("#segments button")
    expect(segments.first).to_be_visible()
    assert segments.count() >= 3
    expect(segments.first).to_have_attribute("aria-label", re.compile(r"^\d.* s to .* s: .*, activation (high|low), "))
    expect(tab.locator("#answer")).to_contain_text("activation")
    expect(tab.locator("#waveform path")).to_have_attribute("d", re.compile("^M0,"))


def test_what_is_no_recording_is_said_in_one_line(tab, tmp_path):
    diary = tmp_path / "diary.wav"
    diary.write_text("Dear diary, today somebody was happy.")
    tab.set_input_files("#file", diary)
    expect(tab.locator("#try-error")).to_contain_text("The recording is not a recording that can be read")
    expect(tab.locator("#result")).to_be_hidden()


def test_the_browser_can_record(tab):
    record = tab.locator("#record")
    record.press("Enter")
    expect(tab.locator("#try-state")).to_contain_text("Recording: 1.")
    expect(record).to_be_focused()  # Enter ends it, too
    expect(record).to_have_attribute("aria-pressed", "true")
    record.click()
    expect(tab.locator("#try-state")).to_contain_text("your recording: ")
    expect(tab.locator("#result")).to_be_visible()


COUNT_STREAMS = """() => {
  const devices = navigator.mediaDevices;
  const ask = devices.getUserMedia.bind(devices);
  window.streams = [];
  devices.getUserMedia = async (wanted) => {
    const stream = await ask(wanted);
    window.streams.push(stream);
    return stream;
  };
}"""
LIVE_STREAMS = "window.streams.map((stream) => stream.getTracks().some((track) => track.readyState === 'live'))"


def test_pressed_twice_it_opens_one_microphone_and_closes_it(tab):
    tab.evaluate(COUNT_STREAMS)
    record = tab.locator("#record")
    record.evaluate("(button) => { button.click(); button.click(); }")  # while the browser still asks
    expect(record).to_have_attribute("aria-pressed", "true")
    expect(tab.locator("#try-state")).to_contain_text("Recording: ")
    assert tab.evaluate(LIVE_STREAMS) == [True]
    record.click()
    expect(tab.locator("#try-state")).to_contain_text("your recording: ")
    assert tab.evaluate(LIVE_STREAMS) == [False]


def test_a_recording_that_cannot_begin_leaves_no_microphone_open(tab):
    tab.evaluate(COUNT_STREAMS)
    # no route.abort(): what a worklet loads does not pass by there
    tab.evaluate("() => { AudioWorklet.prototype.addModule = () => Promise.reject(new Error('no such module')); }")
    record = tab.locator("#record")
    record.click()
    expect(tab.locator("#try-error")).to_have_text("The browser cannot record here; choose a file instead.")
    assert tab.evaluate(LIVE_STREAMS) == [False]
    expect(record).to_have_attribute("aria-pressed", "false")
    record.click()  # it can be tried again
    expect(tab.locator("#try-error")).to_be_visible()
    assert tab.evaluate(LIVE_STREAMS) == [False, False]


def test_a_refusal_outlasts_the_next_word_on_health(kitchen, tab):
    kitchen.page.on_health(health(Phase.MUTED))
    expect(tab.locator("#mute")).to_have_attribute("aria-pressed", "true")
    kitchen.mute.path.mkdir()  # somebody's mistake, which cannot be removed as a switch is
    tab.locator("#mute").click()
    said = tab.get_by_role("alert").filter(has_text="the mute switch cannot be set")
    expect(said).to_be_visible()
    kitchen.page.on_health(health(n_gaps=1))
    expect(tab.locator("#h-lost")).to_have_text("0.5 s in 1 gap")
    expect(said).to_be_visible()
    kitchen.mute.path.rmdir()
    tab.locator("#mute").click()
    expect(said).to_be_hidden()


def test_a_log_that_cannot_be_read_stays_said(browser, tmp_path):
    (tmp_path / "history.db").write_text("a shopping list" * 100)
    with served(tmp_path) as page:
        page.page.on_health(health())
        context = browser.new_context()
        tab, faults = watched(context, page)
        tab.goto(page.page.url)
        said = tab.get_by_role("alert").filter(has_text=str(page.history))
        expect(said).to_be_visible()
        page.page.on_health(health(n_gaps=1))
        expect(tab.locator("#h-lost")).to_have_text("0.5 s in 1 gap")
        expect(said).to_be_visible()
        context.close()
        assert faults == []


def test_mute_and_back(kitchen, tab):
    mute = tab.locator("#mute")
    mute.press("Enter")
    expect(mute).to_be_enabled()
    assert kitchen.mute.is_on
    kitchen.page.on_health(health(Phase.MUTED))  # what the daemon then says
    expect(mute).to_have_attribute("aria-pressed", "true")
    expect(tab.locator("#what")).to_have_text("Muted")
    expect(tab.locator("#h-phase")).to_have_text("muted")
    kitchen.page.on_score(score("happy"))  # left over
    expect(tab.locator("#what")).to_have_text("Muted")
    mute.click()
    expect(mute).to_be_enabled()
    assert not kitchen.mute.is_on


def test_health_is_told_and_a_fault_in_words(kitchen, tab):
    expect(tab.locator("#h-microphone")).to_have_text("desk microphone")
    expect(tab.locator("#h-model")).to_have_text("tonelight-0.1.0")
    expect(tab.locator("#h-uptime")).to_have_text("1 min 30 s")
    expect(tab.locator("#h-lost")).to_have_text("none")
    kitchen.page.on_health(health(Phase.FAULT, "no microphone fits 'desk'; see `tonelight devices`", n_gaps=2))
    expect(tab.locator("#trouble")).to_have_text("no microphone fits 'desk'; see `tonelight devices`")
    expect(tab.locator("#what")).to_have_text("Not listening")
    expect(tab.locator("#h-lost")).to_have_text("1.0 s in 2 gaps")


def test_a_board_that_ends_is_noticed(kitchen, tab):
    kitchen.page.close()
    expect(tab.locator("#trouble")).to_contain_text("connection to the board is lost")
    expect(tab.locator("#phase")).to_have_text("not connected")


def test_a_second_browser_on_a_slow_line_delays_nobody(browser, kitchen, tab):
    context = browser.new_context()
    slow, _ = watched(context, kitchen)
    slow.goto(kitchen.page.url)
    expect(slow.locator("#phase")).to_have_text("listening")
    line = context.new_cdp_session(slow)
    line.send("Network.enable")
    conditions = {"offline": False, "latency": 2000, "downloadThroughput": 500, "uploadThroughput": 500}
    line.send("Network.emulateNetworkConditions", conditions)
    for n in range(200):
        kitchen.page.on_score(score("happy", 0.5 + n / 1000))
        kitchen.page.on_event(event("happy", 0.5 + n / 1000))
    kitchen.page.on_event(event("surprised", 0.77))
    while not kitchen.page._flush():  # what was too much at once goes with the next block
        tab.wait_for_timeout(20)
    expect(tab.locator("#last")).to_contain_text("surprised, 77 %")
    context.close()


def test_the_token_opens_the_page_and_does_not_stay_in_the_address(browser, tmp_path):
    with served(tmp_path, host="0.0.0.0") as page:
        page.page.on_health(health())
        context = browser.new_context()
        tab, faults = watched(context, page)
        tab.goto(f"http://127.0.0.1:{page.port}/")
        expect(tab.locator("p")).to_contain_text("This light asks for its token.")
        tab.get_by_label("Token").fill("not the right one")
        tab.get_by_role("button").click()
        expect(tab.locator("p")).to_contain_text("That is not its token.")
        tab.get_by_label("Token").fill(page.page.url.partition("?token=")[2])
        tab.get_by_role("button").click()
        expect(tab.locator("#phase")).to_have_text("listening")
        expect(tab).to_have_url(f"http://127.0.0.1:{page.port}/")
        tab.reload()  # the cookie
        expect(tab.locator("#phase")).to_have_text("listening")
        context.close()
        assert faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (360, 740)])
def test_everybody_can_use_it(browser, kitchen, scheme, width, height):
    """axe finds nothing, and nothing is wider than the screen."""
    if importlib.util.find_spec("axe_playwright_python") is None:
        pytest.skip("pip install axe-playwright-python")
    from axe_playwright_python.sync_playwright import Axe

    # axe is injected as a script, which the page's policy is there to forbid
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce", bypass_csp=True
    )
    tab, faults = watched(context, kitchen)
    tab.goto(kitchen.page.url)
    expect(tab.locator("#lanes button").first).to_contain_text("%")
    tab.get_by_text("As a list").click()
    tab.set_input_files("#file", demo_path())
    expect(tab.locator("#result")).to_be_visible()
    kitchen.page.on_score(score("sad", 0.9))
    expect(tab.locator("#what")).to_have_text("sad")
    found = Axe().run(tab).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for phase in (Phase.MUTED, Phase.FAULT):
        kitchen.page.on_health(health(phase, "no microphone"))
        expect(tab.locator("#phase")).to_have_attribute("data-phase", phase.value)
        found = Axe().run(tab).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    context.close()
    assert faults == []
