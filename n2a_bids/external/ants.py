"""Program that calls ANTs (antspyx): rigid registration, template mask, bias field; in a child process.

One JSON file of named arguments is the only command-line argument; its ``task`` names a function of this
module. Seeds are fixed, samples are regular, and there is one thread, so a task repeated on one machine
gives the same bits.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import ants
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.preparation.gaps import extend_measured
from n2a_bids.algorithms.preparation.repetitions import otsu_threshold
from n2a_bids.algorithms.registration.rigid_fit import BRAIN_MM3, size_factor
from n2a_bids.algorithms.transforms import voxel_sizes_mm, world_points
from n2a_bids.io.gaps import load_zone
from n2a_bids.io.images import load, save_like
from n2a_bids.io.transforms import read_itk_transform, write_itk_transform

_LPS = np.diag([-1.0, -1.0, 1.0])
_MASK_MARGIN_MM = 5.0
_LEVELS_MM = (4.0, 2.0)
"""Of an adult head; smaller in brains under 200 ml, as of animals, as their structure is."""
_COARSE_MM = 3.0
_FINE_MM, _FINE_ITERATIONS = 2.0, (60, 40, 20)
"""Voxels of the registration of an atlas, and steps of its deformation, the coarsest level first."""


def rigid(
    fixed: str,
    moving: str,
    fixed_mask: str,
    initial: str,
    out_file: str,
    fixed_gaps: str = "",
    moving_gaps: str = "",
) -> None:
    """Rigid transform from the fixed to the moving brain, by mutual information inside the brain.

    Parameters
    ----------
    fixed, moving, fixed_mask : str
        Image files; the mask on the grid of the fixed image.
    initial : str
        ITK text file with the first guess.
    out_file : str
        ITK text file to write.
    fixed_gaps, moving_gaps : str
        Maps of what was not measured, or empty; only what both images show is compared.
    """
    still, still_mask, voxels_per_level = _brain_box(fixed, fixed_mask, fixed_gaps)
    other, other_mask = _moving(moving, moving_gaps)
    # Two levels of about 4 and 2 mm: full resolution doubles the time and changes less than 0.01 mm.
    shrink = tuple(max(1, round(n_voxels)) for n_voxels in voxels_per_level)
    with tempfile.TemporaryDirectory() as folder:
        result = ants.registration(
            still,
            other,
            "Rigid",
            initial_transform=[initial],
            mask=still_mask,
            moving_mask=other_mask,
            mask_all_stages=True,
            outprefix=f"{folder}/",
            aff_metric="mattes",
            aff_sampling=32,
            # Coarse voxels are few and need all their sharpness.
            aff_random_sampling_rate=0.25 if shrink[-1] > 1 else 1.0,
            aff_iterations=(200, 100),
            aff_shrink_factors=shrink,
            aff_smoothing_sigmas=(2, 1) if shrink[-1] > 1 else (1, 0.5),
        )
        write_itk_transform(_matrix(result["fwdtransforms"][0]), Path(out_file))


def template_mask(image: str, template: str, template_brain: str, out_file: str) -> None:
    """Brain mask of a head by registration of a template brain: rigid, affine, then deformable.

    The metric looks only at and just around the brain of the template, so a template without a skull
    serves as well as a whole head. All at 3 mm: a mask needs no more.

    Parameters
    ----------
    image : str
        Head.
    template, template_brain : str
        Template and its brain mask.
    out_file : str
        Mask to write, on the grid of the image.
    """
    data, affine = load(Path(image))
    brain, brain_affine = load(Path(template_brain))
    head = ants.resample_image(image_in_world(data, affine), (_COARSE_MM,) * 3, False, 0)
    head = ants.n4_bias_field_correction(head, shrink_factor=2)
    near = image_in_world(_near(brain > 0.5, brain_affine), brain_affine)
    with tempfile.TemporaryDirectory() as folder:
        shift = _brain_centre(data, affine) - _centre(brain > 0.5, brain_affine)
        initial = str(_shift(shift, Path(folder) / "shift.txt"))
        to_head = _template_to_head(_image(template), near, head, initial, folder)
        warped = _bring(_image(template_brain), image_in_world(data, affine), to_head, "linear")
    save_like(warped > 0.5, Path(image), Path(out_file), np.uint8)


def template_labels(
    image: str, mask: str, template: str, template_brain: str, labels: str, out_file: str, out_brain: str
) -> None:
    """Regions of a template, brought to a brain that is outlined already, in one interpolation.

    As `template_mask`, but from brain to brain and at 2 mm (finer in brains under 20 ml).

    Parameters
    ----------
    image, mask : str
        Head, of any contrast, and its brain mask on the same grid.
    template, template_brain : str
        Template and its brain mask, on the same grid.
    labels : str
        Numbers of regions, in the world of the template.
    out_file, out_brain : str
        Where the regions, and the brain of the template, go: on the grid of the image.
    """
    (data, affine), inside = load(Path(image)), load(Path(mask))[0] > 0.5
    (still, still_affine), brain = load(Path(template)), load(Path(template_brain))[0] > 0.5
    bare, size = (
        image_in_world(np.where(inside, data, 0), affine),
        size_factor(inside, voxel_sizes_mm(affine)),
    )
    head, within = (
        ants.resample_image(one, (size * _FINE_MM,) * 3, False, interpolation)
        for one, interpolation in ((bare, 0), (image_in_world(inside, affine), 1))
    )
    head = ants.n4_bias_field_correction(head, mask=within, shrink_factor=2)
    near = image_in_world(_near(brain, still_affine, size), still_affine)
    still_brain = image_in_world(np.where(brain, still, 0), still_affine)
    with tempfile.TemporaryDirectory() as folder:
        shift = _centre(inside, affine) - _centre(brain, still_affine)
        initial = str(_shift(shift, Path(folder) / "shift.txt"))
        to_head = _template_to_head(
            still_brain, near, head, initial, folder, size * _FINE_MM, _FINE_ITERATIONS
        )
        # Off by half a voxel at most; "genericLabel" would take minutes for 400 regions.
        placed = _bring(_image(labels), bare, to_head, "nearestNeighbor")
        warped = _bring(image_in_world(brain, still_affine), bare, to_head, "linear")
    save_like(np.rint(placed), Path(image), Path(out_file), np.int32)
    save_like(warped > 0.5, Path(image), Path(out_brain), np.uint8)


def _template_to_head(
    template: ants.ANTsImage,
    near_brain: ants.ANTsImage,
    head: ants.ANTsImage,
    initial: str,
    folder: str,
    spacing_mm: float = _COARSE_MM,
    iterations: tuple[int, ...] = (40, 20),
) -> list[str]:
    """Transform files that bring the template to the head, in the order of `ants.apply_transforms`."""
    still, near = (
        ants.resample_image(one, (spacing_mm,) * 3, False, interpolation)
        for one, interpolation in ((template, 0), (near_brain, 1))
    )
    transforms = [initial]
    for stage in ("Rigid", "Affine", "SyNOnly"):
        result = ants.registration(
            still,
            head,
            stage,
            initial_transform=transforms,
            mask=near,
            mask_all_stages=True,
            outprefix=f"{folder}/{stage}",
            aff_random_sampling_rate=0.5,
            aff_iterations=(200, 100),
            aff_shrink_factors=(2, 1),
            aff_smoothing_sigmas=(1, 0),
            syn_metric="mattes",
            syn_sampling=32,
            reg_iterations=iterations,
        )
        transforms = result["fwdtransforms"]
    return result["invtransforms"]


def _bring(
    moving: ants.ANTsImage, grid: ants.ANTsImage, transforms: list[str], interpolator: str
) -> NDArray[np.float32]:
    """An image of the template on the grid of the head."""
    inverted = [name.endswith(".mat") for name in transforms]
    return ants.apply_transforms(
        grid, moving, transforms, interpolator=interpolator, whichtoinvert=inverted
    ).numpy()


def _near(brain: NDArray[np.bool_], affine: NDArray[np.float64], size: float = 1.0) -> NDArray[np.bool_]:
    """The brain and what lies within 6 mm of it, less of a small one (`size_factor`)."""
    return ndimage.distance_transform_edt(~brain, sampling=voxel_sizes_mm(affine)) <= 6 * size


def _centre(brain: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """World point in the middle of a mask."""
    return world_points(ndimage.center_of_mass(brain), affine)


def _shift(shift_mm: NDArray[np.float64], out_file: Path) -> Path:
    """Write a translation of the world as a transform."""
    matrix = np.eye(4)
    matrix[:3, 3] = shift_mm
    return write_itk_transform(matrix, out_file)


def _brain_centre(head: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """World point in the middle of the upper 15 cm of the head: near the centre of an adult brain."""
    inside = ndimage.binary_opening(head > otsu_threshold(head), iterations=2)
    points = world_points(np.argwhere(inside), affine)
    top = np.percentile(points[:, 2], 99.9)
    return points[points[:, 2] > top - 150].mean(axis=0)


def bias_corrected(image: str, mask: str, out_file: str) -> None:
    """Write an image without its bias field (N4), estimated inside a mask and divided out everywhere."""
    corrected = ants.n4_bias_field_correction(_image(image), mask=_image(mask), shrink_factor=4)
    save_like(corrected.numpy(), Path(image), Path(out_file))


def _image(path: str) -> ants.ANTsImage:
    """Image with the affine that nibabel finds, whatever ITK would make of the header."""
    return image_in_world(*load(Path(path)))


def _moving(image: str, gaps: str) -> tuple[ants.ANTsImage, ants.ANTsImage | None]:
    """A moving image, and where it was measured; None for everywhere."""
    measured = load_zone(gaps)
    if measured is None:
        return _image(image), None
    data, affine = load(Path(image))
    return image_in_world(extend_measured(data, measured), affine), image_in_world(measured, affine)


def _brain_box(
    image: str, mask: str, gaps: str = ""
) -> tuple[ants.ANTsImage, ants.ANTsImage, NDArray[np.float64]]:
    """The part of an image around its brain, the mask with a margin, and the voxels of each level of detail.

    The border of the brain is what holds a rigid registration best, so the mask includes it.
    """
    data, affine = load(Path(image))
    size = np.array(voxel_sizes_mm(affine))
    brain = load(Path(mask))[0] > 0.5
    factor = size_factor(brain, size, BRAIN_MM3)
    pad = np.ceil(2 * factor * _MASK_MARGIN_MM / size).astype(int)
    box = bounding_box(brain, pad)
    affine = affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    near = ndimage.distance_transform_edt(~brain[box], sampling=size) <= factor * _MASK_MARGIN_MM
    measured = load_zone(gaps)
    if measured is not None:
        data, near = extend_measured(data, measured), near & measured[box]
    levels = factor * np.array(_LEVELS_MM) / float(np.prod(size) ** (1 / 3))
    return image_in_world(data[box], affine), image_in_world(near, affine), levels


def image_in_world(data: NDArray, affine: NDArray[np.float64]) -> ants.ANTsImage:
    """An array as an image of ANTs that lies where its affine (voxel to world, RAS mm) puts it."""
    size = np.array(voxel_sizes_mm(affine))
    return ants.from_numpy(
        np.ascontiguousarray(data, dtype=np.float32),
        origin=list(_LPS @ affine[:3, 3]),
        spacing=list(size),
        direction=_LPS @ (affine[:3, :3] / size),
    )


def _matrix(path: str) -> NDArray[np.float64]:
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "transform.txt"
        ants.write_transform(ants.read_transform(path), str(text))
        return read_itk_transform(text)


_TASKS = {function.__name__: function for function in (rigid, template_mask, template_labels, bias_corrected)}

if __name__ == "__main__":
    arguments = json.loads(Path(sys.argv[1]).read_text())
    ants.config.set_ants_deterministic(on=False, seed_value=arguments.pop("random_seed"))
    _TASKS[arguments.pop("task")](**arguments)
