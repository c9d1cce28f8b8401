"""Reads and writes affine transforms as ITK text files (ANTs, Slicer) and as JSON lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.transforms import Affine
from n2a_bids.io.files import write_whole


def write_itk_transform(transform: NDArray[np.float64], out_file: Path) -> Path:
    """Write an affine as an ITK text file (``.txt``), which ANTs and Slicer read.

    Parameters
    ----------
    transform : (4, 4) float array
        World mm (RAS+) of the target to world mm of the image that is resampled.
    """
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    lps = flip @ transform @ flip
    numbers = " ".join(repr(float(value)) for value in (*lps[:3, :3].ravel(), *lps[:3, 3]))
    return write_whole(
        Path(out_file),
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n",
    )


def read_itk_transform(path: Path) -> NDArray[np.float64]:
    """Read what `write_itk_transform` wrote, or any ITK text file with one affine or matrix-offset transform.

    Returns
    -------
    transform : (4, 4) float array
        World mm, RAS+.
    """
    fields = dict(line.split(": ", 1) for line in Path(path).read_text().splitlines() if ": " in line)
    numbers = np.array(fields["Parameters"].split(), dtype=float)
    centre = np.array(fields["FixedParameters"].split(), dtype=float)[:3]
    lps = np.eye(4)
    lps[:3, :3] = numbers[:9].reshape(3, 3)
    lps[:3, 3] = numbers[9:12] + centre - lps[:3, :3] @ centre
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ lps @ flip


def write_transforms(transforms: Sequence[Affine], path: Path) -> Path:
    """Write transforms of the world (RAS+, mm), target to source; beside distorted ones their motion."""
    rows = [
        one.matrix.tolist()
        if one.rigid is None
        else {"matrix": one.matrix.tolist(), "rigid": one.rigid.tolist()}
        for one in transforms
    ]
    return write_whole(Path(path), json.dumps(rows))


def read_transforms(path: str | Path) -> list[Affine]:
    """Read the transforms of a diffusion series that `write_transforms` wrote."""
    return [
        Affine(np.array(row["matrix"]), np.array(row["rigid"]))
        if isinstance(row, dict)
        else Affine(np.array(row))
        for row in json.loads(Path(path).read_text())
    ]
