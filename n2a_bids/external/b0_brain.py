"""The brain in a b0 image, by a median filter and an Otsu threshold (dipy)."""

from __future__ import annotations

import numpy as np
from dipy.segment.mask import median_otsu
from numpy.typing import NDArray
from scipy import ndimage


def find_brain(b0: NDArray[np.float32], superior: int = 2) -> NDArray[np.bool_]:
    """Brain in a b0 image.

    Parameters
    ----------
    b0 : (X, Y, Z) array
    superior : int
        Array axis from feet to head: holes are filled in each slice across it.

    Returns
    -------
    mask : (X, Y, Z) bool array
        One piece without holes.
    """
    _, mask = median_otsu(b0, median_radius=2, numpass=2)
    labels, count = ndimage.label(ndimage.binary_opening(mask))
    if count == 0:
        return mask
    largest = 1 + int(np.argmax(ndimage.sum_labels(labels > 0, labels, range(1, count + 1))))
    filled = ndimage.binary_dilation(labels == largest) & mask
    cuts = [ndimage.binary_fill_holes(cut) for cut in np.moveaxis(filled, superior, 0)]
    return np.stack(cuts, axis=superior)
