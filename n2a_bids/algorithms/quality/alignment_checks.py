"""Limits that aligned images of one head must keep, and the reasons against those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

_COARSE_MM, _MORE_OF_COARSE = (1.2, 3.0), 0.3
"""Large voxels show the coarse shape of a brain alone, in which people are alike: the folds of two had
correlations of 0.39 to 0.50 at 2 mm and 0.62 to 0.71 at 3 mm (below 0.3 at 1 mm), those of one person 0.93
and more at 3 mm, with ghosts, motion or contrast agent."""
_SAME_FOLDS = 0.9
"""Structure correlation above which no more than shading may differ, as with and without normalisation."""


@dataclass(frozen=True, slots=True)
class QCThresholds:
    """Limits that a repetition must keep to be used."""

    min_correlation: float
    """Of smoothed intensities inside the brain: another contrast falls below."""
    min_structure_correlation: float
    """Of gyral detail inside the brain: another head falls below."""
    max_rotation_deg: float
    max_translation_mm: float
    min_overlap: float
    """Fraction of the brain inside the field of view."""

    def for_voxels(self, voxel_mm: float) -> QCThresholds:
        """Limits for images of larger voxels, of which folds must agree more."""
        return replace(
            self, min_structure_correlation=least_structure(self.min_structure_correlation, voxel_mm)
        )


@dataclass(frozen=True, slots=True)
class AlignmentQC:
    """Metrics of one aligned repetition; distances in mm, angles in degrees."""

    rotation_deg: float
    translation_mm: float
    """Displacement of the centre of the brain."""
    correlation_before: float
    correlation_after: float
    structure_correlation: float
    overlap: float
    reason: str
    """Why it is refused; empty if it is accepted."""
    shading: tuple[float, float] | None = None
    """How bright the darkest and the brightest part of the brain are against the reference, mean 1, where the
    shading differs notably and was taken out; None elsewhere."""

    @classmethod
    def of_reference(cls) -> AlignmentQC:
        """What is true of the image that the others are compared with."""
        return cls(0.0, 0.0, 1.0, 1.0, 1.0, 1.0, reason="")


def with_reason(found: AlignmentQC, thresholds: QCThresholds) -> AlignmentQC:
    """Metrics of a repetition, with the reason against it if there is one.

    Parameters
    ----------
    found : AlignmentQC
        As measured; its own reason is replaced.
    thresholds : QCThresholds
        For its voxels.
    """
    told = found.overlap, found.structure_correlation, found.correlation_after
    shown, folds, alike = map(rounded_down, told)
    reasons: Sequence[tuple[bool, str]] = (
        (
            found.overlap < thresholds.min_overlap,
            f"its field of view holds {shown:.0%} of the brain, at least "
            f"{thresholds.min_overlap:.0%} is needed",
        ),
        (
            found.structure_correlation < thresholds.min_structure_correlation,
            f"the folds of the brain do not match (correlation {folds:.2f}, at least "
            f"{thresholds.min_structure_correlation:.2f} is needed): another person, a header that turns the "
            "head, or alignment failed",
        ),
        (
            found.correlation_after < thresholds.min_correlation,
            f"its contrast {'or shading ' if found.structure_correlation > _SAME_FOLDS else ''}differs "
            f"(correlation {alike:.2f} after alignment, at least "
            f"{thresholds.min_correlation:.2f} is needed)",
        ),
    )
    failed = [text for applies, text in reasons if applies]
    return replace(found, reason="; ".join([*failed, *motion_reasons(found, thresholds)]))


def motion_reasons(found: AlignmentQC, thresholds: QCThresholds) -> list[str]:
    """Reasons against an image whose head lies too far away or is rotated too far.

    Parameters
    ----------
    found : AlignmentQC
        How the image lies.

    Returns
    -------
    reasons : list of str
        One phrase for each threshold that is exceeded.
    """
    reasons = (
        (
            found.rotation_deg > thresholds.max_rotation_deg,
            f"the head is rotated by {found.rotation_deg:.1f} degrees, at most "
            f"{thresholds.max_rotation_deg:g} are allowed",
        ),
        (
            found.translation_mm > thresholds.max_translation_mm,
            f"the head is {found.translation_mm:.1f} mm away, at most {thresholds.max_translation_mm:g} are "
            "allowed",
        ),
    )
    return [text for applies, text in reasons if applies]


def shows_too_little(found: AlignmentQC, thresholds: QCThresholds) -> bool:
    """Whether an image is refused because it shows too little of the brain, and for nothing else.

    Examples
    --------
    >>> limits = QCThresholds(0.8, 0.5, 30.0, 40.0, min_overlap=0.9)
    >>> slab = AlignmentQC(0.0, 0.0, 1.0, 1.0, 1.0, 0.68, reason="")
    >>> shows_too_little(with_reason(slab, limits), limits)
    True
    >>> shows_too_little(with_reason(replace(slab, correlation_after=0.1), limits), limits)
    False
    """
    return found.overlap < thresholds.min_overlap and ";" not in found.reason


def rounded_down(value: float) -> float:
    """A fraction in hundredths, so that what fails a limit is not told as the limit itself.

    Examples
    --------
    >>> f"{rounded_down(0.8996):.0%} shown, 90% needed"
    '89% shown, 90% needed'
    """
    return float(np.floor(100 * value) / 100)


def least_structure(at_1mm: float, voxel_mm: float) -> float:
    """Correlation of folds that images need, given that at 1 mm: larger voxels must agree more.

    A limit that somebody sets high stays one that images can reach, and -1 stays below all of them.

    Examples
    --------
    >>> [round(least_structure(0.5, size), 2) for size in (1.0, 2.1, 3.0)]
    [0.5, 0.65, 0.8]
    >>> [round(least_structure(limit, 3.0), 2) for limit in (-1.0, 0.9, 1.0)]
    [-0.7, 0.96, 1.0]
    """
    more = min(_MORE_OF_COARSE, 2 * _MORE_OF_COARSE * (1 - at_1mm))
    return at_1mm + more * float(np.interp(voxel_mm, _COARSE_MM, (0, 1)))
