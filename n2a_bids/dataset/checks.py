"""Checks before the work: images that cannot be denoised."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.dataset.names import parse_name
from n2a_bids.errors import BIDSDataError
from n2a_bids.images import UNREADABLE

_CHUNK_VALUES = 1 << 20
# Where qform and sform put a corner of the grid farther apart, tools disagree on where the head is.
_MAX_FORM_DISTANCE_VOXELS = 0.5
_POINTERS = {b"/annex/objects/": "a git-annex pointer", b"version https://git-lfs": "a Git LFS pointer"}


def check_image(path: Path) -> None:
    """Refuse an image that would fail, or silently go wrong, later.

    Voxels are read in chunks of a megavoxel, so memory stays small.

    Parameters
    ----------
    path : Path
        NIfTI file; a name that ends in ``_dwi`` must be 4D, any other 3D.

    Raises
    ------
    BIDSDataError
        Names the file, what was expected, what was found, and what to do.
    """
    path = Path(path)
    _check_file(path)
    image = _open_nifti(path)
    _check_shape(path, image.shape)
    _check_dtype(path, image.get_data_dtype())
    _check_geometry(path, image)
    _check_values(path, image)


def file_problem(path: Path) -> str:
    """What keeps the file of an image from being read, with the remedy; empty if nothing does.

    Only the file is looked at, not the image in it: a list of a large dataset takes no longer for it.
    """
    try:
        _check_file(Path(path))
    except BIDSDataError as error:
        return str(error)
    return ""


def _check_file(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        annex = ".git/annex" in os.readlink(path)
        kind = "a DataLad (git-annex) link to content that was not fetched" if annex else "a link to nothing"
        remedy = f"run 'datalad get {path}'" if annex else "restore the file it points to"
        raise BIDSDataError(f"{path}: expected an image, found {kind}; {remedy}")
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise BIDSDataError(f"{path}: expected an image, found {found}; correct the path or restore the file")
    if path.stat().st_size == 0:
        raise BIDSDataError(
            f"{path}: expected an image, found an empty file of 0 bytes; copy or convert it again"
        )
    try:
        with path.open("rb") as stream:
            start = stream.read(32)
    except OSError as error:
        raise BIDSDataError(
            f"{path}: expected a readable file, found {type(error).__name__}: {error.strerror}; correct its "
            "permissions (chmod u+r) or check the disk"
        ) from error
    for magic, kind in _POINTERS.items():
        if start.startswith(magic):
            raise BIDSDataError(
                f"{path}: expected an image, found {kind}; fetch the content ('datalad get {path}')"
            )


def _open_nifti(path: Path) -> nb.Nifti1Image:
    try:
        image = nb.load(path)
    except UNREADABLE as error:
        raise BIDSDataError(
            f"{path}: expected a NIfTI image, found a file that cannot be read as one ({error}); convert or "
            "copy it again"
        ) from error
    if not isinstance(image, nb.Nifti1Image):
        raise BIDSDataError(
            f"{path}: expected a NIfTI image (.nii or .nii.gz), found {type(image).__name__}; convert it to "
            "NIfTI"
        )
    return image


def _check_shape(path: Path, shape: tuple[int, ...]) -> None:
    is_dwi = parse_name(path)[1] == "dwi"
    grid, volumes = shape[:3], int(np.prod(shape[3:]))
    if len(grid) < 3 or min(grid) < 2:
        raise BIDSDataError(f"{path}: expected a 3D grid, found the shape {shape}; give a whole volume")
    if is_dwi and (len(shape) != 4 or volumes < 2):
        raise BIDSDataError(
            f"{path}: expected a 4D diffusion series, found the shape {shape}; give the series with all its "
            "volumes"
        )
    if not is_dwi and volumes > 1:
        raise BIDSDataError(
            f"{path}: expected one 3D volume, found {volumes} volumes (shape {shape}); split them into "
            "separate files with run- or echo- in their names, or exclude the image with --bids-filter-file"
        )


def _check_dtype(path: Path, dtype: np.dtype) -> None:
    if dtype.fields is not None or dtype.kind not in "iuf":
        kind = "RGB colours" if dtype.fields is not None else f"the data type {dtype}"
        raise BIDSDataError(
            f"{path}: expected real intensities (integer or floating point), found {kind}; convert the image "
            "to its magnitude"
        )


def _check_geometry(path: Path, image: nb.Nifti1Image) -> None:
    header = image.header
    try:
        qform, sform = header.get_qform(coded=True)[0], header.get_sform(coded=True)[0]
    except (ValueError, nb.spatialimages.HeaderDataError) as error:
        raise BIDSDataError(
            f"{path}: expected a valid qform, found one that cannot be decoded ({error}); repair the header"
        ) from error
    affine = image.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise BIDSDataError(
            f"{path}: expected an affine that places the voxels in space, found a singular or non-finite "
            "one; repair the header or convert the image again"
        )
    if qform is None or sform is None:
        return
    last = np.array(image.shape[:3]) - 1
    corners = np.array([[i, j, k, 1] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])
    distance_mm = np.linalg.norm(((qform - sform) @ corners.T)[:3], axis=0).max()
    if distance_mm > _MAX_FORM_DISTANCE_VOXELS * min(nb.affines.voxel_sizes(affine)):
        raise BIDSDataError(
            f"{path}: expected qform and sform to agree, found them up to {distance_mm:.1f} mm apart (codes "
            f"{int(header['qform_code'])} and {int(header['sform_code'])}), so tools would place the head "
            "differently; decide which is right and copy it to the other (fslorient -copysform2qform or "
            "-copyqform2sform)"
        )


def _check_values(path: Path, image: nb.Nifti1Image) -> None:
    dtype = image.header.get_data_dtype()
    left = int(np.prod(image.shape, dtype=np.int64))
    low, high, n_bad = np.inf, -np.inf, 0
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as stream:
            stream.seek(int(image.dataobj.offset))
            while left:
                chunk = _read_values(stream, min(left, _CHUNK_VALUES), dtype)
                left -= chunk.size
                finite = np.isfinite(chunk)
                n_bad += int(chunk.size - np.count_nonzero(finite))
                if finite.any():
                    low, high = min(low, chunk[finite].min()), max(high, chunk[finite].max())
            # The checksum of a gzip file is compared only when its end is reached.
            stream.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise BIDSDataError(
            f"{path}: expected {image.shape} voxels of {dtype}, found a truncated or damaged file ({error}); "
            "copy it again from the source"
        ) from error
    if n_bad:
        raise BIDSDataError(
            f"{path}: expected finite intensities, found {n_bad} NaN or infinite voxels; replace them, or "
            "exclude the image with --bids-filter-file"
        )
    if low == high:
        found = "only zeros" if low == 0 else f"the value {low:g} in every voxel"
        raise BIDSDataError(
            f"{path}: expected an image of a head, found {found}; exclude it or convert it again"
        )


def _read_values(stream, count: int, dtype: np.dtype) -> NDArray:
    data = stream.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise EOFError(f"it ends {count - len(data) // dtype.itemsize} voxels too early")
    return np.frombuffer(data, dtype)
