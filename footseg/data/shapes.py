"""Simply drawn feet and shoes on floors: a data set for demonstrations and tests, with exact masks.

A picture depends on (seed, index, size) alone. It is drawn in a plane of small polygons at three times
its size; the floor, the light and the shadows are computed at its own. All geometry is in units of the
picture's shorter side, and a foot's own plane has its heel at (0, 0) and its toes at (0, 1).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from footseg import files
from footseg.data import colours, drawn_floors
from footseg.data.folder import SPLITS
from footseg.data.images import Size, write_image, write_mask
from footseg.data.synth import SynthConfig, check_size
from footseg.data.threads import run_on

OVERSAMPLE = 3
CONTRAST = 70
"""RGB distance between a foot and the floor, of 441: nearer, a small network needs far more pictures."""
SPLIT_STRIDE = 10**6
"""Each split draws its own range of indices, so that a longer train split begins with the shorter one."""

Rng = np.random.Generator


def write_shapes(out: Path, config: SynthConfig) -> Path:
    """Write a data set of drawn feet. The folder appears when it is complete.

    Raises:
        FootsegError: ``out`` is not free, or the disk is full.
    """
    out = config.free_folder(out)
    with files.atomic_path(out) as temporary:
        jobs = [
            (temporary / split, SPLITS.index(split) * SPLIT_STRIDE + number, number)
            for split, count in config.counts.items()
            for number in range(count)
        ]
        run_on(config.executor(len(jobs)), partial(_write, config), jobs, "draw feet")
    return out


def _write(config: SynthConfig, job: tuple[Path, int, int]) -> None:
    folder, index, number = job
    image, mask = draw(config.seed, index, config.size)
    write_image(folder / "images" / f"{number:05d}.jpg", image, quality=92)
    write_mask(folder / "masks" / f"{number:05d}.png", mask)


def draw(seed: int, index: int, size: Size = (256, 256)) -> tuple[np.ndarray, np.ndarray]:
    """Draw one to three feet: image uint8 (h, w, 3), mask uint8 (h, w).

    A pixel's mask is 1 where a foot covers half of it or more; trousers are background.

    Raises:
        ValueError: a side below 16 pixels.
    """
    check_size(size)
    rng = np.random.default_rng((seed, index))
    floor = drawn_floors.draw(rng, size)
    canvas = _Canvas(size)
    if rng.random() < 0.35:
        _objects(rng, canvas)
    _feet(rng, canvas, floor.mean((0, 1)))
    image = _light(rng, floor, canvas)
    return image, (canvas.layer("foot") >= 0.5).astype(np.uint8)


# ---- the canvas


class _Canvas:
    """Polygons painted over each other: their colour, whether foot or not, and how high they stand."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.unit = min(size) * OVERSAMPLE
        self.extent = size[1] / min(size), size[0] / min(size)  # width, height in units
        scaled = (size[1] * OVERSAMPLE, size[0] * OVERSAMPLE)
        modes = {"colour": "RGB", "cover": "L", "foot": "L", "height": "L"}
        self.images = {name: Image.new(mode, scaled) for name, mode in modes.items()}
        self.draws = {name: ImageDraw.Draw(image) for name, image in self.images.items()}

    def polygon(self, points: np.ndarray, colour: np.ndarray, height: float, foot: bool) -> None:
        """Fill an outline (n, 2) of x, y in units."""
        xy = [tuple(point) for point in (points * self.unit).tolist()]
        for name, value in self._values(colour, height, foot):
            self.draws[name].polygon(xy, fill=value)

    def line(self, points: np.ndarray, width: float, colour: np.ndarray, height: float, foot: bool) -> None:
        """Draw a line through points (n, 2), ``width`` units wide."""
        xy = [tuple(point) for point in (points * self.unit).tolist()]
        for name, value in self._values(colour, height, foot):
            self.draws[name].line(xy, fill=value, width=max(1, round(width * self.unit)), joint="curve")

    def _values(
        self, colour: np.ndarray, height: float, foot: bool
    ) -> list[tuple[str, int | tuple[int, ...]]]:
        rgb = tuple(int(v) for v in np.clip(colour, 0, 255))
        return [("colour", rgb), ("cover", 255), ("foot", 255 * foot), ("height", int(255 * height))]

    def layer(self, name: str) -> np.ndarray:
        """One layer at the picture's size, float32 in [0, 1]; colours come multiplied by their cover."""
        return np.asarray(self.images[name].reduce(OVERSAMPLE), np.float32) / 255

    def blurred(self, name: str, radius: float) -> np.ndarray:
        """As ``layer``, blurred by ``radius`` pixels; done at half size, where it costs a quarter."""
        half = self.images[name].reduce(2 * OVERSAMPLE).filter(ImageFilter.GaussianBlur(radius / 2))
        whole = half.resize((self.size[1], self.size[0]), Image.Resampling.BILINEAR)
        return np.asarray(whole, np.float32) / 255


