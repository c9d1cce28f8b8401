"""Reads NIfTI images as float32 and writes them on the grid of a reference image, float32 unless asked."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import ndimage

from n2a_bids.algorithms.quality.voxel_sizes import has_sizes_in_mm
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import whole_file
from n2a_bids.system.resources import available_memory_gb

UNREADABLE = (
    *(nb.filebasedimages.ImageFileError, nb.spatialimages.HeaderDataError),
    *(nb.spatialimages.HeaderTypeError, nb.spatialimages.ImageDataError),
    *(OSError, EOFError, zlib.error, struct.error),
    # Headers hold any numbers: NaN as the place of the voxels, negative dimensions, types that do not exist.
    *(ValueError, ArithmeticError, LookupError, TypeError, MemoryError),
)
"""What nibabel and numpy raise for a file that is missing, damaged, or no image."""
_SMALL_GB = 0.5
"""Images below this are read without a look at the limits of the machine."""
_EQUAL_VOLUME = 0.05
"""Smaller differences of voxel volume are rounding of the headers."""


def load(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read the voxels and the affine of an image.

    Parameters
    ----------
    path : Path
        NIfTI file.

    Returns
    -------
    data : (X, Y, Z) or (X, Y, Z, C) float32 array
        Scaled intensities; trailing axes of length 1 are dropped.
    affine : (4, 4) float array
        Voxel to world mm.

    Raises
    ------
    BIDSDataError
        If, by its header, the memory that this process may use cannot hold it, or its values are no real
        numbers.
    """
    image = nb.load(path)
    refuse_unreal(path, image.get_data_dtype())
    refuse_beyond_memory(path, _needed_gb(image), f"voxels {image.shape}", "leave the image out")
    data = np.asarray(image.dataobj, dtype=np.float32)
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    # NIfTI stores the first axis fastest. What is made of an image has its last axis fastest, and arithmetic
    # on two arrays of different order takes ten times as long; of series, single volumes are looked at.
    return np.ascontiguousarray(data) if data.ndim == 3 else data, image.affine


def load_volumes(path: Path, volumes: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
    """Read some volumes of a series, without the memory that all of it would take.

    Parameters
    ----------
    path : Path
        4D NIfTI file.
    volumes : sequence of int
        From 0, rising: a compressed file is read once from its beginning.

    Returns
    -------
    data : (X, Y, Z, N) float32 array
        Scaled intensities.
    """
    source = nb.load(path, keep_file_open=True).dataobj
    # Some series have a fifth axis, of length one.
    found = [np.asarray(source[:, :, :, index], np.float32).reshape(source.shape[:3]) for index in volumes]
    return np.stack(found, axis=-1)


def read_affine(path: Path) -> NDArray[np.float64] | None:
    """Voxel to world mm of an image; None where its header cannot be read or places no voxel."""
    try:
        return sound_affine(nb.load(path))
    except UNREADABLE:
        return None


def sound_affine(image: nb.spatialimages.SpatialImage) -> NDArray[np.float64] | None:
    """Voxel to world mm of an image; None where it places no voxel, or not in mm."""
    affine = np.asarray(image.affine, dtype=float)
    is_placed = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-9
    return affine if is_placed and has_sizes_in_mm(affine) else None


def lacks_voxel_sizes(image: nb.Nifti1Image) -> bool:
    """Whether the header, as stored, has a voxel size of zero, in whose place nibabel puts 1 mm."""
    with image.file_map["image"].get_prepare_fileobj("rb") as stream:
        stored = type(image.header).from_fileobj(stream, check=False)
    return bool((stored["pixdim"][1:4] == 0).any())


def refuse_unreal(name: Path | str, dtype: np.dtype) -> None:
    """Refuse complex numbers and colours, of which a part would be taken for the whole.

    Raises
    ------
    BIDSDataError
        Names the image.
    """
    if dtype.fields is None and dtype.kind in "biuf":
        return
    found, remedy = f"the data type {dtype}", "convert the image to its magnitude"
    if dtype.fields is not None:
        found, remedy = "RGB colours", "give the image that was acquired, not a coloured map or a picture"
    raise BIDSDataError(
        f"{name}: expected real intensities (integer or floating point), found {found}; {remedy}"
    )


def _needed_gb(image: nb.spatialimages.SpatialImage) -> float:
    """Memory that reading takes: compressed zeros take little space on the disk, and all the memory."""
    n_bytes = 4 if image.get_data_dtype() == np.float32 else 4 + image.get_data_dtype().itemsize
    return n_bytes * math.prod(image.shape) / 1024**3


def refuse_beyond_memory(path: Path, needed_gb: float, found: str, otherwise: str) -> None:
    """Refuse images that do not fit into the memory that this process may use, by their headers.

    Parameters
    ----------
    path : Path
        The image, or the first of several.
    needed_gb : float
        Memory that they take at least.
    found : str
        What they are, for the message.
    otherwise : str
        What to do where no larger machine is at hand.

    Raises
    ------
    BIDSDataError
        Names the image and the limit.
    """
    # The limits of the machine are looked up for large images only.
    if needed_gb > _SMALL_GB and needed_gb > (limit_gb := available_memory_gb()):
        raise BIDSDataError(
            f"{path}: expected images that fit into the {limit_gb:.1f} GB of memory that may be used, found "
            f"{found} that take {needed_gb:.1f} GB at least, by their headers; use a machine with more "
            f"memory, or {otherwise}"
        )


def load_mask(path: Path, reference: Path) -> NDArray[np.bool_]:
    """Read a mask that must lie on the grid of a reference image.

    Raises
    ------
    BIDSDataError
        If the grids differ.
    """
    data, _ = load(path)
    if not same_grid(path, reference):
        raise BIDSDataError(
            f"{path}: expected a mask on the grid of {reference} {nb.load(reference).shape[:3]}, found the "
            f"grid {data.shape}; resample the mask to that image"
        )
    return data > 0.5


def mask_in_world(path: Path, reference: Path, motion: Affine | None = None) -> NDArray[np.bool_]:
    """Read a mask that lies in the world of a reference image, on whatever grid: the nearest voxel counts.

    Parameters
    ----------
    motion : Affine, optional
        World of the reference to that of the mask, where they are not the same.
    """
    data, affine = load(path)
    motion = motion or Affine()
    is_same = np.array_equal(motion.matrix, np.eye(4))
    if is_same and same_grid(path, reference):
        return data > 0.5
    target = nb.load(reference)
    to_voxels = motion.between_voxels(target.affine, affine)
    inside = (data > 0.5).astype(np.uint8)
    shown = ndimage.affine_transform(inside, to_voxels[:3, :3], to_voxels[:3, 3], target.shape[:3], order=0)
    return shown > 0


def same_grid(first: Path, second: Path, tolerance_mm: float = 1e-3) -> bool:
    """Whether two images have the same voxels in the same places.

    Parameters
    ----------
    tolerance_mm : float
        By which the corners of the grids may lie apart.
    """
    one, other = nb.load(first), nb.load(second)
    if one.shape[:3] != other.shape[:3]:
        return False
    return _agree(one.affine, other.affine, one.shape[:3], tolerance_mm)


def _agree(
    affine: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...], tolerance_mm: float
) -> bool:
    """Whether two affines put the voxels of a grid in the same places."""
    apart = affine - other
    corner = np.array([*shape, 1.0])
    return bool(np.abs(apart).max() < tolerance_mm and np.abs(apart @ corner).max() < tolerance_mm)


