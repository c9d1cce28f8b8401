"""Prepares multi-echo images, one noise level but different contrast, for the joint denoising of echoes.

Measured in units of their noise, echoes can be turned into each other's orthonormal combinations
without making the noise unequal or correlated. The strongest combination then holds nearly all of the
anatomy, at the signal-to-noise ratio that all echoes have together; the weakest holds nearly none, and
shows the noise as the difference of two repetitions would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.masked_filters import without_rim
from n2a_bids.algorithms.noise.air import Magnitude, find_air
from n2a_bids.algorithms.noise.covariance import NoiseCovariance
from n2a_bids.algorithms.noise.covariance_estimates import flat_places, residual_covariance
from n2a_bids.algorithms.noise.estimate import local_sd, single_image_noise_sd
from n2a_bids.algorithms.noise.rician import rician_bias
from n2a_bids.algorithms.normalization import (
    LinearScale,
    Mask,
    MaskedSmoother,
    Volume,
    apply_scales,
    match_scales,
)
from n2a_bids.algorithms.preparation.noise_floor import find_magnitudes, find_uneven_magnitudes
from n2a_bids.algorithms.preparation.repetitions import find_head
from n2a_bids.algorithms.repetitions import Repetitions

_LEAST_NOISE = 1e-3
"""Of the contrast in the mask: an image without noise still needs a unit."""

_SMOOTHING_VOXELS = 1.5
"""SD of the Gaussian that takes noise out before contrasts are compared."""

_FIT_VOXELS = 3.0
"""SD of the Gaussian around every voxel in which the weakest combination is fitted to the strongest."""


@dataclass(frozen=True, slots=True)
class Echoes:
    """Echoes in units of their noise, and their combinations."""

    images: NDArray[np.float32]
    """(E, X, Y, Z): in-mask mean 0; the finest detail, which white noise rules, has SD 1."""
    scales: tuple[LinearScale, ...]
    """Back to the intensities of each echo."""
    mask: Mask
    head: Mask
    """Where there is signal."""
    basis: NDArray[np.float32]
    """(E, E) orthonormal: each row makes a combination of the echoes, the strongest first."""
    noise_sd: Volume
    """Noise SD of every echo, and of every combination: about 1 where noise is white."""
    magnitudes: tuple[Magnitude, ...] | None
    """Of each echo; ``None`` where no Rician floor is found."""
    covariance: NoiseCovariance | None = None
    """Of the noise of neighbours; None where it is white within measurement."""

    def combine(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Combinations of echoes."""
        return np.tensordot(self.basis, images, axes=1)

    def separate(self, combinations: NDArray[np.float32]) -> NDArray[np.float32]:
        """The echoes that combinations were made of."""
        return np.tensordot(self.basis.T, combinations, axes=1)

    def bias(self, clean: NDArray[np.float32], noise_sd: Volume) -> NDArray[np.float32] | float:
        """Rician bias of the echoes; 0 if not Rician.

        Parameters
        ----------
        clean : (E, X, Y, Z) float array
            Echoes without noise, in the unit of `images`.
        noise_sd : (X, Y, Z) float array
            Their noise SD.
        """
        if self.magnitudes is None:
            return 0.0
        signals = (image - np.float32(one.zero_level) for image, one in zip(clean, self.magnitudes))
        return np.stack([rician_bias(signal, noise_sd) for signal in signals])


def prepare_echoes(repetitions: Repetitions, *, keep_noise_floor: bool = False) -> Echoes:
    """Measure noise, combine the echoes, and find the Rician floor.

    Parameters
    ----------
    repetitions : Repetitions
        At least two echoes, one channel.
    keep_noise_floor : bool
        Do not look for the Rician floor: treat magnitudes as if their noise were Gaussian.

    Raises
    ------
    ValueError
        If an echo is constant in the mask, or a value is not finite.
    """
    data, mask = repetitions.data[..., 0], repetitions.mask
    if not np.isfinite(data).all():
        raise ValueError("the echoes contain NaN or infinite values")
    scales = tuple(_noise_scale(image, mask, scale) for image, scale in zip(data, match_scales(data, mask)))
    images = apply_scales(scales, data)
    basis = _strongest_combinations(images, mask)
    combinations = np.tensordot(basis, images, axes=1)
    head = find_head(combinations[0], mask)
    shared = repetitions.shared
    compared = head if shared is None else head & shared
    noise = _without_shared_structure(combinations[-1], combinations[0], compared)
    noise_sd = local_sd(noise, compared)
    covariance = residual_covariance(noise[None], flat_places(combinations[0], compared & mask))
    magnitudes = None
    if not (keep_noise_floor or repetitions.real_valued):
        zeros = [-scale.offset / scale.gain for scale in scales]
        level = float(np.median(noise_sd[mask]))
        air = find_air(images, mask, level, shared)
        magnitudes = find_magnitudes(images, air, level) or find_uneven_magnitudes(
            images, head, noise_sd, zeros, shared
        )
    return Echoes(
        images=images,
        scales=scales,
        mask=mask,
        head=head,
        basis=basis,
        noise_sd=noise_sd,
        magnitudes=magnitudes,
        covariance=None if covariance.is_white else covariance,
    )


def _noise_scale(image: Volume, mask: Mask, contrast: LinearScale) -> LinearScale:
    """Scale that makes the noise SD of an image 1."""
    noise_sd = single_image_noise_sd(contrast.apply(image), without_rim(mask))
    return LinearScale(gain=contrast.gain * max(noise_sd, _LEAST_NOISE), offset=contrast.offset)


def _without_shared_structure(weakest: Volume, strongest: Volume, mask: Mask) -> Volume:
    """What is left of an image after a linear fit to another one around every voxel.

    Tissues that decay at rates of their own leave their borders in the weakest combination, where they
    would count as noise; the strongest one has the same borders (the fit is that of the guided filter,
    He, Sun and Tang, IEEE TPAMI 35, 2013, equations 5 and 6).
    """
    values, guide = weakest.astype(np.float64), strongest.astype(np.float64)
    smooth = MaskedSmoother(mask, _FIT_VOXELS)
    mean, level, product, square = map(smooth, (values, guide, values * guide, guide**2))
    # One, the power of the finest detail, keeps the slope finite where there is no border.
    slope = (product - mean * level) / np.maximum(square - level**2, 1)
    return (values - mean - slope * (guide - level)).astype(np.float32)


def _strongest_combinations(images: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
    """Principal axes, as rows, of what the echoes share in the mask."""
    smooth = MaskedSmoother(mask, _SMOOTHING_VOXELS)
    _, axes = np.linalg.eigh(np.cov([smooth(image)[mask].astype(np.float64) for image in images]))
    # Networks do not treat an image and its negative alike: the first echo never counts as negative.
    axes = axes * np.where(axes[0] < 0, -1, 1)
    return np.ascontiguousarray(axes[:, ::-1].T).astype(np.float32)
