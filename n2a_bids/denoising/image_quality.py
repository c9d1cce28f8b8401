"""Quality of an anatomical image before and after denoising, by the definitions of MRIQC."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.noise.air import find_air
from n2a_bids.algorithms.preparation.repetitions import find_head
from n2a_bids.algorithms.quality.image_quality import measure_quality
from n2a_bids.algorithms.quality.tissues import find_tissues
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.record.denoising import ImageQualityRecord

Volumes = NDArray[np.float32]


def compare_quality(
    repetitions: Repetitions, mean: Volumes, denoised: Volumes, noise_sd: Volumes | None
) -> dict[str, ImageQualityRecord]:
    """Measure the plain mean and the denoised image in the same voxels.

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
