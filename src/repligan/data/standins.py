"""Seeded pictures with known factors (house digits, faces, anime faces) for data sets that cannot be downloaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import as_file, files
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from repligan.core.progress import Progress
from repligan.core.randomness import rng

Subject = Literal["digits", "faces", "anime"]
Point = tuple[float, float]
Points = tuple[Point, ...]
Colour = tuple[int, ...]
Palette = dict[str, Colour]
OVERSAMPLING = 4


def _palette(text: str) -> Palette:
    words = text.split()
    return {name: tuple(bytes.fromhex(code)) for name, code in zip(words[::2], words[1::2], strict=True)}


# Whichever of ink and background is dark, the other is light: a digit stays legible in any two hues.
DARK = _palette("red 88161c yellow 704c04 green 0c5826 blue 142c84 violet 581874 grey 2c2e32")
LIGHT = _palette("red ffb0a6 yellow ffe678 green aaeca4 blue a8d0ff violet e2b8fa grey ecece8")
SKINS = _palette("fair fcdcc6 light f0c49c tan d8a276 brown a46e4a deep 704834")
HAIRS = _palette("black 28222a brown 6a4028 blond e4be70 red b85228 grey 888a92 white eae8e2")
VIVID_HAIRS = _palette(
    "pink fa92ba blue 4a7ce2 green 54bc80 violet 9462d2 blond fad66e black 363042 silver ced4e2 red d83e3e"
)
IRISES = _palette("brown 683e20 blue 3a7cce green 428e4a grey 88929c")
VIVID_IRISES = _palette("blue 327eec green 2cac60 violet 9448d0 amber e8961e crimson d62c46")
BACKGROUNDS = _palette("blue 74a0cc green 82b08a rose d48e98 sand dcba84 slate 606876")
PALE_BACKGROUNDS = _palette("sky b4d8fa mint b6ecc8 blossom fcc6d8 cream fceab4 lilac d2c2f4")
FONTS = {
    "sans": "DejaVuSans-Bold",
    "light": "DejaVuSans",
    "serif": "DejaVuSerif-Bold",
    "slanted": "DejaVuSerif-BoldItalic",
    "times": "STIXGeneralBol",
    "typewriter": "cmtt10",
}
MOUTHS = ("smile", "neutral", "open")
POSES = ("left", "centre", "right")


def _mirrored(*half: Point) -> Points:
    """A left half from outside to the middle -> the whole line, left to right."""
    return half + tuple((-x, y) for x, y in reversed(half) if x)


@lru_cache
def _smooth(points: Points, closed: bool = True) -> Points:
    """A Catmull-Rom curve through the points."""
    count, out = len(points), list[Point]()
    for i in range(count if closed else count - 1):
        near = [points[j % count if closed else min(max(j, 0), count - 1)] for j in range(i - 1, i + 3)]
        for t in (0.0, 0.25, 0.5, 0.75):
            s, c = t * t, t * t * t
            w = (-t + 2 * s - c, 2 - 5 * s + 3 * c, t + 4 * s - 3 * c, c - s)
            x, y = ((w[0] * p + w[1] * q + w[2] * u + w[3] * v) / 2 for p, q, u, v in zip(*near, strict=True))
            out.append((x, y))
    return tuple(out if closed else [*out, points[-1]])


def _placed(points: Iterable[Point], centre: Point, half: Point) -> Points:
    return tuple((centre[0] + half[0] * x, centre[1] + half[1] * y) for x, y in points)


@dataclass(frozen=True)
class Cut:
    """A hair cut in head units: the line over the face, and how low and wide hair hangs behind; its curls' radius."""

    hairline: Points
    volume: float
    low: float = 0.0
    wide: float = 1.0
    curl: float = 0.0


