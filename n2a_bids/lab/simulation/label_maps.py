"""Label maps of heads: brains whose tissue classes are known, in the surroundings of other heads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from n2a_bids.algorithms.masked_filters import largest_piece
from n2a_bids.io.images import load

SHAPE, STEP_MM = (104, 124, 116), 2.0
CENTRE = (52.0, 62.0, 66.0)
"""Where the middle of the brain's box lies, in voxels: more room below than above."""

TISSUES = (1, 2, 3, 4)
"""Dark to bright in T1w images: CSF, two of grey and one of white matter."""
FLUID, BONE, AIR_WITHIN, N_LABELS = 5, 6, 17, 18
"""Around the brain; labels 7 to 16 are the soft tissues of a head, zero is air."""

_N_SOFT = 5
_BRIDGED_MM = 6.0
_FAR_MM = 14.0
"""Beyond this from the brain, soft tissue of the same brightness counts as another."""
_DEPTH_UNIT_MM = 0.25


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Anatomy without intensities."""

    labels: NDArray[np.uint8]
    depth: NDArray[np.int8]
    """In the brain, in quarters of a millimetre; negative outside of it."""

    def depth_mm(self) -> NDArray[np.float32]:
        """Of every voxel in the brain, capped at 32 mm."""
        return self.depth.astype(np.float32) * np.float32(_DEPTH_UNIT_MM)


@dataclass(frozen=True, slots=True)
class Brain:
    """Tissue classes of a skull-stripped brain."""

    tissues: NDArray[np.uint8]
    """Zero outside."""
    envelope: NDArray[np.bool_]
    """Tissue with its sulci bridged; what lies around it is fluid."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lies around the brain of a head."""

    brain: NDArray[np.bool_]
    labels: NDArray[np.uint8]


def read_brain(path: Path, rng: np.random.Generator) -> Brain:
    """Tissue classes of a skull-stripped T1w brain, by the intensities that its voxels cluster at."""
    image, mask = _on_grid(path, path)
    tissues = np.zeros(SHAPE, np.uint8)
    tissues[mask] = 1 + _clusters(image[mask], len(TISSUES), rng)
    tissue = largest_piece(ndimage.binary_opening(tissues > TISSUES[0]))
    envelope = ndimage.binary_fill_holes(_closed(tissue, _BRIDGED_MM)) & mask
    return Brain(tissues, envelope)


def read_surroundings(head: Path, mask_file: Path, rng: np.random.Generator) -> Surroundings:
    """Bone, soft tissues and air around the brain of a T1w head, by brightness and distance from it."""
    image, brain = _on_grid(head, mask_file)
    bright = image > 0.12 * np.percentile(image[brain], 90)
    bright = largest_piece(ndimage.binary_opening(bright) | brain)
    dark = _closed(bright, 14.0) & ~bright & ~brain
    soft = bright & ~brain
    distance = _distance(~brain)
    labels = np.zeros(SHAPE, np.uint8)
    labels[soft] = BONE + 1 + _clusters(image[soft], _N_SOFT, rng)
    labels[soft & (distance > _FAR_MM)] += _N_SOFT
    labels[dark] = np.where(distance > 16.0, AIR_WITHIN, BONE)[dark]
    return Surroundings(brain, labels)


def transplanted(brain: Brain, around: Surroundings, rng: np.random.Generator) -> LabelMap:
    """A brain in another head, stretched to its size; gaps become fluid."""
    low, high = _corners(around.brain)
    own_low, own_high = _corners(brain.tissues > 0)
    scale = (high - low) / (own_high - own_low)
    offset = (low + high) / 2 - scale * (own_low + own_high) / 2
    labels = ndimage.affine_transform(around.labels, np.diag(scale), offset, SHAPE, order=0)
    inside = ndimage.affine_transform(around.brain.astype(np.uint8), np.diag(scale), offset, SHAPE, order=0)
    labels[(inside > 0) | (_distance(~brain.envelope) <= rng.uniform(0, 3))] = FLUID
    return _with_brain(labels, brain)


