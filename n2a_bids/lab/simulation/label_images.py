"""Images of random contrast made from label maps, as b0, T2w, FLAIR and T1w scans might show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from n2a_bids.algorithms.preparation.brain_depth import GRID_MM, LEAST_SHAPE, in_view
from n2a_bids.lab.simulation.label_maps import (
    AIR_WITHIN,
    BONE,
    CENTRE,
    FLUID,
    N_LABELS,
    SHAPE,
    STEP_MM,
    TISSUES,
    LabelMap,
)

Rng = np.random.Generator

_FINE_SHAPE = tuple(size * 3 // 2 for size in LEAST_SHAPE)
_FINE_MM = GRID_MM * 2 / 3
_KINDS, _SHARES = ("b0", "T2w", "FLAIR", "T1w", "any"), (0.6, 0.15, 0.15, 0.03, 0.07)
_FURTHEST = 0.55
"""The largest part of the brain that a field of view may cut away from below."""


@dataclass(frozen=True, slots=True)
class LabelImage:
    """An image, where it has voxels, and the truth."""

    shown: Tensor
    """As the network sees it: see `in_view`."""
    field_of_view: Tensor
    depth_mm: Tensor
    """Of every voxel in the brain."""


@dataclass(frozen=True, slots=True)
class _Distortion:
    """What an echo-planar readout does: displacement along one axis, piled up and lost signal."""

    axis: int
    shift_mm: Tensor
    gain: Tensor


def draw_label_image(anatomy: LabelMap, rng: Rng) -> LabelImage:
    """Turn a label map into an image: deformed, of any contrast, distorted, shaded, blurred, noisy, cut."""
    points = _deformed_points(rng)
    gain = torch.ones(_FINE_SHAPE)
    if rng.random() < 0.6:
        distortion = _draw_distortion(rng)
        points[..., distortion.axis] += distortion.shift_mm
        gain = distortion.gain
    labels, depth = _sampled(anatomy, points, ends_in_air=rng.random() < 0.5)
    image = _intensities(labels, rng) * gain
    if rng.random() < 0.8:
        image = image * torch.exp(_smooth(rng, _FINE_SHAPE, 4, rng.uniform(0, 0.45)))
    image = _as_acquired(_blurred(image, rng), depth, rng)
    field_of_view = _draw_view(depth > 0, rng)
    shown = in_view(image * field_of_view, field_of_view)
    if rng.random() < 0.3:
        shown = shown ** rng.uniform(0.75, 1.3)
    return LabelImage(shown, field_of_view, depth)


def mirrored(image: LabelImage, rng: Rng) -> LabelImage:
    """The mirror image with another contrast curve and another shading: a second lesson for little work."""
    view = image.field_of_view.flip(0)
    curved = image.shown.flip(0) ** rng.uniform(0.75, 1.3)
    shading = torch.exp(_smooth(rng, LEAST_SHAPE, 4, rng.uniform(0, 0.35)))
    shown = in_view(curved * shading * view, view)
    return LabelImage(shown, view, image.depth_mm.flip(0))


def _smooth(rng: Rng, shape: tuple[int, ...], n_knots: int, sd: float) -> Tensor:
    knots = torch.from_numpy(rng.standard_normal((1, 1, *(n_knots,) * 3)).astype(np.float32))
    return sd * F.interpolate(knots, shape, mode="trilinear", align_corners=True)[0, 0]


def _places(rng: Rng) -> Tensor:
    """Millimetres from the middle of a head that does not lie in the middle of the image."""
    shift = rng.uniform((-14, -18, -25), (14, 18, 25))
    axes = [
        (torch.arange(size) - (size - 1) / 2) * _FINE_MM - float(offset)
        for size, offset in zip(_FINE_SHAPE, shift)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _deformed_points(rng: Rng) -> Tensor:
    """Where every voxel of the image comes from, in mm of the label map."""
    pitch, roll, yaw = np.deg2rad(rng.uniform((-18, -9, -9), (18, 9, 9)))
    turn = _rotation(1, 2, pitch) @ _rotation(2, 0, roll) @ _rotation(0, 1, yaw)
    matrix = turn * rng.uniform(0.85, 1.18, 3) * rng.uniform(0.93, 1.07)
    matrix[:, 0] *= rng.choice([-1, 1])
    gyral, global_ = rng.uniform(0, 3.5), rng.uniform(0, 5)
    bending = [_smooth(rng, _FINE_SHAPE, 7, gyral) + _smooth(rng, _FINE_SHAPE, 4, global_) for _ in range(3)]
    return _places(rng) @ torch.from_numpy(matrix.T.astype(np.float32)) + torch.stack(bending, dim=-1)


def _rotation(first: int, second: int, angle: float) -> np.ndarray:
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def _draw_distortion(rng: Rng) -> _Distortion:
    """Fields as above the sinuses and the ear canals: Gaussian bumps under the brain and in front of it."""
    axes = [(torch.arange(size) - (size - 1) / 2) * _FINE_MM for size in _FINE_SHAPE]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    field = _smooth(rng, _FINE_SHAPE, 5, 0.15)
    for _ in range(rng.integers(1, 5)):
        centre = torch.from_numpy(rng.uniform((-45, -30, -60), (45, 85, -10)).astype(np.float32))
        squares = ((places - centre) ** 2).sum(dim=-1)
        field = field + rng.uniform(-1, 1) * torch.exp(-squares / (2 * rng.uniform(8, 22) ** 2))
    field = field / field.abs().max().clamp_min(1e-3)
    axis, peak_mm = (1 if rng.random() < 0.8 else 0), rng.uniform(0, 14)
    shift = peak_mm * field
    piled_up = (1 + torch.gradient(shift, spacing=_FINE_MM, dim=axis)[0]).clamp(0.15, 3)
    return _Distortion(axis, shift, piled_up * torch.exp(-rng.uniform(0, 1.6) * field**2))


def _sampled(anatomy: LabelMap, points: Tensor, *, ends_in_air: bool) -> tuple[Tensor, Tensor]:
    """Labels on the fine grid, and depths on that of the network.

    Outside of the label map is air, or what lies at its border.
    """
    size = torch.tensor(SHAPE, dtype=torch.float32)
    grid = ((points / STEP_MM + torch.tensor(CENTRE)) / (size - 1) * 2 - 1).flip(-1)[None]
    coarse = F.interpolate(grid.permute(0, 4, 1, 2, 3), LEAST_SHAPE, mode="trilinear").permute(0, 2, 3, 4, 1)
    labels, depth = (
        F.grid_sample(values[None, None], where, mode, padding_mode="border", align_corners=True)[0, 0]
        for values, where, mode in (
            (torch.from_numpy(anatomy.labels).float(), grid, "nearest"),
            (torch.from_numpy(anatomy.depth_mm()), coarse, "bilinear"),
        )
    )
    if ends_in_air:
        labels = labels * (grid[0].abs() <= 1).all(dim=-1)
    return labels.long(), depth


def _intensities(labels: Tensor, rng: Rng) -> Tensor:
    image = torch.from_numpy(_draw_levels(rng))[labels]
    texture = torch.from_numpy(rng.standard_normal(_FINE_SHAPE, dtype=np.float32))
    image = image * (1 + rng.uniform(0, 0.15) * texture)
    if rng.random() < 0.7:
        image = image * (1 + _smooth(rng, _FINE_SHAPE, 17, rng.uniform(0, 0.25))).clamp_min(0.1)
    return image


def _draw_levels(rng: Rng) -> np.ndarray:
    """Intensity of every label, white matter being 1."""
    kind = rng.choice(_KINDS, p=_SHARES)
    grey, fluid = {
        "b0": ((1.0, 1.5), (1.6, 4.5)),
        "T2w": ((1.0, 1.5), (1.6, 4.5)),
        "FLAIR": ((1.0, 1.4), (0.05, 0.7)),
        "T1w": ((0.5, 0.9), (0.05, 0.45)),
        "any": ((0.4, 2.0), (0.02, 3.0)),
    }[kind]
    grey, fluid = rng.uniform(*grey), rng.uniform(*fluid)
    levels = np.zeros(N_LABELS, np.float32)
    darkest = grey + 0.25 * (fluid - grey) * rng.random()
    levels[list(TISSUES)] = fluid, darkest, 1 + (grey - 1) * rng.uniform(0.4, 0.8), 1
    levels[FLUID] = fluid * rng.uniform(0.6, 1.1) if rng.random() < 0.8 else rng.uniform(0.02, 2)
    # Fat is suppressed in most diffusion series.
    top = rng.uniform(0.1, 0.7) if kind == "b0" or rng.random() < 0.3 else rng.uniform(0.6, 2.5)
    levels[BONE:] = rng.uniform(0, top, N_LABELS - BONE)
    if rng.random() < 0.8:
        levels[BONE], levels[AIR_WITHIN] = rng.uniform(0, 0.2), rng.uniform(0, 0.06)
    if rng.random() < 0.3:
        levels[rng.integers(BONE + 1, AIR_WITHIN)] = rng.uniform(0.5, 3)
    return levels


def _blurred(image: Tensor, rng: Rng) -> Tensor:
    """Voxels of 3 to 6 mm, thicker along one axis in most images."""
    sigmas = [rng.uniform(0.2, 0.8)] * 3
    if rng.random() < 0.7:
        sigmas[rng.integers(3)] = rng.uniform(0.5, 1.4)
    for axis, sigma in enumerate(sigmas):
        weight, count = min(0.33, sigma**2 / 2.4), image.shape[axis] - 1
        blurred = image * (1 - 2 * weight)
        blurred.narrow(axis, 1, count).add_(image.narrow(axis, 0, count), alpha=weight)
        blurred.narrow(axis, 0, count).add_(image.narrow(axis, 1, count), alpha=weight)
        image = blurred
    return image


def _as_acquired(image: Tensor, depth: Tensor, rng: Rng) -> Tensor:
    """On the grid of the network, with Rician noise; a third without background, as scanners mask it."""
    coarse = F.interpolate(image[None, None], LEAST_SHAPE, mode="trilinear")[0, 0]
    brain = depth > 0
    level = float(coarse[brain].mean()) if brain.any() else 1.0
    sd = level * np.exp(rng.uniform(np.log(0.005), np.log(0.06)))
    real, imaginary = torch.from_numpy(rng.standard_normal((2, *LEAST_SHAPE), dtype=np.float32)) * sd
    noisy = ((coarse + real) ** 2 + imaginary**2).sqrt()
    if rng.random() < 0.35:
        noisy = noisy * (noisy >= 0.1 * level * rng.uniform(0, 2))
    return noisy


def _draw_view(brain: Tensor, rng: Rng) -> Tensor:
    """Cut the image at some sides, through the brain or near it; from below most often and furthest."""
    view = torch.ones(LEAST_SHAPE)
    where = torch.nonzero(brain)
    if not len(where):
        return view
    low, high = where.min(dim=0).values.tolist(), where.max(dim=0).values.tolist()
    for axis in range(3):
        for from_above in (False, True):
            is_vertical = axis == 2
            if rng.random() >= (0.25 if is_vertical and not from_above else 0.12):
                continue
            most = 0.4 if not is_vertical else 0.2 if from_above else _FURTHEST
            cut, size = int((high[axis] - low[axis]) * (rng.uniform(0, most) - 0.12)), LEAST_SHAPE[axis]
            first, last = max(low[axis] + cut, 0), min(high[axis] - cut, size)
            (view.narrow(axis, last, size - last) if from_above else view.narrow(axis, 0, first)).zero_()
    return view
