"""Estimates a susceptibility distortion field from a pair of b0s of opposite blips, and undoes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from n2a_bids.algorithms.preparation.gaps import extend_masked, lies_on
from n2a_bids.algorithms.transforms import inverse

_MOST_ITERATIONS, _FOUND_VOXELS = 60, 0.02
"""Of the search for a position as acquired, which ends within so many voxels where no image folds."""
KERNEL = "quintic B-spline"
"""Of `resample`, as sidecars and methods text call it."""
_STEEPEST = 0.9
"""Slope of the displacement at which an image all but folds: steeper places cannot be trusted."""


@dataclass(frozen=True, slots=True)
class DistortionConfig:
    """Settings of the estimation, coarse to fine."""

    shrink_factors: tuple[int, ...] = (4, 2, 1)
    """Voxels averaged along each axis at each level."""
    blur_voxels: tuple[float, ...] = (1.0, 0.7, 0.5)
    """Gaussian blur at each level, in voxels of that level."""
    n_steps: tuple[int, ...] = (200, 150, 100)
    knot_spacing: tuple[int, ...] = (2, 2, 2)
    """Voxels of the level between the knots that carry the displacement."""
    smoothness: float = 0.002
    """Weight of the squared gradient of the displacement against the squared difference."""
    fold_penalty: float = 1.0
    """Weight of slopes that come near to folding, against the same."""


COARSE_FIELD = DistortionConfig((4, 2), (1.0, 0.7), (150, 80), (2, 2))
"""A field that need only be good enough to find motion, or to tell whether there is one."""


def estimate_displacement(
    plus: NDArray,
    minus: NDArray,
    axis: int,
    config: DistortionConfig = DistortionConfig(),
    *,
    readout_ratio: float = 1.0,
) -> NDArray[np.float32]:
    """Displacement that makes two images of opposite blips agree.

    Signal of position ``x`` is seen at ``x + u`` in one image and at ``x - r u``
    in the other, and its intensity is divided by the local stretch. ``u`` is
    found by minimising the squared difference of the two corrected images plus
    the squared gradient of ``u`` (Andersson et al., NeuroImage 2003; Ruthotto
    et al., Phys Med Biol 2012), from coarse to fine.

    Parameters
    ----------
    plus, minus : (X, Y, Z) arrays
        Images of both polarities on one grid, rigidly aligned, one intensity unit.
    axis : int
        Phase-encoding axis.
    readout_ratio : float
        ``r``: displacement of `minus` over that of `plus`.

    Returns
    -------
    displacement : (X, Y, Z) float32 array
        Voxels along `axis`, positive where `plus` is moved towards higher indices.

    Raises
    ------
    ValueError
        If the grids differ or an image is empty.
    """
    if plus.shape != minus.shape:
        raise ValueError(f"the images lie on grids {plus.shape} and {minus.shape}")
    pair = np.stack((plus, minus)).astype(np.float32)
    scale = np.percentile(pair[pair > 0], 98) if (pair > 0).any() else 0.0
    if not scale > 0:
        raise ValueError("the images hold no signal")
    # Lines run along the last axis, so that they can be gathered there.
    lines = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pair / scale, axis + 1, -1)))
    displacement = torch.zeros(lines.shape[1:])
    levels = zip(config.shrink_factors, config.blur_voxels, config.n_steps, config.knot_spacing, strict=True)
    for shrink, blur, n_steps, spacing in levels:
        images = _shrink(lines, shrink, blur)
        start = _resize(displacement, tuple(images.shape[1:])) / shrink
        knots = _fit_level(images, start, spacing, n_steps, config, readout_ratio)
        displacement = _resize(start + knots, tuple(lines.shape[1:])) * shrink
    return np.ascontiguousarray(np.moveaxis(displacement.numpy(), -1, axis))


def _shrink(lines: Tensor, factor: int, blur: float) -> Tensor:
    smooth = np.stack([ndimage.gaussian_filter(image, blur * factor) for image in lines.numpy()])
    shape = tuple(max(size // factor, 4) for size in lines.shape[1:])
    return functional.interpolate(
        torch.from_numpy(smooth)[None], size=shape, mode="trilinear", align_corners=False
    )[0]


def _resize(field: Tensor, shape: tuple[int, ...]) -> Tensor:
    return functional.interpolate(field[None, None], size=shape, mode="trilinear", align_corners=False)[0, 0]


def _fit_level(
    images: Tensor, start: Tensor, spacing: int, n_steps: int, config: DistortionConfig, ratio: float
) -> Tensor:
    """Correction of `start` at one resolution, in voxels of that resolution."""
    shape = tuple(start.shape)
    knots = torch.zeros(tuple(max(size // spacing, 2) for size in shape), requires_grad=True)
    optimizer = torch.optim.Adam([knots], lr=0.15)
    for step in range(n_steps):
        optimizer.param_groups[0]["lr"] = 0.15 * (1 - step / n_steps) + 0.005
        field = start + _resize(knots, shape)
        loss = _mismatch(images, field, config, ratio)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return _resize(knots, shape).detach()


def _mismatch(images: Tensor, field: Tensor, config: DistortionConfig, ratio: float) -> Tensor:
    slope = _slope(field)
    first = _pull(images[0], field) * (1 + slope)
    second = _pull(images[1], -ratio * field) * (1 - ratio * slope)
    rough = sum(torch.diff(field, dim=dim).square().mean() for dim in range(3))
    folds = functional.relu(max(ratio, 1.0) * slope.abs() - _STEEPEST).square().mean()
    return (first - second).square().mean() + config.smoothness * rough + config.fold_penalty * folds


def _slope(field: Tensor) -> Tensor:
    """Central difference along the last axis, one-sided at its ends."""
    padded = torch.cat((field[..., :1], field, field[..., -1:]), dim=-1)
    return (padded[..., 2:] - padded[..., :-2]) / 2


def _pull(image: Tensor, shift: Tensor) -> Tensor:
    """Values of `image` at ``position + shift`` along the last axis, linear, differentiable in `shift`."""
    last = image.shape[-1] - 1
    position = (torch.arange(last + 1, dtype=shift.dtype) + shift).clamp(0, last)
    low = position.detach().floor().clamp(max=last - 1)
    index = low.long()
    below, above = image.gather(-1, index), image.gather(-1, index + 1)
    return below + (position - low) * (above - below)


def intensity_factor(
    displacement: NDArray, axis: int, sign: int, voxel_map: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Local stretch by which a corrected image is multiplied; 0 where it folds.

    Parameters
    ----------
    displacement : (X, Y, Z) array
        On the corrected grid, in voxels of the image along its `axis`.
    axis : int
        Phase-encoding axis of the image.
    sign : {1, -1}
        Polarity of the image.
    voxel_map : (4, 4) array, optional
        Voxel of the corrected grid to voxel of the image, without the displacement; the identity by default.
    """
    # The slope along the axis of the image, which need not be an axis of the corrected grid.
    along = np.eye(3)[axis] if voxel_map is None else inverse(voxel_map)[:3, axis]
    slope = sum(
        part * np.gradient(displacement, axis=own) for own, part in enumerate(along) if abs(part) > 1e-6
    )
    factor = 1 + sign * slope
    return np.where(factor > 1 - _STEEPEST, factor, 0).astype(np.float32)


