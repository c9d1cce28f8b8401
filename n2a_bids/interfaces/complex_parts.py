"""Nodes for complex images: demodulate to real values, place the phase on the result's grid, restore it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.preparation.demodulation import (
    Demodulated,
    choose_low_pass,
    demodulate,
    out_of_phase,
)
from n2a_bids.algorithms.registration.dwi_resampling import resample_series
from n2a_bids.dataset.read.complex_parts import combine, phase_scale
from n2a_bids.interfaces.dwi.acquired_series import AcquiredSeriesInputSpec, read_acquired
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.images import load, load_along, save_like

Values = NDArray[np.float32]
ToComplex = Callable[[Values, object], NDArray[np.complex64]]

_MOST_OUT_OF_PHASE = 0.02
"""Simulated fields beside air cavities leave 0.003, a low-pass that is much too wide 0.015."""
_FEW_VOLUMES = 5
"""That tell how smooth the phase of a series is."""


class _DemodulateInputSpec(StepInputSpec):
    in_file = File(exists=True, mandatory=True, desc="magnitude or real part, 3D or 4D")
    second_file = traits.Str(desc="phase or imaginary part; empty for a magnitude that has none")
    form = traits.Enum(
        "polar", "cartesian", usedefault=True, desc="magnitude and phase, or real and imaginary"
    )
    phase_units = traits.Str("", usedefault=True, desc="Units of the phase, as its sidecar tells")
    slice_axis = traits.Int(
        -1, usedefault=True, desc="array axis across the slices, by the headers; -1 for a volume as a whole"
    )
    magnitude_only = traits.Bool(False, usedefault=True, desc="do not look at the phase")


class _DemodulateOutputSpec(TraitedSpec):
    magnitude_file = File(exists=True, desc="magnitude, under the name of the image")
    values_file = File(exists=True, desc="real part without the smooth phase; the magnitude where it is left")
    phase_file = traits.Str(desc="the smooth phase, radians; empty where it is left")
    warnings = traits.List(traits.Str(), desc="one sentence where the phase is not smooth")


class Demodulate(ResumableInterface):
    """Take the smooth phase out of a complex image, on its own grid, before it is moved or interpolated."""

    input_spec = _DemodulateInputSpec
    output_spec = _DemodulateOutputSpec

    def _run_interface(self, runtime):
        inputs, folder = self.inputs, Path(runtime.cwd)
        path = Path(inputs.in_file)
        self._results.update(
            magnitude_file=os.fspath(path), values_file=os.fspath(path), phase_file="", warnings=[]
        )
        leaves_phase = inputs.magnitude_only or not inputs.second_file
        if leaves_phase and inputs.form == "polar":
            return runtime
        first, _ = load(path)
        to_complex = self._reader()
        if inputs.form == "cartesian":
            magnitude = np.abs(to_complex(first, ...))
            self._results["magnitude_file"] = os.fspath(save_like(magnitude, path, folder / path.name))
            self._results["values_file"] = self._results["magnitude_file"]
        if not leaves_phase:
            self._write(*_demodulate_all(first, to_complex, self._axes()), path, folder)
        return runtime

    def _axes(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if axis != self.inputs.slice_axis)

    def _reader(self) -> ToComplex:
        """Function of the first file's values and of a place in both, which gives complex values there."""
        path = Path(self.inputs.second_file)
        second = load_along(path, Path(self.inputs.in_file))
        form, scale = self.inputs.form, None
        if form == "polar":
            known = second[np.isfinite(second)]
            ends = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
            scale = phase_scale(path, ends, self.inputs.phase_units)
        return lambda first, place: combine(form, first[place], second[place], scale)

    def _write(self, real: Values, phase: Values, lost: float, path: Path, folder: Path) -> None:
        values = save_like(real, path, folder / "real" / path.name)
        self._results["values_file"] = os.fspath(values)
        self._results["phase_file"] = os.fspath(save_like(phase, path, folder / "phase" / path.name))
        if lost > _MOST_OUT_OF_PHASE:
            self._results["warnings"] = [
                f"the phase of {path.name} is not smooth: {100 * lost:.0f} % of the energy of its signal is "
                "lost where the phase is taken out; look at the phase image, and compare with --ignore-phase"
            ]


