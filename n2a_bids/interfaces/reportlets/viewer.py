"""Node that encodes the images of the viewer page into one JSON file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    File,
    TraitedSpec,
    isdefined,
    traits,
)
from numpy.typing import NDArray

from n2a_bids.algorithms.repetitions import spread_channels
from n2a_bids.interfaces.dwi.series import b0_threshold_trait, read_shells
from n2a_bids.interfaces.reportlets.scene import load_display, map_of_volumes
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.files import write_whole
from n2a_bids.io.json import record_text
from n2a_bids.viz.viewer import ViewerGroup, encode_groups

_IMAGES = ("mean", "denoised", "repetition", "noise_sd", "uncertainty")
_MOST_SHELLS = 5
"""Of a series; of more, evenly spaced ones are shown."""


class _ViewerInputSpec(StepInputSpec):
    mean_file = File(
        exists=True, mandatory=True, desc="image before denoising: the mean, or the single image"
    )
    denoised_file = File(exists=True, mandatory=True, desc="denoised image")
    mask_file = File(exists=True, mandatory=True, desc="brain mask on their grid")
    repetition_file = File(exists=True, desc="one aligned repetition; none where nothing was repeated")
    noise_sd_file = File(exists=True, desc="noise SD, 3D or 4D")
    uncertainty_file = File(exists=True, desc="expected error, 3D, or 4D with one map for each shell")
    bval_file = File(exists=True, desc="b-values of series, FSL format")
    bvec_file = File(exists=True, desc="directions of series, FSL format")
    b0_threshold = b0_threshold_trait()
    before = traits.Str("mean", usedefault=True, desc="what the image before denoising is called")
    same_contrast = traits.Bool(
        True, usedefault=True, desc="whether the repetition has the contrast of the mean"
    )
    whole_head = traits.Bool(False, usedefault=True, desc="show what lies outside the brain, too")


class _ViewerOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="what the viewer shows, JSON; empty where there is no brain to show")


class ViewerImages(ResumableInterface):
    """Quantise the images of one unit for the viewer; nothing but the brain, unless the head is asked for."""

    input_spec = _ViewerInputSpec
    output_spec = _ViewerOutputSpec

    def _run_interface(self, runtime):
        text = ""
        if np.any(np.asanyarray(nb.load(self.inputs.mask_file).dataobj) > 0):
            names = [name for name in _IMAGES if isdefined(getattr(self.inputs, f"{name}_file"))]
            files = [getattr(self.inputs, f"{name}_file") for name in names]
            margin_mm = np.inf if self.inputs.whole_head else 5.0
            scene = load_display(files, self.inputs.mask_file, volume=None, margin_mm=margin_mm)
            images = dict(zip(names, scene.volumes, strict=True))
            record = encode_groups(
                list(self._groups(images)),
                scene.frame.mask,
                scene.affine,
                whole_head=self.inputs.whole_head,
            )
            text = record_text(record)
        self._results["out_file"] = os.fspath(write_whole(Path(runtime.cwd) / "viewer.json", text))
        return runtime

    def _groups(self, images: Mapping[str, NDArray[np.float32]]) -> Iterator[ViewerGroup]:
        """The images, or what is shown of a series: single volumes, whose noise is seen, and shell means."""
        told = {"before": self.inputs.before, "same_contrast": self.inputs.same_contrast}
        if images["mean"].ndim == 3:
            # Of a map for each echo the first, as in the report; one slice stays an image.
            shown = {name: values if values.ndim == 3 else values[..., 0] for name, values in images.items()}
            yield ViewerGroup(**told, **shown)
            return
        shells = read_shells(self.inputs)
        maps = map_of_volumes(shells)
        for name, volumes in choose_volumes(shells):
            noise = {"noise_sd", "uncertainty"} if volumes.size > 1 else set()
            chosen = {
                key: _mean_over(values, maps[volumes] if key == "uncertainty" else volumes)
                for key, values in images.items()
                if key not in noise
            }
            yield ViewerGroup(name=name, **told, **chosen)


def _mean_over(values: NDArray[np.float32], volumes: NDArray[np.int_]) -> NDArray[np.float32]:
    """Mean of some volumes of a series; a map that all volumes share is left as it is."""
    return values if values.ndim == 3 else values[..., volumes].mean(axis=-1)


def choose_volumes(shells: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.int_]]]:
    """What the viewer shows of a diffusion series, each with its name.

    Parameters
    ----------
    shells : (N,) array
        b-value of the shell of each volume, in s/mm2, 0 for b0.

    Yields
    ------
    name : str
        For example ``b=1000, volume 7`` (from 0), or ``b=1000, mean of 32``.
    volumes : array of int
        Indices of the volumes that are averaged.

    Examples
    --------
    >>> [name for name, _ in choose_volumes(np.array([0.0, 1000, 1000, 0]))]
    ['b=1000, volume 1', 'b=1000, mean of 2', 'b=0, volume 0', 'b=0, mean of 2']
    """
    found = np.unique(shells)[::-1]
    chosen = found[spread_channels(len(found), _MOST_SHELLS)]
    weighted = [shell for shell in chosen if shell > 0][::-1]
    for shell in [*weighted, *(shell for shell in chosen if shell == 0)]:
        volumes = np.flatnonzero(shells == shell)
        yield f"b={shell:g}, volume {volumes[0]}", volumes[:1]
        if volumes.size > 1:
            yield f"b={shell:g}, mean of {volumes.size}", volumes
