"""Intensity scales: matches repetitions to the first, gain fields, and the z-scores that networks see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.algorithms.gaussian import gaussian_blur
from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.repetitions import Repetitions

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]

_TRUNCATE = 3.0
"""SDs at which Gaussian kernels end."""
_LEAST_WEIGHT = 1e-3
"""Part of a kernel in the mask, below which it does not reach it."""


@dataclass(frozen=True, slots=True)
class LinearScale:
    """``scaled = (intensity - offset) / gain`` and back."""

    gain: float
    offset: float

    def apply(self, intensity: Volume) -> Volume:
        """Intensities to scaled values; the input is not modified.

        In double precision, so that another gain and offset of the input give the same bits, but
        for a rare last one.
        """
        return ((intensity.astype(np.float64) - self.offset) / self.gain).astype(np.float32)

    def invert(self, scaled: Volume) -> Volume:
        """Scaled values to intensities; the input is not modified.

        Examples
        --------
        >>> scale = LinearScale(gain=2.0, offset=10.0)
        >>> scale.invert(scale.apply(np.float32([10, 14])))
        array([10., 14.], dtype=float32)
        """
        return (scaled * np.float32(self.gain) + np.float32(self.offset)).astype(np.float32)


def apply_scales(scales: Sequence[LinearScale], images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(R, X, Y, Z) repetitions, each in its scale."""
    return np.stack([scale.apply(image) for scale, image in zip(scales, images, strict=True)])


class MaskedSmoother:
    """Gaussian smoothing that takes nothing from outside a mask; for many images of one mask.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    sd_voxels : float
        Standard deviation of the kernel, in voxels.
    """

    def __init__(self, mask: Mask, sd_voxels: float):
        self._sd_voxels = sd_voxels
        # Beyond its margin smoothing finds nothing.
        margin = int(np.ceil(_TRUNCATE * sd_voxels)) + 1
        self._box = bounding_box(mask, margin) if mask.any() else (slice(0, 1),) * mask.ndim
        self._shape = mask.shape
        self._inside = mask[self._box]
        self._weights: dict[np.dtype, Volume] = {}

    def __call__(self, image: Volume) -> Volume:
        """Smoothed (X, Y, Z) image: zero where the kernel does not reach the mask."""
        precision = np.result_type(image, np.float32)
        weight, total = self._weight(precision), self._sum(image, precision)
        smooth = np.zeros(image.shape, precision)
        np.divide(total, weight, out=smooth[self._box], where=weight > _LEAST_WEIGHT)
        return smooth

    def in_mask(self, image: Volume, precision: DTypeLike = np.float32) -> NDArray[np.floating]:
        """(N,) smoothed values of the voxels of the mask, of this precision or that of the image."""
        precision = np.result_type(image, precision)
        return self._sum(image, precision)[self._inside] / self._weight(precision)[self._inside]

    @property
    def reached(self) -> Mask:
        """Where the kernel reaches the mask."""
        found = np.zeros(self._shape, bool)
        found[self._box] = self._weight(np.dtype(np.float32)) > _LEAST_WEIGHT
        return found

    def _sum(self, image: Volume, precision: np.dtype) -> Volume:
        """What the kernel finds in the mask."""
        return self._filter(image[self._box].astype(precision, copy=False) * self._inside)

    def _weight(self, precision: np.dtype) -> Volume:
        """Part of the kernel that lies in the mask."""
        if precision not in self._weights:
            self._weights[precision] = self._filter(self._inside.astype(precision))
        return self._weights[precision]

    def _filter(self, image: Volume) -> Volume:
        return gaussian_blur(image, self._sd_voxels, _TRUNCATE)


def smooth_in_mask(image: Volume, mask: Mask, sd_voxels: float) -> Volume:
    """Gaussian smoothing that takes nothing from outside the mask, see :class:`MaskedSmoother`."""
    return MaskedSmoother(mask, sd_voxels)(image)


def match_scales(data: NDArray[np.float32], mask: Mask, smoothing_voxels: float = 1.5) -> list[LinearScale]:
    """Linear scale of every repetition that gives all of them one in-mask mean and SD.

    Means and SDs are those of lightly smoothed images: the SD of a raw image
    contains its noise, which would give the noisier repetition too small a
    gain (9 % for noise SDs of 0.5 and 0.2 tissue SD).

    Parameters
    ----------
    data : (R, X, Y, Z) float array
        Aligned repetitions.
    mask : (X, Y, Z) bool array
        Brain mask.
    smoothing_voxels : float
        SD of the Gaussian kernel.

    Returns
    -------
    scales : list of LinearScale
        After `LinearScale.apply`, each repetition has in-mask mean 0 and SD 1.

    Raises
    ------
    ValueError
        If a repetition is constant inside the mask.
    """
    scales, smooth = [], MaskedSmoother(mask, smoothing_voxels)
    for index, image in enumerate(data):
        values = smooth.in_mask(image, np.float64)
        gain = float(values.std())
        if not gain > 1e-6 * max(abs(float(values.mean())), 1e-30):
            raise ValueError(f"repetition {index + 1} is constant inside the brain mask")
        scales.append(LinearScale(gain=gain, offset=float(values.mean())))
    return scales