def resample(
    image: NDArray,
    voxel_map: NDArray[np.float64],
    displacement: NDArray,
    axis: int,
    sign: int,
    *,
    order: int = 5,
    signed: bool = False,
) -> NDArray[np.float32]:
    """Undo motion and distortion of one volume in a single interpolation.

    Parameters
    ----------
    image : (X, Y, Z) array
        Volume as acquired.
    voxel_map : (4, 4) array
        Voxel of the corrected grid to voxel of `image`, without the displacement.
    displacement : (X', Y', Z') array
        On the corrected grid, in voxels of `image` along `axis`.
    axis, sign : int
        Phase-encoding axis of `image`, in its own array, and polarity; a sign of 0 leaves the distortion.
    order : int
        Degree of the spline.
    signed : bool
        Whether intensities may be negative, as those of real-valued images. Those of magnitudes may not:
        where splines overshoot at edges, they are set to zero.

    Returns
    -------
    corrected : (X', Y', Z') float32 array
        Zero outside of the field of view, to half a voxel beyond the outermost centres, and of a mask.
    """
    source = _source(voxel_map, displacement, axis, sign)
    image, measured = extend_masked(image.astype(np.float32))
    inside = _within(source, image.shape) & lies_on(measured, source)
    for positions, size in zip(source, image.shape):
        np.clip(positions, 0, size - 1, out=positions)
    values = ndimage.map_coordinates(image, source, order=order, mode="mirror")
    values *= intensity_factor(displacement, axis, sign, voxel_map) * inside
    return (values if signed else np.maximum(values, 0)).astype(np.float32)


