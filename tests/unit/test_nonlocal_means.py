"""Laws of guided non-local means."""

import numpy as np
import torch

from n2a_bids.algorithms.nonlocal_means import guided_nonlocal_means

CPU = torch.device("cpu")


def _step(seed=0):
    """A step edge with noise of SD 0.3."""
    clean = np.zeros((14, 14, 14), np.float32)
    clean[7:] = 5
    noise = 0.3 * np.random.default_rng(seed).standard_normal(clean.shape)
    return clean, (clean + noise).astype(np.float32), np.full(clean.shape, 0.3, np.float32)


def test_noise_falls_and_edges_stay():
    """With a perfect guide, error falls below a fifth and no value crosses the edge."""
    clean, noisy, noise_sd = _step()
    denoised = guided_nonlocal_means(noisy, clean, noise_sd, device=CPU)
    assert (denoised - clean).std() < 0.2 * 0.3
    assert abs(denoised[6].mean() - 0) < 0.05
    assert abs(denoised[7].mean() - 5) < 0.05


def test_gain_and_offset_carry_through():
    """The filter of a*y + b is a times the filter of y, plus b."""
    clean, noisy, noise_sd = _step()
    plain = guided_nonlocal_means(noisy, clean, noise_sd, device=CPU)
    moved = guided_nonlocal_means(4 * noisy + 8, 4 * clean + 8, 4 * noise_sd, device=CPU)
    np.testing.assert_allclose(moved, 4 * plain + 8, atol=1e-3)


def test_a_voxel_without_likeness_keeps_its_value():
    """Unlike all neighbours in the guide, a voxel is only averaged with itself."""
    clean, noisy, noise_sd = _step()
    clean[3, 3, 3] = noisy[3, 3, 3] = 100
    denoised = guided_nonlocal_means(noisy, clean, noise_sd, device=CPU)
    assert denoised[3, 3, 3] == 100
