"""Tiny BIDS datasets of complex images: the other heads with a phase, in every form that BIDS has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import nibabel as nb
import numpy as np
import torch
from dwi_dataset import VOXEL_MM, head
from phases import add_complex_noise, shot_phase, static_phase
from small_dataset import _AFFINE, describe, head_phantom

from n2a_bids.io.gradients import write_gradients

Form = Literal["rad", "levels", "cartesian", "magnitude"]
"""Phase in radians or in the 4096 levels of a scanner; real and imaginary part; or no phase at all."""


def write_parts(stem: Path, image: np.ndarray, affine: np.ndarray, form: Form, suffix: str) -> None:
    """Write one complex image as its parts."""
    parts = {"real": image.real, "imag": image.imag}
    units = None
    if form != "cartesian":
        parts = {"mag": np.abs(image)}
        if form != "magnitude":
            phase = np.angle(image)
            units = "rad" if form == "rad" else "arbitrary"
            parts["phase"] = phase if form == "rad" else np.floor(phase / np.pi * 2048 + 2048).clip(0, 4095)
    for part, values in parts.items():
        path = stem.with_name(f"{stem.name}_part-{part}_{suffix}.nii.gz")
        nb.Nifti1Image(values.astype(np.float32), affine).to_filename(path)
        sidecar = {"Units": units} if part == "phase" else {"MagneticFieldStrength": 3}
        Path(str(path).replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))


def write_complex_t1w(root: Path, forms: Sequence[Form], noise_sd: float = 60.0) -> np.ndarray:
    """Runs of one head, each in its own form and with a phase of its own; returns the true magnitude."""
    describe(root, "complex", "raw")
    folder = root / "sub-01" / "anat"
    folder.mkdir(parents=True)
    truth, _ = head_phantom()
    generator = torch.Generator().manual_seed(0)
    for run, form in enumerate(forms, start=1):
        phase = static_phase(truth.shape, generator)
        image = add_complex_noise(truth, phase, noise_sd, generator)
        write_parts(folder / f"sub-01_run-{run}", image, _AFFINE, form, "T1w")
    return truth


def write_complex_dwi(root: Path, forms: Sequence[Form], noise_sd: float = 20.0) -> dict[str, np.ndarray]:
    """One series, or runs of one, each volume and slice with a phase of its own.

    Returns
    -------
    truth : dict
        ``signal`` (X, Y, Z, C) and ``mask``.
    """
    describe(root, "complex", "raw")
    folder = root / "sub-01" / "dwi"
    folder.mkdir(parents=True)
    truth, gradients = head()
    generator = torch.Generator().manual_seed(0)
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    steady = static_phase(truth.shape[:3], generator, smooth_rad=1.0, cavity_rad=1.0)
    for run, form in enumerate(forms, start=1):
        phases = [
            steady + (0 if is_b0 else shot_phase(truth.shape[:3], generator, bend_rad=0.5))
            for is_b0 in gradients.is_b0
        ]
        image = add_complex_noise(truth, np.stack(phases, axis=-1), noise_sd, generator)
        stem = folder / (f"sub-01_run-{run}" if len(forms) > 1 else "sub-01")
        write_parts(stem, image, affine, form, "dwi")
        write_gradients(gradients, affine, stem.with_name(f"{stem.name}_dwi"))
    return {"signal": truth, "mask": truth[..., 0] > 0}
