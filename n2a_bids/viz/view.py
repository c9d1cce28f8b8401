"""Which part of a head a figure shows: crop to the brain, choice of slices, grey window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.masked_filters import bounding_box

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
NORMAL_AXIS: dict[Plane, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
_EDGES: dict[Plane, tuple[str, str, str, str]] = {
    "axial": ("L", "R", "A", "P"),
    "coronal": ("L", "R", "S", "I"),
    "sagittal": ("P", "A", "S", "I"),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """The grid that all volumes of one figure share, cropped to the brain."""

    mask: NDArray[np.bool_]
    """(X, Y, Z) brain mask, RAS order."""
    voxel_size_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Scanner coordinates of the first voxel, RAS+: for the labels of slices only."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One slice, or a rectangle of it."""

    plane: Plane
    index: int
    """Voxel along the normal of the plane."""
    box: tuple[slice, slice] = (slice(None), slice(None))
    """Part of the displayed (rows, columns); all of it unless told."""

    def of(self, volume: NDArray) -> NDArray:
        """Pixels of `volume`, (rows, columns[, channels]): superior or anterior up, left on the left."""
        image = np.take(volume, self.index, axis=NORMAL_AXIS[self.plane])
        upright = np.flip(np.swapaxes(image, 0, 1), axis=0)
        return upright[self.box]

    def pixel_size_mm(self, frame: Frame) -> tuple[float, float]:
        """Height and width of one pixel."""
        across = [size for axis, size in enumerate(frame.voxel_size_mm) if axis != NORMAL_AXIS[self.plane]]
        return across[1], across[0]

    def size_mm(self, frame: Frame) -> tuple[float, float]:
        """Height and width of the picture."""
        rows, columns = self.of(frame.mask).shape[:2]
        height_mm, width_mm = self.pixel_size_mm(frame)
        return rows * height_mm, columns * width_mm

    @property
    def edges(self) -> tuple[str, str, str, str]:
        """Letters of the left, right, upper and lower edge."""
        return _EDGES[self.plane]

    def position(self, frame: Frame) -> str:
        """Scanner coordinate of the slice, for example ``z = -12 mm``."""
        axis = NORMAL_AXIS[self.plane]
        millimetres = frame.origin_mm[axis] + self.index * frame.voxel_size_mm[axis]
        return f"{'xyz'[axis]} = {round(millimetres)} mm"


def crop_to_mask(
    mask: NDArray[np.bool_], voxel_size_mm: Sequence[float], margin_mm: float = 5.0
) -> tuple[slice, slice, slice]:
    """Bounding box of a mask plus a margin.

    The margin is small on purpose: the page is passed around, and shows no face.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
        Brain mask.
    voxel_size_mm : three floats
        Edge lengths of a voxel.
    margin_mm : float
        Added on each side, cut at the edge of the image.

    Returns
    -------
    box : three slices
        Index `mask` and images of its grid with them.

    Raises
    ------
    ValueError
        If the mask is empty.

    Examples
    --------
    >>> mask = np.zeros((9, 9, 9), dtype=bool)
    >>> mask[4, 4, 4] = True
    >>> crop_to_mask(mask, (1, 1, 2), margin_mm=2)
    (slice(2, 7, None), slice(2, 7, None), slice(3, 6, None))
    """
    if not mask.any():
        raise ValueError("the brain mask is empty: there is nothing to show")
    return bounding_box(mask, [int(np.ceil(margin_mm / size)) for size in voxel_size_mm])


def evenly_spaced_cuts(frame: Frame, counts: dict[Plane, int]) -> list[Cut]:
    """Slices evenly spaced through the brain, `counts` of each plane, in the order of :data:`PLANES`."""
    cuts = []
    extent = bounding_box(frame.mask if frame.mask.any() else np.ones_like(frame.mask))
    for plane in PLANES:
        axis = NORMAL_AXIS[plane]
        first, last = extent[axis].start, extent[axis].stop - 1
        n = counts.get(plane, 0)
        # Off the poles, which hold little brain, the more so the fewer slices there are.
        reach = 0.5 * (n - 1) / (n + 0.6)
        fractions = np.linspace(0.5 - reach, 0.5 + reach, n)
        cuts.extend(Cut(plane, round(first + fraction * (last - first))) for fraction in fractions)
    return cuts


def grey_window(volumes: Sequence[NDArray], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Black and white level that suit all `volumes` at once.

    Black is the 0.5th percentile of everything shown, white lies a little above the 99.5th percentile of
    the brain; both are the median over the volumes, so that one noisy image does not set them.

    Examples
    --------
    >>> ramp = np.arange(1000.0).reshape(10, 10, 10)
    >>> low, high = grey_window([ramp, ramp], np.ones(ramp.shape, dtype=bool))
    >>> bool(low < 10 and 990 < high < 1100)
    True
    """
    lows, highs = [], []
    for volume in volumes:
        shown = volume[np.isfinite(volume)]
        brain = volume[mask & np.isfinite(volume)]
        lows.append(np.percentile(shown, 0.5) if shown.size else 0.0)
        highs.append(np.percentile(brain, 99.5) if brain.size else 1.0)
    low, high = float(np.median(lows)), float(np.median(highs))
    high += 0.05 * (high - low)
    return (low, high) if high > low else (low, low + 1.0)


def to_grey(image: NDArray, window: tuple[float, float]) -> NDArray[np.uint8]:
    """Pixels of 0 to 255 for values from black to white; NaN is black.

    Examples
    --------
    >>> to_grey(np.array([[-1.0, 0.0, 1.0, 2.0, 9.0]]), (0.0, 2.0))
    array([[  0,   0, 128, 255, 255]], dtype=uint8)
    """
    low, high = window
    scaled = (np.nan_to_num(image.astype(np.float64), nan=low) - low) / (high - low)
    return np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
