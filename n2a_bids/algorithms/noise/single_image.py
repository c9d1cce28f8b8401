"""Noise level and map of a single image without repetitions: from flat tissue, and from its air.

Nothing was repeated, so that noise has to be told from structure by what it looks like. The finest diagonal
detail (a difference along all three axes) holds next to no anatomy where tissue is flat, and all of its power
is noise, if that is white. Anatomy can only add to it: the level is an upper one, by 3 % at SNR 40 and 1 mm.
Where neighbours share their noise, as after a filter, fine detail holds little of it: how alike they are is
told by detail that is fine across one axis after the other, and the level corrected by it.
Where voxels are coarse and noise is weak, fine detail is anatomy: its power then differs from one place to
the next by more than that of noise, and the level is lowered, and less sure.
The air of a single-channel magnitude image shows the level without any anatomy; where it is a little below
that of the tissue, it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from n2a_bids.algorithms.gaussian import gaussian_blur
from n2a_bids.algorithms.noise.air import Magnitude, find_air, find_magnitude, is_cut_off
from n2a_bids.algorithms.noise.covariance import NoiseCovariance
from n2a_bids.algorithms.noise.covariance_estimates import fine_covariance
from n2a_bids.algorithms.noise.estimate import finest_detail
from n2a_bids.algorithms.normalization import Mask, MaskedSmoother, Volume

_FLAT_PART = 0.25
"""Of the tissue, that with the least gradient. At SNR 10 to 40 the level of three heads (1 mm) comes out 0 to
4 % too high with a quarter, 0 to 5 % with the half, 0 to 12 % with all of it."""
_GRADIENT_SD_VOXELS = 1.5
_WINDOW_VOXELS = 5
_EROSIONS = 2
_MEDIAN_OF_VARIANCE = 0.983
"""Median of a mean of squares of the detail over a window, for noise of variance 1."""
_AIR_OVER_TISSUE, _AIR_LEVEL = (0.6, 0.75, 1.0), (1.0, 0.75, 1.0)
"""Noise SD of the air over that of the tissue, and the level over the latter, linear between these. The air
is believed from 0.75 to 1. Above, the tissue was smoothed or the noise is no white one; below 0.6, coils and
parallel imaging have made the brain noisier than the air, which tells nothing then."""
_ASYMMETRY = (1.13, 1.6)
"""Of the air's noise: from halfway between Gaussian and Rayleigh (1.26) on. Beyond, it is not noise alone:
dark voxels between the folds of a view without air (2.0) told a level 26 % too low."""
_LOW_QUANTILE, _LOW_OF_NOISE = 0.05, 0.72
"""Quantile of the local power of the detail, over its mean around, and what noise has of its median there:
0.70 to 0.76 where it is white, uneven or filtered, 0.25 to 0.5 in heads of 2 and 3 mm with noise of 3 %."""
_UNLIKELY_ANATOMY = 0.08
"""Part of the difference between that quantile and the median by which the quantile holds anatomy itself, if
the power of anatomy falls off exponentially."""
_SURELY_ANATOMY, _PERHAPS_NOISE = 0.85, 0.92
"""Level of noise over that of all detail: below the first it counts, above the second not. Real images of
1 mm have 0.93 and more."""
_CHANCE_LIKENESS, _LIKENESS_OF_ANATOMY = 0.2, 0.35
"""Rank correlation of the local power of fine and of coarser detail: up to the first it is noise that differs
from place to place, from the second on anatomy. Noise that was interpolated linearly, whose power beats with
the grid, has 0.15 to 0.17; real runs of 1 mm 0.19 to 0.24; heads of 2 and 3 mm with little noise 0.5 and
more."""
_COARSER_SDS_VOXELS = (0.8, 1.6)
_MAP_SD_VOXELS = 10.0
_UNIFORM = 1.35
"""Ratio of the map's 95th and 5th percentile up to which it is the scatter of one level."""
_BASE_UNCERTAINTY = 0.05
_CORRELATED_AIR = 1.2
_LARGEST_STEP = 0.5
"""Of stored intensities, in noise SDs: with larger ones percentiles of the air tell no level."""
_COARSEST_STEP = 3.0
"""The same of the brain: noise that is weaker than a third of the steps leaves most values as they are."""
_SAMPLE = 20_000
_DIFFERENCE = np.array([-1.0, 2.0, -1.0]) / np.sqrt(6)
"""Second difference of the SD of white noise: where noise is coloured and weak, first ones hold more anatomy
than noise, which a correction would multiply."""
_LEAST_KEPT = 0.02
"""Part of the noise variance that differences along all axes must keep."""
_COLOUR_UNCERTAINTY = 0.1
"""Of the logarithm by which the level is corrected."""