# ---- outlines, in a right foot's own plane


Points = Sequence[tuple[float, float]]


def _spline(points: Points, samples: int = 6) -> np.ndarray:
    """A closed smooth curve (Catmull-Rom) through ``points``: (len(points) * samples, 2)."""
    p1 = np.array(points)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = np.linspace(0, 1, samples, endpoint=False)[:, None, None]
    curve = (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    return (curve / 2).transpose(1, 0, 2).reshape(-1, 2)


def _ellipse(x: float, y: float, across: float, along: float, turn: float = 0.0) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    points = np.stack([np.cos(angle) * across, np.sin(angle) * along], -1)
    return points @ _rotation(turn).T + (x, y)


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


# fmt: off
BARE_TOP = _spline([
    (0, 0), (0.11, 0.04), (0.135, 0.18), (0.14, 0.4), (0.18, 0.62), (0.185, 0.75), (0.11, 0.84),
    (-0.03, 0.875), (-0.15, 0.86), (-0.185, 0.73), (-0.13, 0.55), (-0.085, 0.4), (-0.12, 0.18), (-0.11, 0.04),
])
SHOE_TOP = _spline([
    (0, -0.03), (0.12, 0.02), (0.145, 0.18), (0.15, 0.42), (0.2, 0.68), (0.19, 0.85), (0.1, 0.98),
    (-0.03, 1.02), (-0.14, 0.96), (-0.19, 0.8), (-0.165, 0.58), (-0.13, 0.4), (-0.135, 0.18), (-0.12, 0.02),
])
TOE_CAP = _spline([
    (0.12, 0.62), (0.17, 0.78), (0.08, 0.94), (-0.04, 0.97), (-0.15, 0.88), (-0.15, 0.68), (0, 0.72),
])
TONGUE = _spline([(0.06, 0.3), (0.065, 0.66), (0, 0.72), (-0.065, 0.66), (-0.06, 0.3)])
# x, y, half width, half length, turn: from the big toe to the little one.
TOES = [
    (-0.118, 0.9, 0.062, 0.1, 0.06), (-0.022, 0.925, 0.041, 0.082, 0.0), (0.055, 0.9, 0.038, 0.075, -0.08),
    (0.117, 0.86, 0.035, 0.066, -0.16), (0.168, 0.8, 0.033, 0.055, -0.26),
]
# From the side: heel at (0, 0), toes at (0, 1) and the leg at negative x.
BARE_SIDE = _spline([
    (-0.02, 0.02), (0.005, 0.13), (-0.03, 0.42), (0.01, 0.72), (0.0, 0.95), (-0.06, 1.0), (-0.12, 0.93),
    (-0.17, 0.74), (-0.26, 0.52), (-0.36, 0.37), (-0.5, 0.33), (-0.5, 0.08), (-0.3, 0.06), (-0.12, -0.04),
])
SHOE_SIDE = _spline([
    (0.0, -0.02), (0.005, 0.3), (0.0, 0.7), (-0.01, 1.0), (-0.09, 1.02), (-0.16, 0.9), (-0.19, 0.7),
    (-0.26, 0.5), (-0.33, 0.36), (-0.35, 0.2), (-0.36, 0.04), (-0.2, -0.05),
])
SOLE_SIDE = _spline([
    (0.03, 0.0), (0.035, 0.5), (0.01, 1.03), (-0.05, 1.05), (-0.055, 0.9), (-0.055, 0.1), (-0.05, -0.05),
])
TOE_CAP_SIDE = _spline([(0, 0.72), (-0.01, 1.0), (-0.09, 1.01), (-0.15, 0.9), (-0.12, 0.78)])
STRIPE_SIDE = _spline([(-0.05, 0.5), (-0.18, 0.3), (-0.2, 0.36), (-0.08, 0.58)])
# fmt: on

# ---- feet


@dataclass(frozen=True)
class _Style:
    """What both feet of a pair have in common."""

    kind: str
    side: bool
    skin: np.ndarray
    upper: np.ndarray
    sole: np.ndarray
    detail: np.ndarray
    leg: np.ndarray
    trousers: bool
    nails: np.ndarray
    legs_length: float
    hem: float

    @classmethod
    def choose(cls, rng: Rng) -> "_Style":
        skin = colours.skin(rng)
        kind = str(rng.choice(["bare", "shoe", "sandal"], p=[0.42, 0.46, 0.12]))
        soles = [(238, 238, 232), (40, 40, 40), (176, 128, 80)]
        polish = (
            colours.hue(rng, 0.8, 220)
            if rng.random() < 0.25
            else skin * 0.5 + np.array((255, 225, 215)) * 0.5
        )
        return cls(
            kind=kind,
            side=bool(kind != "sandal" and rng.random() < 0.22),
            skin=skin,
            upper=colours.cloth(rng),
            sole=np.array(soles[rng.integers(3)]) * rng.uniform(0.85, 1.05),
            detail=colours.cloth(rng),
            leg=colours.common_cloth(rng),
            trousers=bool(rng.random() < 0.6),
            nails=polish,
            legs_length=rng.uniform(0.6, 2.0),
            hem=rng.uniform(-0.04, 0.1),
        )

    @classmethod
    def distinct(cls, rng: Rng, floor: np.ndarray) -> "_Style":
        """A style whose main colour does not vanish on a floor of this colour (given up after a few)."""
        for _ in range(6):
            style = cls.choose(rng)
            main = style.upper if style.kind == "shoe" else style.skin
            if np.linalg.norm(main - floor) > CONTRAST:
                break
        return style


def _feet(rng: Rng, canvas: _Canvas, floor: np.ndarray) -> None:
    """One foot, a pair, or a pair and a stranger's foot, that stand out from the floor's mean colour."""
    count = int(rng.choice([1, 2, 3], p=[0.3, 0.6, 0.1]))
    width, height = canvas.extent
    style = _Style.distinct(rng, floor)
    length = rng.uniform(0.42, 0.8) / (1.0 if count < 3 else 1.25)
    turn = rng.normal(0, 0.4) if rng.random() < 0.9 else rng.uniform(-np.pi, np.pi)
    middle = np.array([width * rng.uniform(0.35, 0.65), height * rng.uniform(0.4, 0.62)])
    gap = length * rng.uniform(0.42, 0.75) * (1.35 if style.side else 1.0)
    shear = rng.uniform(-0.12, 0.12)
    squash = rng.uniform(0.8, 1.05)
    facing = 1 if rng.random() < 0.5 else -1
    for number in range(count):
        if number == 2:  # somebody else's
            style, turn = _Style.distinct(rng, floor), turn + rng.normal(0, 0.8)
            middle = np.array([width * rng.uniform(0.15, 0.85), height * rng.uniform(0.15, 0.85)])
        across = 0.0 if count == 1 or number == 2 else (number - 0.5) * gap
        mirror = facing if style.side else (1 if number % 2 else -1)
        own_turn = turn + rng.normal(0, 0.1) + (0 if style.side else 0.12 * mirror)
        along = rng.normal(0, 0.08) * length
        if style.side:  # a foot seen from the side lies across the picture, its leg upwards
            own_turn, offset = own_turn * 0.5, np.array([along, across * 0.8])
        else:
            offset = np.array([across, along])
        matrix = _rotation(own_turn) @ np.array([[1, shear], [0, squash]]) * length
        matrix = matrix @ (np.array([[0, facing], [1, 0]]) if style.side else np.diag([mirror, -1]))
        pen = _Pen(canvas, matrix, middle + _rotation(turn) @ offset)
        (_side_foot if style.side else _top_foot)(pen, style)


@dataclass(frozen=True)
class _Pen:
    """Draws in a foot's own plane, which ``matrix`` (2, 2) and ``centre`` (2,) bring to the canvas."""

    canvas: _Canvas
    matrix: np.ndarray
    centre: np.ndarray

    def part(self, points: np.ndarray, colour: np.ndarray, height: float, foot: bool = True) -> None:
        """Fill an outline."""
        self.canvas.polygon(self._placed(points), colour, height, foot)

    def line(self, points: Points, width: float, colour: np.ndarray, height: float) -> None:
        """Draw a line of the foot."""
        scale = float(np.sqrt(abs(np.linalg.det(self.matrix))))
        self.canvas.line(self._placed(np.array(points)), width * scale, colour, height, True)

    def _placed(self, points: np.ndarray) -> np.ndarray:
        return (points - (0, 0.5)) @ self.matrix.T + self.centre


def _top_foot(pen: _Pen, style: _Style) -> None:
    """A foot from above, the leg coming towards the viewer."""
    part = pen.part
    if style.kind != "bare":
        part((SHOE_TOP - (0, 0.5)) * (1.09, 1.04) + (0, 0.5), style.sole, 0.15)
    if style.kind == "shoe":
        part(SHOE_TOP, style.upper, 0.45)
        part(TOE_CAP, style.upper * 0.82 + 14, 0.5)
        part(TONGUE, style.upper * 0.7, 0.55)
        for y in (0.42, 0.5, 0.58, 0.66):
            pen.line([(-0.07, y), (0.07, y + 0.025)], 0.028, style.detail, 0.65)
        part(_ellipse(0.0, 0.2, 0.098, 0.155), style.upper * 0.45, 0.6)
        ankle = style.detail if style.trousers else style.skin
    else:
        _bare_top(part, style, 0.93 if style.kind == "sandal" else 1.0)
        if style.kind == "sandal":
            for x in (-0.17, 0.17):
                pen.line([(-0.06, 0.86), (x * 0.55, 0.68), (x, 0.5)], 0.055, style.upper, 0.6)
        ankle = style.skin
    # The shin hides the heel; its trousers, or the bare leg above the ankle, are not foot.
    part(_ellipse(0, 0.19, 0.088, 0.125), ankle, 0.8)
    end = style.hem - 0.06
    part(np.array([(-0.088, 0.2), (0.088, 0.2), (0.093, end), (-0.093, end)]), ankle, 0.85)
    if style.trousers:
        far, hem = end - style.legs_length, end + 0.03
        leg = np.array([(-0.125, hem), (0, end + 0.055), (0.125, hem), (0.17, far), (-0.17, far)])
        fold = np.array([(-0.02, end), (0.03, end), (0.06, far), (0.0, far)])
        part(leg, style.leg, 0.95, foot=False)
        part(fold, style.leg * 0.88, 1.0, foot=False)
    else:
        part(_ellipse(0, end, 0.093, 0.07), ankle * 0.93, 0.9)


def _bare_top(part: Callable[..., None], style: _Style, scale: float) -> None:
    def shrink(points: np.ndarray) -> np.ndarray:
        return (points - (0, 0.5)) * scale + (0, 0.5)

    part(shrink(BARE_TOP), style.skin, 0.4)
    for x, y, across, along, turn in reversed(TOES):
        part(shrink(_ellipse(x, y, across + 0.006, along, turn)), style.skin * 0.8, 0.32)
        part(shrink(_ellipse(x, y + 0.004, across, along - 0.004, turn)), style.skin * 1.03, 0.5)
        part(shrink(_ellipse(x, y + along * 0.45, across * 0.62, along * 0.36, turn)), style.nails, 0.52)
    part(shrink(_ellipse(0.0, 0.42, 0.09, 0.27)), style.skin * 1.04, 0.6)


def _side_foot(pen: _Pen, style: _Style) -> None:
    """A foot from the side, standing, the leg going up."""
    part = pen.part
    if style.kind == "bare":
        part(BARE_SIDE, style.skin, 0.5)
        part(_ellipse(-0.06, 0.93, 0.05, 0.06), style.skin * 1.03, 0.6)
        part(_ellipse(-0.09, 0.955, 0.018, 0.032, -0.3), style.nails, 0.62)
        part(_ellipse(-0.27, 0.2, 0.035, 0.035), style.skin * 1.05, 0.7)
        cuff, ankle = -0.44, style.skin
    else:
        ankle = style.detail
        part(np.array([(-0.3, 0.08), (-0.3, 0.3), (-0.46, 0.28), (-0.46, 0.08)]), ankle, 0.4)
        part(SHOE_SIDE, style.upper, 0.55)
        part(TOE_CAP_SIDE, style.upper * 0.8 + 16, 0.6)
        part(STRIPE_SIDE, style.detail, 0.58)
        for y in (0.42, 0.5, 0.58):
            x = (y - 0.3) * 0.62
            pen.line([(-0.36 + x, y), (-0.3 + x, y - 0.05)], 0.026, style.detail, 0.7)
        part(SOLE_SIDE, style.sole, 0.3)
        cuff = -0.43
    if style.trousers:
        top = cuff - style.legs_length
        leg = np.array([(cuff, 0.02), (cuff - 0.02, 0.34), (top, 0.4), (top, -0.02)])
        part(leg, style.leg, 0.8, foot=False)


# ---- things that are no feet


def _objects(rng: Rng, canvas: _Canvas) -> None:
    """Balls, boxes, mats and cables, some of them of the colour of skin."""
    width, height = canvas.extent
    for _ in range(rng.integers(1, 3)):
        colour = colours.skin(rng) if rng.random() < 0.15 else colours.cloth(rng)
        centre = rng.random(2) * (width, height)
        kind = rng.integers(4)
        if kind == 0:
            (x, y), radius = centre, rng.uniform(0.03, 0.11)
            for shrink, height_of in ((1.0, 0.3), (0.8, 0.5), (0.55, 0.7)):
                canvas.polygon(_ellipse(x, y, radius * shrink, radius * shrink), colour, height_of, False)
        elif kind in (1, 2):
            box = kind == 1  # else a mat
            sides = rng.uniform(0.04, 0.16, 2) if box else rng.uniform(0.2, 0.5, 2)
            corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * sides
            turned = corners @ _rotation(rng.uniform(0, np.pi)).T + centre
            canvas.polygon(turned, colour, 0.4 if box else 0.05, False)
            inner = colour * 0.9 + 12 if box else colours.cloth(rng)
            shrunk = (turned - centre) * (0.86 if box else 0.9) + centre
            canvas.polygon(shrunk, inner, 0.5 if box else 0.05, False)
        else:
            steps = np.cumsum(rng.normal(0, 0.09, (9, 2)), 0) + centre
            canvas.line(_spline([tuple(p) for p in steps])[:-6], rng.uniform(0.008, 0.02), colour, 0.2, False)


# ---- the light


def _light(rng: Rng, image: np.ndarray, canvas: _Canvas) -> np.ndarray:
    """Lay the canvas on the floor with shadows, shade it by its relief, and light the whole unevenly.

    Works in place and in float32 throughout: half of a picture's time is spent here.
    """
    size = canvas.size
    unit = min(size)
    angle = rng.uniform(0, 2 * np.pi)
    towards_x, towards_y = float(np.cos(angle)), float(np.sin(angle))  # where the light comes from

    relief = canvas.blurred("height", 0.012 * unit)
    slope_y, slope_x = np.gradient(relief)
    slope = -towards_x * slope_x - towards_y * slope_y
    shade = 1 + np.clip(slope * (0.06 * unit), -0.35, 0.35)

    distance = rng.uniform(0.01, 0.05) * unit
    shadow = canvas.blurred("height", rng.uniform(0.015, 0.035) * unit)
    moved = round(-towards_y * distance), round(-towards_x * distance)
    shadow = ndimage.shift(shadow, moved, order=0, mode="nearest")
    dark = 1 - rng.uniform(0.4, 0.9) * np.minimum(shadow, 0.75)

    image *= (dark * (1 - canvas.layer("cover")))[..., None]
    image += canvas.layer("colour") * (255 * shade)[..., None]

    rows = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, size[1], dtype=np.float32)
    fall = 1 + rng.uniform(0, 0.3) * (columns * towards_x + rows * towards_y)
    if rng.random() < 0.2:  # a hard shadow's edge, of a window or a table
        edge = (columns * towards_y - rows * towards_x - rng.uniform(-0.6, 0.6)) * (unit / 6)
        fall *= 1 - rng.uniform(0.15, 0.35) * np.clip(edge + 0.5, 0, 1)
    warmth = rng.uniform(-0.08, 0.08)
    image *= fall[..., None]
    image *= np.array([1 + warmth, 1.0, 1 - warmth], np.float32) * rng.uniform(0.85, 1.1)
    image += rng.standard_normal(size, np.float32)[..., None] * rng.uniform(0.5, 4)
    return np.clip(image, 0, 255, out=image).astype(np.uint8)
