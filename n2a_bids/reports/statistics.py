"""Which numbers of a group are unusual."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

OUTLIER_Z = 3.5
"""Usual limit of the robust z-score (Iglewicz and Hoaglin 1993)."""
FEWEST = 8
"""Below so many values nothing is called unusual."""


def robust_z(values: ArrayLike, *, logarithmic: bool = False) -> NDArray[np.float64]:
    """Distance from the median in robust SDs.

    Parameters
    ----------
    values : (N,) array_like
        NaN where there is no value.
    logarithmic : bool
        Take logarithms first, for positive numbers that vary by factors.

    Returns
    -------
    z : (N,) float array
        NaN where `values` is NaN (or not positive, with logarithms); zero everywhere when fewer than
        `FEWEST` values are there or all are equal.

    Notes
    -----
    The SD is 1.4826 times the median absolute deviation, and 1.2533 times the mean absolute deviation where
    more than half of the values are equal, so that the former vanishes.

    Examples
    --------
    >>> bool(robust_z([1, 2, 1, 2, 1, 2, 1, 30])[-1] > OUTLIER_Z)
    True
    """
    x = np.asarray(values, dtype=np.float64)
    if logarithmic:
        x = np.log(np.where(x > 0, x, np.nan))
    known = x[np.isfinite(x)]
    if known.size < FEWEST:
        return np.where(np.isfinite(x), 0.0, np.nan)
    deviation = np.abs(known - np.median(known))
    spread = 1.4826 * np.median(deviation) or 1.2533 * np.mean(deviation)
    return (x - np.median(known)) / spread if spread > 0 else np.where(np.isfinite(x), 0.0, np.nan)
