"""Simulated micrographs: drawn membranes, vesicles, fibres, cells, points, leaves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Plane = NDArray[np.float32]

_MARGIN = 8
"""Pixels drawn around the image and cut away: filters leave traces at borders."""


def draw_image(rng: np.random.Generator, edge: int) -> Plane:
    """One drawing of a random kind, blurred as a lens or a section would, with a random curve of greys.

    Parameters
    ----------
    edge : int
        Of the image, in pixels.

    Returns
    -------
    image : (edge, edge) float32 array
        Between 0 and 1.
    """
    size = edge + 2 * _MARGIN
    kinds = (draw_leaves, draw_membranes, draw_membranes, draw_cells, draw_fibres, draw_points, draw_texture)
    image = kinds[rng.integers(len(kinds))](rng, size)
    if rng.random() < 0.3:
        other = kinds[rng.integers(len(kinds))](rng, size)
        image = np.where(_field(rng, size, rng.uniform(20, 80)) > rng.normal(), image, other)
    if rng.random() < 0.4:
        image = image + rng.uniform(0.02, 0.15) * _texture(rng, size)
    image = image * np.exp(0.3 * rng.random() * smooth_plane(rng, size, int(rng.integers(2, 5))))
    image = ndimage.gaussian_filter(image, rng.choice([0, 0.4, 0.6, 0.8, 1.2]))[
        _MARGIN:-_MARGIN, _MARGIN:-_MARGIN
    ]
    image = (image - image.min()) / max(np.ptp(image), 1e-6)
    image = image ** np.exp(rng.normal(0, 0.35))
    return (1 - image if rng.random() < 0.3 else image).astype(np.float32)


def smooth_plane(rng: np.random.Generator, size: int, n_knots: int) -> Plane:
    """(size, size) Gaussian random values of SD 1 on a coarse grid, interpolated."""
    knots = torch.from_numpy(rng.standard_normal((1, 1, n_knots, n_knots)).astype(np.float32))
    return F.interpolate(knots, size=(size, size), mode="bicubic", align_corners=True)[0, 0].numpy()


def draw_leaves(rng: np.random.Generator, size: int) -> Plane:
    """Dead leaves: ellipses and polygons over each other, from tiny to large, many of them with a texture."""
    image = np.full((size, size), rng.random(), np.float32)
    textures = [_texture(rng, size) for _ in range(4)]
    smallest, largest = rng.uniform(1.5, 6), rng.uniform(20, 90)
    for _ in range(int(rng.integers(80, 400))):
        # Power law of sizes, as occlusion of things at all distances gives it.
        radius = (smallest**-2 + rng.random() * (largest**-2 - smallest**-2)) ** -0.5
        value = np.float32(rng.random())
        filling: Plane | float = value
        if rng.random() < 0.5:
            filling = value + np.float32(rng.uniform(0.03, 0.3)) * textures[rng.integers(4)]
        _paint(image, rng, radius, filling)
    return image


def draw_membranes(rng: np.random.Generator, size: int) -> Plane:
    """Thin dark lines around compartments of different greys, with vesicles, granules and stacks of lines."""
    image = np.full((size, size), rng.uniform(0.55, 0.9), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        field = _field(rng, size, rng.uniform(5, 30))
        level = rng.normal(0, 0.5)
        image += np.float32(rng.normal(0, 0.08)) * (field > level)
        image -= np.float32(rng.uniform(0.2, 0.6)) * _line(field - level, rng.uniform(0.7, 2.2))
    for _ in range(int(rng.integers(0, 8))):
        _paint(
            image, rng, rng.uniform(8, 30), rng.uniform(0.2, 0.6) + 0.2 * _grating(rng, size, 4, 9), rim=-0.25
        )
    for _ in range(int(rng.integers(0, 150))):
        _paint(
            image,
            rng,
            rng.uniform(1.5, 6),
            rng.uniform(0.5, 0.95),
            rim=rng.uniform(-0.5, -0.1),
            round_only=True,
        )
    granules = _field(rng, size, rng.uniform(0.6, 2.5))
    return image + np.float32(rng.uniform(0.01, 0.12)) * granules


def draw_cells(rng: np.random.Generator, size: int) -> Plane:
    """Voronoi cells with walls, each of its own grey, some with a nucleus."""
    n_cells = int(np.exp(rng.uniform(np.log(8), np.log(900))))
    centres = rng.uniform(0, size, (n_cells, 2))
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), -1).astype(np.float32)
    grid += np.stack([_field(rng, size, 12.0) for _ in range(2)], -1) * rng.uniform(0, 4)
    distances, owners = cKDTree(centres).query(grid.reshape(-1, 2), k=2)
    first, second = distances.reshape(size, size, 2).astype(np.float32).transpose(2, 0, 1)
    greys = rng.uniform(0.2, 0.9, n_cells).astype(np.float32)
    image = greys[owners[:, 0]].reshape(size, size) * np.float32(rng.uniform(0.1, 1))
    wall = np.clip(rng.uniform(0.5, 3) - (second - first) / 2, 0, 1)
    nucleus = np.clip(rng.uniform(0.1, 0.5) * size / np.sqrt(n_cells) - first, 0, 1)
    return image + wall * np.float32(rng.normal(0, 0.6)) + nucleus * np.float32(rng.normal(0, 0.3))


def draw_fibres(rng: np.random.Generator, size: int) -> Plane:
    """Curved lines of several widths and brightnesses on a smooth ground."""
    image = 0.2 * smooth_plane(rng, size, 5)
    for _ in range(int(rng.integers(1, 5))):
        drawn = np.ones((size, size), bool)
        for _ in range(int(rng.integers(3, 25))):
            turns = np.cumsum(rng.normal(0, rng.uniform(0.005, 0.08), 2 * size)) + rng.uniform(0, 2 * np.pi)
            path = rng.uniform(0, size, (2, 1)) + np.cumsum(
                0.7 * np.stack((np.cos(turns), np.sin(turns))), axis=1
            )
            x, y = path.round().astype(int)
            inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
            drawn[x[inside], y[inside]] = False
        width = rng.uniform(0.6, 4)
        profile = np.clip(width + 0.5 - ndimage.distance_transform_edt(drawn), 0, 1)
        image = image * (1 - profile) + profile * rng.uniform(-1, 1.5)
    return image.astype(np.float32)


def draw_points(rng: np.random.Generator, size: int) -> Plane:
    """Bright spots of a few sizes, as of fluorophores or particles."""
    image = 0.15 * smooth_plane(rng, size, 4)
    for _ in range(int(rng.integers(1, 4))):
        spots = np.zeros((size, size), np.float32)
        places = rng.integers(0, size, (2, int(rng.integers(10, 500))))
        spots[tuple(places)] = rng.gamma(2, 0.5, places.shape[1])
        sigma = rng.uniform(0.7, 4)
        image = image + ndimage.gaussian_filter(spots, sigma) * np.float32(2 * np.pi * sigma**2)
    return image.astype(np.float32)


def draw_texture(rng: np.random.Generator, size: int) -> Plane:
    """A texture alone, or two that border on each other."""
    border = _field(rng, size, rng.uniform(10, 50)) > 0
    return np.where(border, _texture(rng, size) + rng.normal(), _texture(rng, size)).astype(np.float32)


def _texture(rng: np.random.Generator, size: int) -> Plane:
    """Noise with a power law, granules of one size, or a grating; SD about 1."""
    makers: tuple[Callable[[], Plane], ...] = (
        partial(_power_law, rng, size, rng.uniform(0.8, 2.2)),
        partial(_field, rng, size, rng.uniform(0.7, 4)),
        partial(_grating, rng, size, 2.5, 16),
    )
    return makers[rng.integers(len(makers))]()


def _field(rng: np.random.Generator, size: int, sigma: float) -> Plane:
    """Smooth random values of SD 1."""
    values = ndimage.gaussian_filter(rng.standard_normal((size, size)).astype(np.float32), sigma, mode="wrap")
    return values / values.std()


def _power_law(rng: np.random.Generator, size: int, exponent: float) -> Plane:
    """Noise whose amplitude falls with a power of the frequency, as in photographs of nature."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * frequency**-exponent
    values = np.fft.irfft2(spectrum, (size, size)).astype(np.float32)
    return values / values.std()


