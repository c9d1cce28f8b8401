"""Finds how micrograph exposures drifted, and which show another field of view, or are moved copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.micrographs.chance_correlation import chance_correlation
from n2a_bids.algorithms.micrographs.drift import Drift, correlation_of, estimate_drift, tells_drift
from n2a_bids.algorithms.micrographs.registration.coarse import bin_pixels
from n2a_bids.algorithms.micrographs.registration.fixed_places import find_dark_surround
from n2a_bids.algorithms.noise.copies import find_copies
from n2a_bids.denoising.micrographs.selection import copy_reason
from n2a_bids.errors import BIDSDataError

UNRELATED = "leave it out where it shows another field of view"
"""Remedy against an exposure that shares nothing with the others."""
NOT_DRIFTED = "cut out a larger field of view"
"""Remedy for exposures that are too small for their drift to be found."""
_LEAST_CORRELATION = 0.2
"""Of smoothed exposures of one field of view, at the least: those of two have nothing in common."""
_SMALLEST, _LARGEST = 1e-3, 1e9
"""Values whose squares, summed, are in the middle of what single precision holds."""
_MIRRORED = "a mirrored or upside-down picture of it; store both alike"
_INVERTED = (
    "its contrast inverted, dark where the other is bright; store both alike (invert one, or leave out what "
    "was taken on the other side of focus)"
)
_MOSTLY, _ALIKE = 0.9, 0.6
"""Part of an image, and correlation: of less, or turned, others may be laid on it by chance."""
_MIRROR_EDGE = 512
"""Pixels to which images are binned to compare their mirror images."""
_MUCH_BETTER = 0.5
"""Part of what is not correlated that is left of a better fit."""
_WHOLE_PIXELS = 0.1
"""Uncertainty of a shift by whole pixels: of copies it is found to a hundredth."""
_LEAST_COUNTED = 0.1
"""Part of an image that tells the drift without what is fixed."""
_CLEARLY = 6.0
"""Times what chance adds to the correlation of a drift that was fitted to other pixels, and"""
_PIXELS_OF_SMOOTHING = 50
"""pixels of a smoothed image for one independent value."""


class FoundDrift(NamedTuple):
    """How exposures have drifted."""

    drift: Drift
    reasons: dict[int, str]
    """Against exposures that show nothing of the others: of three or more the worst, or the first alone where
    it is the odd one. Without them, drift is estimated anew."""
    fixed: NDArray[np.bool_]
    """(X, Y) what does not drift with the specimen."""


def find_drift(
    paths: Sequence[Path], planes: NDArray[np.float32], fixed: NDArray[np.bool_] | None = None
) -> FoundDrift:
    """Drift of the exposures, and the reasons against those that show nothing of the others.

    Parameters
    ----------
    planes : (R, X, Y) array
    fixed : (X, Y) bool array, optional
        What has the same values in all exposures, as a data bar, text or a frame.

    Raises
    ------
    BIDSDataError
        If the exposures are too small to tell a drift.
    """
    _refuse_too_small(paths[0], planes.shape[1:])
    planes = _in_range(planes)
    drift, fixed = _drift_of_specimen(planes, np.zeros(planes.shape[1:], bool) if fixed is None else fixed)
    if fixed.any():
        means = planes[:, ~fixed].mean(axis=1)[:, None, None]
        planes = np.where(fixed, means, planes)
    least = [_least(planes, drift, index) for index in range(len(paths))]
    low = [index for index in range(len(paths)) if drift.correlation[index] < least[index]]
    if not low and drift.correlation[0] < min(least[1:]):
        low = [0]  # the others fit each other, and were moved, together, to what it shows by chance
    others = {index: _fits_stored_otherwise(planes, drift, index) for index in range(1, len(paths))}
    otherwise = {index: found for index, found in others.items() if found}
    odd = sorted({*low, *otherwise})
    if len(paths) > 2 and (0 in low or len(otherwise) == len(paths) - 1):
        odd = [0]
        otherwise[0] = _of_all(otherwise, len(paths) - 1)
    elif len(paths) > 2 and odd and not otherwise:
        # One that shows another field spoils the mean that the others are compared with.
        odd = [min(odd, key=lambda index: drift.correlation[index])]
    reasons = {
        index: f"{paths[index]}: expected the field of view of {paths[0 if index else 1]}, found "
        + (
            otherwise.get(index)
            or f"next to nothing in common (correlation {drift.correlation[index]:.2f}); {UNRELATED}"
        )
        for index in odd
    }
    return FoundDrift(drift, reasons, fixed)


def _of_all(otherwise: Mapping[int, str], n_others: int) -> str:
    """How the first is stored where all others are stored otherwise than it, in one way; empty where not."""
    ways = set(otherwise.values())
    return ways.pop() if len(otherwise) == n_others and len(ways) == 1 else ""


def _refuse_too_small(path: Path, shape: tuple[int, ...]) -> None:
    if not tells_drift(shape):
        size = " x ".join(map(str, shape))
        raise BIDSDataError(
            f"{path}: expected exposures whose drift can be found, of 24 x 24 pixels or more, found {size}: "
            f"too small; {NOT_DRIFTED}"
        )


def _in_range(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Planes in SI units, as amperes, whose squares single precision cannot hold, in larger ones.

    By a power of 2, which rounds nothing; others as they are.
    """
    largest = float(np.abs(planes).max())
    if largest == 0 or _SMALLEST < largest < _LARGEST:
        return planes
    return np.ldexp(planes, -round(np.log2(largest)))


