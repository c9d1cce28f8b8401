"""Laws of stabilised exposures: one scale and back, void areas, windows, held-out squares."""

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.micrographs import stabilised
from n2a_bids.algorithms.micrographs.counting_noise import CountingNoise
from n2a_bids.algorithms.micrographs.stabilised import (
    StableScale,
    find_void,
    hold_out_squares,
    prepare_fields,
)


@pytest.mark.parametrize("n_exposures", [1, 4])
@pytest.mark.parametrize(
    "noise", [CountingNoise(0.0, 9.0), CountingNoise(2.0, 4.0), CountingNoise(-2.0, 519)]
)
def test_a_scale_comes_back(noise, n_exposures):
    """Even noise exactly; counts by the half of a count that expectations lie above."""
    intensities = np.linspace(40, 200, 50, dtype=np.float32)
    scale = StableScale(noise, offset=3.0, spread=1.7)
    back = scale.invert(scale.apply(intensities, n_exposures), n_exposures)
    expected = intensities + (0.25 * noise.gain / n_exposures)
    np.testing.assert_allclose(back, expected, atol=0.03 * abs(noise.gain) + 1e-3)


def test_prepared_fields_have_the_noise_that_they_tell():
    """Counts of a camera with a gain: mean 0, variance 1 of what is no noise, and noise of the told SD."""
    rng = np.random.default_rng(1)
    expected = 20 + 10 * np.sin(np.arange(128) / 7)[:, None, None] * np.ones((128, 1))
    data = (3 * rng.poisson(expected, (2, 128, 128, 1)) + 50).astype(np.float32)
    fields = prepare_fields(data, np.ones((128, 128, 1), bool), torch.Generator().manual_seed(0))
    first, second = fields.images[:, 0]
    assert np.std(first - second) / np.sqrt(2) == pytest.approx(fields.noise_sd, rel=0.02)
    assert first.mean() == pytest.approx(0, abs=0.02)
    assert np.mean(first * second) == pytest.approx(1, abs=0.03)
    assert fields.average_noise_sd == pytest.approx(fields.noise_sd / np.sqrt(2), rel=0.01)


def test_areas_that_all_exposures_share_are_void():
    """Squares of nine pixels and more; noise that is alike by chance, and smaller squares, are none."""
    data = np.random.default_rng(2).poisson(2, (2, 64, 64, 1)).astype(np.float32)
    data[:, 10:30, 40:60] = 7
    data[:, 40:46, 5:11] = 7
    expected = np.zeros((64, 64, 1), bool)
    expected[10:30, 40:60] = True
    void = find_void(data)
    assert void[expected].all()
    assert not void[35:].any() and void.mean() < 1.05 * expected.mean()


def test_large_images_are_learned_from_in_windows(monkeypatch):
    """Windows where pixels count; squares held out lie in them."""
    monkeypatch.setattr(stabilised, "_MOST_PIXELS", 30_000)
    monkeypatch.setattr(stabilised, "_WINDOW_EDGE", 64)
    data = np.random.default_rng(0).poisson(20, (2, 256, 256, 1)).astype(np.float32)
    mask = np.ones((256, 256, 1), bool)
    mask[:128] = False
    fields = prepare_fields(data, mask, torch.Generator().manual_seed(0))
    assert fields.images.shape == (2, 7, 64, 64)
    assert fields.counted.all()
    held_out = hold_out_squares(fields, torch.Generator().manual_seed(0))
    assert 0.08 < held_out.mask.mean() < 0.2
    assert hold_out_squares(fields, torch.Generator().manual_seed(0), trains=False).mask.mean() > 0.7


@pytest.mark.parametrize("box", [(slice(3, 8), slice(20, 24)), (slice(257, 259), slice(257, 259))])
@pytest.mark.parametrize("most_pixels", [30_000, 1_000_000])
def test_few_pixels_that_count_are_found(box, most_pixels, monkeypatch):
    """Of a large image that is masked all but a corner, whether a window of the grid holds it or none."""
    monkeypatch.setattr(stabilised, "_MOST_PIXELS", most_pixels)
    monkeypatch.setattr(stabilised, "_WINDOW_EDGE", 64)
    data = np.random.default_rng(0).poisson(20, (2, 260, 260, 1)).astype(np.float32)
    mask = np.zeros((260, 260, 1), bool)
    mask[box] = True
    fields = prepare_fields(data, mask, torch.Generator().manual_seed(0))
    held_out = hold_out_squares(fields, torch.Generator().manual_seed(0))
    assert np.isfinite(fields.images).all()
    assert all(fields.counted[core].any() for core in held_out.cores)


def test_a_thin_ring_of_pixels_that_count_is_held_out_from():
    """The mean place of a ring is its middle, where no pixel counts."""
    x, y = np.ogrid[:200, :200]
    ring = np.abs(np.hypot(x - 100, y - 100) - 80) < 1
    data = np.random.default_rng(0).poisson(20, (2, 200, 200, 1)).astype(np.float32)
    fields = prepare_fields(data, ring[..., None], torch.Generator().manual_seed(0))
    held_out = hold_out_squares(fields, torch.Generator().manual_seed(0))
    assert all(fields.counted[core].any() for core in held_out.cores)
