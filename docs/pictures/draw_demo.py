"""Draw the picture of the README from a finished `n2a-tools demo`: one run, mean, denoised image, residual.

python docs/pictures/draw_demo.py n2a-demo docs/pictures/demo.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np


def axial_slice(path: Path, fraction: float = 0.55) -> np.ndarray:
    """One axial slice of an image in the world's axes, front of the head up."""
    volume = np.asanyarray(nib.as_closest_canonical(nib.load(path)).dataobj)
    return volume[:, :, int(volume.shape[2] * fraction)].T[::-1]


def draw_demo(demo: Path, out: Path) -> None:
    """Four panels; the first three share one grey window, the residual is centred on zero."""
    anat = demo / "derivatives" / "sub-01" / "anat"
    raw = sorted((demo / "bids" / "sub-01" / "anat").glob("*_run-*_T1w.nii.gz"))[0]
    paths = {
        "one run": raw,
        "mean of two runs": anat / "sub-01_desc-mean_T1w.nii.gz",
        "denoised": anat / "sub-01_desc-denoised_T1w.nii.gz",
        "taken away": anat / "sub-01_desc-residual_T1w.nii.gz",
    }
    panels = {title: axial_slice(path) for title, path in paths.items()}
    top = float(np.percentile(panels["mean of two runs"], 99.5))
    spread = 0.25 * top
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 3.3), facecolor="black")
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        low, high = (-spread, spread) if title == "taken away" else (0.0, top)
        axis.imshow(panel, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(title, color="white", fontsize=11)
        axis.axis("off")
    figure.subplots_adjust(0.005, 0.01, 0.995, 0.9, wspace=0.02)
    figure.savefig(out, dpi=100, facecolor="black")
    plt.close(figure)


if __name__ == "__main__":
    draw_demo(Path(sys.argv[1]), Path(sys.argv[2]))
