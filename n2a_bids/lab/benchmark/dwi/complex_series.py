"""Baselines that take complex diffusion series, from packages that may be installed."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from n2a_bids.errors import ConfigError

ComplexSeries = NDArray[np.complex64]
"""(X, Y, Z, C) array."""

MAGNITUDE = "magnitude"
"""After a colon behind the name of a method: it is given the magnitudes of the complex series."""
_NORDIC_RATIO = 11
"""Voxels of a patch over volumes, as NORDIC takes them (Moeller et al., 2021)."""


def nordic(series: ComplexSeries, mask: NDArray[np.bool_], noise_sd: float) -> NDArray[np.float32]:
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


def complex_mppca(series: ComplexSeries, mask: NDArray[np.bool_], noise_sd: float) -> NDArray[np.float32]:
    """MP-PCA of patch-denoise on the complex series, which finds the noise itself; magnitude."""
    from patch_denoise.denoise import mp_pca

    sizes = tuple(min(5, size) for size in series.shape[:3])
    overlap = tuple(size - 1 for size in sizes)
    found = mp_pca(series, sizes, overlap, mask=mask, mask_threshold=1, progbar=False)
    return _magnitude(found[0], series, mask)


COMPLEX_BASELINES: dict[str, Callable[[ComplexSeries, NDArray[np.bool_], float], NDArray[np.float32]]] = {
    "nordic": nordic,
    "complex-mppca": complex_mppca,
}
"""Denoisers of complex series, without smooth phase, whose noise SD in each part is told."""


def denoise_complex(
    name: str, series: ComplexSeries, mask: NDArray[np.bool_], noise_sd: float
) -> NDArray[np.float32]:
    """Denoise a complex series, or the mean of several, by a baseline.

    Parameters
    ----------
    name : str
        A key of `COMPLEX_BASELINES`.
    series : (X, Y, Z, C) complex array
        Without smooth phase.
    mask : (X, Y, Z) bool array
    noise_sd : float
        Of each of its parts.

    Returns
    -------
    magnitude : (X, Y, Z, C) float32 array
        That of `series` outside the mask.

    Raises
    ------
    ConfigError
        If patch-denoise is not installed.
    """
    if importlib.util.find_spec("patch_denoise") is None:
        raise ConfigError(f"the baseline {name!r} needs patch-denoise, which is not installed")
    return COMPLEX_BASELINES[name](series, mask, noise_sd)


def _magnitude(found: NDArray, series: ComplexSeries, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    usable = mask[..., None] & np.isfinite(found)
    return np.abs(np.where(usable, found, series)).astype(np.float32)
