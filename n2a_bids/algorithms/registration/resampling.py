"""Resamples images by Fourier upsampling and quintic B-splines, which leaves white noise white.

White noise after a rigid motion (4 degrees about all axes), SD / lag-1 correlation: trilinear 0.55 / 0.25,
cubic B-spline 0.82 / 0.12, Lanczos window of ITK 0.84 / 0.11, quintic B-spline 0.88 / 0.08, Fourier
upsampling by two and then quintic B-spline (here) 0.99 / 0.01. At a shift of half a voxel: 0.35, 0.66,
0.69, 0.77 and 0.99. Noise that is white in every repetition is what learning without clean data assumes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from n2a_bids.algorithms.preparation.gaps import extend_measured

KERNEL = "Fourier upsampling by two, then quintic B-spline"
"""What `resample` does, as sidecars and methods text call it."""
_PADDING = 8
"""Voxels mirrored at each face, so that the periodic Fourier basis meets no step there."""


def resample(
    image: NDArray[np.floating],
    voxel_to_voxel: NDArray[np.float64],
    shape: tuple[int, int, int],
    measured: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Show an image on another grid.

    Twofold Fourier upsampling is exact for what a scanner samples (a band-limited signal); on the finer
    grid a quintic B-spline is then very nearly ideal. Undershoots below the smallest input value, which
    occur in air next to bright skin, are set to that value; inside the head nothing is clipped.

    Parameters
    ----------
    image : (X, Y, Z) float array
    voxel_to_voxel : (4, 4) float array
        Maps indices of the new grid to indices of `image`.
    shape : tuple of int
        The new grid.
    measured : (X, Y, Z) bool array, optional
        Where `image` holds a measurement. Elsewhere the measured values are continued before anything is
        interpolated: the edge of a zone of one value would ring.

    Returns
    -------
    resampled : `shape` float32 array
        Outside the field of view of `image`, its mirrored continuation, and where nothing was measured, the
        continuation of what was: of no meaning.
    inside : `shape` bool array
        Where the new grid lies in the field of view of `image`, and where that was measured.
    """
    if measured is not None:
        image = extend_measured(image, measured)
    fine = upsample_twice(np.pad(image.astype(np.float32), _PADDING, mode="reflect"))
    # Filtered here because affine_transform would do it in float64, twice the memory.
    coefficients = ndimage.spline_filter(fine, order=5, output=np.float32, mode="mirror")
    del fine
    matrix, offset = voxel_to_voxel[:3, :3], voxel_to_voxel[:3, 3]
    resampled = ndimage.affine_transform(
        coefficients,
        2 * matrix,
        2 * (offset + _PADDING),
        shape,
        order=5,
        mode="mirror",
        output=np.float32,
        prefilter=False,
    )
    np.maximum(resampled, image.min(), out=resampled)
    if measured is not None:
        return resampled, move_measured(measured, voxel_to_voxel, shape)
    return resampled, field_of_view(image.shape, voxel_to_voxel, shape)


def move_measured(
    measured: NDArray[np.bool_],
    voxel_to_voxel: NDArray[np.float64],
    shape: tuple[int, int, int],
    least: float = 0.5,
) -> NDArray[np.bool_]:
    """Where a grid lies on measured voxels of another.

    Parameters
    ----------
    measured : (X, Y, Z) bool array
    voxel_to_voxel : (4, 4) float array
        Maps indices of the new grid to indices of `measured`.
    shape : tuple of int
        The new grid.
    least : float
        Part of the trilinear weights that must fall on measured voxels.

    Returns
    -------
    moved : `shape` bool array
        False outside the field of view.
    """
    weight = ndimage.affine_transform(
        measured.astype(np.float32),
        voxel_to_voxel[:3, :3],
        voxel_to_voxel[:3, 3],
        shape,
        order=1,
        mode="nearest",
    )
    return (weight > least) & field_of_view(measured.shape, voxel_to_voxel, shape)


def field_of_view(
    source_shape: tuple[int, ...], voxel_to_voxel: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Where a grid lies within another, to half a voxel beyond the outermost centres.

    Parameters
    ----------
    source_shape : tuple of int
        Grid of the image.
    voxel_to_voxel : (4, 4) float array
        Maps indices of the new grid to indices of the image.
    shape : tuple of int
        The new grid.

    Returns
    -------
    inside : `shape` bool array
    """
    inside = np.ones(shape, dtype=bool)
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    for row, length in zip(voxel_to_voxel[:3], source_shape, strict=True):
        position = row[0] * i + row[1] * j + row[2] * k + row[3]
        inside &= (position >= -0.5) & (position <= length - 0.5)
    return inside


def upsample_twice(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Twice as many samples along every axis, by zero filling in Fourier space.

    Even samples are those of `image`.

    Examples
    --------
    >>> wave = np.cos(2 * np.pi * np.arange(8) / 8).astype(np.float32)
    >>> upsample_twice(wave)[:4].round(4)
    array([1.    , 0.9239, 0.7071, 0.3827], dtype=float32)
    """
    fine = image
    for axis in range(image.ndim):
        length = image.shape[axis]
        spectrum = fft.rfft(fine, axis=axis)
        if length % 2 == 0:
            # The Nyquist term stands for both signs of its frequency: half of it goes to each.
            np.moveaxis(spectrum, axis, 0)[-1] *= 0.5
        fine = fft.irfft(spectrum, n=2 * length, axis=axis, overwrite_x=True)
        fine *= 2
    return fine


def block_means(image: NDArray[np.float32], steps: Sequence[int]) -> NDArray[np.float32]:
    """Means of blocks of voxels; what a block holds beyond the image is zero.

    Examples
    --------
    >>> block_means(np.ones((3, 2, 2), np.float32), (2, 2, 2)).ravel().tolist()
    [1.0, 0.5]
    """
    padded = np.pad(image, [(0, -size % step) for size, step in zip(image.shape, steps, strict=True)])
    parts = [part for size, step in zip(padded.shape, steps, strict=True) for part in (size // step, step)]
    return padded.reshape(parts).mean(axis=(1, 3, 5), dtype=np.float32)
