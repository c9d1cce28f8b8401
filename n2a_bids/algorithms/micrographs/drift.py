"""Estimates drift between micrograph exposures: subpixel shifts, and rotation where it matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Image = NDArray[np.float32]

_COARSE_EDGE = 1024
"""Pixels to which images are binned for the first, whole-pixel estimate."""
_SEARCH_EDGE = 256
"""The same for the search of angles."""
_ANGLES_DEG = (*range(-8, 0), *range(1, 9))
_CLEARLY = 1.15
"""How much higher the peak of a rotated image must be than that of the image as it is."""
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


def estimate_drift(exposures: NDArray[np.floating], *, turns: bool = True) -> Drift:
    """Estimate the drift of exposures of one field of view.

    Cross-correlation of binned images gives whole pixels, least squares on smoothed images (Lucas and Kanade,
    1981) the rest.

    Parameters
    ----------
    exposures : (R, X, Y) array
    turns : bool
        Search for rotations, too.

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
    reference = exposures[0].astype(np.float32, copy=False)
    n_passes = _PASSES if n_exposures > 2 else 1
    for index in range(1, n_exposures):
        motions[index] = _coarse_motion(reference, exposures[index], turns)
    for number in range(n_passes):
        for index in range(1, n_exposures):
            if number:
                others = [other for other in range(n_exposures) if other != index]
                reference = _mean_of(exposures, motions, others)
            last = turns and number == n_passes - 1
            motions[index], correlation[index] = _refine(reference, exposures[index], motions[index], last)
    if n_exposures > 2:
        others = _mean_of(exposures, motions, list(range(1, n_exposures)))
        nothing, tiles = np.zeros(3), _tiles(others.shape)
        correlation[0] = _descend(others, exposures[0], nothing, tiles, SMOOTHING_PIXELS, 2, n_steps=1)[2]
    return Drift(motions[:, :2], np.degrees(motions[:, 2]), correlation)


