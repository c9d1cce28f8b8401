"""Figures of grey slices: brain mask contours, flicker of alignment and of denoising, zoomed details."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.viz import svg
from n2a_bids.viz.layout import (
    State,
    annotations,
    columns,
    flicker,
    lay_out,
    on_black,
    outlines,
    paint_cells,
    slice_counts,
    windowed_painter,
)
from n2a_bids.viz.view import NORMAL_AXIS, Cut, Frame, evenly_spaced_cuts, grey_window, to_grey

_DETAIL_MM = 52.0


def mask_contours(image: NDArray, frame: Frame) -> str:
    """Outline of the brain mask over an image.

    Parameters
    ----------
    image : (X, Y, Z) array
        Any unit.
    frame : Frame
        Its mask is outlined.
    """
    cells, bottom = lay_out(frame, evenly_spaced_cuts(frame, slice_counts(frame, 1)), top=8)
    window = grey_window([image], frame.mask)
    painted = paint_cells(cells, windowed_painter(image, window))
    body = painted + outlines(cells, frame) + annotations(cells, frame)
    return on_black(bottom, body, title="Outline of the brain mask")


def alignment_flicker(
    reference: NDArray,
    before: NDArray,
    after: NDArray,
    frame: Frame,
    names: tuple[str, str] = ("run-1", "run-2"),
) -> str:
    """The reference against one repetition, before and after alignment.

    The repetition is matched to the mean and SD of the reference in the brain, with one and the same linear
    function before and after, so that a different gain is not taken for movement.

    Parameters
    ----------
    reference, before, after : (X, Y, Z) arrays
        `before` is the repetition as its header places it.
    frame : Frame
        What is shown.
    names : (str, str)
        Of the reference and of the repetition.
    """
    brain = frame.mask & np.isfinite(after) & np.isfinite(reference)
    gain = np.std(reference[brain]) / max(float(np.std(after[brain])), 1e-12)
    offset = np.mean(reference[brain]) - gain * np.mean(after[brain])
    volumes = [reference, gain * before + offset, gain * after + offset]
    window = grey_window([reference], frame.mask)
    labels = (f"{names[0]} (reference)", f"{names[1]} before", f"{names[1]} aligned")
    order = (1, 0, 2)
    states = [State(labels[index], windowed_painter(volumes[index], window)) for index in order]
    return flicker(frame, states, title=f"Alignment of {names[1]} to {names[0]}")


def denoising_flicker(repetition: NDArray | None, mean: NDArray, denoised: NDArray, frame: Frame) -> str:
    """One repetition, the plain mean and the denoised image, all in one grey window.

    Parameters
    ----------
    repetition : (X, Y, Z) array or None
        None where there is only one: it is its own mean, and shown as the image before denoising.
    mean, denoised : (X, Y, Z) arrays
        In one intensity unit.
    frame : Frame
        What is shown.
    """
    window = grey_window([mean], frame.mask)
    named = _before_and_after(repetition, mean, denoised)
    states = [State(name, windowed_painter(volume, window)) for name, volume in named.items()]
    return flicker(frame, states, title="Effect of denoising, one grey window")


def detail_zoom(repetition: NDArray | None, mean: NDArray, denoised: NDArray, frame: Frame) -> str:
    """Pieces of cortex, enlarged, as repetition, mean and denoised side by side in one grey window.

    Parameters
    ----------
    repetition : (X, Y, Z) array or None
        None where there is only one.
    mean, denoised : (X, Y, Z) arrays
        In one intensity unit.
    frame : Frame
        What is shown.
    """
    named = _before_and_after(repetition, mean, denoised)
    window = grey_window([mean], frame.mask)
    rows = []
    for plane, fraction in (("axial", 0.68), ("coronal", 0.3)):
        cut = _richest_box(mean, frame, Cut(plane, _index_at(frame, plane, fraction)))
        brain = cut.of(frame.mask)
        shown = cut.of(mean)[brain] if brain.any() else np.array(window)
        # What is enlarged spans less than the whole window; a little room above keeps noise from clipping.
        dark, bright = np.percentile(shown, [1, 99])
        window_here = (float(dark), float(bright + 0.1 * (bright - dark))) if bright > dark else window
        rows.append([(cut, svg.png_uri(to_grey(cut.of(volume), window_here))) for volume in named.values()])
    return columns(frame, tuple(named), rows, title="Enlarged details in one grey window")


def _before_and_after(repetition: NDArray | None, mean: NDArray, denoised: NDArray) -> dict[str, NDArray]:
    """The images that are compared, by the names that stand over them; one image alone is no mean."""
    if repetition is None:
        return {"before denoising": mean, "denoised": denoised}
    return {"one repetition": repetition, "plain mean": mean, "denoised": denoised}


def _index_at(frame: Frame, plane: str, fraction: float) -> int:
    """Slice at a fraction of the extent of the brain along the normal of a plane."""
    extent = bounding_box(frame.mask)[NORMAL_AXIS[plane]]
    return round(extent.start + fraction * (extent.stop - 1 - extent.start))


def _richest_box(image: NDArray, frame: Frame, cut: Cut) -> Cut:
    """The square piece of a cut with most edges inside the brain."""
    pixels = cut.of(image).astype(np.float64)
    brain = cut.of(frame.mask)
    size = [
        int(np.clip(round(_DETAIL_MM / millimetres), 4, length))
        for millimetres, length in zip(cut.pixel_size_mm(frame), pixels.shape, strict=True)
    ]
    smooth = ndimage.gaussian_filter(np.nan_to_num(pixels), 1.0)
    depth_mm = ndimage.distance_transform_edt(np.pad(brain, 1), cut.pixel_size_mm(frame))[1:-1, 1:-1]
    # Cortex: neither the rim against the skull, which is the strongest edge of all, nor the ventricles.
    cortex = (depth_mm > 2.5) & (depth_mm < 20)
    energy = ndimage.uniform_filter(
        np.where(cortex, np.hypot(*np.gradient(smooth)), 0.0), size, mode="constant"
    )
    middle = np.unravel_index(int(np.argmax(energy)), energy.shape)
    start = [
        int(np.clip(centre - extent // 2, 0, length - extent))
        for centre, extent, length in zip(middle, size, pixels.shape, strict=True)
    ]
    box = tuple(slice(first, first + extent) for first, extent in zip(start, size, strict=True))
    return Cut(cut.plane, cut.index, box)
