"""`NoiseModel`: covariance of neighbouring voxels with the acquired k-space, and whether the two agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import fft

from n2a_bids.algorithms.noise.covariance import NoiseCovariance, covariance_from_power
from n2a_bids.algorithms.noise.kspace import AcquiredKSpace

Source = Literal["differences of repetitions", "weakest components of the series", "fine detail of the image"]

_SMOOTHER = 0.12
"""Correlation of direct neighbours above that of white noise on the acquired part of k-space, above which
noise was filtered. One interpolation of one of two repetitions makes 0.04, trilinear interpolation 0.25, a
Hamming window 0.62."""

ECHO_PLANAR = 0.24
"""Such a correlation that readouts make where samples are taken on ramps: series of two scanners that nothing
had filtered have 0.19 to 0.26 along the readout, and the air of one says 0.24."""

_MODEL_EDGE = 64
"""Of the k-space that expected correlations are computed on."""


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Noise of the images of a group."""

    covariance: NoiseCovariance
    source: Source
    acquired: AcquiredKSpace | None = None
    """None where the images as stored are not at hand."""
    made_by_readout: float = 0.0
    """Correlation of direct neighbours that the readout makes by itself."""

    @property
    def is_filtered(self) -> bool:
        """Whether neighbours are alike beyond what empty parts of k-space explain."""
        if self.acquired is None:
            return False
        expected = expected_covariance(self.acquired)
        excess = self.covariance.along_axes[:, 1] - expected.along_axes[:, 1]
        limit = _SMOOTHER + self.made_by_readout + 2 * self.covariance.standard_error
        return bool((excess > limit).any())


def expected_covariance(acquired: AcquiredKSpace) -> NoiseCovariance:
    """Covariance of magnitude noise that is white on the acquired part of k-space."""
    relative = [
        np.abs(fft.fftfreq(_MODEL_EDGE)) * 2 * stored / matrix
        for stored, matrix in zip(acquired.stored_matrix, acquired.matrix, strict=True)
    ]
    power = np.ones((_MODEL_EDGE,) * 3)
    grids = np.meshgrid(*relative, indexing="ij", sparse=True)
    for grid, part in zip(grids, acquired.partial_fourier, strict=True):
        # Of two opposite places one is empty: the real part, which magnitudes hold, has half the power.
        power = power * np.where(grid > 1, 0.0, np.where(grid > 2 * part - 1, 0.5, 1.0))
    if acquired.elliptical_axes is not None:
        first, second = acquired.elliptical_axes
        power = power * (grids[first] ** 2 + grids[second] ** 2 <= 1)
    return covariance_from_power(power)


def agrees_with(covariance: NoiseCovariance, acquired: AcquiredKSpace) -> bool:
    """Whether noise is as alike along every zero-filled axis as zero-filling makes it, or more.

    Signal may end before noise does, in simulations: then the empty part of k-space is empty of signal only.
    """
    filled = np.less(acquired.matrix, acquired.stored_matrix)
    expected = expected_covariance(acquired).along_axes[filled, 1]
    return bool((covariance.along_axes[filled, 1] > 0.6 * expected - 0.02).all())