def _drift_of_specimen(
    planes: NDArray[np.float32], fixed: NDArray[np.bool_]
) -> tuple[Drift, NDArray[np.bool_]]:
    """Drift of all pixels, or of those that are not fixed where it fits these better; and what is fixed."""
    drift = estimate_drift(planes)
    dark = find_dark_surround(planes)
    for left_out in ([fixed | dark] if dark.any() else []) + [fixed]:
        counted = ~left_out
        if not left_out.any() or counted.mean() < _LEAST_COUNTED:
            continue
        own = estimate_drift(planes, counted=counted)
        before, after = (correlation_of(planes, one, counted) for one in (drift, own))
        by_chance = (1 - max(after, 0) ** 2) * _PIXELS_OF_SMOOTHING / counted.sum()
        if after - before > _CLEARLY * by_chance:
            return own, left_out
    return drift, fixed


def _least(planes: NDArray[np.float32], drift: Drift, index: int) -> float:
    """Correlation asked for.

    More of coarse and small images, which are alike by chance, where they had to be moved far, or turned.
    """
    turned = bool(drift.rotation_deg[index])
    by_chance = chance_correlation(planes[0], planes[index], drift.shift_pixels[index], turned=turned)
    return max(_LEAST_CORRELATION, by_chance)


def _fits_stored_otherwise(planes: NDArray[np.float32], drift: Drift, index: int) -> str:
    """How an exposure that fits by chance, perhaps, fits the first much better; empty where it fits as it is.

    As a mirror image, or with dark and bright exchanged.
    """
    shape = np.array(planes.shape[1:])
    overlap = np.prod(np.maximum(1 - np.abs(drift.shift_pixels[index]) / shape, 0))
    if not drift.rotation_deg[index] and overlap > _MOSTLY and drift.correlation[index] > _ALIKE:
        return ""
    step = -(-int(shape.max()) // _MIRROR_EDGE)
    first, other = (bin_pixels(planes[one], step) for one in (0, index))
    mirrored = max(_best_fit(first, mirror) for mirror in (other[::-1], other[:, ::-1], other[::-1, ::-1]))
    inverted = _best_fit(first, -other)
    best = max(mirrored, inverted)
    if 1 - best >= _MUCH_BETTER * (1 - drift.correlation[index]):
        return ""
    return _MIRRORED if mirrored >= inverted else _INVERTED


def _best_fit(first: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlation that another picture reaches where it is moved, and not turned."""
    return float(estimate_drift(np.stack([first, other]), turns=False).correlation[1])


def find_moved_copies(paths: Sequence[Path], planes: NDArray[np.float32], drift: Drift) -> dict[int, str]:
    """Exposures that are copies of others moved by whole pixels, by index, and the reason against them.

    Parameters
    ----------
    planes : (R, X, Y) array
        As they were stored.
    drift : Drift
        Of the planes.
    """
    reasons: dict[int, str] = {}
    for copy in range(1, len(paths)):
        for first in range(copy):
            shift = drift.shift_pixels[copy] - drift.shift_pixels[first]
            whole = np.rint(shift).astype(int)
            if first in reasons or not whole.any() or np.abs(shift - whole).max() > _WHOLE_PIXELS:
                continue
            seen = [_moved_part(planes[first], -whole), _moved_part(planes[copy], whole)]
            if min(seen[0].shape) > 0 and find_copies(seen):
                reasons[copy] = copy_reason(paths[copy], paths[first])
                break
    return reasons


def _moved_part(plane: NDArray[np.float32], shift: NDArray[np.int_]) -> NDArray[np.float32]:
    """(X, Y, 1) what another plane, moved by whole pixels, has of a plane."""
    ends = zip(shift.tolist(), plane.shape, strict=True)
    return plane[(*(slice(max(0, by), min(size, size + by)) for by, size in ends), None)]
