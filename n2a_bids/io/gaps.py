"""Maps of gaps (voxels without a measurement), read and written as files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np

from n2a_bids.algorithms.preparation.gaps import Gaps
from n2a_bids.io.images import save_like

_ZONE, _MEASURED, _SPECK = 0, 1, 2
"""Values of the maps that are passed on."""


def load_gaps(path: str) -> Gaps | None:
    """Read the map of one image; None for the empty name of an image without gaps."""
    if not path:
        return None
    found = np.asarray(nb.load(path).dataobj)
    return Gaps(zone=found == _ZONE, specks=found == _SPECK)


def load_zone(path: str) -> np.ndarray | None:
    """(X, Y, Z) bool array of what is not in a zone; None where there is none: specks were mended."""
    gaps = load_gaps(path)
    return ~gaps.zone if gaps is not None and gaps.zone.any() else None


def stored_limits(path: Path) -> tuple[float, float] | None:
    """Smallest and largest intensity that an image file can hold; None for floating point."""
    image = nb.load(path)
    dtype = image.get_data_dtype()
    if dtype.kind not in "iu":
        return None
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    ends = sorted(slope * limit + intercept for limit in (np.iinfo(dtype).min, np.iinfo(dtype).max))
    return float(ends[0]), float(ends[1])


def write_gaps(gaps: Gaps, reference: Path, out_file: Path) -> Path:
    """Write which voxels hold no measurement, as `load_gaps` reads them."""
    found = np.where(gaps.zone, _ZONE, np.where(gaps.specks, _SPECK, _MEASURED))
    return save_like(found, reference, out_file, np.uint8)