def rotation_matrix(angle: float) -> NDArray[np.float64]:
    """(2, 2) turn by an angle in radians, from X towards Y."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _mean_of(exposures: NDArray[np.floating], motions: NDArray[np.float64], which: list[int]) -> Image:
    """Mean of some exposures, moved back linearly: it is smoothed anyway."""
    total = np.zeros(exposures.shape[1:], np.float32)
    middle = (np.array(total.shape) - 1) / 2
    for index in which:
        turn = rotation_matrix(motions[index, 2])
        offset = middle + motions[index, :2] - turn @ middle
        image = exposures[index].astype(np.float32)
        total += ndimage.affine_transform(image, turn, offset, order=1, mode="nearest")
    return total / len(which)


def _coarse_motion(
    reference: NDArray[np.floating], moving: NDArray[np.floating], turns: bool
) -> NDArray[np.float64]:
    """Shift to about a pixel of binned images, and an angle (radians) where turning clearly helps."""
    step = -(-max(reference.shape) // _COARSE_EDGE)
    shift, score = _whole_pixels(*(_bin(image, step) for image in (reference, moving)))
    motion = np.array([*(step * shift), 0.0])
    if not turns or min(reference.shape) < _SEARCH_EDGE:
        return motion
    coarse = -(-max(reference.shape) // _SEARCH_EDGE)
    small = [_bin(image, coarse) for image in (reference, moving)]
    straight = _whole_pixels(*small)[1]
    found = []
    for angle in _ANGLES_DEG:
        rotated = ndimage.rotate(small[0], angle, reshape=False, order=1, mode="nearest")
        found.append((*_whole_pixels(rotated, small[1]), angle))
    shift, score, angle = max(found, key=lambda one: one[1])
    if score > _CLEARLY * straight:
        return np.array([*(coarse * shift), np.radians(angle)])
    return motion


def _whole_pixels(reference: Image, moving: Image) -> tuple[NDArray[np.float64], float]:
    """Shift of `moving` in whole pixels, and the height of the peak that shows it."""
    size = [fft.next_fast_len(edge + edge // 2, real=True) for edge in reference.shape]
    spectra = []
    for image in (reference, moving):
        detail = ndimage.gaussian_filter(image, 1.5) - ndimage.gaussian_filter(image, 12)
        spectra.append(fft.rfft2(detail * _window(detail.shape), size))
    product = spectra[1] * spectra[0].conj()
    # Between a plain correlation, whose peak is wide, and that of phases alone, which noise rules.
    product /= np.sqrt(np.abs(product)) + 1e-3 * np.sqrt(np.abs(product).max() + 1e-30)
    surface = fft.irfft2(product, size)
    peak = np.array(np.unravel_index(int(np.argmax(surface)), size))
    return np.where(peak > np.array(size) / 2, peak - size, peak).astype(float), float(surface.max())


def _bin(image: NDArray[np.floating], step: int) -> Image:
    x, y = (size // step * step for size in image.shape)
    blocks = image[:x, :y].reshape(x // step, step, y // step, step)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def _window(shape: tuple[int, ...]) -> Image:
    ramps = [np.minimum(1, np.minimum(np.arange(n) + 1, n - np.arange(n)) / (0.1 * n + 1)) for n in shape]
    return (ramps[0][:, None] * ramps[1]).astype(np.float32)


def _refine(
    reference: NDArray[np.floating], moving: NDArray[np.floating], start: NDArray[np.float64], rotates: bool
) -> tuple[NDArray[np.float64], float]:
    """Shift and angle (radians) by least squares, coarse to fine, and the correlation that they reach."""
    step = -(-max(reference.shape) // _COARSE_EDGE)
    tiles = _tiles(reference.shape)
    motion = start.astype(float).copy()
    is_rotated = motion[2] != 0
    for sd in sorted({float(max(SMOOTHING_PIXELS, 2 * step)), SMOOTHING_PIXELS}, reverse=True):
        motion, _, correlation = _descend(reference, moving, motion, tiles, sd, n_free=3 if is_rotated else 2)
    if is_rotated or not rotates:
        return motion, correlation
    with_turn, errors, reached = _descend(reference, moving, motion, tiles, SMOOTHING_PIXELS, n_free=3)
    radius = np.hypot(*reference.shape) / 2
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
    reference: NDArray[np.floating],
    moving: NDArray[np.floating],
    motion: NDArray[np.float64],
    tiles: list[tuple[slice, slice]],
    sd: float,
    n_free: int,
    n_steps: int = _STEPS,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Gauss-Newton steps over tiles; motion, its standard errors and the correlation."""
    middle = (np.array(reference.shape) - 1) / 2
    fixed = [
        ndimage.gaussian_filter(reference[tile].astype(np.float32), sd, mode="nearest") for tile in tiles
    ]
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
            normal + 1e-9 * np.trace(normal) * np.eye(n_free) + 1e-30 * np.eye(n_free), right
        )
        motion[:n_free] += step
        turn = abs(step[2]) * float(np.hypot(*middle)) if n_free == 3 else 0.0
        if np.hypot(*step[:2]) + turn < _CONVERGED_PIXELS:
            break
    correlation = float(products[0] / np.sqrt(max(products[1] * products[2], 1e-30)))
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
    fixed: Image,
    tile: tuple[slice, slice],
    moving: NDArray[np.floating],
    motion: NDArray[np.float64],
    middle: NDArray[np.float64],
    sd: float,
    n_free: int,
) -> _Equations:
    """How a tile differs from the moved image, and how motion changes that."""
    margin = int(np.ceil(3 * sd)) + 2
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
    there = _read_smooth(moving, places, margin, sd)
    if there is None:
        return nothing
    inside = _far_from_borders(places, moving.shape, fixed.shape, margin)
    slopes = np.gradient(fixed)
    turning = slopes[1] * away[0] - slopes[0] * away[1]
    design = np.stack([part[inside] for part in (*slopes, turning)[:n_free]]).astype(np.float64)
    first, second = (image[inside].astype(np.float64) for image in (fixed, there))
    if first.size < _FEWEST_PIXELS:
        return nothing
    first, second = first - first.mean(), second - second.mean()
    products = np.array([first @ second, first @ first, second @ second])
    difference = first - second * (products[0] / max(products[2], 1e-30) if products[0] > 0 else 1)
    squared = float(difference @ difference)
    return _Equations(design @ design.T, design @ difference, products, squared, first.size)


def _far_from_borders(
    places: NDArray[np.float64], shape: tuple[int, ...], tile_shape: tuple[int, ...], margin: int
) -> NDArray[np.bool_]:
    """Pixels of a tile that smoothing reaches whole, in the tile and at the (2, X, Y) places of the image."""
    inside = np.all((places >= margin) & (places <= np.array(shape)[:, None, None] - 1 - margin), axis=0)
    for axis, size in enumerate(tile_shape):
        inside &= np.expand_dims((np.arange(size) >= margin) & (np.arange(size) < size - margin), 1 - axis)
    return inside


def _read_smooth(
    image: NDArray[np.floating], places: NDArray[np.float64], margin: int, sd: float
) -> Image | None:
    """The smoothed image at (2, X, Y) places; None where these hardly touch it."""
    low = np.maximum(np.floor(places.min(axis=(1, 2))).astype(int) - margin, 0)
    high = np.minimum(np.ceil(places.max(axis=(1, 2))).astype(int) + margin, image.shape)
    if (high - low < 8).any():
        return None
    near = image[low[0] : high[0], low[1] : high[1]].astype(np.float32)
    smooth = ndimage.gaussian_filter(near, sd, mode="nearest")
    return ndimage.map_coordinates(smooth, places - low[:, None, None], order=3, mode="nearest")
