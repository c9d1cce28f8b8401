"""Learned linear filters of diffusion components: from the subject itself by recorruption, in closed form.

A series is turned into its principal components over the volumes, which leaves
white noise white. Each component then gets its own linear filter over the
neighbourhood of the noisy component and of its locally shrunk version. The
filters minimise the squared error against a target of independent noise, so
they need no clean data; they have some fifty coefficients per component, for
some hundred thousand voxels, so they cannot learn the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float32]
"""(X, Y, Z, C) float32 array."""
_RIDGE = 15.0
"""Strength of the pull towards the initial estimate, in squared noise SDs."""
_ROWS = 65_536
"""Voxels whose features are held in double precision at a time."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A noisy series, what local shrinkage makes of it, and a target of independent noise."""

    noisy: Series
    initial_estimate: Series
    target: Series


@dataclass(frozen=True, slots=True)
class LearnedFilters:
    """Linear filters learned from noisy series themselves, one for each principal component."""

    basis: NDArray[np.float32]
    """(C, C) orthonormal; columns are components."""
    unit: float
    """Intensity that counts as 1."""
    radius: int
    coefficients: NDArray[np.float64]
    """(folds + 1, C, F): learned without each fold, and, last, from all voxels."""

    def apply(
        self, noisy: Series, initial_estimate: Series, mask: NDArray[np.bool_], fold: int = -1
    ) -> Series:
        """Denoise a diffusion series by the filters.

        Parameters
        ----------
        noisy, initial_estimate : (X, Y, Z, C) arrays
        mask : (X, Y, Z) bool array
            Voxels to denoise.
        fold : int
            Which coefficients: those that never saw this fold, or, by default, all.

        Returns
        -------
        denoised : (X, Y, Z, C) float32 array
            `initial_estimate` outside the mask.
        """
        neighbourhood = _Neighbourhood(mask, self.radius)
        noisy_parts, initial_parts = (
            _rotate(part, self.basis / self.unit) for part in (noisy, initial_estimate)
        )
        values = np.empty((neighbourhood.n_voxels, noisy.shape[-1]), np.float32)
        for component, coefficients in enumerate(self.coefficients[fold]):
            features = neighbourhood.features(noisy_parts[..., component], initial_parts[..., component])
            values[:, component] = features @ coefficients.astype(np.float32)
        denoised = initial_estimate.copy()
        denoised[mask] = values @ self.basis.T * self.unit
        return denoised

    def apply_crossed(
        self, noisy: Series, initial_estimate: Series, mask: NDArray[np.bool_], folds: NDArray[np.integer]
    ) -> Series:
        """Denoise every fold by the coefficients that never saw it.

        Parameters
        ----------
        noisy, initial_estimate : (X, Y, Z, C) arrays
        mask : (X, Y, Z) bool array
            Voxels to denoise.
        folds : (X, Y, Z) int array
            Those that the filters were learned with.

        Returns
        -------
        denoised : (X, Y, Z, C) float32 array
            `initial_estimate` outside the mask.
        """
        denoised = initial_estimate.copy()
        for fold in range(len(self.coefficients) - 1):
            part = mask & (folds == fold)
            denoised[part] = self.apply(noisy, initial_estimate, part, fold)[part]
        return denoised


