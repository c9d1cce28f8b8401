"""Diffusion series as they enter the workflow: the volumes taken, their table, b0 and brain mask."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.preparation.series_gaps import mend_series
from n2a_bids.algorithms.registration.dwi_resampling import mean_b0
from n2a_bids.dataset.read.gradient_tables import read_series
from n2a_bids.dataset.units import ImageFile
from n2a_bids.errors import BIDSDataError
from n2a_bids.external.b0_brain import find_brain
from n2a_bids.interfaces.dwi.shared_inputs import b0_threshold_trait
from n2a_bids.interfaces.gaps import describe_specks
from n2a_bids.io.gaps import stored_limits
from n2a_bids.io.gradients import read_gradients, superior_axis, write_gradients
from n2a_bids.io.images import UNREADABLE, load, save_like, voxel_sizes_mm

_BRAIN_VOLUME_ML = (100.0, 2600.0)
"""A slab of a brain, and the largest brain, with a margin for poor masks."""


class MaskedSeriesInputSpec(BaseInterfaceInputSpec):
    """A series with its table and mask."""

    in_file = File(exists=True, mandatory=True, desc="diffusion series")
    bval_file = File(exists=True, mandatory=True, desc="b-values")
    bvec_file = File(exists=True, mandatory=True, desc="directions")
    mask_file = File(exists=True, mandatory=True, desc="brain mask")
    b0_threshold = b0_threshold_trait()


def read_table(inputs: MaskedSeriesInputSpec, affine: NDArray[np.float64]) -> Gradients:
    """Gradient table of a node that has these inputs, in the world; `affine` is that of its series."""
    return read_gradients(inputs.bval_file, inputs.bvec_file, affine, b0_threshold=inputs.b0_threshold)


def read_series_table(inputs: TraitedSpec, index: int, affine: NDArray[np.float64]) -> Gradients:
    """Gradient table of one series of a node with lists of them, in the world."""
    files = inputs.bval_files[index], inputs.bvec_files[index]
    return read_gradients(*files, affine, b0_threshold=inputs.b0_threshold)


class _PickVolumesInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc="diffusion series")
    bval_file = File(exists=True, mandatory=True, desc="b-values, FSL format")
    bvec_file = File(exists=True, mandatory=True, desc="directions, FSL format")
    values_file = traits.Str(desc="what is denoised instead of it: the real-valued series of a complex one")
    phase_file = traits.Str(desc="smooth phase of that, radians; empty where there is none")
    volumes = traits.List(traits.Int(), desc="volumes to take, from 0; all by default")
    b0_threshold = b0_threshold_trait()


class _PickVolumesOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="the volumes taken, float32")
    values_file = File(exists=True, desc="the same of what is denoised")
    phase_file = traits.Str(desc="the same of its phase; empty where there is none")
    bval_file = File(exists=True, desc="their b-values")
    bvec_file = File(exists=True, desc="their directions, unit length")
    b0_file = File(exists=True, desc="their mean b0")
    gap_warnings = traits.List(traits.Str(), desc="one sentence if there were specks")


class PickVolumes(SimpleInterface):
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
        specks = mend_series(data, voxel_sizes_mm(affine), stored_limits(image.path))
        _refuse_empty_volumes(data, indices, image.path)
        bval, bvec = write_gradients(table, affine, folder / "series")
        self._results["out_file"] = os.fspath(save_like(data, image.path, folder / "series.nii.gz"))
        self._results["b0_file"] = os.fspath(
            save_like(mean_b0(data, table), first_volume(image.path, folder), folder / "b0.nii.gz")
        )
        self._results["bval_file"], self._results["bvec_file"] = os.fspath(bval), os.fspath(bvec)
        self._pick_values(indices, folder)
        self._results["gap_warnings"] = [describe_specks(image.path.name, specks)] if specks.size else []
        return runtime

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


def _refuse_empty_volumes(data: NDArray[np.float32], indices: list[int], path: Path) -> None:
    flat = [index for index, volume in zip(indices, np.moveaxis(data, -1, 0)) if np.ptp(volume) == 0]
    if flat:
        raise BIDSDataError(
            f"{path}: expected an image in every volume, found one value in volume {flat[0]} (counted "
            f"from 0; {len(flat)} such), as an aborted scan leaves it; remove it from series and table"
        )


def first_volume(path: Path, folder: Path) -> Path:
    """A 3D image with the geometry of a series, as a model for the headers of maps."""
    model = folder / "grid.nii.gz"
    nb.save(nb.load(path).slicer[..., 0], model)
    return model


def brain_problem(image: ImageFile, b0_threshold: float) -> str:
    """Say why no brain can be found in the b0s of a diffusion series, with the remedy; empty if one can.

    Parameters
    ----------
    image : ImageFile
        With ``bval`` and ``bvec``.
    b0_threshold : float
        Largest b-value (s/mm2) that counts as b0.

    Returns
    -------
    problem : str
        Empty, too, for a series without b0s, and for what other checks name.
    """
    try:
        unweighted = np.flatnonzero(read_series(image, b0_threshold).gradients.is_b0)
        source = nb.load(image.path)
        # The first alone is read quickly, and nearly always enough.
        for indices in (unweighted[:1], unweighted):
            volumes = [np.asarray(source.dataobj[..., index], np.float32) for index in indices]
            problem = ""
            if volumes:
                brain = find_brain(np.mean(volumes, axis=0), superior_axis(source.affine))
                problem = volume_problem(brain, source.affine, image.path)
            if not problem:
                break
    except (BIDSDataError, *UNREADABLE):
        return ""
    return problem


def volume_problem(mask: NDArray[np.bool_], affine: NDArray[np.float64], path: Path) -> str:
    """Say that a mask is too small or too large for a brain, with the remedy; empty if it can be one.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    affine : (4, 4) array
        Voxel to world mm.
    path : Path
        Of the series, for the message.
    """
    volume_ml = float(mask.sum() * np.prod(voxel_sizes_mm(affine)) / 1000)
    low, high = _BRAIN_VOLUME_ML
    if low <= volume_ml <= high:
        return ""
    return (
        f"{path}: expected a brain of {low:g} to {high:g} ml in the mean b0, found {volume_ml:.0f} ml; look "
        "at the b0 volumes and the voxel size, try another --dwi-mask-method, or bring a mask by "
        "--derivatives"
    )
