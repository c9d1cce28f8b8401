"""Reads and writes gradient tables (FSL bval/bvec), in the world inside the package.

FSL stores directions along the voxel axes of the image that lies beside the table, with x flipped where
the determinant of the affine is positive. Two series of one scan stored in another order, or cut at another
angle, thus have different files for the same directions. Inside the package directions are vectors of the
world (RAS+), which agree; they become FSL's again when they are written beside an image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.contrasts import B0_THRESHOLD
from n2a_bids.enumeration import counted, enumerated
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import write_whole
from n2a_bids.io.tables import read_numbers

# Text files round to few digits; beyond a tenth, the length means something else (a scaled b, a wrong file).
_SILENT_NORM_ERROR = 0.02
_MAX_NORM_ERROR = 0.1
_LARGEST_B_WITHOUT_DIRECTION = 100.0
"""In s/mm2: some scanners write 60 or so for their b0. Above, no direction means a trace image."""
_DIRECTIONS_OF_A_SERIES = 6
"""At the least: a tensor has as many numbers."""
_PLAUSIBLE_LARGEST_B = (10.0, 1e5)
"""In s/mm2, of a series with directions: outside, b-values are in other units."""


def read_gradients(
    bval: Path, bvec: Path, affine: NDArray[np.float64], *, b0_threshold: float = B0_THRESHOLD
) -> Gradients:
    """Read a gradient table in FSL format into the world.

    Parameters
    ----------
    bval, bvec : Path
        b-values in s/mm2, one row; directions, three rows.
    affine : (4, 4) float array
        Voxel to world mm of the image that the table describes.
    b0_threshold : float
        Largest b-value (s/mm2) that counts as b0.

    Returns
    -------
    gradients : Gradients
        Unit vectors of the world (RAS+).

    Raises
    ------
    BIDSDataError
        If a file cannot be read or holds no gradient table; names what is wrong.
    """
    return inspect_gradients(bval, bvec, affine, b0_threshold=b0_threshold)[0]


def inspect_gradients(
    bval: Path, bvec: Path, affine: NDArray[np.float64], *, b0_threshold: float = B0_THRESHOLD
) -> tuple[Gradients, tuple[str, ...]]:
    """Read a gradient table as `read_gradients` does, and tell what was accepted although it is unusual.

    Returns
    -------
    gradients : Gradients
    notes : tuple of str
        One sentence each.
    """
    bval, bvec = Path(bval), Path(bvec)
    bvals, notes = read_bvals(bval)
    table, more = _read_bvecs(bvec, bvals.size)
    _refuse_lost_values(bvals, table, bval)
    _refuse_other_units(bvals, table, bval)
    unit_vectors, still_more = _normalized(table, bvals, bvec, b0_threshold)
    world = unit_vectors @ _fsl_to_world(affine).T
    return Gradients(bvals, world, b0_threshold), (*notes, *more, *still_more)


def write_gradients(gradients: Gradients, affine: NDArray[np.float64], stem: Path) -> tuple[Path, Path]:
    """Write a gradient table in FSL format, ``.bval`` and ``.bvec``, each whole.

    Parameters
    ----------
    gradients : Gradients
        With unit vectors of the world.
    affine : (4, 4) float array
        Voxel to world mm of the image beside which the table is written.
    stem : Path
        Name without extension.

    Returns
    -------
    bval, bvec : Path
    """
    bval, bvec = stem.with_name(stem.name + ".bval"), stem.with_name(stem.name + ".bvec")
    write_whole(bval, " ".join(f"{value:g}" for value in gradients.bvals) + "\n")
    # Adding zero turns -0 into 0.
    table = np.round(gradients.bvecs @ _fsl_to_world(affine), 8) + 0.0
    write_whole(bvec, "".join(" ".join(f"{value:.8f}" for value in row) + "\n" for row in table.T))
    return bval, bvec


def phase_encoding_in_world(direction: str, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Direction of phase encoding in the head: a BIDS ``PhaseEncodingDirection`` as a vector of the world.

    Parameters
    ----------
    direction : str
        ``i``, ``j`` or ``k``, with ``-`` where it runs to lower indices.
    affine : (4, 4) float array
        Voxel to world mm of the image that the sidecar describes.

    Returns
    -------
    vector : (3,) float array
        Unit vector, RAS+.

    Examples
    --------
    >>> phase_encoding_in_world("j-", np.diag([-2.0, 2.0, 2.0, 1.0])) + 0.0
    array([ 0., -1.,  0.])
    """
    sign = -1.0 if direction.endswith("-") else 1.0
    return sign * world_rotation(affine)[:, "ijk".index(direction[0])]


