"""Estimates drift between micrograph exposures: subpixel shifts, and rotation where it matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.micrographs.registration.coarse import COARSE_EDGE, coarse_motion
from n2a_bids.algorithms.micrographs.registration.partial_image import (
    PartialImage,
    both_count,
    far_from_borders,
    far_inside,
    margin_of,
    read_smooth,
    smooth_tile,
)

Image = NDArray[np.float32]

_TILE_EDGE = 512
_TILES_PER_AXIS = 3
_WHOLE_EDGE = 1536
"""Images up to this edge are compared as a whole, larger ones in tiles."""
SMOOTHING_PIXELS = 2.0
_STEPS = 12
_CONVERGED_PIXELS = 0.002
_MATTERS_PIXELS = 0.3
"""A rotation that moves the corners by less is left alone: interpolation would cost more."""
_CERTAINTY = 4.0
"""Standard errors by which a rotation must differ from none."""
_FEWEST_PIXELS = 64
"""By which two images can be compared."""
_TINY = np.finfo(np.float64).tiny
"""Instead of zero, below whatever images hold."""
_PASSES = 2
"""Passes over the exposures; from the second on each is compared with the mean of the others."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Where each exposure lies relative to the first; content at x in the first is at R x + shift in it."""

    shift_pixels: NDArray[np.float64]
    """(R, 2) along X and Y; the first row is zero."""
    rotation_deg: NDArray[np.float64]
    """(R,) around the middle of the image; 0 where none is certain and moves a corner by 0.3 pixels."""
    correlation: NDArray[np.float64]
    """(R,) of the smoothed exposure, moved back, with the others: near zero, nothing is in common.
    Of the first of two it is 1."""

    @property
    def largest_pixels(self) -> float:
        """Longest shift."""
        return float(np.hypot(*self.shift_pixels.T).max())


def estimate_drift(
    exposures: NDArray[np.floating], *, turns: bool = True, counted: NDArray[np.bool_] | None = None
) -> Drift:
    """Estimate the drift of exposures of one field of view.

    Cross-correlation of binned images gives whole pixels, least squares on smoothed images (Lucas and Kanade,
    1981) the rest.

    Parameters
    ----------
    exposures : (R, X, Y) array
    turns : bool
        Search for rotations, too.
    counted : (X, Y) bool array, optional
        Pixels of every exposure that show the specimen, and no data bar, text or frame that stays while the
        specimen drifts; all by default.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scene = ndimage.gaussian_filter(rng.standard_normal((96, 96)), 2)
    >>> estimate_drift(np.stack([scene[10:80, 10:80], scene[7:77, 12:82]])).shift_pixels[1].round(1).tolist()
    [3.0, -2.0]
    """
    n_exposures = len(exposures)
    motions = np.zeros((n_exposures, 3))
    correlation = np.ones(n_exposures)
    reference = PartialImage(exposures[0].astype(np.float32, copy=False), counted)
    n_passes = _PASSES if n_exposures > 2 else 1
    for index in range(1, n_exposures):
        motions[index] = coarse_motion(reference, PartialImage(exposures[index], counted), turns)
    for number in range(n_passes):
        for index in range(1, n_exposures):
            if number:
                others = [other for other in range(n_exposures) if other != index]
                reference = _mean_of(exposures, motions, others, counted)
            last = turns and number == n_passes - 1
            moving = PartialImage(exposures[index], counted)
            motions[index], correlation[index] = _refine(reference, moving, motions[index], last)
    if n_exposures > 2:
        others = _mean_of(exposures, motions, list(range(1, n_exposures)), counted)
        correlation[0] = _correlation(others, PartialImage(exposures[0], counted), np.zeros(3))
    return Drift(motions[:, :2], np.degrees(motions[:, 2]), correlation)


