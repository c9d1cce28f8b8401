"""What is asked of ANTs (antspyx), as a program: started by `n2a_bids.interfaces.child.run_module`.

One JSON file of named arguments is the only command-line argument; its ``task`` names a function of this
module. Seeds are fixed, samples are regular, and the thread count comes from the environment, so a task
repeated on one machine with as many threads gives the same bits.
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

from n2a_bids.images import load, read_itk_transform, save_like, voxel_sizes_mm, write_itk_transform

_LPS = np.diag([-1.0, -1.0, 1.0])
_MASK_MARGIN_MM = 5.0
_LEVELS_MM = (4.0, 2.0)


def rigid(fixed: str, moving: str, fixed_mask: str, initial: str, out_file: str) -> None:
    """Rigid transform from the fixed to the moving brain, by mutual information inside the brain.

    Parameters
    ----------
    fixed, moving, fixed_mask : str
        Image files; the mask on the grid of the fixed image.
    initial : str
        ITK text file with the first guess.
    out_file : str
        ITK text file to write.
    """
    still, still_mask, size_mm = _brain_box(fixed, fixed_mask)
    # Two levels of about 4 and 2 mm: full resolution doubles the time and changes less than 0.01 mm.
    shrink = tuple(max(1, round(level_mm / size_mm)) for level_mm in _LEVELS_MM)
    with tempfile.TemporaryDirectory() as folder:
        result = ants.registration(
            still,
            _image(moving),
            "Rigid",
            initial_transform=[initial],
            mask=still_mask,
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
    """Brain mask of a head by affine and coarse deformable registration of a template with a mask.

    Parameters
    ----------
    image : str
        Head.
    template, template_brain : str
        Template head (or brain) and its brain mask.
    out_file : str
        Mask to write, on the grid of the image.
    """
    head = _image(image)
    with tempfile.TemporaryDirectory() as folder:
        result = ants.registration(
            ants.n4_bias_field_correction(head, shrink_factor=4),
            _image(template),
            "SyN",
            outprefix=f"{folder}/",
            aff_metric="mattes",
            aff_iterations=(1000, 500, 100),
            aff_shrink_factors=(6, 4, 2),
            aff_smoothing_sigmas=(3, 2, 1),
            aff_random_sampling_rate=0.2,
            syn_metric="mattes",
            syn_sampling=32,
            reg_iterations=(40, 20, 0),
        )
        warped = ants.apply_transforms(
            head, _image(template_brain), result["fwdtransforms"], interpolator="linear"
        )
    save_like(warped.numpy() > 0.5, Path(image), Path(out_file), np.uint8)


def bias_corrected(image: str, mask: str, out_file: str) -> None:
    """Divide out the bias field (N4), estimated inside a mask and applied everywhere."""
    corrected = ants.n4_bias_field_correction(_image(image), mask=_image(mask), shrink_factor=4)
    save_like(corrected.numpy(), Path(image), Path(out_file))


def _image(path: str) -> ants.ANTsImage:
    """Image with the affine that nibabel finds, whatever ITK would make of the header."""
    return _from_array(*load(Path(path)))


def _brain_box(image: str, mask: str) -> tuple[ants.ANTsImage, ants.ANTsImage, float]:
    """The part of an image around its brain, the mask with a margin, and the voxel size in mm.

    The border of the brain is what holds a rigid registration best, so the mask includes it.
    """
    data, affine = load(Path(image))
    size = np.array(voxel_sizes_mm(affine))
    brain = load(Path(mask))[0] > 0.5
    pad = np.ceil(2 * _MASK_MARGIN_MM / size).astype(int)
    box = tuple(
        slice(max(0, part.start - extra), part.stop + extra)
        for part, extra in zip(ndimage.find_objects(brain.astype(np.uint8))[0], pad, strict=True)
    )
    affine = affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    near = ndimage.distance_transform_edt(~brain[box], sampling=size) <= _MASK_MARGIN_MM
    voxel = float(np.prod(size) ** (1 / 3))
    return _from_array(data[box], affine), _from_array(near, affine), voxel


def _from_array(data: NDArray, affine: NDArray[np.float64]) -> ants.ANTsImage:
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


_TASKS = {function.__name__: function for function in (rigid, template_mask, bias_corrected)}

if __name__ == "__main__":
    arguments = json.loads(Path(sys.argv[1]).read_text())
    ants.config.set_ants_deterministic(on=False, seed_value=arguments.pop("seed"))
    _TASKS[arguments.pop("task")](**arguments)
