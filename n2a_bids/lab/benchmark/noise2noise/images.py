"""Images of ``benchmark --noise2noise``: photographs, brain slices, their noise and k-space samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy import ndimage, optimize

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.images import UNREADABLE

Picture = NDArray[np.float32]
"""(C, X, Y) between -0.5 and 0.5."""

_PHOTOGRAPHS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_SLICES_PER_BRAIN = 12
_TYPICAL_BRIGHTNESS = 0.4
_MISSED_VARIANCE = (15 / 255) ** 2
"""About the squared error that a network leaves: below it, less noise of the target tells no more."""
KEPT = 0.1
"""Part of the samples that are drawn."""


def load_photographs(folder: Path, most: int | None = None) -> list[Picture]:
    """Read the photographs of a folder as RGB, in the order of their names.

    Raises
    ------
    BIDSDataError
        If there are none, or one cannot be read.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in _PHOTOGRAPHS)
    if not paths:
        raise BIDSDataError(f"{folder}: expected a folder of photographs (PNG, JPEG, TIFF), found none")
    pictures = []
    for path in paths[:most]:
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"), np.float32)
        except (OSError, UnidentifiedImageError) as error:
            raise BIDSDataError(
                f"{path}: expected a photograph, found none that can be read: {error}"
            ) from error
        pictures.append(np.ascontiguousarray(pixels.transpose(2, 0, 1)) / np.float32(255) - np.float32(0.5))
    return pictures


def load_slices(brains: Sequence[Path], edge: int) -> list[Picture]:
    """Axial slices of brains, made square with an edge of so many pixels.

    Raises
    ------
    BIDSDataError
        If a brain cannot be read.
    """
    slices = []
    for path in brains:
        try:
            volume = np.squeeze(nb.load(path).get_fdata(dtype=np.float32))
        except UNREADABLE as error:
            raise BIDSDataError(
                f"{path}: expected a NIfTI image, found none that can be read: {error}"
            ) from error
        volume = np.clip(volume / np.percentile(volume[volume > 0], 99.8), 0, 1)
        planes = np.flatnonzero(volume.any(axis=(0, 1)))
        low, high = np.percentile(planes, (25, 85))
        for index in np.linspace(low, high, _SLICES_PER_BRAIN).astype(int):
            slices.append(_square(volume[..., index], edge)[None] - np.float32(0.5))
    return slices


def _square(plane: NDArray[np.float32], edge: int) -> NDArray[np.float32]:
    size = max(plane.shape)
    pads = [((size - length) // 2, size - length - (size - length) // 2) for length in plane.shape]
    smooth = ndimage.gaussian_filter(np.pad(plane, pads), 0.4 * max(size / edge - 1, 0))
    return np.clip(ndimage.zoom(smooth, edge / size, order=1), 0, 1).astype(np.float32)[:edge, :edge]


@dataclass(frozen=True, slots=True)
class PhotographNoise:
    """A kind of noise of the paper's tables; its level is drawn anew for every crop."""

    add: Callable[[Picture, float, np.random.Generator], Picture]
    """Noisy image of a clean one, at a level."""
    variance: Callable[[float], float]
    """Of the noise at a level, in the units of the image."""
    largest: float
    """Level to train up to, from 0."""
    judged: float
    """Level of the test images."""

    def weight(self, level: float) -> float:
        """Of a crop in the squared error, 1 without noise: noise of the target varies it, and crops with the
        most would rule the steps."""
        return _MISSED_VARIANCE / (_MISSED_VARIANCE + self.variance(level))


def _add_gaussian(clean: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    """White Gaussian noise; `sigma` counts grey levels of 255."""
    return clean + np.float32(sigma / 255) * rng.standard_normal(clean.shape, np.float32)


def _add_poisson(clean: Picture, peak: float, rng: np.random.Generator) -> Picture:
    """Poisson counts, `peak` of them where the image is white, in the units of the image."""
    counts = rng.poisson((np.clip(clean, -0.5, 0.5) + 0.5) * peak)
    return (counts / max(peak, 1e-6) - 0.5).astype(np.float32)


PHOTOGRAPH_NOISE = {
    "gaussian": PhotographNoise(_add_gaussian, lambda sigma: (sigma / 255) ** 2, largest=50.0, judged=25.0),
    "poisson": PhotographNoise(
        _add_poisson, lambda peak: _TYPICAL_BRIGHTNESS / max(peak, 1e-6), largest=50.0, judged=30.0
    ),
}


def psnr_db(estimate: Picture, clean: Picture) -> float:
    """Peak signal-to-noise ratio of an image whose range is 1, clipped to that range.

    Examples
    --------
    >>> psnr_db(np.full((1, 2, 2), 0.1, np.float32), np.zeros((1, 2, 2), np.float32))
    20.0
    """
    error = np.mean((np.clip(estimate, -0.5, 0.5) - clean) ** 2, dtype=np.float64)
    return round(float(-10 * np.log10(error)), 6)


@cache
def density(edge: int, kept: float = KEPT) -> NDArray[np.float64]:
    """(E, E) chance of every sample: exponentially falling from 1 in the centre, `kept` on average.

    Examples
    --------
    >>> round(float(density(64).mean()), 3), float(density(64)[0, 0])
    (0.1, 1.0)
    """
    frequency = np.fft.fftfreq(edge) * edge
    radius = np.hypot(frequency[:, None], frequency[None])
    rate = optimize.brentq(lambda one: np.exp(-one * radius).mean() - kept, 1e-6, 10)
    return np.exp(-rate * radius)


def draw_samples(edge: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(E, E) which samples are drawn; a sample and its conjugate together, since images are real."""
    chance = rng.random((edge, edge))
    mirror = np.roll(chance[::-1, ::-1], (1, 1), (0, 1))
    target = density(edge)
    # The lower of two numbers is below a threshold more often than one alone.
    threshold = np.where(chance == mirror, target, 1 - np.sqrt(1 - target))
    return np.minimum(chance, mirror) < threshold


def undersample(
    clean: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.complex64], NDArray[np.bool_]]:
    """An image from random samples over their chance, whose expectation is the image.

    Parameters
    ----------
    clean : (E, E) float32 array

    Returns
    -------
    image : (E, E) float32 array
    samples : (E, E) complex64 array
        As measured, zero where none was drawn.
    drawn : (E, E) bool array
    """
    edge = len(clean)
    drawn = draw_samples(edge, rng)
    samples = np.where(drawn, np.fft.fft2(clean), 0)
    image = np.fft.ifft2(samples / density(edge)).real
    return image.astype(np.float32), samples.astype(np.complex64), drawn
