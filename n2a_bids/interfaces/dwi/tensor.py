"""Nodes that split one diffusion scan by its tensor (SDnDTI), and that write FA, MD and other maps."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from nipype.interfaces.base import File, TraitedSpec, traits

from n2a_bids.algorithms.diffusion.split import split_series, split_volumes, tensor_condition_number
from n2a_bids.algorithms.diffusion.tensor import (
    fit_tensor,
    fractional_anisotropy,
    mean_diffusivity,
    principal_direction,
    tensor_volumes,
)
from n2a_bids.interfaces.dwi.series import MaskedSeriesInputSpec, read_table
from n2a_bids.interfaces.resumable import ResumableInterface
from n2a_bids.io.images import load, save_like
from n2a_bids.io.json import json_text


class _SplitSeriesInputSpec(MaskedSeriesInputSpec):
    random_seed = traits.Int(1, usedefault=True, desc="seed of the search for subsets")


class _SplitSeriesOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="two series of all directions, each from its own volumes")
    record_file = File(exists=True, desc="JSON: which volumes went where")


class SplitSeries(ResumableInterface):
    """Fit a tensor to each half of the directions, and synthesize the whole table from either.

    Tian et al., "SDnDTI: Self-supervised deep learning-based denoising for diffusion tensor MRI",
    NeuroImage 2022.
    """

    input_spec = _SplitSeriesInputSpec
    output_spec = _SplitSeriesOutputSpec

    def _run_interface(self, runtime):
        path, folder = Path(self.inputs.in_file), Path(runtime.cwd)
        data, affine = load(path)
        mask = load(Path(self.inputs.mask_file))[0] > 0.5
        table = read_table(self.inputs, affine)
        halves = split_volumes(table, torch.Generator().manual_seed(self.inputs.random_seed))
        names = []
        for index, series in enumerate(split_series(data, table, mask, halves)):
            names.append(os.fspath(save_like(series, path, folder / f"half_{index + 1}.nii.gz")))
        weighted = ~table.is_b0
        record = [
            {
                "volumes": volumes.tolist(),
                "condition_number": round(
                    tensor_condition_number(table.bvecs[[v for v in volumes if weighted[v]]]), 3
                ),
            }
            for volumes in halves
        ]
        record_file = folder / "split.json"
        record_file.write_text(json_text(record))
        self._results.update(out_files=names, record_file=os.fspath(record_file))
        return runtime


class _TensorOutputSpec(TraitedSpec):
    fa_file = File(exists=True, desc="fractional anisotropy")
    md_file = File(exists=True, desc="mean diffusivity, mm2/s")
    v1_file = File(exists=True, desc="principal direction, (X, Y, Z, 3), a vector of the world (RAS)")


class TensorMapsOfSeries(ResumableInterface):
    """FA, MD and V1 of a series, from volumes up to b = 1500 where there are enough of them."""

    input_spec = MaskedSeriesInputSpec
    output_spec = _TensorOutputSpec

    def _run_interface(self, runtime):
        path, folder = Path(self.inputs.in_file), Path(runtime.cwd)
        data, affine = load(path)
        mask_file = Path(self.inputs.mask_file)
        mask = load(mask_file)[0] > 0.5
        table = read_table(self.inputs, affine)
        used = tensor_volumes(table)
        fit = fit_tensor(data[..., used], table.subset(used), mask)
        maps = {"fa": fractional_anisotropy(fit), "md": mean_diffusivity(fit), "v1": principal_direction(fit)}
        for name, values in maps.items():
            target = folder / f"{name}.nii.gz"
            self._results[f"{name}_file"] = os.fspath(save_like(fit.to_volume(values), mask_file, target))
        return runtime
