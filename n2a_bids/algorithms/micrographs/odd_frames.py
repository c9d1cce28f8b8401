"""Finds frames of a movie that would spoil the sum: blank or saturated, repeated, or unlike the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_TILES = 8
"""Along an edge: large enough that structure outweighs the noise of one frame, where there is any."""
_LEAST_TILE_PIXELS = 4
_LEAST_FRAMES = 3
"""Of two, which one is odd cannot be told."""
_UNLIKE = 5.0
"""Residual of a frame over the usual one. By noise alone it varies by a tenth; drift doubles it."""
_LESS_CORRELATED = 0.5
_CLEAR_STRUCTURE = 0.8
"""Correlation from which a frame that has half of it shows something else."""

_ROUNDING = 1e-6
"""Of frames without noise nothing but this is left."""


def constant_frames(frames: NDArray[np.generic]) -> list[int]:
    """Indices of frames with one value in all pixels: the shutter was closed, or the camera saturated.

    Parameters
    ----------
    frames : (X, Y, F, C) array
    """
    return [index for index in range(frames.shape[2]) if np.ptp(frames[:, :, index]) == 0]


def repeated_frames(frames: NDArray[np.generic]) -> dict[int, int]:
    """Frames that a camera or grabber has stored again, to the bit, and the frame that each repeats.

    Parameters
    ----------
    frames : (X, Y, F, C) array
    """
    seen: dict[bytes, int] = {}
    repeated = {}
    for index in range(frames.shape[2]):
        first = seen.setdefault(np.ascontiguousarray(frames[:, :, index]).tobytes(), index)
        if first != index:
            repeated[index] = first
    return repeated


def unlike_frames(frames: NDArray[np.generic]) -> list[int]:
    """Indices of frames that show something else than most: lost in part, jumped, or of noise alone.

    Means of tiles are compared with their median over all frames, after the best gain and offset, since dose
    and black level may vary.

    Parameters
    ----------
    frames : (X, Y, F, C) array

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> movie = rng.poisson(np.linspace(5, 50, 64)[:, None, None, None], (64, 64, 6, 1))
    >>> movie[:, :40, 2] = 0
    >>> unlike_frames(movie)
    [2]
    """
    n_tiles = [min(_TILES, size // _LEAST_TILE_PIXELS) for size in frames.shape[:2]]
    if frames.shape[2] < _LEAST_FRAMES or min(n_tiles) < 2:
        return []
    tiles = np.stack([_tile_means(frames[:, :, index], n_tiles) for index in range(frames.shape[2])])
    usual = np.median(tiles, axis=0)
    centred = tiles - tiles.mean(axis=1, keepdims=True)
    usual = usual - usual.mean()
    energy = max(float(usual @ usual), np.finfo(float).tiny)
    residual = centred - np.outer(centred @ usual / energy, usual)
    size = np.linalg.norm(residual, axis=1)
    spread = np.linalg.norm(centred, axis=1).clip(np.finfo(float).tiny)
    correlation = centred @ usual / (spread * np.sqrt(energy))
    typical = float(np.median(correlation))
    is_odd = size > _UNLIKE * np.median(size) + _ROUNDING * spread
    if typical > _CLEAR_STRUCTURE:
        is_odd |= correlation < _LESS_CORRELATED * typical
    return np.flatnonzero(is_odd).tolist()


def _tile_means(frame: NDArray[np.generic], n_tiles: list[int]) -> NDArray[np.float64]:
    """(T,) means over tiles of an (X, Y, C) frame."""
    plane = frame.mean(axis=-1, dtype=np.float64)
    starts = [np.arange(n) * size // n for n, size in zip(n_tiles, plane.shape)]
    sums = np.add.reduceat(np.add.reduceat(plane, starts[0], axis=0), starts[1], axis=1)
    counts = np.outer(*(np.diff([*start, size]) for start, size in zip(starts, plane.shape)))
    return (sums / counts).ravel()
