"""Node that denoises: starts the denoising command in a child process, where torch and CUDA live."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from nipype.interfaces.base import (
    CommandLine,
    CommandLineInputSpec,
    File,
    InputMultiObject,
    TraitedSpec,
    traits,
)

from n2a_bids.config import DenoiseConfig
from n2a_bids.config.options import Declared, declared_fields
from n2a_bids.interfaces.resumable import HashedNames, Resumable
from n2a_bids.io.json import sidecar_path
from n2a_bids.system.child import child_environment, raise_if_killed
from n2a_bids.system.gpu_slot import gpu_slot, visible_gpus
from n2a_bids.system.progress import FILE_NAME, PROGRESS_FILE, WANTS_FILES


class _FilesInputSpec(HashedNames, CommandLineInputSpec):
    in_files = InputMultiObject(
        File(exists=True), argstr="%s", position=0, mandatory=True, desc="aligned repetitions, one grid"
    )
    mask_file = File(exists=True, argstr="--mask %s", mandatory=True, desc="brain mask, same grid")
    out_file = traits.Str("denoised.nii.gz", argstr="--out %s", usedefault=True, desc="name of the result")
    different_contrast = traits.Bool(
        argstr="--different-contrast", desc="repetitions differ in contrast (echoes)"
    )
    micrograph = traits.Bool(argstr="--micrograph", desc="exposures of a microscope")
    real_valued = traits.Bool(argstr="--real-valued", desc="real parts of complex images: no noise floor")
    weights_sha256 = traits.Dict(traits.Str(), traits.Str(), desc="SHA-256 of every weights file")
    bvals = File(exists=True, argstr="--bvals %s", desc="b-values of a diffusion series, FSL format")
    bvecs = File(exists=True, argstr="--bvecs %s", desc="gradient directions, FSL format")
    b0_threshold = traits.Float(argstr="--b0-threshold %g", desc="largest b-value of a b0, s/mm2")
    # Repetitions are compared as they were acquired, before others stand in for gaps of one.
    allow_shared_noise = traits.Bool(
        True, usedefault=True, argstr="--allow-shared-noise", desc="they were compared before"
    )
    companion = File(exists=True, argstr="--companion %s", desc="another series that is learned from")
    whole_image = traits.Bool(argstr="--whole-image", desc="denoise what lies around the brain, too")
    noise_kept = traits.Float(argstr="--noise-kept %.4f", desc="part of the noise SD left by interpolation")
    measured_file = File(exists=True, argstr="--measured %s", desc="runs measured at each voxel, see gaps")
    stored_files = InputMultiObject(
        File(exists=True), argstr="--stored %s", desc="the repetitions as stored, before any interpolation"
    )
    save_repetitions = traits.Bool(argstr="--out-repetitions %s", desc="write each denoised repetition")
    save_uncertainty = traits.Bool(
        argstr="--out-uncertainty uncertainty.nii.gz", desc="write the error to expect in each voxel"
    )
    omp_nthreads = traits.Int(1, argstr="--omp-nthreads %d", usedefault=True, nohash=True, desc="CPU threads")
    memory_gb = traits.Float(argstr="--memory-gb %.2f", nohash=True, desc="memory that may be used")
    # nipype counts a node as a GPU job by this name.
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="schedule as GPU job")
    gpu_slots = traits.Int(0, usedefault=True, nohash=True, desc="GPU jobs that may run together")


_OPTIONS = {one.name: one for one in declared_fields(DenoiseConfig)}


def _option_trait(option: Declared) -> traits.TraitType:
    """An option of the command as a trait; what does not change the result is no part of the hash."""
    # Weights are hashed by their content, weights_sha256: nipype would hash the folder by its name alone.
    is_hashed = option.option.shapes_result and option.item is not Path
    metadata = {"desc": option.option.help, **({} if is_hashed else {"nohash": True})}
    flag = option.flags[0]
    if option.item is bool:
        return traits.Bool(argstr=flag, **metadata)
    if option.item is int:
        return traits.Int(argstr=f"{flag} %d", **metadata)
    if option.item is float:
        return traits.Float(argstr=f"{flag} %g", **metadata)
    if option.item is Path:
        return traits.Directory(exists=True, argstr=f"{flag} %s", **metadata)
    return traits.Str(argstr=f"{flag} %s", **metadata)


_DenoiseInputSpec = type(
    "_DenoiseInputSpec",
    (_FilesInputSpec,),
    {"__module__": __name__} | {name: _option_trait(option) for name, option in _OPTIONS.items()},
)


class _DenoiseOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="denoised image")
    record_file = File(exists=True, desc="JSON of what was tried, chosen and measured")
    mean_file = File(exists=True, desc="plain mean of the repetitions")
    residual_file = File(exists=True, desc="mean minus denoised")
    noise_sd_file = File(exists=True, desc="noise SD of one repetition")
    uncertainty_file = File(exists=True, desc="expected error (SD) in each voxel of the brain")
    repetition_files = traits.List(File(exists=True), desc="each repetition, denoised")


class Denoise(Resumable, CommandLine):
    """``n2a-tools denoise`` in a child process.

    Resources (device, threads, memory) are not part of the hash: a run may resume on another machine.
    Its progress lines go to the terminal as they come, or into a file for a run that reads it.

    Examples
    --------
    >>> node = Denoise(omp_nthreads=2, recipe="fast")
    >>> node.cmd.endswith("-m n2a_bids.cli.tools denoise --no-align")
    True
    """

    _cmd = f"{shlex.quote(sys.executable)} -m n2a_bids.cli.tools denoise --no-align"
    input_spec = _DenoiseInputSpec
    output_spec = _DenoiseOutputSpec
    _terminal_output = "stream"

    _EXTRA = ("mean", "residual", "noise_sd")

    def _parse_inputs(self, skip=None):
        arguments = super()._parse_inputs(skip=skip)
        return arguments + [f"--out-{name.replace('_', '-')} {name}.nii.gz" for name in self._EXTRA]

    def _format_arg(self, name, trait_spec, value):
        if name in ("in_files", "stored_files"):
            # nipype quotes single files only.
            return trait_spec.argstr % " ".join(shlex.quote(path) for path in value)
        if name in _OPTIONS and _OPTIONS[name].item is Path:
            # nipype quotes files, but no folders.
            return f"{_OPTIONS[name].flags[0]} {shlex.quote(value)}"
        if name == "save_repetitions":
            return "--out-repetitions " + " ".join(self._repetition_names()) if value else ""
        return super()._format_arg(name, trait_spec, value)

    def _repetition_names(self) -> list[str]:
        return [f"repetition-{index + 1}.nii.gz" for index in range(len(self.inputs.in_files))]

    def _run_interface(self, runtime, correct_return_codes=(0,)):
        runtime.environ.update(
            child_environment(self.inputs.omp_nthreads, hide_gpu=self.inputs.device == "cpu")
        )
        if os.environ.get(WANTS_FILES):
            runtime.environ[PROGRESS_FILE] = str(Path(runtime.cwd) / FILE_NAME)
        devices = visible_gpus() if self.inputs.use_gpu and self.inputs.device != "cpu" else ()
        if not devices:
            runtime = super()._run_interface(runtime, correct_return_codes)
        else:
            with gpu_slot(devices, self.inputs.gpu_slots) as device:
                runtime.environ["CUDA_VISIBLE_DEVICES"] = device
                runtime = super()._run_interface(runtime, correct_return_codes)
        raise_if_killed("the denoising process", runtime.returncode)
        return runtime

    def _list_outputs(self):
        folder = Path.cwd()
        outputs = {f"{name}_file": str(folder / f"{name}.nii.gz") for name in self._EXTRA}
        out_file = folder / self.inputs.out_file
        outputs |= {"out_file": str(out_file), "record_file": str(sidecar_path(out_file))}
        if self.inputs.save_uncertainty:
            outputs["uncertainty_file"] = str(folder / "uncertainty.nii.gz")
        if self.inputs.save_repetitions:
            outputs["repetition_files"] = [str(folder / name) for name in self._repetition_names()]
        return outputs
