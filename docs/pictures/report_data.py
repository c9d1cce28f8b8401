"""Simulated participants whose reports `draw_report.py` shows: a head, a diffusion pair, drawn cells.

python docs/pictures/report_data.py FOLDER

Writes FOLDER/bids and runs the app on it into FOLDER/derivatives. Nobody was scanned for it: the brain is the
average brain that the package carries, the cells are drawn.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import tifffile
import torch
from scipy import ndimage

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.io.gradients import write_gradients
from n2a_bids.lab.benchmark.truths import Truth, template_truth
from n2a_bids.lab.simulation.drawings import draw_membranes
from n2a_bids.lab.simulation.dwi import (
    add_rician_noise,
    distort,
    noise_sd_for_snr,
    susceptibility_displacement,
    tensor_phantom,
)
from n2a_bids.tools.demo import DemoFolders, shrink, write_dataset

DWI_VOXEL_MM, N_DIRECTIONS, SNR, PEAK_VOXELS = 4.0, 24, 12.0, 2.5
EDGE_PIXELS, PEAK_COUNTS, DRIFT_PIXELS = 256, 60.0, (3.4, -5.2)


def main(root: Path) -> None:
    """Write the dataset and run the app on it as a user would."""
    folders = DemoFolders(root.resolve())
    if not folders.bids.exists():
        write_dataset(folders, 2.0, 1)
        write_diffusion(folders.bids / "sub-02" / "dwi")
        write_exposures(folders.bids / "sub-03" / "micr")
    command = [sys.executable, "-m", "n2a_bids", str(folders.bids), str(folders.derivatives), "participant"]
    options = [
        "--work-dir",
        str(folders.work),
        "--recipe",
        "fast",
        "--viewer",
        "--nprocs",
        "1",
        "--omp-nthreads",
        "1",
    ]
    subprocess.run([*command, *options], check=True)


def directions(count: int) -> np.ndarray:
    """(count, 3) unit vectors spread over the half sphere along a spiral."""
    height = (np.arange(count) + 0.5) / count
    turn = np.pi * (1 + 5**0.5) * np.arange(count)
    flat = np.sqrt(1 - height**2)
    return np.stack((flat * np.cos(turn), flat * np.sin(turn), height), axis=1)


def diffusion_head() -> tuple[np.ndarray, Gradients, Truth]:
    """Noise-free series of the average brain: bundles that turn through its white matter."""
    brain = shrink(template_truth(), DWI_VOXEL_MM)
    bright = brain.data / np.percentile(brain.data[brain.mask], 98)
    white, fluid = np.clip((bright - 0.72) / 0.15, 0, 1), np.clip((0.45 - bright) / 0.15, 0, 1)
    x, y, z = (np.linspace(-1.2, 1.2, n) for n in brain.mask.shape)
    x, y, z = np.meshgrid(x, y, z, indexing="ij")
    fibre = np.stack((np.cos(3 * z + x), np.sin(2 * x), np.sin(3 * z + y) * np.cos(2 * x)), axis=-1)
    fibre /= np.linalg.norm(fibre, axis=-1, keepdims=True)
    gradients = Gradients(
        np.r_[0.0, 0.0, np.full(N_DIRECTIONS, 1000.0)],
        np.vstack((np.zeros((2, 3)), directions(N_DIRECTIONS))),
    )
    diffusivity = 0.7 + 1.9 * fluid
    along = white[..., None] * (fibre @ gradients.bvecs.T) ** 2 * 1.4
    signal = (400 + 500 * fluid - 80 * white)[..., None] * np.exp(
        -gradients.bvals / 1000 * (diffusivity[..., None] - 0.35 * white[..., None] + along)
    )
    series = np.where(brain.mask[..., None], tensor_phantom(signal, gradients, brain.mask), 0)
    return series, gradients, brain


def write_diffusion(folder: Path) -> None:
    """Two series of opposite phase encoding, distorted and noisy."""
    series, gradients, brain = diffusion_head()
    generator = torch.Generator().manual_seed(0)
    field = susceptibility_displacement(brain.mask, 1, PEAK_VOXELS, generator)
    noise_sd = noise_sd_for_snr(series, gradients, brain.mask, SNR)
    folder.mkdir(parents=True)
    for label, direction, sign in (("AP", "j-", -1), ("PA", "j", 1)):
        noisy = add_rician_noise(distort(series, field, 1, sign), noise_sd, generator)
        stem = folder / f"sub-02_dir-{label}_dwi"
        nib.Nifti1Image(noisy, brain.affine).to_filename(f"{stem}.nii.gz")
        write_gradients(gradients, brain.affine, stem)
        sidecar = {"PhaseEncodingDirection": direction, "TotalReadoutTime": 0.05, "EchoTime": 0.08}
        Path(f"{stem}.json").write_text(json.dumps(sidecar), encoding="utf-8")


def write_exposures(folder: Path) -> None:
    """Four exposures of one drawn section, which drifts, with counting noise."""
    drawing = draw_membranes(np.random.default_rng(5), EDGE_PIXELS + 32)
    counts = PEAK_COUNTS * np.clip(drawing, 0.05, 1)
    folder.mkdir(parents=True)
    rows = "sample_id\tparticipant_id\tsample_type\nsample-A\tsub-03\ttissue\n"
    (folder.parents[1] / "samples.tsv").write_text(rows, encoding="utf-8")
    for run in range(4):
        moved = ndimage.shift(counts, np.array(DRIFT_PIXELS) * run / 3, order=3)[16:-16, 16:-16]
        exposure = np.random.default_rng(run).poisson(np.maximum(moved, 0))
        stem = folder / f"sub-03_sample-A_run-{run + 1}_TEM"
        tifffile.imwrite(f"{stem}.tif", np.clip(2 * exposure, 0, 255).astype(np.uint8))
        sidecar = {"PixelSize": [4.0, 4.0], "PixelSizeUnits": "nm"}
        Path(f"{stem}.json").write_text(json.dumps(sidecar), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
