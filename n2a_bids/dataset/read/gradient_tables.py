"""Reads a diffusion series with its bval and bvec table, checked and turned into the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.quality.volume_signal import signal_of_volumes, unlike_b0s
from n2a_bids.contrasts import B0_THRESHOLD
from n2a_bids.dataset.read.acquisition import Acquisition, read_acquisition
from n2a_bids.dataset.read.complex_parts import read_magnitudes
from n2a_bids.dataset.units import DenoisingUnit, ImageFile, PhaseEncoding
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.gradients import (
    inspect_gradients,
    phase_encoding_in_world,
    phase_encoding_of,
    read_bvals,
    superior_axis,
)
from n2a_bids.io.images import UNREADABLE, sound_affine

_STORAGE_OF_FSL = np.diag([-1.0, 1.0, 1.0, 1.0])
"""Stands for the affine of an image that is not there yet (a clone of DataLad)."""


@dataclass(frozen=True, slots=True)
class Series:
    """One DWI series with its gradient table."""

    image: ImageFile
    gradients: Gradients
    """Directions in the world."""
    notes: tuple[str, ...] = ()
    """What was accepted although it is unusual: one sentence each."""
    affine: NDArray[np.float64] | None = None
    """(4, 4) voxel to world mm; None where the header cannot be read, which its own check reports."""
    acquisition: Acquisition = field(default_factory=Acquisition)

    @property
    def weighted(self) -> NDArray[np.bool_]:
        """(C,) True for volumes with diffusion weighting."""
        return ~self.gradients.is_b0

    @property
    def phase_encoding(self) -> str:
        """``i``, ``j`` or ``k``, with ``-`` where reversed; empty where the sidecar does not say."""
        return self.acquisition.phase_encoding

    def along(self, direction: str) -> NDArray[np.float64]:
        """(3,) unit vector of the world for a direction of the array (``i``, ``j-``, ...)."""
        return phase_encoding_in_world(direction, _STORAGE_OF_FSL if self.affine is None else self.affine)


def phase_encoding_axis_in_world(image: ImageFile) -> list[float]:
    """(3,) axis along which the phase of a series was encoded, in the world; empty where no sidecar tells.

    Whether it runs up or down that axis is not said.
    """
    found = read_acquisition(image.metadata, read_shape(image.path))
    axis = found.phase_encoding or found.phase_encoding_axis
    _, affine = read_header(image.path)
    if not axis or affine is None:
        return []
    return [float(part) for part in phase_encoding_in_world(axis, affine)]


def phase_encoding_on_grid(unit: DenoisingUnit, index: int) -> str:
    """``PhaseEncodingDirection`` of one of a unit's images, in its own array; empty where it is not known."""
    if not unit.phase_encoding:
        return ""
    return phase_encoding_of(unit.phase_encoding[index].direction, nb.load(unit.images[index].path).affine)


def encodings(series: Sequence[Series]) -> tuple[PhaseEncoding, ...]:
    """Phase encoding of each series in the world; empty where a sidecar does not tell."""
    if not all(one.phase_encoding for one in series):
        return ()
    return tuple(
        PhaseEncoding(
            tuple(float(part) for part in one.along(one.phase_encoding)),
            readout_time_s=one.acquisition.readout_time_s,
        )
        for one in series
    )


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
            of_b0s = "; where all volumes are b0s, a row of zeros in it is enough" * (extension == ".bval")
            raise BIDSDataError(
                f"{image.path}: expected a gradient table, found no {extension} file beside it or above it; "
                f"add {name} (dcm2niix writes it){of_b0s}"
            )
    n_volumes, affine = read_header(image.path)
    bvals, _ = read_bvals(image.bval)
    if n_volumes is not None and n_volumes != bvals.size:
        raise BIDSDataError(
            f"{image.bval}: expected one b-value for each of the {n_volumes} volumes of {image.path.name}, "
            f"found {bvals.size}; {_remedy_of_count(n_volumes, bvals.size)}"
        )
    gradients, notes = inspect_gradients(
        image.bval,
        image.bvec,
        _STORAGE_OF_FSL if affine is None else affine,
        b0_threshold=b0_threshold,
    )
    if not gradients.is_b0.any():
        notes += ("it has no b0 volume, so that it gives no tensor maps and no distortion estimate",)
    acquisition = read_acquisition(image.metadata, read_shape(image.path))
    return Series(image, gradients, (*notes, *acquisition.notes), affine, acquisition)


def read_shape(path: Path) -> tuple[int, ...]:
    """Voxels along the axes of an image; empty where the header cannot be read."""
    try:
        return nb.load(path).shape
    except UNREADABLE:
        return ()


def _remedy_of_count(n_volumes: int, n_rows: int) -> str:
    """What to do about a table of another number of volumes."""
    remedy = "restore the table of this series"
    if n_volumes < n_rows:
        remedy += f", or, if the scan was broken off, keep the first {n_volumes} columns of .bval and .bvec"
    return remedy


def read_header(path: Path) -> tuple[int | None, NDArray[np.float64] | None]:
    """Number of volumes and affine; None where the header cannot be read or places no voxel."""
    try:
        image = nb.load(path)
        return int(np.prod(image.shape[3:])), sound_affine(image)
    except UNREADABLE:
        return None, None


def b0_signal_problem(
    signal: NDArray[np.float64], shells: NDArray[np.float64], indices: Sequence[int], path: Path
) -> str:
    """Say which b0s of a series differ from its other b0s, with the remedy; empty if none does.

    Scanners append trace images and ADC maps to a series, which converters store with b=0: as a b0 they would
    change brain mask, distortion and every tensor.

    Parameters
    ----------
    signal, shells : (C,) arrays
        See `n2a_bids.algorithms.quality.volume_signal`.
    indices : sequence of int
        Of the volumes in their file, from 0.
    path : Path
        Of the series.
    """
    odd = unlike_b0s(signal, shells)
    if not odd:
        return ""
    listed = ", ".join(f"{indices[one.volume]} ({one.ratio:.2f} of the others)" for one in odd)
    return (
        f"{path}: expected b0 volumes of one brightness, found another signal in the head in volume "
        f"{listed}, counted from 0, as a trace image or ADC map has that was stored with b=0; remove it from "
        "series and table"
    )


def unlike_b0_problem(image: ImageFile, b0_threshold: float) -> str:
    """Say which b0s of a series of the dataset differ from its other b0s: see `b0_signal_problem`.

    Parameters
    ----------
    image, b0_threshold
        See `brain_problem`.
    """
    try:
        unweighted = np.flatnonzero(read_series(image, b0_threshold).gradients.is_b0)
        if unweighted.size < 2:
            return ""
        volumes = read_magnitudes(image, unweighted)
    except (BIDSDataError, *UNREADABLE):
        return ""
    return b0_signal_problem(signal_of_volumes(volumes), np.zeros(unweighted.size), unweighted, image.path)


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
    # dipy takes a second to import, and ``--dry-run`` looks at no brain.
    from n2a_bids.external.b0_brain import find_brain, volume_problem

    try:
        unweighted = np.flatnonzero(read_series(image, b0_threshold).gradients.is_b0)
        affine = nb.load(image.path).affine
        # The first alone is read quickly, and nearly always enough.
        for indices in (unweighted[:1], unweighted):
            problem = ""
            if indices.size:
                brain = find_brain(read_magnitudes(image, indices).mean(axis=-1), superior_axis(affine))
                problem = volume_problem(brain, affine, image.path)
            if not problem:
                break
    except (BIDSDataError, *UNREADABLE):
        return ""
    return problem
