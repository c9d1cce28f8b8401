"""Noise model of the record: correlation of neighbouring voxels, and the k-space that was acquired."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.noise.covariance import NoiseCovariance, fill_with_zeros
from n2a_bids.algorithms.noise.covariance_estimates import difference_covariance
from n2a_bids.algorithms.noise.kspace import AcquiredKSpace, find_acquired
from n2a_bids.algorithms.noise.model import ECHO_PLANAR, NoiseModel, Source, agrees_with
from n2a_bids.algorithms.noise.single_image import single_image_covariance
from n2a_bids.algorithms.noise.volume_noise import weakest_components_covariance
from n2a_bids.algorithms.normalization import apply_scales, match_scales
from n2a_bids.algorithms.preparation.repetitions import otsu_threshold
from n2a_bids.algorithms.preparation.zero_filling import undo_zero_filling
from n2a_bids.algorithms.repetitions import Repetitions, spread_channels
from n2a_bids.io.images import load_volumes
from n2a_bids.record.denoising import NoiseModelRecord

Volumes = NDArray[np.float32]

_MOST_VOLUMES = 6
"""Of a diffusion series, evenly spread: together they tell more than enough."""

_FEWEST_VOXELS = 16
"""Along an axis, below which its k-space is not looked at."""


def describe_noise(
    repetitions: Repetitions,
    noise_sd: Volumes | None,
    stored: Sequence[Path],
) -> NoiseModelRecord | None:
    """Model of the noise of a group, for the record.

    Parameters
    ----------
    repetitions : Repetitions
        Aligned.
    noise_sd : (X, Y, Z, C) float array or None
        Of one repetition, in the unit of the first; None where it is not known, as of a short series.
    stored : sequence of Path
        The images as they were stored, before any interpolation; none: `repetitions` are.

    Returns
    -------
    record : NoiseModelRecord or None
        None for echoes, whose differences hold anatomy, and where there is no noise.
    """
    if noise_sd is None or not repetitions.same_contrast or not noise_sd[repetitions.mask].any():
        return None
    covariance, source = _find_covariance(repetitions, noise_sd)
    level = float(np.median(noise_sd[repetitions.mask]))
    acquired = _find_acquired(repetitions, stored, level)
    if acquired is not None and not agrees_with(covariance, acquired):
        acquired = None
    made_by_readout = ECHO_PLANAR if repetitions.data.shape[-1] > 1 else 0.0
    return to_record(NoiseModel(covariance, source, acquired, made_by_readout))


def to_record(model: NoiseModel) -> NoiseModelRecord:
    """The same as numbers and words."""
    acquired, covariance = model.acquired, model.covariance
    plane = acquired and acquired.elliptical_axes
    return NoiseModelRecord(
        source=model.source,
        fwhm_voxels=tuple(round(width, 2) for width in covariance.fwhm_voxels),
        mean_fwhm_voxels=round(float(np.prod(covariance.fwhm_voxels)) ** (1 / 3), 2),
        neighbour_correlation=tuple(round(float(row[1]), 3) for row in covariance.along_axes),
        is_white=covariance.is_white,
        stored_matrix=acquired and acquired.stored_matrix,
        acquired_matrix=acquired and acquired.matrix,
        acquired_fraction=acquired and round(acquired.fraction, 4),
        partial_fourier=acquired and acquired.partial_fourier,
        elliptical_plane="".join("ijk"[axis] for axis in plane) if plane else None,
        looks_filtered=model.is_filtered if acquired else None,
    )


def _find_covariance(repetitions: Repetitions, noise_sd: Volumes) -> tuple[NoiseCovariance, Source]:
    mask, data = repetitions.mask, repetitions.data
    if repetitions.n_repetitions > 1 and data.shape[-1] == 1:
        images, gain = _matched(data[..., 0], mask)
        sd = noise_sd[..., 0] / np.float32(gain)
        return difference_covariance(images, sd, mask, repetitions.shared), "differences of repetitions"
    if repetitions.n_repetitions > 1:
        # Without anatomy, which a difference of unequal gains holds.
        pairs = (_matched(data[:2, ..., volume], mask)[0] for volume in range(data.shape[-1]))
        differences = np.stack([one - other for one, other in pairs], axis=-1)
        return weakest_components_covariance(differences, mask), "differences of repetitions"
    if data.shape[-1] == 1:
        return _covariance_alone(data[0, ..., 0], mask), "fine detail of the image"
    return weakest_components_covariance(data, mask), "weakest components of the series"


def _covariance_alone(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> NoiseCovariance:
    """Of one image, which has no component without anatomy: seen on the matrix that was acquired."""
    measured = undo_zero_filling(image, mask)
    covariance = single_image_covariance(measured.image, measured.mask)
    if measured.thinned is None:
        return covariance
    return fill_with_zeros(covariance, np.divide(measured.image.shape, image.shape))


def _matched(images: Volumes, mask: NDArray[np.bool_]) -> tuple[Volumes, float]:
    """Repetitions in one intensity scale, and the gain that leads from it to that of the first."""
    scales = match_scales(images, mask)
    return apply_scales(scales, images), scales[0].gain


def _find_acquired(
    repetitions: Repetitions, stored: Sequence[Path], noise_sd: float
) -> AcquiredKSpace | None:
    own = repetitions.data[0]
    images = _load_some(stored[0]) if stored else own[..., spread_channels(own.shape[-1], _MOST_VOLUMES)]
    if min(images.shape[:3]) < _FEWEST_VOXELS:
        return None
    images = np.nan_to_num(np.moveaxis(images, -1, 0), nan=0.0, posinf=0.0, neginf=0.0)
    mask = repetitions.mask if images.shape[1:] == repetitions.mask.shape else _find_object(images[0])
    return find_acquired(images, mask, noise_sd)


def _load_some(path: Path) -> Volumes:
    """(X, Y, Z, N) some volumes of a file; a long series need not fit into memory beside the others."""
    proxy = nb.load(path).dataobj
    if math.prod(proxy.shape[3:]) == 1:
        return np.asarray(proxy, dtype=np.float32).reshape(*proxy.shape[:3], 1)
    return load_volumes(path, spread_channels(proxy.shape[3], _MOST_VOLUMES))


def _find_object(image: Volumes) -> NDArray[np.bool_]:
    """Voxels with signal, of an image on a grid without a mask."""
    smooth = ndimage.gaussian_filter(image, 1.5)
    return smooth > otsu_threshold(smooth)
