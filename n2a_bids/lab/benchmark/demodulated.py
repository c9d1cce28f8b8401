"""Simulated complex images without their smooth phase, as the app takes it out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.preparation.demodulation import choose_width, demodulate

_FEW_VOLUMES = 4
"""That tell how smooth the phase of a series is."""


def without_phase(image: NDArray[np.complex64], axes: Sequence[int]) -> NDArray[np.complex64]:
    """An image, or a series, whose smooth phase is taken out: its real part holds the signal.

    Parameters
    ----------
    image : (X, Y, Z) or (X, Y, Z, C) complex array
    axes : sequence of int
        Along which the phase is smooth; see `demodulate`.

    Returns
    -------
    unphased : complex array of the shape of `image`
    """
    volumes = list(np.moveaxis(image.reshape(*image.shape[:3], -1), -1, 0))
    width = choose_width(volumes[:: max(1, len(volumes) // _FEW_VOLUMES)], axes)
    found = [demodulate(volume, axes, width) for volume in volumes]
    unphased = np.stack([one.real + np.complex64(1j) * one.imaginary for one in found], axis=-1)
    return unphased.reshape(image.shape)