def phase_encoding_of(vector: ArrayLike, affine: NDArray[np.float64]) -> str:
    """``PhaseEncodingDirection`` that is true for an image with this affine: the inverse of the above.

    Parameters
    ----------
    vector : (3,) array
        Direction in the world, RAS+.
    affine : (4, 4) float array
        Voxel to world mm of the image that the sidecar will describe.

    Returns
    -------
    direction : str
        The nearest array axis, with ``-`` where the vector runs to lower indices.

    Examples
    --------
    >>> phase_encoding_of([1.0, 0.0, 0.0], np.diag([-2.0, 2.0, 2.0, 1.0]))
    'i-'
    """
    along = np.asarray(vector, dtype=float) @ world_rotation(affine)
    axis = int(np.argmax(np.abs(along)))
    return "ijk"[axis] + ("-" if along[axis] < 0 else "")


def world_rotation(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Voxel axes as orthonormal vectors of the world, in columns; a mirror image where storage is mirrored.

    The nearest orthogonal matrix (polar decomposition): voxel sizes and a shear of rounding are left out.
    """
    return Affine(np.asarray(affine, dtype=float)).rotation


def _fsl_to_world(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    flip = -1.0 if np.linalg.det(affine[:3, :3]) > 0 else 1.0
    return world_rotation(affine) * np.array([flip, 1.0, 1.0])


def read_bvals(path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """b-values of a file in FSL format, in s/mm2, and a note where they stand in a column.

    Raises
    ------
    BIDSDataError
        If the file cannot be read or holds anything but one row of finite numbers of at least 0.
    """
    table = read_numbers(path)
    if 1 not in table.shape:
        raise BIDSDataError(
            f"{path}: expected one row of b-values, found a table of {table.shape}; restore it"
        )
    bvals = table.ravel()
    if not np.isfinite(bvals).all() or bvals.min() < 0:
        bad = np.flatnonzero(~(np.isfinite(bvals) & (bvals >= 0)))
        raise BIDSDataError(
            f"{path}: expected b-values of at least 0, found {bvals[bad[0]]} for volume {bad[0]} (from 0); "
            "correct the file"
        )
    is_column = table.shape[0] > 1
    return bvals, (f"{path.name} is a column where BIDS wants a row",) if is_column else ()


def _refuse_lost_values(bvals: NDArray[np.float64], bvecs: NDArray[np.float64], path: Path) -> None:
    """Refuse zeros beside the directions of a whole series; a few, or one for all, are what b0s come with."""
    norms = np.linalg.norm(np.nan_to_num(bvecs), axis=1)
    directed = bvecs[np.abs(norms - 1) <= _MAX_NORM_ERROR]
    if bvals.any() or not directed.size:
        return
    largest = np.argmax(np.abs(directed), axis=1)
    # A direction and its opposite are one.
    signs = np.sign(np.take_along_axis(directed, largest[:, None], axis=1))
    n_directions = len(np.unique(np.round(directed * signs, 2), axis=0))
    if n_directions >= _DIRECTIONS_OF_A_SERIES:
        raise BIDSDataError(
            f"{path}: expected the b-values of {n_directions} directions of unit length, found zeros alone; "
            "they were lost: restore the file, or convert the series again"
        )


def _refuse_other_units(bvals: NDArray[np.float64], bvecs: NDArray[np.float64], path: Path) -> None:
    directed = np.any(np.nan_to_num(bvecs), axis=1) & (bvals > 0)
    largest, (low, high) = bvals.max(), _PLAUSIBLE_LARGEST_B
    if np.count_nonzero(directed) < 2 or low <= largest <= high:
        return
    units = "units of 1000 s/mm2" if largest < low else "s/m2"
    raise BIDSDataError(
        f"{path}: expected b-values in s/mm2, found a largest one of {largest:g} beside "
        f"{np.count_nonzero(directed)} directions; are they in {units}? Convert them"
    )


def _read_bvecs(path: Path, n_volumes: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    table = read_numbers(path)
    if table.shape == (3, n_volumes):
        return table.T, ()
    if table.shape == (n_volumes, 3):
        return table, (
            f"{path.name} has one direction per row where BIDS wants one per column: read transposed",
        )
    raise BIDSDataError(
        f"{path}: expected 3 rows of {n_volumes} values (one column for each volume), found "
        f"{table.shape[0]} rows of {table.shape[1]}; restore the table of this series"
    )


def _named(volumes: NDArray[np.integer], bvals: NDArray[np.float64]) -> str:
    return enumerated([f"{volume} (b={bvals[volume]:g}, from 0)" for volume in volumes], most=1)


def _normalized(
    bvecs: NDArray[np.float64], bvals: NDArray[np.float64], path: Path, b0_threshold: float
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Unit vectors, and notes; directions of low b-values stay, and what has none is zero."""
    low = bvals <= b0_threshold
    bad = np.flatnonzero(~low & ~np.isfinite(bvecs).all(axis=1))
    if bad.size:
        raise BIDSDataError(
            f"{path}: expected finite directions, found NaN or infinite values for volume "
            f"{_named(bad, bvals)}; correct the file"
        )
    # Some converters write NaN for the direction of a b0.
    bvecs = np.where(np.isfinite(bvecs).all(axis=1, keepdims=True), bvecs, 0.0)
    norms = np.linalg.norm(bvecs, axis=1)
    undirected = ~low & (norms == 0) & (bvals <= max(_LARGEST_B_WITHOUT_DIRECTION, b0_threshold))
    weighted = ~low & ~undirected
    wrong = np.flatnonzero(weighted & (np.abs(norms - 1) > _MAX_NORM_ERROR))
    if wrong.size:
        raise BIDSDataError(
            f"{path}: expected unit vectors for diffusion-weighted volumes, found length "
            f"{norms[wrong[0]]:.2g} for volume {_named(wrong, bvals)}; "
            f"{_remedy_of_lengths(norms, bvals, wrong)}"
        )
    unit_vectors = np.divide(bvecs, norms[:, None], out=np.zeros_like(bvecs), where=norms[:, None] > 0)
    notes = []
    if undirected.any():
        values = ", ".join(f"{value:g}" for value in np.unique(bvals[undirected]))
        n_volumes = int(undirected.sum())
        some, have = counted(n_volumes, "volume"), "has" if n_volumes == 1 else "have"
        notes.append(f"{some} of b={values} {have} no direction in {path.name}: taken for b0")
    worst = np.abs(norms[weighted] - 1).max(initial=0.0)
    if worst > _SILENT_NORM_ERROR:
        notes.append(f"directions of {path.name} were off unit length by up to {worst:.0%}: normalized")
    return unit_vectors, tuple(notes)


def _remedy_of_lengths(
    norms: NDArray[np.float64], bvals: NDArray[np.float64], wrong: NDArray[np.intp]
) -> str:
    """What to do about directions that are no unit vectors."""
    is_short = norms[wrong] < 1
    has_none = norms[wrong] < _MAX_NORM_ERROR
    # Tables of Siemens may hold one nominal b-value for all volumes, b0s too.
    if is_short.all() and (np.ptp(bvals) == 0 or not has_none.all()):
        return (
            "if lengths scale the b-values (b times the squared length, 0 for a b0), write the b-value of "
            "each volume and unit vectors; if not, drop trace and ADC volumes or restore the exported table"
        )
    return "drop trace and ADC volumes" if has_none.all() else "restore the exported table"


def superior_axis(affine: NDArray[np.float64]) -> int:
    """Array axis that runs most nearly from the feet to the head."""
    return int(np.argmax(np.abs(world_rotation(affine)[2])))
