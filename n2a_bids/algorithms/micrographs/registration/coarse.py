"""Finds the shift of one micrograph against another in whole pixels, and an angle where turning helps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from n2a_bids.algorithms.micrographs.registration.partial_image import PartialImage

Image = NDArray[np.float32]

COARSE_EDGE = 1024
"""Pixels to which images are binned for the first, whole-pixel estimate."""
_SEARCH_EDGE = 256
"""The same for the search of angles."""
_LEAST_SEARCHED_EDGE = 150
"""Pixels. Turns of 10 degrees between crops of 160 to 255, of electron micrographs, were all found by the
search, and 4 of 24 without. Smaller ones are alike by chance more easily; least squares do for them."""
_ANGLES_DEG = (*range(-8, 0), *range(1, 9))
_CLEARLY = 1.15
"""How much higher the peak of a rotated image must be than that of the image as it is."""
_FINE, _WIDE = 1.5, 12
"""Standard deviations, in pixels, between which detail lies."""
_FADE_PIXELS = 4
"""Over which detail fades towards what does not count."""


def coarse_motion(reference: PartialImage, moving: PartialImage, turns: bool) -> NDArray[np.float64]:
    """Shift to about a pixel of binned images, and an angle where turning clearly helps.

    Returns
    -------
    motion : (3,) array
        Shift along X and Y in pixels, and the angle in radians.
    """
    shape = reference.pixels.shape
    step = -(-max(shape) // COARSE_EDGE)
    shift, score = _whole_pixels(*(_binned(image, step) for image in (reference, moving)))
    motion = np.array([*(step * shift), 0.0])
    if not turns or min(shape) < _LEAST_SEARCHED_EDGE:
        return motion
    coarse = -(-max(shape) // _SEARCH_EDGE)
    small = [_binned(image, coarse) for image in (reference, moving)]
    straight = _whole_pixels(*small)[1]
    found = []
    for angle in _ANGLES_DEG:
        found.append((*_whole_pixels(_turned(small[0], angle), small[1]), angle))
    shift, score, angle = max(found, key=lambda one: one[1])
    if score > _CLEARLY * straight:
        return np.array([*(coarse * shift), np.radians(angle)])
    return motion


def bin_pixels(image: NDArray[np.floating], step: int) -> Image:
    """Means of squares of pixels of an (X, Y) image."""
    x, y = (size // step * step for size in image.shape)
    blocks = image[:x, :y].reshape(x // step, step, y // step, step)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def _binned(image: PartialImage, step: int) -> PartialImage:
    """A smaller image, of which what holds a pixel that does not count does not count."""
    counted = None if image.counted is None else bin_pixels(image.counted.astype(np.float32), step) > 0.999
    return PartialImage(bin_pixels(image.pixels, step), counted)


def _turned(image: PartialImage, angle: float) -> PartialImage:
    pixels = ndimage.rotate(image.pixels, angle, reshape=False, order=1, mode="nearest")
    if image.counted is None:
        return PartialImage(pixels)
    return PartialImage(pixels, ndimage.rotate(image.counted, angle, reshape=False, order=0, mode="nearest"))


def _whole_pixels(reference: PartialImage, moving: PartialImage) -> tuple[NDArray[np.float64], float]:
    """Shift of `moving` in whole pixels, and the height of the peak that shows it."""
    shape = reference.pixels.shape
    size = [fft.next_fast_len(edge + edge // 2, real=True) for edge in shape]
    spectra = [fft.rfft2(_detail(image) * _window(shape), size) for image in (reference, moving)]
    product = spectra[1] * spectra[0].conj()
    # Between a plain correlation, whose peak is wide, and that of phases alone, which noise rules.
    product /= np.sqrt(np.abs(product)) + 1e-3 * np.sqrt(np.abs(product).max() + 1e-30)
    surface = fft.irfft2(product, size)
    peak = np.array(np.unravel_index(int(np.argmax(surface)), size))
    return np.where(peak > np.array(size) / 2, peak - size, peak).astype(float), float(surface.max())


def _detail(image: PartialImage) -> Image:
    """What lies between two smoothings, of pixels that count."""
    if image.counted is None:
        return ndimage.gaussian_filter(image.pixels, _FINE) - ndimage.gaussian_filter(image.pixels, _WIDE)
    weights = image.counted.astype(np.float32)
    around = weights > 0
    smooth = []
    for sd in (_FINE, _WIDE):
        share = np.maximum(ndimage.gaussian_filter(weights, sd), 1e-3)
        smooth.append(ndimage.gaussian_filter(np.where(around, image.pixels, 0), sd) / share)
    # Faded, so that the edge of what does not count is none of the detail.
    inner = ndimage.binary_erosion(around, iterations=_FADE_PIXELS, border_value=1).astype(np.float32)
    return (smooth[0] - smooth[1]) * ndimage.gaussian_filter(inner, _FADE_PIXELS / 2) * around


def _window(shape: tuple[int, ...]) -> Image:
    ramps = [np.minimum(1, np.minimum(np.arange(n) + 1, n - np.arange(n)) / (0.1 * n + 1)) for n in shape]
    return (ramps[0][:, None] * ramps[1]).astype(np.float32)
