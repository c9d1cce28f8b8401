"""Nodes for head motion of diffusion series: between volumes of one series, and from series to series."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import File, TraitedSpec, isdefined, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion.eddy_currents import EddyCurrents
from n2a_bids.algorithms.preparation.lost_slices import bridge_slices
from n2a_bids.algorithms.registration.dwi_motion import EstimatedMotion, estimate_motion
from n2a_bids.algorithms.registration.dwi_resampling import still_b0
from n2a_bids.algorithms.registration.placed_images import PlacedImage, SeriesRegistration
from n2a_bids.algorithms.shading import register_shaded_series
from n2a_bids.algorithms.transforms import Affine, voxel_sizes_mm
from n2a_bids.interfaces.dwi.distortion import phase_encoding_axis
from n2a_bids.interfaces.dwi.series import MaskedSeriesInputSpec, read_table
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.images import load, save_like
from n2a_bids.io.json import write_record
from n2a_bids.io.transforms import (
    read_itk_transform,
    read_transforms,
    write_itk_transform,
    write_transforms,
)
from n2a_bids.record.alignment import EddyCurrentsRecord, MotionBetweenSeries, RegistrationRecord
from n2a_bids.system.child import run_ants

_LOGGER = logging.getLogger("nipype.interface")


class EstimateMotionInputSpec(MaskedSeriesInputSpec):
    """A series whose motion is estimated."""

    random_seed = traits.Int(1, usedefault=True, desc="seed of ANTs")
    phase_encoding = traits.List(
        traits.Float(),
        desc="its axis in the world (RAS+), along which eddy currents distort; empty: none are looked for",
    )
    lost_slices = traits.List(
        traits.List(traits.Int()), desc="volume and slice that lost their signal: those beside stand for them"
    )
    slice_axis = traits.Range(0, 2, value=2, usedefault=True, desc="array axis across the slices")
    volumes = traits.List(
        traits.Int(),
        desc="which volumes of the file these are, which has them as they were acquired; empty: all",
    )


class MotionOutputSpec(TraitedSpec):
    """Motion of a series, and its b0 without it."""

    motion_file = File(
        exists=True, desc="JSON: for each volume, world where the first b0 lies to world of the volume"
    )
    b0_file = File(exists=True, desc="mean of the b0s where the first of them lies")


class _EstimateMotionOutputSpec(MotionOutputSpec):
    currents_file = traits.Str(desc="JSON: its eddy currents; empty where none were found")


class EstimateMotion(ResumableInterface):
    """Motion of every volume relative to the first b0, and the mean of the b0s without it."""

    input_spec = EstimateMotionInputSpec
    output_spec = _EstimateMotionOutputSpec

    def _run_interface(self, runtime):
        folder = Path(runtime.cwd)
        motion, self._results = estimate_series_motion(self.inputs, folder)
        self._results["currents_file"] = ""
        if motion.currents is not None:
            path = write_record(to_record(motion.currents), folder / "eddy_currents.json")
            self._results["currents_file"] = os.fspath(path)
        return runtime


def estimate_series_motion(
    inputs: TraitedSpec, folder: Path, known_currents: EddyCurrents | None = None
) -> tuple[EstimatedMotion, dict[str, str]]:
    """Motion of the series of a node.

    Parameters
    ----------
    inputs : TraitedSpec
        As `EstimateMotionInputSpec`.
    folder : Path
        Where the outputs are written.
    known_currents : EddyCurrents, optional
        Undone; others are not looked for.

    Returns
    -------
    motion : EstimatedMotion
    outputs : dict
        As `MotionOutputSpec`.
    """
    data, affine = load(Path(inputs.in_file))
    if isdefined(inputs.lost_slices):
        data = bridge_slices(data, inputs.lost_slices, inputs.slice_axis)
    mask = load(Path(inputs.mask_file))[0] > 0.5
    table = read_table(inputs, affine)
    align_shell = partial(_align_shell, mask, affine, folder, inputs.random_seed)
    direction = inputs.phase_encoding
    axis = phase_encoding_axis(direction, affine) if isdefined(direction) and direction else None
    times = inputs.volumes if isdefined(inputs.volumes) and inputs.volumes else None
    motion = estimate_motion(
        data, table, mask, voxel_sizes_mm(affine), align_shell, axis, known_currents, times
    )
    _tell_convergence(Path(inputs.in_file).name, motion)
    motion_file = write_transforms(_in_world(motion, affine), folder / "motion.json")
    b0 = still_b0(data, table, motion.voxel_maps, mask)
    b0_file = save_like(b0, Path(inputs.mask_file), folder / "b0.nii.gz")
    return motion, {"motion_file": os.fspath(motion_file), "b0_file": os.fspath(b0_file)}


def to_record(currents: EddyCurrents) -> EddyCurrentsRecord:
    """The same as numbers."""
    arrays = (currents.slopes, currents.certainty, currents.evidence)
    return EddyCurrentsRecord(
        currents.axis,
        tuple(currents.centre_mm.tolist()),
        tuple(currents.shift_mm.tolist()),
        *(tuple(map(tuple, array.tolist())) for array in arrays),
    )


def to_currents(record: EddyCurrentsRecord) -> EddyCurrents:
    """The same as arrays."""
    arrays = (record.centre_mm, record.shift_mm, record.slopes, record.certainty, record.evidence)
    return EddyCurrents(record.axis, *map(np.array, arrays))


def _in_world(motion: EstimatedMotion, affine: NDArray[np.float64]) -> list[Affine]:
    """World where the first b0 lies to world of each volume."""
    transforms = []
    for voxel_map, rigid_map in zip(motion.voxel_maps, motion.rigid_maps, strict=True):
        whole, rigid = (Affine.from_voxels(one, affine, affine) for one in (voxel_map, rigid_map))
        is_distorted = not np.array_equal(voxel_map, rigid_map)
        transforms.append(Affine(whole.matrix, rigid.matrix) if is_distorted else whole)
    return transforms


def _tell_convergence(name: str, motion: EstimatedMotion) -> None:
    if not motion.converged:
        _LOGGER.warning(
            "%s: motion within the series did not come to rest after %d rounds; the last moved a volume "
            "by up to %.2f voxels",
            name,
            motion.n_rounds,
            motion.last_step_voxels,
        )


def _align_shell(
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    folder: Path,
    random_seed: int,
    fixed: NDArray[np.float32],
    moving: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Voxel map between the means of two shells: rigid, by mutual information in and around the brain."""
    images = {"fixed": fixed, "moving": moving, "fixed_mask": mask.astype(np.uint8)}
    files = {name: os.fspath(folder / f"shell_{name}.nii.gz") for name in images}
    for name, image in images.items():
        nb.save(nb.Nifti1Image(image, affine), files[name])
    files |= {name: os.fspath(folder / f"shell_{name}.txt") for name in ("initial", "out_file")}
    write_itk_transform(np.eye(4), Path(files["initial"]))
    run_ants("rigid", files, folder, random_seed=random_seed)
    return Affine(read_itk_transform(Path(files["out_file"]))).between_voxels(affine, affine)


