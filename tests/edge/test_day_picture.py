"""A day as a picture: that it is one, in both forms, and shows what was heard."""

import io
import sys
from datetime import date, datetime, timezone
from xml.etree import ElementTree

import msgspec
import pytest
from observed import event as observed_event
from PIL import Image

from edge.cli import main
from edge.day import Day, bounds_of, summarise
from edge.day_picture import HEIGHT, WIDTH, write_picture
from edge.errors import ConfigError, HistoryError
from edge.history import Event, History, utc_text
from edge.labels import EMOTIONS
from edge.leds.base import COLOURS

DAY = date(2026, 3, 2)
SVG = "{http://www.w3.org/2000/svg}"


def event(part: float, label: str, length_s: float = 5.0) -> Event:
    """An event after a `part` of the day."""
    start, end = bounds_of(DAY)
    return msgspec.structs.replace(
        observed_event(), ts=utc_text(start + part * (end - start)), label=label, start_s=0.0, end_s=length_s
    )


ONE_EACH = summarise([event(0.1 * (1 + i), name) for i, name in enumerate(EMOTIONS)], DAY, part_minutes=10)


def drawn(day: Day, tmp_path, **colours: str) -> ElementTree.Element:
    write_picture(day, tmp_path / "day.svg", colours)
    return ElementTree.fromstring((tmp_path / "day.svg").read_text(encoding="utf-8"))


def boxes(picture: ElementTree.Element, colour: str) -> list[tuple[float, float, float, float]]:
    rects = [rect for rect in picture.iter(f"{SVG}rect") if rect.get("fill") == colour]
    return [tuple(float(rect.get(name) or "nan") for name in ("x", "y", "width", "height")) for rect in rects]  # type: ignore[misc]


def test_each_emotion_is_in_its_lane_at_its_time(tmp_path):
    picture = drawn(ONE_EACH, tmp_path)
    feet = []
    for i, name in enumerate(EMOTIONS):
        ((x, y, width, height),) = boxes(picture, COLOURS[name])
        share = (x + width / 2 - 120) / (WIDTH - 250)
        assert share == pytest.approx(0.1 * (1 + i), abs=0.01)
        feet.append(y + height)
        (label,) = [text for text in picture.iter(f"{SVG}text") if text.text == name]
        assert float(label.get("y") or "nan") == pytest.approx(y + height, abs=10)
    assert feet == sorted(feet) and len(set(feet)) == len(EMOTIONS)


def test_a_bar_is_as_high_as_it_was_felt_long(tmp_path):
    day = summarise([event(0.5, "calm", 100.0), event(0.7, "calm", 50.0), event(0.9, "calm", 0.01)], DAY, 10)
    heights = [height for *_, height in boxes(drawn(day, tmp_path), COLOURS["calm"])]
    assert heights[0] == pytest.approx(2 * heights[1]) and heights[2] == 2  # what was there, can be seen


def test_it_can_be_read_aloud_and_stays_within_itself(tmp_path):
    picture = drawn(ONE_EACH, tmp_path)
    assert picture.get("role") == "img" and (picture.get("width"), picture.get("height")) == (str(WIDTH), str(HEIGHT))
    assert picture.findtext(f"{SVG}title") == "The tone of the voices on 2026-03-02"
    assert "angry 5 s" in (picture.findtext(f"{SVG}desc") or "")
    for rect in picture.iter(f"{SVG}rect"):
        x, y, width, height = (float(rect.get(name) or "nan") for name in ("x", "y", "width", "height"))
        assert x >= 0 and y >= 0 and x + width <= WIDTH and y + height <= HEIGHT


def test_other_colours(tmp_path):
    picture = drawn(ONE_EACH, tmp_path, sad="#123456")
    assert len(boxes(picture, "#123456")) == 1 and boxes(picture, COLOURS["sad"]) == []


def test_a_quiet_day(tmp_path):
    picture = drawn(summarise([], DAY, part_minutes=10), tmp_path)
    assert "nothing was heard" in [text.text for text in picture.iter(f"{SVG}text")]
    assert all(boxes(picture, colour) == [] for colour in COLOURS.values())


def test_png_shows_the_same(tmp_path):
    write_picture(ONE_EACH, tmp_path / "day.PNG")
    image = Image.open(io.BytesIO((tmp_path / "day.PNG").read_bytes()))
    assert image.format == "PNG" and image.size == (2 * WIDTH, 2 * HEIGHT)
    picture = drawn(ONE_EACH, tmp_path)
    for name in EMOTIONS:
        ((x, y, width, height),) = boxes(picture, COLOURS[name])
        at = (round(2 * x + width), round(2 * y + height))
        assert image.getpixel(at) == tuple(bytes.fromhex(COLOURS[name][1:]))
    texts = image.crop((0, 0, 2 * WIDTH, 120)).getcolors(100_000)
    assert texts is not None and len(texts) > 2  # the title


def test_without_pillow_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(
        ConfigError, match=r'PNG needs Pillow, which is missing: `\S+ -m pip install "tonelight\[plot\]"`; \.svg'
    ):
        write_picture(ONE_EACH, tmp_path / "day.png")
    write_picture(ONE_EACH, tmp_path / "day.svg")


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ConfigError, match=r"day\.jpg: a picture is an \.svg or a \.png"):
        write_picture(ONE_EACH, tmp_path / "day.jpg")
    with pytest.raises(HistoryError, match="the picture cannot be written: No such file or directory"):
        write_picture(ONE_EACH, tmp_path / "nowhere" / "day.svg")


def test_by_the_command(home, capsys):
    history = History(home / "state" / "history.db", max_mb=10, max_days=36_500)
    history.write(msgspec.structs.replace(observed_event(), ts=utc_text(datetime.now(timezone.utc))))
    history.close()
    assert main(["history", "--plot", str(home / "today.svg")]) == 0
    assert "most felt: happy" in (home / "today.svg").read_text(encoding="utf-8")
    assert main(["history", "--day", "2001-01-01", "--plot", str(home / "then.svg")]) == 0
    assert "nothing was heard" in (home / "then.svg").read_text(encoding="utf-8")
    assert capsys.readouterr() == ("", "")
