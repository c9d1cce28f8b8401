"""Estimates how the specimen drifts between the frames of a movie, where one frame alone shows too little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from n2a_bids.algorithms.micrographs.alignment import shift_back
from n2a_bids.algorithms.micrographs.chance_correlation import chance_correlation
from n2a_bids.algorithms.micrographs.drift import SMOOTHING_PIXELS, Drift, estimate_drift
from n2a_bids.algorithms.micrographs.hot_pixels import single_bright_pixels

Image = NDArray[np.float32]

_ERROR_PIXELS = 0.2
"""Standard error of the shift of a block of frames that is good enough: sums lose next to nothing by it."""
_FEWEST_BLOCKS, _ENOUGH_BLOCKS, _MOST_BLOCKS = 3, 8, 16
_WINDOW_EDGE = 1024
"""Pixels in the middle that tell the drift of large frames where their structure allows."""
_MOST_PIXELS = 2**28
"""Of all blocks, 1 GB in single precision."""
_MATTERS_PIXELS = 0.5
"""Drift over the whole movie that is undone: less blurs by a seventh of a pixel (SD)."""
_BY_CHANCE = 1e-6
"""How often blocks of a specimen that stands may lie so far apart."""
_TWICE_BY_CHANCE = 0.01
"""How often paths that noise makes may resemble each other so much."""
_CLEAR_CORRELATION = 0.5
"""Of each block with the others: unrelated noise never reaches it."""
_AROUND = 2
_PIXELS_OF_SMOOTHING = 4 * np.pi * SMOOTHING_PIXELS**2
"""Of smoothed noise one value in so many pixels is independent."""


@dataclass(frozen=True, slots=True)
class FrameDrift:
    """The path of a specimen through the frames of a movie."""

    of_frames: Drift
    """Against the first."""
    parts: tuple[NDArray[np.int_], ...]
    """Consecutive frames of each of the blocks by whose means it was found."""
    block_drift: Drift

    @property
    def length_pixels(self) -> float:
        """Between the two frames that lie farthest apart."""
        return float(np.hypot(*np.ptp(self.of_frames.shift_pixels, axis=0)))


def estimate_frame_drift(frames: NDArray[np.generic]) -> FrameDrift | None:
    """Find the drift of a movie whose frames may be too noisy to be compared one by one.

    Consecutive frames are averaged to as many blocks as can be placed to a fifth of a pixel each, by their
    noise and structure. Between the centres of blocks drift is taken as steady. It counts only where it
    exceeds its error, where blocks are clear or data that share no noise tell it twice, and where the even
    and the odd frames agree better without it.

    Structure is what frames share as they lie. Where a fast drift leaves too little of it, the finest blocks
    are placed first, and count if each shows more of the others than chance does.

    Parameters
    ----------
    frames : (X, Y, F, C) array

    Returns
    -------
    drift : FrameDrift or None
        None where the specimen stays where it is, by less than half a pixel, or nothing tells its drift.
    """
    planes, error = _planes_that_tell(frames)
    n_blocks = _number_of_blocks(frames.shape, error)
    if n_blocks < _FEWEST_BLOCKS:
        return None
    blocks = _place_blocks(planes, n_blocks)
    shifts = _along_path(blocks)
    of_frames = Drift(shifts, np.zeros(planes.count), np.ones(planes.count))
    drift = FrameDrift(of_frames, blocks.parts, blocks.drift)
    matters = drift.length_pixels >= _MATTERS_PIXELS and _is_certain(
        blocks.drift, error * np.sqrt(n_blocks / planes.count)
    )
    if not matters or not (_is_clear(blocks.drift) or _is_found_twice(planes, blocks.parts)):
        return None
    return drift if _halves_agree_better(planes, shifts) else None


@dataclass(frozen=True, slots=True)
class _Planes:
    """Frames, or a window of them, as single planes that are read one at a time."""

    frames: NDArray[np.generic]
    bright: NDArray[np.bool_]
    """(X, Y) that may be hot pixels of the camera, which stay while the specimen drifts."""

    @property
    def count(self) -> int:
        return self.frames.shape[2]

    def read(self, index: int) -> Image:
        """(X, Y) mean of the channels of a frame, with the median of what is around in bright pixels."""
        plane = self.frames[:, :, index].mean(axis=-1, dtype=np.float32)
        for x, y in np.argwhere(self.bright):
            around = plane[max(x - _AROUND, 0) : x + _AROUND + 1, max(y - _AROUND, 0) : y + _AROUND + 1]
            plane[x, y] = np.median(around)
        return plane

    def mean(self, indices: NDArray[np.int_]) -> Image:
        """(X, Y) of some frames."""
        return np.mean([self.read(index) for index in indices], axis=0)


class _Blocks(NamedTuple):
    """Means of consecutive frames, and where the specimen lies in them."""

    parts: tuple[NDArray[np.int_], ...]
    images: Image
    """(B, X, Y)."""
    drift: Drift


def _place_blocks(planes: _Planes, n_blocks: int) -> _Blocks:
    parts = tuple(np.array_split(np.arange(planes.count), n_blocks))
    images = np.stack([planes.mean(part) for part in parts])
    return _Blocks(parts, images, estimate_drift(images, turns=False))


def _planes_that_tell(frames: NDArray[np.generic]) -> tuple[_Planes, float]:
    """The middle of large frames where that is enough, else all of them; with the error of a frame."""
    shape = frames.shape[:2]
    middle = tuple(slice(max((n - _WINDOW_EDGE) // 2, 0), (n + _WINDOW_EDGE + 1) // 2) for n in shape)
    for window in (middle, (slice(0, shape[0]), slice(0, shape[1]))):
        part = frames[window]
        planes = _Planes(part, _bright_as_they_lie(part))
        error = _error_of_frame(planes, np.zeros((planes.count, 2)))
        if not _is_enough(frames.shape, error) and window is middle:
            path = _path_of_finest_blocks(planes)
            error = error if path is None else min(error, _error_of_frame(planes, path))
        if _is_enough(frames.shape, error) or part.shape == frames.shape:
            break
    return planes, error


def _is_enough(shape: tuple[int, ...], error: float) -> bool:
    """Whether as many blocks of (X, Y, F, C) frames can be placed as tell a path well."""
    return _number_of_blocks(shape, error) >= min(_ENOUGH_BLOCKS, shape[2])


def _path_of_finest_blocks(planes: _Planes) -> NDArray[np.float64] | None:
    """(F, 2) shifts of frames by the smallest blocks; None where one is like the others by chance alone."""
    n_blocks = min(planes.count, _MOST_BLOCKS)
    if n_blocks < _FEWEST_BLOCKS:
        return None
    blocks = _place_blocks(planes, n_blocks)
    steps = np.diff(blocks.drift.shift_pixels, axis=0)
    for index, step in enumerate(steps, start=1):
        least = chance_correlation(blocks.images[index - 1], blocks.images[index], step)
        if blocks.drift.correlation[index] <= least:
            return None
    return _along_path(blocks)


def _bright_as_they_lie(frames: NDArray[np.generic]) -> NDArray[np.bool_]:
    """(X, Y) single bright pixels of the mean of all frames: a grain that drifts is no single pixel there."""
    return single_bright_pixels(frames.mean(axis=(2, 3), dtype=np.float32))


def _error_of_frame(planes: _Planes, path: NDArray[np.float64]) -> float:
    """Standard error in pixels of the shift of one frame, along the axis that tells it worse; inf without
    structure.

    As of least squares: noise over the slopes of the image, both smoothed. Slopes are those that even and odd
    frames share, moved back along the (F, 2) path.
    """
    shape = planes.frames.shape[:2]
    total, count = np.zeros((2, *shape), np.float32), np.zeros((2, *shape), np.float32)
    variances, last = [], None
    for index in range(planes.count):
        image, inside = _moved_and_smoothed(planes.read(index), path[index])
        total[index % 2] += np.where(inside, image, 0)
        count[index % 2] += inside
        if last is not None and (inside & last[1]).any():
            variances.append(float(np.var((image - last[0])[inside & last[1]])) / 2)
        last = image, inside
    shared = (count > 0).all(axis=0)
    means = np.where(
        shared, total / np.maximum(count, 1), total.sum(axis=0) / np.maximum(count.sum(axis=0), 1)
    )
    slopes = zip(np.gradient(means[0]), np.gradient(means[1]), strict=True)
    energy = min(float(np.vdot(even[shared], odd[shared])) for even, odd in slopes)
    if energy <= 0 or not variances:
        return np.inf
    return float(np.sqrt(np.mean(variances) * _PIXELS_OF_SMOOTHING * shared.mean() / energy))


def _moved_and_smoothed(plane: Image, shift: NDArray[np.float64]) -> tuple[Image, NDArray[np.bool_]]:
    """A smoothed frame moved back, and where it was measured."""
    smooth = ndimage.gaussian_filter(plane, SMOOTHING_PIXELS)
    return shift_back(smooth, shift) if shift.any() else (smooth, np.ones(plane.shape, bool))


def _number_of_blocks(shape: tuple[int, ...], error: float) -> int:
    """As many of (X, Y, F, C) frames as can be placed well enough, and held in memory."""
    n_frames, n_values = shape[2], shape[0] * shape[1] * shape[3]
    if not np.isfinite(error):
        return 0
    frames_of_block = max(int(np.ceil((error / _ERROR_PIXELS) ** 2)), 1)
    return min(n_frames // frames_of_block, _MOST_BLOCKS, _MOST_PIXELS // n_values)


def _is_certain(block_drift: Drift, error: float) -> bool:
    """Whether blocks lie farther apart than the standard error of each along an axis explains."""
    away = block_drift.shift_pixels - block_drift.shift_pixels.mean(axis=0)
    limit = special.chdtri(2 * (len(away) - 1), _BY_CHANCE)
    return float(np.sum(away**2)) > limit * error**2


def _is_clear(block_drift: Drift) -> bool:
    """Whether every block shows more structure than noise: those of a lattice are, whatever its period."""
    return float(block_drift.correlation.min()) > _CLEAR_CORRELATION


def _is_found_twice(planes: _Planes, parts: tuple[NDArray[np.int_], ...]) -> bool:
    """Whether two halves of the data tell one path: even and odd frames of the blocks, or halves of the field
    where blocks are single frames.

    Blocks of few counts in a large field are placed on noise that they happen to share, pixels away, which
    the expected error does not tell.
    """
    if min(map(len, parts)) > 1:
        halves = [[planes.mean(part[first::2]) for part in parts] for first in range(2)]
    else:
        axis = int(np.argmax(planes.frames.shape[:2]))
        fields = [np.array_split(planes.mean(part), 2, axis=axis) for part in parts]
        halves = [[field[first] for field in fields] for first in range(2)]
    width = min(half[0].shape[0] for half in halves), min(half[0].shape[1] for half in halves)
    paths = [
        estimate_drift(np.stack([block[: width[0], : width[1]] for block in half]), turns=False).shift_pixels
        for half in halves
    ]
    one, other = (path - path.mean(axis=0) for path in paths)
    freedom = one.size - 3
    limit = special.stdtrit(freedom, 1 - _TWICE_BY_CHANCE)
    needed = limit / np.sqrt(freedom + limit**2)
    return float(np.vdot(one, other)) > needed * float(np.linalg.norm(one) * np.linalg.norm(other))


def _along_path(blocks: _Blocks) -> NDArray[np.float64]:
    """(F, 2) shifts of frames against the first: straight lines through the centres of blocks."""
    shifts, centres = blocks.drift.shift_pixels, np.array([part.mean() for part in blocks.parts])
    frames = np.arange(blocks.parts[-1][-1] + 1)
    left = np.clip(np.searchsorted(centres, frames, side="right") - 1, 0, len(centres) - 2)
    weight = ((frames - centres[left]) / (centres[left + 1] - centres[left]))[:, None]
    path = (1 - weight) * shifts[left] + weight * shifts[left + 1]
    return path - path[0]


def _halves_agree_better(planes: _Planes, shifts: NDArray[np.float64]) -> bool:
    """Whether even and odd frames, summed along the path, share more fine structure than as they lie."""
    shape = planes.frames.shape[:2]
    still, moved = (np.zeros((2, *shape), np.float32) for _ in range(2))
    shown = np.ones(shape, bool)
    for index in range(planes.count):
        plane = planes.read(index)
        still[index % 2] += plane
        shifted, inside = shift_back(plane, shifts[index])
        moved[index % 2] += shifted
        shown &= inside
    return bool(shown.any()) and _shared_detail(moved, shown) > _shared_detail(still, shown)


def _shared_detail(halves: NDArray[np.float32], shown: NDArray[np.bool_]) -> float:
    """Power of the finest detail that two images have in common: noise has none, blur takes it away."""
    even, odd = (half - ndimage.gaussian_filter(half, SMOOTHING_PIXELS) for half in halves)
    return float(np.mean(even[shown] * odd[shown], dtype=np.float64))
