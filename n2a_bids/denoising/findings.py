"""What is measured on a result and said of it: numbers, the noise model, and warnings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.noise.single_image import estimate_noise
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.denoising.image_quality import compare_quality
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.denoising.measures import measure, measure_errors, micrograph_noise_map, noise_sd_map
from n2a_bids.denoising.noise_model import describe_noise
from n2a_bids.denoising.warnings import (
    alignment_warnings,
    filter_warnings,
    gap_warnings,
    residual_warnings,
)
from n2a_bids.record.denoising import DenoisingRecord

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
    record = replace(record, **compare_quality(repetitions, mean, denoised.data, noise_sd))
    record = replace(record, noise_model=describe_noise(repetitions, noise_sd, denoised.data, job.stored))
    warnings = [*alignment_warnings(repetitions, record), *residual_warnings(repetitions, record)]
    warnings += gap_warnings(repetitions) if job.measured is None else []
    warnings += filter_warnings(record)
    return replace(record, warnings=(*record.warnings, *warnings))
