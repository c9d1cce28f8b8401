"""Decides which noise floor repetitions have: none, Rician (one coil) or noncentral chi (several coils)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.constant_places import find_zero_layers, near_any
from n2a_bids.algorithms.noise.air import (
    Magnitude,
    darkest_plateau,
    find_air,
    find_magnitude,
    possible_air,
)
from n2a_bids.algorithms.noise.estimate import difference_noise_sd, typical_variance
from n2a_bids.algorithms.noise.noncentral_chi import (
    chi_bias,
    chi_mean_of_air,
    coils_of_air,
    coils_of_brain,
    noise_sd_of_coils,
)
from n2a_bids.algorithms.normalization import Mask, Volume
from n2a_bids.algorithms.repetitions import spread_channels

_MAGNITUDE_AGREEMENT = (0.6, 1.6)
"""Air and brain noise of a single-channel magnitude image agree within this ratio."""

_LEAST_COILS = 1.5
_COILS_AGREEMENT = (0.4, 1.4)
"""Coils by the noise of the brain over coils by the air alone. Simulated: 1.0 without correlation, 0.5 for 8
coils whose noise correlates by 0.3; Gaussian noise about an offset: 2."""
_WORTH_A_WORD = 0.3
"""Bias of the median of the brain over the noise SD of one repetition, from which on a floor is named."""
_LEAST_ASYMMETRY = 1.13
"""Of the air's noise, halfway between Gaussian and Rayleigh; with 500 voxels it scatters by 0.08."""
_RICIAN_ASYMMETRY = 1.19
"""Above, air is Rician whatever its zero: 1.26, of four coils 1.10, which scatter likewise."""
_AGREEMENT_OF_OFFSET = 0.78
"""Rician noise about an offset looks like coils on which brain and air agree by 0.86; of 8 coils whose noise
correlates by 0.3 it is 0.71."""
_SHIFTED_ZERO = 0.3
"""Noise SDs that the zero of Rician air may lie above the intensity zero."""
_RAYLEIGH_SD = np.sqrt(2 - np.pi / 2)
"""SD of a magnitude without signal, in noise SDs of the real part."""
_AIR_VOLUMES = 8
"""Of each diffusion series: their air holds ten thousands of voxels."""
_NEAR_HEAD = 12
"""Voxels around the head in which the noise of the air is compared with that of the head."""


def find_magnitudes(
    images: NDArray[np.float32], air: Mask, brain_noise: float
) -> tuple[Magnitude, ...] | None:
    """Zero level of every image, where the air of all says that they are magnitudes with Rician noise.

    Parameters
    ----------
    images : (R, X, Y, Z) float array
        Aligned images, whose noise may be unequally strong.
    air : (X, Y, Z) bool array
        Voxels of noise alone, as `find_air` gives them.
    brain_noise : float
        Noise SD of one image in the brain, root mean square over all.

    Returns
    -------
    magnitudes : tuple of Magnitude, or None
        One for each image; ``None`` where air is missing, or shows other noise than the brain.
    """
    if len(images) < 2:
        return None
    found = [find_magnitude(image, air) for image in images]
    if any(magnitude is None for magnitude in found):
        return None
    low, high = _MAGNITUDE_AGREEMENT
    if not low < np.sqrt(np.mean([one.air_noise_sd**2 for one in found])) / brain_noise < high:
        return None
    # The reference was not interpolated: it still shows what kind of noise all of them had.
    if max(magnitude.asymmetry for magnitude in found) < _LEAST_ASYMMETRY:
        return None
    return tuple(found)


