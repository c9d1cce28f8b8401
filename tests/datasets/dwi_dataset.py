"""A tiny BIDS dataset of simulated diffusion series: a head of tensors, noisy, distorted if asked for."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nb
import numpy as np
import torch
from scipy import ndimage

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.io.gradients import write_gradients
from n2a_bids.lab.simulation.dwi import (
    add_rician_noise,
    distort,
    susceptibility_displacement,
    tensor_phantom,
)

SHAPE, VOXEL_MM, NOISE_SD = (26, 28, 14), 6.0, 5.0


def table(n_directions: int = 15) -> Gradients:
    """Two b0s and some directions of one shell."""
    vectors = np.random.default_rng(0).standard_normal((n_directions, 3))
    for _ in range(50):
        # Repulsion of directions and their opposites spreads them well.
        apart = vectors[:, None] - vectors[None]
        opposite = vectors[:, None] + vectors[None]
        force = sum(
            np.sum(d / (np.sum(d**2, axis=-1, keepdims=True) + 1e-3) ** 1.5, axis=1)
            for d in (apart, opposite)
        )
        vectors = vectors + 0.01 * force
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    bvals = np.r_[0.0, 0.0, np.full(n_directions, 1000.0)]
    return Gradients(bvals, np.vstack((np.zeros((2, 3)), vectors)))


def head() -> tuple[np.ndarray, Gradients]:
    """Noise-free series of a head in air."""
    gradients = table()
    grid = np.stack(np.meshgrid(*(np.linspace(-1.15, 1.15, n) for n in SHAPE), indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.8
    texture = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(SHAPE), 1.5)
    s0 = 150 * (1 + 1.5 * texture).clip(0.4)
    x, y, _ = grid * np.pi / 2
    fibre = np.stack((np.cos(x), np.sin(x) * np.cos(y), np.sin(x) * np.sin(y)), axis=-1)
    along = np.concatenate((np.zeros((*SHAPE, 2)), (fibre @ gradients.bvecs[2:].T) ** 2), axis=-1)
    signal = s0[..., None] * np.exp(-gradients.bvals / 1000 * (0.4 + 1.1 * along))
    return np.where(mask[..., None], tensor_phantom(signal, gradients, mask), 0), gradients


def write_dataset(root: Path, kind: str) -> dict[str, np.ndarray]:
    """Write a dataset with one participant; `kind` is ``single``, ``repeat``, ``reverse-pe``, ``corrected``.

    Returns
    -------
    truth : dict
        ``signal`` (X, Y, Z, C), ``mask`` and ``displacement``.
    """
    truth, gradients = head()
    mask = truth[..., 0] > 0
    generator = torch.Generator().manual_seed(0)
    field = susceptibility_displacement(mask, 1, 1.5, generator)
    series = {
        "single": [("", "j", 0)],
        "repeat": [("_run-1", "j", 0), ("_run-2", "j", 0)],
        "reverse-pe": [("_dir-AP", "j-", -1), ("_dir-PA", "j", 1)],
        "corrected": [("_dir-AP", "j-", 0), ("_dir-PA", "j", 0)],
    }[kind]
    folder = root / "sub-01" / "dwi"
    folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "phantom", "BIDSVersion": "1.10.0"}))
    for label, direction, sign in series:
        image = distort(truth, field, 1, sign) if sign else truth
        noisy = add_rician_noise(image, NOISE_SD, generator)
        stem = folder / f"sub-01{label}_dwi"
        affine = np.diag([VOXEL_MM] * 3 + [1.0])
        nb.Nifti1Image(noisy, affine).to_filename(f"{stem}.nii.gz")
        write_gradients(gradients, affine, stem)
        sidecar = {"PhaseEncodingDirection": direction, "TotalReadoutTime": 0.05, "EchoTime": 0.08}
        Path(f"{stem}.json").write_text(json.dumps(sidecar))
    return {"signal": truth, "mask": mask, "displacement": field}
