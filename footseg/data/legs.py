"""The legs above the feet: found in a photograph whose mask shows the feet alone.

A shoe cut out alone looks like one that nobody wears. Legs rise from the feet, differ in colour from the
ground beside these, and end at colour edges: each pixel's share of leg follows from a prior by its
place, from histograms of both colours, and from its neighbours (a random walk with priors, Grady 2005;
the histograms are made anew from its result, as in GrabCut, Rother et al. 2004). It often fails, and knows
when: the colours of what it took for legs and for background are alike.
"""

import numpy as np
from PIL import Image
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

SIDE = 100
"""Pixels of the longer side at which legs are looked for: 11 ms, and trousers need no more."""
BINS = 12
ROUNDS = 4
ALIKE = 0.42
"""Overlap of the histograms (Bhattacharyya, 0 to 1) from which a result is not trusted. Of 240 street
photographs 118 lie below; of 36 of these looked at, 4 had something of the street on them. Above, it is half.
"""


def find_legs(image: np.ndarray, foot: np.ndarray) -> np.ndarray | None:
    """Feet and legs together, bool (h, w), in a photograph uint8 (h, w, 3) with feet bool (h, w).

    None where no legs are to be seen or the result is not to be trusted.
    """
    factor = max(1, round(max(foot.shape) / SIDE))
    small = np.asarray(Image.fromarray(image).reduce(factor), np.float32)
    feet = np.asarray(Image.fromarray(foot.astype(np.uint8) * 255).reduce(factor)) > 127
    if feet.sum() < 20:
        return None
    prior, ground = _prior(feet)
    rest = (prior < 0.08) & ~feet
    likely = (prior > 0.5) & ~ndimage.binary_dilation(feet)
    if min(ground.sum(), rest.sum(), likely.sum()) < 20:
        return None

    near = _histogram(small[ground])  # stays: the ground beside the feet is never leg
    far = _histogram(small[rest])
    known = np.maximum(_at(near, small), _at(far, small))
    legs = _histogram(small[likely], 1 / (1 + known[likely] * BINS**3 / 3))
    for _ in range(ROUNDS):
        leg, other = _at(legs, small), np.maximum(_at(far, small), _at(near, small))
        share = np.clip(ndimage.gaussian_filter(leg / (leg + other), 0.6), 0.03, 0.97)
        share = share * prior / (share * prior + (1 - share) * (1 - prior))
        share = _walk(small, share, feet, ground)
        taken = (share > 0.5) & ~feet
        if taken.sum() < 20:
            return None
        # Without what looks like the ground: else a little of it, once taken, brings the rest.
        legs = _histogram(small[taken], share[taken] / (1 + _at(near, small)[taken] * BINS**3 / 3))
        far = _histogram(small[share <= 0.5], 1 - share[share <= 0.5])
    colours = _histogram(small[taken], share[taken])
    if np.sqrt(colours * np.maximum(near, far)).sum() > ALIKE:
        return None
    figure = ndimage.binary_opening(share > 0.5) | feet
    parts, _ = ndimage.label(figure)
    figure = np.isin(parts, np.unique(parts[feet]))
    # 0.4, not 0.5: enlarging overshoots, and would draw outlines around what was left out.
    soft = np.where(figure, np.maximum(share, 0.5), np.minimum(share, 0.4)).astype(np.float32)
    size = foot.shape[1], foot.shape[0]
    return (np.asarray(Image.fromarray(soft).resize(size, Image.Resampling.BICUBIC)) > 0.5) | foot


def _prior(feet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How likely each pixel is leg by its place, float (h, w), and what is surely ground, bool (h, w).

    Legs rise from a foot's upper half, and may lean: the higher, the further beside it.
    """
    height, width = feet.shape
    rows, columns = np.arange(height)[:, None], np.arange(width)
    prior = np.full(feet.shape, 0.03)
    labels, count = ndimage.label(ndimage.binary_dilation(feet))
    areas = np.bincount(labels.ravel())[1:]
    places = ndimage.find_objects(labels)
    large = [places[n] for n in range(count) if areas[n] >= areas.max() / 4]
    for down, across in large:
        tall = down.stop - down.start
        above = np.clip((down.stop - 0.35 * tall - rows) / (0.3 * tall + 1), 0, 1)
        lean = 0.12 * max(across.stop - across.start, 6) + 0.25 * np.maximum(down.start - rows, 0)
        beside = np.maximum(np.maximum(across.start - columns, columns - across.stop + 1), 0)
        prior = np.maximum(prior, 0.75 * above * np.exp(-((beside / np.maximum(lean, 2)) ** 2)))
    waist = [down.start + 0.6 * (down.stop - down.start) for down, _ in large]
    ground = ((rows > max(waist)) | ((prior < 0.05) & (rows > min(waist)))) & ~ndimage.binary_dilation(
        feet, iterations=2
    )
    ground[max(down.stop for down, _ in large) + 1 :] = True
    return prior, ground


def _walk(image: np.ndarray, share: np.ndarray, feet: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """``share`` smoothed along colours, not over their edges; 1 on ``feet``, 0 on ``ground``."""
    height, width = share.shape
    across, down = ((np.diff(image, axis=axis) ** 2).sum(-1) for axis in (1, 0))
    sharp = 2 / (1 + np.mean(np.concatenate([across.ravel(), down.ravel()])))
    weights = np.concatenate([np.exp(-sharp * across).ravel(), np.exp(-sharp * down).ravel()]) + 0.01
    index = np.arange(share.size).reshape(share.shape)
    one = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    two = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    ends = np.concatenate([one, two]), np.concatenate([two, one])
    links = sparse.coo_matrix((np.tile(weights, 2), ends), (share.size, share.size)).tocsr()

    pull = np.where(feet | ground, 50.0, 0.12)
    towards = np.where(feet, 1.0, np.where(ground, 0.0, share))
    diagonal = np.asarray(links.sum(1)).ravel() + pull.ravel()
    solution, _ = cg(
        sparse.diags(diagonal) - links,
        (pull * towards).ravel(),
        x0=towards.ravel(),
        rtol=1e-3,
        maxiter=150,
        M=sparse.diags(1 / diagonal),
    )
    return solution.reshape(height, width)


def _histogram(pixels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """How often each colour occurs, smoothed: (12, 12, 12), of sum 1."""
    bins = (pixels * (BINS / 256)).astype(int)
    counts = np.bincount(np.ravel_multi_index(tuple(bins.T), (BINS,) * 3), weights, BINS**3)
    smooth = ndimage.gaussian_filter(counts.reshape((BINS,) * 3).astype(float), 0.8)
    return smooth / smooth.sum()


def _at(histogram: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Each pixel's frequency (h, w), never 0."""
    bins = (image * (BINS / 256)).astype(int)
    return histogram[bins[..., 0], bins[..., 1], bins[..., 2]] + 1e-6
