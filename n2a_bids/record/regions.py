"""The record of noise and gain in the regions of an atlas, as it is written, read and reported.

As the other records: one name from the interface that measures to table, sidecar and report. Standard
library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FEWEST_VOXELS = 50
"""Below, a region is marked. The SD of independent noise is known to 10 % from the difference of two
repetitions in 50 voxels; maps are smooth over some voxels: small regions tell of what lies around them."""

EXPLAINED: Mapping[str, str] = {
    "index": "Number of the region in the atlas and in desc-regions_dseg.nii.gz",
    "name": "Name of the region in the look-up table of the atlas; its number where that has none",
    "shell": "b-value of the volumes that the row is about, s/mm2; 0 for b0",
    "n_voxels": "Voxels of the region in the brain mask, where something was measured: the other columns are "
    "about these",
    "fraction_in_brain": "Part of the region, as the registration placed it, that lies in the brain mask",
    "few_voxels": f"Whether there are fewer than {FEWEST_VOXELS} voxels: the other columns then say little",
    "signal": "Mean of the denoised image, image units",
    "noise_sd": "Noise SD of one repetition, image units: of anatomical repetitions from their differences "
    "in the voxels of the region alone; of one image alone and of series root mean square of desc-noisesd",
    "noise_sd_mean": "Noise SD of the plain mean, image units: noise_sd over the root of the number of "
    "repetitions that were measured, less what interpolation took",
    "expected_error": "Expected error of the denoised image, noise left and detail lost together (root mean "
    "square of desc-uncertainty), image units",
    "gain_db": "Square of noise_sd_mean over that of expected_error, dB; of a mean that was kept, the gain "
    "of weighting, which is the same in all regions. The expected error is modelled, calibrated over the "
    "whole brain, and smooth where noise is: in a small region whose noise is far from that around it, it "
    "is off",
    "snr": "Signal over noise_sd",
    "snr_mean": "Signal over noise_sd_mean",
    "snr_denoised": "Signal over expected_error",
}
"""Column of the table -> what it is, and where it comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionRecord:
    """One region, or one shell of it; what the names mean is in `EXPLAINED`."""

    index: int
    name: str
    shell: float | None = None
    n_voxels: int = 0
    fraction_in_brain: float | None = None
    few_voxels: bool = True
    signal: float | None = None
    noise_sd: float | None = None
    noise_sd_mean: float | None = None
    expected_error: float | None = None
    gain_db: float | None = None
    snr: float | None = None
    snr_mean: float | None = None
    snr_denoised: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionsRecord:
    """All regions of an image."""

    atlas: str = ""
    """As it was asked for; of a file of the user's own, its name."""
    template: str = ""
    """File of the T1w image that was registered."""
    overlap: float | None = None
    """Dice coefficient of the brain mask and the brain of the template where it was brought to."""
    regions: tuple[RegionRecord, ...] = ()
    warnings: tuple[str, ...] = ()
    """What a person should look at, one sentence each."""
