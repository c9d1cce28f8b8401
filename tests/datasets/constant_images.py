"""Images that hold one value, where only names, headers and grids matter."""

from pathlib import Path

import nibabel as nb
import numpy as np

AFFINE = np.diag([2.0, 2, 2, 1])


def save_ones(path: Path, shape=(6, 7, 5), affine=AFFINE, dtype="uint8") -> Path:
    """Write an image of ones, with the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nb.Nifti1Image(np.ones(shape, dtype), affine).to_filename(path)
    return path
