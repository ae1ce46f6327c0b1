"""Colours of what is drawn: skin, cloth and any hue, RGB from 0 to 255 as float (3,)."""

import numpy as np

Rng = np.random.Generator


def skin(rng: Rng) -> np.ndarray:
    """From pale by tan to dark."""
    pale, tan, dark = np.array([(242, 205, 182), (198, 142, 106), (92, 58, 42)])
    tone = rng.random() * 2
    colour = pale + (tan - pale) * tone if tone < 1 else tan + (dark - tan) * (tone - 1)
    return colour * rng.uniform(0.93, 1.07, 3)


def common_cloth(rng: Rng) -> np.ndarray:
    """Black, white, brown, denim or grey."""
    common = [(28, 28, 32), (235, 235, 230), (110, 72, 45), (58, 74, 112), (120, 120, 124)]
    return np.array(common[rng.integers(len(common))]) * rng.uniform(0.85, 1.08, 3)


def cloth(rng: Rng) -> np.ndarray:
    """Any colour, every other one a common one."""
    if rng.random() < 0.5:
        return common_cloth(rng)
    return hue(rng, saturation=rng.uniform(0.3, 0.9), value=rng.uniform(90, 235))


def hue(rng: Rng, saturation: float, value: float) -> np.ndarray:
    """Any hue of a ``saturation`` from 0 to 1 and a ``value``, its brightest channel at most."""
    wave = (np.cos(2 * np.pi * (rng.random() + np.array([0, 1 / 3, 2 / 3]))) + 1) / 2
    return value * (1 - saturation * wave)
