"""A day as a picture: a lane for each emotion over the hours, and one for the activation; as SVG, or PNG by Pillow."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from edge.day import FELT, Day, Part, in_words
from edge.errors import ConfigError, HistoryError
from edge.events import UNCERTAIN
from edge.extras import how_to_add
from edge.leds.base import COLOURS, activation_colour

# in pixels
WIDTH: Final = 1000
_LEFT, _RIGHT, _TOP, _BOTTOM = 120, 130, 70, 40
_LANE, _LANE_GAP = 34, 8
HEIGHT: Final = _TOP + (len(FELT) + 1) * (_LANE + _LANE_GAP) + _BOTTOM
_GROUND, _LINE, _TEXT, _FAINT, _GREY = "#15171c", "#2c3038", "#f2f2f2", "#a9afba", "#8a8f99"
_PNG_SCALE: Final = 2  # a picture of points should be sharp on any screen


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True)
class Label:
    """A line of text that starts (`anchor` "start"), is centred ("middle") or ends ("end") at `x`, its foot at `y`."""

    x: float
    y: float
    text: str
    colour: str = _TEXT
    size: int = 14
    anchor: str = "start"


Shape = Box | Label


def write_picture(day: Day, path: Path, colours: Mapping[str, str] | None = None) -> None:
    """Draw `day` into the file at `path`, whose name ends in .svg or .png.

    Raises:
        ConfigError: it ends in something else, or Pillow, which PNG needs, is not installed.
        HistoryError: the file cannot be written.
    """
    shapes = _shapes(day, colours)
    kind = path.suffix.lower()
    if kind not in (".svg", ".png"):
        raise ConfigError(f"{path}: a picture is an .svg or a .png: give it a name that ends so")
    content = _svg(day, shapes).encode() if kind == ".svg" else _png(shapes, path)
    try:
        path.write_bytes(content)
    except OSError as error:
        raise HistoryError(f"{path}: the picture cannot be written: {error.strerror}") from None


def _shapes(day: Day, colours: Mapping[str, str] | None) -> list[Shape]:
    """The picture, from back to front."""
    palette = {**COLOURS, **(colours or {}), UNCERTAIN: _GREY}
    title = f"{day.date:%A} {day.date.day} {day.date:%B %Y}"
    shapes: list[Shape] = [Box(0, 0, WIDTH, HEIGHT, _GROUND), Label(_LEFT, 34, title, size=20), _summary(day)]
    n_pixels = WIDTH - _LEFT - _RIGHT
    step = n_pixels / len(day.parts)
    foot = HEIGHT - _BOTTOM
    for i, part in enumerate(day.parts):
        if part.start.minute == 0 and part.start.hour % 3 == 0:
            shapes.append(Box(_LEFT + i * step, _TOP - 4, 1, foot - _TOP, _LINE))
            shapes.append(Label(_LEFT + i * step, foot + 20, f"{part.start:%H:%M}", _FAINT, 12, "middle"))
    longest_s = max(max(part.felt_s.values()) for part in day.parts) or 1.0
    y = float(_TOP)
    for name in FELT:
        base, whole_s = y + _LANE, day.whole.felt_s[name]
        shapes += [Box(_LEFT, base, n_pixels, 1, _LINE), Label(_LEFT - 12, base - 4, name, anchor="end")]
        for i, part in enumerate(day.parts):
            if part.felt_s[name] > 0:
                height = max(2.0, _LANE * part.felt_s[name] / longest_s)  # what was there, must be seen
                shapes.append(Box(_LEFT + i * step, base - height, max(step - 1, 1), height, palette[name]))
        if whole_s:
            share = f"{in_words(whole_s)}  {whole_s / day.whole.spoken_s:.0%}"
            shapes.append(Label(_LEFT + n_pixels + 12, base - 4, share, _FAINT, 13))
        y += _LANE + _LANE_GAP
    return shapes + _activation(day, y, step)


def _summary(day: Day) -> Label:
    whole = day.whole
    said = f"{in_words(whole.spoken_s)} of speech, most felt: {whole.most_felt or UNCERTAIN}"
    return Label(_LEFT, 54, said if whole.n_stretches else "nothing was heard", _FAINT)


def _activation(day: Day, y: float, step: float) -> list[Shape]:
    """The last lane: up from its middle where voices were stirred, down where they were quiet."""
    middle = y + _LANE / 2
    shapes: list[Shape] = [
        Box(_LEFT, middle, WIDTH - _LEFT - _RIGHT, 1, _LINE),
        Label(_LEFT - 12, middle + 5, "activation", anchor="end"),
        Label(WIDTH - _RIGHT + 12, y + 10, "high", _FAINT, 12),
        Label(WIDTH - _RIGHT + 12, y + _LANE, "low", _FAINT, 12),
    ]
    for i, part in enumerate(day.parts):
        if part.activation is not None:
            shapes.append(_activation_bar(part, part.activation, _LEFT + i * step, middle, step))
    return shapes


def _activation_bar(part: Part, activation: float, x: float, middle: float, step: float) -> Box:
    height = max(2.0, abs(activation - 0.5) * _LANE)
    red, green, blue = (round(255 * share) for share in activation_colour(activation))
    top = middle - height if activation >= 0.5 else middle
    return Box(x, top, max(step - 1, 1), height, f"#{red:02x}{green:02x}{blue:02x}")


def _svg(day: Day, shapes: list[Shape]) -> str:
    told = ", ".join(f"{name} {in_words(s)}" for name, s in day.whole.felt_s.items() if s) or "nothing was heard"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' role="img" aria-labelledby="t d" font-family="system-ui, DejaVu Sans, sans-serif">',
        f'<title id="t">The tone of the voices on {day.date.isoformat()}</title>',
        f'<desc id="d">{escape(told)}</desc>',
    ]
    for shape in shapes:
        if isinstance(shape, Box):
            lines.append(
                f'<rect x="{shape.x:.2f}" y="{shape.y:.2f}" width="{shape.width:.2f}" height="{shape.height:.2f}"'
                f' fill="{shape.colour}"/>'
            )
        else:
            lines.append(
                f'<text x="{shape.x:.2f}" y="{shape.y:.2f}" fill="{shape.colour}" font-size="{shape.size}"'
                f' text-anchor="{shape.anchor}">{escape(shape.text)}</text>'
            )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _png(shapes: list[Shape], path: Path) -> bytes:
    """Raises:
    ConfigError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise ConfigError(
            f"{path}: PNG needs Pillow, which is missing: {how_to_add('plot')}; .svg needs nothing"
        ) from None
    image = Image.new("RGB", (WIDTH * _PNG_SCALE, HEIGHT * _PNG_SCALE))
    draw = ImageDraw.Draw(image)
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for shape in shapes:
        if isinstance(shape, Box):
            left, top = shape.x * _PNG_SCALE, shape.y * _PNG_SCALE
            # Pillow counts the last pixel in
            right, foot = left + shape.width * _PNG_SCALE - 1, top + shape.height * _PNG_SCALE - 1
            draw.rectangle((round(left), round(top), round(right), round(foot)), shape.colour)
        else:
            font = ImageFont.load_default(shape.size * _PNG_SCALE)
            at = (shape.x * _PNG_SCALE, shape.y * _PNG_SCALE)
            draw.text(at, shape.text, shape.colour, font, anchors[shape.anchor])
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
