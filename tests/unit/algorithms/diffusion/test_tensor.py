"""Laws of the tensor fit."""

import numpy as np
import pytest
from diffusion_series import random_table

from n2a_bids.algorithms.diffusion.tensor import (
    TensorFit,
    fit_tensor,
    fractional_anisotropy,
    mean_diffusivity,
    principal_direction,
    synthesize_signal,
)


def _tensors(shape=(4, 4, 4), seed=1):
    generator = np.random.default_rng(seed)
    n = int(np.prod(shape))
    frames = np.linalg.qr(generator.standard_normal((n, 3, 3)))[0]
    values = generator.uniform(0.2e-3, 1.8e-3, (n, 3))
    matrices = np.einsum("nik,nk,njk->nij", frames, values, frames)
    elements = matrices[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    return TensorFit(np.ones(shape, bool), np.log(generator.uniform(500, 900, n)), elements)


def test_fit_inverts_synthesis():
    """Fitting the signal of a tensor gives the tensor back."""
    truth, table = _tensors(), random_table(2, 15)
    fit = fit_tensor(synthesize_signal(truth, table), table, truth.mask)
    assert np.allclose(fit.elements, truth.elements, atol=1e-8)
    assert np.allclose(fit.log_s0, truth.log_s0, atol=1e-5)


def test_maps_of_known_tensor():
    """A stick has FA 1 and lies along x; a sphere has FA 0; MD is the mean eigenvalue."""
    elements = np.array([[1.5e-3, 0, 0, 0, 0, 0], [1e-3, 1e-3, 1e-3, 0, 0, 0]])
    fit = TensorFit(np.ones((2, 1, 1), bool), np.zeros(2), elements)
    assert np.allclose(fractional_anisotropy(fit), [1, 0])
    assert np.allclose(mean_diffusivity(fit), [0.5e-3, 1e-3])
    assert np.allclose(np.abs(principal_direction(fit)[0]), [1, 0, 0])


def test_weighted_fit_beats_unweighted_on_noise():
    """Weights lower the error on noisy anisotropic signal."""
    truth, table = _tensors((12, 12, 12)), random_table(2, 30)
    signal = synthesize_signal(truth, table)
    noisy = np.maximum(signal + 40 * np.random.default_rng(2).standard_normal(signal.shape), 1)
    errors = [
        np.sqrt(
            np.mean((fit_tensor(noisy, table, truth.mask, n_iterations=n).elements - truth.elements) ** 2)
        )
        for n in (0, 2)
    ]
    assert errors[1] < errors[0]


def test_dipy_agrees():
    """The same weighted fit by dipy gives the same FA."""
    dti = pytest.importorskip("dipy.reconst.dti")
    from dipy.core.gradients import gradient_table

    truth, table = _tensors(), random_table(2, 30)
    signal = synthesize_signal(truth, table)
    noisy = np.maximum(signal + 10 * np.random.default_rng(3).standard_normal(signal.shape), 1)
    ours = fractional_anisotropy(fit_tensor(noisy, table, truth.mask, n_iterations=1))
    model = dti.TensorModel(gradient_table(table.bvals, bvecs=table.bvecs), fit_method="WLS")
    assert np.abs(ours - model.fit(noisy).fa.ravel()).max() < 0.01


def test_too_few_directions_are_refused():
    """Five directions cannot determine a tensor."""
    table = random_table(2, 5)
    with pytest.raises(ValueError, match="cannot determine"):
        fit_tensor(np.ones((2, 2, 2, 7)), table, np.ones((2, 2, 2), bool))
