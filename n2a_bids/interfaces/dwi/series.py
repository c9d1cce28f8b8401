"""Nodes and inputs with which diffusion series enter a workflow: volumes, gradient table, mean b0."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    File,
    TraitedSpec,
    isdefined,
    traits,
)
from nipype.pipeline.engine import Workflow
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.algorithms.preparation.gap_filling import mend_series
from n2a_bids.algorithms.preparation.lost_slices import bridge_slices
from n2a_bids.algorithms.quality.dark_slices import DarkSlice, find_dark_slices
from n2a_bids.algorithms.registration.dwi_resampling import mean_b0
from n2a_bids.algorithms.registration.rigid_fit import LEAST_VOXELS
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.contrasts import B0_THRESHOLD
from n2a_bids.dataset.read.gradient_tables import read_series
from n2a_bids.dataset.units import ImageFile
from n2a_bids.denoising.volume_checks import check_signal, refuse_empty_volumes
from n2a_bids.denoising.warnings import describe_specks
from n2a_bids.external.b0_brain import Method
from n2a_bids.interfaces.gaps import describe_dark_slices
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.gaps import stored_limits
from n2a_bids.io.gradients import read_gradients, write_gradients
from n2a_bids.io.images import load, save_like


def b0_threshold_trait() -> traits.Float:
    """Input ``b0_threshold`` of an interface that reads gradient tables."""
    return traits.Float(B0_THRESHOLD, usedefault=True, desc="largest b-value that counts as b0, in s/mm2")


class B0BrainInputSpec(StepInputSpec):
    """How an interface finds the brain in a b0."""

    b0_mask_method = traits.Enum(*get_args(Method), usedefault=True, desc="see --dwi-mask-method")
    b0_mask_seed = traits.Int(1, usedefault=True, desc="seed of ANTs, for the template")


def set_shared_inputs(workflow: Workflow, values: Mapping[str, object]) -> None:
    """Give all nodes of a workflow, and of the workflows in it, these values where they have such inputs."""
    for name in workflow.list_node_names():
        inputs = workflow.get_node(name).inputs
        inputs.trait_set(**{key: values[key] for key in values.keys() & set(inputs.copyable_trait_names())})


class MaskedSeriesInputSpec(StepInputSpec):
    """A series with its table and mask."""

    in_file = File(exists=True, mandatory=True, desc="diffusion series")
    bval_file = File(exists=True, mandatory=True, desc="b-values")
    bvec_file = File(exists=True, mandatory=True, desc="directions")
    mask_file = File(exists=True, mandatory=True, desc="brain mask")
    b0_threshold = b0_threshold_trait()


def read_table(inputs: TraitedSpec, affine: NDArray[np.float64]) -> Gradients:
    """Gradient table of a node that has these inputs, in the world; `affine` is that of its series."""
    return read_gradients(inputs.bval_file, inputs.bvec_file, affine, b0_threshold=inputs.b0_threshold)


def read_shells(inputs: TraitedSpec) -> NDArray[np.float64]:
    """b-value of the shell of each volume, s/mm2, 0 for b0; of a node with a table and a mask on its grid."""
    return find_shells(read_table(inputs, nb.load(inputs.mask_file).affine))


def read_series_table(inputs: TraitedSpec, index: int, affine: NDArray[np.float64]) -> Gradients:
    """Gradient table of one series of a node with lists of them, in the world."""
    files = inputs.bval_files[index], inputs.bvec_files[index]
    return read_gradients(*files, affine, b0_threshold=inputs.b0_threshold)


class _PickVolumesInputSpec(StepInputSpec):
    in_file = File(exists=True, mandatory=True, desc="diffusion series")
    bval_file = File(exists=True, mandatory=True, desc="b-values, FSL format")
    bvec_file = File(exists=True, mandatory=True, desc="directions, FSL format")
    values_file = traits.Str(desc="what is denoised instead of it: the real-valued series of a complex one")
    phase_file = traits.Str(desc="smooth phase of that, radians; empty where there is none")
    volumes = traits.List(traits.Int(), desc="volumes to take, from 0; all by default")
    slice_axis = traits.Range(0, 2, value=2, usedefault=True, desc="array axis across the slices")
    has_others = traits.Bool(False, usedefault=True, desc="other series hold the same volumes, and stand in")
    b0_threshold = b0_threshold_trait()


class _PickVolumesOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="the volumes taken, float32")
    values_file = File(exists=True, desc="the same of what is denoised")
    phase_file = traits.Str(desc="the same of its phase; empty where there is none")
    bval_file = File(exists=True, desc="their b-values")
    bvec_file = File(exists=True, desc="their directions, unit length")
    b0_file = File(exists=True, desc="their mean b0")
    gap_warnings = traits.List(traits.Str(), desc="of specks, dark or few slices, and unusual signal")
    lost_slices = traits.List(
        traits.List(traits.Int()), desc="slices without their signal: volume, of those taken, and slice"
    )


class PickVolumes(ResumableInterface):
    """Take those volumes of a series that its partners have too, without specks and fillings."""

    input_spec = _PickVolumesInputSpec
    output_spec = _PickVolumesOutputSpec

    def _run_interface(self, runtime):
        inputs, folder = self.inputs, Path(runtime.cwd)
        image = ImageFile(Path(inputs.in_file), bval=Path(inputs.bval_file), bvec=Path(inputs.bvec_file))
        table = read_series(image, inputs.b0_threshold).gradients
        data, affine = load(image.path)
        indices = list(inputs.volumes) if inputs.volumes else list(range(table.bvals.size))
        table = table.subset(indices)
        data = np.ascontiguousarray(data[..., indices])
        dark = find_dark_slices(data, inputs.slice_axis, find_shells(table))
        lost = [[one.volume, one.index] for one in dark]
        self._results["lost_slices"] = lost
        self._results["gap_warnings"] = [
            *_mend_and_check(data, table, indices, image),
            *self._describe_lost(image.path.name, dark, indices),
            *describe_thin_slab(image.path.name, data.shape[:3]),
        ]
        b0 = mean_b0(bridge_slices(data, lost, inputs.slice_axis), table)
        bval, bvec = write_gradients(table, affine, folder / "series")
        self._results["out_file"] = os.fspath(save_like(data, image.path, folder / "series.nii.gz"))
        self._results["b0_file"] = os.fspath(
            save_like(b0, first_volume(image.path, folder), folder / "b0.nii.gz")
        )
        self._results["bval_file"], self._results["bvec_file"] = os.fspath(bval), os.fspath(bvec)
        self._pick_values(indices, folder)
        return runtime

    def _describe_lost(self, name: str, dark: list[DarkSlice], indices: list[int]) -> list[str]:
        if not dark:
            return []
        across, has_others = self.inputs.slice_axis, self.inputs.has_others
        return [describe_dark_slices(name, dark, across, indices, others=has_others)]

    def _pick_values(self, indices: list[int], folder: Path) -> None:
        """The same volumes of the real-valued series and of the phase, where there are any."""
        self._results.update(values_file=self._results["out_file"], phase_file="")
        for name in ("values_file", "phase_file"):
            given = getattr(self.inputs, name)
            if not isdefined(given) or given in ("", self.inputs.in_file):
                continue
            data, affine = load(Path(given))
            data = np.ascontiguousarray(data[..., indices])
            if name == "values_file":
                mend_series(data, voxel_sizes_mm(affine))
            self._results[name] = os.fspath(save_like(data, Path(given), folder / f"{name}.nii.gz"))


def _mend_and_check(
    data: NDArray[np.float32], table: Gradients, indices: list[int], image: ImageFile
) -> list[str]:
    """Mend specks of a series in place; refuse volumes that are none of it, and name what is unusual."""
    shells, name = find_shells(table), image.path.name
    specks = mend_series(data, voxel_sizes_mm(nb.load(image.path).affine), stored_limits(image.path))
    refuse_empty_volumes(data, indices, image.path)
    return [
        *([describe_specks(name, specks)] if specks.size else []),
        *check_signal(data, shells, indices, image.path),
    ]


def describe_thin_slab(name: str, shape: tuple[int, ...]) -> list[str]:
    """What to say of a series with too few slices for its motion to be found; nothing of others.

    Examples
    --------
    >>> describe_thin_slab("a_dwi.nii.gz", (64, 64, 30))
    []
    """
    if min(shape) >= LEAST_VOXELS:
        return []
    found = " x ".join(map(str, shape))
    return [
        f"{name}: motion, within the series and relative to others, is not estimated in a slab of "
        f"{min(shape)} slices ({found} voxels; at least {LEAST_VOXELS} are needed): all volumes are taken as "
        "they lie"
    ]


def first_volume(path: Path, folder: Path) -> Path:
    """A 3D image with the geometry of a series, as a model for the headers of maps."""
    model = folder / "grid.nii.gz"
    nb.save(nb.load(path).slicer[:, :, :, 0], model)
    return model
