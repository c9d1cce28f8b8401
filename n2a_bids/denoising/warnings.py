"""Words the warnings of the denoiser (misalignment, gaps, anatomy in the residual) and refuses copies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.gaussian import gaussian_blur
from n2a_bids.algorithms.noise.copies import find_copies, find_dependent
from n2a_bids.algorithms.noise.shared_noise import SharedNoise, shared_noise, shared_series_noise
from n2a_bids.algorithms.quality.alignment_checks import least_structure
from n2a_bids.algorithms.quality.spoiled_runs import find_spoiled_runs
from n2a_bids.algorithms.registration.noise_attenuation import PairNoise
from n2a_bids.algorithms.registration.similarity import structure_correlation
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.config import AlignConfig
from n2a_bids.enumeration import counted, listing
from n2a_bids.errors import BIDSDataError
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.strategy_table import StrategyFacts

_MOST_EDGES = 0.2
"""0 for aligned runs with white noise, 0.14 for a real pair; 0.3 to 0.47 where runs are one voxel apart."""
_BAND_MM = (1.2, 3.0)
_LEAST_HEAD_SIGNAL = 0.25
"""Of a series, mean over its b0s, over that of the brain: air lies below, also of magnitudes."""
_HEAD_BLUR_VOXELS = 1.0
_LEAST_GAP_ML = 1.0
_MOST_ANATOMY = 0.1
"""More along edges in the residual than in the difference of two runs, as the trust tests of the benchmark
allow."""


def describe_specks(name: str, values: NDArray[np.float32]) -> str:
    """Note for the user on the values of the specks of a file."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        found = "NaN or infinity"
    elif np.ptp(finite) == 0:
        found = f"{finite[0]:g}"
    else:
        found = f"{finite.min():g} to {finite.max():g}"
    voxels = counted(values.size, "voxel")
    return (
        f"{name}: {voxels} of impossible intensity ({found}), alone among others: taken for no "
        "measurement, in masks, registration and result; look at the conversion of the image"
    )


def refuse_copies(runs: Sequence[Path], images: Sequence[NDArray[np.float32]]) -> None:
    """Refuse runs of which one is the other: their difference, from which noise is known, is zero.

    Parameters
    ----------
    images : sequence of (X, Y, Z) or (X, Y, Z, C) float32 arrays
        Of one shape.

    Raises
    ------
    BIDSDataError
        Names both files.
    """
    for copy, first in find_copies(images).items():
        raise BIDSDataError(
            f"{runs[copy]}: expected another measurement than {runs[first]}, found a copy of it; give each "
            "acquisition once"
        )


def refuse_stack(facts: StrategyFacts, repetitions: Repetitions, run: Path) -> None:
    """Refuse several volumes without a table where a strategy works on anatomical images.

    Raises
    ------
    BIDSDataError
        Names the file; a plain mean has no need to know what the volumes are.
    """
    n_volumes = repetitions.data.shape[-1]
    if facts.modality == "anat" and facts.name != "mean" and n_volumes > 1:
        raise BIDSDataError(
            f"{run}: expected one volume of an anatomical image, found {n_volumes}; give the gradient table "
            "of a diffusion series (--bvals and --bvecs), or repetitions as an image each"
        )


def shared_noise_warnings(runs: Sequence[Path], repetitions: Repetitions) -> list[str]:
    """Refuse runs that hold the noise of others, and warn of those that share a part of it.

    Parameters
    ----------
    runs : sequence of Path
        Their files, for the message.

    Returns
    -------
    warnings : list of str
        A sentence for each pair that shares a part.

    Raises
    ------
    BIDSDataError
        If a run is another one, processed, or a mean of others.
    """
    data = repetitions.data
    if repetitions.n_measured is not None:
        # Where others stand in for a run it has their noise.
        data = data * (repetitions.n_measured == len(data))[..., None]
    shared = {
        (one, other): _shared_noise(data[one], data[other], repetitions.gradients)
        for one, other in combinations(range(len(data)), 2)
    }
    for copy in find_dependent(shared, range(len(data))):
        sources = listing([str(runs[source]) for source in copy.sources])
        raise BIDSDataError(
            f"{runs[copy.index]}: expected noise of its own, found that of {sources} (correlation "
            f"{copy.correlation:.2f}, of two acquisitions 0); give each acquisition once, or "
            "take them all the same (n2a-tools denoise: --allow-shared-noise)"
        )
    return [
        f"{runs[one].name} and {runs[other].name} share part of their noise (correlation "
        f"{found.correlation:.2f}, of two acquisitions 0): less of it goes than the numbers say"
        for (one, other), found in shared.items()
        if found is not None and found.is_partial
    ]


def _shared_noise(
    first: NDArray[np.float32], second: NDArray[np.float32], gradients: Gradients | None
) -> SharedNoise | None:
    if gradients is not None:
        return shared_series_noise(
            (first, second), gradients.bvals, (gradients.bvecs, gradients.bvecs), np.eye(4)
        )
    return shared_noise(first[..., 0], second[..., 0], np.eye(4)) if first.shape[-1] == 1 else None


def spoiled_warnings(runs: Sequence[Path], repetitions: Repetitions) -> list[str]:
    """A sentence for each of three or more heads, taken as they lie, whose error is more than noise.

    Parameters
    ----------
    runs : sequence of Path
        Their files.
    repetitions : Repetitions
        Of other images nothing is said.
    """
    is_head = repetitions.modality == "anat" and repetitions.data.shape[-1] == 1
    if not (is_head and repetitions.same_contrast):
        return []
    found = find_spoiled_runs(repetitions.data[..., 0], repetitions.mask)
    return [run.warning(runs[run.index].name) for run in found]