# Shapes are in head units: the head's centre is (0, 0), its half-width and half-height are 1, y points down.
# fmt: off
CUTS = {
    "short": Cut(
        ((-1.04, 0.0), (-0.9, -0.3), (-0.76, -0.52), (-0.4, -0.6), (0.2, -0.74), (0.7, -0.5), (0.9, -0.3), (1.04, 0.0)),
        1.1,
    ),
    "bob": Cut(_mirrored((-1.2, 0.72), (-0.86, 0.7), (-0.88, 0.0), (-0.82, -0.34), (-0.4, -0.42), (0.0, -0.38)),
               1.14, 0.75, 1.2),
    "long": Cut(_mirrored((-1.16, 1.2), (-0.98, 1.1), (-0.93, 0.2), (-0.74, -0.36), (-0.3, -0.72), (0.0, -0.92)),
                1.12, 2.2, 1.24),
    "curly": Cut(_mirrored((-1.06, 0.0), (-0.92, -0.2), (-0.8, -0.5), (-0.4, -0.68), (0.0, -0.72)),
                 1.16, 0.45, 1.2, 0.22),
    "shaved": Cut(_mirrored((-0.98, -0.2), (-0.86, -0.46), (-0.5, -0.66), (0.0, -0.72)), 1.0),
}
FRINGES = {
    "straight": _mirrored(
        (-0.86, 0.0), (-0.8, -0.22), (-0.62, -0.16), (-0.56, -0.24), (-0.32, -0.14), (-0.26, -0.22), (0.0, -0.12)
    ),
    "swept": ((-0.9, 0.1), (-0.8, -0.34), (-0.66, -0.5), (-0.34, -0.18), (-0.3, -0.42), (0.1, -0.06), (0.12, -0.32),
              (0.6, 0.1), (0.68, -0.16), (0.86, 0.2)),
    "parted": _mirrored((-0.84, 0.24), (-0.76, -0.1), (-0.6, 0.04), (-0.46, -0.4), (-0.3, -0.34), (0.0, -0.86)),
    "spiky": _mirrored((-0.86, 0.16), (-0.74, -0.3), (-0.54, 0.02), (-0.42, -0.44), (-0.2, -0.04), (0.0, -0.42)),
}
LENGTHS = {"short": (0.3, 1.14), "medium": (0.95, 1.26), "long": (2.4, 1.36)}
SCALP = _smooth(_mirrored((1.0, 0.0), (0.96, -0.45), (0.62, -0.9), (0.0, -1.05)), False)
GLOSS = _smooth((*_mirrored((-0.74, -0.58), (-0.45, -0.86), (0.0, -0.95)), (0.44, -0.73), (0.0, -0.81), (-0.44, -0.73)))
CIRCLE = _smooth(((1, 0), (0.707, 0.707), (0, 1), (-0.707, 0.707), (-1, 0), (-0.707, -0.707), (0, -1), (0.707, -0.707)))
ALMOND = _smooth(((-1, 0.25), (-0.5, -0.75), (0.25, -1), (1, -0.1), (0.5, 0.8), (-0.4, 0.85)))
LIPS = _smooth(((-1, 0), (-0.4, -0.6), (0, -0.4), (0.4, -0.6), (1, 0), (0.5, 0.8), (-0.5, 0.8)))
GRIN = _smooth(((-1.1, -0.5), (-0.5, -0.1), (0, 0), (0.5, -0.1), (1.1, -0.5), (0.6, 0.75), (0, 1.1), (-0.6, 0.75)))
TORSO = ((-2.4, 2.4), (-1.7, 1.5), (-1.0, 1.34), (-0.46, 1.2), (0.46, 1.2), (1.0, 1.34), (1.7, 1.5), (2.4, 2.4))
NECK = ((-0.44, 0.6), (-0.46, 1.22), (-0.2, 1.42), (0.2, 1.42), (0.46, 1.22), (0.44, 0.6))

FACTORS: dict[str, dict[str, tuple[str, ...]]] = {
    "digits": {"digit": tuple("0123456789"), "ink": tuple(DARK), "background": tuple(DARK), "font": tuple(FONTS)},
    "faces": {
        "hair colour": tuple(HAIRS), "hair style": tuple(CUTS), "skin": tuple(SKINS), "eyes": tuple(IRISES),
        "mouth": MOUTHS, "pose": POSES, "background": tuple(BACKGROUNDS), "glasses": ("no", "yes"),
    },
    "anime": {
        "hair colour": tuple(VIVID_HAIRS), "fringe": tuple(FRINGES), "hair length": tuple(LENGTHS),
        "eyes": tuple(VIVID_IRISES), "mouth": MOUTHS, "pose": POSES, "background": tuple(PALE_BACKGROUNDS),
    },
}


@dataclass(frozen=True)
class Style:
    """What tells one kind of face from another: half the head's outline, sizes and places, palettes.

    `brows` is the range of their thickness; `ridge` says whether a nose has a ridge and nostrils or is a dot.
    """

    head: Points
    eye: Point
    eye_half: Point
    iris_half: Point
    lash: float
    brow: float
    brows: Point
    mouth: Point
    ridge: bool
    hairs: Palette
    irises: Palette
    backgrounds: Palette