def correlation_of(exposures: NDArray[np.floating], drift: Drift, counted: NDArray[np.bool_]) -> float:
    """Mean correlation of smoothed exposures with the first, moved back by a drift, of pixels that count.

    Parameters
    ----------
    exposures : (R, X, Y) array
    drift : Drift
    counted : (X, Y) bool array
    """
    motions = np.column_stack([drift.shift_pixels, np.radians(drift.rotation_deg)])
    seen = [PartialImage(exposure, counted) for exposure in exposures]
    return float(np.mean([_correlation(seen[0], *one) for one in zip(seen[1:], motions[1:], strict=True)]))


def _correlation(reference: PartialImage, moving: PartialImage, motion: NDArray[np.float64]) -> float:
    tiles = _tiles(reference.pixels.shape)
    return _descend(reference, moving, motion, tiles, SMOOTHING_PIXELS, 2, n_steps=1)[2]


def tells_drift(shape: tuple[int, ...]) -> bool:
    """Whether images of such a size leave pixels to compare, inside of what smoothing draws from.

    Examples
    --------
    >>> tells_drift((24, 24)), tells_drift((20, 20)), tells_drift((20, 200))
    (True, False, True)
    """
    inner = [max(size - 2 * margin_of(SMOOTHING_PIXELS), 0) for size in shape]
    return inner[0] * inner[1] >= _FEWEST_PIXELS


def rotation_matrix(angle: float) -> NDArray[np.float64]:
    """(2, 2) turn by an angle in radians, from X towards Y."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _mean_of(
    exposures: NDArray[np.floating],
    motions: NDArray[np.float64],
    which: list[int],
    counted: NDArray[np.bool_] | None,
) -> PartialImage:
    """Mean of some exposures, moved back linearly: it is smoothed anyway; and what all of them count."""
    total = np.zeros(exposures.shape[1:], np.float32)
    all_count = None if counted is None else np.ones(counted.shape, bool)
    middle = (np.array(total.shape) - 1) / 2
    for index in which:
        turn = rotation_matrix(motions[index, 2])
        offset = middle + motions[index, :2] - turn @ middle
        image = exposures[index].astype(np.float32)
        total += ndimage.affine_transform(image, turn, offset, order=1, mode="nearest")
        if all_count is not None:
            share = ndimage.affine_transform(
                counted.astype(np.float32), turn, offset, order=1, mode="nearest"
            )
            all_count &= share > 0.999
    return PartialImage(total / len(which), all_count)


def _refine(
    reference: PartialImage, moving: PartialImage, start: NDArray[np.float64], rotates: bool
) -> tuple[NDArray[np.float64], float]:
    """Shift and angle (radians) by least squares, coarse to fine, and the correlation that they reach."""
    step = -(-max(reference.pixels.shape) // COARSE_EDGE)
    tiles = _tiles(reference.pixels.shape)
    motion = start.astype(float).copy()
    is_rotated = motion[2] != 0
    for sd in sorted({float(max(SMOOTHING_PIXELS, 2 * step)), SMOOTHING_PIXELS}, reverse=True):
        motion, _, correlation = _descend(reference, moving, motion, tiles, sd, n_free=3 if is_rotated else 2)
    if is_rotated or not rotates:
        return motion, correlation
    with_turn, errors, reached = _descend(reference, moving, motion, tiles, SMOOTHING_PIXELS, n_free=3)
    radius = np.hypot(*reference.pixels.shape) / 2
    if abs(with_turn[2]) * radius > _MATTERS_PIXELS and abs(with_turn[2]) > _CERTAINTY * errors[2]:
        return with_turn, reached
    return motion, correlation


def _tiles(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    if max(shape) <= _WHOLE_EDGE:
        return [(slice(0, shape[0]), slice(0, shape[1]))]
    starts = [
        np.unique(np.linspace(0, max(size - _TILE_EDGE, 0), _TILES_PER_AXIS).astype(int)) for size in shape
    ]
    return [
        (slice(x, min(x + _TILE_EDGE, shape[0])), slice(y, min(y + _TILE_EDGE, shape[1])))
        for x in starts[0]
        for y in starts[1]
    ]


def _descend(
    reference: PartialImage,
    moving: PartialImage,
    motion: NDArray[np.float64],
    tiles: list[tuple[slice, slice]],
    sd: float,
    n_free: int,
    n_steps: int = _STEPS,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Gauss-Newton steps over tiles; motion, its standard errors and the correlation."""
    middle = (np.array(reference.pixels.shape) - 1) / 2
    reference, moving = far_inside(reference, sd), far_inside(moving, sd)
    fixed = [smooth_tile(reference, tile, sd) for tile in tiles]
    motion = motion.copy()
    for _ in range(n_steps):
        sums = [
            _equations(image, tile, moving, motion, middle, sd, n_free)
            for image, tile in zip(fixed, tiles, strict=True)
        ]
        normal, right, products, squared, count = (sum(part) for part in zip(*sums, strict=True))
        if count < _FEWEST_PIXELS:
            break
        step = np.linalg.solve(
            normal + 1e-9 * np.trace(normal) * np.eye(n_free) + _TINY * np.eye(n_free), right
        )
        motion[:n_free] += step
        turn = abs(step[2]) * float(np.hypot(*middle)) if n_free == 3 else 0.0
        if np.hypot(*step[:2]) + turn < _CONVERGED_PIXELS:
            break
    correlation = float(products[0] / np.sqrt(max(products[1] * products[2], _TINY)))
    # Smoothing leaves about one independent value in 4 pi sd^2 pixels.
    variance = squared / max(count / (4 * np.pi * sd**2), 1) / max(count, 1) * (4 * np.pi * sd**2)
    errors = np.sqrt(np.maximum(np.diag(np.linalg.pinv(normal)), 0) * variance * (4 * np.pi * sd**2))
    return motion, np.pad(errors, (0, 3 - n_free)), correlation