def find_uneven_magnitudes(
    images: NDArray[np.float32],
    head: Mask,
    noise_sd: Volume,
    zeros: Sequence[float],
    shared: Mask | None = None,
) -> tuple[Magnitude, ...] | None:
    """The same where the noise of air varies from place to place, as after parallel imaging.

    Each place is taken over its own noise, which the differences of the images tell: then Rician air is
    alike all over. The zero has to be the intensity zero, since an offset over uneven noise is uneven.

    Parameters
    ----------
    images : (R, X, Y, Z) float array
        As in `find_magnitudes`.
    head : (X, Y, Z) bool array
        Where there is signal.
    noise_sd : (X, Y, Z) float array
        Noise SD of one image, root mean square over all.
    zeros : sequence of float
        Where the intensity zero of each image is, in the unit of `images`.
    shared : (X, Y, Z) bool array, optional
        Where all images were measured; everywhere by default.

    Returns
    -------
    magnitudes : tuple of Magnitude, or None
        As of `find_magnitudes`; their noise is the median near the head.
    """
    if len(images) < 2:
        return None
    outside = possible_air(images, head, shared)
    if not outside.any():
        return None
    air_sd = difference_noise_sd(images, outside) / np.float32(_RAYLEIGH_SD)
    over_noise = np.stack([(image - zero) / air_sd for image, zero in zip(images, zeros, strict=True)])
    air = darkest_plateau(over_noise, outside, 1.0)
    found = [find_magnitude(image, air) for image in over_noise]
    near = air & ndimage.binary_dilation(head, iterations=_NEAR_HEAD)
    if any(one is None for one in found) or not near.any():
        return None
    level = float(np.median(air_sd[near]))
    low, high = _MAGNITUDE_AGREEMENT
    agree = low < float(np.median(air_sd[near] / noise_sd[near])) < high
    is_rayleigh = (
        all(abs(one.zero_level) < _SHIFTED_ZERO and low < one.air_noise_sd < high for one in found)
        and max(one.asymmetry for one in found) > _RICIAN_ASYMMETRY
    )
    if not (agree and is_rayleigh):
        return None
    return tuple(Magnitude(zero, level, one.asymmetry) for zero, one in zip(zeros, found, strict=True))


@dataclass(frozen=True, slots=True)
class Floor:
    """What the air says about the noise floor."""

    magnitude: Magnitude | None = None
    left: str = ""
    """A sentence, where there may be a floor of several coils that is left."""
    agreement: float = 0.0
    """Of several coils: their number by the noise of the brain over that by the air alone."""


def find_floor(
    images: NDArray[np.float32],
    mask: Mask,
    head: Mask,
    noise_sd: Volume,
    shared: Mask | None,
    zeros: Sequence[float],
) -> Floor:
    """What the air of repetitions of one contrast says: Rician noise, that of several coils, or neither.

    Parameters
    ----------
    images, head, noise_sd, shared, zeros
        As in `find_uneven_magnitudes`.
    mask : (X, Y, Z) bool array
        Brain mask.

    Returns
    -------
    floor : Floor
        Its zero level is the mean over the repetitions.
    """
    brain_noise = float(np.median(noise_sd[mask]))
    air = find_air(images, mask, brain_noise, shared)
    found = find_magnitudes(images, air, brain_noise)
    if found is None:
        coils = _find_coils(images, mask, air, brain_noise, zeros)
        found = None if coils.magnitude else find_uneven_magnitudes(images, head, noise_sd, zeros, shared)
        if found is None:
            return coils
    rician = Magnitude(
        zero_level=float(np.mean([magnitude.zero_level for magnitude in found])),
        air_noise_sd=float(np.mean([magnitude.air_noise_sd for magnitude in found])),
        asymmetry=max(magnitude.asymmetry for magnitude in found),
    )
    # Few coils with correlated noise look nearly Rician, but about a zero that is none.
    is_shifted = rician.zero_level > np.mean(zeros) + _SHIFTED_ZERO * rician.air_noise_sd
    coils = _find_coils(images, mask, air, brain_noise, zeros) if is_shifted else Floor()
    if coils.magnitude is None:
        return Floor(rician)
    if rician.asymmetry < _RICIAN_ASYMMETRY or coils.agreement < _AGREEMENT_OF_OFFSET:
        return coils
    return Floor(
        rician,
        "the air around the head looks like Rician noise whose zero is no intensity of 0: if no offset was "
        "added to the images, several receive coils were combined, and part of their noise floor is left in",
    )


