"""The reference of a group of repetitions, and the rigid motion of the others."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from n2a_bids.algorithms.normalization import Volume
from n2a_bids.algorithms.rigid import Matrix, first_guess
from n2a_bids.algorithms.similarity import contrast_to_noise
from n2a_bids.images import load, load_mask, write_itk_transform
from n2a_bids.interfaces.child import run_ants

_EQUAL_QUALITY = 0.05
"""Smaller differences of quality are estimation noise; the earlier run is what a user expects then."""
_EQUAL_VOLUME = 0.05
"""Smaller differences of voxel volume are rounding of the headers."""


class _ChooseReferenceInputSpec(BaseInterfaceInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, minlen=2, desc="repetitions")
    mask_files = traits.List(File(exists=True), mandatory=True, minlen=2, desc="their brain masks")
    wanted = traits.Int(desc="place of the image that must be the reference: the one a given mask belongs to")


class _ChooseReferenceOutputSpec(TraitedSpec):
    index = traits.Int(desc="place of the reference among the repetitions")
    reason = traits.Str(desc="why it was chosen")
    reference_file = File(exists=True, desc="the reference")
    reference_mask = File(exists=True, desc="its brain mask")
    moving_files = traits.List(File(exists=True), desc="the other repetitions, in order")
    moving_masks = traits.List(File(exists=True), desc="their brain masks")
    contrast_to_noise = traits.List(traits.Float(), desc="quality of each repetition")


class ChooseReference(SimpleInterface):
    """The repetition of largest ratio of tissue contrast to noise inside the brain; the first, if equal.

    Only those with the smallest voxels are compared: large voxels have less noise, but all the others would
    lose detail on their grid. A brain mask that the user gave decides instead: the image it belongs to is the
    reference.
    """

    input_spec = _ChooseReferenceInputSpec
    output_spec = _ChooseReferenceOutputSpec

    def _run_interface(self, runtime):
        files, masks = list(self.inputs.in_files), list(self.inputs.mask_files)
        ratios = [
            contrast_to_noise(load(Path(path))[0], load_mask(Path(mask), Path(path)))
            for path, mask in zip(files, masks, strict=True)
        ]
        finest = _finest(files)
        enough = (1 - _EQUAL_QUALITY) * max(ratios[place] for place in finest)
        good = [place for place in finest if ratios[place] >= enough]
        index = self.inputs.wanted if isdefined(self.inputs.wanted) else good[0]
        others = [other for other in range(len(files)) if other != index]
        self._results.update(
            index=index,
            reason=_reason(ratios[index], isdefined(self.inputs.wanted), len(finest) < len(files)),
            reference_file=files[index],
            reference_mask=masks[index],
            moving_files=[files[other] for other in others],
            moving_masks=[masks[other] for other in others],
            contrast_to_noise=ratios,
        )
        return runtime


def _finest(files: list[str]) -> list[int]:
    """Places of the images with the smallest voxels."""
    volumes = [abs(np.linalg.det(nb.load(path).affine[:3, :3])) for path in files]
    return [place for place, volume in enumerate(volumes) if volume <= (1 + _EQUAL_VOLUME) * min(volumes)]


def _reason(ratio: float, given: bool, voxels_differ: bool) -> str:
    if given:
        return "the brain mask that was given belongs to it"
    among = " among those with the smallest voxels" if voxels_differ else ""
    return f"largest ratio of tissue contrast to noise inside the brain ({ratio:.2f}){among}"


class _RegisterRigidInputSpec(BaseInterfaceInputSpec):
    reference_file = File(exists=True, mandatory=True, desc="fixed image")
    reference_mask = File(exists=True, mandatory=True, desc="its brain mask")
    moving_file = File(exists=True, mandatory=True, desc="moving image")
    moving_mask = File(exists=True, mandatory=True, desc="its brain mask")
    seed = traits.Int(1, usedefault=True, desc="seed of ANTs")


class _RegisterRigidOutputSpec(TraitedSpec):
    out_transform = File(exists=True, desc="ITK text file: reference world to moving world")


class RegisterRigid(SimpleInterface):
    """Rigid registration of two brains with ANTs (mutual information), from a coarse search.

    The sampling is regular, the seed fixed and there is one thread: equal inputs give equal bits.
    """

    input_spec = _RegisterRigidInputSpec
    output_spec = _RegisterRigidOutputSpec

    def _run_interface(self, runtime):
        folder, inputs = Path(runtime.cwd), self.inputs
        initial, out_transform = folder / "first_guess.txt", folder / "rigid.txt"
        brains = [
            _brain(Path(image), Path(mask))
            for image, mask in (
                (inputs.reference_file, inputs.reference_mask),
                (inputs.moving_file, inputs.moving_mask),
            )
        ]
        write_itk_transform(first_guess(*brains[0], *brains[1]), initial)
        files = {
            "fixed": inputs.reference_file,
            "moving": inputs.moving_file,
            "fixed_mask": inputs.reference_mask,
            "initial": os.fspath(initial),
            "out_file": os.fspath(out_transform),
        }
        run_ants("rigid", files, folder, seed=inputs.seed)
        self._results["out_transform"] = os.fspath(out_transform)
        return runtime


def _brain(image: Path, mask: Path) -> tuple[Volume, Matrix]:
    data, affine = load(image)
    return data * load_mask(mask, image), affine
