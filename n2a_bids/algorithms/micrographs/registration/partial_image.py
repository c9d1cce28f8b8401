"""Images of which some pixels do not show the specimen: what is left of them, smoothed and moved."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float32]


class PartialImage(NamedTuple):
    """An image, and which of its pixels show the specimen."""

    pixels: NDArray[np.floating]
    counted: NDArray[np.bool_] | None = None
    """(X, Y); None where all do."""


def far_inside(image: PartialImage, sd: float) -> PartialImage:
    """The same image, of which only pixels count that smoothing fills with nothing else."""
    if image.counted is None or image.counted.all():
        return PartialImage(image.pixels)
    return PartialImage(image.pixels, ndimage.distance_transform_edt(image.counted) > margin_of(sd))


def smooth_tile(image: PartialImage, tile: tuple[slice, slice], sd: float) -> PartialImage:
    """A tile of the smoothed image."""
    smooth = ndimage.gaussian_filter(image.pixels[tile].astype(np.float32), sd, mode="nearest")
    return PartialImage(smooth, None if image.counted is None else image.counted[tile])


def margin_of(sd: float) -> int:
    """Pixels from which smoothing draws."""
    return int(np.ceil(3 * sd)) + 2


def both_count(fixed: PartialImage, moving: PartialImage, places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels of a tile that count, as do those at the (2, X, Y) places of the image."""
    count = np.ones(places.shape[1:], bool)
    if fixed.counted is not None:
        count &= fixed.counted
    if moving.counted is not None:
        count &= ndimage.map_coordinates(moving.counted.astype(np.uint8), places, order=0) > 0
    return count


def far_from_borders(
    places: NDArray[np.float64], shape: tuple[int, ...], tile_shape: tuple[int, ...], margin: int
) -> NDArray[np.bool_]:
    """Pixels of a tile that smoothing reaches whole, in the tile and at the (2, X, Y) places of the image."""
    inside = np.all((places >= margin) & (places <= np.array(shape)[:, None, None] - 1 - margin), axis=0)
    for axis, size in enumerate(tile_shape):
        inside &= np.expand_dims((np.arange(size) >= margin) & (np.arange(size) < size - margin), 1 - axis)
    return inside


def read_smooth(
    image: NDArray[np.floating], places: NDArray[np.float64], margin: int, sd: float
) -> Image | None:
    """The smoothed image at (2, X, Y) places; None where these hardly touch it."""
    low = np.maximum(np.floor(places.min(axis=(1, 2))).astype(int) - margin, 0)
    high = np.minimum(np.ceil(places.max(axis=(1, 2))).astype(int) + margin, image.shape)
    if (high - low < 8).any():
        return None
    near = image[low[0] : high[0], low[1] : high[1]].astype(np.float32)
    smooth = ndimage.gaussian_filter(near, sd, mode="nearest")
    return ndimage.map_coordinates(smooth, places - low[:, None, None], order=3, mode="nearest")
