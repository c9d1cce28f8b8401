"""Image quality metrics of MRIQC (CNR, CJV, SNR, EFC, ...; Esteban et al., PLoS ONE 2017).

Both images are measured in the same voxels, found on one of them: otherwise noise would change the tissues
along with the values in them.
"""

from __future__ import annotations

import math

import numpy as np

from n2a_bids.algorithms.normalization import Mask, Volume
from n2a_bids.algorithms.quality.tissues import Tissues
from n2a_bids.record.denoising import ImageQualityRecord

_MAD_OF_NORMAL = 1.4826
"""SD of a normal distribution over its median absolute deviation."""
_LEAST_AIR = 500
_BRIGHTEST_PERCENT = 99.95


def measure_quality(image: Volume, tissues: Tissues | None, head: Mask, air: Mask) -> ImageQualityRecord:
    """Signal, contrast and noise of one image.

    Parameters
    ----------
    image : (X, Y, Z) float array
        Magnitudes, any unit.
    tissues : Tissues or None
        Where grey matter, white matter and CSF are; without them there is no SNR, CNR, CJV and WM2MAX.
    head : (X, Y, Z) bool array
        Voxels with signal.
    air : (X, Y, Z) bool array
        Voxels that show noise alone; empty where there are none (cropped, masked or defaced images).

    Returns
    -------
    quality : ImageQualityRecord
        What cannot be measured is None.
    """
    positive = np.maximum(image, 0)
    outside = ~head
    has_air = int(air.sum()) >= _LEAST_AIR
    found = {"efc": entropy_focus(positive), "fber": None}
    if has_air and outside.any():
        power = float(np.mean(np.square(positive[outside], dtype=np.float64)))
        if power > 0:
            found["fber"] = float(np.mean(np.square(positive[head], dtype=np.float64))) / power
    if tissues is not None:
        found |= _measure_tissues(image, tissues, float(image[air].std()) if has_air else None)
    return ImageQualityRecord(**{name: _finite(value) for name, value in found.items()})


def entropy_focus(image: Volume) -> float:
    """Entropy of the intensities over the largest that so many voxels can have: 0 is one bright voxel, 1 fog.

    The entropy focus criterion of Atkinson et al. (IEEE Trans Med Imaging 16, 1997).

    Parameters
    ----------
    image : array
        Not negative.

    Examples
    --------
    >>> round(entropy_focus(np.ones((4, 4, 4))), 6)
    1.0
    >>> entropy_focus(np.eye(1, 64))
    0.0
    """
    total = math.sqrt(float(np.square(image, dtype=np.float64).sum()))
    if image.size < 2 or total == 0:
        return math.nan
    parts = image[image > 0].astype(np.float64) / total
    largest = math.sqrt(image.size) * math.log(math.sqrt(image.size))
    return max(0.0, float(-(parts * np.log(parts)).sum()) / largest)


def _measure_tissues(image: Volume, tissues: Tissues, air_sd: float | None) -> dict[str, float | None]:
    values = tissues.at(image)
    parts = [values[where] for where in (tissues.csf, tissues.grey, tissues.white)]
    medians = [float(np.median(part)) for part in parts]
    spreads = [float(part.std(ddof=1)) for part in parts]
    snr = [median / spread if spread > 0 else math.inf for median, spread in zip(medians, spreads)]
    contrast = abs(medians[2] - medians[1])
    scatter = [_robust_sd(part) for part in parts]
    noise = math.hypot(spreads[1], spreads[2], air_sd or 0.0)
    brightest = float(np.percentile(image, _BRIGHTEST_PERCENT))
    return {
        "snr_csf": snr[0],
        "snr_gm": snr[1],
        "snr_wm": snr[2],
        "snr_total": float(np.mean(snr)),
        "cnr": contrast / noise if noise > 0 else None,
        "cjv": (scatter[1] + scatter[2]) / contrast if contrast > 0 else None,
        "wm2max": medians[2] / brightest if brightest > 0 else None,
    }


def _robust_sd(values: np.ndarray) -> float:
    return _MAD_OF_NORMAL * float(np.median(np.abs(values - np.median(values))))


def _finite(value: float | None) -> float | None:
    return round(value, 6) if value is not None and math.isfinite(value) else None
