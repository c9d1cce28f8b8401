"""Laws of the candidates that the default strategy chooses among."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.nn.networks import FusionUNet, MUNet
from n2a_bids.algorithms.noise.rician import rician_bias
from n2a_bids.algorithms.risk.candidates import Candidate, estimate_all

SHAPE = (20, 20, 20)
NOISE_SD = np.full(SHAPE, 0.5, np.float32)


@pytest.fixture
def context() -> Context:
    return Context(generator=torch.Generator().manual_seed(0))


def identity() -> MUNet:
    """A network that finds no noise."""
    network = MUNet(n_channels=2).eval()
    torch.nn.init.zeros_(network.tail.weight)
    return network


def test_nonlocal_bayes_has_no_noise_floor(context):
    rng = np.random.default_rng(1)
    signal = np.float32(0.8)
    real, imaginary = (NOISE_SD * rng.standard_normal(SHAPE) for _ in range(2))
    magnitude = np.hypot(signal + real, imaginary).astype(np.float32)
    assert magnitude.mean() > signal + 0.1

    def find_bias(guide):
        return rician_bias(np.full_like(guide, signal), NOISE_SD)

    where = np.ones(SHAPE, bool)
    candidates = [Candidate("network", identity()), Candidate("2x", identity(), nonlocal_passes=2)]
    network, nonlocal_bayes = estimate_all(
        candidates, magnitude, NOISE_SD, where, context, find_bias=find_bias
    )
    np.testing.assert_allclose(network, magnitude - find_bias(magnitude), atol=1e-5)
    assert abs(nonlocal_bayes.mean() - signal) < 0.02
    assert nonlocal_bayes.std() < 0.5 * magnitude.std()


def test_bias_depends_on_the_guide_of_each_pass(context):
    guides = []

    def find_bias(guide):
        guides.append(guide)
        return np.float32(0.25)

    image = np.random.default_rng(2).normal(5, 1, SHAPE).astype(np.float32)
    candidate = Candidate("2x", identity(), nonlocal_passes=2)
    estimate_all([candidate], image, NOISE_SD, np.ones(SHAPE, bool), context, find_bias=find_bias)
    assert len(guides) == 3, "one for each pass, one for the local means of the result"
    assert guides[0].mean() == pytest.approx(image.mean(), abs=1e-4)
    assert guides[1].mean() == pytest.approx(image.mean() - 0.25, abs=0.02)


class Flat(MUNet):
    """A network that takes everything for noise but one number."""

    def forward(self, image, noise_sd):
        return 5 - image


def test_local_means_of_the_data_stay(context):
    rng = np.random.default_rng(3)
    image = rng.normal(5, 1, SHAPE).astype(np.float32)
    image[6:14, 6:14, 6:14] += 2  # a lesion as wide as the smoothing
    where = np.ones(SHAPE, bool)
    where[:, :, :3] = False
    flat = Candidate("flat", Flat(n_channels=2).eval())
    candidates = [flat, replace(flat, keep_local_means=False)]
    estimate, as_it_is = estimate_all(
        candidates, image, NOISE_SD, where, context, find_bias=lambda guide: 0.0
    )
    np.testing.assert_array_equal(as_it_is, 5)
    np.testing.assert_array_equal(estimate[~where], 5)
    assert estimate[8:12, 8:12, 8:12].mean() == pytest.approx(image[8:12, 8:12, 8:12].mean(), abs=0.6)
    assert estimate[:5, :5, 5:].std() < 0.2


def test_fusion_follows_the_last_pass_inside_the_head_only(context):
    image = np.random.default_rng(2).normal(5, 1, SHAPE).astype(np.float32)
    where = np.zeros(SHAPE, bool)
    where[4:16, 4:16, 4:16] = True
    fusion, network = FusionUNet((2, 4), (1, 1)).eval(), identity()
    candidates = [
        Candidate("2x", network, nonlocal_passes=2),
        Candidate("fused", network, nonlocal_passes=2, fusion=fusion),
    ]

    def estimate():
        return estimate_all(
            candidates, image, NOISE_SD, where, context, find_bias=lambda guide: np.float32(0)
        )

    patches, untrained = estimate()
    np.testing.assert_array_equal(untrained, patches)
    torch.nn.init.constant_(fusion.tail.weight, 0.1)
    patches, fused = estimate()
    np.testing.assert_array_equal(fused[~where], patches[~where])
    assert (fused[where] != patches[where]).mean() > 0.9
