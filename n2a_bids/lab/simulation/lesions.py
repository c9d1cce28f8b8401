"""Simulated small lesions, uniform objects and second echo, to test what a denoiser removes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# R2* in 1/s at 3 T from dark to bright tissue of a T1w image: CSF, grey, white (rounded literature values)
_R2STAR_PER_S = (2.0, 16.0, 21.0)
_DROPOUT_R2STAR_PER_S = 60.0


@dataclass(frozen=True, slots=True)
class Lesions:
    """Small spheres of added signal."""

    signal: NDArray[np.float32]
    """(X, Y, Z) to be added to an image."""
    centres: NDArray[np.intp]
    """(L, 3) voxel index of each centre."""
    cores: NDArray[np.intp]
    """(X, Y, Z) label 1..L of the voxels within the radius of each lesion; 0 elsewhere."""


def make_lesions(
    mask: NDArray[np.bool_],
    contrast: float,
    generator: np.random.Generator,
    n_lesions: int = 6,
    radius_mm: float = 2.5,
    voxel_size_mm: Sequence[float] = (1.0, 1.0, 1.0),
    *,
    alternate: bool = False,
) -> Lesions:
    """Place small spheres with soft rims well inside a mask, apart from each other.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
        Where lesions may lie; their whole extent stays inside.
    contrast : float
        Added intensity at the centre (negative for dark lesions).
    generator : numpy.random.Generator
        Draws the places.
    n_lesions : int
        Fewer are placed where the mask has no room.
    radius_mm : float
        Radius of the flat part; the rim falls over one further voxel.
    voxel_size_mm : three floats
        Voxel size along the array axes.
    alternate : bool
        Every second lesion has the opposite contrast.

    Raises
    ------
    ValueError
        If the mask has no room for a single lesion.
    """
    sizes = np.asarray(voxel_size_mm, dtype=float)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=sizes)[1:-1, 1:-1, 1:-1]
    room = depth > radius_mm + 2 * sizes.max()
    if not room.any():
        raise ValueError(f"the mask has no room for a lesion of radius {radius_mm} mm")
    grid = np.indices(mask.shape).reshape(3, -1).T * sizes
    signal = np.zeros(mask.size, dtype=np.float32)
    cores = np.zeros(mask.size, dtype=np.intp)
    centres = []
    while len(centres) < n_lesions and room.any():
        centre = np.argwhere(room)[generator.integers(np.count_nonzero(room))]
        distance = np.linalg.norm(grid - centre * sizes, axis=1)
        soft = np.clip((radius_mm + sizes.max() - distance) / sizes.max(), 0, 1)
        sign = -1 if alternate and len(centres) % 2 else 1
        signal += (sign * contrast * soft).astype(np.float32)
        centres.append(centre)
        cores[distance <= radius_mm] = len(centres)
        room &= (distance > 4 * radius_mm).reshape(mask.shape)
    return Lesions(signal.reshape(mask.shape), np.array(centres), cores.reshape(mask.shape))


def kept_contrast(
    denoised: NDArray[np.floating], denoised_without: NDArray[np.floating], lesions: Lesions
) -> NDArray[np.float64]:
    """Fraction of each lesion's signal that a denoiser kept.

    Parameters
    ----------
    denoised, denoised_without : (X, Y, Z) float array
        Results for runs with and without the lesions, of the same noise.
    lesions : Lesions
        What was added.

    Returns
    -------
    fractions : (L,) float array
        1 when the mean added signal over the core came through whole, 0 when it vanished.
    """
    labels = np.arange(1, len(lesions.centres) + 1)
    found = ndimage.mean(denoised - denoised_without, lesions.cores, labels)
    return np.asarray(found) / np.asarray(ndimage.mean(lesions.signal, lesions.cores, labels))


def ball_mask(shape: Sequence[int], fraction: float = 0.8) -> NDArray[np.bool_]:
    """Ellipsoid that fills `fraction` of each axis: the object of uniform and noise-only phantoms."""
    axes = [np.linspace(-1, 1, length) for length in shape]
    squares = [(axis / fraction) ** 2 for axis in np.meshgrid(*axes, indexing="ij")]
    return sum(squares) <= 1


def second_echo(
    first_echo: NDArray[np.floating],
    mask: NDArray[np.bool_],
    delay_s: float,
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Make a later echo of a T1w image: each tissue decays at its own rate, more where the field is uneven.

    Parameters
    ----------
    first_echo : (X, Y, Z) float array
        Clean image of the first echo.
    mask : (X, Y, Z) bool array
        Brain mask: its 2nd and 98th percentile stand for CSF and white matter.
    delay_s : float
        Time between the echoes in seconds.
    generator : numpy.random.Generator
        Places the smooth field disturbance.

    Returns
    -------
    later : (X, Y, Z) float32 array
        Same anatomy in another contrast; never brighter than the first echo where that is positive.
    """
    dark, bright = np.percentile(first_echo[mask], (2, 98))
    position = np.clip((first_echo - dark) / max(bright - dark, np.finfo(np.float32).eps), 0, 1)
    rate = np.interp(position, (0, 0.5, 1), _R2STAR_PER_S)
    field = ndimage.gaussian_filter(generator.standard_normal(mask.shape), [n / 6 for n in mask.shape])
    field = np.clip(field / max(np.abs(field).max(), np.finfo(np.float64).tiny), 0, 1)
    return (first_echo * np.exp(-delay_s * (rate + _DROPOUT_R2STAR_PER_S * field**2))).astype(np.float32)
