"""Laws of the diffusion phantoms."""

import numpy as np
import torch
from scipy import ndimage

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.tensor import fit_tensor
from n2a_bids.lab.simulation.dwi import (
    add_rician_noise,
    distort,
    multi_tensor_phantom,
    noise_sd_for_snr,
    susceptibility_displacement,
    tensor_phantom,
)


def _series(shape=(8, 8, 4), n=12):
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((n, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = Gradients(np.r_[0.0, np.full(n, 1000.0)], np.vstack((np.zeros(3), vectors)))
    decay = np.exp(-table.bvals * 0.8e-3) * (1 - 0.3 * np.r_[0, vectors[:, 0] ** 2])
    return 100 * decay * generator.uniform(0.8, 1.2, (*shape, 1)), table


def test_tensor_phantom_is_its_own_phantom():
    """A phantom is a fixed point: fitting it again changes nothing."""
    data, table = _series()
    mask = np.ones(data.shape[:3], bool)
    truth = tensor_phantom(data, table, mask)
    assert np.allclose(tensor_phantom(truth, table, mask), truth, rtol=1e-4)


def test_multi_tensor_phantom_decays_with_b():
    """Signal is positive, equals S0 at b0 and falls with the b-value."""
    data, table = _series()
    mask = np.ones(data.shape[:3], bool)
    stronger = Gradients(table.bvals * 2, table.bvecs)
    low, high = (multi_tensor_phantom(data, table, mask, sampled) for sampled in (table, stronger))
    assert (high > 0).all() and (high[..., 1:] < low[..., 1:]).all()
    assert np.allclose(low[..., 0].ravel(), np.exp(fit_tensor(data, table, mask).log_s0), rtol=1e-5)


def test_noise_has_the_wanted_level():
    """The SD of the noise in the b0 is its mean over the SNR."""
    truth = np.full((20, 20, 20, 1), 100.0, np.float32)
    table = Gradients(np.zeros(1), np.zeros((1, 3)))
    sd = noise_sd_for_snr(truth, table, np.ones(truth.shape[:3], bool), 20)
    noisy = add_rician_noise(truth, sd, torch.Generator().manual_seed(0))
    assert abs(noisy.std() / 5 - 1) < 0.03


def test_distortion_conserves_intensity_and_moves_by_the_field():
    """A blob moves by the displacement, in opposite directions for opposite blips, and keeps its sum."""
    image = np.zeros((24, 40, 12), np.float32)
    image[10:14, 18:22, 5:7] = 1
    image = ndimage.gaussian_filter(image, 1.5)
    shift = np.full(image.shape, 3.0, np.float32)
    for sign in (1, -1):
        moved = distort(image, shift, axis=1, sign=sign)
        centre = ndimage.center_of_mass(moved)[1] - ndimage.center_of_mass(image)[1]
        assert abs(centre - 3 * sign) < 0.05
        assert abs(moved.sum() / image.sum() - 1) < 0.02


def test_displacement_has_its_peak_and_does_not_fold():
    """The field reaches the peak asked for, unless folding forbids, and never folds."""
    mask = np.zeros((40, 48, 24), bool)
    mask[5:35, 4:44, 2:22] = True
    field = susceptibility_displacement(mask, 1, 2.0, torch.Generator().manual_seed(0))
    assert 1.5 < np.abs(field[mask]).max() <= 2.001
    assert np.abs(np.gradient(field, axis=1)).max() <= 0.8
