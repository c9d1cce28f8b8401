"""Correlation of two unrelated micrographs by chance: below it, exposures do not show the same thing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

_EDGE = 512
"""Pixels to which images are binned."""
_SMOOTHING_PIXELS = 2.0
_DEVIATIONS = 1.5
"""Added to what the best of so many places reaches by chance."""
_MOST = 0.6
"""Images of one blob are alike by chance, whatever they show: more is not asked,"""
_MORE_MOVED, _MORE_TURNED = 0.2, 0.15
"""but of those that hardly overlap any more, and that were turned for it."""
_ANGLES = 17
"""Which a turn is chosen from."""


def chance_correlation(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    shift_pixels: NDArray[np.float64],
    *,
    turned: bool = False,
) -> float:
    """Correlation that two unrelated images of such texture reach within so long a shift.

    At one place the correlation of unrelated images has the variance ``sum(P1 P2) / (sum(P1) sum(P2))`` of
    their power spectra P: few independent patches are alike more easily. Of n places the best is about
    ``sqrt(2 log n)`` standard deviations above.

    Parameters
    ----------
    first, second : (X, Y) array
    shift_pixels : (2,) array
        At which they look most alike.
    turned : bool
        Whether one had to be turned, too.

    Returns
    -------
    correlation : float
        Of images smoothed by 2 pixels; at most 0.6, and more where they were moved far or turned.
    """
    shape = np.array(first.shape)
    step = -(-int(shape.max()) // _EDGE)
    powers = [_power(image, step) for image in (first, second)]
    deviation = np.sqrt((powers[0] * powers[1]).sum() / max(powers[0].sum() * powers[1].sum(), 1e-30))
    patch = shape.prod() * deviation**2
    n_places = (1 + np.pi * float(shift_pixels @ shift_pixels) / patch) * (_ANGLES if turned else 1)
    overlap = np.prod(np.maximum(1 - np.abs(shift_pixels) / shape, 0.05))
    reached = (_DEVIATIONS + np.sqrt(2 * np.log(n_places))) * deviation / np.sqrt(overlap)
    most = _MOST + _MORE_MOVED * (1 - overlap) + (_MORE_TURNED if turned else 0)
    return float(min(reached, most))


def _power(image: NDArray[np.floating], step: int) -> NDArray[np.float64]:
    """Power spectrum of the smoothed image, all of it."""
    x, y = (size // step * step for size in image.shape)
    binned = image[:x, :y].reshape(x // step, step, y // step, step).mean(axis=(1, 3), dtype=np.float64)
    smooth = ndimage.gaussian_filter(binned, max(_SMOOTHING_PIXELS / step, 0.5))
    window = np.outer(*(np.sin(np.pi * (np.arange(size) + 0.5) / size) for size in smooth.shape))
    return np.abs(fft.fft2((smooth - smooth.mean()) * window)) ** 2
