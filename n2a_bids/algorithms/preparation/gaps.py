"""Finds gaps: voxels without a measurement, as zones of one fill value, and specks of impossible values.

Defacing, skull-stripping, padding, and corrections of gradient nonlinearity leave zones of one value; faulty
conversions leave single voxels at the limit of their data type. Both look like steep edges: they ring where
they are interpolated, pull at registrations, and halve an average with an image that was measured there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.constant_places import find_constant
from n2a_bids.algorithms.gaussian import gaussian_blur
from n2a_bids.algorithms.masked_filters import Mask, Volume

_LEAST_ZONE_ML = 1.0
"""No measured region of that size is constant: quantised noise in the air of real heads leaves 0.01 ml."""
_SPECK_SPREADS = 4.0
"""Times the distance from the median to percentile 99.5: the brightest voxel of five real images, whole heads
and stripped ones, lies below 2.7."""
_LARGEST_SPECK_ML = 0.2
_MOST_SPECKS = 0.002
"""Of all voxels: more is an image of another kind."""
_MOST_LIMITS = 1000
"""Voxels at the limit of the data type; more are bright tissue that was cut off."""
_CORNER_VOXELS = 3
_LEAST_MASKED_VOXELS = 200
"""Connected zeros, of which no magnitude image has so many by chance."""
_ALL_NEIGHBOURS = np.ones((3, 3, 3), bool)
_REACHES_VOXELS = (0.7, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Gaps:
    """Where an image was not measured."""

    zone: Mask
    """(X, Y, Z): filled with one value, over an area."""
    specks: Mask
    """(X, Y, Z): single voxels of impossible values."""

    @property
    def measured(self) -> Mask:
        """(X, Y, Z): everything else."""
        return ~(self.zone | self.specks)

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self.zone.any() or self.specks.any())


def find_gaps(
    image: Volume,
    voxel_size_mm: Sequence[float],
    limits: tuple[float, float] | None = None,
    speck_spreads: float = _SPECK_SPREADS,
) -> Gaps:
    """Find zones of one value and specks.

    Parameters
    ----------
    image : (X, Y, Z) float array
        As acquired; NaN and infinite voxels are gaps, too.
    voxel_size_mm : sequence of three floats
    limits : (float, float), optional
        Smallest and largest value that the data type on disk can hold.
    speck_spreads : float
        Times the distance from the median to percentile 99.5, beyond which single voxels are specks.
    """
    voxel_ml = float(np.prod(voxel_size_mm)) / 1000
    strange = ~np.isfinite(image)
    zone = _large_parts(strange, _LEAST_ZONE_ML / voxel_ml)
    if strange.any():
        image = np.where(strange, image[~strange].min(), image).astype(np.float32)
    flat = find_zone(image, _LEAST_ZONE_ML / voxel_ml)
    # A voxel beside NaN that holds the smallest value of all was measured; a filling is as large as a zone.
    zone |= flat & (strange | _large_parts(flat & ~strange, _LEAST_ZONE_ML / voxel_ml))
    specks = strange & ~zone
    specks |= _extreme_specks(image, zone, _LARGEST_SPECK_ML / voxel_ml, speck_spreads)
    if limits is not None:
        specks |= _specks_at_limits(image, limits) & ~zone
    return Gaps(zone, specks)


def extend_masked(image: Volume) -> tuple[Volume, Mask | None]:
    """Continue a masked image beyond its border, so that interpolation meets no edge there.

    Parameters
    ----------
    image : (X, Y, Z) float array
        Zero over an area where it was masked.

    Returns
    -------
    extended : (X, Y, Z) float array
        The image itself where it was not.
    measured : (X, Y, Z) bool array or None
        What was not masked; None for everywhere.
    """
    zone = find_zone(image, _LEAST_MASKED_VOXELS, value=0)
    if not zone.any() or zone.all():
        return image, None
    return extend_measured(image, ~zone), ~zone


def lies_on(measured: Mask | None, positions: NDArray[np.floating]) -> Mask | bool:
    """Which positions lie on measured voxels; all, for None.

    Parameters
    ----------
    measured : (X, Y, Z) bool array or None
    positions : (3, ...) float array
        Voxel coordinates.

    Returns
    -------
    found : (...) bool array or True
    """
    if measured is None:
        return True
    weight = ndimage.map_coordinates(measured.astype(np.float32), positions, order=1, mode="nearest")
    return weight > 0.5


def find_zone(image: Volume, least_voxels: float, value: float | None = None) -> Mask:
    """Find areas of one value: the smallest of all, or one at the border of the grid.

    Of the largest value only those that hold a corner of the grid, where there is air: others are tissue that
    was too bright to be stored.

    Parameters
    ----------
    image : (X, Y, Z) float array
        Finite.
    least_voxels : float
        Of an area, whose outermost voxels do not count.
    value : float, optional
        Look for areas of this value only.

    Returns
    -------
    zone : (X, Y, Z) bool array
    """
    zone = np.zeros(image.shape, bool)
    smallest, largest = image.min(), image.max()
    if value is not None and np.count_nonzero(image == value) < least_voxels:
        return zone
    flat = find_constant(image)
    if value is not None:
        flat &= image == value
    parts, n_parts = ndimage.label(flat)
    if not n_parts:
        return zone
    sizes, boxes = np.bincount(parts.ravel()), ndimage.find_objects(parts)
    corners = np.ix_(*((0, size - 1) for size in image.shape))
    for label in np.flatnonzero(sizes[1:] >= least_voxels) + 1:
        box = boxes[label - 1]
        voxel = np.unravel_index(int((parts[box] == label).argmax()), parts[box].shape)
        found = image[box][voxel]
        reaches = any(part.start == 0 or part.stop == size for part, size in zip(box, image.shape))
        if found == smallest or reaches:
            # Voxels whose neighbourhood is constant lie one inside the border, in its corners more.
            grown = ndimage.binary_dilation(
                parts == label, _ALL_NEIGHBOURS, iterations=_CORNER_VOXELS, mask=image == found
            )
            if found < largest or grown[corners].any():
                zone |= grown
    return zone


def zone_value(image: Volume, gaps: Gaps) -> float:
    """Value that stands for nothing in a zone: that of the image, 0 for NaN and for values beyond all signal.

    Parameters
    ----------
    image : (X, Y, Z) float array
    gaps : Gaps
        Gaps of this image.
    """
    values = image[gaps.zone]
    known = values[np.isfinite(values)]
    # Where most was NaN, what else was filled says nothing about it.
    if 2 * known.size <= values.size or not gaps.measured.any():
        return 0.0
    value, measured = float(np.median(known)), image[gaps.measured]
    return 0.0 if value < min(float(measured.min()), 0.0) or value >= measured.max() else value


def without_gaps(image: Volume, gaps: Gaps) -> Volume:
    """The image with a plain value in its zones, and specks as their surroundings are.

    Parameters
    ----------
    image : (X, Y, Z) float array
        Not modified.
    gaps : Gaps
        Gaps of this image.

    Returns
    -------
    plain : (X, Y, Z) float32 array
    """
    plain = np.where(gaps.zone, np.float32(zone_value(image, gaps)), image).astype(np.float32)
    if gaps.specks.any():
        extended = extend_measured(image, gaps.measured, reaches_voxels=_REACHES_VOXELS[:3])
        plain[gaps.specks] = extended[gaps.specks]
    return plain


def extend_measured(
    image: Volume, measured: Mask, reaches_voxels: Sequence[float] = _REACHES_VOXELS
) -> Volume:
    """Continue the measured values smoothly to where nothing was measured, so that no edge is left.

    Each empty voxel takes the Gaussian average of the measured ones near it, by the narrowest kernel that
    reaches any (normalised convolution, Knutsson and Westin, 1993); beyond all, the nearest such average.

    Parameters
    ----------
    image : (X, Y, Z) float array
        Values of what was not measured do not matter; NaN may be among them.
    measured : (X, Y, Z) bool array
    reaches_voxels : sequence of float
        SDs of the kernels, growing.

    Returns
    -------
    extended : (X, Y, Z) float32 array
        `image` where it was measured.
    """
    extended = np.where(measured, image, 0).astype(np.float32)
    if measured.all() or not measured.any():
        return extended
    known = measured.copy()
    weight, total = measured.astype(np.float32), extended.copy()
    for reach in reaches_voxels:
        near = gaussian_blur(weight, reach, 3.0)
        average = gaussian_blur(total, reach, 3.0)
        new = ~known & (near > 1e-2)
        extended[new] = average[new] / near[new]
        known |= new
        if known.all():
            return extended
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return extended[tuple(nearest)]


def _large_parts(found: Mask, least_voxels: float) -> Mask:
    parts, n_parts = ndimage.label(found)
    if not n_parts:
        return np.zeros(found.shape, bool)
    large = np.bincount(parts.ravel()) >= least_voxels
    large[0] = False
    return large[parts]


def _extreme_specks(image: Volume, zone: Mask, most_voxels: float, spreads: float) -> Mask:
    """Small groups of voxels far outside of the range of the others."""
    nothing = np.zeros(image.shape, bool)
    values = image[~zone]
    if not values.size:
        return nothing
    low, middle, high = np.percentile(values, [0.5, 50, 99.5])
    reach = spreads * max(high - middle, middle - low)
    extreme = (np.abs(image - np.float32(middle)) > reach) & ~zone
    if reach == 0 or not 0 < np.count_nonzero(extreme) <= _MOST_SPECKS * image.size:
        return nothing
    return extreme & ~_large_parts(extreme, max(most_voxels, 2) + 1)


def _specks_at_limits(image: Volume, limits: tuple[float, float]) -> Mask:
    """Voxels at the upper limit of the data type that stand alone in darker surroundings."""
    specks = np.zeros(image.shape, bool)
    voxels = np.argwhere(image >= limits[1])
    if len(voxels) > _MOST_LIMITS:
        return specks
    typical = np.percentile(image, 99)
    for voxel in voxels:
        near = image[tuple(slice(max(index - 1, 0), index + 2) for index in voxel)]
        # A bright vessel or fat goes on in a neighbour.
        alone = np.count_nonzero(near > 0.5 * limits[1]) == 1
        specks[tuple(voxel)] = alone and limits[1] - np.median(near) > typical
    return specks