class _Equations(NamedTuple):
    """Normal equations of least squares; those of tiles are summed."""

    normal: NDArray[np.float64]
    right: NDArray[np.float64]
    products: NDArray[np.float64]
    """(3,) of fixed and moved values, and each with itself."""
    squared: float
    """Sum of squared differences."""
    n_pixels: int


def _equations(
    fixed: PartialImage,
    tile: tuple[slice, slice],
    moving: PartialImage,
    motion: NDArray[np.float64],
    middle: NDArray[np.float64],
    sd: float,
    n_free: int,
) -> _Equations:
    """How a tile differs from the moved image, and how motion changes that."""
    margin = margin_of(sd)
    grid = np.meshgrid(*(np.arange(part.start, part.stop) for part in tile), indexing="ij")
    away = [axis - centre for axis, centre in zip(grid, middle)]
    cos, sin = np.cos(motion[2]), np.sin(motion[2])
    places = np.stack(
        (
            cos * away[0] - sin * away[1] + middle[0] + motion[0],
            sin * away[0] + cos * away[1] + middle[1] + motion[1],
        )
    )
    nothing = _Equations(np.zeros((n_free, n_free)), np.zeros(n_free), np.zeros(3), 0.0, 0)
    there = read_smooth(moving.pixels, places, margin, sd)
    if there is None:
        return nothing
    inside = far_from_borders(places, moving.pixels.shape, there.shape, margin) & both_count(
        fixed, moving, places
    )
    slopes = np.gradient(fixed.pixels)
    turning = slopes[1] * away[0] - slopes[0] * away[1]
    design = np.stack([part[inside] for part in (*slopes, turning)[:n_free]]).astype(np.float64)
    first, second = (image[inside].astype(np.float64) for image in (fixed.pixels, there))
    if first.size < _FEWEST_PIXELS:
        return nothing
    first, second = first - first.mean(), second - second.mean()
    products = np.array([first @ second, first @ first, second @ second])
    difference = first - second * (products[0] / max(products[2], _TINY) if products[0] > 0 else 1)
    squared = float(difference @ difference)
    return _Equations(design @ design.T, design @ difference, products, squared, first.size)