class _RegisterSeriesInputSpec(StepInputSpec):
    b0_files = traits.List(File(exists=True), mandatory=True, desc="mean b0 of each series, as acquired")
    mask_files = traits.List(File(exists=True), mandatory=True, desc="brain mask of each")
    names = traits.List(traits.Str(), mandatory=True, desc="file name of each series, for the record")
    leaders = traits.List(
        traits.Int(), desc="for each series, the one that it is compared with, which shares its distortion"
    )
    pair_file = File(
        exists=True, desc="JSON: world of the first series to that of itself and of the other leader"
    )


class _RegisterSeriesOutputSpec(TraitedSpec):
    between_file = File(exists=True, desc="JSON: world of the first series to world of each")
    record_file = File(exists=True, desc="JSON: how each motion was found")


class RegisterSeries(ResumableInterface):
    """Motion of every series relative to the first, directly or by way of one of its own distortion."""

    input_spec = _RegisterSeriesInputSpec
    output_spec = _RegisterSeriesOutputSpec

    def _run_interface(self, runtime):
        inputs, folder = self.inputs, Path(runtime.cwd)
        placed = [
            PlacedImage(*load(Path(image)), load(Path(mask))[0] > 0.5)
            for image, mask in zip(inputs.b0_files, inputs.mask_files, strict=True)
        ]
        found = [self._register(index, placed) for index in range(len(placed))]
        between_file = write_transforms([one.transform for one in found], folder / "between.json")
        record_file = write_record(_record(found, inputs.names), folder / "registration.json")
        self._results.update(between_file=os.fspath(between_file), record_file=record_file)
        return runtime

    def _register(self, index: int, placed: Sequence[PlacedImage]) -> SeriesRegistration:
        leader = self.inputs.leaders[index] if isdefined(self.inputs.leaders) else 0
        to_leader = Affine() if leader == 0 else read_transforms(self.inputs.pair_file)[1]
        if index == leader:
            return SeriesRegistration(to_leader, 0, 0.0)
        found = register_shaded_series(placed[leader], placed[index])
        return replace(found, transform=found.transform @ to_leader)


def _record(found: Sequence[SeriesRegistration], names: Sequence[str]) -> RegistrationRecord:
    return RegistrationRecord(
        motion_between_series=MotionBetweenSeries(
            rounds=tuple(one.n_rounds for one in found),
            last_step_voxels=tuple(round(one.last_step_voxels, 4) for one in found),
            converged=tuple(one.converged for one in found),
        ),
        warnings=tuple(
            f"{name}: its motion relative to the first series did not come to rest (after "
            f"{one.n_rounds} rounds, the last moved the brain by up to {one.last_step_voxels:.2f} voxels)"
            for name, one in zip(names, found, strict=True)
            if not one.converged
        ),
    )