def _grating(rng: np.random.Generator, size: int, shortest: float, longest: float) -> Plane:
    """Waves of one direction, bent a little."""
    x, y = np.meshgrid(*[np.arange(size, dtype=np.float32)] * 2, indexing="ij")
    angle, period = rng.uniform(0, np.pi), rng.uniform(shortest, longest)
    phase = 2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period
    wave = np.sin(phase + rng.uniform(0, 2) * _field(rng, size, 15.0))
    return (np.tanh(3 * wave) if rng.random() < 0.4 else 1.4 * wave).astype(np.float32)


def _line(field: Plane, width: float) -> Plane:
    """Profile of a line along the zeros of a smooth field, `width` pixels to each side."""
    slope = np.hypot(*np.gradient(field)) + 1e-3
    return np.exp(-((field / (slope * width)) ** 2)).astype(np.float32)


def _paint(
    image: Plane,
    rng: np.random.Generator,
    radius: float,
    filling: Plane | float,
    *,
    rim: float = 0.0,
    round_only: bool = False,
) -> None:
    """Paint an ellipse or a convex polygon in place; `rim` is added along its border."""
    size = len(image)
    centre = rng.uniform(0, size, 2)
    low = np.maximum(np.floor(centre - 2 * radius - 2), 0).astype(int)
    high = np.minimum(np.ceil(centre + 2 * radius + 2), size).astype(int)
    box = tuple(slice(start, stop) for start, stop in zip(low, high))
    x, y = (
        axis - place
        for axis, place in zip(
            np.meshgrid(
                *(np.arange(start, stop, dtype=np.float32) for start, stop in zip(low, high)), indexing="ij"
            ),
            centre,
        )
    )
    distance = _distance(rng, x, y, radius, round_only)
    cover = np.clip(0.5 - distance, 0, 1)
    value = filling[box] if isinstance(filling, np.ndarray) else filling
    image[box] = image[box] * (1 - cover) + cover * value
    if rim:
        image[box] += np.float32(rim) * np.exp(-(distance**2))


def _distance(rng: np.random.Generator, x: Plane, y: Plane, radius: float, round_only: bool) -> Plane:
    """Signed distance to the border of a random shape around the origin, in pixels, about."""
    angle, stretch = rng.uniform(0, np.pi), 1.0 if round_only else np.exp(rng.normal(0, 0.3))
    along = (np.cos(angle) * x + np.sin(angle) * y) / stretch
    across = (np.cos(angle) * y - np.sin(angle) * x) * stretch
    if round_only or rng.random() < 0.5:
        return np.hypot(along, across) - np.float32(radius)
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
    sides = [np.cos(a) * along + np.sin(a) * across for a in angles]
    # Open polygons are cut off by the circle.
    return np.maximum(np.max(sides, axis=0), np.hypot(along, across) - radius) - np.float32(0.6 * radius) * (
        len(angles) > 4
    )
