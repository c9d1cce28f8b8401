"""Whether a region shows anything but noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LAG_MM = 8.0
"""Beyond the reach of interpolation and of usual smoothing, well within the size of gyri and ventricles."""
_LEAST = 0.02
"""What is left of a head whose noise has the SD of its mean signal; at half of that noise it is 0.12."""
_STANDARD_ERRORS = 4.0


def shows_structure(
    image: NDArray[np.floating], mask: NDArray[np.bool_], voxel_sizes_mm: Sequence[float]
) -> tuple[bool, float]:
    """Tell tissue from noise by the likeness of voxels that are 8 mm apart.

    Anatomy is alike over millimetres, noise is not, even where interpolation or smoothing has spread it
    over its neighbours. Contrast with the surroundings does not matter, so that tight fields of view and
    skull-stripped images are judged by the same rule.

    Parameters
    ----------
    image : array (x, y, z)
        Any intensity units.
    mask : bool array (x, y, z)
        Region to judge; only pairs of voxels inside of it count.
    voxel_sizes_mm : sequence of three floats
        Along the axes of the array.

    Returns
    -------
    is_structured : bool
        False also for a region that is constant, or too small to hold pairs.
    correlation : float
        Mean over the three axes; about 0.4 in the brain of a usual T1w image, 0 for noise, 0 too where it
        is not defined.
    """
    correlations, n_pairs = [], 0
    for axis, size_mm in enumerate(voxel_sizes_mm):
        lag = max(1, round(_LAG_MM / size_mm))
        near, far = ([slice(None)] * 3 for _ in range(2))
        near[axis], far[axis] = slice(None, -lag), slice(lag, None)
        both = mask[tuple(near)] & mask[tuple(far)]
        first, second = (np.asarray(image[tuple(part)][both], dtype=np.float64) for part in (near, far))
        n_pairs += first.size
        if first.size > 2 and first.std() > 0 and second.std() > 0:
            correlations.append(np.corrcoef(first, second)[0, 1])
    if not correlations:
        return False, 0.0
    correlation = float(np.mean(correlations))
    return correlation > max(_LEAST, _STANDARD_ERRORS / np.sqrt(n_pairs)), correlation
