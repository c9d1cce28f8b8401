"""Exposures of a microscope: read from PNG and TIFF files, moved back onto the first, and what counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.micrographs.alignment import move_back
from n2a_bids.algorithms.micrographs.drift import Drift, estimate_drift
from n2a_bids.algorithms.normalization import equal_gains
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.denoising.warnings import refuse_copies
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrographs import Micrograph, read_micrograph

_LEAST_CORRELATION = 0.2
"""Of smoothed exposures of one field of view: those of two have nothing in common."""
_STILL_PIXELS = 0.05
"""Drift that is left alone."""
_SATURATED = 0.05
"""Part of a saturated pixel, after the shift by a fraction, that makes a pixel saturated."""

_NO_PAGES = str.maketrans("", "", "ZTIQ")


@dataclass(frozen=True, slots=True)
class Exposures:
    """Aligned exposures with the file that outputs are written like."""

    repetitions: Repetitions
    like: Micrograph
    drift: Drift | None
    """None where exposures were taken as they lie."""


def load_exposures(
    paths: Sequence[Path], *, aligned: bool = False, report: Callable[[str], None] = lambda message: None
) -> Exposures:
    """Read exposures of one field of view and put them on the grid of the first.

    Parameters
    ----------
    paths : sequence of Path
        At least two PNG or TIFF files.
    aligned : bool
        Take them as they lie.
    report : callable
        Told the drift.

    Returns
    -------
    exposures : Exposures
        The mask holds the pixels that no exposure saturates and all measured.

    Raises
    ------
    BIDSDataError
        If a file cannot be read, differs in size or type, is a copy of another, is saturated throughout, or
        shows another field of view.
    """
    return align_exposures([read_micrograph(path) for path in paths], aligned=aligned, report=report)


def align_exposures(
    images: Sequence[Micrograph],
    *,
    aligned: bool = False,
    largest_value: float | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> Exposures:
    """Put exposures that have been read on the grid of the first.

    Parameters
    ----------
    images : sequence of Micrograph
    aligned : bool
        Take them as they lie.
    largest_value : float, optional
        At which pixels are saturated; by default that of the camera.
    report : callable
        Told the drift.

    Raises
    ------
    BIDSDataError
        As `load_exposures`, but for files that cannot be read.
    """
    first, paths = images[0], [image.path for image in images]
    _refuse_unlike(images)
    data = np.stack([image.pixels for image in images]).astype(np.float32)
    saturated = data >= (_largest_value(images) if largest_value is None else largest_value)
    _refuse_empty(images, data, saturated)
    refuse_copies(paths, list(data))
    drift = None if aligned or len(paths) < 2 else _find_drift(paths, data, report)
    measured = np.ones(data.shape[:4], bool)
    if drift is not None:
        saturated = _move_back(data, saturated, measured, drift)
    counted = ~saturated.any(axis=(0, -1)) & measured.all(axis=0)
    if not counted.any():
        raise BIDSDataError(
            f"{first.path}: expected pixels that all exposures show unsaturated, found none; expose shorter, "
            "or leave exposures out that have drifted away"
        )
    _fill_gaps(data, measured, equal_gains(data, counted))
    repetitions = Repetitions(
        data=data,
        mask=counted,
        voxel_size_mm=first.pixel_size_mm or (1.0, 1.0, 1.0),
        n_measured=None if measured.all() else measured.sum(axis=0, dtype=np.uint8),
        micrograph=True,
    )
    return Exposures(repetitions, first, drift)


def _largest_value(images: Sequence[Micrograph]) -> float:
    """At which the camera was saturated: that of one exposure holds for all that stay below it."""
    least = min(image.largest_value for image in images)
    if all(image.pixels.max() <= least for image in images):
        return least
    return images[0].largest_value


def _refuse_unlike(images: Sequence[Micrograph]) -> None:
    """Refuse exposures of another size or type than the first."""
    first = images[0]
    for image in images[1:]:
        if image.pixels.shape != first.pixels.shape or image.pixels.dtype != first.pixels.dtype:
            raise BIDSDataError(
                f"{image.path}: expected an exposure like {first.path}, {_describe(first)}, found "
                f"{_describe(image)}; give exposures of one field of view and one camera"
            )


def _refuse_empty(
    images: Sequence[Micrograph], data: NDArray[np.float32], saturated: NDArray[np.bool_]
) -> None:
    """Refuse exposures without finite values, or of one value only."""
    for image, values, full in zip(images, data, saturated):
        if not np.isfinite(values).all():
            raise BIDSDataError(
                f"{image.path}: expected finite values, found NaN or infinity; export it again"
            )
        if full.all() or np.ptp(values) == 0:
            raise BIDSDataError(
                f"{image.path}: expected an image, found one value"
                f"{' (saturated)' if full.all() else ''} in all pixels; leave it out"
            )


def sum_frames(stack: Micrograph, n_groups: int) -> list[Micrograph]:
    """Means of the frames of a file in interleaved groups, which share drift and dose; halves in time do not.

    Parameters
    ----------
    stack : Micrograph
        Its pages are frames.
    n_groups : int
        2 for the even and the odd frames.

    Returns
    -------
    groups : list of Micrograph
        Of one page each, in single precision; a pixel that any of its frames saturates has the largest value.

    Raises
    ------
    BIDSDataError
        If there are fewer frames than groups.
    """
    n_frames = stack.pixels.shape[2]
    if n_frames < n_groups:
        raise BIDSDataError(
            f"{stack.path}: expected at least {n_groups} frames for --micr-frames {n_groups}, found "
            f"{n_frames} pages; ask for fewer groups"
        )
    groups = []
    for index in range(n_groups):
        frames = stack.pixels[:, :, index::n_groups]
        mean = frames.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32)
        if stack.is_integer:
            mean[(frames >= stack.largest_value).any(axis=2, keepdims=True)] = stack.largest_value
        groups.append(replace(stack, pixels=mean, axes=stack.axes.translate(_NO_PAGES)))
    return groups


def _describe(image: Micrograph) -> str:
    size = " x ".join(map(str, image.pixels.shape))
    return f"{size} (columns, rows, planes, channels) of {image.pixels.dtype}"


def _find_drift(
    paths: Sequence[Path], data: NDArray[np.float32], report: Callable[[str], None]
) -> Drift | None:
    """Drift of the exposures; None where they did not move."""
    drift = estimate_drift(data[..., 0, 0] if data.shape[3:] == (1, 1) else data.mean(axis=(3, 4)))
    for path, correlation in zip(paths, drift.correlation):
        if correlation < _LEAST_CORRELATION:
            raise BIDSDataError(
                f"{path}: expected the field of view of {paths[0]}, found next to nothing in common "
                f"(correlation {correlation:.2f}); leave it out, or give --as-they-lie if that is meant so"
            )
    if drift.largest_pixels < _STILL_PIXELS and not drift.rotation_deg.any():
        return None
    turned = (
        f", turn up to {np.abs(drift.rotation_deg).max():.2f} degrees" if drift.rotation_deg.any() else ""
    )
    report(f"drift up to {drift.largest_pixels:.2f} pixels{turned}")
    return drift


def _move_back(
    data: NDArray[np.float32],
    saturated: NDArray[np.bool_],
    measured: NDArray[np.bool_],
    drift: Drift,
) -> NDArray[np.bool_]:
    """Move data and saturated pixels onto the first exposure; `data` and `measured` are changed in place."""
    moved_saturated = saturated.copy()
    for index in range(1, len(data)):
        for plane in range(data.shape[3]):
            for channel in range(data.shape[4]):
                here = (index, slice(None), slice(None), plane, channel)
                full = saturated[here]
                data[here], measured[index, :, :, plane] = move_back(data[here], drift, index)
                if full.any():
                    # Its neighbours, too: the shift by a fraction spreads what is cut off.
                    spread = ndimage.binary_dilation(full, iterations=1).astype(np.float32)
                    moved_saturated[here] = move_back(spread, drift, index)[0] > _SATURATED
    return moved_saturated


def _fill_gaps(data: NDArray[np.float32], measured: NDArray[np.bool_], gains: NDArray[np.float64]) -> None:
    """Give exposures, where they were not measured, the mean of those that were, in their own unit; in place.

    `gains` lead from the unit of each exposure to that of the first, which was measured everywhere.
    """
    gaps = ~measured.all(axis=0)
    if not gaps.any():
        return
    factors = gains.astype(np.float32)[:, None, None]
    values, known = data[:, gaps], measured[:, gaps][..., None]
    mean = (values * factors * known).sum(axis=0) / known.sum(axis=0, dtype=np.float32)
    data[:, gaps] = np.where(known, values, mean / factors)
