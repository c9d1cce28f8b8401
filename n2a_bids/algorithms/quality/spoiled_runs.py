"""Finds repetitions that are worse than the others by more than noise: motion during the scan, ghosts.

What a run alone holds is known from three runs on: the difference of two has the errors of both, and that of
the others has not those of the third (a three-cornered hat).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.masked_filters import blur_in_mask, bounding_box
from n2a_bids.algorithms.noise.air import possible_air
from n2a_bids.algorithms.normalization import Mask, MaskedSmoother, apply_scales, match_scales

_SHADING_VOXELS = 5.0
"""SD of the blur that takes out detail and leaves shading, which is no matter of it."""
_LEAST_LEVEL = 0.1
"""Of the mean of the brain, that the darkest part of its smooth brightness must have to tell a gain."""
_BAND_VOXELS = (1.2, 3.0)
"""SDs of the blurs between which there is little noise, and much of what motion during the scan leaves."""
_MOST_UNLIKE = 0.005
"""Part of the voxels, those in which the runs differ most, that do not count: vessels, the rim."""
_FEWEST_VOXELS = 1000
_MORE_IN_BAND = 2.0
"""A run's squared error over that of the others in the band, over the same in all detail. Stronger noise has
1, after interpolation up to 1.5; runs of two head poses that made a mean worse had 2.9 to 15."""
_LEAST_EXCESS = 0.1
"""SD of what a run holds beyond the error of the others, in SDs of the tissue. Runs of one pose each, moved
and aligned, had up to 0.1 where there was next to no noise, those of two poses 0.2 and more."""
_CLEARLY_IN_BAND = 4.0
"""Squared error in the band over that of the others, above which a run is named that makes no mean worse.
Runs of one pose each had up to 3.3, of two poses 4 and more at any noise."""
_AIR_BLUR_VOXELS = 1.5
_FLOOR, _DARK = 0.05, 0.1
"""Quantile at which the air is, and part of the mean of the brain above it at which tissue begins, in the
darkest of the smooth runs."""
_HALO_VOXELS = 3
"""Around tissue, where the blur still shows it."""
_CLEANER = 0.5
"""Structure in the air over that of the others, below which a run has fewer ghosts. Ghosts of 0.1 and 0.25 of
the head, shared by the two others, left 0.43 and 0.20 at most; runs of one quality had 0.99 and more."""


@dataclass(frozen=True, slots=True)
class SpoiledRun:
    """A run whose error is more than noise, and larger than that of the others."""

    index: int
    error_ratio: float
    """SD of its error over that of the runs it is compared with, in the brain, noise included."""
    worsens_mean: bool
    """Whether the mean is better without it, if the others are right."""
    is_cleanest: bool = False
    """Whether the others have clearly more signal in the air: they may share an artefact, which two of three
    then seem to be right about."""

    @property
    def must_go(self) -> bool:
        """Whether it is to be left out."""
        return self.worsens_mean and not self.is_cleanest

    @property
    def finding(self) -> str:
        """Phrase that says what was found, and what makes such an error."""
        return (
            f"its error in the brain is {self.error_ratio:.1f} times that of the others, and more than noise "
            "(motion during the scan, ghosts, ringing, or a reconstruction of its own)"
        )

    @property
    def reason(self) -> str:
        """Why a run that makes the mean worse is left out."""
        return f"{self.finding}; the mean is better without it"

    def warning(self, name: str) -> str:
        """A sentence for a run that stays in use."""
        if self.is_cleanest:
            return (
                f"{name}: it differs from the others by more than noise, but they have more signal in the "
                "air, as ghosts leave it: they may share an artefact that it has not, so that it was not "
                "left out; look at all, and leave out those with artefacts (n2a: --bids-filter-file)"
            )
        found = f"{name}: {self.finding}; "
        if self.worsens_mean:
            return f"{found}the mean would be better without it: look at it, and leave it out"
        return (
            f"{found}the mean gains by it, since that has less noise: look at it, and leave it out where "
            "its artefacts show in the result"
        )


@dataclass(frozen=True, slots=True)
class RunDifferences:
    """Mean squared differences of aligned runs in the brain, in squared SDs of the tissue."""

    detail: NDArray[np.float64]
    """(R, R) of all that is finer than shading."""
    band: NDArray[np.float64]
    """(R, R) of the coarser part of it."""

    def spoiled(self) -> tuple[SpoiledRun, ...]:
        """Runs that make the mean worse; where there is none, the one that has clear artefacts, if one has.

        Examples
        --------
        >>> apart = 1 - np.eye(3)
        >>> ghosts = 4.0 * np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]])
        >>> RunDifferences(apart + ghosts, apart / 9 + ghosts).spoiled()
        (SpoiledRun(index=2, error_ratio=3.0, worsens_mean=True, is_cleanest=False),)
        >>> RunDifferences(apart + ghosts, (apart + ghosts) / 9).spoiled()  # its noise is stronger, no more
        ()
        """
        count = len(self.detail)
        if count < 3:
            return ()
        order = [int(index) for index in np.argsort(self.band.sum(axis=1), kind="stable")]
        splits = [(order[:size], order[size:]) for size in range(2, count)]
        better = [
            (kept, left_out)
            for kept, left_out in splits
            if all(self._is_artefact(index, kept) for index in left_out)
            and self._error_of_mean(kept) < self._error_of_mean(order)
        ]
        if better:
            kept, left_out = min(better, key=lambda split: self._error_of_mean(split[0]))
            return tuple(self._spoiled_run(index, kept, worsens_mean=True) for index in sorted(left_out))
        kept, worst = order[:-1], order[-1]
        if self._is_artefact(worst, kept) and _ratio(self.band, worst, kept) > _CLEARLY_IN_BAND:
            return (self._spoiled_run(worst, kept, worsens_mean=False),)
        return ()

    def _is_artefact(self, index: int, others: list[int]) -> bool:
        """Whether a run differs from others by more than stronger noise."""
        coloured = _ratio(self.band, index, others) / _ratio(self.detail, index, others)
        excess = _own_error(self.detail, index, others) - _mean_error(self.detail, others)
        return coloured > _MORE_IN_BAND and excess > _LEAST_EXCESS**2

    def _error_of_mean(self, runs: list[int]) -> float:
        return _mean_error(self.detail, runs) / len(runs)

    def _spoiled_run(self, index: int, others: list[int], *, worsens_mean: bool) -> SpoiledRun:
        return SpoiledRun(index, float(np.sqrt(_ratio(self.detail, index, others))), worsens_mean)


def find_spoiled_runs(
    images: NDArray[np.float32], mask: Mask, seen: Mask | None = None
) -> tuple[SpoiledRun, ...]:
    """Find aligned runs of one contrast whose error is more than noise.

    Parameters
    ----------
    images : (R, X, Y, Z) float32 array
        In any units, not modified; fewer than three tell nothing.
    mask : (X, Y, Z) bool array
        Brain where every run was measured; a small one tells nothing.
    seen : (X, Y, Z) bool array, optional
        What the views of all runs show, everywhere by default: beyond, one stands for another.

    Returns
    -------
    spoiled : tuple of SpoiledRun
        Those that make the mean worse; where there is none, one that has clear artefacts, if there is one.

    Raises
    ------
    ValueError
        If a run is constant in the mask.
    """
    found = find_spoiled_series([(images, mask)])
    if not found:
        return found
    structure, named = _structure_in_air(images, mask, seen), [one.index for one in found]
    others = float(np.median(np.delete(structure, named)))
    return tuple(replace(one, is_cleanest=bool(structure[one.index] < _CLEANER * others)) for one in found)


def _structure_in_air(images: NDArray[np.float32], mask: Mask, seen: Mask | None) -> NDArray[np.float64]:
    """SD of the smooth signal where the darkest run shows no tissue, of each run; 0 where there is no air."""
    measured = possible_air(images, mask, seen)
    if not measured.any():
        return np.zeros(len(images))
    matched = apply_scales(match_scales(images, mask), images)
    smooth = np.stack([blur_in_mask(image, measured, _AIR_BLUR_VOXELS) for image in matched])
    darkest = smooth.min(axis=0)
    floor = float(np.quantile(darkest[measured], _FLOOR))
    tissue = darkest - floor > _DARK * (float(matched[:, mask].mean()) - floor)
    dark = measured & ~ndimage.binary_dilation(tissue | mask, iterations=_HALO_VOXELS)
    return smooth[:, dark].std(axis=1, dtype=np.float64) if dark.any() else np.zeros(len(images))


def find_spoiled_series(volumes: Iterable[tuple[NDArray[np.float32], Mask]]) -> tuple[SpoiledRun, ...]:
    """Find aligned diffusion series whose error is more than noise, by all of some volumes together.

    One volume tells little of series that are mostly noise, and means of many would make much of what is
    small beside the noise of each.

    Parameters
    ----------
    volumes : iterable of ((R, X, Y, Z) float32 array, (X, Y, Z) bool array)
        One volume of every series, as of `find_spoiled_runs`, and the brain where each was measured.

    Returns
    -------
    spoiled : tuple of SpoiledRun
        As of `find_spoiled_runs`.
    """
    compared = [
        _compare(images, mask)
        for images, mask in volumes
        if len(images) > 2 and np.count_nonzero(mask) >= _FEWEST_VOXELS
    ]
    if not compared:
        return ()
    detail, band = ([getattr(one, name) for one in compared] for name in ("detail", "band"))
    return RunDifferences(np.mean(detail, axis=0), np.mean(band, axis=0)).spoiled()


def _compare(images: NDArray[np.float32], mask: Mask) -> RunDifferences:
    """Measure how aligned runs differ."""
    box = bounding_box(mask, 1)
    images, mask = images[(slice(None), *box)], mask[box]
    coarse = MaskedSmoother(mask, _SHADING_VOXELS)
    images = _shaded_alike(images, mask, coarse)
    matched = apply_scales(match_scales(images, mask), images)
    fine, middle = (MaskedSmoother(mask, sd) for sd in _BAND_VOXELS)
    detail = np.stack([image[mask] - coarse.in_mask(image) for image in matched])
    band = np.stack([fine.in_mask(image) - middle.in_mask(image) for image in matched])
    spread = detail.var(axis=0)
    counted = spread <= np.quantile(spread, 1 - _MOST_UNLIKE)
    return RunDifferences(*(_squared_differences(values[:, counted]) for values in (detail, band)))


def _shaded_alike(images: NDArray[np.float32], mask: Mask, coarse: MaskedSmoother) -> NDArray[np.float32]:
    """The images with one smooth brightness, zero elsewhere: where shading differs, so does contrast."""
    levels = np.stack([coarse.in_mask(image) for image in images])
    levels /= levels.mean(axis=1, keepdims=True)
    if not levels.min() > _LEAST_LEVEL:
        return images  # values around zero, whose mean tells no gain
    alike = np.zeros_like(images)
    alike[:, mask] = images[:, mask] * (levels.mean(axis=0) / levels)
    return alike


def _squared_differences(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """(R, R) mean squared differences of the rows."""
    found = np.zeros((len(values),) * 2)
    for one, other in combinations(range(len(values)), 2):
        difference = (values[one] - values[other]).astype(np.float64)
        found[one, other] = found[other, one] = (difference**2).mean()
    return found


def _mean_error(differences: NDArray[np.float64], runs: list[int]) -> float:
    """Mean squared error of runs: half of what two of them differ by."""
    pairs = [differences[pair] for pair in combinations(runs, 2)]
    return max(float(np.mean(pairs)) / 2, np.finfo(float).tiny)


def _own_error(differences: NDArray[np.float64], index: int, others: list[int]) -> float:
    return float(differences[index, others].mean()) - _mean_error(differences, others)


def _ratio(differences: NDArray[np.float64], index: int, others: list[int]) -> float:
    """Squared error of a run over that of others."""
    return max(_own_error(differences, index, others), 0.0) / _mean_error(differences, others)
