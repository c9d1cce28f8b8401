"""Forms of the denoised image that other programs ask for."""

from __future__ import annotations

import os
from pathlib import Path

from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits

from n2a_bids.dataset.write.raw_like.names import write_raw_like_files
from n2a_bids.system.child import run_ants


class _BiasCorrectInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc="image")
    mask_file = File(exists=True, mandatory=True, desc="brain mask, same grid: where the field is estimated")
    sidecar = traits.Dict(desc="sidecar of the image")
    random_seed = traits.Int(1, usedefault=True, desc="seed of ANTs")


class _BiasCorrectOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="image without bias field")
    sidecar = traits.Dict(desc="sidecar that says so")


class BiasCorrect(SimpleInterface):
    """N4 bias field correction with ANTs: fMRIPrep expects it of a ``desc-preproc_T1w``."""

    input_spec = _BiasCorrectInputSpec
    output_spec = _BiasCorrectOutputSpec

    def _run_interface(self, runtime):
        folder = Path(runtime.cwd)
        out_file = folder / "bias_corrected.nii.gz"
        files = {"image": self.inputs.in_file, "mask": self.inputs.mask_file, "out_file": os.fspath(out_file)}
        run_ants("bias_corrected", files, folder, random_seed=self.inputs.random_seed)
        sidecar = dict(self.inputs.sidecar)
        sidecar["Description"] = f"{sidecar.get('Description', 'Denoised')}; bias field removed (ANTs N4)"
        self._results.update(out_file=os.fspath(out_file), sidecar=sidecar)
        return runtime


class _DescribeRawLikeInputSpec(BaseInterfaceInputSpec):
    sidecar = traits.Dict(mandatory=True, desc="sidecar of the denoised image")
    root = traits.Str(mandatory=True, desc="dataset that looks raw")
    bids_dir = traits.Str(mandatory=True, desc="input dataset")


class _DescribeRawLikeOutputSpec(TraitedSpec):
    sidecars = traits.List(traits.Dict(), desc="the one sidecar, without what only derivatives have")


class DescribeRawLike(SimpleInterface):
    """Description of the dataset that looks raw, and a sidecar that fits into it."""

    input_spec = _DescribeRawLikeInputSpec
    output_spec = _DescribeRawLikeOutputSpec
    _always_run = True

    def _run_interface(self, runtime):
        write_raw_like_files(Path(self.inputs.root), Path(self.inputs.bids_dir))
        derivative_only = ("Sources", "SpatialReference", "SkullStripped", "Alignment")
        kept = {key: value for key, value in self.inputs.sidecar.items() if key not in derivative_only}
        self._results["sidecars"] = [kept]
        return runtime
