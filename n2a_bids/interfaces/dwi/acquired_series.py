"""Series as acquired, with their motion and distortion: inputs of the nodes that resample them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, isdefined, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.interfaces.dwi.distortion import phase_encoding_axis
from n2a_bids.interfaces.dwi.series import b0_threshold_trait, read_series_table
from n2a_bids.interfaces.resumable import StepInputSpec
from n2a_bids.io.images import load
from n2a_bids.io.transforms import read_transforms


class AcquiredSeriesInputSpec(StepInputSpec):
    """Series as acquired, each in its native space, and the motion and distortion that were found in them."""

    in_files = traits.List(File(exists=True), mandatory=True, desc="series as acquired, of equal length")
    bval_files = traits.List(File(exists=True), mandatory=True, desc="b-values of each")
    bvec_files = traits.List(File(exists=True), mandatory=True, desc="directions of each")
    motion_files = traits.List(
        File(exists=True), mandatory=True, desc="JSON of each: its world to that of each volume"
    )
    between_file = File(
        exists=True, mandatory=True, desc="JSON: world of the first series to world of each series"
    )
    mask_file = File(exists=True, mandatory=True, desc="brain mask on the first series")
    displacement_files = traits.List(
        File(exists=True),
        desc="distortion of each series on the grid of the first, in its own voxels along its own "
        "phase-encoding axis; none: it is left",
    )
    phase_encoding = traits.List(
        traits.List(traits.Float()),
        desc="of each series, in the world (RAS+), empty where no sidecar tells; needed with displacements",
    )
    b0_threshold = b0_threshold_trait()
    keep_negative = traits.Bool(
        False, usedefault=True, desc="keep undershoots of the interpolation even where no input is negative"
    )


@dataclass(frozen=True, slots=True)
class AcquiredSeries:
    """One series as acquired, and how it lies."""

    path: Path
    data: NDArray[np.float32]
    """(X, Y, Z, C)."""
    affine: NDArray[np.float64]
    gradients: Gradients
    motion: list[Affine]
    """Its world, corrected, to the world of each volume."""
    between: Affine
    """World of the first series to that of this one."""
    displacement: NDArray[np.float32]
    """On the grid of the first, in own voxels along `axis`."""
    axis: int
    signed: bool
    """Whether negative intensities are kept."""


def read_acquired(inputs: TraitedSpec, index: int, shape: tuple[int, ...]) -> AcquiredSeries:
    """One of the series of an `AcquiredSeriesInputSpec`; `shape` is the common grid."""
    path = Path(inputs.in_files[index])
    data, affine = load(path)
    displacement, axis = np.zeros(shape, np.float32), 1
    if isdefined(inputs.displacement_files):
        displacement = load(Path(inputs.displacement_files[index]))[0]
        axis = phase_encoding_axis(inputs.phase_encoding[index], affine)
    return AcquiredSeries(
        path,
        data,
        affine,
        read_series_table(inputs, index, affine),
        read_transforms(inputs.motion_files[index]),
        read_transforms(inputs.between_file)[index],
        displacement,
        axis,
        signed=inputs.keep_negative or bool(data.min() < 0),
    )