def z_scales(data: NDArray[np.float32], mask: Mask) -> list[LinearScale]:
    """Plain in-mask z-scores, as in the start code of Noise2Average.

    Parameters and errors as for `match_scales`.
    """
    return match_scales(data, mask, smoothing_voxels=1e-3)


_NEGLIGIBLE_GAIN = 0.005
"""Noise alone makes mean intensities differ by this much."""
_SAMPLES, _FAR = 100_000, 10.0
"""Voxels that tell the range of an image, and how many times as far as 1 % of them from the median
others are no part of it."""
_LEAST_MEAN = 0.5
"""Of the mean magnitude: values around zero, as of standardised images, have a mean that tells no gain."""


def with_equal_gain(repetitions: Repetitions) -> NDArray[np.float32]:
    """Repetitions in the intensity unit of the first; zero stays zero, as magnitudes need.

    The mean in the mask is matched; in diffusion series that of the volumes of lowest b-value, which lie
    well above the noise floor: of the others, a noisier repetition would seem brighter than it is.

    Returns
    -------
    matched : (R, X, Y, Z, C) array
        The data themselves where gains differ by less than noise makes them, or nothing tells them.
    """
    data, gradients = repetitions.data, repetitions.gradients
    bright = np.ones(data.shape[-1], bool)
    if gradients is not None:
        shells = find_shells(gradients)
        bright = shells == shells.min()
    gains = equal_gains(data, repetitions.mask, bright)
    if (gains == 1).all():
        return data
    return data * gains.astype(np.float32)[:, None, None, None, None]


def _inside(series: Volume, mask: Mask, channels: NDArray[np.bool_] | slice) -> NDArray[np.floating]:
    """(N, C) values of some channels in a mask."""
    # A mask of the shape of the image takes no table of indices, which is six times as large.
    return (series[mask] if series.shape[-1] > 1 else series[..., 0][mask][:, None])[:, channels]


def _within_usual_range(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(N,) whether all channels are part of the image: no farther off than ten times 1 % of the voxels.

    All are, where 1 % are no farther than the median, as of few counts.
    """
    low, middle, high = np.percentile(values[:: max(1, len(values) // _SAMPLES)], (1, 50, 99))
    below, above = (float(_FAR * distance) or np.inf for distance in (middle - low, high - middle))
    return (values >= middle - below).all(axis=1) & (values <= middle + above).all(axis=1)


def _counted(
    data: NDArray[np.floating], mask: Mask, channels: NDArray[np.bool_] | slice
) -> NDArray[np.bool_] | slice:
    """Voxels of the mask that are part of the image in all repetitions; all where none are."""
    sound = np.ones(np.count_nonzero(mask), bool)
    for series in data:
        sound &= _within_usual_range(_inside(series, mask, channels))
    return sound if sound.any() and not sound.all() else slice(None)


def _levels(values: NDArray[np.floating]) -> tuple[float, float]:
    """Mean, and mean magnitude."""
    return float(values.mean()), float(np.abs(values).mean())


def equal_gains(
    data: NDArray[np.floating], mask: Mask, channels: NDArray[np.bool_] | slice = slice(None)
) -> NDArray[np.float64]:
    """Factors that give repetitions the mean of the first in a mask.

    Parameters
    ----------
    data : (R, X, Y, Z, C) array
    mask : (X, Y, Z) bool array
    channels : (C,) bool array or slice
        Those that are compared.

    Returns
    -------
    gains : (R,) float array
        All 1 where they differ by less than noise makes them, or values lie around zero. Voxels that are far
        outside the range of any repetition (cosmic rays, defects of a detector) do not count.
    """
    counted = _counted(data, mask, channels)
    levels, magnitudes = np.array([_levels(_inside(series, mask, channels)[counted]) for series in data]).T
    if (np.abs(levels) < _LEAST_MEAN * magnitudes).any():
        return np.ones(len(data))
    gains = levels[0] / levels
    return np.ones(len(data)) if np.abs(gains - 1).max() < _NEGLIGIBLE_GAIN else gains