@dataclass(frozen=True, slots=True)
class NoiseOfOneImage:
    """What one image tells of its noise, in its own intensity."""

    noise_sd: Volume
    """(X, Y, Z) float32."""
    level: float
    """Typical SD in the tissue."""
    uncertainty: float
    """Relative error that the level may have."""
    magnitude: Magnitude | None
    """Zero level, where the air shows magnitudes with Rician noise of this level."""
    saw_air: bool
    """Whether there is air that shows noise."""
    is_correlated: bool
    """Whether the air is clearly noisier than the tissue by its finest detail: neighbours share more of their
    noise than `covariance` says."""
    covariance: NoiseCovariance | None
    """Of the noise of neighbours; None where it is white within measurement."""


def estimate_noise(
    image: Volume, mask: Mask, as_stored: tuple[Volume, Mask] | None = None
) -> NoiseOfOneImage:
    """Noise SD of one image, in space.

    Parameters
    ----------
    image : (X, Y, Z) float array
        As acquired: white noise, Gaussian or Rician. Zeros in air, face or skull do no harm.
    mask : (X, Y, Z) bool array
        Brain mask.
    as_stored : tuple of image and mask, optional
        The image before frequencies were cut off, whose air has the distribution of magnitudes; of voxels so
        far apart that their noise is independent.

    Raises
    ------
    ValueError
        If the image has no noise in the brain (SD 0, or a few values far apart): nothing can be estimated.
    """
    power = _local_power(finest_detail(np.asarray(image, np.float32)))
    flat, less_flat = _flat_tissue(image, mask)
    white_sd = float(np.sqrt(np.median(power[flat]) / _MEDIAN_OF_VARIANCE))
    covariance, detail_sd = _find_colour(image, flat, less_flat, white_sd)
    noise_part = _part_of_noise(image, power, flat)
    tissue_sd = noise_part * detail_sd
    if not tissue_sd > 0:
        raise ValueError("no noise is seen in the brain: its flat tissue has the same values everywhere")
    step = _step(image[mask])
    if step > _COARSEST_STEP * tissue_sd:
        raise ValueError(
            f"no noise is seen in the brain: its values lie {step:.3g} apart, as those of labels or drawings"
        )
    stored, stored_mask = (image, mask) if as_stored is None else as_stored
    air = find_air(stored[None].astype(np.float32), stored_mask, tissue_sd)
    found = find_magnitude(stored, air)
    least, most = _ASYMMETRY
    is_rayleigh = found is not None and least < found.asymmetry < most and _is_fine(stored[air], tissue_sd)
    ratio = found.air_noise_sd / tissue_sd if is_rayleigh else 1.0
    level = tissue_sd * float(np.interp(ratio, _AIR_OVER_TISSUE, _AIR_LEVEL))
    is_noise = noise_part > _PERHAPS_NOISE
    relative = _relative_map(power, flat, mask) if is_noise else np.ones(mask.shape, np.float32)
    colour = 0.0 if covariance is None else _COLOUR_UNCERTAINTY * abs(float(np.log(detail_sd / white_sd)))
    return NoiseOfOneImage(
        noise_sd=(np.float32(level) * relative).astype(np.float32),
        level=level,
        uncertainty=_BASE_UNCERTAINTY
        + abs(float(np.log(tissue_sd / level))) / 2
        + colour
        - float(np.log(noise_part)),
        magnitude=found if is_rayleigh and _AIR_OVER_TISSUE[0] < ratio < 1.6 else None,
        saw_air=found is not None or (bool(air.any()) and is_cut_off(stored[air])),
        is_correlated=bool(is_rayleigh and ratio > _CORRELATED_AIR),
        covariance=covariance,
    )


def single_image_covariance(image: Volume, mask: Mask) -> NoiseCovariance:
    """Covariance of the noise of one image, from the flat part of its tissue.

    Parameters
    ----------
    image : (X, Y, Z) float array
        As stored.
    mask : (X, Y, Z) bool array
        Brain mask.
    """
    return fine_covariance(image, *_flat_tissue(image, mask))


