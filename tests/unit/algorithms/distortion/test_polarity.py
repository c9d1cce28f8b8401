"""Two b0s of opposite polarity are recognised, and what else tells images apart is not taken for it."""

import numpy as np
import pytest
import torch
from textured_heads import distortion_head

from n2a_bids.algorithms.distortion.polarity import find_opposite_distortion
from n2a_bids.lab.simulation.dwi import distort, susceptibility_displacement

_AXIS = 1
_SIZE = (3.0, 3.0, 3.5)


def _pair(second_sign, peak_voxels=1.5, sd=4.0):
    """Two noisy b0s of a head under one field."""
    image, mask = distortion_head()
    image = image.astype(np.float32)
    field = susceptibility_displacement(mask, _AXIS, peak_voxels, torch.Generator().manual_seed(0))
    rng = np.random.default_rng(1)
    images = [
        (distort(image, field, _AXIS, sign) + rng.normal(0, sd, mask.shape)).astype(np.float32)
        for sign in (1, second_sign)
    ]
    return *images, mask


@pytest.mark.parametrize("axes", [[_AXIS], [0, 1, 2]])
def test_opposite_distortion_is_found_whether_the_axis_is_known_or_not(axes):
    """With its axis, and how far places lie apart."""
    first, second, mask = _pair(-1)
    found = find_opposite_distortion(first, second, mask, _SIZE, axes)
    assert found is not None and found.axis == _AXIS
    assert found.correlation_opposite > 0.95 > found.correlation_alike
    assert 2 < found.apart_mm < 2 * 1.5 * _SIZE[_AXIS] + 2
    assert "PhaseEncodingDirection" in found.reason("sub-01_run-1_dwi.nii.gz")


@pytest.mark.parametrize("sd", [1.0, 4.0, 25.0])
def test_same_distortion_and_noise_are_no_opposite_distortion(sd):
    """However strong the noise."""
    first, second, mask = _pair(1, sd=sd)
    assert find_opposite_distortion(first, second, mask, _SIZE, [0, 1, 2]) is None


def test_shading_is_no_opposite_distortion():
    """As with and without prescan normalisation: sevenfold from one side of the head to the other."""
    first, second, mask = _pair(1)
    ramp = np.exp(np.linspace(-1, 1, mask.shape[_AXIS], dtype=np.float32))[None, :, None]
    assert find_opposite_distortion(first, second * ramp, mask, _SIZE, [_AXIS]) is None


def test_opposite_distortion_is_found_under_shading():
    """Shading that no distortion could make does not hide it."""
    first, second, mask = _pair(-1, peak_voxels=2.5)
    ramp = np.exp(np.linspace(-1, 1, mask.shape[2], dtype=np.float32))
    assert find_opposite_distortion(first, second * ramp, mask, _SIZE, [_AXIS]) is not None


def test_an_empty_image_or_brain_tells_nothing():
    """None, and no error."""
    first, second, mask = _pair(-1)
    assert find_opposite_distortion(first, 0 * second, mask, _SIZE, [_AXIS]) is None
    assert find_opposite_distortion(first, second, mask & False, _SIZE, [_AXIS]) is None
