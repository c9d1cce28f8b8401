"""Nodes that choose the reference among T1w repetitions and register the others rigidly to it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from n2a_bids.algorithms.noise.copies import find_means
from n2a_bids.algorithms.quality.mask_checks import cut_share
from n2a_bids.algorithms.registration.placed_images import PlacedImage, part_in_view
from n2a_bids.algorithms.registration.similarity import contrast_to_noise
from n2a_bids.algorithms.transforms import Affine, voxel_sizes_mm
from n2a_bids.external.brain_registration import BrainFiles, register_brains
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.gaps import load_gaps
from n2a_bids.io.images import finest_images, load, load_mask

_EQUAL_QUALITY = 0.05
"""Smaller differences of quality are estimation noise; the earlier run is what a user expects then."""
_EQUAL_MISSING = 0.01
"""Of the volume: less is a border left by a correction of the scanner, no face."""
_EQUAL_CUT = 0.1
"""Of the area of the brain: the brain stem, where it leaves the view, has 0.04."""


class _ChooseReferenceInputSpec(StepInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, minlen=2, desc="repetitions")
    mask_files = traits.List(File(exists=True), mandatory=True, minlen=2, desc="their brain masks")
    gap_files = traits.List(traits.Str(), desc="maps of what was not measured, empty where there is none")
    processing_steps = traits.List(
        traits.Int(), desc="after reconstruction, of each; none are known if not given"
    )
    required_index = traits.Int(
        desc="index of the image that must be the reference: the one a given mask belongs to"
    )
    takes_first = traits.Bool(
        False,
        usedefault=True,
        desc="whatever the noise: of runs of one echo, since all echoes must lie alike",
    )
    min_overlap = traits.Float(
        0.0, usedefault=True, desc="part of the brain of the reference that the others must show"
    )


class _ChooseReferenceOutputSpec(TraitedSpec):
    index = traits.Int(desc="index of the reference among the repetitions")
    reason = traits.Str(desc="why it was chosen")
    reference_file = File(exists=True, desc="the reference")
    reference_mask = File(exists=True, desc="its brain mask")
    moving_files = traits.List(File(exists=True), desc="the other repetitions, in order")
    moving_masks = traits.List(File(exists=True), desc="their brain masks")
    reference_gaps = traits.Str(desc="map of what was not measured of the reference, or empty")
    moving_gaps = traits.List(traits.Str(), desc="those of the others")
    contrast_to_noise = traits.List(traits.Float(), desc="quality of each repetition")


class ChooseReference(ResumableInterface):
    """The repetition of largest ratio of tissue contrast to noise inside the brain; the first, if equal.

    Only those with the smallest voxels are compared: large voxels have less noise, but all the others would
    lose detail on their grid. Of these, images that were processed further than others (normalised, say) give
    way, then those that are defaced or without skull give way to whole ones, in which the brain is found
    best, then those whose field of view cuts the brain, since the result would end there. A whole head beside
    slabs alone is not taken: they would be refused for what they do not show of it, while it shows all of
    them. A mean of others that was stored beside them is not taken, since it will be left out. A brain mask
    that the user gave decides instead: the image it belongs to is the reference. Of the runs of an echo the
    first of those compared is taken: noise would choose another run for another echo, and the echoes of one
    acquisition would come out in two positions of the head.
    """

    input_spec = _ChooseReferenceInputSpec
    output_spec = _ChooseReferenceOutputSpec

    def _run_interface(self, runtime):
        files, masks = list(self.inputs.in_files), list(self.inputs.mask_files)
        gaps = list(self.inputs.gap_files or [""] * len(files))
        ratios = [_quality(*paths) for paths in zip(files, masks, gaps, strict=True)]
        index, reason = self._choose(files, masks, ratios, gaps)
        if isdefined(self.inputs.required_index):
            index, reason = self.inputs.required_index, "the brain mask that was given belongs to it"
        others = [other for other in range(len(files)) if other != index]
        self._results.update(
            index=index,
            reason=reason,
            reference_file=files[index],
            reference_mask=masks[index],
            moving_files=[files[other] for other in others],
            moving_masks=[masks[other] for other in others],
            reference_gaps=gaps[index],
            moving_gaps=[gaps[other] for other in others],
            contrast_to_noise=ratios,
        )
        return runtime

    def _choose(
        self, files: list[str], masks: list[str], ratios: list[float], gaps: list[str]
    ) -> tuple[int, str]:
        """Index of the best repetition, and why it is."""
        small = finest_images(files)
        plain = self._least_processed(small)
        compared = _no_means(plain, files)
        whole = _whole(compared, gaps)
        shown = _shown_by_others(whole, masks, self.inputs.min_overlap)
        seen = _least_cut(shown, masks)
        largest = max(ratios[candidate] for candidate in seen)
        index = next(one for one in seen if ratios[one] >= (1 - _EQUAL_QUALITY) * largest)
        why = _reason(ratios[index], largest)
        if self.inputs.takes_first:
            index, why = seen[0], "the first, as of the other echoes, so that all lie alike"
        rivals = {
            "with the smallest voxels": len(small) < len(files),
            "processed least": len(plain) < len(small),
            "that are no mean of others": len(compared) < len(plain),
            "that are whole": len(whole) < len(compared),
            "of which others show enough": len(shown) < len(whole),
            "whose view holds most of the brain": len(seen) < len(shown),
        }
        among = "".join(f" among those {words}" for words, is_true in rivals.items() if is_true)
        return index, why + among

    def _least_processed(self, indices: list[int]) -> list[int]:
        if not isdefined(self.inputs.processing_steps):
            return indices
        fewest = min(self.inputs.processing_steps[index] for index in indices)
        return [index for index in indices if self.inputs.processing_steps[index] == fewest]


def _quality(image: str, mask: str, gaps: str) -> float:
    inside, found = load_mask(Path(mask), Path(image)), load_gaps(gaps)
    if found is not None and (inside & found.measured).any():
        inside = inside & found.measured
    return contrast_to_noise(load(Path(image))[0], inside)


def _no_means(indices: list[int], files: list[str]) -> list[int]:
    """Those of the images that are not the mean of others of them."""
    if len(indices) < 3:
        return indices
    means = find_means([np.nan_to_num(load(Path(files[index]))[0]) for index in indices])
    return [index for position, index in enumerate(indices) if position not in means] or indices


def _whole(indices: list[int], gaps: list[str]) -> list[int]:
    """Those of the images of which least is missing, to a hundredth of the volume."""
    if not any(gaps[index] for index in indices):
        return indices
    found = {index: load_gaps(gaps[index]) for index in indices}
    missing = {index: one.zone.mean() if one is not None else 0.0 for index, one in found.items()}
    return [index for index in indices if missing[index] <= min(missing.values()) + _EQUAL_MISSING]


def _shown_by_others(indices: list[int], masks: list[str], least: float) -> list[int]:
    """Those of the images of whose brain others show enough, by their headers, where two others show one."""
    if len(masks) < 3:
        return indices
    heads = [_head_of(Path(mask)) for mask in masks]
    showing = {
        index: sum(
            part_in_view(heads[index], Affine(), other) >= least
            for position, other in enumerate(heads)
            if position != index
        )
        for index in indices
    }
    # Where less is shown, headers may be wrong: motion is not known yet.
    return [index for index in indices if showing[index]] if max(showing.values()) > 1 else indices


def _head_of(mask: Path) -> PlacedImage:
    """Where a brain lies, and the view of its image."""
    data, affine = load(mask)
    return PlacedImage(data, affine, data > 0.5)


def _least_cut(indices: list[int], masks: list[str]) -> list[int]:
    """Those of the images whose field of view cuts the brain least, to a tenth of its area."""
    if len(indices) < 2:
        return indices
    shares = {index: _cut_of(Path(masks[index])) for index in indices}
    return [index for index in indices if shares[index] <= min(shares.values()) + _EQUAL_CUT]


def _cut_of(mask: Path) -> float:
    inside, affine = load(mask)
    return cut_share(inside > 0.5, voxel_sizes_mm(affine))


def _reason(ratio: float, largest: float) -> str:
    """Of one image that was compared: the first of equals need not be the best of them."""
    contrast = "ratio of tissue contrast to noise inside the brain"
    if ratio < largest:
        return f"first of those with about the largest {contrast} ({ratio:.2f}; {largest:.2f} at most)"
    return f"largest {contrast} ({ratio:.2f})"


class _RegisterRigidInputSpec(StepInputSpec):
    reference_file = File(exists=True, mandatory=True, desc="fixed image")
    reference_mask = File(exists=True, mandatory=True, desc="its brain mask")
    moving_file = File(exists=True, mandatory=True, desc="moving image")
    moving_mask = File(exists=True, mandatory=True, desc="its brain mask")
    reference_gaps = traits.Str("", usedefault=True, desc="map of what was not measured, or empty")
    moving_gaps = traits.Str("", usedefault=True, desc="map of what was not measured, or empty")
    match_shading = traits.Bool(True, usedefault=True, desc="register again, shaded alike: of one contrast")
    random_seed = traits.Int(1, usedefault=True, desc="seed of ANTs")


class _RegisterRigidOutputSpec(TraitedSpec):
    out_transform = File(exists=True, desc="ITK text file: reference world to moving world")


class RegisterRigid(ResumableInterface):
    """Rigid registration of two brains with ANTs: see `register_brains`."""

    input_spec = _RegisterRigidInputSpec
    output_spec = _RegisterRigidOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        reference = BrainFiles(
            Path(inputs.reference_file), Path(inputs.reference_mask), inputs.reference_gaps
        )
        moving = BrainFiles(Path(inputs.moving_file), Path(inputs.moving_mask), inputs.moving_gaps)
        folder, alike = Path(runtime.cwd), inputs.match_shading
        found = register_brains(reference, moving, folder, inputs.random_seed, match_shading=alike)
        self._results["out_transform"] = os.fspath(found)
        return runtime
