"""Random smooth fields, contrasts, shapes and coloured noise, of which simulations are built."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Field = NDArray[np.float32]
Shape = tuple[int, int, int]


def smooth_field(rng: np.random.Generator, shape: Shape, n_knots: int, sd: float) -> Field:
    """Gaussian random values on a coarse grid, interpolated.

    Parameters
    ----------
    shape : (3,) int
    n_knots : int
        Grid points per axis.
    sd : float
        Standard deviation at the grid points.

    Returns
    -------
    field : (X, Y, Z) float32 array
    """
    knots = torch.from_numpy(rng.standard_normal((1, 1, n_knots, n_knots, n_knots)).astype(np.float32))
    return F.interpolate(knots * sd, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()


def random_contrast(rng: np.random.Generator) -> Callable[[Field, float], Field]:
    """A random curve from intensity to intensity that keeps zero at zero.

    Most curves rise, one in five does not: another sequence, another field
    strength, another tissue order.

    Returns
    -------
    curve : callable
        ``curve(image, typical)``, `typical` being a typical intensity such as the median.
    """
    knots = np.linspace(0, 1, 9)
    if rng.random() < 0.2:
        values = np.abs(rng.standard_normal(9)) * 0.5 + 0.1
        values[0] = 0
    else:
        steps = np.diff(knots ** rng.uniform(0.5, 2.0)) * np.exp(0.4 * rng.standard_normal(8))
        values = np.concatenate([[0], np.cumsum(steps)])
        values /= values[-1]
    top = rng.uniform(1.4, 2.2)
    return lambda image, typical: np.interp(image / (typical * top), knots, values).astype(np.float32)


def dead_leaves(rng: np.random.Generator, edge: int) -> Field:
    """Overlapping ellipsoids of random size and intensity: edges without anatomy.

    Returns
    -------
    image : (edge, edge, edge) float32 array
    """
    grid = np.stack(np.meshgrid(*[np.arange(edge, dtype=np.float32)] * 3, indexing="ij"))
    image = np.full((edge,) * 3, rng.uniform(0, 2), np.float32)
    for _ in range(rng.integers(15, 60)):
        centre = rng.uniform(0, edge, 3)[:, None, None, None]
        radii = np.exp(rng.uniform(np.log(2), np.log(20), 3))[:, None, None, None]
        rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        inside = ((np.tensordot(rotation, grid - centre, 1) / radii) ** 2).sum(axis=0) < 1
        image[inside] = rng.uniform(0, 2.5)
    return image * np.exp(smooth_field(rng, image.shape, 6, 0.08))


def head_shells(rng: np.random.Generator, distance: Field) -> Field:
    """Layers around a brain that resemble CSF, bone, marrow, bone, fat and skin.

    Parameters
    ----------
    distance : (X, Y, Z) float32 array
        Distance to the brain in voxels.

    Returns
    -------
    image : (X, Y, Z) float32 array
        Intensities in units of the brain's median; zero in the brain and in the air.
    """
    layers = (
        (rng.uniform(0.5, 4), rng.uniform(0.0, 0.5)),
        (rng.uniform(1, 4), rng.uniform(0, 0.15)),
        (rng.uniform(0, 5), rng.uniform(0.4, 1.6)),
        (rng.uniform(1, 3), rng.uniform(0, 0.15)),
        (rng.uniform(2, 12), rng.uniform(0.5, 2.2)),
        (rng.uniform(0, 2), rng.uniform(0.1, 0.8)),
    )
    wobble = smooth_field(rng, distance.shape, 7, 1.0)
    image = np.zeros_like(distance)
    start = np.float32(0.5)
    for index, (thickness, intensity) in enumerate(layers):
        stop = start + thickness * np.clip(1 + 0.5 * np.roll(wobble, 11 * index, axis=0), 0.2, 3)
        image = np.where((distance > start) & (distance <= stop), intensity, image)
        start = stop
    texture = smooth_field(rng, distance.shape, 16, 0.15) + smooth_field(rng, distance.shape, 5, 0.2)
    return (image * np.exp(texture)).astype(np.float32)


def coloured_noise(rng: np.random.Generator, shape: Shape, coupling: NDArray[np.float64] | None) -> Field:
    """Gaussian noise of unit SD, correlated between neighbours as interpolation leaves it.

    Parameters
    ----------
    shape : (3,) int
    coupling : (3,) float array or None
        Weight of the two neighbours on each axis; ``None`` for white noise.

    Returns
    -------
    noise : (X, Y, Z) float32 array
    """
    noise = rng.standard_normal(shape).astype(np.float32)
    if coupling is None:
        return noise
    for axis, weight in enumerate(coupling):
        neighbours = np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
        noise = (noise + weight * neighbours) / np.sqrt(1 + 2 * weight**2)
    return noise.astype(np.float32)


def random_power(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Power spectrum of noise that interpolation, partial Fourier or a filter of the scanner coloured.

    Parameters
    ----------
    shape : (3,) int

    Returns
    -------
    power : (X, Y, Z) float array
        Of mean 1, in the order of `numpy.fft.fftfreq`: half of the spectra fall as those of averaged
        neighbours, the others to a part of themselves beyond some frequency of some axes.
    """
    power = np.ones(shape)
    is_interpolated = rng.random() < 0.5
    for axis, size in enumerate(shape):
        frequency = np.abs(np.fft.fftfreq(size))
        if is_interpolated:
            line = (1 + 2 * rng.uniform(-0.08, 0.25) * np.cos(2 * np.pi * frequency)) ** 2
        else:
            edge, rest = rng.uniform(0.5, 1.0) / 2, rng.uniform(0.2, 0.7)
            line = np.where(frequency <= edge, 1.0, rest)
        power = power * line.reshape([size if other == axis else 1 for other in range(3)])
    return power / power.mean()


def noise_of_power(rng: np.random.Generator, shape: Shape, power: NDArray[np.float64] | None) -> Field:
    """Gaussian noise of unit SD with a power spectrum.

    Parameters
    ----------
    shape : (3,) int
    power : (X, Y, Z) float array or None
        See :func:`random_power`; ``None`` for white noise.

    Returns
    -------
    noise : (X, Y, Z) float32 array
    """
    noise = rng.standard_normal(shape, dtype=np.float32)
    if power is None:
        return noise
    return np.fft.ifftn(np.fft.fftn(noise) * np.sqrt(power)).real.astype(np.float32)
