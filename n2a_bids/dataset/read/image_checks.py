"""Checks headers and voxels of images: dimensions, data type, affine, NaN; with the remedy."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.quality.ceiling import count_jumps, wrapping_problem
from n2a_bids.algorithms.quality.voxel_sizes import VOXEL_SIZES_MM, has_sizes_in_mm, spell_sizes
from n2a_bids.contrasts import ANAT_SUFFIXES, find_contrast
from n2a_bids.dataset.names import parse_name
from n2a_bids.dataset.read.files import (
    check_end,
    check_file,
    has_content,
    kind_problem,
    open_nifti,
    problem_found_by,
)
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.images import refuse_unreal

_SERIES = ("dwi", "sbref", "epi")
"""Suffixes of images that may have several volumes."""
_CHUNK_VALUES = 1 << 20  # voxels are read in chunks, so that memory stays small
MOST_MISSING = 0.9
"""Of the voxels may be NaN or infinite, which later steps take for gaps: a brain fills a tenth of a generous
field of view."""
# Where qform and sform put a corner of the grid farther apart, tools disagree on where the head is.
_MAX_FORM_DISTANCE_VOXELS = 0.5
_SMALLEST, _LARGEST = 1e-15, 1e17  # later steps compute in single precision, squares of it too
_OTHER_UNITS = {1: "metres", 3: "micrometres"}  # of NIfTI codes; any tool takes unset for mm


def check_image(path: Path) -> tuple[float, float]:
    """Refuse an image that would fail, or silently go wrong, later.

    Parameters
    ----------
    path : Path
        NIfTI file; a name that ends in ``_dwi`` must be 4D, any other 3D.

    Returns
    -------
    low, high : float
        Smallest and largest intensity.

    Raises
    ------
    BIDSDataError
        Names the file, what was expected, what was found, and what to do.
    """
    check_header(path := Path(path))
    image = open_nifti(path)
    if parse_name(path)[1] == "dwi":
        _check_series(path, image.shape)
    return _check_values(path, image, MOST_MISSING)


def header_problem(path: Path) -> str:
    """What is wrong with the header of an image, with the remedy; empty if nothing is.

    Parameters
    ----------
    path : Path
        Files without content, such as links of DataLad that were not fetched, have no problem here.
    """
    path = Path(path)
    problem = kind_problem(path)
    if problem or not has_content(path):
        return problem
    return problem_found_by(check_header, path)


def placement_notes(path: Path) -> list[str]:
    """Notes on a sound image whose header does not tell where its voxels lie, or has another unit than mm.

    Such an image is used, as fMRIPrep does, and as nibabel places it: first voxels on the right, at the back
    and below, and lengths in mm.
    """
    if not has_content(path):
        return []
    header = open_nifti(path).header
    notes = []
    if not int(header["qform_code"]) and not int(header["sform_code"]):
        notes.append(
            f"{path.name}: the header does not tell how the head lies (qform_code and sform_code are both "
            "0): its first axis was taken to run from right to left, so that sides may be swapped; convert "
            "it again, or restore qform and sform"
        )
    if unit := _OTHER_UNITS.get(int(header["xyzt_units"]) % 8):
        notes.append(
            f"{path.name}: the header gives lengths in {unit} (xyzt_units), and voxels of "
            f"{spell_sizes(header.get_zooms()[:3])}, which were taken for mm; correct what is wrong, as "
            "tools differ in what they make of it"
        )
    return notes


def image_problem(path: Path) -> str:
    """What is wrong with an image, its header or its voxels, with the remedy; empty if nothing is."""
    return problem_found_by(check_image, Path(path))


def content_problem(path: Path, most_missing: float = 0.0) -> str:
    """What is wrong with the place or the values of voxels, of any number of volumes."""

    def check(file: Path) -> None:
        refuse_unreal(file, (image := open_nifti(file)).get_data_dtype())
        _check_geometry(file, image)
        _check_values(file, image, most_missing)

    return problem_found_by(check, Path(path))


def check_header(path: Path) -> None:
    """Refuse an image by its header alone: grid, data type, scaling, geometry.

    Parameters
    ----------
    path : Path
        A diffusion series may have any number of volumes here, along one axis.

    Raises
    ------
    BIDSDataError
        Names the file, what was expected, what was found, and what to do.
    """
    check_file(path)
    image = open_nifti(path)
    _check_offset(path, image)
    _check_grid(path, image.shape)
    _check_volumes(path, image.shape)
    refuse_unreal(path, image.get_data_dtype())
    _check_geometry(path, image)
    _check_scaling(path, image)


def _check_offset(path: Path, image: nb.Nifti1Image) -> None:
    """Refuse voxels that would begin within the header."""
    offset, header_size = int(image.dataobj.offset), image.header.single_vox_offset
    if offset < header_size:
        raise BIDSDataError(
            f"{path}: expected voxels behind the header, from byte {header_size} on, found that they begin "
            f"at byte {offset} (vox_offset); repair the header or convert the image again"
        )


def _check_grid(path: Path, shape: tuple[int, ...]) -> None:
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise BIDSDataError(f"{path}: expected a 3D grid, found the shape {shape}; give a whole volume")
    if min(shape) < 1:
        raise BIDSDataError(
            f"{path}: expected a header with dimensions of at least 1, found the shape {shape}; repair the "
            "header or convert the image again"
        )


def _check_series(path: Path, shape: tuple[int, ...]) -> None:
    if len(shape) < 4 or shape[3] != math.prod(shape[3:]) or shape[3] < 2:
        stored = "store" if len(shape) > 4 else "give the series with"
        raise BIDSDataError(
            f"{path}: expected a 4D series, found the shape {shape}; {stored} all its volumes "
            "along the fourth axis"
        )


def _check_volumes(path: Path, shape: tuple[int, ...]) -> None:
    volumes = math.prod(shape[3:])
    if parse_name(path)[1] in _SERIES:
        if volumes > 1:
            _check_series(path, shape)
    elif volumes > 1:
        raise BIDSDataError(
            f"{path}: expected one 3D volume, found {volumes} volumes (shape {shape}); split them into "
            "separate files with run- or echo- in their names, or leave it out (n2a: --bids-filter-file)"
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
    if not has_sizes_in_mm(affine):
        low, high = VOXEL_SIZES_MM
        raise BIDSDataError(
            f"{path}: expected voxels of {low:g} to {high:g} mm, found "
            f"{spell_sizes(nb.affines.voxel_sizes(affine))}; correct the header where it is in metres or "
            "micrometres, or convert the image again"
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


def _check_scaling(path: Path, image: nb.Nifti1Image) -> None:
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    if not (np.isfinite([slope, intercept]).all() and slope > 0):
        raise BIDSDataError(
            f"{path}: expected a scaling that keeps bright bright, found the slope {slope} and the intercept "
            f"{intercept} (scl_slope, scl_inter); repair the header or convert the image again"
        )


def _check_values(path: Path, image: nb.Nifti1Image, most_missing: float) -> tuple[float, float]:
    dtype = image.header.get_data_dtype()
    try:
        low, high, n_bad, n_jumps = np.array(list(_volume_ranges(path, image))).T
    except (OSError, EOFError, zlib.error) as error:
        raise BIDSDataError(
            f"{path}: expected {image.shape} voxels of {dtype}, found a truncated or damaged file ({error}); "
            "copy it again from the source"
        ) from error
    flat = np.flatnonzero(~(low < high))
    n_bad, low, high = int(n_bad.sum()), low.min(), high.max()
    if n_bad > most_missing * math.prod(image.shape):
        raise BIDSDataError(
            f"{path}: expected finite intensities, found {n_bad} NaN or infinite voxels; replace them, or "
            "leave the image out (n2a: --bids-filter-file)"
        )
    scaled = np.array([low, high], np.float64) * image.dataobj.slope + image.dataobj.inter
    largest = np.abs(scaled).max()
    if low < high and not _SMALLEST < largest < _LARGEST:
        limit, way = (f"above {_SMALLEST:g}", "up") if largest < 1 else (f"below {_LARGEST:g}", "down")
        told = f"expected intensities {limit}, found {largest:.3g} at most; scale the image {way}"
        raise BIDSDataError(f"{path}: {told}")
    wrapped = wrapping_problem(int(n_jumps.sum()), math.prod(image.shape), dtype)
    if wrapped and _is_magnitude(path, image):
        raise BIDSDataError(f"{path}: expected intensities that fit into {dtype}, found {wrapped}")
    if low == high:
        found = "only zeros" if low == 0 else f"the value {low:g} in every voxel"
        raise BIDSDataError(
            f"{path}: expected an image of a head, found {found}; exclude it or convert it again"
        )
    if flat.size:
        raise BIDSDataError(
            f"{path}: expected an image in every volume, found one value, or none that is finite, in volume "
            f"{flat[0]} (counted from 0; {flat.size} such: an aborted scan); remove it from series and table"
        )
    return float(scaled.min()), float(scaled.max())


def _is_magnitude(path: Path, image: nb.Nifti1Image) -> bool:
    """Whether zero is the least that an image can hold, by name and scaling: phases wrap rightly."""
    entities, suffix, _ = parse_name(path)
    noisy_air = suffix in ANAT_SUFFIXES and find_contrast(suffix).has_noisy_background
    return entities.get("part", "mag") == "mag" and not noisy_air and image.dataobj.inter == 0


def _volume_ranges(path: Path, image: nb.Nifti1Image) -> Iterator[tuple[float, float, int, int]]:
    """Lowest and highest finite value of each volume, as stored, values that are none, and jumps."""
    dtype, size = image.header.get_data_dtype(), math.prod(image.shape[:3])
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as stream:
        stream.seek(int(image.dataobj.offset))
        for _ in range(math.prod(image.shape[3:])):
            low, high, n_bad, n_jumps, left = np.inf, -np.inf, 0, 0, size
            while left:
                chunk = _read_values(stream, min(left, _CHUNK_VALUES), dtype)
                left -= chunk.size
                finite = np.isfinite(chunk)
                n_bad += int(chunk.size - np.count_nonzero(finite))
                n_jumps += count_jumps(chunk)
                if finite.any():
                    low, high = min(low, float(chunk[finite].min())), max(high, float(chunk[finite].max()))
            yield low, high, n_bad, n_jumps
        check_end(stream)


def _read_values(stream, count: int, dtype: np.dtype) -> NDArray:
    data = stream.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise EOFError(f"it ends {count - len(data) // dtype.itemsize} voxels too early")
    return np.frombuffer(data, dtype)