STYLES = {
    "faces": Style(
        head=((-0.24, 0.99), (-0.6, 0.82), (-0.88, 0.45), (-0.98, 0.0), (-0.95, -0.5), (-0.6, -0.9), (0.0, -1.0)),
        eye=(0.42, -0.04), eye_half=(0.21, 0.105), iris_half=(0.12, 0.105), lash=0.05, brow=-0.27, brows=(0.05, 0.1),
        mouth=(0.3, 0.56), ridge=True, hairs=HAIRS, irises=IRISES, backgrounds=BACKGROUNDS,
    ),
    "anime": Style(
        head=((-0.1, 0.99), (-0.44, 0.84), (-0.84, 0.45), (-0.96, 0.1), (-0.98, -0.45), (-0.66, -0.88), (0.0, -1.0)),
        eye=(0.44, 0.16), eye_half=(0.28, 0.26), iris_half=(0.2, 0.245), lash=0.075, brow=-0.2, brows=(0.03, 0.06),
        mouth=(0.17, 0.68), ridge=False, hairs=VIVID_HAIRS, irises=VIVID_IRISES, backgrounds=PALE_BACKGROUNDS,
    ),
}
# fmt: on


def draw(subject: str, size: int, index: int) -> tuple[Image.Image, list[int]]:
    """Picture `index`, RGB [size, size], and the index of each factor's value in the order of FACTORS[subject]."""
    gen = rng(0, f"standin_{subject}", index)
    values = [int(gen.integers(len(names))) for names in FACTORS[subject].values()]
    return paint(subject, size, values, gen), values


def paint(subject: str, size: int, values: Sequence[int], gen: np.random.Generator) -> Image.Image:
    """A picture, RGB [size, size], with these values of its factors; `gen` settles all that is no factor."""
    named = {factor: names[i] for (factor, names), i in zip(FACTORS[subject].items(), values, strict=True)}
    return _digit(named, size, gen) if subject == "digits" else _portrait(STYLES[subject], named, size, gen)


