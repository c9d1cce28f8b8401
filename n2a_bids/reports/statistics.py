"""Which numbers of a group are unusual."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

OUTLIER_Z = 3.5
"""Usual limit of the robust z-score (Iglewicz and Hoaglin 1993)."""
FEWEST = 8
"""Below so many values nothing is called unusual."""


_SAME = 1e-6
"""Values that differ from the median by less of the usual value are the median: tables show six digits."""
_ZERO = 1e-12
"""What rounding leaves of a difference of numbers around 1."""


def robust_z(values: ArrayLike, *, logarithmic: bool = False) -> NDArray[np.float64]:
    """Distance from the median in robust SDs.

    Parameters
    ----------
    values : (N,) array_like
        NaN or infinite where there is no value.
    logarithmic : bool
        Take logarithms first, for positive numbers that vary by factors.

    Returns
    -------
    z : (N,) float array
        NaN where `values` is not finite (or not positive, with logarithms); zero everywhere when fewer than
        `FEWEST` values are there or all are equal, and for values that differ from the median by rounding
        only.

    Notes
    -----
    The SD is 1.4826 times the median absolute deviation, and 1.2533 times the mean absolute deviation where
    more than half of the values are equal, so that the former vanishes.

    Examples
    --------
    >>> bool(robust_z([1, 2, 1, 2, 1, 2, 1, 30])[-1] > OUTLIER_Z)
    True
    >>> bool(robust_z([0.3] * 20 + [0.1 + 0.2]).any())
    False
    """
    x = np.asarray(values, dtype=np.float64)
    if logarithmic:
        x = np.log(np.where(np.isfinite(x) & (x > 0), x, np.nan))
    is_known = np.isfinite(x)
    known = x[is_known]
    z = np.where(is_known, 0.0, np.nan)
    if known.size < FEWEST:
        return z
    # Between -1 and 1, where differences do not overflow.
    scale = float(np.abs(known).max()) or 1.0
    known = known / scale
    # A logarithm that differs by _SAME is a value that differs by this part of itself.
    same = _SAME / scale if logarithmic else max(_SAME * float(np.median(np.abs(known))), _ZERO / scale)
    deviation = known - np.median(known)
    deviation[np.abs(deviation) <= same] = 0.0
    spread = 1.4826 * np.median(np.abs(deviation)) or 1.2533 * np.mean(np.abs(deviation))
    if spread > 0:
        with np.errstate(over="ignore"):
            z[is_known] = deviation / spread
    return z
