"""Resamples a second diffusion series (companion) beside the one that is denoised: nearest voxels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.noise.shared_noise import shared_series_noise
from n2a_bids.algorithms.registration.dwi_resampling import mean_b0
from n2a_bids.algorithms.registration.placed_images import PlacedImage, register_series
from n2a_bids.algorithms.registration.resampling import field_of_view
from n2a_bids.algorithms.repetitions import Companion, Repetitions
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.dataset.read.files import check_file
from n2a_bids.dataset.read.image_memory import least_memory_gb
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.images import UNREADABLE, load
from n2a_bids.system.resources import available_memory_gb

_BRIGHT = 0.25
"""Intensity of a brain voxel at least, over the 95th percentile of the b0: for the start of registration."""


def with_companion(
    repetitions: Repetitions, reference: Path, path: Path, report: Callable[[str], None]
) -> tuple[Repetitions, str]:
    """Repetitions with the companion of their series, unless that cannot be used.

    Parameters
    ----------
    repetitions : Repetitions
        One diffusion series with its table.
    reference : Path
        File of that series.
    path : Path
        File of the other one, which has the same table.
    report : callable
        Told what is done.

    Returns
    -------
    repetitions : Repetitions
    problem : str
        Why the series has to be denoised alone, as a sentence; empty where it has not.
    """
    report(f"laying {path.name} beside the series")
    needed_gb, limit_gb = least_memory_gb((reference, path)), available_memory_gb()
    if needed_gb > limit_gb:
        # Of the two, the series itself is what was asked for.
        return repetitions, (
            f"{path.name} was not learned from: both series take {needed_gb:.1f} GB at least, and "
            f"{limit_gb:.1f} GB may be used; denoise them on a machine, or in a "
            "container or job, that may use more"
        )
    try:
        check_file(path)
        data, affine = load(path)
    except (*UNREADABLE, ValueError, BIDSDataError) as error:
        return repetitions, f"{path.name} could not be learned from: {error}"
    own, own_affine = repetitions.data[0], nb.load(reference).affine
    reason = _reason_against(repetitions, own, data) or _reason_shared(
        repetitions, (own, own_affine), (data, affine)
    )
    if reason:
        return repetitions, f"{path.name} was not learned from: {reason}"
    return replace(repetitions, companion=_lay_beside(repetitions, own_affine, data, affine)), ""


def _reason_against(repetitions: Repetitions, own: NDArray[np.float32], data: NDArray[np.float32]) -> str:
    gradients = repetitions.gradients
    if gradients is None or repetitions.n_repetitions > 1:
        return "only a single diffusion series with its table has a companion"
    if data.ndim != 4 or data.shape[-1] != own.shape[-1]:
        n_volumes = data.shape[-1] if data.ndim == 4 else 1
        return f"expected {own.shape[-1]} volumes as in the series, found {n_volumes}"
    if not np.isfinite(data).all() or not data.any():
        return "it holds NaN, infinity or nothing"
    return ""


def _reason_shared(
    repetitions: Repetitions,
    own: tuple[NDArray[np.float32], NDArray[np.float64]],
    its: tuple[NDArray[np.float32], NDArray[np.float64]],
) -> str:
    """A copy of the series would make its noise look like signal."""
    table = repetitions.gradients
    assert table is not None
    to_its = Affine().between_voxels(own[1], its[1])
    noise = shared_series_noise((own[0], its[0]), table.bvals, (table.bvecs, table.bvecs), to_its)
    if noise is None or not (noise.is_copy or noise.is_partial):
        return ""
    return (
        f"its noise is that of the series (correlation {noise.correlation:.2f}), so that it tells nothing new"
    )


def _lay_beside(
    repetitions: Repetitions,
    own_affine: NDArray[np.float64],
    data: NDArray[np.float32],
    affine: NDArray[np.float64],
) -> Companion:
    """The voxel of the other series that is nearest to each, after rigid registration of the mean b0s."""
    gradients = repetitions.gradients
    assert gradients is not None
    reference = PlacedImage(mean_b0(repetitions.data[0], gradients), own_affine, repetitions.mask)
    b0 = mean_b0(data, gradients)
    bright = ndimage.binary_opening(b0 > _BRIGHT * np.percentile(b0, 95))
    moving = PlacedImage(b0, affine, bright if bright.any() else b0 > 0)
    transform = register_series(reference, moving).transform
    voxel_map = transform.between_voxels(own_affine, affine)
    shape = repetitions.mask.shape
    nearest = [
        ndimage.affine_transform(
            data[..., volume], voxel_map[:3, :3], voxel_map[:3, 3], shape, order=0, mode="nearest"
        )
        for volume in range(data.shape[-1])
    ]
    return Companion(np.stack(nearest, axis=-1), field_of_view(data.shape[:3], voxel_map, shape))
