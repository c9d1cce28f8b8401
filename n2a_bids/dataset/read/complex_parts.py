"""Checks the phase or imaginary file of a complex image: grid, values, scale of the phase."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.preparation.demodulation import neighbour_coherence
from n2a_bids.algorithms.preparation.phase_scale import PhaseScale, find_phase_scale
from n2a_bids.dataset.read.files import has_content, open_nifti, problem_found_by
from n2a_bids.dataset.read.image_checks import check_image, header_problem
from n2a_bids.dataset.units import ComplexParts, Excluded, ImageFile
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.images import UNREADABLE, load_volumes, same_voxels, turned

_LEAST_COHERENCE = 0.3
"""Of neighbours, in the best of a few volumes. Simulated phases of heads have 0.9 and more at SNR 7, those of
noise 0.01 to 0.15."""
_FEW_VOLUMES = 5

_REMEDY = (
    "convert the phase to radians or to the 4096 levels of the scanner and name that in Units of its sidecar "
    "('rad' or 'arbitrary'), or denoise magnitudes with --ignore-phase"
)


def header_fault(image: ImageFile) -> Excluded | None:
    """What is wrong with the second file of a complex image by the headers; None if nothing is.

    Files without content, such as links of DataLad that were not fetched, are not looked into.
    """
    second = image.parts.second
    problem = header_problem(second)
    if not problem and has_content(second) and has_content(image.path):
        problem = _grid_problem(image)
    return Excluded(second, problem, is_error=True) if problem else None


def values_fault(image: ImageFile) -> Excluded | None:
    """What is wrong with the values of a complex image; None if nothing is.

    Of real and imaginary parts both are looked at, of magnitude and phase the phase: magnitudes are checked
    as any image.
    """
    for path in image.files if image.parts.form == "cartesian" else ():
        problem = problem_found_by(_check_signed, path)
        if problem:
            return Excluded(path, problem, is_error=True)
    second = image.parts.second
    problem = problem_found_by(lambda path: _check_phase(image), second)
    return Excluded(second, problem, is_error=True) if problem else None


def phase_scale(path: Path, values: tuple[float, float], units: str) -> PhaseScale:
    """What the numbers of a phase image mean, by its sidecar and its range.

    Parameters
    ----------
    path : Path
        The phase, for the message.
    values : (float, float)
        Its smallest and largest value.
    units : str
        ``Units`` of its sidecar.

    Raises
    ------
    BIDSDataError
        If the values fit no scale, or another than the sidecar says.
    """
    words = units.strip().lower()
    try:
        return find_phase_scale(*values, "rad" if words in ("rad", "radian", "radians") else units)
    except ValueError as error:
        raise BIDSDataError(
            f"{path}: expected phases in radians (-pi to pi or 0 to 2 pi) or in the 4096 levels of the "
            f"scanner, found {error}; {_REMEDY}"
        ) from error


def _read_phase_scale(parts: ComplexParts) -> PhaseScale:
    return phase_scale(parts.second, check_image(parts.second), parts.phase_units)


def combine(
    form: str, first: NDArray[np.floating], second: NDArray[np.floating], scale: PhaseScale | None
) -> NDArray[np.complex64]:
    """Complex values of magnitude and phase, or of real and imaginary part; NaN and infinity count as zero.

    Parameters
    ----------
    form : {"polar", "cartesian"}
    first, second : arrays
        As stored.
    scale : PhaseScale or None
        Of a phase.
    """
    one = np.where(np.isfinite(first), first, 0)
    if form == "cartesian" or scale is None:
        return (one + 1j * np.where(np.isfinite(second), second, 0)).astype(np.complex64)
    return (one * np.exp(1j * scale.radians(second))).astype(np.complex64)


def read_magnitudes(image: ImageFile, volumes: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
    """Some volumes of a series as magnitudes: a real part alone shows what the phase makes of a head.

    Parameters
    ----------
    image : ImageFile
        4D; of magnitude and phase the magnitude is read.
    volumes : sequence of int
        From 0.

    Returns
    -------
    magnitudes : (X, Y, Z, N) float32 array
        As stored where the image is no pair of real and imaginary part.
    """
    files = image.files if image.is_cartesian else image.files[:1]
    first, *second = (load_volumes(path, volumes) for path in files)
    return np.hypot(first, turned(second[0], image.parts.second, image.path)) if second else first


def _check_phase(image: ImageFile) -> None:
    """Refuse a phase without a scale, or of another image: all signal would be lost with it."""
    parts, axis = image.parts, slice_axis(image)
    axes = tuple(one for one in range(3) if one != axis)
    scale = _read_phase_scale(parts) if parts.form == "polar" else None
    first, second = _few_volumes(image.path), turned(_few_volumes(parts.second), parts.second, image.path)
    coherence = max(
        neighbour_coherence(combine(parts.form, first[..., index], second[..., index], scale), axes)
        for index in range(first.shape[-1])
    )
    if coherence < _LEAST_COHERENCE:
        otherwise = "denoise magnitudes with --ignore-phase"
        if parts.form == "cartesian":
            otherwise = "leave both parts out with --bids-filter-file"
        raise BIDSDataError(
            f"{parts.second}: expected what makes a smooth phase with {image.path.name}, found phases that "
            f"differ from voxel to voxel as by chance (coherence {coherence:.2f}, usually near 1); put the "
            f"file of this image in place, or {otherwise}"
        )


def _few_volumes(path: Path) -> NDArray[np.float32]:
    """(X, Y, Z, N) volumes spread over a series, in one pass: each return would decompress it anew."""
    voxels = open_nifti(path).dataobj
    step = max(1, -(-voxels.shape[-1] // _FEW_VOLUMES))
    place = (..., slice(None, None, step)) if len(voxels.shape) > 3 else ...
    return np.asarray(voxels[place], np.float32).reshape(*voxels.shape[:3], -1)


def slice_axis(image: ImageFile) -> int | None:
    """Array axis across the slices of an image; None for one that was acquired as a volume.

    Slices of diffusion series have phases of their own, whatever the sidecar says: motion differs from shot
    to shot. ``SliceEncodingDirection`` of the sidecar comes first, then the header; converters store slices
    along the last axis.
    """
    is_series = image.suffix == "dwi"
    if not is_series and image.metadata.get("MRAcquisitionType") != "2D":
        return None
    direction = image.metadata.get("SliceEncodingDirection")
    if isinstance(direction, str) and direction[:1] in ("i", "j", "k"):
        return "ijk".index(direction[0])
    with suppress(*UNREADABLE):
        axis = nb.load(image.path).header.get_dim_info()[2]
        return 2 if axis is None else axis
    return 2


def _grid_problem(image: ImageFile) -> str:
    shapes = [open_nifti(path).shape for path in image.files]
    n_volumes = [math.prod(shape[3:]) for shape in shapes]
    # Tools that turn the axes of one of the two leave its voxels where they are.
    if n_volumes[0] == n_volumes[1] and same_voxels(image.parts.second, image.path, tolerance_mm=1e-2):
        return ""
    found = f"{shapes[1]}" if shapes[0] != shapes[1] else "another place in space (affine)"
    return (
        f"{image.parts.second}: expected the grid {shapes[0]} of {image.path.name}, with which it is one "
        f"complex image, found {found}; put the right file in place, or leave it out with --ignore-phase"
    )


def _check_signed(path: Path) -> None:
    low, high = check_image(path)
    if low >= 0:
        raise BIDSDataError(
            f"{path}: expected a real or imaginary part, which has negative values, too, found {low:g} to "
            f"{high:g}; subtract the offset that the conversion added, or name a magnitude part-mag"
        )
