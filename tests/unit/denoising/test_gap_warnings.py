"""Areas that some runs do not hold are named, for heads and for diffusion series."""

from dataclasses import replace

import numpy as np
import pytest
from diffusion_series import random_table

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


@pytest.mark.parametrize("noise_sd", [0, 15])
def test_air_that_one_noisy_series_lacks_is_no_loss(noise_sd):
    """Noise of magnitudes in the air of a series, a seventh of its b0s, is no head, but a face is."""
    table = random_table(2, 14)
    for gap, is_loss in ((np.s_[:, :3, :4], False), (_FACE, True)):
        repetitions = _repetitions(16, gap)
        dimmed = repetitions.data * np.where(table.is_b0, 1, 0.3).astype(np.float32)
        noise = np.random.default_rng(0).normal(0, noise_sd, (2, *dimmed.shape))
        data = np.hypot(dimmed + noise[0], noise[1]).astype(np.float32)
        assert bool(gap_warnings(replace(repetitions, data=data, gradients=table))) is is_loss
