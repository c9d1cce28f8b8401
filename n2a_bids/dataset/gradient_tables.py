"""Read ``.bval`` and ``.bvec`` files, and say what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.realizations import Gradients
from n2a_bids.dataset.units import ImageFile
from n2a_bids.errors import BIDSDataError
from n2a_bids.gradient_files import B0_THRESHOLD, inspect_gradients, read_bvals
from n2a_bids.images import UNREADABLE


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
        return ~self.gradients.is_b0

    @property
    def phase_encoding(self) -> str:
        """``i``, ``j`` or ``k``, with ``-`` where reversed; empty where the sidecar does not say."""
        value = str(self.image.metadata.get("PhaseEncodingDirection", "")).strip().removesuffix("+")
        return value if value.removesuffix("-") in ("i", "j", "k") else ""


def read_series(image: ImageFile, b0_threshold: float = B0_THRESHOLD) -> Series:
    """Read the gradient table of a DWI series.

    Parameters
    ----------
    image : ImageFile
        With ``bval`` and ``bvec``.
    b0_threshold : float
        Largest b-value (s/mm2) that counts as b0.

    Returns
    -------
    series : Series
        Directions are unit vectors of the world; notes say what was corrected.

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
    n_volumes, affine = _read_header(image.path)
    bvals, _ = read_bvals(image.bval)
    if n_volumes is not None and n_volumes != bvals.size:
        raise BIDSDataError(
            f"{image.bval}: expected one b-value for each of the {n_volumes} volumes of {image.path.name}, "
            f"found {bvals.size}; restore the table of this series"
        )
    gradients, notes = inspect_gradients(image.bval, image.bvec, affine, b0_threshold=b0_threshold)
    if not gradients.is_b0.any():
        notes += ("it has no b0 volume, so that it gives no tensor maps and no distortion estimate",)
    return Series(image, gradients, notes)


def _read_header(path: Path) -> tuple[int | None, NDArray[np.float64]]:
    """Number of volumes and affine; None and the order of storage that FSL calls its own where the header
    cannot be read, which the check of the image reports later.
    """
    try:
        image = nb.load(path)
    except UNREADABLE:
        return None, np.diag([-1.0, 1.0, 1.0, 1.0])
    return int(np.prod(image.shape[3:])), image.affine
