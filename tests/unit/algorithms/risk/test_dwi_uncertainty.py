"""Laws of the error that is expected in diffusion series."""

import numpy as np
import pytest
import torch
from diffusion_series import random_table, turning_fibres

from n2a_bids.algorithms.averaging import equal_weights
from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.algorithms.filters.learned import Pair
from n2a_bids.algorithms.noise.noncentral_chi import SeriesFloor
from n2a_bids.algorithms.noise.rician import rician_bias
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.dwi_groups import LOCAL_PCA, VolumeGroup
from n2a_bids.algorithms.risk.dwi_recorruption import Average
from n2a_bids.algorithms.risk.dwi_uncertainty import (
    Doubt,
    expected_shell_errors,
    expected_squared_errors,
    squared_errors_of_mean,
)
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.algorithms.strategies.dwi.auto import DWIAutoConfig
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.dataset.read.gradient_tables import read_series
from n2a_bids.dataset.units import ImageFile
from n2a_bids.io.images import load
from n2a_bids.lab.benchmark.anat.calibration import measure_calibration
from n2a_bids.lab.benchmark.dwi.phantoms import make_truths, simulate
from n2a_bids.lab.simulation.dwi import add_rician_noise

SHAPE, NOISE_SD, STRENGTH = (30, 20, 20), 3.0, 0.5
MASK = np.ones(SHAPE, bool)
SHELLS = np.array([0.0] * 2 + [1000.0] * 8)


def average_of(
    signal: np.ndarray, n_repetitions: int, real_valued: bool = True
) -> tuple[Average, list[Pair]]:
    """A mean with known noise, and pairs of one noise with both signs."""
    rng = np.random.default_rng(0)
    noise_sd = np.float32(NOISE_SD * np.sqrt(n_repetitions))
    mean = signal + rng.normal(0, NOISE_SD, signal.shape).astype(np.float32)
    noise = rng.normal(0, NOISE_SD, signal.shape).astype(np.float32)
    pairs = [
        Pair(mean + np.float32(s * STRENGTH) * noise, mean, mean - np.float32(s / STRENGTH) * noise)
        for s in (1, -1)
    ]
    averaged = Average(
        repetitions=np.broadcast_to(mean, (n_repetitions, *mean.shape)),
        mean=mean,
        mask=MASK,
        noise_sd=np.full(SHAPE, noise_sd, np.float32),
        contrasts=noise[None],
        weights=equal_weights(n_repetitions),
        real_valued=real_valued,
    )
    return averaged, pairs


def test_the_pairs_tell_how_large_the_error_is():
    """Half of the noise is kept in one half of the brain, a fifth in the other; the clue has a wrong unit."""
    signal = np.full((*SHAPE, SHELLS.size), 100.0, np.float32)
    averaged, pairs = average_of(signal, 2)
    kept = np.where(np.arange(SHAPE[0]) < 15, 0.5, 0.2).astype(np.float32)[:, None, None, None]

    def shrink(noisy):
        return signal + kept * (noisy - signal)

    doubt = Doubt(np.broadcast_to(6.0 * kept**2, signal.shape).astype(np.float32), np.zeros_like(signal))
    estimates = [shrink(pair.noisy) for pair in pairs]
    factors = np.ones(SHELLS.size, np.float32)
    found = expected_squared_errors(doubt, pairs, estimates, averaged, SHELLS, factors, STRENGTH)
    assert list(found) == [0.0, 1000.0]
    true = (kept[..., 0] * NOISE_SD) ** 2 * np.ones(SHAPE)
    # A linear filter errs in proportion to the noise variance, which is what b0s are taken to do.
    assert found[0.0].mean() == pytest.approx(true.mean(), rel=0.15)
    assert found[1000.0].mean() == pytest.approx(1.25**0.35 * true.mean(), rel=0.1)
    np.testing.assert_allclose(found[1000.0][:15].mean() / found[1000.0][15:].mean(), 6.25, rtol=0.01)


def test_pairs_of_few_voxels_are_not_believed():
    """Eight voxels may show a negative error: then what is usual counts."""
    signal = np.full((2, 2, 2, 2), 100.0, np.float32)
    averaged, pairs = average_of(np.full((*SHAPE, 2), 100.0, np.float32), 2)
    few = Average(
        averaged.repetitions[:, :2, :2, :2],
        averaged.mean[:2, :2, :2],
        MASK[:2, :2, :2],
        averaged.noise_sd[:2, :2, :2],
        averaged.contrasts[:, :2, :2, :2],
        averaged.weights,
        real_valued=True,
    )
    cut = [Pair(*(part[:2, :2, :2] for part in (p.noisy, p.initial_estimate, p.target))) for p in pairs]
    doubt = Doubt(np.full_like(signal, 0.5), np.zeros_like(signal))
    for wrong in (-100, 100):
        estimates = [signal + wrong * (pair.noisy - signal) for pair in cut]
        found = expected_squared_errors(doubt, cut, estimates, few, np.zeros(2), np.ones(2), STRENGTH)[0.0]
        assert np.isfinite(found).all() and (found > 0).all()


