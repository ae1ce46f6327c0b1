"""Floors drawn for drawn feet: planks, tiles, carpet and concrete."""

import numpy as np
from PIL import Image

from footseg.data.colours import hue
from footseg.data.images import Size

Rng = np.random.Generator

Floor = tuple[np.ndarray, np.ndarray]
"""A colour (3,) and how much lighter than it each pixel is, float32 (h, w)."""


def draw(rng: Rng, size: Size) -> np.ndarray:
    """A floor as float32 (h, w, 3), 0 to 255: planks, tiles, carpet or concrete."""
    height, width = size
    unit = min(size)
    rows, columns = np.ogrid[:height, :width]
    angle = rng.uniform(-0.6, 0.6) + (np.pi / 2 if rng.random() < 0.5 else 0)
    u = ((columns * np.cos(angle) + rows * np.sin(angle)) / unit + 8 + rng.random()).astype(np.float32)
    v = ((rows * np.cos(angle) - columns * np.sin(angle)) / unit + 8 + rng.random()).astype(np.float32)
    colour, tone = _PATTERNS[rng.integers(len(_PATTERNS))](rng, u, v, 1 / unit)
    tone += rng.standard_normal(size, np.float32) * rng.uniform(1, 5)
    tone += _noise(rng, size, 5) * rng.uniform(4, 16)
    return colour.astype(np.float32) + tone[..., None]


def _planks(rng: Rng, u: np.ndarray, v: np.ndarray, pixel: float) -> Floor:
    wood = np.array([(205, 165, 120), (150, 100, 62), (96, 62, 42), (190, 180, 165)])[rng.integers(4)]
    wide, long = rng.uniform(0.08, 0.2), rng.uniform(0.5, 1.2)
    row = (v / wide).astype(int)
    shifted = u + (rng.random(256) * long).astype(np.float32)[row % 256]
    tone = rng.normal(0, 9, (64, 64)).astype(np.float32)[row % 64, (shifted / long).astype(int) % 64]
    texture = _noise(rng, (128, 128), 64)
    tone += texture[(v * 160).astype(int) % 128, (shifted * 14).astype(int) % 128] * 14
    tone -= 45 * np.maximum(_joint(v, wide, 0.004, pixel), _joint(shifted, long, 0.004, pixel))
    return wood * rng.uniform(0.85, 1.1), tone


def _tiles(rng: Rng, u: np.ndarray, v: np.ndarray, pixel: float) -> Floor:
    base = [(225, 222, 214), (150, 152, 156), (186, 112, 80), (214, 196, 168), (70, 74, 82)][rng.integers(5)]
    side = rng.uniform(0.12, 0.4)
    column, row = (u / side).astype(int), (v / side).astype(int)
    tone = rng.normal(0, 6, (64, 64)).astype(np.float32)[row % 64, column % 64]
    if rng.random() < 0.3:
        tone -= 55 * ((column + row) % 2).astype(np.float32)
    grout = np.maximum(_joint(u, side, 0.01, pixel), _joint(v, side, 0.01, pixel))
    return np.array(base), tone + rng.uniform(-50, 30) * grout


def _carpet(rng: Rng, u: np.ndarray, v: np.ndarray, pixel: float) -> Floor:
    colour = hue(rng, rng.uniform(0.05, 0.6), rng.uniform(70, 210))
    tone = rng.standard_normal(u.shape, np.float32) * rng.uniform(6, 16)
    if rng.random() < 0.4:
        tone += 14 * np.sign(np.sin(u * rng.uniform(20, 70)))
    return colour, tone


def _concrete(rng: Rng, u: np.ndarray, v: np.ndarray, pixel: float) -> Floor:
    colour = hue(rng, rng.uniform(0, 0.15), rng.uniform(90, 220))
    tone = _noise(rng, u.shape, 9) * 10 + _noise(rng, u.shape, 40) * 7 + (u - u.mean()) * rng.uniform(-60, 60)
    return colour, tone


_PATTERNS = (_planks, _tiles, _carpet, _concrete)


def _joint(along: np.ndarray, period: float, wide: float, pixel: float) -> np.ndarray:
    """1 in the joints between tiles, 0 elsewhere, with an edge one pixel soft."""
    away = np.abs((along / period + 0.5) % 1 - 0.5) * period
    return np.clip((wide / 2 - away) / pixel + 0.5, 0, 1)


def _noise(rng: Rng, size: tuple[int, ...], cells: int) -> np.ndarray:
    """Smooth noise float32 (h, w) of standard deviation about 0.6, ``cells`` bumps across."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
    return np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC))
