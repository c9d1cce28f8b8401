"""Accepts images of the Python functions: NIfTI image, path, or array with affine; written as input files."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import nibabel as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from n2a_bids.dataset.read.files import open_nifti
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.images import UNREADABLE, refuse_unreal

ImageLike = str | os.PathLike[str] | nb.spatialimages.SpatialImage | tuple[ArrayLike, ArrayLike]
"""Path of a NIfTI file, image of nibabel, or (array, affine): voxels to world mm, RAS+."""


class GradientTable(Protocol):
    """b-values and directions, as those of dipy: directions as in FSL's ``bvecs`` file of the image."""

    bvals: NDArray[np.float64]
    """(C,), s/mm2."""
    bvecs: NDArray[np.float64]
    """(C, 3)."""


def write_inputs(images: Sequence[ImageLike], folder: Path) -> list[Path]:
    """Paths of images; those that are in memory are written to a folder.

    Parameters
    ----------
    images : sequence of image
        Not modified.
    folder : Path
        Exists.

    Returns
    -------
    paths : list of Path

    Raises
    ------
    BIDSDataError
        If something is no image: the message tells which.
    """
    return [
        _write_input(image, folder / f"image-{number}.nii.gz", f"image {number}")
        for number, image in enumerate(images, start=1)
    ]


def write_mask(mask: ImageLike, folder: Path) -> Path:
    """Path of a mask, written to a folder where it is in memory.

    Raises
    ------
    BIDSDataError
        If it is no image, or has several volumes.
    """
    path = _write_input(mask, folder / "mask-1.nii.gz", "mask")
    try:
        n_volumes = math.prod(nb.load(path).shape[3:])
    except UNREADABLE as error:
        raise BIDSDataError(f"{path}: expected a mask, found none that can be read: {error}") from error
    if n_volumes != 1:
        raise BIDSDataError(f"{path}: expected a mask of three axes, found {n_volumes} volumes; give one")
    return path


def _write_input(image: ImageLike, path: Path, name: str) -> Path:
    if isinstance(image, str | os.PathLike):
        given = Path(image).absolute()
        open_nifti(given)
        return given
    if isinstance(image, nb.spatialimages.SpatialImage):
        values = np.asanyarray(image.dataobj)
        refuse_unreal(name, values.dtype)
        header = image.header.copy() if isinstance(image, nb.Nifti1Image) else nb.Nifti1Header()
        # The type of the header may be that of a file which the values once came from.
        header.set_data_dtype(np.float32)
        if image.affine is not None:
            _check_affine(image.affine, name)
        nb.Nifti1Image(values.astype(np.float32), image.affine, header).to_filename(path)
        return path
    if isinstance(image, tuple) and len(image) == 2:
        return _write_array(*image, path, name)
    raise BIDSDataError(
        f"{name}: expected a path, an image of nibabel or (array, affine), found {type(image).__name__}"
    )


def _write_array(data: ArrayLike, affine: ArrayLike, path: Path, name: str) -> Path:
    refuse_unreal(name, np.asarray(data).dtype)
    values, matrix = np.asarray(data, dtype=np.float32), np.asarray(affine, dtype=np.float64)
    if values.ndim not in (3, 4) or matrix.shape != (4, 4):
        raise BIDSDataError(
            f"{name}: expected an array of 3 or 4 axes and an affine of shape (4, 4), found shapes "
            f"{values.shape} and {matrix.shape}"
        )
    _check_affine(matrix, name)
    nb.Nifti1Image(values, matrix).to_filename(path)
    return path


def _check_affine(affine: NDArray[np.float64], name: str) -> None:
    if not np.isfinite(affine).all() or not np.linalg.det(affine[:3, :3]):
        raise BIDSDataError(
            f"{name}: expected an affine that places every voxel in the world (mm, RAS+), found "
            f"{np.round(affine, 3).tolist()}; give that of the image"
        )


def image_like(data: NDArray, reference: Path) -> nb.Nifti1Image:
    """Image in memory with the geometry of a file.

    Parameters
    ----------
    data : (X, Y, Z) or (X, Y, Z, C) array
        A last axis of length 1 is dropped.
    reference : Path
        Gives affine, codes and units.

    Returns
    -------
    image : Nifti1Image
        float32, or uint8 of a mask.
    """
    model = nb.load(reference)
    values = data[..., 0] if data.ndim == 4 and data.shape[-1] == 1 else data
    kind = np.uint8 if values.dtype == bool else np.float32
    header = nb.Nifti1Header()
    header.set_data_dtype(kind)
    image = nb.Nifti1Image(values.astype(kind), model.affine, header)
    if isinstance(model, nb.Nifti1Image):
        image.set_sform(model.affine, int(model.header["sform_code"]) or 1)
        image.set_qform(model.affine, int(model.header["qform_code"]) or 1)
        image.header.set_xyzt_units(*model.header.get_xyzt_units())
    return image


def in_memory(path: Path) -> nb.Nifti1Image:
    """An image of a file that is about to be deleted.

    Raises
    ------
    BIDSDataError
        If it cannot be read.
    """
    try:
        image = nb.load(path)
        return nb.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
    except UNREADABLE as error:
        raise BIDSDataError(
            f"{path}: expected a NIfTI image, found none that can be read: {error}"
        ) from error
