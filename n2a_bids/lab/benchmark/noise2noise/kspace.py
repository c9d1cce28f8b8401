"""Random samples of k-space, as the paper draws them, and what they leave of an image."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

KEPT = 0.1
"""Part of the samples that are drawn."""


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
    rng : Generator

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
