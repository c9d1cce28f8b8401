"""Brain mask by deepbet, as a program: ``python -m n2a_bids.external.deepbet IMAGE MASK THREADS``.

In a process of its own because importing deepbet asks CUDA for devices.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import torch
from deepbet import BrainExtraction

from n2a_bids.io.images import load, save_like


def extract_brain(image: Path, mask: Path, threads: int) -> None:
    """Write the brain mask of a head on its own grid.

    Parameters
    ----------
    image : Path
        T1w head.
    mask : Path
        uint8 image to write; empty where no brain is found.
    threads : int
        Threads of torch.
    """
    torch.set_num_threads(threads)
    data, affine = load(image)
    try:
        # deepbet turns every image to RAS and back; a plain float image keeps it from integer scaling.
        _, found, _ = BrainExtraction(no_gpu=True).run(nb.Nifti1Image(data, affine))
        brain = np.asarray(found.dataobj) > 0
    except (AssertionError, ValueError):
        # This is how deepbet says that nothing looks like a brain.
        brain = np.zeros(data.shape, dtype=bool)
    save_like(brain, image, mask, np.uint8)


if __name__ == "__main__":
    extract_brain(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