class _RestorePhaseInputSpec(StepInputSpec):
    in_file = File(exists=True, mandatory=True, desc="real-valued image, denoised")
    phase_file = File(exists=True, mandatory=True, desc="smooth phase, radians, on its grid")
    sidecar = traits.Dict(mandatory=True, desc="of the real-valued image")


class _RestorePhaseOutputSpec(TraitedSpec):
    magnitude_file = File(exists=True, desc="magnitude of the complex image")
    phase_file = File(exists=True, desc="its phase, radians, -pi to pi")
    magnitude_sidecar = traits.Dict(desc="of the magnitude")
    phase_sidecar = traits.Dict(desc="of the phase")


class RestorePhase(ResumableInterface):
    """Give a denoised real-valued image the phase back that was taken out; negative values turn it by pi."""

    input_spec = _RestorePhaseInputSpec
    output_spec = _RestorePhaseOutputSpec

    def _run_interface(self, runtime):
        path, folder, sidecar = Path(self.inputs.in_file), Path(runtime.cwd), dict(self.inputs.sidecar)
        real, phase = load(path)[0], load(Path(self.inputs.phase_file))[0]
        turned = np.where(real < 0, phase - np.pi * np.where(phase > 0, 1, -1), phase)
        magnitude = save_like(np.abs(real), path, folder / "magnitude.nii.gz")
        text = sidecar.pop("Description", "Denoised")
        # Neither is real-valued any more.
        sidecar.pop("RealValued", None)
        self._results.update(
            magnitude_file=os.fspath(magnitude),
            phase_file=os.fspath(save_like(turned, path, folder / "phase.nii.gz")),
            magnitude_sidecar=sidecar | {"Description": f"Magnitude of the complex image: {text}"},
            phase_sidecar=sidecar
            | {"Description": f"Phase of the complex image, that of the reference: {text}", "Units": "rad"},
        )
        return runtime


def _demodulate_all(
    first: Values, to_complex: ToComplex, axes: tuple[int, ...]
) -> tuple[Values, Values, float]:
    """Real part and smooth phase of an image or of all volumes of a series, and the part of signal lost."""
    places = [(..., number) for number in range(first.shape[3])] if first.ndim == 4 else [(...,)]
    some = places[:: max(1, len(places) // _FEW_VOLUMES)]
    low_pass = choose_low_pass([to_complex(first, place) for place in some], axes)
    real, phase, lost = np.empty_like(first), np.empty_like(first), []
    for place in places:
        found: Demodulated = demodulate(to_complex(first, place), low_pass.axes, low_pass.width_voxels)
        real[place], phase[place] = found.real, found.phase
        if place in some:
            lost.append(out_of_phase(found))
    return real, phase, float(np.mean(lost))


class _PlacePhaseOutputSpec(TraitedSpec):
    phase_file = traits.Str(desc="phase of the first series, radians, with the motion and distortion undone")


class PlacePhase(ResumableInterface):
    """Bring the phase of the first series to the common grid as the series itself was brought there.

    ``in_files`` are the phases, in radians. Cosine and sine are interpolated, which do not wrap.
    """

    input_spec = AcquiredSeriesInputSpec
    output_spec = _PlacePhaseOutputSpec

    def _run_interface(self, runtime):
        mask_file = Path(self.inputs.mask_file)
        mask, affine = load(mask_file)
        series = read_acquired(self.inputs, 0, mask.shape)
        maps = [(motion @ series.between).between_voxels(affine, series.affine) for motion in series.motion]
        pull = (maps, series.displacement, series.axis, mask > 0.5)
        cosine, sine = (resample_series(part(series.data), *pull, signed=True) for part in (np.cos, np.sin))
        phase = np.arctan2(sine, cosine)
        target = Path(runtime.cwd) / "phase.nii.gz"
        self._results["phase_file"] = os.fspath(save_like(phase, series.path, target))
        return runtime
