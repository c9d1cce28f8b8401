"""Laws of the simulated repetitions."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.lab.simulation.lesions import ball_mask
from n2a_bids.lab.simulation.runs import (
    SimulationConfig,
    add_noise,
    coil_shading,
    noise_variation_map,
    resample,
    rigid_matrix,
    simulate_runs,
)


@pytest.fixture
def truth():
    """Return a smooth positive image of SD about 1 on a mean of 20."""
    rng = np.random.default_rng(5)
    image = ndimage.gaussian_filter(rng.standard_normal((32, 32, 32)), 3)
    return (20 + image / image.std()).astype(np.float32)


MASK = ball_mask((32, 32, 32))


def simulate(truth, seed=0, **settings):
    return simulate_runs(truth, MASK, SimulationConfig(**settings), np.random.default_rng(seed))


def test_same_seed_gives_the_same_runs(truth):
    settings = {"max_rotation_deg": 3, "max_gain_change": 0.1, "noise_variation": 1.0}
    first, second = (simulate(truth, seed=4, **settings) for _ in range(2))
    np.testing.assert_array_equal(first.repetitions, second.repetitions)
    assert not np.array_equal(first.repetitions, simulate(truth, seed=5, **settings).repetitions)


@pytest.mark.parametrize("model", ["rician", "gaussian"])
@pytest.mark.parametrize("n_repetitions", [2, 5])
def test_noise_has_the_level_asked_for_and_is_independent(truth, model, n_repetitions):
    runs = simulate(truth, noise_level=0.4, noise_model=model, n_repetitions=n_repetitions)
    residuals = (runs.repetitions - truth)[:, MASK]
    expected = 0.4 * truth[MASK].std()
    np.testing.assert_allclose(residuals.std(axis=1), expected, rtol=0.03)
    np.testing.assert_allclose(runs.noise_sd, expected, rtol=1e-5)
    assert abs(np.corrcoef(residuals)[0, 1]) < 0.05


def test_rician_noise_of_nothing_has_the_rayleigh_mean():
    noisy = add_noise(np.zeros((24, 24, 24)), 2.0, "rician", np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(2 * np.sqrt(np.pi / 2), rel=0.02)


def test_without_noise_movement_and_gain_every_run_is_the_truth(truth):
    runs = simulate(truth, noise_level=0.0, n_repetitions=3)
    for run in runs.repetitions:
        np.testing.assert_allclose(run, truth, rtol=1e-6)


def test_known_transform_brings_moved_runs_back(truth):
    runs = simulate(truth, noise_level=0.0, max_rotation_deg=5, max_translation_mm=3)
    np.testing.assert_array_equal(runs.transforms[0], np.eye(4))
    assert not np.allclose(runs.transforms[1], np.eye(4))
    back = resample(runs.repetitions[1], np.linalg.inv(runs.transforms[1]))
    core = ball_mask(truth.shape, 0.55)
    assert np.abs(back - truth)[core].max() < 0.05
    assert np.abs(runs.repetitions[1] - truth)[core].max() > 0.3


def test_resampling_works_in_mm(truth):
    """A shift of one voxel is a shift of the voxel size in mm."""
    shift = rigid_matrix((0, 0, 0), (2.0, 0, 0), (0, 0, 0))
    moved = resample(truth, shift, (2.0, 1.0, 1.0))
    np.testing.assert_allclose(moved[4:-5], truth[5:-4], atol=1e-3)


def test_rigid_matrix_keeps_distances_and_its_centre():
    matrix = rigid_matrix((10, -20, 30), (0, 0, 0), (5, 6, 7))
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(matrix @ [5, 6, 7, 1], [5, 6, 7, 1], atol=1e-12)


def test_gain_multiplies_the_whole_run(truth):
    runs = simulate(truth, noise_level=0.0, max_gain_change=0.3, n_repetitions=4)
    assert runs.gains[0] == 1
    assert np.all((runs.gains >= 1 / 1.3) & (runs.gains <= 1.3))
    for gain, run in zip(runs.gains, runs.repetitions, strict=True):
        np.testing.assert_allclose(run, gain * truth, rtol=1e-5)


def test_shading_is_left_in_the_first_run_alone(truth):
    """The others are normalised, their noise with them; the truth is that of the first."""
    clean = simulate(truth, noise_level=0.0, shading_ratio=7.0)
    coil = coil_shading(MASK, 7.0)
    assert np.log(coil[MASK]).mean() == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(clean.truth, coil * truth, rtol=1e-5)
    np.testing.assert_allclose(clean.repetitions[0], clean.truth, rtol=1e-5)
    np.testing.assert_allclose(clean.repetitions[1], truth, rtol=1e-4)
    noisy = simulate(truth, noise_level=0.4, noise_model="gaussian", shading_ratio=7.0)
    residuals = [noisy.repetitions[0] - noisy.truth, (noisy.repetitions[1] - truth) * coil]
    np.testing.assert_allclose([one[MASK].std() for one in residuals], 0.4 * truth[MASK].std(), rtol=0.03)


def test_noise_variation_keeps_the_mean_square_in_the_mask():
    factor = noise_variation_map(MASK, 1.5, np.random.default_rng(1))
    assert np.mean(factor[MASK] ** 2) == pytest.approx(1, rel=1e-4)
    assert factor.max() / factor.min() == pytest.approx(2.5, rel=1e-3)


def test_absolute_noise_unit_serves_uniform_objects():
    flat = np.full(MASK.shape, 100, dtype=np.float32)
    runs = simulate(flat, noise_level=4.0, noise_unit=1.0)
    assert (runs.repetitions[0] - flat)[MASK].std() == pytest.approx(4, rel=0.03)


def test_added_signal_enters_its_own_run_only(truth):
    added = np.zeros((2, *truth.shape), dtype=np.float32)
    added[1, 10, 10, 10] = 50
    config = SimulationConfig(noise_level=0.0)
    runs = simulate_runs(truth, MASK, config, np.random.default_rng(0), added_signal=added)
    np.testing.assert_allclose(runs.repetitions[0], truth)
    assert runs.repetitions[1, 10, 10, 10] == pytest.approx(truth[10, 10, 10] + 50)


def test_impossible_simulations_are_refused(truth):
    with pytest.raises(ValueError, match="at least one"):
        SimulationConfig(n_repetitions=0)
    with pytest.raises(ValueError, match="noise level"):
        SimulationConfig(noise_level=-1)
    with pytest.raises(ValueError, match="grid"):
        simulate_runs(truth[:-1], MASK, SimulationConfig(), np.random.default_rng(0))