def test_a_mean_that_was_kept_has_its_noise_and_its_floor():
    """Of magnitudes; of real-valued images the noise alone, larger in volumes that are noisier."""
    signal = np.full((*SHAPE, 2), 2 * NOISE_SD, np.float32)
    averaged, _ = average_of(signal, 2)
    complex_sd = averaged.noise_sd
    raised = signal + rician_bias(signal, complex_sd[..., None])
    kept = (averaged, raised, complex_sd, np.array([0.0, 700.0]), np.array([1.0, 2.0], np.float32))
    plain = squared_errors_of_mean(*kept, has_floor=False)
    np.testing.assert_allclose(
        [plain[0.0].mean(), plain[700.0].mean()], [NOISE_SD**2, 4 * NOISE_SD**2], rtol=1e-4
    )
    with_floor = squared_errors_of_mean(*kept, has_floor=True)[0.0]
    bias = float((raised - signal).mean())
    np.testing.assert_allclose(with_floor.mean(), NOISE_SD**2 + bias**2, rtol=0.01)


def test_errors_grow_where_a_floor_is_taken_out():
    """Where the signal is high they stay; at the floor they grow, within a bound; groups are averaged."""
    image = np.stack([np.full(SHAPE, 100.0), np.full(SHAPE, 1.3 * NOISE_SD)], axis=-1).astype(np.float32)
    shells, sd = np.array([0.0, 700.0]), np.full(SHAPE, NOISE_SD, np.float32)
    squared = {0.0: np.full(SHAPE, 0.25, np.float32), 700.0: np.full(SHAPE, 0.25, np.float32)}
    group = VolumeGroup(np.arange(2), sd, np.ones(2, np.float32), (), LOCAL_PCA, 1.0, squared)
    stays = expected_shell_errors(image, [group], shells, MASK, None)
    assert stays.shells == (0.0, 700.0)
    np.testing.assert_allclose(stays.error_sd, 0.5)
    found = expected_shell_errors(image, [group], shells, MASK, SeriesFloor(1.0)).error_sd
    np.testing.assert_allclose(found[..., 0], 0.5, rtol=0.01)
    np.testing.assert_allclose(found[..., 1], 0.5 * np.sqrt(1.6), rtol=0.01)
    # Far below the floor nothing is left of the signal, and its error stays.
    lost = expected_shell_errors(0.4 * image, [group], shells, MASK, SeriesFloor(1.0)).error_sd
    np.testing.assert_allclose(lost[..., 1], 0.5, rtol=1e-5)
    unknown = VolumeGroup(np.arange(2), sd, np.ones(2, np.float32), (), LOCAL_PCA, 1.0)
    assert expected_shell_errors(image, [unknown], shells, MASK, None) is None


@pytest.mark.proof
@pytest.mark.parametrize("n_repetitions", [1, 2])
@pytest.mark.parametrize("snr", [15.0, 25.0])
def test_expected_error_is_true(real_data, n_repetitions, snr):
    """On a phantom made from a real series: tenths of the voxels to 25 %, and 90 % in the interval."""
    stem = real_data / "dwi" / "sub-ds114" / "dwi" / "sub-ds114_dwi"
    path, *table = (stem.with_name(stem.name + ending) for ending in (".nii.gz", ".bval", ".bvec"))
    gradients = read_series(ImageFile(path, bval=table[0], bvec=table[1])).gradients
    data, affine = load(path)
    mean = data.mean(axis=-1)
    mask = mean > 0.5 * np.percentile(mean, 95)
    box = (slice(12, 52), slice(12, 52), slice(6, 30))
    (truth,) = make_truths(data, gradients, mask, voxel_sizes_mm(affine), ["multi-tensor"], box)
    simulated = simulate(truth, "repeat" if n_repetitions > 1 else "single", snr, 0, 0.0)
    context = Context(torch.Generator().manual_seed(0), memory_gb=1.0)
    found = get_strategy("auto", "dwi").denoise(simulated.repetitions, DWIAutoConfig(), context)
    shells = find_shells(gradients)
    for index, shell in enumerate(found.record.uncertainty_shells):
        error = (found.data - truth.signal)[..., shells == shell][truth.mask]
        error_sd = found.uncertainty[..., index][truth.mask]
        of_shell = measure_calibration(np.sqrt(np.mean(error**2, axis=-1)), error_sd)
        assert (np.abs(of_shell.deciles - 1) < 0.25).all(), (shell, of_shell.deciles)
        inside = np.abs(error) < 1.645 * error_sd[:, None]
        assert 0.85 < inside.mean() < 0.95


def test_one_map_of_each_shell_zero_outside_of_the_brain():
    """Of a small phantom: about as large as the error, larger where that is, and with the image's unit."""
    shape, table = (20, 20, 10), random_table(2, 14, seed=1)
    truth, mask = turning_fibres(shape, table)
    truth = truth.astype(np.float32)
    noisy = add_rician_noise(truth, 5.0, torch.Generator().manual_seed(0))
    strategy = get_strategy("auto", "dwi")
    context = Context(torch.Generator().manual_seed(0))
    found = strategy.denoise(
        Repetitions(noisy[None], mask, gradients=table), strategy.config("fast"), context
    )
    assert found.record.uncertainty_shells == (0.0, 1000.0)
    assert found.uncertainty.shape == (*shape, 2)
    assert not found.uncertainty[~mask].any()
    squared = ((found.data - truth) ** 2)[..., 2:].mean(axis=-1)[mask]
    expected = found.uncertainty[..., 1][mask] ** 2
    assert expected.mean() == pytest.approx(squared.mean(), rel=0.6)
    large = expected > np.median(expected)
    assert squared[large].mean() > 1.1 * squared[~large].mean()
