"""Loads micrograph exposures as `Repetitions`: selected, moved onto the first, saturated pixels out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.micrographs.alignment import (
    exposure_weights,
    fill_unmeasured,
    move_back,
    move_flags_back,
    move_parts_back,
)
from n2a_bids.algorithms.micrographs.drift import Drift
from n2a_bids.algorithms.micrographs.hot_pixels import find_camera_lines, find_hot_pixels
from n2a_bids.algorithms.micrographs.lost_pixels import fill_lost_pixels, find_lost_pixels
from n2a_bids.algorithms.micrographs.registration.fixed_places import find_fixed_places, without_thin_lines
from n2a_bids.algorithms.normalization import equal_gains
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.denoising.micrographs.drifted import find_drift, find_moved_copies
from n2a_bids.denoising.micrographs.exposure_notes import (
    fixed_note,
    lost_note,
    not_stored_note,
    structure_notes,
)
from n2a_bids.denoising.micrographs.selection import (
    Size,
    find_repeated,
    left_over,
    mostly_saturated,
    own_size,
    read_fitting,
)
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrographs import Micrograph

_STILL_PIXELS = 0.05
"""Drift that is left alone."""


@dataclass(frozen=True, slots=True)
class Exposures:
    """Aligned exposures with the file that outputs are written like."""

    repetitions: Repetitions
    like: Micrograph
    """The first that was not left out, with the bits that all of them use."""
    drift: Drift | None
    """None where exposures were taken as they lie."""
    excluded: dict[int, str] = field(default_factory=dict)
    """Reason against each exposure that does not fit the others, by its index among all."""
    notes: tuple[str, ...] = ()
    """What users should know of those that were used."""
    frame_drift_pixels: tuple[tuple[float, ...], ...] = ()
    """Of exposures that are sums of frames: where each frame lay against the first; empty if none drifted."""


def load_exposures(
    paths: Sequence[Path],
    *,
    size_of: Callable[[int, Micrograph], Size | None] = lambda index, image: own_size(image),
    aligned: bool = False,
    report: Callable[[str], None] = lambda message: None,
) -> Exposures:
    """Read exposures of one field of view and put them on the grid of the first.

    Parameters
    ----------
    paths : sequence of Path
        At least two PNG or TIFF files.
    size_of : callable
        Size of a pixel in mm of the exposure of an index, by default as its file tells.
    aligned : bool
        Take them as they lie.
    report : callable
        Told the drift, and what is left out.

    Returns
    -------
    exposures : Exposures
        The mask holds the pixels that no exposure saturates and all measured. An exposure that cannot be
        read, differs in size or type, is a copy of another, is saturated or shows another field of view is
        left out where two or more others are left.

    Raises
    ------
    BIDSDataError
        If fewer than two are left.
    """
    images, reasons = read_fitting(paths, size_of)
    for reason in reasons.values():
        report(f"WARNING: left out: {reason}")
    found = align_exposures(list(images.values()), aligned=aligned, report=report)
    indices = list(images)
    later = {indices[index]: reason for index, reason in found.excluded.items()}
    return replace(found, excluded=reasons | later)


def align_exposures(
    images: Sequence[Micrograph],
    *,
    aligned: bool = False,
    largest_value: float | None = None,
    measured_part: NDArray[np.float32] | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> Exposures:
    """Put exposures that have been read on the grid of the first.

    Parameters
    ----------
    images : sequence of Micrograph
        Of one size and type.
    aligned : bool
        Take them as they lie.
    largest_value : float, optional
        At which pixels are saturated; by default that of the camera.
    measured_part : (R, X, Y, Z) float array, optional
        Of what exposures were made of: less than 1 where some frames of a sum have drifted away. By default
        exposures were measured in full everywhere.
    report : callable
        Told the drift, and what is left out.

    Raises
    ------
    BIDSDataError
        As `load_exposures`, but for files that cannot be read.
    """
    paths = [image.path for image in images]
    data = np.stack([image.pixels for image in images]).astype(np.float32)
    saturated = data >= (_largest_value(images) if largest_value is None else largest_value)
    lost = find_lost_pixels(data) | find_camera_lines(data)
    fill_lost_pixels(data, lost)
    data, saturated, kept, drift, fixed, reasons = _sort_out(paths, data, saturated, aligned)
    for index in reasons:
        report(f"WARNING: left out: {reasons[index]}")
    lost = _with_hot_pixels(data, _only(kept, lost), drift)
    drift = _told(drift, report)
    part = None if measured_part is None else _only(kept, measured_part) * ~lost
    measured = ~lost if part is None else part == 1
    if drift is not None:
        saturated = _move_back(data, saturated, measured, without_thin_lines(fixed), drift)
        part = None if part is None else move_parts_back(part, drift)
    counted = ~saturated.any(axis=(0, -1)) & measured.all(axis=0) & ~fixed[..., None]
    weights = exposure_weights(measured, part)
    _refuse_none(counted, paths[kept[0]])
    gains = equal_gains(data, counted)
    fill_unmeasured(data, measured, weights, gains)
    # What was told of the first alone would cut off what others hold.
    first = replace(images[kept[0]], bit_depth=max(images[index].bit_depth for index in kept))
    repetitions = Repetitions(
        data=data,
        mask=counted,
        voxel_size_mm=first.pixel_size_mm or (1.0, 1.0, 1.0),
        n_measured=None if measured.all() else weights.sum(axis=0, dtype=np.float32),
        micrograph=True,
    )
    stay = "" if drift is None else fixed_note(fixed)
    notes = (stay, *_notes([images[index] for index in kept], lost, repetitions, gains))
    return Exposures(repetitions, first, drift, reasons, tuple(filter(None, notes)))


def _refuse_none(counted: NDArray[np.bool_], path: Path) -> None:
    """Refuse exposures of which no pixel is unsaturated in all."""
    if not counted.any():
        raise BIDSDataError(
            f"{path}: expected pixels that all exposures show unsaturated, found none; expose shorter, or "
            "leave exposures out that have drifted away"
        )


def _notes(
    images: Sequence[Micrograph],
    lost: NDArray[np.bool_],
    repetitions: Repetitions,
    gains: NDArray[np.float64],
) -> tuple[str, ...]:
    """What to say of the exposures that are used, each sentence once."""
    notes = [*map(not_stored_note, images)]
    notes += [lost_note(image.path, pixels) for image, pixels in zip(images, lost, strict=True)]
    notes += structure_notes([image.path for image in images], repetitions, gains)
    return tuple(dict.fromkeys(filter(None, notes)))


def _sort_out(
    paths: Sequence[Path], data: NDArray[np.float32], saturated: NDArray[np.bool_], aligned: bool
) -> tuple[
    NDArray[np.float32], NDArray[np.bool_], list[int], Drift | None, NDArray[np.bool_], dict[int, str]
]:
    """Data, saturated pixels, indices, drift and fixed places of exposures that fit; why others do not."""
    reasons = find_repeated(paths, list(data)) | mostly_saturated(paths, saturated)
    drift, kept = None, left_over(paths, reasons)
    data, saturated = _only(kept, data), _only(kept, saturated)
    fixed = find_fixed_places(data)
    while not aligned and len(kept) > 1:
        planes = data[..., 0, 0] if data.shape[3:] == (1, 1) else data.mean(axis=(3, 4))
        names = [paths[index] for index in kept]
        drift, unfit, fixed = find_drift(names, planes, fixed)
        unfit = unfit or find_moved_copies(names, planes, drift)
        if not unfit:
            break
        reasons |= {kept[index]: reason for index, reason in unfit.items()}
        left = left_over(paths, reasons)
        rows = [kept.index(index) for index in left]
        data, saturated, kept = _only(rows, data), _only(rows, saturated), left
        fixed = find_fixed_places(data)
    return data, saturated, kept, drift, fixed, reasons


def _with_hot_pixels(
    data: NDArray[np.float32], lost: NDArray[np.bool_], drift: Drift | None
) -> NDArray[np.bool_]:
    """Lost pixels, and with them those that are hot in all exposures, which are filled in `data`."""
    hot = np.zeros(lost.shape[1:], bool) if drift is None else find_hot_pixels(data, drift)
    if not hot.any():
        return lost
    fill_lost_pixels(data, np.broadcast_to(hot, lost.shape))
    return lost | hot


def _only(kept: Sequence[int], rows: NDArray) -> NDArray:
    """Some of the exposures: all of them without a copy."""
    return rows if len(kept) == len(rows) else rows[list(kept)]


def _largest_value(images: Sequence[Micrograph]) -> float:
    """At which the camera was saturated: the least of the exposures that none of them exceeds."""
    found = max(float(image.pixels.max()) for image in images)
    return min((image.largest_value for image in images if image.largest_value >= found), default=np.inf)


def _told(drift: Drift | None, report: Callable[[str], None]) -> Drift | None:
    """The drift, which is told; None where nothing moved."""
    if drift is None or (drift.largest_pixels < _STILL_PIXELS and not drift.rotation_deg.any()):
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
    fixed: NDArray[np.bool_],
    drift: Drift,
) -> NDArray[np.bool_]:
    """Move data and saturated pixels onto the first exposure; `data` and `measured` are changed in place."""
    moved_saturated = saturated.copy()
    # What stays while the specimen drifts hides it in each exposure; the first keeps what it shows there.
    measured[1:, fixed] = False
    for index in range(1, len(data)):
        for plane in range(data.shape[3]):
            for channel in range(data.shape[4]):
                here = (index, slice(None), slice(None), plane, channel)
                full = saturated[here]
                data[here], inside = move_back(data[here], drift, index)
                if full.any():
                    moved_saturated[here] = move_flags_back(full, drift, index)
            held = measured[index, :, :, plane]
            if not held.all():
                inside = inside & ~move_flags_back(~held, drift, index)
            measured[index, :, :, plane] = inside & ~fixed
    return moved_saturated
