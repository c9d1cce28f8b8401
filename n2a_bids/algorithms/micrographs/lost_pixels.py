"""Pixels that an exposure lost: lines and blocks of its lowest value where other exposures show something."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_WINDOW = 5
"""Edge of the squares that hold one value; noise fills none of them alike."""
_LEAST_PIXELS = 50
_SHOWN = 0.5
"""Part of the pixels of a zone in which another exposure must differ: that none of them does in the exposure
itself by chance is then less likely than one in 10^15."""


def find_lost_pixels(exposures: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where an exposure holds nothing but its lowest value, and another one does not.

    What is dark in all of them, as an aperture, is no loss; nor are single dark pixels.

    Parameters
    ----------
    exposures : (R, X, Y, Z, C) float array
        As they were stored, before any alignment.

    Returns
    -------
    lost : (R, X, Y, Z) bool array
    """
    lowest = exposures.min(axis=(1, 2), keepdims=True)
    dark = (exposures == lowest).all(axis=-1)
    lost = np.zeros(dark.shape, bool)
    square = np.ones((_WINDOW, _WINDOW), bool)
    for index, plane in np.ndindex(dark.shape[0], dark.shape[3]):
        if np.count_nonzero(dark[index, :, :, plane]) < _LEAST_PIXELS:
            continue
        zones = ndimage.binary_opening(dark[index, :, :, plane], square)
        labels, n_zones = ndimage.label(zones)
        sizes = np.bincount(labels.ravel(), minlength=n_zones + 1)
        shown = np.zeros(n_zones + 1)
        for other in np.flatnonzero(np.arange(len(dark)) != index):
            n_bright = np.bincount(labels.ravel(), weights=~dark[other, :, :, plane].ravel())
            shown = np.maximum(shown, n_bright / np.maximum(sizes, 1))
        is_lost = (shown > _SHOWN) & (sizes >= _LEAST_PIXELS)
        is_lost[0] = False
        lost[index, :, :, plane] = is_lost[labels]
    return lost


def fill_lost_pixels(exposures: NDArray[np.float32], lost: NDArray[np.bool_]) -> None:
    """Give lost pixels the value of the nearest that was measured, so that no edge is left; in place."""
    for index, plane in np.ndindex(lost.shape[0], lost.shape[3]):
        here = lost[index, :, :, plane]
        if here.any() and not here.all():
            nearest = ndimage.distance_transform_edt(here, return_distances=False, return_indices=True)
            exposures[index, :, :, plane] = exposures[index, :, :, plane][tuple(nearest)]
