"""Read ``.bval`` and ``.bvec`` files, and say what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.gradients import B0_THRESHOLD
from n2a_bids.algorithms.realizations import Gradients
from n2a_bids.dataset.units import ImageFile
from n2a_bids.errors import BIDSDataError
from n2a_bids.images import UNREADABLE

# Text files round to few digits; beyond a tenth, the length means something else (a scaled b, a wrong file).
_SILENT_NORM_ERROR = 0.02
_MAX_NORM_ERROR = 0.1


@dataclass(frozen=True, slots=True)
class Series:
    """One DWI series with its gradient table."""

    image: ImageFile
    gradients: Gradients
    notes: tuple[str, ...] = ()
    """What was accepted although it is unusual: one sentence each."""

    @property
    def weighted(self) -> NDArray[np.bool_]:
        """(C,) True for volumes with diffusion weighting."""
        return self.gradients.bvals > B0_THRESHOLD

    @property
    def phase_encoding(self) -> str:
        """``i``, ``j`` or ``k``, with ``-`` where reversed; empty where the sidecar does not say."""
        value = str(self.image.metadata.get("PhaseEncodingDirection", "")).strip().removesuffix("+")
        return value if value.removesuffix("-") in ("i", "j", "k") else ""


def read_series(image: ImageFile) -> Series:
    """Read the gradient table of a DWI series.

    Parameters
    ----------
    image : ImageFile
        With ``bval`` and ``bvec``.

    Returns
    -------
    series : Series
        Directions are unit vectors, zero for b0; notes say what was corrected.

    Raises
    ------
    BIDSDataError
        If a file is missing, cannot be read, or does not describe this series.
    """
    for path, extension in ((image.bval, ".bval"), (image.bvec, ".bvec")):
        if path is None:
            name = image.path.name.split(".")[0] + extension
            raise BIDSDataError(
                f"{image.path}: expected a gradient table, found no {extension} file beside it or above it; "
                f"add {name} (dcm2niix writes it)"
            )
    bvals, notes = _read_bvals(image.bval)
    n_volumes = _count_volumes(image.path)
    if n_volumes is not None and n_volumes != bvals.size:
        raise BIDSDataError(
            f"{image.bval}: expected one b-value for each of the {n_volumes} volumes of {image.path.name}, "
            f"found {bvals.size}; restore the table of this series"
        )
    bvecs, more = _read_bvecs(image.bvec, bvals.size)
    unit_vectors, still_more = _normalized(bvecs, bvals, image.bvec)
    notes = (*notes, *more, *still_more)
    if bvals.size and bvals.min() > B0_THRESHOLD:
        notes += ("it has no b0 volume, so that it gives no tensor maps and no distortion estimate",)
    return Series(image, Gradients(bvals, unit_vectors), notes)


def _read_bvals(path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    table = _read_numbers(path)
    if 1 not in table.shape:
        raise BIDSDataError(
            f"{path}: expected one row of b-values, found a table of {table.shape}; restore it"
        )
    bvals = table.ravel()
    if not np.isfinite(bvals).all() or bvals.min() < 0:
        bad = np.flatnonzero(~(np.isfinite(bvals) & (bvals >= 0)))
        raise BIDSDataError(
            f"{path}: expected b-values of at least 0, found {bvals[bad[0]]} for volume {bad[0] + 1}; "
            "correct the file"
        )
    is_column = table.shape[0] > 1
    return bvals, (f"{path.name} is a column where BIDS wants a row",) if is_column else ()


def _read_bvecs(path: Path, n_volumes: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    table = _read_numbers(path)
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


def _read_numbers(path: Path) -> NDArray[np.float64]:
    try:
        rows = [
            [float(word) for word in line.split()] for line in path.read_text().splitlines() if line.strip()
        ]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise BIDSDataError(
            f"{path}: expected numbers separated by spaces, found {type(error).__name__}: {error}; correct "
            "or fetch the file"
        ) from error
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        found = f"rows of {sorted(lengths)} values" if rows else "an empty file"
        raise BIDSDataError(f"{path}: expected rows of equal length, found {found}; restore the table")
    return np.array(rows)


def _count_volumes(path: Path) -> int | None:
    """From the header; None where it cannot be read, which the check of the image reports later."""
    try:
        shape = nb.load(path).shape
    except UNREADABLE:
        return None
    return int(np.prod(shape[3:]))


def _normalized(
    bvecs: NDArray[np.float64], bvals: NDArray[np.float64], path: Path
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    weighted = bvals > B0_THRESHOLD
    bad = np.flatnonzero(weighted & ~np.isfinite(bvecs).all(axis=1))
    if bad.size:
        raise BIDSDataError(
            f"{path}: expected finite directions, found NaN or infinite values for volume {bad[0] + 1} "
            f"(b={bvals[bad[0]]:g}) and {bad.size - 1} more; correct the file"
        )
    norms = np.linalg.norm(np.where(weighted[:, None], bvecs, 0.0), axis=1)
    wrong = np.flatnonzero(weighted & (np.abs(norms - 1) > _MAX_NORM_ERROR))
    if wrong.size:
        first = wrong[0]
        hint = (
            "drop trace and ADC volumes" if norms[first] < _MAX_NORM_ERROR else "restore the exported table"
        )
        raise BIDSDataError(
            f"{path}: expected unit vectors for diffusion-weighted volumes, found length {norms[first]:.2g} "
            f"for volume {first + 1} (b={bvals[first]:g}) and {wrong.size - 1} more; {hint}"
        )
    unit_vectors = np.divide(
        bvecs, norms[:, None], out=np.zeros_like(bvecs), where=weighted[:, None] & (norms[:, None] > 0)
    )
    worst = np.abs(norms[weighted] - 1).max(initial=0.0)
    notes = (f"directions of {path.name} were off unit length by up to {worst:.0%}: normalized",)
    return unit_vectors, notes if worst > _SILENT_NORM_ERROR else ()
