"""What is measured on a result and said of it: numbers, the noise model, and warnings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.noise.air import find_air
from n2a_bids.algorithms.noise.single_image import estimate_noise
from n2a_bids.algorithms.preparation.repetitions import find_head
from n2a_bids.algorithms.quality.image_quality import measure_quality
from n2a_bids.algorithms.quality.tissues import find_tissues
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.denoising.measures import measure, measure_errors, micrograph_noise_map, noise_sd_map
from n2a_bids.denoising.noise_model import describe_noise
from n2a_bids.denoising.warnings import (
    alignment_warnings,
    filter_warnings,
    gap_warnings,
    residual_warnings,
)
from n2a_bids.record.denoising import DenoisingRecord, ImageQualityRecord

Volumes = NDArray[np.float32]


def find_noise_map(repetitions: Repetitions, denoised: DenoisedImage) -> Volumes | None:
    """Noise SD of one repetition: as the strategy found it, or from the images; None where unknown."""
    if denoised.noise_sd is not None:
        return denoised.noise_sd
    if repetitions.micrograph:
        return micrograph_noise_map(repetitions)
    if repetitions.n_repetitions > 1 or repetitions.data.shape[-1] > 1:
        return noise_sd_map(repetitions)
    try:
        return estimate_noise(repetitions.data[0, ..., 0], repetitions.mask).noise_sd[..., None]
    except ValueError:  # a lone image without noise
        return None


def add_findings(
    record: DenoisingRecord,
    job: DenoiseJob,
    repetitions: Repetitions,
    mean: Volumes,
    denoised: DenoisedImage,
    noise_sd: Volumes | None,
) -> DenoisingRecord:
    """Complete a record by what the images show.

    Parameters
    ----------
    record : DenoisingRecord
    job : DenoiseJob
    repetitions : Repetitions
    mean : (X, Y, Z, C) float array
        Plain mean.
    denoised : DenoisedImage
    noise_sd : (X, Y, Z, C) float array or None
        Of one repetition.
    """
    if repetitions.micrograph:
        # Borders of tissue, k-space and brains are no matter of these.
        return replace(record, **measure_errors(repetitions, denoised, noise_sd))
    record = replace(record, **measure(repetitions, mean, denoised, noise_sd))
    record = replace(record, **_image_quality(repetitions, mean, denoised.data, noise_sd))
    record = replace(record, noise_model=describe_noise(repetitions, noise_sd, denoised.data, job.stored))
    warnings = [*alignment_warnings(repetitions, record), *residual_warnings(repetitions, record)]
    warnings += gap_warnings(repetitions) if job.measured is None else []
    warnings += filter_warnings(record)
    return replace(record, warnings=(*record.warnings, *warnings))


def _image_quality(
    repetitions: Repetitions, mean: Volumes, denoised: Volumes, noise_sd: Volumes | None
) -> dict[str, ImageQualityRecord]:
    """Quality of the plain mean and of the denoised image by the definitions of MRIQC, in the same voxels.

    Parameters
    ----------
    repetitions : Repetitions
        The input.
    mean, denoised : (X, Y, Z, C) float arrays
        In the unit of the first repetition.
    noise_sd : (X, Y, Z, C) float array or None
        Noise SD of one repetition, in that unit; air is not looked for without it.

    Returns
    -------
    quality : dict
        By the names of `DenoisingRecord`; empty for diffusion, which MRIQC measures by motion and outliers.
    """
    if repetitions.gradients is not None:
        return {}
    mask = repetitions.mask
    before, after = mean[..., 0], denoised[..., 0]
    tissues = find_tissues(after, mask, repetitions.voxel_size_mm)
    head, air = find_head(before, mask), np.zeros_like(mask)
    if noise_sd is not None:
        level = float(np.median(noise_sd[mask])) / np.sqrt(repetitions.n_repetitions)
        air = find_air(before[None], mask, level, repetitions.shared) & ~head
    return {
        name: measure_quality(image, tissues, head, air)
        for name, image in (("quality_mean", before), ("quality_denoised", after))
    }
