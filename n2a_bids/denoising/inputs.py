"""`DenoiseJob`, what a denoising is asked for, and the loading of its images as `Repetitions`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.preparation.gap_filling import fill_from_others, fill_series, mend_series
from n2a_bids.algorithms.preparation.gaps import find_gaps, without_gaps
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.config import B0Threshold, DenoiseConfig
from n2a_bids.config.options import Option, Range
from n2a_bids.contrasts import B0_THRESHOLD
from n2a_bids.dataset.read.files import open_nifti
from n2a_bids.dataset.read.image_memory import least_memory_gb
from n2a_bids.denoising.volume_checks import refuse_other_order
from n2a_bids.denoising.warnings import describe_specks, refuse_copies
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.gradients import read_gradients
from n2a_bids.io.images import UNREADABLE, load, mask_in_world, refuse_beyond_memory, same_grid


@dataclass(frozen=True, slots=True)
class ExposureOptions:
    """What only PNG and TIFF files of a microscope have."""

    HEADING: ClassVar[str] = "micrographs (PNG and TIFF)"

    pairs: Annotated[
        tuple[Path, ...],
        Option(
            "denoise every pair of files of one name in two folders, not runs; --out is a folder then",
            metavar=("EVEN_DIR", "ODD_DIR"), n_values=2,
        ),
    ] = ()  # fmt: skip
    as_they_lie: Annotated[bool, Option("do not look for drift between the exposures")] = False
    as_float: Annotated[
        bool, Option("write single precision (TIFF), not the type of the exposures", flags=("--float",))
    ] = False


@dataclass(frozen=True, slots=True)
class DenoiseJob:
    """What ``n2a-tools denoise`` is asked for: images, and what is known of them."""

    runs: Annotated[
        tuple[Path, ...],
        Option(
            "repetitions (NIfTI): heads are aligned first, diffusion series lie on one grid; or exposures of "
            "one field of view (PNG, TIFF)",
            metavar="RUN",
            positional=True,
        ),
    ] = ()
    mask: Annotated[
        Path | None,
        Option(
            "brain mask, in the world of the runs", default="found in them; in the b0s of diffusion series"
        ),
    ] = None
    denoise: DenoiseConfig = field(default_factory=DenoiseConfig)
    exposures: ExposureOptions = field(default_factory=ExposureOptions)
    omp_nthreads: Annotated[
        int, Range(1), Option("threads", metavar="N", default="processors allowed, at most 8")
    ] = 0
    memory_gb: Annotated[
        float | None,
        Option("for blocks and activations", metavar="GB", reading="memory", default="what is free"),
    ] = None
    different_contrast: Annotated[bool, Option("the runs differ in contrast (echoes)")] = False
    micrograph: Annotated[
        bool,
        Option(
            "the runs are exposures of a microscope: columns, rows, planes, channels, with counting noise; "
            "the mask says which pixels count"
        ),
    ] = False
    bvals: Annotated[Path | None, Option("b-values of a diffusion series, FSL format", metavar="FILE")] = None
    bvecs: Annotated[Path | None, Option("gradient directions, FSL format", metavar="FILE")] = None
    b0_threshold: B0Threshold = B0_THRESHOLD
    companion: Annotated[
        Path | None,
        Option(
            "another diffusion series of the same table and voxel size, which is learned from where that "
            "lowers the error, and neither averaged nor written",
            metavar="FILE",
        ),
    ] = None
    noise_kept: Annotated[
        float,
        Range(0, 1, above=True),
        Option(
            "part of the noise SD that interpolation of a diffusion series left, which its Rician bias does "
            "not follow",
            metavar="PART", default="1, not interpolated",
        ),
    ] = 1.0  # fmt: skip
    whole_image: Annotated[
        bool,
        Option("denoise all of a diffusion series: what lies around the brain, too, by local PCA"),
    ] = False
    allow_shared_noise: Annotated[
        bool, Option("take runs that hold the same noise, which is otherwise an error")
    ] = False
    """Halves of one series, or runs that were looked at before."""
    real_valued: Annotated[
        bool,
        Option(
            "the runs are real parts of complex images whose phase was taken out: their noise is Gaussian, "
            "without a floor, and they may be negative",
            default="magnitudes, but for diffusion series with negative intensities",
        ),
    ] = False
    measured: Annotated[
        Path | None,
        Option(
            "how many of the runs were measured at each voxel; the others hold what those show",
            metavar="FILE", default="zones of one value are looked for",
        ),
    ] = None  # fmt: skip
    stored: Annotated[
        tuple[Path, ...],
        Option(
            "the runs as they were stored, before any interpolation: what was acquired of k-space is looked "
            "for there",
            metavar="FILE", default="the runs",
        ),
    ] = ()  # fmt: skip


def load_repetitions(job: DenoiseJob, warn: Callable[[str], None] = lambda text: None) -> Repetitions:
    """Read the runs and the mask, and check that they belong together.

    Parameters
    ----------
    warn : callable
        Given a sentence for each image in which impossible values were made like their surroundings.

    Raises
    ------
    BIDSDataError
        If a file is missing, is not NIfTI, holds NaN in single voxels (over an area it is a gap), is
        constant in the mask, lies on another grid, or is a copy of another.
    """
    needed_gb = least_memory_gb(job.runs)
    refuse_beyond_memory(job.runs[0], needed_gb, f"{len(job.runs)} images", "crop the images")
    reference = job.runs[0]
    first, affine = _load_image(reference)
    images = [first]
    for path in job.runs[1:]:
        data, _ = _load_image(path)
        if data.shape != first.shape or not same_grid(path, reference):
            raise BIDSDataError(
                f"{path}: expected the grid {first.shape} of {reference}, found {data.shape} or another "
                "affine; align and resample the repetitions first ('n2a' does)"
            )
        images.append(data)
    mask = _load_mask(job.mask, reference)
    images, n_measured = _load_measured(job, images, voxel_sizes_mm(affine), mask, warn)
    if n_measured is not None and (mask & (n_measured == len(images))).any():
        # Measures of noise and the comparison of candidates need all of them.
        mask = mask & (n_measured == len(images))
    if len(images) == 1:
        n_measured = None  # nothing stands in, so that counts tell no more than the mask
    _check_values(job.runs, images, mask)
    refuse_copies(job.runs, images)
    if not job.micrograph:
        refuse_other_order(job.runs, images, mask)
    data = np.stack(images)
    return Repetitions(
        data=data if data.ndim == 5 else data[..., None],
        mask=mask,
        voxel_size_mm=voxel_sizes_mm(affine),
        left_right_axis=int(np.flatnonzero(nb.io_orientation(affine)[:, 0] == 0)[0]),
        same_contrast=not job.different_contrast,
        micrograph=job.micrograph,
        n_measured=n_measured,
        gradients=_load_gradients(job, first.shape[-1] if first.ndim == 4 else 1, affine),
        noise_kept=job.noise_kept,
        real_valued=job.real_valued,
    )


def _not_finite(path: Path, where: str = "") -> str:
    return f"{path}: expected finite intensities, found NaN or infinity{where}; repair the image"


def _check_values(
    runs: Sequence[Path], images: Sequence[NDArray[np.float32]], mask: NDArray[np.bool_]
) -> None:
    """Refuse what is not finite, and images of one value."""
    for path, image in zip(runs, images, strict=True):
        if not np.isfinite(image).all():
            raise BIDSDataError(_not_finite(path))
        extent = np.atleast_1d(np.ptp(image[mask], axis=0))
        if not extent.all():
            where = f"volume {np.argmin(extent)}, counted from 0" if image.ndim == 4 else "the whole mask"
            raise BIDSDataError(f"{path}: expected an image, found one value in {where}; leave it out")


def _load_measured(
    job: DenoiseJob,
    images: list[NDArray[np.float32]],
    sizes_mm: tuple[float, float, float],
    mask: NDArray[np.bool_],
    warn: Callable[[str], None],
) -> tuple[list[NDArray[np.float32]], NDArray[np.uint8] | NDArray[np.float32] | None]:
    """The runs, filled where others were measured, and how many were; None where all were everywhere."""
    if job.measured is not None:
        counts, _ = load(job.measured)
        if not same_grid(job.measured, job.runs[0]):
            raise BIDSDataError(
                f"{job.measured}: expected the grid of {job.runs[0]}, found another; give counts on that grid"
            )
        return images, counts
    # Areas of one value are shadow or saturation in micrographs.
    if job.micrograph or (len(images) < 2 and np.isfinite(images[0]).all()):
        return images, None
    if images[0].ndim > 3:
        for path, series in zip(job.runs, images, strict=True):
            if not np.isfinite(series).all():
                if not np.isfinite(specks := mend_series(series, sizes_mm)).all():
                    raise BIDSDataError(_not_finite(path, " in single voxels"))
                if specks.size:
                    warn(describe_specks(path.name, specks))
        return _fill_series(images, mask)
    gaps = [find_gaps(image, sizes_mm) for image in images]
    if not any(one.any for one in gaps):
        return images, None
    for path, image, one in zip(job.runs, images, gaps, strict=True):
        if not np.isfinite(image[one.specks & mask]).all():
            raise BIDSDataError(_not_finite(path, " in single voxels of the brain"))
        if one.specks.any():
            warn(describe_specks(path.name, image[one.specks]))
    if len(images) == 1:
        return [without_gaps(images[0], gaps[0])], gaps[0].measured.astype(np.uint8)
    plain = np.stack([without_gaps(image, one) for image, one in zip(images, gaps, strict=True)])
    filled, n_measured = fill_from_others(plain, np.stack([one.measured for one in gaps]), mask)
    zones = np.all([one.zone for one in gaps], axis=0)
    return list(filled), np.where(zones, n_measured, np.maximum(n_measured, 1))


def _fill_series(
    images: list[NDArray[np.float32]], mask: NDArray[np.bool_]
) -> tuple[list[NDArray[np.float32]], NDArray[np.uint8] | NDArray[np.float32] | None]:
    """The same for diffusion series, in which zero in every volume is no measurement."""
    measured = np.stack([image.any(axis=-1) for image in images])
    if not (measured.any(axis=0) & ~measured.all(axis=0)).any():
        return images, None
    return list(fill_series(np.stack(images), measured, mask)), measured.sum(axis=0, dtype=np.uint8)


def _load_image(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    open_nifti(path)
    try:
        data, affine = load(path)
    except (*UNREADABLE, ValueError) as error:
        raise BIDSDataError(
            f"{path}: expected a NIfTI image, found none that can be read: {error}"
        ) from error
    return data, affine


def _load_mask(path: Path, reference: Path) -> NDArray[np.bool_]:
    try:
        mask = mask_in_world(path, reference)
    except UNREADABLE as error:
        raise BIDSDataError(f"{path}: expected a mask, found none that can be read: {error}") from error
    if not mask.any() and (load(path)[0] > 0.5).any():
        raise BIDSDataError(
            f"{path}: expected a mask in the world of {reference}, found one outside of it; give the "
            "mask of these images"
        )
    if not mask.any():
        raise BIDSDataError(f"{path}: the brain mask is empty; look at the image, or give a mask of your own")
    return mask


def _load_gradients(job: DenoiseJob, n_volumes: int, affine: NDArray[np.float64]) -> Gradients | None:
    if job.bvals is None or job.bvecs is None:
        return None
    gradients = read_gradients(job.bvals, job.bvecs, affine, b0_threshold=job.b0_threshold)
    if gradients.bvals.size != n_volumes:
        raise BIDSDataError(
            f"{job.bvals}: expected {n_volumes} b-values and directions, one for each volume of "
            f"{job.runs[0]}, found {gradients.bvals.size}; correct the files"
        )
    return gradients