def principal_basis(series: Series, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Orthonormal components of a series, strongest first: (C, C), as columns."""
    values = series[mask].astype(np.float64)
    _, vectors = np.linalg.eigh(values.T @ values)
    return np.ascontiguousarray(vectors[:, ::-1]).astype(np.float32)


def learn_filters(
    pairs: Sequence[Pair],
    basis: NDArray[np.float32],
    unit: float,
    mask: NDArray[np.bool_],
    folds: NDArray[np.integer],
    *,
    radius: int = 1,
) -> LearnedFilters:
    """Learn the filters of all components.

    Parameters
    ----------
    basis : (C, C) array
        See :func:`principal_basis`.
    unit : float
        Noise SD, so that coefficients and the ridge have a scale.
    mask : (X, Y, Z) bool array
        Voxels that are learned from.
    folds : (X, Y, Z) int array
        0 to K-1: for each fold, filters that never saw its targets are learned too.
    radius : int
        Voxels to each side that a filter sees.
    """
    neighbourhood = _Neighbourhood(mask, radius)
    labels = folds[mask]
    members = [np.flatnonzero(labels == fold) for fold in range(int(labels.max()) + 1)]
    rotated = [
        [_rotate(part, basis / unit) for part in (pair.noisy, pair.initial_estimate, pair.target)]
        for pair in pairs
    ]
    coefficients = []
    for component in range(basis.shape[1]):
        of_component = [[part[..., component] for part in parts] for parts in rotated]
        coefficients.append(_solve_component(of_component, neighbourhood, members))
    return LearnedFilters(basis=basis, unit=unit, radius=radius, coefficients=np.stack(coefficients, axis=1))


def _solve_component(
    pairs: Sequence[Sequence[NDArray[np.float32]]],
    neighbourhood: _Neighbourhood,
    members: Sequence[NDArray[np.intp]],
) -> NDArray[np.float64]:
    """(K + 1, F) filters of one component: without the targets of each fold, and from all.

    Parameters
    ----------
    pairs : sequence of three (X, Y, Z) arrays
        Noisy, initial estimate and target.
    members : sequence of int arrays
        Voxels of each fold, among those of the mask.
    """
    prior = neighbourhood.initial_estimate_itself()
    grams = np.zeros((len(members), prior.size, prior.size))
    errors = np.zeros((len(members), prior.size))
    for noisy, initial_estimate, target in pairs:
        features = neighbourhood.features(noisy, initial_estimate)
        rest = target[neighbourhood.mask] - features @ prior.astype(np.float32)
        for fold, rows in enumerate(members):
            for start in range(0, rows.size, _ROWS):
                some = rows[start : start + _ROWS]
                # Neighbours in a bright component are nearly alike. The noise that sets them apart is
                # less than single precision keeps of the sum of their squares.
                precise = features[some].astype(np.float64)
                grams[fold] += precise.T @ precise
                errors[fold] += precise.T @ rest[some]
    ridge = _RIDGE * len(pairs) * np.eye(prior.size)
    everything = list(range(len(members)))
    without_one = [[fold for fold in everything if fold != left_out] for left_out in everything]
    return np.stack(
        [
            prior + np.linalg.solve(grams[used].sum(axis=0) + ridge, errors[used].sum(axis=0))
            for used in (*without_one, everything)
        ]
    )


def checkerboard(shape: tuple[int, int, int]) -> NDArray[np.int8]:
    """Two folds of cubes of 8 voxels: 0 and 1 like the fields of a chess board."""
    indices = np.indices(shape, sparse=True)
    return (sum(index // 8 for index in indices) % 2).astype(np.int8)


def _rotate(series: Series, basis: NDArray) -> Series:
    return series @ basis.astype(np.float32)


class _Neighbourhood:
    """Flat indices of the mask's voxels in a padded volume, and of their neighbours."""

    def __init__(self, mask: NDArray[np.bool_], radius: int):
        self._radius, self.mask = radius, mask
        padded = np.pad(mask, radius)
        self._centres = np.flatnonzero(padded)
        steps = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
        reach = np.arange(-radius, radius + 1)
        cube = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), axis=-1).reshape(-1, 3)
        self._offsets = cube @ steps
        self.n_voxels = self._centres.size

    def features(self, *volumes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, F): the neighbourhood in each volume, and 1."""
        size = self._offsets.size
        table = np.ones((len(volumes) * size + 1, self.n_voxels), np.float32)
        for index, volume in enumerate(volumes):
            flat = np.pad(volume, self._radius, mode="edge").reshape(-1)
            for row, offset in enumerate(self._offsets):
                np.take(flat, self._centres + offset, out=table[index * size + row])
        return table.T

    def initial_estimate_itself(self) -> NDArray[np.float64]:
        """Coefficients that return the centre of the second volume."""
        size = self._offsets.size
        prior = np.zeros(2 * size + 1)
        prior[size + size // 2] = 1
        return prior
