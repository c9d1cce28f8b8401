"""Write small BIDS datasets for the container, cluster and scale proofs; ``--help`` tells how."""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

import nibabel as nb
import numpy as np
from scipy import ndimage

_SHAPE = (40, 44, 36)
_AFFINE = np.array([[4.0, 0, 0, -78], [0, 4, 0, -86], [0, 0, 4, -70], [0, 0, 0, 1]])


def head_phantom(*, ventricles: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A noise-free head of 40 x 44 x 36 voxels of 4 mm: image (0 to 1000) and brain mask.

    Scalp, dark skull, grey rim and white core with folds, so that masks, alignment and edges have something
    to hold on to; dark ventricles where they are asked for.
    """
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in _SHAPE), indexing="ij")
    radius = np.sqrt((x / 0.9) ** 2 + (y / 0.96) ** 2 + (z / 0.95) ** 2)
    folds = radius + 0.05 * np.sin(7 * np.arctan2(y, x)) * np.cos(6 * z)
    image = np.zeros(_SHAPE)
    for level, inside in (
        (700, radius < 0.95),
        (120, radius < 0.82),
        (520, radius < 0.74),
        (880, folds < 0.55),
    ):
        image[inside] = level
    if ventricles:
        beside = (np.abs(x) < 0.22) & (np.abs(x) > 0.05)
        image[beside & (np.abs(y - 0.05) < 0.25) & (np.abs(z) < 0.15)] = 200
    # Left and right, front and back must differ, or alignment could not tell them apart.
    image[(np.hypot(x - 0.45, y - 0.2) < 0.12) & (np.abs(z) < 0.3)] = 640
    image[(np.hypot(x + 0.2, y + 0.7) < 0.1) & (radius < 0.95)] = 950
    return ndimage.gaussian_filter(image, 0.6), radius < 0.74


def write_participant(
    bids_dir: Path, label: str, seed: int, *, broken: bool = False, suffix: str = "T1w"
) -> None:
    """Two runs of one head; the second file of a broken participant is truncated."""
    generator = np.random.default_rng(seed)
    folder = bids_dir / f"sub-{label}" / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    head = head_phantom()[0]
    for run in (1, 2):
        noisy = np.hypot(head + generator.normal(0, 60, _SHAPE), generator.normal(0, 60, _SHAPE))
        path = folder / f"sub-{label}_run-{run}_{suffix}.nii.gz"
        image = nb.Nifti1Image(noisy.round().astype(np.int16), _AFFINE)
        image.set_qform(_AFFINE, 1)
        image.set_sform(_AFFINE, 1)
        image.header.set_xyzt_units("mm", "sec")
        image.to_filename(path)
        sidecar = path.with_name(f"sub-{label}_run-{run}_{suffix}.json")
        sidecar.write_text(json.dumps({"MagneticFieldStrength": 3}))
    if broken:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_mask(masks_dir: Path, label: str) -> None:
    """Brain mask of a participant as a derivative, for proofs that need no brain extraction."""
    folder = masks_dir / f"sub-{label}" / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    describe(masks_dir, "masks", "derivative")
    mask = nb.Nifti1Image(head_phantom()[1].astype(np.uint8), _AFFINE)
    mask.to_filename(folder / f"sub-{label}_desc-brain_mask.nii.gz")
    sidecar = {"Type": "Brain", "RawSources": []}
    (folder / f"sub-{label}_desc-brain_mask.json").write_text(json.dumps(sidecar))


def write_skeleton(bids_dir: Path, n_participants: int) -> None:
    """Two T1w runs each, with true headers and sidecars but no voxels worth reading."""
    image = nb.Nifti1Image(np.zeros((2, 2, 2), np.int16), _AFFINE)
    content = gzip.compress(image.to_bytes(), mtime=0)
    for index in range(1, n_participants + 1):
        folder = bids_dir / f"sub-{index:05d}" / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        for run in (1, 2):
            stem = folder / f"sub-{index:05d}_run-{run}_T1w"
            stem.with_suffix(".nii.gz").write_bytes(content)
            stem.with_suffix(".json").write_text('{"MagneticFieldStrength": 3}')


def describe(folder: Path, name: str, kind: str) -> None:
    """Write the description that every dataset has."""
    folder.mkdir(parents=True, exist_ok=True)
    description = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": kind}
    if kind == "derivative":
        description["GeneratedBy"] = [{"Name": name}]
    (folder / "dataset_description.json").write_text(json.dumps(description))


def main() -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bids_dir", type=Path)
    parser.add_argument("--participants", type=int, default=1, metavar="N")
    parser.add_argument(
        "--broken", nargs="*", default=[], metavar="LABEL", help="participants with a cut file"
    )
    parser.add_argument(
        "--masks-dir", type=Path, metavar="DIR", help="write brain masks too, as a derivative"
    )
    parser.add_argument("--skeleton", action="store_true", help="headers only: to measure discovery")
    args = parser.parse_args()
    describe(args.bids_dir, "small", "raw")
    if args.skeleton:
        write_skeleton(args.bids_dir, args.participants)
        return
    for index in range(1, args.participants + 1):
        label = f"{index:02d}"
        write_participant(args.bids_dir, label, seed=index, broken=label in args.broken)
        if args.masks_dir is not None:
            write_mask(args.masks_dir, label)


if __name__ == "__main__":
    main()