def in_view(
    shape: tuple[int, ...], voxel_map: NDArray[np.float64], displacement: NDArray, axis: int, sign: int
) -> NDArray[np.bool_]:
    """Voxels of the corrected grid that an image of this shape shows; arguments as in :func:`resample`."""
    return _within(_source(voxel_map, displacement, axis, sign), shape)


def _source(
    voxel_map: NDArray[np.float64], displacement: NDArray, axis: int, sign: int
) -> NDArray[np.float64]:
    """(3, X', Y', Z') positions in the image as acquired."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in displacement.shape), indexing="ij"))
    source = np.tensordot(voxel_map[:3, :3], grid, axes=1) + voxel_map[:3, 3][:, None, None, None]
    source[axis] += sign * displacement
    return source


def _within(source: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    # Without the half voxel, the least motion would blacken the outermost slices.
    sides = [(positions >= -0.5) & (positions <= size - 0.5) for positions, size in zip(source, shape)]
    return np.logical_and.reduce(sides)


@dataclass(frozen=True, slots=True)
class AcquiredGrid:
    """Where the voxels of a series as acquired lie on the corrected grid."""

    positions: NDArray[np.float64]
    """(3, X, Y, Z) corrected voxel coordinates."""
    stretch: NDArray[np.float32]
    """(X, Y, Z) factor by which the correction multiplied the intensity."""
    known: NDArray[np.bool_]
    """(X, Y, Z) False where the image folds: there the correction cannot be undone."""

    def show(self, corrected: NDArray, *, order: int = 5, signed: bool = False) -> NDArray[np.float32]:
        """A corrected volume as it was acquired: moved and distorted again, zero where unknown.

        `order` and `signed` are as in :func:`resample`.
        """
        values = ndimage.map_coordinates(
            np.asarray(corrected, np.float32), self.positions, order=order, mode="constant"
        )
        if order:
            values = values / self.stretch
        return np.where(self.known, values if signed else np.maximum(values, 0), 0).astype(np.float32)


def acquired_grid(
    voxel_map: NDArray[np.float64], displacement: NDArray, axis: int, shape: tuple[int, ...]
) -> AcquiredGrid:
    """Undo :func:`resample`: find the corrected position of every voxel as acquired.

    Parameters
    ----------
    voxel_map : (4, 4) array
        Corrected voxel to voxel as acquired, rigid part, as in :func:`resample`.
    displacement : (X', Y', Z') array
        On the corrected grid, in voxels of the series along its `axis`, with the sign of this series.
    axis : int
        Phase-encoding axis of the series, in its own array.
    shape : (3,) ints
        Of the series as acquired.
    """
    back = inverse(voxel_map)
    acquired = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij"))
    moved = np.zeros(shape)
    for _ in range(_MOST_ITERATIONS):
        before = acquired.copy()
        before[axis] -= moved
        positions = np.tensordot(back[:3, :3], before, axes=1) + back[:3, 3][:, None, None, None]
        found = ndimage.map_coordinates(displacement, positions, order=1, mode="nearest")
        error, moved = np.abs(found - moved), found
        if error.max() < _FOUND_VOXELS:
            break
    factor = intensity_factor(displacement, axis, 1, voxel_map)
    stretch = ndimage.map_coordinates(factor, positions, order=1, mode="nearest").astype(np.float32)
    known = (error < _FOUND_VOXELS) & (stretch > 1 - _STEEPEST)
    return AcquiredGrid(positions, np.where(known, stretch, 1).astype(np.float32), known)
