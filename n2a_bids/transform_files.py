"""World transforms between the steps of a workflow: JSON, one 4x4 matrix for each volume or series."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from n2a_bids.algorithms.transforms import Affine
from n2a_bids.images import whole_file


def write_transforms(transforms: Sequence[Affine], path: Path) -> Path:
    """Write transforms of the world (RAS+, mm), target to source.

    Returns
    -------
    path : Path
    """
    with whole_file(Path(path)) as temporary:
        temporary.write_text(json.dumps([transform.matrix.tolist() for transform in transforms]))
    return Path(path)


def read_transforms(path: str | Path) -> list[Affine]:
    """Read what `write_transforms` wrote."""
    return [Affine(np.array(matrix)) for matrix in json.loads(Path(path).read_text())]
