"""Noise floor of a diffusion series, of one coil or several: found in dark voxels and air, and taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.filters.learned import Series
from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.noise.noncentral_chi import SeriesFloor
from n2a_bids.algorithms.noise.rician import holds_magnitudes, plausible_signal
from n2a_bids.algorithms.noise.volume_noise import dark_noise_ratio, strongest_shell
from n2a_bids.algorithms.preparation.noise_floor import find_series_coils
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.dwi_groups import MEAN, VolumeGroup
from n2a_bids.record.denoising import StrategyRecord


@dataclass(frozen=True, slots=True)
class FoundFloor:
    """The floor of a series, and what is to be said of it."""

    floor: SeriesFloor
    left: str = ""
    """A sentence, where there may be a floor of several coils that is left."""

    def of_weighted(self, factor: float) -> SeriesFloor:
        """The floor of a weighted mean, whose noise counts by a factor."""
        return replace(self.floor, noise_factor=factor * self.floor.noise_factor)


def find_floor(
    matched: NDArray[np.float32],
    repetitions: Repetitions,
    noise_sd: NDArray[np.float32],
    shells: NDArray[np.float64],
) -> FoundFloor | None:
    """The noise floor of a series, if it has one.

    Parameters
    ----------
    matched : (R, X, Y, Z, C) array
        Repetitions of one gain.
    repetitions : Repetitions
        The same as they came.
    noise_sd : (X, Y, Z, C) array
        SD of the complex noise, as told from the brain.
    shells : (C,) array
        Rounded b-value of each volume.

    Returns
    -------
    found : FoundFloor or None
        None where intensities are no magnitudes.
    """
    box = bounding_box(repetitions.mask)
    series, mask = matched[(slice(None), *box)], repetitions.mask[box]
    if repetitions.real_valued or not holds_magnitudes(series, mask):
        return None
    ratio = dark_noise_ratio(series, mask, noise_sd[box], shells, repetitions.noise_kept)
    strongest = strongest_shell(shells, len(series))
    if strongest is None:
        return FoundFloor(SeriesFloor(ratio))
    brain_noise = float(np.median(noise_sd[box][mask][:, strongest]))
    found = find_series_coils(
        matched[..., strongest], repetitions.mask, brain_noise, repetitions.noise_kept, repetitions.shared
    )
    if found.magnitude is None:
        return FoundFloor(SeriesFloor(ratio), found.left)
    # The dark voxels seem quiet because they show the floor, not because noise grows with the signal.
    return FoundFloor(SeriesFloor(found.magnitude.air_noise_sd / brain_noise, found.magnitude.n_coils))


def with_floor(record: StrategyRecord, found: FoundFloor | None) -> StrategyRecord:
    """The record of a series with what is known of its floor; None where it was left."""
    if found is None:
        return replace(record, noise_floor_removed=False)
    n_coils = found.floor.n_coils
    return replace(
        record,
        noise_floor_removed=True,
        noise_floor_ratio=found.floor.noise_factor,
        n_coils=round(n_coils, 2) if n_coils > 1 else None,
        warnings=(*record.warnings, found.left) if found.left else record.warnings,
    )


def remove_floor(
    image: Series,
    groups: Sequence[VolumeGroup],
    gradients: Gradients,
    mask: NDArray[np.bool_],
    floor: SeriesFloor | None,
) -> None:
    """Take the bias of the floor out of a denoised series; a noisy mean that won would only get another bias.

    Parameters
    ----------
    image : (X, Y, Z, C) array
        Denoised; changed in place.
    groups : sequence of VolumeGroup
        Volumes denoised together, with their noise.
    gradients : Gradients
    mask : (X, Y, Z) bool array
    floor : SeriesFloor or None
        None leaves the image as it is.
    """
    if floor is None:
        return
    denoised = [group for group in groups if group.chosen != MEAN]
    for group in denoised:
        noise_sd = group.complex_sd[mask]
        # One volume at a time: long series must not be held in double precision.
        for volume, factor in zip(group.volumes, group.factors, strict=True):
            image[mask, volume] = floor.remove(image[mask, volume], factor * noise_sd)
    unweighted = np.flatnonzero(gradients.is_b0)
    b0 = image[..., unweighted][mask].mean(axis=1) if unweighted.size else None
    for group in denoised:
        for volume, factor in zip(group.volumes, group.factors, strict=True):
            signal, table = image[mask, volume][:, None], gradients.subset([volume])
            noise_sd = factor * group.complex_sd[mask][:, None]
            raised = plausible_signal(signal, b0, table.bvals, noise_sd, b0_threshold=table.b0_threshold)
            image[mask, volume] = raised[:, 0]