def alignment_warnings(repetitions: Repetitions, record: DenoisingRecord) -> list[str]:
    """A sentence where runs of one contrast do not show the same anatomy in the same place.

    Runs that are a few voxels apart differ along edges; those farther apart no longer, but there their detail
    has nothing in common.

    Parameters
    ----------
    repetitions : Repetitions
        T1w runs; others are not judged.
    record : DenoisingRecord
        With ``difference_edge_correlation``, where it could be measured.
    """
    data, mask = repetitions.data[..., 0], repetitions.mask
    if repetitions.data.shape[-1] > 1 or len(data) < 2 or not repetitions.same_contrast:
        return []
    edges = record.difference_edge_correlation or 0.0
    voxel_mm = float(np.prod(repetitions.voxel_size_mm)) ** (1 / 3)
    fine = max(1.0, _BAND_MM[0] / voxel_mm)
    band = (fine, fine * _BAND_MM[1] / _BAND_MM[0])
    noise = [PairNoise.measure(data[0], mask, other, np.eye(4)).variances(*band) for other in data[1:]]
    alike = min(
        structure_correlation(data[0], other, mask, band, variances)
        for other, variances in zip(data[1:], noise, strict=True)
    )
    needed = least_structure(AlignConfig().min_structure_correlation, voxel_mm)
    found = []
    if edges > _MOST_EDGES:
        found.append(f"they differ at edges of the anatomy (correlation {edges:.2f}, of aligned runs near 0)")
    if alike < needed:
        found.append(f"their detail differs (correlation {alike:.2f}, of aligned runs near 1)")
    if not found:
        return []
    return [
        "the runs do not seem to be aligned, or the head moved during one of the scans: "
        f"{' and '.join(found)}; look at the residual, at each run, and at how they were aligned"
    ]


def gap_warnings(repetitions: Repetitions) -> list[str]:
    """A sentence where some runs hold one value over an area, so that others stand there alone.

    Parameters
    ----------
    repetitions : Repetitions
        Of diffusion series, whose air is often masked away, only the head counts.
    """
    n_measured, n_runs = repetitions.n_measured, repetitions.n_repetitions
    if n_measured is None:
        return []
    gaps = (n_measured > 0) & (n_measured < n_runs)
    if repetitions.data.shape[-1] > 1:
        gaps &= _head_of_series(repetitions)
    gaps_ml = np.count_nonzero(gaps) * float(np.prod(repetitions.voxel_size_mm)) / 1000
    if gaps_ml < _LEAST_GAP_ML:
        return []
    return [
        "some of the runs hold one value and no measurement (defaced, skull-stripped or padded) in "
        f"{gaps_ml:.0f} ml, where others were measured: these alone stand there, with more noise"
    ]


def _head_of_series(repetitions: Repetitions) -> NDArray[np.bool_]:
    """(X, Y, Z) where a series shows signal: in its b0s, the noise of which lies farthest below it."""
    table, volumes = repetitions.gradients, repetitions.data.max(axis=0)
    if table is not None and table.is_b0.any():
        volumes = volumes[..., table.is_b0]
    signal = gaussian_blur(volumes.mean(axis=-1), _HEAD_BLUR_VOXELS, 2.0)
    return signal > _LEAST_HEAD_SIGNAL * np.median(signal[repetitions.mask])


def residual_warnings(repetitions: Repetitions, record: DenoisingRecord) -> list[str]:
    """A sentence where what was taken away follows the edges of the anatomy more than noise does.

    Parameters
    ----------
    repetitions : Repetitions
        Runs of one contrast; others are not judged.
    record : DenoisingRecord
        With ``residual_edge_correlation`` and ``difference_edge_correlation``, where they were measured.

    Examples
    --------
    >>> runs = Repetitions(np.zeros((2, 2, 2, 2, 1), np.float32), np.ones((2, 2, 2), bool))
    >>> record = DenoisingRecord(residual_edge_correlation=0.12, difference_edge_correlation=0.05)
    >>> residual_warnings(runs, record)
    []
    """
    residual, difference = record.residual_edge_correlation, record.difference_edge_correlation
    if repetitions.data.shape[-1] > 1 or residual is None or difference is None:
        return []
    if residual - difference <= _MOST_ANATOMY:
        return []
    return [
        f"the residual follows the edges of the anatomy (correlation {residual:.2f}, the difference of "
        f"two runs {difference:.2f}; up to {_MOST_ANATOMY:g} more is usual): detail was taken away, or the "
        "runs ring at the border of an area without measurement; look at the residual"
    ]


def filter_warnings(record: DenoisingRecord) -> list[str]:
    """A sentence where noise is smoother than the acquired part of k-space makes it.

    Parameters
    ----------
    record : DenoisingRecord
        With `noise_model`, where it was found.

    Examples
    --------
    >>> filter_warnings(DenoisingRecord())
    []
    """
    model = record.noise_model
    if model is None or not model.looks_filtered or model.fwhm_voxels is None:
        return []
    widths = " x ".join(f"{width:.1f}" for width in model.fwhm_voxels)
    # Vessels that a contrast agent brightened in one of two runs are as smooth as filtered noise.
    compared = model.source == "differences of repetitions"
    otherwise = ", or they differ in more than noise (contrast agent in one)" if compared else ""
    return [
        f"the noise of neighbouring voxels hangs together (FWHM {widths} voxels) more than the acquired part "
        "of k-space explains: the images look filtered, interpolated or denoised by the scanner or before "
        f"they came here{otherwise}; give them as reconstructed, where you can"
    ]
