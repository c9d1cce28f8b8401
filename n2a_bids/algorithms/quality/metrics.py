"""Error metrics against a known truth: PSNR, SSIM, NRMSE, and PSNR at edges.

Every measure looks at voxels inside the mask only: what lies outside never changes a value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.masked_filters import (
    Mask,
    Volume,
    blur,
    bounding_box,
    check_grids,
    gradient,
    magnitude,
)
from n2a_bids.algorithms.quality.sharpness import (
    edge_correlation,
    relative_sharpness,
    sharpness,
    smoothness_fwhm_mm,
)

__all__ = [
    "edge_correlation",
    "edge_mask",
    "edge_psnr",
    "nrmse",
    "psnr",
    "relative_sharpness",
    "sharpness",
    "smoothness_fwhm_mm",
    "ssim",
]

_EDGE_FRACTION = 0.2
_SSIM_WINDOW_SD_VOXELS = 1.5


def psnr(estimate: Volume, truth: Volume, mask: Mask) -> float:
    """Peak signal-to-noise ratio over the mask.

    Parameters
    ----------
    estimate, truth : (X, Y, Z) float array
        Images in the same intensity unit.
    mask : (X, Y, Z) bool array
        Voxels that count.

    Returns
    -------
    psnr : float
        ``20 log10(range / RMSE)`` in dB; the range is that of `truth` inside the mask.
        Infinite when the images agree exactly.

    Raises
    ------
    ValueError
        If the grids differ or the mask is empty.

    Examples
    --------
    >>> truth = np.array([[[0.0, 10.0]]])
    >>> psnr(truth + 1.0, truth, np.ones((1, 1, 2), dtype=bool))
    20.0
    """
    check_grids(mask, estimate, truth)
    return _psnr_of_voxels(estimate[mask], truth[mask], float(np.ptp(truth[mask])))


def edge_psnr(estimate: Volume, truth: Volume, mask: Mask) -> float:
    """Peak signal-to-noise ratio at edges: where the gradient of `truth` is in its top 20 %.

    Parameters, units and errors are those of `psnr`; the range is that of the whole mask, so
    that the two values compare directly.
    """
    check_grids(mask, estimate, truth)
    edges = edge_mask(truth, mask)
    return _psnr_of_voxels(estimate[edges], truth[edges], float(np.ptp(truth[mask])))


def nrmse(estimate: Volume, truth: Volume, mask: Mask) -> float:
    """Root mean square error over the mask, as a fraction of the root mean square of `truth`.

    Parameters and errors are those of `psnr`.

    Examples
    --------
    >>> truth = np.full((1, 1, 4), 2.0)
    >>> nrmse(truth + 1.0, truth, truth > 0)
    0.5
    """
    check_grids(mask, estimate, truth)
    reference = np.sqrt(np.mean(np.square(truth[mask], dtype=np.float64)))
    return float(_rmse(estimate[mask], truth[mask]) / reference)


def ssim(estimate: Volume, truth: Volume, mask: Mask) -> float:
    """Mean structural similarity over the mask, with a 3D Gaussian window.

    The window (SD 1.5 voxels, cut at 3.5 SD) is restricted to the mask and renormalised, so
    neither background nor skull stripping changes the value.

    Parameters
    ----------
    estimate, truth : (X, Y, Z) float array
        Images in the same intensity unit.
    mask : (X, Y, Z) bool array
        Voxels that count.

    Returns
    -------
    ssim : float
        At most 1 (identical images). Constants are 0.01 and 0.03 of the in-mask range of `truth`.

    Raises
    ------
    ValueError
        If the grids differ or the mask is empty.

    References
    ----------
    .. [1] Wang et al., "Image quality assessment: from error visibility to structural
       similarity", IEEE TIP 13 (2004), equation 13.

    Examples
    --------
    >>> truth = np.arange(27.0).reshape(3, 3, 3)
    >>> round(ssim(truth, truth, truth > -1), 6)
    1.0
    """
    check_grids(mask, estimate, truth)
    box = bounding_box(mask)
    inside = mask[box]
    data_range = float(np.ptp(truth[mask]))
    a = np.where(inside, estimate[box], 0).astype(np.float64)
    b = np.where(inside, truth[box], 0).astype(np.float64)
    weight = blur(inside.astype(np.float64), _SSIM_WINDOW_SD_VOXELS)[inside]

    def local_mean(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return blur(image, _SSIM_WINDOW_SD_VOXELS)[inside] / weight

    mean_a, mean_b = local_mean(a), local_mean(b)
    var_a = np.maximum(local_mean(a * a) - mean_a**2, 0)
    var_b = np.maximum(local_mean(b * b) - mean_b**2, 0)
    covariance = local_mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return float(np.mean(luminance * structure))


def edge_mask(image: Volume, mask: Mask) -> Mask:
    """Voxels of the mask where the gradient magnitude of `image` is in the top 20 %.

    Voxels at the rim of the mask are left out: their gradient would look outside it.

    Parameters
    ----------
    image : (X, Y, Z) float array
        Image whose edges are sought; a clean one, or noise passes for edges.
    mask : (X, Y, Z) bool array
        Voxels that count.

    Returns
    -------
    edges : (X, Y, Z) bool array
        The mask itself if nothing is left of it within its rim.
    """
    inner = ndimage.binary_erosion(mask)
    if not inner.any():
        return mask
    box = bounding_box(mask)
    steepness = np.zeros(mask.shape, dtype=np.float32)
    steepness[box] = magnitude(gradient(np.where(mask, image, 0)[box], (1.0, 1.0, 1.0)))
    return inner & (steepness >= np.quantile(steepness[inner], 1 - _EDGE_FRACTION))


def _rmse(estimate: Volume, truth: Volume) -> float:
    return float(np.sqrt(np.mean(np.square(estimate - truth, dtype=np.float64))))


def _psnr_of_voxels(estimate: Volume, truth: Volume, data_range: float) -> float:
    rmse = _rmse(estimate, truth)
    return float("inf") if rmse == 0 else float(20 * np.log10(data_range / rmse))
