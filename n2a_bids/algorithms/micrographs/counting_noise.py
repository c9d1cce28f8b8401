"""Counting (Poisson) noise of exposures: fits gain and readout noise; Anscombe's transform and inverse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SMOOTHING_PIXELS = 2.0
"""SD of the Gaussian before pixels are sorted by intensity: noise that sorts must not be what is measured."""
_N_CLASSES = 64
_FEWEST_PIXELS = 200
"""In a class of intensity."""
_OUTLIER_VARIANCES = 25.0
"""Pixels whose variance is so many times that of their class are dust, hot pixels or moved edges."""
_TAIL = 0.01
"""Part of the pixels of a class, those of largest variance, that do not tell what is an outlier."""
_FLAT = 0.05
"""Relative change of the variance over the intensities that counts as none."""
_STRIP_PIXELS = 4_000_000
"""Worked on at once."""
Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CountingNoise:
    """Noise variance of one exposure, ``gain * intensity + offset``, in squared intensities.

    Counts N of particles stored as ``gain * N + zero``, with the noise of reading them out of SD ``s``, have
    this variance with ``offset = s**2 - gain * zero``.

    Examples
    --------
    >>> CountingNoise(gain=2.0, offset=5.0).variance(np.float32([0, 10])).tolist()
    [5.0, 25.0]
    """

    gain: float
    """Intensity of one particle; 0 where the variance does not change with the intensity, negative where dark
    pixels hold the most counts."""
    offset: float
    """Variance at intensity 0."""
    least_variance: float = 0.0
    """Smallest variance of a class of pixels, below which the line is not followed."""

    def variance(self, intensity: NDArray[np.floating]) -> NDArray[np.floating]:
        """Noise variance at an expected intensity."""
        return np.maximum(self.gain * intensity + self.offset, self.least_variance)


def fit_counting_noise(
    exposures: NDArray[np.floating], mask: NDArray[np.bool_] | None = None
) -> CountingNoise:
    """Fit gain and offset of the noise to repeated exposures of one field of view.

    Pixels are sorted into classes by the smoothed mean of the exposures; the mean sample variance of each
    class is a point of the line, which is fitted with weights and without outliers (after Foi et al.,
    "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data", IEEE TIP 17, 2008,
    where local variances of one image stand in place of repetitions).

    Parameters
    ----------
    exposures : (R, X, Y) or (R, X, Y, Z) array
        At least two aligned exposures, or stacks of them, in one unit.
    mask : (X, Y) or (X, Y, Z) bool array, optional
        Pixels that count: measured in every exposure and saturated in none.

    Raises
    ------
    ValueError
        With fewer than two exposures, or no pixel that counts.
    """
    if len(exposures) < 2:
        raise ValueError("counting noise is fitted to two exposures at least, found one")
    counted = np.ones(exposures.shape[1:], bool) if mask is None else mask
    parts = list(_measure(exposures, counted))
    if not parts:
        raise ValueError("no pixel counts: all are saturated, or measured in some exposures only")
    smooth, mean, variance = (np.concatenate(values) for values in zip(*parts, strict=True))
    intensities, variances, sizes = _classes(smooth, mean, variance)
    gain, offset = _fit_line(intensities, variances, sizes)
    change = abs(gain) * float(np.ptp(intensities)) / max(float(np.average(variances, weights=sizes)), 1e-30)
    if change < _FLAT:
        gain, offset = 0.0, float(np.average(variances, weights=sizes))
    return CountingNoise(gain, offset, least_variance=0.5 * float(variances.min()))


def _measure(
    exposures: NDArray[np.floating], mask: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.float64], ...]]:
    """Smoothed mean, mean and sample variance of pixels that count, strip by strip, at most 16 million."""
    width = int(np.prod(mask.shape[1:]))
    rows = max(_STRIP_PIXELS // width, 8)
    starts = range(0, len(mask), rows)
    step = max(1, len(starts) // 4)
    for start in starts[::step]:
        inside = mask[start : start + rows]
        if not inside.any():
            continue
        values = exposures[:, start : start + rows].astype(np.float64)
        mean, variance = values.mean(axis=0), values.var(axis=0, ddof=1)
        sd = (_SMOOTHING_PIXELS, _SMOOTHING_PIXELS, 0)[: mean.ndim]
        weight = ndimage.gaussian_filter(inside.astype(np.float64), sd)
        smooth = ndimage.gaussian_filter(mean * inside, sd) / np.maximum(weight, 1e-9)
        yield smooth[inside], mean[inside], variance[inside]


def _classes(
    smooth: NDArray[np.float64], mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean intensity, mean variance and size of each class of pixels, without outliers."""
    n_classes = int(np.clip(len(smooth) // _FEWEST_PIXELS, 1, _N_CLASSES))
    # Half of the borders lie at quantiles, half evenly: rare bright pixels tell most of the gain.
    low, high = np.percentile(smooth, (0.5, 99.5))
    borders = np.quantile(smooth, np.linspace(0, 1, n_classes // 2 + 1)[1:-1])
    borders = np.unique(np.concatenate((borders, np.linspace(low, high, n_classes // 2 + 1)[1:-1])))
    owner = np.searchsorted(borders, smooth)
    order = np.argsort(owner, kind="stable")
    rows = []
    for group in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1):
        if len(group) >= min(_FEWEST_PIXELS, len(smooth)):
            ordered = np.sort(variance[group])
            usual = ordered[: max(int((1 - _TAIL) * len(group)), 1)].mean()
            kept = group[variance[group] <= _OUTLIER_VARIANCES * max(usual, 1e-30)]
            rows.append((mean[kept].mean(), variance[kept].mean(), len(kept)))
    return tuple(np.array(rows, dtype=np.float64).T)


def _fit_line(
    x: NDArray[np.float64], y: NDArray[np.float64], sizes: NDArray[np.float64]
) -> tuple[float, float]:
    """Slope and intercept, weighted by what is known of each point, points far off counting less."""
    if len(x) < 3 or np.ptp(x) == 0:
        return 0.0, float(np.average(y, weights=sizes))
    precision = np.sqrt(sizes) / np.maximum(y, 1e-3 * y.mean() + 1e-30)
    robust = np.ones_like(x)
    for _ in range(10):
        weights = precision * robust
        slope, intercept = np.polyfit(x, y, 1, w=weights)
        deviation = np.abs(y - slope * x - intercept) * precision
        limit = 1.5 * max(1.4826 * float(np.median(deviation)), 1e-12)
        robust = np.sqrt(np.minimum(1.0, limit / np.maximum(deviation, 1e-30)))
    return float(slope), float(intercept)


@dataclass(frozen=True, slots=True)
class Stabiliser:
    """Intensities to values whose noise SD is 1, and expectations of these back to expected intensities.

    The generalised Anscombe transform of an exposure (Starck, Murtagh and Bijaoui, 1998), or of the mean of
    some: their counts add up, so that its gain and offset are those of one exposure over their number. The
    inverse is the closed form of the exact unbiased one (Makitalo and Foi, "Optimal inversion of the
    generalized Anscombe transformation for Poisson-Gaussian noise", IEEE TIP 22, 2013), which gives the
    expected intensity for the expectation of the stabilised value. Noise of one variance is only scaled.

    Examples
    --------
    >>> stabiliser = Stabiliser(CountingNoise(gain=2.0, offset=1.0))
    >>> round(float(stabiliser.invert(stabiliser.apply(np.float32([100.0])))[0] - 100), 1)
    0.5
    """

    noise: CountingNoise
    """Of one exposure."""
    n_exposures: float = 1
    """How many of the average noise were averaged."""

    @property
    def _gain(self) -> float:
        return abs(self.noise.gain) / self.n_exposures

    @property
    def _offset(self) -> float:
        return self.noise.offset / self.n_exposures

    @property
    def _sign(self) -> np.float32:
        # Where dark pixels hold the most counts, the negative is transformed.
        return np.float32(-1 if self.noise.gain < 0 else 1)

    def apply(self, image: Image) -> Image:
        """Stabilised values; the input is not modified."""
        if self.noise.gain == 0:
            return (image / np.float32(np.sqrt(self._offset))).astype(np.float32)
        gain = np.float32(self._gain)
        under = gain * self._sign * image + np.float32(0.375 * gain * gain + self._offset)
        return self._sign * (2 / gain) * np.sqrt(np.maximum(under, 0, dtype=np.float32))

    def invert(self, stable: Image) -> Image:
        """Expected intensities of expected stabilised values; the input is not modified."""
        if self.noise.gain == 0:
            return (stable * np.float32(np.sqrt(self._offset))).astype(np.float32)
        gain = self._gain
        # Below this value the series turns; it is the expectation for no counts at all.
        d = np.maximum(stable * self._sign, np.float32(2 * np.sqrt(0.375)))
        root = np.float32(np.sqrt(1.5))
        counts = d * d / 4 + root / (4 * d) - 11 / (8 * d * d) + 5 * root / (8 * d**3) - np.float32(0.125)
        return (self._sign * (gain * np.maximum(counts, 0) - np.float32(self._offset / gain))).astype(
            np.float32
        )
