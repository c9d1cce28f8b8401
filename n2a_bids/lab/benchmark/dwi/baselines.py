"""Denoisers of others for diffusion series (MP-PCA, Patch2Self, dwidenoise, NORDIC), on arrays."""

from __future__ import annotations

import math
import subprocess
import tempfile
import warnings
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.lab.benchmark.baselines import Baselines

Series = NDArray[np.float32]
"""(X, Y, Z, C) array."""
ComplexSeries = NDArray[np.complex64]
"""(X, Y, Z, C) array, without smooth phase."""

MAGNITUDE = "magnitude"
"""After a colon behind the name of a method: it is given the magnitudes of the complex series."""
_NORDIC_RATIO = 11
"""Voxels of a patch over volumes, as NORDIC takes them (Moeller et al., 2021)."""


def mppca(series: Series, mask: NDArray[np.bool_], gradients: Gradients) -> Series:
    """Marchenko-Pastur PCA of dipy, patches of 5x5x5."""
    from dipy.denoise.localpca import mppca as dipy_mppca

    radius = [min(2, (size - 1) // 2) for size in mask.shape]  # thin slabs have thinner patches
    with warnings.catch_warnings():
        # Voxels outside the mask are divided by a weight of zero there.
        warnings.simplefilter("ignore", RuntimeWarning)
        denoised = dipy_mppca(series, mask=mask, patch_radius=radius)
    # It leaves NaN where a patch has no variance.
    usable = mask[..., None] & np.isfinite(denoised)
    return np.where(usable, denoised, series).astype(np.float32)


def patch2self(series: Series, mask: NDArray[np.bool_], gradients: Gradients) -> Series:
    """Patch2Self of dipy, ordinary least squares; a single b0 is left as it is, as dipy does."""
    from dipy.denoise.patch2self import patch2self as dipy_patch2self

    denoised = dipy_patch2self(
        series,
        gradients.bvals,
        model="ols",
        b0_threshold=float(max(gradients.b0_threshold, gradients.bvals[gradients.is_b0].max(initial=0))),
        b0_denoising=int(gradients.is_b0.sum()) > 1,
        clip_negative_vals=False,
        shift_intensity=True,
        verbose=False,
    )
    return np.where(mask[..., None], denoised, series).astype(np.float32)


def dwidenoise(series: Series, mask: NDArray[np.bool_], gradients: Gradients) -> Series:
    """``dwidenoise`` of MRtrix3 with its defaults."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("series.nii", "mask.nii", "denoised.nii")]
        nb.Nifti1Image(series, np.eye(4)).to_filename(paths[0])
        nb.Nifti1Image(mask.astype(np.uint8), np.eye(4)).to_filename(paths[1])
        command = ["dwidenoise", "-quiet", "-mask", str(paths[1]), str(paths[0]), str(paths[2])]
        subprocess.run(command, check=True, capture_output=True)
        denoised = np.asarray(nb.load(paths[2]).dataobj, dtype=np.float32)
    return np.where(mask[..., None], denoised, series)


DWI_BASELINES: Baselines = {
    "mppca": (mppca, "dipy"),
    "patch2self": (patch2self, "dipy"),
    "dwidenoise": (dwidenoise, "dwidenoise"),
}
"""They take a series, or the mean of several, with its mask and gradients; it stays outside of the mask."""


def nordic(series: ComplexSeries, mask: NDArray[np.bool_], noise_sd: float) -> Series:
    """NORDIC of patch-denoise: one threshold on singular values, from noise of the true level; magnitude."""
    from patch_denoise.denoise import nordic as denoise

    n_volumes = series.shape[-1]
    edge = round((_NORDIC_RATIO * n_volumes) ** (1 / 3))
    sizes = tuple(min(edge, size) for size in series.shape[:3])
    # patch-denoise 1.4.4 counts the volumes among the voxels of a patch, so that its threshold removes all
    # but the mean (FA error at SNR 10: 0.28, with the right one 0.088, noisy 0.108).
    n_voxels = math.prod(sizes)
    counted = math.sqrt(n_voxels * n_volumes) + math.sqrt(n_volumes)
    threshold = (math.sqrt(n_voxels) + math.sqrt(n_volumes)) / counted
    # Its noise is that of both parts together.
    level = float(math.sqrt(2) * noise_sd * threshold)
    overlap = tuple(size - 1 for size in sizes)
    found = denoise(series, sizes, overlap, mask=mask, mask_threshold=1, noise_std=level, progbar=False)
    return _magnitude(found[0], series, mask)


def complex_mppca(series: ComplexSeries, mask: NDArray[np.bool_], noise_sd: float) -> Series:
    """MP-PCA of patch-denoise on the complex series, which finds the noise itself; magnitude."""
    from patch_denoise.denoise import mp_pca

    sizes = tuple(min(5, size) for size in series.shape[:3])
    overlap = tuple(size - 1 for size in sizes)
    found = mp_pca(series, sizes, overlap, mask=mask, mask_threshold=1, progbar=False)
    return _magnitude(found[0], series, mask)


def _magnitude(found: NDArray, series: ComplexSeries, mask: NDArray[np.bool_]) -> Series:
    usable = mask[..., None] & np.isfinite(found)
    return np.abs(np.where(usable, found, series)).astype(np.float32)


COMPLEX_BASELINES: Baselines = {
    "nordic": (nordic, "patch_denoise"),
    "complex-mppca": (complex_mppca, "patch_denoise"),
}
"""They take a complex series, its mask, and the noise SD of each part; magnitudes come back."""