def layered(brain: Brain, rng: np.random.Generator) -> LabelMap:
    """A brain in layers of random thickness and among ellipsoids: no head looks like it, any may in part."""
    wobble = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 8)
    hull = _distance(~_closed(brain.envelope, 10.0))
    depth = hull / (1 + 0.5 * wobble / np.abs(wobble).max())
    # Fluid, table, marrow, table, muscle, fat, skin.
    thickness = rng.uniform((0.5, 1, 0, 1, 1, 1, 1), (6, 3, 5, 3, 8, 9, 3))
    layers = np.array([FLUID, BONE, 7, BONE, 8, 9, 10, 0], np.uint8)
    labels = layers[np.searchsorted(np.cumsum(thickness), depth)]
    grid = np.indices(SHAPE).transpose(1, 2, 3, 0)
    for _ in range(10):
        radii, centre = rng.uniform(6, 28, 3), rng.uniform((15, 15, 5), (89, 110, 60))
        inside = (((grid - centre) * STEP_MM / radii) ** 2).sum(axis=-1) < 1
        labels[inside & (hull > thickness[0] + thickness[1])] = rng.choice([BONE, 11, 12, 13, 14, AIR_WITHIN])
    return _with_brain(labels, brain)


def _with_brain(labels: NDArray[np.uint8], brain: Brain) -> LabelMap:
    rim = (brain.tissues > 0) & ~brain.envelope
    labels[rim] = FLUID
    labels[brain.envelope] = np.maximum(brain.tissues, TISSUES[0])[brain.envelope]
    # Distances between centres of voxels: the border lies half a voxel from either.
    inside, outside = _distance(brain.envelope), _distance(~brain.envelope)
    signed = np.where(brain.envelope, inside, -outside) - np.sign(inside - outside) * STEP_MM / 2
    return LabelMap(labels, np.clip(np.round(signed / _DEPTH_UNIT_MM), -127, 127).astype(np.int8))


def _on_grid(path: Path, mask_file: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """An image and the mask that another is above zero in, in RAS order, the brain in the middle."""
    data, affine = load(path)
    image = nb.as_closest_canonical(nb.Nifti1Image(data, affine))
    mask_data, mask_affine = load(mask_file)
    mask = nb.as_closest_canonical(nb.Nifti1Image((mask_data > 0).astype(np.float32), mask_affine))
    middle = nb.affines.apply_affine(mask.affine, sum(_corners(np.asarray(mask.dataobj) > 0)) / 2)
    target = np.diag([STEP_MM] * 3 + [1.0])
    target[:3, 3] = middle - STEP_MM * np.array(CENTRE)
    return _resampled(image, target), _resampled(mask, target) > 0.5


def _resampled(image: nb.Nifti1Image, target: NDArray[np.float64]) -> NDArray[np.float32]:
    sizes = nb.affines.voxel_sizes(image.affine)
    smooth = ndimage.gaussian_filter(np.asarray(image.dataobj, np.float32), 0.35 * STEP_MM / sizes)
    to_image = np.linalg.solve(image.affine, target)
    return ndimage.affine_transform(smooth, to_image[:3, :3], to_image[:3, 3], SHAPE, order=1)


def _clusters(values: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """k-means on intensities, dark to bright."""
    sample = rng.choice(values, min(20_000, len(values)), replace=False)
    start = np.quantile(sample, (np.arange(count) + 0.5) / count)
    centres, _ = kmeans2(sample, start, iter=15, minit="matrix")
    return np.abs(values[:, None] - np.sort(centres)).argmin(axis=1)


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return ndimage.distance_transform_edt(mask, sampling=STEP_MM)


def _closed(mask: NDArray[np.bool_], radius_mm: float) -> NDArray[np.bool_]:
    return mask | (_distance(_distance(~mask) <= radius_mm) > radius_mm)


def _corners(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    where = np.argwhere(mask)
    return where.min(axis=0), where.max(axis=0)
