"""Resolution (Fourier ring correlation) of two halves of the exposures, before and after denoising."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.averaging import RepetitionWeights
from n2a_bids.algorithms.micrographs.planes import TileEstimate
from n2a_bids.algorithms.micrographs.ring_correlation import (
    estimated_ring_correlation,
    fourier_ring_correlation,
)
from n2a_bids.algorithms.micrographs.stabilised import StableFields
from n2a_bids.record.denoising import RingCorrelationRecord

_MOST_POINTS = 128
"""Of a curve in the record."""
_LEAST_EDGE = 16


def correlate_halves(
    fields: StableFields, of_half: Callable[[float], TileEstimate]
) -> RingCorrelationRecord | None:
    """Up to which detail the even and the odd exposures agree, as they are and each denoised by itself.

    What is denoised is compared with the other half as it was measured: two denoised images have errors in
    common.

    Parameters
    ----------
    fields : StableFields
        The plane or window in which most pixels count is taken.
    of_half : callable
        Estimate for the mean of some of the exposures, whose noise SD is given.

    Returns
    -------
    record : RingCorrelationRecord or None
        None for images below 16 pixels.
    """
    if min(fields.counted.shape[1:]) < _LEAST_EDGE:
        return None
    plane = int(np.argmax(fields.counted.sum(axis=(1, 2))))
    images, counted = fields.images[:, plane], fields.counted[plane]
    parts = [RepetitionWeights.of_variances(fields.weighting.variance_ratio[start::2]) for start in (0, 1)]
    halves = [part.average(images[start::2]) for start, part in enumerate(parts)]
    variances = [1 / (1 / fields.weighting.variance_ratio[start::2]).sum() for start in (0, 1)]
    methods = [of_half(fields.noise_sd * float(np.sqrt(variance))) for variance in variances]
    estimates = [method.estimate(half) for method, half in zip(methods, halves, strict=True)]
    first, second, *estimated = (_filled(image, counted) for image in (*halves, *estimates))
    before = fourier_ring_correlation(first, second)
    after = estimated_ring_correlation((first, second), (estimated[0], estimated[1]))
    step = -(-len(before.frequency) // _MOST_POINTS)
    return RingCorrelationRecord(
        frequency=_thinned(before.frequency, step),
        before=_thinned(before.correlation, step),
        after=_thinned(after.correlation, step),
        one_bit=_thinned(before.one_bit, step),
        pixels_before=before.resolution_seventh,
        pixels_after=after.resolution_seventh,
        one_bit_pixels_before=before.resolution_one_bit,
        one_bit_pixels_after=after.resolution_one_bit,
    )


def _filled(image: NDArray[np.float32], counted: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Pixels that tell nothing hold the mean: saturated ones are alike in both halves."""
    return np.where(counted, image, image[counted].mean())


def _thinned(curve: NDArray[np.float64], step: int) -> tuple[float, ...]:
    """Means over some rings each."""
    whole = curve[: len(curve) // step * step]
    return tuple(round(float(value), 5) for value in whole.reshape(-1, step).mean(axis=1))
