"""Program that calls deepbet on one image: ``python -m n2a_bids.external.deepbet IMAGE MASK ...``.

In a process of its own because importing deepbet asks CUDA for devices.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import nibabel as nb
import numpy as np
import torch
from deepbet import BrainExtraction
from numpy.typing import NDArray

from n2a_bids.algorithms.preparation.tissue_likeness import (
    continue_to_head,
    tissue_likeness,
    trim_dark_border,
)
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.io.images import load, save_like


def extract_brain(image: Path, mask: Path, threads: int, contrast: Literal["T1w", "any"] = "T1w") -> None:
    """Write the brain mask of a head on its own grid.

    Parameters
    ----------
    image : Path
        Head.
    mask : Path
        uint8 image to write; empty where no brain is found.
    threads : int
        Threads of torch.
    contrast : {"T1w", "any"}
        deepbet was trained on T1w heads and takes these as they are. Images of any other contrast are shown
        to it as likeness to tissue, continued to the size of a head.
    """
    torch.set_num_threads(threads)
    data, affine = load(image)
    known = np.isfinite(data)
    if not known.all() and known.any():
        data[~known] = data[known].min()
    if contrast == "any":
        sizes = voxel_sizes_mm(affine)
        shown, box = continue_to_head(tissue_likeness(data, sizes), sizes)
        brain = trim_dark_border(_run(shown, affine)[box], data, sizes)
    else:
        brain = _run(data, affine)
    save_like(brain, image, mask, np.uint8)


def _run(data: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
    try:
        # deepbet turns every image to RAS and back; a plain float image keeps it from integer scaling.
        _, found, _ = BrainExtraction(no_gpu=True).run(nb.Nifti1Image(data, affine))
        return np.asarray(found.dataobj) > 0
    except (AssertionError, ValueError):
        # This is how deepbet says that nothing looks like a brain.
        return np.zeros(data.shape, dtype=bool)


if __name__ == "__main__":
    extract_brain(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
