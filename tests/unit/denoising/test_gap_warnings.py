"""Areas that some runs do not hold are named, for heads and for diffusion series."""

import numpy as np
import pytest

from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.denoising.warnings import gap_warnings


def _repetitions(n_volumes, gap):
    """Two runs of a ball in air, one of them without measurement in `gap`."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 20)] * 3, indexing="ij"))
    head = (grid**2).sum(axis=0) < 0.8
    image = np.where(head, 100, 5).astype(np.float32)[..., None] * np.ones(n_volumes, np.float32)
    n_measured = np.full(head.shape, 2, np.uint8)
    n_measured[gap] = 1
    data = np.stack([image, np.where((n_measured == 1)[..., None], 0, image)])
    brain = (grid**2).sum(axis=0) < 0.4
    return Repetitions(data, brain & (n_measured == 2), voxel_size_mm=(4.0, 4.0, 4.0), n_measured=n_measured)


_FACE = np.s_[4:16, 1:4, 4:16]
_AIR = np.s_[:, :, 0]


@pytest.mark.parametrize("n_volumes", [1, 7])
def test_missing_face_is_named(n_volumes):
    """With its volume, whatever the kind of image."""
    (warning,) = gap_warnings(_repetitions(n_volumes, _FACE))
    assert "ml, where others were measured" in warning


def test_masked_air_of_a_series_is_no_loss():
    """Diffusion series are often stored with the air set to zero."""
    assert gap_warnings(_repetitions(7, _AIR)) == []
    assert gap_warnings(_repetitions(7, np.s_[:0])) == []
