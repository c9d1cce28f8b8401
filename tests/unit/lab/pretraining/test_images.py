"""Laws of the images that 2D networks are pretrained on."""

import numpy as np
import pytest

from n2a_bids.lab.pretraining.images import ImagePretraining, draw_image_batch, make_bank, mean_stabilised


def test_batches_hold_the_noise_that_their_maps_tell():
    """Of both kinds of noise, over all levels."""
    bank = make_bank(8, [], seed=1)
    for share in (0.0, 1.0):
        config = ImagePretraining(batch_size=64, counting_share=share, coloured_share=0)
        batch = draw_image_batch(bank, config, np.random.default_rng(2))
        noisy, noise_sd = batch.inputs
        ratio = ((noisy - batch.target) / noise_sd).square().mean(dim=(1, 2, 3)).sqrt()
        assert float(ratio.median()) == pytest.approx(1, abs=0.05)


def test_the_target_of_counts_is_their_expectation():
    """At few and many counts."""
    rng = np.random.default_rng(3)
    for expected in (0.3, 2.0, 54.0, 56.0, 400.0):
        drawn = 2 * np.sqrt(rng.poisson(expected, 400_000) + 0.375)
        assert mean_stabilised(np.array([expected]))[0] == pytest.approx(drawn.mean(), abs=0.01)