def draw_all(subject: str, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures 0..count-1, uint8 [N, size, size, 3] in 0..255, and their factors' values, int64 [N, K]."""
    progress = Progress("drawing", count)
    img = np.empty((count, size, size, 3), np.uint8)
    values = np.empty((count, len(FACTORS[subject])), np.int64)
    for i in range(count):
        picture, values[i] = draw(subject, size, i)
        img[i] = np.asarray(picture)
        progress(i + 1)
    return img, values


def _digit(named: dict[str, str], size: int, gen: np.random.Generator) -> Image.Image:
    side, inks, grounds = size * OVERSAMPLING, *((DARK, LIGHT) if gen.integers(2) else (LIGHT, DARK))
    ground = _varied(grounds[named["background"]], gen, 14)
    canvas = _gradient(side, ground, _shade(ground, gen.uniform(0.78, 1.12)), sideways=bool(gen.integers(2)))
    canvas.paste(_varied(inks[named["ink"]], gen, 14), mask=_tilted(_text(named, side, gen), gen))
    small = canvas.resize((size, size), Image.Resampling.BOX)
    if gen.random() < 0.4:
        small = small.filter(ImageFilter.BoxBlur(size / 64))
    strength = int(gen.integers(2, 9))
    noise = gen.integers(-strength, strength + 1, (size, size, 1)) + gen.integers(-3, 4, (size, size, 3))
    return Image.fromarray((np.asarray(small) + noise).clip(0, 255).astype(np.uint8))


def _text(named: dict[str, str], side: int, gen: np.random.Generator) -> Image.Image:
    """The digit near the middle and, in about half of the pictures, parts of its neighbours."""
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    # Few sizes, since loading a font for a size is slow.
    font = _font(named["font"], side * int(gen.integers(24, 31)) // 32)
    left, top, right, bottom = font.getbbox(named["digit"])
    x = side * gen.uniform(0.45, 0.55) - (left + right) / 2
    y = round(side * gen.uniform(0.46, 0.54) - (top + bottom) / 2)
    pen.text((round(x), y), named["digit"], 255, font)
    gap = side * gen.uniform(0.03, 0.12)
    for other, present, before in zip(gen.integers(10, size=2), gen.random(2) < 0.3, (True, False), strict=True):
        if present:
            start, _, end, _ = font.getbbox(str(other))
            pen.text((round(x + (left - gap - end if before else right + gap - start)), y), str(other), 255, font)
    return mask


def _tilted(mask: Image.Image, gen: np.random.Generator) -> Image.Image:
    cos, sin = _rotation(gen.uniform(-0.087, 0.087))
    half = mask.width / 2
    matrix = (cos, sin, half - half * (cos + sin), -sin, cos, half - half * (cos - sin))
    return mask.transform(mask.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _rotation(tangent: float) -> Point:
    """Cosine and sine from the tangent of half the angle: unlike libm's they are the same on every machine."""
    return (1 - tangent * tangent) / (1 + tangent * tangent), 2 * tangent / (1 + tangent * tangent)


@lru_cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    with as_file(files("matplotlib") / f"mpl-data/fonts/ttf/{FONTS[name]}.ttf") as path:
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache
def _ramp(side: int, sideways: bool) -> Image.Image:
    steps = np.broadcast_to((np.arange(side) * 255 // (side - 1)).astype(np.uint8), (side, side))
    return Image.fromarray(np.ascontiguousarray(steps if sideways else steps.T))


def _gradient(side: int, start: Colour, end: Colour, sideways: bool = False) -> Image.Image:
    canvas = Image.new("RGB", (side, side), start)
    canvas.paste(end, mask=_ramp(side, sideways))
    return canvas


def _shade(colour: Colour, factor: float) -> Colour:
    return tuple(min(255, round(channel * factor)) for channel in colour)


def _between(start: Colour, end: Colour, part: float) -> Colour:
    return tuple(round(a + (b - a) * part) for a, b in zip(start, end, strict=True))


def _varied(colour: Colour, gen: np.random.Generator, reach: int) -> Colour:
    """The colour, lighter or darker by at most `reach`, hardly tinted: skin must not turn green."""
    changes = gen.integers(-reach, reach + 1) + gen.integers(-(reach // 4), reach // 4 + 1, 3)
    return tuple(min(255, max(0, channel + int(by))) for channel, by in zip(colour, changes, strict=True))


class Pen:
    """Draws shapes given in head units on a canvas; a colour's fourth number is its opacity, 0..255."""

    def __init__(self, canvas: Image.Image, gen: np.random.Generator):
        side = canvas.width
        self.draw = ImageDraw.Draw(canvas, "RGBA")
        self.unit, tall = side * gen.uniform(0.25, 0.285), side * gen.uniform(0.31, 0.35)
        cos, sin = _rotation(gen.uniform(-0.05, 0.05))
        x, y = side * gen.uniform(0.47, 0.53), side * gen.uniform(0.51, 0.56)
        self.matrix = (cos * self.unit, -sin * tall, x, sin * self.unit, cos * tall, y)

    def at(self, points: Iterable[Point]) -> list[Point]:
        a, b, c, d, e, f = self.matrix
        return [(a * x + b * y + c, d * x + e * y + f) for x, y in points]

    def fill(self, points: Iterable[Point], colour: Colour) -> None:
        self.draw.polygon(self.at(points), fill=colour)

    def oval(self, x: float, y: float, wide: float, tall: float, colour: Colour) -> None:
        self.fill(_placed(CIRCLE, (x, y), (wide, tall)), colour)

    def line(self, points: Iterable[Point], width: float, colour: Colour) -> None:
        self.draw.line(self.at(points), fill=colour, width=max(1, round(width * self.unit)), joint="curve")


def _portrait(style: Style, named: dict[str, str], size: int, gen: np.random.Generator) -> Image.Image:
    ground = _varied(style.backgrounds[named["background"]], gen, 12)
    shades = _shade(ground, gen.uniform(1.0, 1.15)), _shade(ground, gen.uniform(0.72, 0.92))
    canvas = _gradient(size * OVERSAMPLING, *shades)
    pen = Pen(canvas, gen)
    turn = 0.17 * (POSES.index(named["pose"]) - 1) + gen.uniform(-0.03, 0.03)
    skin = SKINS[named["skin"]] if "skin" in named else _between(SKINS["fair"], SKINS["tan"], gen.random() * 0.7)
    skin, hair = _varied(skin, gen, 8), _varied(style.hairs[named["hair colour"]], gen, 12)
    cut = _cut(named)
    _hair_behind(pen, cut, hair)
    _body(pen, skin, turn, gen)
    _head(pen, style, skin, turn, gen)
    _features(pen, style, named, (skin, hair), turn, gen)
    _hair_before(pen, cut, hair, skin, turn, -1 if gen.integers(2) else 1)
    light = gen.uniform(0.9, 1.06)
    return canvas.resize((size, size), Image.Resampling.BOX).point([min(255, round(i * light)) for i in range(256)] * 3)


def _cut(named: dict[str, str]) -> Cut:
    if "fringe" not in named:
        cut = CUTS[named["hair style"]]
        return replace(cut, hairline=_smooth(cut.hairline, False))
    low, wide = LENGTHS[named["hair length"]]
    lock = min(low + 0.05, 1.0)
    left, right = ((-1.1, lock), (-0.92, lock - 0.3)), ((0.92, lock - 0.3), (1.1, lock))
    return Cut(left + FRINGES[named["fringe"]] + right, 1.14, low, wide)


def _hair_behind(pen: Pen, cut: Cut, hair: Colour) -> None:
    if cut.low:
        w, low = cut.wide, cut.low
        half = ((-0.86 * w, low), (-1.02 * w, 0.6 * low), (-w, -0.3), (-0.75 * w, -0.95), (0.0, -1.15))
        outline = _smooth(_mirrored(*half))
        pen.fill(outline, _shade(hair, 0.72))
        _curls(pen, outline[::3], cut.curl, _shade(hair, 0.8))


def _curls(pen: Pen, along: Sequence[Point], radius: float, hair: Colour) -> None:
    for i, (x, y) in enumerate(along if radius else ()):
        pen.oval(x, y, radius, radius * 0.85, _shade(hair, (1.0, 1.12, 0.92)[i % 3]))


def _body(pen: Pen, skin: Colour, turn: float, gen: np.random.Generator) -> None:
    pen.fill(TORSO, tuple(gen.integers(50, 226, 3).tolist()))
    pen.fill(NECK, _shade(skin, 0.88))
    pen.oval(turn * 0.6, 0.96, 0.42, 0.17, (*_shade(skin, 0.6), 120))


def _head(pen: Pen, style: Style, skin: Colour, turn: float, gen: np.random.Generator) -> None:
    for x in (-0.97, 0.97):
        pen.oval(x - turn * 0.3, 0.08, 0.1, 0.17, _shade(skin, 0.84))
    outline = tuple((x + turn * 0.35 * max(y, 0.0), y) for x, y in _smooth(_mirrored(*style.head)))
    pen.fill(outline, _shade(skin, 0.86))
    light = gen.uniform(-0.45, 0.45)
    for scale in (0.95, 0.88, 0.78):
        pen.fill(_placed(outline, (light * (1 - scale), 0.0), (scale, scale)), (*_shade(skin, 1.03), 105))


def _features(
    pen: Pen, style: Style, named: dict[str, str], shades: tuple[Colour, Colour], turn: float, gen: np.random.Generator
) -> None:
    skin, hair = shades
    iris, thick, rise = _varied(style.irises[named["eyes"]], gen, 8), gen.uniform(*style.brows), gen.uniform(0.03, 0.09)
    blush = (min(255, skin[0] + 12), skin[1] * 3 // 4, skin[2] * 3 // 4, int(gen.integers(50, 140)))
    for way in (-1, 1):
        near, x = 1 - way * turn, turn + way * style.eye[0] * (1 - way * turn * 0.35)
        pen.oval(x * 1.12, 0.36, 0.2 * near, 0.13, blush)
        _eye(pen, style, (x, style.eye[1]), (way * near, near), iris)
        brow = ((-0.95, 0.03), (-0.1, -rise), (1.0, 0.03))
        pen.line(_placed(brow, (x, style.brow), (0.22 * way * near, 1.0)), thick, _shade(hair, 0.62))
        if named.get("glasses") == "yes":
            _lens(pen, (x, style.eye[1] + 0.03), way, near)
    if named.get("glasses") == "yes":
        pen.line([(turn - 0.12, style.eye[1]), (turn + 0.12, style.eye[1])], 0.05, (44, 34, 40))
    _nose(pen, style, skin, turn)
    _mouth(pen, style, named["mouth"], skin, turn, gen)


def _eye(pen: Pen, style: Style, at: Point, scale: Point, iris: Colour) -> None:
    """One eye; `scale` is its width's factor, first with the sign that mirrors it."""
    (x, y), wide, tall = at, style.iris_half[0] * scale[1], style.iris_half[1]
    almond = _placed(ALMOND, at, (style.eye_half[0] * scale[0], style.eye_half[1]))
    pen.fill(almond, (250, 250, 252))
    pen.oval(x, y, wide, tall, _shade(iris, 0.72))
    pen.oval(x, y + 0.35 * tall, 0.8 * wide, 0.55 * tall, _shade(iris, 1.25))
    pen.oval(x, y, 0.46 * wide, 0.48 * tall, (24, 18, 26))
    pen.oval(x - 0.36 * wide, y - 0.42 * tall, 0.36 * wide, 0.32 * tall, (255, 255, 255))
    pen.line(almond[:13], style.lash, (44, 30, 36))


def _lens(pen: Pen, at: Point, way: int, near: float) -> None:
    rim = _placed(CIRCLE, at, (0.31 * near, 0.2))
    pen.fill(rim, (255, 255, 255, 40))
    pen.line((*rim, rim[0]), 0.065, (44, 34, 40))
    pen.line([(at[0] + way * 0.31 * near, at[1] - 0.03), (way * 0.98, at[1] - 0.07)], 0.05, (44, 34, 40))


def _nose(pen: Pen, style: Style, skin: Colour, turn: float) -> None:
    x, dark = turn * 1.3, (*_shade(skin, 0.66), 170)
    if not style.ridge:
        pen.oval(x, 0.46, 0.045, 0.03, dark)
        return
    pen.fill(((x - 0.03, -0.05), (x - 0.14, 0.3), (x, 0.34), (x + 0.02, 0.1)), (*_shade(skin, 0.8), 90))
    pen.oval(x, 0.27, 0.1, 0.075, (*_shade(skin, 1.1), 110))
    for way in (-1, 1):
        pen.oval(x + way * 0.075, 0.33, 0.05, 0.026, dark)


def _mouth(pen: Pen, style: Style, mouth: str, skin: Colour, turn: float, gen: np.random.Generator) -> None:
    (x, y), wide = (turn * 1.1, style.mouth[1]), style.mouth[0] * gen.uniform(0.88, 1.1)
    lip = _between((190, 70, 78), _shade(skin, 0.7), gen.random())
    if mouth == "neutral":
        pen.fill(_placed(LIPS, (x, y), (wide * 0.85, 0.07)), lip)
        pen.line([(x - wide * 0.72, y), (x, y + 0.01), (x + wide * 0.72, y)], 0.03, _shade(lip, 0.6))
    elif mouth == "smile":
        pen.fill(_placed(GRIN, (x, y), (wide * 1.16, 0.15)), lip)
        pen.fill(_placed(GRIN, (x, y + 0.005), (wide * 0.95, 0.09)), (255, 252, 248))
    else:
        pen.oval(x, y + 0.03, wide * 0.66, 0.17, lip)
        pen.oval(x, y + 0.03, wide * 0.5, 0.12, (118, 36, 44))
        pen.oval(x, y + 0.09, wide * 0.36, 0.06, (222, 110, 116))


def _hair_before(pen: Pen, cut: Cut, hair: Colour, skin: Colour, turn: float, way: int) -> None:
    """Hair over the head, parted left or right by `way`; a shaved head only shows a translucent cap."""
    line = [(way * x + turn * 0.5 * (1 - min(1.0, abs(x))), y) for x, y in cut.hairline][::way]
    scalp = _placed(SCALP, (0.0, 0.0), (cut.volume, cut.volume + 0.06))
    if cut.volume == 1:
        pen.fill([*line, *scalp], (*hair, 150))
        return
    pen.fill([(x * 0.9, y + 0.07) for x, y in [*line, *scalp]], (*_shade(skin, 0.5), 70))
    pen.fill([*line, *scalp], hair)
    if cut.curl:
        _curls(pen, [*scalp[::2], *_placed(scalp[2:-2:3], (0.0, -0.1), (0.7, 0.74)), *line[::3]], cut.curl * 0.8, hair)
        return
    for x, y in line[2:-2:3]:
        pen.line([(x * 0.3, -1.12), (x * 0.8, (y - 1.0) * 0.5), (x, y)], 0.03, (*_shade(hair, 0.6), 90))
    pen.fill(GLOSS, (*_between(hair, (255, 255, 255), 0.35), 120))
