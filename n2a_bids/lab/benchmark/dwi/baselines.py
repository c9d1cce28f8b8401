"""Denoisers of diffusion series from other packages, on arrays, for side-by-side comparison."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.errors import ConfigError

Series = NDArray[np.float32]
"""(X, Y, Z, C) array."""


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


DWI_BASELINES: dict[str, tuple[Callable[..., Series], str]] = {
    "mppca": (mppca, "dipy"),
    "patch2self": (patch2self, "dipy"),
    "dwidenoise": (dwidenoise, "dwidenoise"),
}
"""Name -> (denoiser, Python package or program that it needs)."""


def available_dwi_baselines() -> list[str]:
    """Names of the baselines that are installed."""
    return [name for name, (_, needed) in DWI_BASELINES.items() if _is_installed(needed)]


def denoise_with_dwi_baseline(
    name: str, series: Series, mask: NDArray[np.bool_], gradients: Gradients
) -> Series:
    """Denoise a series, or the mean of several, by a baseline.

    Parameters
    ----------
    name : str
        A key of `DWI_BASELINES`.
    series : (X, Y, Z, C) array
    mask : (X, Y, Z) bool array
    gradients : Gradients

    Returns
    -------
    denoised : (X, Y, Z, C) float32 array
        `series` outside the mask.

    Raises
    ------
    ConfigError
        If the name is unknown or what it needs is not installed.
    """
    if name not in DWI_BASELINES:
        raise ConfigError(f"expected a baseline among {', '.join(sorted(DWI_BASELINES))}, found {name!r}")
    denoiser, needed = DWI_BASELINES[name]
    if not _is_installed(needed):
        raise ConfigError(f"the baseline {name!r} needs {needed}, which is not installed")
    return denoiser(series, mask, gradients)


def _is_installed(needed: str) -> bool:
    return shutil.which(needed) is not None or importlib.util.find_spec(needed) is not None
