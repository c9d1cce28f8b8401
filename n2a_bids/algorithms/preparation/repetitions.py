"""Prepares T1w repetitions for `auto`: one scale, weights, noise map, removal of the noise floor, head."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.averaging import RepetitionWeights, equal_weights
from n2a_bids.algorithms.gaussian import gaussian_blur
from n2a_bids.algorithms.nn.blocks import Index
from n2a_bids.algorithms.noise.air import Magnitude
from n2a_bids.algorithms.noise.covariance import NoiseCovariance
from n2a_bids.algorithms.noise.covariance_estimates import difference_covariance
from n2a_bids.algorithms.noise.estimate import brain_and_head_noise_sd
from n2a_bids.algorithms.noise.noncentral_chi import (
    chi_bias,
    without_chi_floor,
)
from n2a_bids.algorithms.normalization import LinearScale, Mask, Volume, apply_scales, match_scales
from n2a_bids.algorithms.preparation.background import find_noisy_background
from n2a_bids.algorithms.preparation.noise_floor import Floor, find_floor
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions, averaged
from n2a_bids.record.denoising import StrategyRecord


@dataclass(frozen=True, slots=True)
class Prepared:
    """Repetitions of one signal, in one scale."""

    images: NDArray[np.float32]
    """(R, X, Y, Z) z-scores: in-mask mean 0 and (noise-free) SD 1."""
    scales: tuple[LinearScale, ...]
    """Back to the intensities of each repetition."""
    mask: Mask
    head: Mask
    """Where there is signal."""
    weighting: RepetitionWeights
    """Of the average; equal unless the noise is clearly unequal."""
    repetition_noise_sd: Volume
    """Root-mean-square noise SD of one repetition, z-scores."""
    magnitude: Magnitude | None
    """In z-scores; ``None`` where no noise floor is found."""
    floor_left: str = ""
    """A sentence where there seems to be a floor of several coils, which is left."""
    n_measured: NDArray[np.uint8] | NDArray[np.float32] | None = None
    """(X, Y, Z) as in `Repetitions`."""
    background: Mask | None = None
    """Air that is far noisier than the brain, as in UNIT1; it stays as averaged. None where there is none."""
    covariance: NoiseCovariance | None = None
    """Of the noise; None where it is white within measurement."""

    @property
    def average(self) -> Volume:
        """Weighted mean of the repetitions."""
        return np.tensordot(self.weighting.weights.astype(np.float32), self.images, axes=1)

    @property
    def average_noise_sd(self) -> Volume:
        """Noise SD of the average: larger where fewer repetitions were measured."""
        noise_sd = self.repetition_noise_sd * np.float32(self.weighting.noise_factor)
        if self.n_measured is None:
            return noise_sd
        return noise_sd * np.sqrt(np.float32(len(self.images)) / averaged(self.n_measured))

    def average_noise_variance(self, place: Index) -> float:
        """Noise variance of the average in the brain part of a box, from how the repetitions differ there.

        Sure, without any window or model, where the map of the noise is one of what is usual around: its caps
        leave out vessels and whatever else was unlike in one repetition. Voxels that some repetition did not
        measure do not count, unless there are no others.
        """
        counted = self.mask[place]
        if self.n_measured is not None:
            everywhere = counted & (self.n_measured[place] == len(self.images))
            counted = everywhere if everywhere.any() else counted
        return self.weighting.measured_variance(self.images[(slice(None), *place)][:, counted])

    def bias(self, clean: Volume, noise_sd: Volume) -> Volume | float:
        """Bias of the average by the noise floor of magnitudes, Rician or of several coils; 0 without one.

        Parameters
        ----------
        clean : (X, Y, Z) float array
            Signal without noise, z-scores.
        noise_sd : (X, Y, Z) float array
            Root-mean-square noise SD of one repetition.
        """
        if self.magnitude is None:
            return 0.0
        signal = clean - np.float32(self.magnitude.zero_level)
        if not self.weighting.is_weighted:
            return chi_bias(signal, noise_sd, self.magnitude.n_coils)
        parts = zip(self.weighting.weights, self.weighting.variance_ratio)
        return sum(
            np.float32(weight)
            * chi_bias(signal, noise_sd * np.float32(np.sqrt(ratio)), self.magnitude.n_coils)
            for weight, ratio in parts
        )

    def estimated_bias(self, estimate: Volume, noise_sd: Volume) -> Volume | float:
        """The same from what a network makes of the average: it takes Rician bias out, and no other."""
        if self.magnitude is None or self.magnitude.n_coils <= 1:
            return self.bias(estimate, noise_sd)
        zero = np.float32(self.magnitude.zero_level)
        signal = without_chi_floor(estimate - zero, noise_sd, self.magnitude.n_coils)
        return self.bias(zero + signal, noise_sd)


def prepare(repetitions: Repetitions, *, keep_noise_floor: bool = False) -> Prepared:
    """Match intensities, estimate noise, and find the Rician floor.

    Parameters
    ----------
    repetitions : Repetitions
        At least two repetitions of one signal; their first channel is taken.
    keep_noise_floor : bool
        Do not look for the Rician floor: treat magnitudes as if their noise were Gaussian.

    Raises
    ------
    ValueError
        If a repetition is constant in the mask, or a value is not finite.
    """
    data = repetitions.data[..., 0]
    if not np.isfinite(data).all():
        raise ValueError("the repetitions contain NaN or infinite values")
    mask = repetitions.mask
    scales = match_scales(data, mask)
    images = apply_scales(scales, data)
    n_repetitions, shared = len(images), repetitions.shared
    background = find_noisy_background(images, mask) if n_repetitions > 1 else None
    head = find_head(images.mean(axis=0), mask)
    if background is not None:
        head &= ~background
    compared = head if shared is None else head & shared
    noise_sd = (
        brain_and_head_noise_sd(images, compared & mask, compared)
        if n_repetitions > 1
        else np.zeros(mask.shape, np.float32)
    )
    zeros = [-scale.offset / scale.gain for scale in scales]
    has_none = keep_noise_floor or repetitions.real_valued
    floor = Floor() if has_none else find_floor(images, mask, head, noise_sd, shared, zeros)
    return Prepared(
        images=images,
        scales=tuple(scales),
        mask=mask,
        head=head,
        weighting=equal_weights(n_repetitions),
        repetition_noise_sd=noise_sd,
        magnitude=floor.magnitude,
        floor_left=floor.left,
        n_measured=repetitions.n_measured,
        background=background,
        covariance=_find_covariance(images, noise_sd, mask, shared),
    )


def _find_covariance(
    images: NDArray[np.float32], noise_sd: Volume, mask: Mask, shared: Mask | None
) -> NoiseCovariance | None:
    """What neighbours share of the noise; None where that is nothing, or one image cannot tell."""
    if len(images) < 2:
        return None
    covariance = difference_covariance(images, noise_sd, mask, shared)
    return None if covariance.is_white else covariance


def restore(prepared: Prepared, estimate: Volume, record: StrategyRecord) -> DenoisedImage:
    """Back to the intensities of the first repetition, never below what the average contains.

    Parameters
    ----------
    estimate : (X, Y, Z) float32 array
        Denoised image in z-scores. Magnitudes stay positive in the air, whatever a network says.
    record : StrategyRecord
        What the strategy tells.
    """
    scale = prepared.scales[0]
    average = prepared.average
    estimate = np.maximum(estimate, average.min()) - np.float32(_floor_of_first(prepared, estimate))
    if prepared.background is not None:
        estimate = np.where(prepared.background, average, estimate)
    return DenoisedImage(
        data=scale.invert(estimate)[..., None],
        noise_sd=(prepared.repetition_noise_sd * np.float32(scale.gain))[..., None],
        record=record,
    )


def _floor_of_first(prepared: Prepared, estimate: Volume) -> float:
    """Mean noise floor of the first repetition, in the brain, over that of the average; z-scores.

    Repetitions are brought to one mean, floor and all. Where the first is noisier than those of most weight,
    the average would be as bright as it.
    """
    if prepared.magnitude is None or not prepared.weighting.is_weighted:
        return 0.0
    alone = replace(prepared.weighting, weights=np.eye(len(prepared.images))[0])
    first = replace(prepared, weighting=alone)
    floors = [one.bias(estimate, prepared.repetition_noise_sd) for one in (first, prepared)]
    return float(np.mean((floors[0] - floors[1])[prepared.mask]))


def find_head(image: Volume, mask: Mask) -> Mask:
    """Voxels with signal: above Otsu's threshold of the smoothed image, joined with the mask, filled.

    Parameters
    ----------
    image : (X, Y, Z) float array
    mask : (X, Y, Z) bool array
        Brain mask: always part of the head.

    Returns
    -------
    head : (X, Y, Z) bool array
    """
    smooth = gaussian_blur(image, 1.5, 2.0)
    capped = np.minimum(smooth, np.percentile(smooth[mask], 90))
    head = mask | (capped > otsu_threshold(capped) - 0.25 * capped[mask].std())
    return ndimage.binary_fill_holes(ndimage.binary_closing(head, iterations=2) | mask)


def otsu_threshold(values: NDArray[np.floating]) -> float:
    """Threshold that splits values into the two classes of largest variance between (Otsu, 1979), to one bin.

    Examples
    --------
    >>> 0.95 < otsu_threshold(np.repeat([0.0, 1.0, 9.0, 10.0], 50)) < 9
    True
    """
    counts, edges = np.histogram(values, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centres[int(np.nanargmax(between[:-1]))])
