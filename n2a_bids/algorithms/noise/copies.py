"""Finds images that are copies of others, scaled or filtered, means of several, or repeated volumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import nnls

from n2a_bids.algorithms.noise.shared_noise import SAME_ACQUISITION_SHARE, SharedNoise

_SOURCE_CORRELATION = 0.15
"""Of the noise of an image with that of another which it is said to hold."""
_LEFT_OF_MEANS = 0.2
"""Part of the detail of an image that the best other leaves unexplained, below which several together explain
it: 0 for a mean, 0.5 and more for runs of their own."""

_FEWEST_LEVELS = 6
"""Grey values of an image that follows from another: single events, and masks, are alike by chance."""
_LEAST_OWN = 0.1
"""Part of its pixels that are neither the darkest nor the brightest."""

_MOST_SAMPLES = 400_000
_PROBES = 4000
"""Voxels by which volumes are compared before they are compared in full."""


@dataclass(frozen=True, slots=True)
class Dependent:
    """An image that is no measurement of its own."""

    index: int
    sources: tuple[int, ...]
    """The images whose noise it holds."""
    correlation: float
    """Of its noise with theirs, multiple where they are several."""


def find_dependent(
    shared: Mapping[tuple[int, int], SharedNoise | None], order: Sequence[int]
) -> list[Dependent]:
    """Images that hold the noise of others: copies, and means of several.

    Parameters
    ----------
    shared : mapping of pairs of int to SharedNoise or None
        For each pair of images what was measured, the lower index first.
    order : sequence of int
        All images, those that should stay first: of two copies the later is named. The very first, on whose
        grid the others are, always stays.

    Returns
    -------
    dependent : list of Dependent
        Those to leave out; what then remains is independent but for partial correlations.
    """
    kept, found = list(order), []
    noise = {pair: one.correlation if one else 0.0 for pair, one in shared.items()}
    while len(kept) > 1:
        explained = {index: _explained(index, kept, noise) for index in kept[1:]}
        copies = [index for index, share in explained.items() if share >= SAME_ACQUISITION_SHARE]
        if not copies:
            break
        # A mean has most in common with the others; of several that have as much, the last in order goes.
        most = max(_total(index, kept, noise) for index in copies)
        index = [one for one in copies if _total(one, kept, noise) > 0.95 * most][-1]
        kept.remove(index)
        found.append(_dependent(index, kept, noise))
    return found


def find_copies(images: Iterable[NDArray[np.float32]]) -> dict[int, int]:
    """Images that bring nothing new: each is another one, perhaps in another intensity scale.

    Parameters
    ----------
    images : iterable of (X, Y, Z) or (X, Y, Z, C) float arrays
        As acquired, on any grids. One is held at a time, of the others a quarter.

    Returns
    -------
    copies : dict of int to int
        Index of each copy, and the index of the first image that it is a copy of.
    """
    seen: list[tuple[tuple[int, ...], NDArray[np.float32]]] = []
    copies = {}
    for index, image in enumerate(images):
        shape, sample = image.shape, image[::2, ::2].flatten()
        for earlier, (other_shape, other) in enumerate(seen):
            if shape == other_shape and np.corrcoef(sample, other)[0, 1] > 1 - 1e-6:
                copies[index] = earlier
                break
        seen.append((shape, sample))
    return copies


def find_redrawn(images: Iterable[NDArray[np.float32]]) -> dict[int, int]:
    """Images whose values follow from those of another, pixel by pixel: by a curve of grey values, rounded.

    As of pictures stored once more in 8 bits, brighter, by another gamma or inverted. Two measurements never
    are: pixels of one value in the first have several in the second.

    Parameters
    ----------
    images : iterable of (X, Y, Z) or (X, Y, Z, C) float arrays

    Returns
    -------
    copies : dict of int to int
        Index of each copy, and the index of the first image that it follows from, or that follows from it.
    """
    seen: list[tuple[tuple[int, ...], NDArray[np.float32]]] = []
    copies = {}
    for index, image in enumerate(images):
        shape, sample = image.shape, image[::2, ::2].flatten()
        for earlier, (other_shape, other) in enumerate(seen):
            if earlier in copies or shape != other_shape:
                continue
            # Nearly always some of the pixels are enough to tell that it is none.
            some = slice(None, None, max(1, sample.size // _PROBES))
            pairs = ((sample, other), (other, sample))
            if any(_follows(to[some], of[some]) and _follows(to, of) for to, of in pairs):
                copies[index] = earlier
                break
        seen.append((shape, sample))
    return copies


def _follows(values: NDArray[np.float32], source: NDArray[np.float32]) -> bool:
    """Whether values are a rising, or a falling, function of those of a source, and many of them are."""
    order = np.lexsort((values, source))
    sorted_source, sorted_values = source[order], values[order]
    steps, is_same = np.diff(sorted_values), np.diff(sorted_source) == 0
    if np.any(steps[is_same]):
        return False
    levels = sorted_values[np.r_[True, steps != 0]]
    if len(levels) < _FEWEST_LEVELS or not (np.all(steps >= 0) or np.all(steps <= 0)):
        return False
    # Cut off, most of it is alike by chance.
    n_own = np.count_nonzero((values > values.min()) & (values < values.max()))
    return n_own > _LEAST_OWN * values.size


def find_means(images: Sequence[NDArray[np.float32]]) -> list[int]:
    """Images that are a mean of several others on their grid, whatever its weights and its intensity scale.

    Parameters
    ----------
    images : sequence of (X, Y, Z) float arrays

    Returns
    -------
    means : list of int
        Their indices.
    """
    if len(images) < 3:
        return []
    details = []
    for image in images:
        detail = (image - ndimage.uniform_filter(image, 3))[::2, ::2, ::2].ravel()
        # Of large images a part tells as much.
        details.append(detail[:: max(1, detail.size // _MOST_SAMPLES)].astype(np.float64))
    means = []
    for index, (image, detail) in enumerate(zip(images, details, strict=True)):
        others = [
            other
            for other_index, other in enumerate(details)
            if other_index != index and images[other_index].shape == image.shape
        ]
        if len(others) < 2:
            continue
        _, together = nnls(np.stack(others, axis=1), detail)
        alone = min(nnls(other[:, None], detail)[1] for other in others)
        # Copies are no means.
        is_copy = alone < 1e-2 * np.linalg.norm(detail)
        if not is_copy and together**2 < _LEFT_OF_MEANS * alone**2:
            means.append(index)
    return means


def find_repeated_volumes(series: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Volumes of a series that are another volume of it, perhaps in another intensity scale.

    Parameters
    ----------
    series : (X, Y, Z, C) float array

    Returns
    -------
    repeated : list of pairs of int
        A volume, and the earlier one that it is a copy of.
    """
    values = series.reshape(-1, series.shape[-1])
    probes = values[:: max(1, len(values) // _PROBES)].astype(np.float64)
    probes = probes - probes.mean(axis=0)
    sizes = np.linalg.norm(probes, axis=0)
    likeness = probes.T @ probes / np.maximum(np.outer(sizes, sizes), np.finfo(float).tiny)
    repeated = []
    for late in range(series.shape[-1]):
        for early in np.flatnonzero(likeness[late, :late] > 1 - 1e-6):
            if np.corrcoef(values[:, early], values[:, late])[0, 1] > 1 - 1e-6:
                repeated.append((late, int(early)))
                break
    return repeated


def _correlation_of(first: int, second: int, noise: Mapping[tuple[int, int], float]) -> float:
    return max(0.0, noise.get((min(first, second), max(first, second)), 0.0))


def _total(index: int, kept: Sequence[int], noise: Mapping[tuple[int, int], float]) -> float:
    return sum(_correlation_of(index, other, noise) for other in kept if other != index)


def _explained(index: int, kept: Sequence[int], noise: Mapping[tuple[int, int], float]) -> float:
    """Part of the noise variance of an image that is a weighted sum of the noise of the others."""
    others = [other for other in kept if other != index]
    own = np.array([_correlation_of(index, other, noise) for other in others])
    among = np.array(
        [[1.0 if a == b else _correlation_of(a, b, noise) for b in others] for a in others], dtype=float
    )
    # Copies among the others make the matrix singular.
    weights = np.linalg.lstsq(among + 1e-3 * np.eye(len(others)), own, rcond=None)[0]
    return float(own @ weights)


def _dependent(index: int, kept: Sequence[int], noise: Mapping[tuple[int, int], float]) -> Dependent:
    single = max(kept, key=lambda other: _correlation_of(index, other, noise))
    correlation = _correlation_of(index, single, noise)
    if correlation**2 >= SAME_ACQUISITION_SHARE:
        return Dependent(index, (single,), correlation)
    sources = tuple(
        sorted(other for other in kept if _correlation_of(index, other, noise) > _SOURCE_CORRELATION)
    )
    return Dependent(index, sources, float(np.sqrt(min(1.0, _explained(index, kept, noise)))))
