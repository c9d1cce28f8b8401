"""Sharpness of an image, smoothness (FWHM) of a residual, and anatomy that a residual holds.

None of them needs the truth; every one looks at voxels inside the mask only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from n2a_bids.algorithms.masked_filters import (
    Mask,
    Volume,
    blur_in_mask,
    bounding_box,
    check_grids,
    gradient,
    magnitude,
    without_rim,
)

_UNIT_SCALE_MM = 4.0
_LOCAL_MEAN_SD_VOXELS = 4.0


def sharpness(
    image: Volume,
    mask: Mask,
    voxel_size_mm: Sequence[float],
    edge_image: Volume | None = None,
) -> float:
    """Steepness of the edges inside the mask, blind to noise where the edges are found elsewhere.

    Edges are ridges: voxels where the gradient of a copy blurred by one voxel (SD) is largest along
    its main axis, the stronger half of them. The slope of the unblurred image along the direction
    of that gradient is averaged over them, and divided by the in-mask SD of the image blurred by
    4 mm, so that gain and offset cancel. Noise adds slopes of either sign, which cancel in the
    average, where a mean gradient magnitude would grow with it.

    Ridges are one voxel thin: across a band as wide as the blur, slopes add up to the height of
    the edge however blurred it is.

    Parameters
    ----------
    image : (X, Y, Z) float array
        Image in any unit.
    mask : (X, Y, Z) bool array
        Voxels that count; edges against what lies outside are not looked at.
    voxel_size_mm : three floats
        Voxel size along the array axes.
    edge_image : (X, Y, Z) float array, optional
        Image in which the edges are found: give the same one (the truth, or the denoised image)
        to compare several images at the same edges. `image` itself by default; then ridges of
        strong noise count as edges.

    Returns
    -------
    sharpness : float
        Per mm; 0 when there is no edge at all (constant image).

    Raises
    ------
    ValueError
        If the grids differ or the mask is empty.
    """
    finder = image if edge_image is None else edge_image
    check_grids(mask, image, finder)
    box = bounding_box(mask)
    inside = mask[box]
    edges, directions = _ridges(blur_in_mask(finder[box], inside, 1.0), inside, voxel_size_mm)
    unit = blur_in_mask(image[box], inside, [_UNIT_SCALE_MM / size for size in voxel_size_mm])
    contrast = float(np.std(unit[inside], dtype=np.float64))
    if not edges.any() or contrast == 0:
        return 0.0
    slopes = gradient(np.where(inside, image[box], 0).astype(np.float32), voxel_size_mm)
    across = sum(slope[edges] * direction for slope, direction in zip(slopes, directions, strict=True))
    return float(np.mean(across, dtype=np.float64)) / contrast


def relative_sharpness(
    image: Volume, reference_image: Volume, edge_image: Volume, mask: Mask, voxel_size_mm: Sequence[float]
) -> float:
    """`sharpness` of an image over that of another one, at the same edges.

    Parameters
    ----------
    image, reference_image, edge_image : (X, Y, Z) float array
        Edges are found in the last, which may be one of the others.
    mask : (X, Y, Z) bool array
        Voxels that count.
    voxel_size_mm : three floats
        Voxel size along the array axes.

    Returns
    -------
    ratio : float
        Below 1: blurred against `reference_image`. Not a number when that has no edges.
    """
    own, reference = (sharpness(one, mask, voxel_size_mm, edge_image) for one in (image, reference_image))
    return own / reference if reference else float("nan")


def _ridges(smooth: Volume, inside: Mask, voxel_size_mm: Sequence[float]) -> tuple[Mask, list[Volume]]:
    """Voxels on the stronger half of the edges, and the direction across the edge in each."""
    slopes = gradient(smooth, voxel_size_mm)
    strength = magnitude(slopes)
    main_axis = np.argmax(np.abs(np.stack(slopes)), axis=0)
    ridges = without_rim(inside) & (strength > 0)
    for axis in range(3):
        # Voxels that meet around the array lie in its rim.
        peak = (strength >= np.roll(strength, 1, axis)) & (strength >= np.roll(strength, -1, axis))
        ridges &= (main_axis != axis) | peak
    if ridges.any():
        ridges &= strength >= np.median(strength[ridges])
    return ridges, [slope[ridges] / strength[ridges] for slope in slopes]


def smoothness_fwhm_mm(residual: Volume, mask: Mask, voxel_size_mm: Sequence[float]) -> float:
    """Smoothness of a residual, as the full width at half maximum of a Gaussian kernel.

    The classical estimate from first differences between neighbours that both lie in the mask,
    averaged over the three axes. White noise gives well under one voxel.

    Parameters
    ----------
    residual : (X, Y, Z) float array
        Noise-like image, such as a difference of repetitions.
    mask : (X, Y, Z) bool array
        Voxels that count.
    voxel_size_mm : three floats
        Voxel size along the array axes.

    Returns
    -------
    fwhm_mm : float
        Mean over axes; an axis without positive correlation of neighbours counts as 0.

    Raises
    ------
    ValueError
        If the grids differ or the mask is empty.

    References
    ----------
    .. [1] Forman et al., "Improved assessment of significant activation in functional magnetic
       resonance imaging", MRM 33 (1995), equation 4.
    """
    check_grids(mask, residual)
    variance = float(np.var(residual[mask], dtype=np.float64))
    widths = [
        _axis_fwhm(residual, mask, axis, variance) * float(size) for axis, size in enumerate(voxel_size_mm)
    ]
    return float(np.mean(widths))


def edge_correlation(residual: Volume, image: Volume, mask: Mask) -> float:
    """How much anatomy a residual holds: correlation of its local size with the edges of `image`.

    Both the absolute residual and the gradient magnitude of `image` are taken at a scale of one
    voxel (Gaussian SD) and freed of their own slow variation (Gaussian SD of 4 voxels, within
    the mask), so that a noise level that drifts over the brain does not count; then they are
    correlated over the mask. Noise independent of the anatomy gives about 0; a residual that
    took edges along (smoothing), moved or doubled them gives a positive value.

    Noise whose size follows the local intensity (Rician, at low SNR) gives a value of its own:
    compare with that of the difference of two repetitions.

    Parameters
    ----------
    residual : (X, Y, Z) float array
        For example mean of the repetitions minus denoised image; any unit.
    image : (X, Y, Z) float array
        Image that shows the anatomy with little noise: the denoised one.
    mask : (X, Y, Z) bool array
        Voxels that count.

    Returns
    -------
    correlation : float
        Pearson correlation, -1 to 1; 0 when either map is constant.

    Raises
    ------
    ValueError
        If the grids differ or the mask is empty.
    """
    check_grids(mask, residual, image)
    box = bounding_box(mask)
    inside = mask[box]
    inner = without_rim(inside)
    energy = _band(np.abs(residual[box] - np.mean(residual[mask])), inside)
    smooth = blur_in_mask(image[box], inside, 1.0)
    edges = _band(magnitude(gradient(smooth, (1.0, 1.0, 1.0))), inside, blur_first=False)
    a, b = energy[inner].astype(np.float64), edges[inner].astype(np.float64)
    a -= a.mean()
    b -= b.mean()
    size = np.sqrt(np.sum(a * a) * np.sum(b * b))
    return float(np.sum(a * b) / size) if size > 0 else 0.0


def _band(image: Volume, inside: Mask, blur_first: bool = True) -> Volume:
    """Image at the scale of one voxel, less its local mean."""
    fine = blur_in_mask(image, inside, 1.0) if blur_first else image
    return fine - blur_in_mask(image, inside, _LOCAL_MEAN_SD_VOXELS)


def _axis_fwhm(residual: Volume, mask: Mask, axis: int, variance: float) -> float:
    """FWHM in voxels along one axis."""
    before = [slice(None)] * 3
    after = [slice(None)] * 3
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    pairs = mask[tuple(before)] & mask[tuple(after)]
    if variance == 0 or not pairs.any():
        return 0.0
    differences = residual[tuple(after)][pairs] - residual[tuple(before)][pairs]
    correlation = 1 - 0.5 * float(np.var(differences, dtype=np.float64)) / variance
    if correlation <= 0:
        return 0.0
    return float(np.sqrt(-2 * np.log(2) / np.log(min(correlation, 1 - 1e-12))))