def find_series_coils(
    series: NDArray[np.float32],
    mask: Mask,
    brain_noise: float,
    noise_kept: float = 1.0,
    shared: Mask | None = None,
) -> Floor:
    """What the air of strongly weighted volumes says of the coils of a diffusion series.

    Parameters
    ----------
    series : (R, X, Y, Z, C) float array
        Magnitudes of one shell, whose zero is 0; two volumes or more.
    mask : (X, Y, Z) bool array
        Brain mask.
    brain_noise : float
        SD of the complex noise of one volume in the brain, told as if of one coil.
    noise_kept : float
        Part of the noise SD that interpolation left in the series.
    shared : (X, Y, Z) bool array, optional
        Where all were measured; everywhere by default.

    Returns
    -------
    floor : Floor
        Without a magnitude where nothing speaks for several coils.
    """
    volumes = series[..., spread_channels(series.shape[-1], _AIR_VOLUMES)]
    images = np.moveaxis(volumes, -1, 1).reshape(-1, *mask.shape)
    # What one volume did not see, since it was moved, is 0: the mean is darker there than air.
    unseen = [near_any(find_zero_layers(image)) for image in images]
    seen = ~np.logical_or.reduce(unseen, initial=False)
    air = find_air(images, mask, brain_noise, seen if shared is None else seen & shared)
    if len(images) < 2 or not air.any():
        return Floor()
    values = images[:, air].astype(np.float64)
    # Over the volumes: what the air of all shows alike is no noise.
    mean, sd = float(values.mean()), float(np.sqrt(typical_variance(values.T))) / noise_kept
    signal = float(np.median(images.mean(axis=0)[mask]))
    if sd > 0:
        brain_noise = noise_sd_of_coils(signal, brain_noise, coils_of_air(mean, sd))
    return _judge_coils(mean, sd, signal, brain_noise, 0.0)


def _find_coils(
    images: NDArray[np.float32], mask: Mask, air: Mask, brain_noise: float, zeros: Sequence[float]
) -> Floor:
    """The floor of coils that were combined by the root sum of squares, by the air of repetitions."""
    if len(images) < 2 or not air.any():
        return Floor()
    values = [image[air].astype(np.float64) - zero for image, zero in zip(images, zeros, strict=True)]
    mean = float(np.mean([one.mean() for one in values]))
    # Interpolation makes air smoother; the reference was not interpolated.
    sd, zero = max(float(one.std()) for one in values), float(np.mean(zeros))
    return _judge_coils(mean, sd, float(np.median(images.mean(axis=0)[mask])) - zero, brain_noise, zero)


def _judge_coils(mean: float, sd: float, signal: float, brain_noise: float, zero: float) -> Floor:
    """The floor of several coils, where air and brain agree on their number.

    The air tells how many there are by its mean over its SD, and together with the noise of the brain by its
    mean square. Correlated noise makes the second number smaller, never larger; of noise about an offset it
    is twice the first.

    Parameters
    ----------
    mean, sd : float
        Of the air, above the zero.
    signal : float
        Of the brain, likewise.
    brain_noise : float
        Noise SD of the brain.
    zero : float
        Intensity of zero signal.
    """
    if mean <= 0 or sd <= 1e-6 * mean:
        return Floor()
    of_air, of_brain = coils_of_air(mean, sd), coils_of_brain(mean, sd, brain_noise)
    if of_air < _LEAST_COILS:
        return Floor()
    low, high = _COILS_AGREEMENT
    if of_brain >= _LEAST_COILS and low < of_brain / of_air < high:
        magnitude = Magnitude(zero, mean / float(chi_mean_of_air(of_brain)), 1.0, of_brain)
        return Floor(magnitude, agreement=of_brain / of_air)
    if chi_bias(np.array(signal), brain_noise, of_brain) < _WORTH_A_WORD * brain_noise:
        return Floor()
    return Floor(
        left=f"the air around the head looks like the noise of {of_air:.0f} receive coils, the brain says "
        f"{of_brain:.1f}: since they do not agree, the noise floor of several coils is left in"
    )