def _find_colour(
    image: Volume, flat: Mask, less_flat: Mask, white_sd: float
) -> tuple[NoiseCovariance | None, float]:
    """Covariance of coloured noise, and the SD of all of it; None and the given SD where it is white."""
    covariance = fine_covariance(image, flat, less_flat)
    if covariance.is_white or not white_sd > 0:
        return None, white_sd
    kept, detail = 1.0, np.asarray(image, np.float32)
    for axis, (none, one, two) in enumerate(covariance.along_axes[:, :3]):
        detail = ndimage.correlate1d(detail, _DIFFERENCE, axis=axis, mode="nearest")
        kept *= float(none - 4 / 3 * one + two / 3)
    if kept < _LEAST_KEPT:
        return None, white_sd
    power = np.median(_local_power(detail)[flat])
    return covariance, float(np.sqrt(power / _MEDIAN_OF_VARIANCE / kept))


def _is_fine(values: NDArray[np.floating], noise_sd: float) -> bool:
    """Whether steps of the stored intensities are too small to show in the spread of the air."""
    return _step(values[:_SAMPLE]) < _LARGEST_STEP * noise_sd


def _step(values: NDArray[np.floating]) -> float:
    """Typical distance of values from the next larger ones; infinite for one value."""
    steps = np.diff(np.unique(values[:: max(1, values.size // _SAMPLE)]))
    return float(np.median(steps)) if steps.size else float("inf")


def _local_power(detail: NDArray[np.float32]) -> NDArray[np.float32]:
    """Local mean square."""
    return ndimage.uniform_filter(np.square(detail), _WINDOW_VOXELS)


def _flat_tissue(image: Volume, mask: Mask) -> tuple[Mask, Mask]:
    """The part of the tissue in which fine detail is noise, and as much of the rest, the flattest of it."""
    inner = ndimage.binary_erosion(mask, iterations=_EROSIONS)
    inner = inner if inner.any() else mask
    slope = ndimage.gaussian_gradient_magnitude(np.asarray(image, np.float32), _GRADIENT_SD_VOXELS)
    flat, both = (inner & (slope <= np.quantile(slope[inner], part * _FLAT_PART)) for part in (1, 2))
    return flat, both & ~flat


def _part_of_noise(image: Volume, power: NDArray[np.float32], flat: Mask) -> float:
    """Level of the noise over that of all fine detail, with anatomy in it; 1 where that is next to none.

    Noise may be uneven, but is so over long distances: near by, all windows hold about as much of it. Where
    there is anatomy, there is some of all sizes.
    """
    typical = float(np.median(power[flat]))
    # Windows of a few slices hold too little to be alike.
    if min(power.shape) < _WINDOW_VOXELS or not typical > 0:
        return 1.0
    around = MaskedSmoother(flat, _MAP_SD_VOXELS)(np.minimum(power, np.float32(4 * typical)))[flat]
    ratio = power[flat] / np.maximum(around, np.finfo(np.float32).tiny)
    low, median = np.quantile(ratio, (_LOW_QUANTILE, 0.5))
    part = min(1.0, float(low / (_LOW_OF_NOISE * median)))
    part = max(part - _UNLIKELY_ANATOMY * (1 - part), 0.01)
    known = [0.0, _SURELY_ANATOMY, _PERHAPS_NOISE, 1.0]
    part = float(np.interp(np.sqrt(part), known, [0.0, _SURELY_ANATOMY, 1.0, 1.0]))
    if part == 1:
        return 1.0
    fine, coarse = (gaussian_blur(np.asarray(image, np.float32), sd, 3.0) for sd in _COARSER_SDS_VOXELS)
    step = max(1, ratio.size // _SAMPLE)
    likeness = stats.spearmanr(ratio[::step], _local_power(fine - coarse)[flat][::step]).statistic
    # None of a band of one value.
    is_anatomy = float(np.interp(np.nan_to_num(likeness), (_CHANCE_LIKENESS, _LIKENESS_OF_ANATOMY), (0, 1)))
    return 1 - is_anatomy * (1 - part)


def _relative_map(power: NDArray[np.float32], flat: Mask, mask: Mask) -> NDArray[np.float32]:
    """Noise SD over its typical value; 1 everywhere where it varies by no more than estimates scatter."""
    smooth = MaskedSmoother(flat, _MAP_SD_VOXELS)
    typical = float(np.median(power[flat]))
    local = smooth(np.minimum(power, np.float32(4 * typical)))
    reached = smooth(flat.astype(np.float32)) > 0
    ratio = np.sqrt(np.where(reached, local / np.float32(typical), 1)).astype(np.float32)
    low, high = np.percentile(ratio[mask], [5, 95])
    if high < _UNIFORM * low:
        return np.ones_like(ratio)
    return np.clip(ratio / np.median(ratio[mask]), 0.4, 2.5)
