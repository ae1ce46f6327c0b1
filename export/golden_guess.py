"""What an app does otherwise than ``docs/pixels.md`` says: found by doing it, too: what comes nearest.

Each way to go wrong has a name; the way that is right has none. All that go together are tried together, on
all photographs at once, because an app does the same with each.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from footseg.data.images import Letterbox, Size
from footseg.data.resizing import KERNELS, Rule

Way = Callable[[np.ndarray], np.ndarray]
Ways = Mapping[str, Way]
IMAGENET = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
POINTS = 32
"""Rows and columns of each tensor that are compared while searching."""


def _as_it_is(array: np.ndarray) -> np.ndarray:
    return array


# What undoes it in the app's tensor (h, w, 3).
RANGES: Ways = {
    "": _as_it_is,
    "values of 0 to 255 in place of 0 to 1": lambda t: t / 255,
    "values of -1 to 1 in place of 0 to 1": lambda t: (t + 1) / 2,
    "values by ImageNet's statistics in place of 0 to 1": lambda t: t * IMAGENET[1] + IMAGENET[0],
    "values divided by 255 twice": lambda t: t * 255,
}
COLOURS: Ways = {"": _as_it_is, "BGR in place of RGB": lambda t: t[..., ::-1]}
LAYOUTS: Ways = {
    "": _as_it_is,
    "channels first (NCHW in place of NHWC)": lambda t: t.reshape(t.shape[2], *t.shape[:2]).transpose(
        1, 2, 0
    ),
    "columns before rows": lambda t: t.reshape(t.shape[1], t.shape[0], -1).transpose(1, 0, 2),
}
FLIPS: Ways = {
    "": _as_it_is,
    "upside down": lambda t: t[::-1],
    "mirrored": lambda t: t[:, ::-1],
    "turned by 180 degrees": lambda t: t[::-1, ::-1],
}
# What is done to a photograph (H, W, 3) otherwise.
PLACES: Mapping[str, Callable[[str, np.ndarray, Size], np.ndarray]] = {
    "": lambda kernel, image, size: Rule("", kernel).canvas(image, size)[0],
    "padded in black": lambda kernel, image, size: Rule("", kernel, padding=0).canvas(image, size)[0],
    "padded in white": lambda kernel, image, size: Rule("", kernel, padding=255).canvas(image, size)[0],
    "stretched in place of letterboxed": lambda kernel, image, size: Rule("", kernel, stretch=True).canvas(
        image, size
    )[0],
    "cropped in place of letterboxed": lambda kernel, image, size: Rule("", kernel, stretch=True).canvas(
        _cropped(image, size), size
    )[0],
    "in the upper left corner": lambda kernel, image, size: _in_corner(kernel, image, size, 128),
    "in the upper left corner, padded in black": lambda kernel, image, size: _in_corner(
        kernel, image, size, 0
    ),
}
KERNEL_NAMES = {
    "antialiased": "",
    "bilinear": "bilinear without antialiasing",
    "nearest": "the nearest pixel, not bilinear",
    "area": "means over areas, not bilinear",
    "halved": "bilinear on halved pictures (a browser's canvas)",
    "align_corners": "bilinear without antialiasing, align-corners in place of half-pixel centres",
    "lanczos": "Lanczos, not bilinear",
}
GIVEN: Ways = {
    "": _as_it_is,
    "probabilities (softmax) in place of logits": lambda v: special.softmax(v, axis=-1),
    "sigmoids in place of logits": special.expit,
    "logits in place of probabilities": lambda v: np.log(np.maximum(v, np.finfo(np.float32).tiny)),
    "the classes exchanged": lambda v: v[..., ::-1],
}


@dataclass(frozen=True)
class Guess:
    """What comes nearest: in ``names`` what is done otherwise, and how far off all is, with and without it.

    Of tensors in levels of 255, of outputs in their own numbers, of masks in shares of pixels; on average
    over all photographs.
    """

    names: tuple[str, ...]
    before: float
    after: float

    @property
    def explains(self) -> bool:
        """Whether next to nothing is left over."""
        return bool(self.names) and self.after <= 0.02 * self.before

    @property
    def text(self) -> str:
        """What to say of it; "" where it is no better than nothing."""
        # Of noise, which no way explains, the nearest leaves half.
        if not self.names or self.after > self.before / 4:
            return ""
        names = " and ".join(self.names)
        if self.explains:
            return f"it is {names}: then nothing is left of the difference"
        return f"most like {names}: of a difference of {self.before:.3g} on average {self.after:.3g} is left"


def tensor(
    photographs: Sequence[tuple[np.ndarray, np.ndarray]], given: Sequence[np.ndarray], size: Size
) -> Guess:
    """What explains an app's tensors, float32 (h, w, 3) of real numbers.

    ``photographs`` are uint8 (H, W, 3): upright, and as they are stored.
    """
    rows, columns = (slice(None, None, max(1, extent // POINTS)) for extent in size)
    views = list(_views(given, lambda t: t[rows, columns]))
    stacked = np.stack([points for _, points in views])
    best: tuple[float, int, tuple[str, ...]] | None = None
    first = 0.0
    for names, canvases in _canvases(photographs, size):
        wanted = np.concatenate([canvas[rows, columns].ravel() for canvas in canvases]) / np.float32(255)
        errors = np.abs(stacked - wanted).mean(axis=1) * 255
        if not names:
            first = float(errors[0])
        for error, (more, _) in zip(errors.tolist(), views, strict=True):
            found = (*more, *names)
            # Of ways that come equally near the one with the fewest things done otherwise.
            rank = (round(error, 2), len(found), found)
            best = rank if best is None or rank < best else best
    assert best is not None
    return Guess(best[2], first, best[0])


def output(wanted: Sequence[np.ndarray], given: Sequence[np.ndarray]) -> Guess:
    """What explains an app's outputs (h, w, channels), all float32, where its tensors are right."""
    ways = itertools.product(GIVEN.items(), LAYOUTS.items(), FLIPS.items())
    return _nearest(
        (tuple(name for name, _ in way if name), _difference([way[0][1](w) for w in wanted], given, way[1:]))
        for way in ways
    )


