"""Nodes at the start of a unit: refuse bad images; warn of unequal voxel sizes and masks that do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from n2a_bids.algorithms.normalization import Mask, Volume
from n2a_bids.algorithms.quality.ceiling import find_ceiling
from n2a_bids.algorithms.quality.mask_checks import cut_share, is_stripped, misplacement_mm
from n2a_bids.algorithms.quality.voxel_sizes import spell_sizes
from n2a_bids.algorithms.registration.rigid_fit import BRAIN_MM3, size_factor
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.dataset.read.image_checks import check_image
from n2a_bids.enumeration import listing
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.images import load, load_mask


class _CheckImagesInputSpec(StepInputSpec):
    # Not File(exists=True): a missing file is explained when the node runs, not when the graph is built.
    in_files = traits.List(traits.Str(), mandatory=True, desc="images of one unit")
    second_files = traits.List(traits.Str(), desc="phases or imaginary parts of them, to be checked, too")
    skip = traits.Bool(False, usedefault=True, nohash=True, desc="pass them on unseen")


class _CheckImagesOutputSpec(TraitedSpec):
    out_files = traits.List(traits.Str(), desc="the same images")


class CheckImages(ResumableInterface):
    """Pass images on, or raise BIDSDataError that says what is wrong with the first bad one."""

    input_spec = _CheckImagesInputSpec
    output_spec = _CheckImagesOutputSpec
    # A file may be repaired or damaged under its name: looked at anew in every run, it takes seconds.
    always_run = True

    def _run_interface(self, runtime):
        inputs = self.inputs
        second_files = inputs.second_files if isdefined(inputs.second_files) else []
        for path in () if inputs.skip else (*inputs.in_files, *second_files):
            check_image(Path(path))
        self._results["out_files"] = list(inputs.in_files)
        return runtime


_MOST_MISPLACED_MM = 8.0
"""On three real T1w heads and two b0 images, masks that fit, tight or generous, were found 0 to 4 mm off, and
those shifted by 15 mm 12 to 16 mm off."""

_EQUAL_SIZES = 0.05
_EQUAL_CUT = 0.1
"""Of the area of the brain: the brain stem, where it leaves the view, has 0.04."""


class _InspectInputsInputSpec(StepInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, desc="images of one unit, 3D, as acquired")
    mask_files = traits.List(File(exists=True), mandatory=True, desc="their brain masks")
    names = traits.List(traits.Str(), desc="of the images, for messages; those of the files by default")
    index = traits.Int(0, usedefault=True, desc="of the reference, whose mask the results take")
    given_mask = traits.Str("", usedefault=True, desc="name of the mask that the user brought, if any")
    accepted = traits.List(traits.Int(), desc="indices of those that are used; all by default")
    gap_warnings = traits.List(traits.Str(), usedefault=True, desc="of `FindGaps` or `PickVolumes`")
    mask_warnings = traits.List(traits.Str(), usedefault=True, desc="of `B0Mask`")
    alignment_warnings = traits.List(traits.Str(), usedefault=True, desc="of `AlignRepetitions` or of copies")
    phase_warnings = traits.List(traits.Str(), usedefault=True, desc="of `Demodulate`")


class _InspectInputsOutputSpec(TraitedSpec):
    warnings = traits.List(traits.Str(), desc="one sentence each")
    skull_stripped = traits.Bool(desc="whether the images are zero outside the brain")


class InspectInputs(ResumableInterface):
    """Look at voxel sizes, at what was cut off of brain or brightness, at a given mask and for the skull."""

    input_spec = _InspectInputsInputSpec
    output_spec = _InspectInputsOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        names = inputs.names if isdefined(inputs.names) else [Path(path).name for path in inputs.in_files]
        used = inputs.accepted if isdefined(inputs.accepted) else range(len(inputs.in_files))
        warnings, stripped = voxel_size_warnings([Path(path) for path in inputs.in_files]), True
        cuts = {}
        for index, paths in enumerate(zip(inputs.in_files, inputs.mask_files, strict=True)):
            image, mask_file = map(Path, paths)
            data, affine = load(image)
            mask, sizes_mm = load_mask(mask_file, image), voxel_sizes_mm(affine)
            warnings += ceiling_warnings(names[index], data, mask)
            if index in used:
                cuts[index] = cut_share(mask, sizes_mm)
            if inputs.given_mask and index == inputs.index:
                warnings += mask_fit_warnings(inputs.given_mask, data, mask, sizes_mm)
            if stripped and index in used:
                as_in_large = np.array(sizes_mm) / size_factor(mask, sizes_mm, BRAIN_MM3)
                stripped = bool(mask.any()) and is_stripped(data, mask, as_in_large)
        warnings += view_warnings(names, cuts, inputs.index)
        self._results["skull_stripped"] = stripped
        self._results["warnings"] = [
            *(*inputs.gap_warnings, *inputs.mask_warnings, *inputs.phase_warnings),
            *(*warnings, *inputs.alignment_warnings),
        ]
        return runtime


def mask_fit_warnings(name: str, image: Volume, mask: Mask, voxel_size_mm: Sequence[float]) -> list[str]:
    """A sentence where a mask that the user brought (`name`) would lie better elsewhere in the reference."""
    size = size_factor(mask, voxel_size_mm, BRAIN_MM3)
    distance_mm = misplacement_mm(image, mask, np.array(voxel_size_mm) / size)
    if distance_mm <= _MOST_MISPLACED_MM:
        return []
    return [
        f"the brain mask {name} does not seem to lie on the brain of the images: it would fit better about "
        f"{size * distance_mm:.{0 if size == 1 else 1}f} mm away; look at its contours in the report"
    ]


def view_warnings(names: Sequence[str], cuts: Mapping[int, float], reference: int) -> list[str]:
    """A sentence where the view of the reference cuts the brain more than that of others that are used.

    Parameters
    ----------
    names : sequence of str
        Of all images.
    cuts : mapping of int to float
        Index of each image that is used -> `cut_share` of its brain.
    reference : int
        Its index.
    """
    own = cuts.get(reference, 0.0)
    more = [names[index] for index, cut in cuts.items() if cut < own - _EQUAL_CUT]
    if not more:
        return []
    return [
        f"{names[reference]}: its field of view cuts the brain, and the result ends where it does, although "
        f"{listing(more)} show{'s' * (len(more) == 1)} more (with a lower min_overlap in the settings file, "
        "n2a: --config-file, one that shows more can be the reference)"
    ]


def ceiling_warnings(name: str, image: Volume, mask: Mask) -> list[str]:
    """A sentence where bright tissue of the brain was cut off at one value when the image was stored."""
    found = find_ceiling(image, mask)
    if found is None:
        return []
    return [
        f"{name}: {found.share:.1%} of the brain hold the largest value of the image, {found.value:g}: "
        "what is brighter was cut off when it was stored. There the result is too dark, and noise and error "
        "are told too small; convert the image again with all of its range"
    ]


def voxel_size_warnings(images: Sequence[Path]) -> list[str]:
    """A sentence where voxel sizes of images differ by more than 5 %, in whatever order their axes are."""
    sizes = np.array([sorted(voxel_sizes_mm(nb.load(image).affine)) for image in images])
    if (np.ptp(sizes, axis=0) <= _EQUAL_SIZES * sizes.min(axis=0)).all():
        return []
    described = dict.fromkeys(map(spell_sizes, sizes))
    return [
        f"voxel sizes of the images differ ({', '.join(described)} mm): those with larger voxels bring less "
        "detail; leave them out (n2a: --bids-filter-file) if they were not meant as repetitions"
    ]


def were_stripped(metadata: Sequence[Mapping[str, object]], seen: bool) -> bool:
    """Whether the images came without skull: all sidecars say so, or nothing was seen outside the brain.

    Examples
    --------
    >>> were_stripped([{"SkullStripped": True}, {"SkullStripped": True}], seen=False)
    True
    >>> were_stripped([{"SkullStripped": True}, {}], seen=False)
    False
    """
    return seen or all(one.get("SkullStripped") is True for one in metadata)
