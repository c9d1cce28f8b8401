"""Measures noise that two images share: a positive correlation tells one acquisition stored twice.

The noise of two acquisitions is independent, whatever was done to either image afterwards. The noise of one
acquisition stays correlated through shading, scaling, rounding, cropping, reordering, and, below the finest
frequencies, through interpolation and smoothing. It is compared where the images show nothing but noise, in
air and in flat tissue: the anatomy of two repetitions is alike, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.shells import round_to_shells
from n2a_bids.algorithms.noise.block_correlation import ComparedBlocks, compare_blocks
from n2a_bids.algorithms.normalization import Volume
from n2a_bids.algorithms.transforms import Matrix

SAME_ACQUISITION_SHARE = 0.6
"""Part of the noise variance that others explain, from which on an image is no measurement of its own. Copies
that were rounded, shaded, resampled or smoothed have 0.75 to 1 in common; a run and a mean of two that holds
it 0.5; real pairs below 0.03."""

_SCALES = (1.0, 2.0)
"""Of all filters: images that a scanner interpolated to twice their matrix have no noise in the finest
band."""
_MOST_COARSE = 0.22
"""Power of the coarse band over that of the middle one up to which a block is flat, see `compare_blocks`."""
_MOST_COARSE_SERIES = 0.17
"""The same for series, whose anatomy is taken out by a model of diffusion, but not all of it."""
_LEAST_BLOCKS, _LEAST_FLAT = 20, 0.05
"""Flat blocks, and their part of all, without which nothing is known: in a brain without air around it, with
little noise, some blocks seem flat by chance."""
_DISPLACED_QUANTILE, _DISPLACED_CORRELATION, _DISPLACED_GAIN = 0.75, 0.45, 0.2
"""Quantile of the best correlation over shifts, which single blocks reach where distortion is even; the least
of it that counts, and by how much it must exceed that of blocks that do not belong together. Copies with
corrected distortion have 0.67 to 0.95, means that hold the run 0.48 to 0.68, real pairs 0.25 to 0.31, at 0.2
to 0.3 by chance."""
_LEFT_BY_DISPLACEMENT = 0.86
"""Of a correlation, where blocks were stretched and moved by more than a voxel."""
_CLEARLY_SHARED, _CLEARLY_MORE = 0.4, 0.1
"""Correlation of the finer bands from which on the coarse one is believed, if it is higher by so much."""
_PARTIAL_CORRELATION = {False: 0.15, True: 0.3}
"""Above it a user is warned, for images and for series. Real T1w pairs have 0.01 (air, flat tissue), real
diffusion pairs up to 0.15 (what the model of diffusion leaves of anatomy)."""
_FEW_BLOCKS, _EQUAL_DETAIL = 0.1, 0.99
"""Part of the blocks that may agree less in their finest detail than that. Two acquisitions of a head without
air around it reach 0.77 at a noise of 2 % of the intensity, 0.93 at 1 %; copies 0.998."""
_STANDARD_ERRORS = 5.0
_MOST_VOLUMES = 6
"""Of a series that are compared."""
_LEAST_DIRECTIONS = 8
"""From which on a shell is modelled by its apparent diffusion profile of six parameters, not by its mean."""


@dataclass(frozen=True, slots=True)
class SharedNoise:
    """Correlation of the noise of two images."""

    correlation: float
    """0 for two acquisitions, 1 for one acquisition stored twice, 0.71 for a run and a mean of two that
    holds it."""
    standard_error: float
    n_blocks: int
    """Blocks without anatomy in which it was measured."""
    of_series: bool = False
    """Whether anatomy was taken out by a model of diffusion."""

    @property
    def is_copy(self) -> bool:
        """Whether the images are one acquisition."""
        return self.correlation > 0 and self.correlation**2 >= SAME_ACQUISITION_SHARE

    @property
    def is_partial(self) -> bool:
        """Whether more is shared than chance and common artefacts explain."""
        least = max(_PARTIAL_CORRELATION[self.of_series], _STANDARD_ERRORS * self.standard_error)
        return self.correlation > least


def shared_noise(first: Volume, second: Volume, to_second: Matrix) -> SharedNoise | None:
    """Measure how much noise two images have in common.

    Parameters
    ----------
    first, second : (X, Y, Z) float arrays
        Each on its own grid, as acquired or processed.
    to_second : (4, 4) float array
        Maps indices of `first` to indices of `second` where both show the same place of the head.

    Returns
    -------
    shared : SharedNoise or None
        None where too little is seen that is noise alone: anatomy everywhere, air set to zero, fields of view
        that do not meet. Then nothing is known.
    """
    return _measure([(first, second)], to_second, _MOST_COARSE, of_series=False)


def shared_series_noise(
    series: tuple[NDArray[np.floating], NDArray[np.floating]],
    bvals: NDArray[np.floating],
    bvecs: tuple[NDArray[np.floating], NDArray[np.floating]],
    to_second: Matrix,
) -> SharedNoise | None:
    """Find noise that two diffusion series share, as copies of one acquisition do.

    What volumes have in common, a mean and an apparent diffusion profile per shell, is taken out of either
    series first, and the anatomy with it.

    Parameters
    ----------
    series : two (X, Y, Z, C) float arrays
        Corresponding volumes in the same order.
    bvals : (C,) float array
        In s/mm2.
    bvecs : two (C, 3) float arrays
        Directions of either, in any axes of its own.
    to_second : (4, 4) float array
        As in `shared_noise`.
    """
    models = [_signal_model(bvals, directions) for directions in bvecs]
    free = bvals.size - max(model.shape[1] for model in models)
    if free < 1:
        return None
    chosen = np.unique(np.linspace(0, bvals.size - 1, min(bvals.size, _MOST_VOLUMES)).round().astype(int))
    residuals = [
        data @ (np.eye(bvals.size) - model @ model.T)[:, chosen].astype(np.float32)
        for data, model in zip(series, models, strict=True)
    ]
    pairs = [(residuals[0][..., index], residuals[1][..., index]) for index in range(chosen.size)]
    return _measure(pairs, to_second, _MOST_COARSE_SERIES, of_series=True)


def _signal_model(bvals: NDArray[np.floating], bvecs: NDArray[np.floating]) -> NDArray[np.float64]:
    """(C, K) orthonormal columns: what volumes of a shell have in common, and their profile."""
    shells = round_to_shells(np.asarray(bvals, np.float64))
    columns = []
    for shell in np.unique(shells):
        members = shells == shell
        x, y, z = bvecs.T.astype(np.float64)
        profile = [np.ones_like(x)]
        if np.count_nonzero(members) >= _LEAST_DIRECTIONS:
            profile += [x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1]
        columns += [np.where(members, column, 0.0) for column in profile]
    left, sizes, _ = np.linalg.svd(np.stack(columns, axis=1), full_matrices=False)
    return left[:, sizes > 1e-6 * sizes[0]]


def _measure(
    pairs: Sequence[tuple[Volume, Volume]], to_second: Matrix, most_coarse: float, *, of_series: bool
) -> SharedNoise | None:
    # A step of one voxel along each axis of the first, in voxels of the second.
    steps = np.linalg.norm(to_second[:3, :3], axis=0)
    coarser = np.maximum(1.0, 1.0 / steps)
    everywhere: list[NDArray[np.float32]] = []
    for scale in _SCALES:
        unit = scale * coarser
        slabs = [part for pair in pairs for part in compare_blocks(*pair, to_second, unit, most_coarse)]
        n_flat = sum(part.fine.size for part in slabs)
        seen = np.concatenate([part.seen for part in slabs])
        if n_flat >= max(_LEAST_BLOCKS, _LEAST_FLAT * seen.size):
            return _summarise(slabs, of_series=of_series)
        everywhere = everywhere or [seen, np.concatenate([part.uncut for part in slabs])]
    found = (_equal_everywhere(blocks, of_series=of_series) for blocks in everywhere)
    return next((one for one in found if one), None)


def _equal_everywhere(seen: NDArray[np.float32], *, of_series: bool) -> SharedNoise | None:
    """What is known without blocks of noise alone: images that agree in all detail share the noise, too."""
    if seen.size < _LEAST_BLOCKS or np.quantile(seen, _FEW_BLOCKS) < _EQUAL_DETAIL:
        return None
    return SharedNoise(float(np.quantile(seen, _FEW_BLOCKS)), 0.0, int(seen.size), of_series)


def _summarise(slabs: Sequence[ComparedBlocks], *, of_series: bool) -> SharedNoise:
    """Medians over blocks: single blocks with an artefact that both images show do not count."""
    fine, middle, coarse, displaced, by_chance = (
        np.concatenate([getattr(part, name) for part in slabs])
        for name in ("fine", "middle", "coarse", "displaced", "by_chance")
    )
    best = max((fine, middle), key=np.median)
    correlation = np.median(best)
    if correlation > _CLEARLY_SHARED:
        if np.median(coarse) > correlation + _CLEARLY_MORE:
            # What a strong filter left of the noise is coarse. Anatomy would show there first.
            best = coarse
        moved = float(np.median(displaced)) if displaced.size else 0.0
        if moved**2 >= SAME_ACQUISITION_SHARE and moved > np.median(best):
            # Some blocks lie where they belong, and others beside it.
            best = displaced
    elif displaced.size:
        high, chance = (np.quantile(values, _DISPLACED_QUANTILE) for values in (displaced, by_chance))
        if high > max(_DISPLACED_CORRELATION, chance + _DISPLACED_GAIN):
            error = float(displaced.std() / np.sqrt(displaced.size))
            whole = float(min(high / _LEFT_BY_DISPLACEMENT, 1))
            return SharedNoise(whole, error, int(displaced.size), of_series)
    # The median of a normal distribution varies by 1.2533 times as much as its mean.
    error = 1.2533 * best.std() / np.sqrt(best.size)
    return SharedNoise(float(np.median(best)), float(error), int(best.size), of_series)
