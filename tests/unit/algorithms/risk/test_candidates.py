"""Laws of the candidates that the default strategy chooses among."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from acquisitions import coloured, kept_kspace
from scipy import ndimage

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.nn.networks import FusionUNet, MUNet
from n2a_bids.algorithms.noise.rician import rician_bias
from n2a_bids.algorithms.preparation.repetitions import prepare
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.candidates import Candidate, NoisyImage, estimate_all
from n2a_bids.algorithms.risk.comparison import _with_own_prediction, compare
from n2a_bids.algorithms.risk.held_out import hold_out

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
        candidates, NoisyImage(magnitude, NOISE_SD, where, find_bias), context
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
    estimate_all([candidate], NoisyImage(image, NOISE_SD, np.ones(SHAPE, bool), find_bias), context)
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
    estimate, as_it_is = estimate_all(candidates, NoisyImage(image, NOISE_SD, where), context)
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
        return estimate_all(candidates, NoisyImage(image, NOISE_SD, where), context)

    patches, untrained = estimate()
    np.testing.assert_array_equal(untrained, patches)
    torch.nn.init.constant_(fusion.tail.weight, 0.1)
    patches, fused = estimate()
    np.testing.assert_array_equal(fused[~where], patches[~where])
    assert (fused[where] != patches[where]).mean() > 0.9


@pytest.mark.parametrize("kind", ["white", "zero-filled by 2", "partial Fourier 6/8"])
def test_the_risk_is_the_error_whatever_neighbours_share(context, kind):
    """Input and target of a recorruption share no noise at any distance: smoothers are not favoured."""
    shape, rng = (64, 64, 64), np.random.default_rng(3)
    kept = kept_kspace(shape, kind)
    clean = 3 * ndimage.gaussian_filter(rng.standard_normal(shape), 2.5) * 2.5**1.5
    noise = np.stack([coloured(kept, rng).real for _ in range(2)])
    repetitions = Repetitions((clean + noise)[..., None].astype(np.float32), np.ones(shape, bool))
    prepared = prepare(repetitions, keep_noise_floor=True)
    smoothers = [
        Candidate(f"{sd} voxels", function=lambda image, noise_sd, sd=sd: ndimage.gaussian_filter(image, sd))
        for sd in (0.6, 1.2)
    ]
    held_out = hold_out(prepared.mask, context.generator, fraction=0.9)
    stack = compare([Candidate("mean"), *smoothers], prepared, held_out, 0.0, context, strength=0.2)
    unit = prepared.scales[0].gain
    average = prepared.average * unit + prepared.scales[0].offset
    for smoother, risk, error in zip(smoothers, stack.risks[1:], stack.standard_errors[1:], strict=True):
        change = ((smoother.function(average, None) - clean) ** 2 - (average - clean) ** 2)[held_out.mask]
        # A recorrupted input has a little more noise than the average: the same more for both.
        assert risk * unit**2 == pytest.approx(change.mean(), abs=0.08 * noise.var() + 3 * error * unit**2)


def test_a_prediction_that_no_other_candidate_needs_is_costly():
    """Another level is a pass over the whole head; what follows a network that runs anyway is not."""
    first, second = MUNet(n_channels=2), MUNet(n_channels=2)
    candidates = [
        Candidate("mean"),
        Candidate("another level", first, noise_factor=0.85),
        Candidate("level", first),
        Candidate("trained", second),
        Candidate("trained, followed", second, nonlocal_passes=1),
    ]

    assert _with_own_prediction(candidates) == [1, 2]
