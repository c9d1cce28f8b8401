"""Judges the alignment of diffusion series by the correlation of their b0s."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.normalization import Volume
from n2a_bids.algorithms.quality.alignment_checks import (
    AlignmentQC,
    QCThresholds,
    motion_reasons,
    rounded_down,
)
from n2a_bids.algorithms.registration.noise_attenuation import PairNoise
from n2a_bids.algorithms.registration.placed_images import (
    SURELY_ALIKE,
    PlacedImage,
    compared_scales,
    mirror_reasons,
)
from n2a_bids.algorithms.registration.similarity import NO_NOISE, smooth_correlation, structure_correlation
from n2a_bids.algorithms.shading import relative_shading
from n2a_bids.algorithms.transforms import Affine, voxel_sizes_mm

_THICK_SLICES = 2.0
"""Over the voxels within them: a head that turned shows other parts of itself in them."""


def judge_series(
    reference: PlacedImage,
    before: Volume,
    after: Volume,
    seen: NDArray[np.bool_],
    transform: Affine,
    thresholds: QCThresholds,
    noise: PairNoise | None = None,
    whole: NDArray[np.bool_] | None = None,
) -> AlignmentQC:
    """Measure how well a series was aligned, and say whether it may be used.

    Parameters
    ----------
    reference : PlacedImage
        Mean b0 of the first series, corrected.
    before, after : (X, Y, Z) arrays
        Mean b0 of the series on the grid of the reference, as the headers say and as aligned.
    seen : (X, Y, Z) bool array
        Where the reference grid lies in the field of view of the series.
    transform : Affine
        World of the reference to world of the series.
    thresholds : QCThresholds
        After alignment, b0s of two heads have a correlation of up to 0.75 and, with voxels of 3.5 mm, a
        structure correlation of up to 0.8; those of one head have 0.97 and more, or 0.85 where distortion
        remains.
    noise : PairNoise, optional
        Of the b0s as acquired: what it takes from their correlation is no misfit. None by default.
    whole : (X, Y, Z) bool array, optional
        Where neither has lost its signal: there they are compared. Everywhere by default.
    """
    smoothing, band = compared_scales(reference)
    common = reference.mask & seen
    compared = common if whole is None else common & whole
    brain = compared if compared.any() else reference.mask
    image, centre = reference.image, reference.brain_points.mean(axis=0)
    of_smooth, of_band = (noise.variances(*sds) if noise else NO_NOISE for sds in ((smoothing,), band))
    found = AlignmentQC(
        rotation_deg=transform.rotation_deg,
        translation_mm=float(transform.displacement_mm(centre)),
        correlation_before=smooth_correlation(image, before, reference.mask, smoothing),
        correlation_after=smooth_correlation(image, after, brain, smoothing, of_smooth),
        structure_correlation=structure_correlation(image, after, brain, band, of_band),
        overlap=float(np.count_nonzero(common) / np.count_nonzero(reference.mask)),
        reason="",
    )
    reasons = _reasons(found, thresholds, voxel_sizes_mm(reference.affine))
    if found.correlation_after < SURELY_ALIKE:
        reasons += mirror_reasons(reference, after, found.correlation_after, smoothing, of_smooth)
    return replace(found, reason="; ".join(reasons))


def judge_shaded_series(
    reference: PlacedImage,
    before: Volume,
    after: Volume,
    views: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    transform: Affine,
    thresholds: QCThresholds,
) -> AlignmentQC | None:
    """Judge a series that agrees with the reference once their shading is alike.

    Shading that both have is no likeness: they are compared over the brightness of the reference.

    Parameters
    ----------
    reference, before, after, transform, thresholds
        As of `judge_series`.
    views : pair of (X, Y, Z) bool arrays
        Where the series was measured, and the brain where both were measured and lost no signal.

    Returns
    -------
    found : AlignmentQC or None
        With the shading; None where theirs is alike, or where they do not agree without it.
    """
    seen, whole = views
    shading = relative_shading(reference.image, after, whole, reference.voxel_size_mm)
    if shading is None:
        return None
    target = replace(reference, image=reference.image / shading.brightness)
    flat = after * shading.factor / shading.brightness
    found = judge_series(target, before, flat, seen, transform, thresholds, whole=whole)
    return None if found.reason else replace(found, shading=shading.limits)


def _reasons(found: AlignmentQC, thresholds: QCThresholds, sizes_mm: tuple[float, float, float]) -> list[str]:
    """Reasons against a series, one phrase for each QC threshold that it fails."""
    # Of one head turned by 7 to 24 degrees, slices of 5.2 mm had correlations of 0.77 and 0.81.
    thick = max(sizes_mm) if max(sizes_mm) > _THICK_SLICES * min(sizes_mm) else None
    elsewhere = f", slices of {thick:.1f} mm that cut the brain elsewhere" if thick else ""
    told = found.overlap, found.structure_correlation, found.correlation_after
    shown, folds, alike = map(rounded_down, told)
    limits = (
        (
            found.overlap < thresholds.min_overlap,
            f"it shows {shown:.0%} of the brain, at least {thresholds.min_overlap:.0%} is needed",
        ),
        (
            found.correlation_after < thresholds.min_correlation,
            f"its b0 does not match (correlation {alike:.2f} after alignment, at least "
            f"{thresholds.min_correlation:.2f} is needed): another person or contrast{elsewhere}, or "
            "alignment failed",
        ),
        (
            found.structure_correlation < thresholds.min_structure_correlation,
            f"the folds of the brain do not match (correlation {folds:.2f}, at least "
            f"{thresholds.min_structure_correlation:.2f} is needed)",
        ),
    )
    return [*(text for applies, text in limits if applies), *motion_reasons(found, thresholds)]