def load_along(path: Path, reference: Path) -> NDArray[np.float32]:
    """Read an image as if its axes were stored in the order and direction of those of a reference.

    Parameters
    ----------
    path, reference : Path
        Of one grid by `same_voxels`.
    """
    return turned(load(path)[0], path, reference)


def turned(data: NDArray[np.float32], path: Path, reference: Path) -> NDArray[np.float32]:
    """Voxels of an image, with their first three axes in the order and direction of a reference."""
    data = nb.orientations.apply_orientation(data, _storage_turn(nb.load(path), nb.load(reference)))
    return np.ascontiguousarray(data) if data.ndim == 3 else data


def same_voxels(path: Path, reference: Path, tolerance_mm: float = 1e-3) -> bool:
    """Whether two images have the same voxels in the same places, in whatever order they are stored."""
    one, other = nb.load(path), nb.load(reference)
    turn = _storage_turn(one, other)
    shape = tuple(one.shape[axis] for axis in np.argsort(turn[:, 0]))
    if shape != other.shape[:3]:
        return False
    turned_affine = one.affine @ nb.orientations.inv_ornt_aff(turn, one.shape[:3])
    return _agree(turned_affine, other.affine, shape, tolerance_mm)


def _storage_turn(one: nb.spatialimages.SpatialImage, other: nb.spatialimages.SpatialImage) -> NDArray:
    """How nibabel would turn the axes of one image to run as those of another."""
    return nb.orientations.ornt_transform(*(nb.io_orientation(image.affine) for image in (one, other)))


def save_like(data: NDArray, reference: Path, out_file: Path, dtype: DTypeLike = np.float32) -> Path:
    """Write an image with the geometry of another, bit for bit.

    qform, sform, their codes, pixdim and units are those of the reference; data type and scaling are not.

    Parameters
    ----------
    data : (X, Y, Z) or (X, Y, Z, C) array
        On the grid of the reference.
    reference : Path
        Image whose header is taken over.
    out_file : Path
        Written whole; the folder is created.
    dtype : dtype
        Type on disk: float32, or uint8 for masks.

    Raises
    ------
    ValueError
        If the grid is not that of the reference.
    """
    source = nb.load(reference)
    if data.shape[:3] != source.shape[:3]:
        raise ValueError(f"data grid {data.shape[:3]} is not the grid {source.shape[:3]} of {reference}")
    header = source.header.copy()
    header.extensions.clear()
    header.set_data_dtype(dtype)
    # The display window of integer input means nothing for the result.
    header["cal_min"] = header["cal_max"] = 0
    image = type(source)(np.asarray(data, dtype=dtype), None, header)
    with whole_file(Path(out_file)) as temporary:
        image.to_filename(temporary)
    return Path(out_file)


def finest_images(paths: Sequence[str | Path]) -> list[int]:
    """Indices of the images with the smallest voxels."""
    volumes = [abs(np.linalg.det(nb.load(path).affine[:3, :3])) for path in paths]
    return [index for index, volume in enumerate(volumes) if volume <= (1 + _EQUAL_VOLUME) * min(volumes)]
