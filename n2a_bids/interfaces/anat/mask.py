"""Nodes for the brain mask of anatomical images: by a network, by a template, or given by the user."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from n2a_bids.algorithms.gaussian import gaussian_blur
from n2a_bids.algorithms.preparation.background import without_noisy_background
from n2a_bids.algorithms.preparation.repetitions import otsu_threshold
from n2a_bids.algorithms.registration.placed_images import (
    PlacedImage,
    compared_scales,
    find_start,
    register_coarsely,
    show_on,
)
from n2a_bids.algorithms.registration.similarity import smooth_correlation
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.dataset.templates.brain import find_template
from n2a_bids.external.network_brain import find_by_network
from n2a_bids.external.t1w_brain import check_brain, check_given_mask, packaged_template, write_brain_mask
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.images import load, mask_in_world, save_like
from n2a_bids.system.child import run_ants

_HEAD_BLUR_VOXELS = 1.5
_STILL_VOXELS = 0.5
"""Motion of all of the brain below which a mask stays where it was drawn."""


class _MaskOutputSpec(TraitedSpec):
    out_mask = File(exists=True, desc="mask, uint8, on the grid of the image")


class _HeadInputSpec(StepInputSpec):
    in_file = File(exists=True, mandatory=True, desc="head, of any contrast")
    is_ratio = traits.Bool(False, usedefault=True, desc="a UNIT1, whose air is noise of its whole range")


class _BrainMaskInputSpec(_HeadInputSpec):
    threads = traits.Int(1, usedefault=True, nohash=True, desc="threads of torch")


class BrainMask(ResumableInterface):
    """Brain mask by deepbet, whose weights come with it, in a child process without GPU.

    Its networks learned from T1w heads, but from their shape more than from their grey: on one head with
    simulated contrasts (0.9 mm, SNR 12) its masks overlap that of the T1w by Dice coefficients of 0.968 (like
    T2w, where they take in bright CSF), 0.990 (like FLAIR) and 0.990 (like UNIT1).
    """

    input_spec = _BrainMaskInputSpec
    output_spec = _MaskOutputSpec

    def _run_interface(self, runtime):
        out_mask = Path(runtime.cwd) / "brain_mask.nii.gz"
        write_brain_mask(_magnitude_like(self.inputs, out_mask.parent), out_mask, self.inputs.threads)
        self._results["out_mask"] = os.fspath(out_mask)
        return runtime


def _magnitude_like(inputs: TraitedSpec, folder: Path) -> Path:
    """The image itself; of a UNIT1 one with dark air, in which a head is found as in others."""
    image = Path(inputs.in_file)
    if not inputs.is_ratio:
        return image
    cleaned = without_noisy_background(load(image)[0])
    return save_like(cleaned, image, folder / "dark_background.nii.gz")


class NetworkBrainMask(ResumableInterface):
    """Brain mask by the small network that comes with the package, on any contrast, within a second.

    It learned from b0s, T2w and FLAIR heads that were made from label maps, and from few of T1w contrast.
    """

    input_spec = _HeadInputSpec
    output_spec = _MaskOutputSpec

    def _run_interface(self, runtime):
        image, folder = Path(self.inputs.in_file), Path(runtime.cwd)
        mask = find_by_network(*load(_magnitude_like(self.inputs, folder)))
        out_mask = save_like(mask, image, folder / "brain_mask.nii.gz", np.uint8)
        self._results["out_mask"] = os.fspath(check_brain(out_mask, image, "the network"))
        return runtime


class _TemplateBrainMaskInputSpec(_HeadInputSpec):
    template = traits.Str(desc="TemplateFlow name; without it, the ICBM 152 head that comes with nilearn")
    random_seed = traits.Int(1, usedefault=True, desc="seed of ANTs")


class TemplateBrainMask(ResumableInterface):
    """Brain mask of a template, brought to the head by registration with ANTs.

    Coarser than deepbet: on a real head the two masks overlap by a Dice coefficient of 0.92.
    """

    input_spec = _TemplateBrainMaskInputSpec
    output_spec = _MaskOutputSpec

    def _run_interface(self, runtime):
        folder = Path(runtime.cwd)
        if isdefined(self.inputs.template):
            template, brain = find_template(self.inputs.template)
        else:
            template, brain = packaged_template(folder)
        out_mask = folder / "brain_mask.nii.gz"
        files = {
            "image": os.fspath(_magnitude_like(self.inputs, folder)),
            "template": os.fspath(template),
            "template_brain": os.fspath(brain),
            "out_file": os.fspath(out_mask),
        }
        run_ants("template_mask", files, folder, random_seed=self.inputs.random_seed)
        self._results["out_mask"] = os.fspath(
            check_brain(out_mask, Path(self.inputs.in_file), "the template")
        )
        return runtime


class _GivenBrainMaskInputSpec(StepInputSpec):
    in_file = File(exists=True, mandatory=True, desc="image that needs a mask")
    mask_file = File(exists=True, mandatory=True, desc="brain mask in the same world coordinates")
    owner_file = File(exists=True, desc="head that the mask lies on; the image itself if not given")


class GivenBrainMask(ResumableInterface):
    """A mask that the user brings, on the grid of the image: resampled (nearest voxel) where it is not.

    Where the head of this image lies elsewhere in the world than that of the image which the mask was drawn
    on (the table stood elsewhere, or the head turned), the mask goes with it, to a part of a voxel.
    """

    input_spec = _GivenBrainMaskInputSpec
    output_spec = _MaskOutputSpec

    def _run_interface(self, runtime):
        image, mask = Path(self.inputs.in_file), Path(self.inputs.mask_file)
        owner = Path(self.inputs.owner_file) if isdefined(self.inputs.owner_file) else image
        motion = Affine() if owner == image else _find_motion(owner, image, mask)
        inside = mask_in_world(mask, image, ~motion)
        out_mask = save_like(inside, image, Path(runtime.cwd) / "brain_mask.nii.gz", np.uint8)
        self._results["out_mask"] = os.fspath(check_given_mask(out_mask, image, mask))
        return runtime


def _find_motion(owner: Path, image: Path, mask: Path) -> Affine:
    """World of the head that a mask lies on to that of another: none where that is less than half a voxel."""
    fixed, moving = _head(owner), _head(image)
    start = find_start(fixed, moving)
    brains = mask_in_world(mask, owner), mask_in_world(mask, image, ~start)
    if not all(brain.any() for brain in brains):
        return start
    fixed, moving = (replace(head, mask=brain) for head, brain in zip((fixed, moving), brains, strict=True))
    found = register_coarsely(fixed, moving)
    if found.displacement_mm(fixed.brain_points).max() < _STILL_VOXELS * min(moving.voxel_size_mm):
        return Affine()
    return max((start, found), key=lambda one: _likeness(fixed, moving, one))


def _likeness(fixed: PlacedImage, moving: PlacedImage, motion: Affine) -> float:
    """Correlation of two heads in the brain of the first, of what the second shows of it."""
    shown, seen = show_on(moving, motion, fixed)
    common = fixed.mask & seen
    smoothing, _ = compared_scales(fixed)
    return smooth_correlation(fixed.image, shown, common, smoothing) if common.any() else -1.0


def _head(path: Path) -> PlacedImage:
    """A whole head, told from the air: a mask of its brain may lie beside it."""
    image, affine = load(path)
    image = np.nan_to_num(image, posinf=0.0, neginf=0.0)
    smooth = gaussian_blur(image, _HEAD_BLUR_VOXELS, 2.0)
    smooth = np.minimum(smooth, np.percentile(smooth, 99))
    return PlacedImage(image, affine, smooth > otsu_threshold(smooth))