def mask(
    logits: Sequence[np.ndarray],
    boxes: Sequence[Letterbox],
    given: Sequence[np.ndarray],
    ours: Callable[..., np.ndarray],
) -> Guess:
    """What explains an app's masks uint8 (H, W).

    ``logits`` (h, w, classes) are those that it had, ``ours`` makes the right mask of them and of a box.
    """
    enlarged: Mapping[str, Callable[[np.ndarray, Letterbox], np.ndarray]] = {
        "": ours,
        "classes enlarged by the nearest, not logits": lambda v, box: KERNELS["nearest"](
            v[box.place].argmax(-1).astype(np.uint8), *box.source
        ),
        "logits enlarged align-corners": lambda v, box: _by_kernel("align_corners", v[box.place], box.source),
        "the padding not cut away": lambda v, box: ours(v, Letterbox.stretched(box.source, box.size)),
    }
    values: Ways = {
        "": _as_it_is,
        "255 for the foreground": lambda m: (m > 0).astype(np.uint8) * 255,
        "the classes exchanged": lambda m: 1 - np.minimum(m, 1),
    }

    def tried() -> Iterator[tuple[tuple[str, ...], float]]:
        for (name, enlarge), (value, written), (flip, turned) in itertools.product(
            enlarged.items(), values.items(), FLIPS.items()
        ):
            made = [turned(written(enlarge(v, box))) for v, box in zip(logits, boxes, strict=True)]
            differ = [(m != g).mean() for m, g in zip(made, given, strict=True)]
            yield tuple(n for n in (name, value, flip) if n), float(np.mean(differ))

    return _nearest(tried())


# ---- the search


def _nearest(tried: Iterable[tuple[tuple[str, ...], float]]) -> Guess:
    """The best of ways, of which the first is the right one."""
    found = list(tried)
    names, after = min(found, key=lambda one: (round(one[1], 6), len(one[0])))
    return Guess(names, found[0][1], after)


def _views(given: Sequence[np.ndarray], some: Way) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """The tensors as each way of writing them is undone; ``some`` of the numbers, all in a row."""
    for layout, colour, range_, flip in itertools.product(
        LAYOUTS.items(), COLOURS.items(), RANGES.items(), FLIPS.items()
    ):
        undone = [some(range_[1](colour[1](flip[1](layout[1](tensor))))).ravel() for tensor in given]
        names = tuple(name for name, _ in (range_, colour, layout, flip) if name)
        yield names, np.concatenate(undone).astype(np.float32)


def _canvases(
    photographs: Sequence[tuple[np.ndarray, np.ndarray]], size: Size
) -> Iterator[tuple[tuple[str, ...], list[np.ndarray]]]:
    """The canvases uint8 (h, w, 3) of all photographs by each way of making them."""
    for which, turned in enumerate(("", "EXIF's orientation ignored")):
        for (place, make), (kernel, name) in itertools.product(PLACES.items(), KERNEL_NAMES.items()):
            names = tuple(n for n in (turned, place, name) if n)
            yield names, [make(kernel, both[which], size) for both in photographs]


def _difference(
    wanted: Sequence[np.ndarray], given: Sequence[np.ndarray], undone: Sequence[tuple[str, Way]]
) -> float:
    """How far outputs are from those wanted on average, after ways of writing them were undone."""
    found = []
    for one, other in zip(wanted, given, strict=True):
        straight = functools.reduce(lambda values, way: way[1](values), undone, other)
        found.append(np.abs(one - straight).mean())
    return float(np.mean(found))


def _by_kernel(kernel: str, logits: np.ndarray, source: Size) -> np.ndarray:
    """Logits (h, w, classes) enlarged by another kernel, then the largest."""
    planes = [KERNELS[kernel](np.ascontiguousarray(plane), *source) for plane in np.moveaxis(logits, -1, 0)]
    return np.argmax(planes, axis=0).astype(np.uint8)


def _cropped(image: np.ndarray, size: Size) -> np.ndarray:
    """The middle of a photograph that has the input's aspect ratio."""
    box = Letterbox.fit(size, (image.shape[0], image.shape[1]))
    return image[box.place]


def _in_corner(kernel: str, image: np.ndarray, size: Size, padding: int) -> np.ndarray:
    box = dataclasses.replace(Letterbox.fit((image.shape[0], image.shape[1]), size), top=0, left=0)
    return box.around(KERNELS[kernel](image, box.height, box.width), padding)
