"""Classical baselines on a tiny phantom."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.quality.metrics import psnr
from n2a_bids.errors import ConfigError
from n2a_bids.lab.benchmark import baselines as baselines
from n2a_bids.lab.simulation.conditions import find_condition
from n2a_bids.lab.simulation.lesions import ball_mask
from n2a_bids.lab.simulation.runs import SimulationConfig, simulate_runs
from n2a_bids.lab.simulation.scans import scan_repetitions


@pytest.fixture(scope="module")
def runs():
    """Return two noisy runs of a smooth blob."""
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.standard_normal((20, 20, 20)), 2)
    truth = (100 + 20 * image / image.std()).astype(np.float32)
    return simulate_runs(truth, ball_mask(truth.shape), SimulationConfig(noise_level=0.5), rng)


@pytest.mark.parametrize("name", ["nlmeans", "nlmeans-each", "ants", "ants-each"])
def test_baseline_comes_nearer_the_truth_than_the_mean(runs, name):
    if name not in baselines.available_baselines():
        pytest.skip(f"the package that {name} needs is not installed")
    noise_sd = float(runs.noise_sd[0, 0, 0])
    denoised = baselines.denoise_with_baseline(name, runs.repetitions, runs.mask, noise_sd)
    assert denoised.shape == runs.truth.shape
    mean = runs.repetitions.mean(axis=0)
    assert psnr(denoised, runs.truth, runs.mask) > psnr(mean, runs.truth, runs.mask)


def test_plain_name_denoises_the_mean_and_each_the_repetitions(runs, monkeypatch):
    calls = []

    def stand_in(volume):
        calls.append((float(volume.data.mean()), volume.noise_sd))
        return volume.data

    monkeypatch.setitem(baselines.BASELINES, "stand-in", (stand_in, "numpy"))
    plain = baselines.denoise_with_baseline("stand-in", runs.repetitions, runs.mask, 2.0)
    each = baselines.denoise_with_baseline("stand-in-each", runs.repetitions, runs.mask, 2.0)
    np.testing.assert_allclose(plain, each, rtol=1e-5)
    assert [sd for _, sd in calls] == pytest.approx([2 / np.sqrt(2), 2, 2])


def test_unknown_and_missing_baselines_are_named(runs, monkeypatch):
    with pytest.raises(ConfigError, match="nonsense"):
        baselines.denoise_with_baseline("nonsense", runs.repetitions, runs.mask, 1.0)
    monkeypatch.setitem(baselines.BASELINES, "absent", (lambda volume: volume.data, "no_such_package"))
    with pytest.raises(ConfigError, match="no_such_package"):
        baselines.denoise_with_baseline("absent", runs.repetitions, runs.mask, 1.0)
    assert "absent" not in baselines.available_baselines()


def textured_ball():
    mask = ball_mask((24, 24, 24))
    texture = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(mask.shape), 2)
    truth = (100 + 20 * texture / texture.std()).astype(np.float32)
    return truth, mask


@pytest.mark.proof
def test_bm4d_told_the_spectrum_beats_bm4d_told_white_noise_where_noise_is_coloured():
    """And where noise is white and even it is the same method."""
    pytest.importorskip("bm4d", reason="bm4d is installed by the user: its licence is non-commercial")
    truth, mask = textured_ball()
    scans = scan_repetitions(truth, mask, find_condition("zero-filled"), 2, 10.0, np.random.default_rng(0))
    told = {"noise_spectrum": scans.noise_spectrum}
    white, coloured = (
        baselines.denoise_with_baseline(name, scans.repetitions, mask, 10.0, **told)
        for name in ("bm4d", "bm4d-spectrum")
    )
    assert psnr(coloured, scans.reference, mask) > psnr(white, scans.reference, mask) + 0.3
    untold = baselines.denoise_with_baseline("bm4d-spectrum", scans.repetitions, mask, 10.0)
    np.testing.assert_allclose(untold, white, atol=0.5)


@pytest.mark.proof
def test_bm4d_of_echoes_together_gives_the_first_as_that_of_the_first_alone():
    """It looks for similar blocks in the first echo only, as the page says."""
    pytest.importorskip("bm4d", reason="bm4d is installed by the user: its licence is non-commercial")
    truth, mask = textured_ball()
    clean = np.stack([truth, 0.9 * truth])
    echoes = clean + 10 * np.random.default_rng(2).standard_normal(clean.shape).astype(np.float32)
    alone = baselines.denoise_with_baseline("bm4d", echoes[:1], mask, 10.0)
    together = baselines.bm4d_echoes(echoes, 10.0)
    assert psnr(together, truth, mask) > psnr(echoes[0], truth, mask) + 3
    np.testing.assert_allclose(together, alone, atol=0.01)
