"""Noise, error and gain in regions: against a truth, whatever lies around a region."""

from __future__ import annotations

import numpy as np
import pytest

from n2a_bids.algorithms.quality.regions import (
    RegionMaps,
    Regions,
    measure_regions,
    noise_of_repetitions,
    variance_of_mean,
)

SHAPE = (40, 32, 24)
NAMES = {12: "quiet", 3: "loud", 7: "speck", 5: "lost"}
SDS = {12: 10.0, 3: 40.0, 7: 10.0}


@pytest.fixture
def regions() -> Regions:
    """Two halves, of which one is four times as noisy, a speck, and a region without a voxel."""
    labels = np.full(SHAPE, 12)
    labels[20:] = 3
    labels[5:8, 5:8, 5:8] = 7
    labels[:, :, :2] = 99
    measured = np.ones(SHAPE, dtype=bool)
    measured[:, :2] = False
    return Regions(labels, measured, NAMES)


def true_sd(regions: Regions) -> np.ndarray:
    return np.select([regions.labels == number for number in SDS], list(SDS.values()), 10.0)


@pytest.mark.parametrize("n", [2, 4])
def test_noise_of_a_region_is_its_own(regions, n):
    """Not that of the noisier one beside it; gains of the repetitions do not matter, nor does anatomy."""
    generator = np.random.default_rng(0)
    anatomy = 500 + 100 * np.sin(np.arange(SHAPE[0]) / 2)[:, None, None]
    images = anatomy + true_sd(regions) * generator.standard_normal((n, *SHAPE))
    images[1] = 1.5 * images[1] + 30
    brain = np.ones(SHAPE, dtype=bool)
    found = noise_of_repetitions(regions, images.astype(np.float32), brain, regions.measured)
    assert np.sqrt(found[:2]) == pytest.approx([10, 40], rel=0.03)
    assert np.sqrt(found[2]) == pytest.approx(10, rel=0.35)  # 27 voxels
    assert np.isnan(found[3])


def test_rows_hold_what_the_maps_tell(regions):
    """Root mean squares, gain and SNR, in the order of the names; few voxels are marked."""
    sd = true_sd(regions)
    maps = RegionMaps(8 * sd, sd**2, sd**2 / 2, sd**2 / 8)
    rows = {row.name: row for row in measure_regions(regions, maps)}
    assert list(rows) == list(NAMES.values())
    loud = rows["loud"]
    assert (loud.noise_sd, loud.snr, loud.snr_mean, loud.n_voxels) == (
        40.0,
        8.0,
        pytest.approx(8 * np.sqrt(2), rel=1e-5),
        20 * 30 * 22,
    )
    assert loud.gain_db == pytest.approx(10 * np.log10(4), abs=1e-3)
    assert loud.fraction_in_brain == pytest.approx(30 / 32, abs=1e-4)
    assert [row.few_voxels for row in rows.values()] == [False, False, True, True]
    assert (rows["lost"].n_voxels, rows["lost"].signal, rows["lost"].gain_db) == (0, None, None)


def test_noise_of_repetitions_goes_into_mean_and_gain(regions):
    """What is measured in the region itself replaces the map, which takes in what lies around it."""
    sd = true_sd(regions)
    maps = RegionMaps(8 * sd, sd**2, sd**2 / 2, sd**2 / 8)
    known = np.array([4.0, 3600.0, 4.0, np.nan])
    rows = {row.name: row for row in measure_regions(regions, maps, noise_variance=known)}
    assert rows["loud"].noise_sd == 60.0
    assert rows["loud"].noise_sd_mean == pytest.approx(60 / np.sqrt(2), rel=1e-5)
    assert rows["loud"].gain_db == pytest.approx(10 * np.log10(9), abs=1e-3)


def test_regions_that_not_all_repetitions_measured_have_the_noise_of_the_map(regions):
    """Beyond the field of view of one of them, nothing differs: maps know the noise there."""
    sd = true_sd(regions)
    images = (500 + sd * np.random.default_rng(0).standard_normal((2, *SHAPE))).astype(np.float32)
    brain, nowhere = np.ones(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    known = noise_of_repetitions(regions, images, brain, regions.measured & (regions.labels != 3))
    assert np.isnan(noise_of_repetitions(regions, images, brain, nowhere)).all()
    rows = {
        row.name: row
        for row in measure_regions(
            regions, RegionMaps(8 * sd, sd**2, sd**2 / 2, sd**2 / 8), noise_variance=known
        )
    }
    assert rows["loud"].noise_sd == 40.0 and rows["loud"].gain_db == pytest.approx(6.02, abs=0.01)
    assert rows["quiet"].noise_sd == pytest.approx(10, rel=0.03) and rows["quiet"].noise_sd != 10


def test_a_mean_that_was_kept_has_one_gain(regions):
    """That of weighting, also where its noise floor makes its error larger than its noise."""
    sd = true_sd(regions)
    maps = RegionMaps(8 * sd, sd**2, sd**2 / 2, sd**2)
    rows = list(measure_regions(regions, maps, gain_of_mean_db=0.0))
    assert [row.gain_db for row in rows] == [0.0, 0.0, 0.0, None]


def test_unknown_error_leaves_its_columns_out(regions):
    """Strategies that tell no error have noise all the same."""
    sd = true_sd(regions)
    row = next(measure_regions(regions, RegionMaps(8 * sd, sd**2, sd**2, None, shell=1000.0)))
    assert (row.expected_error, row.gain_db, row.snr_denoised, row.shell) == (None, None, None, 1000.0)
    assert row.noise_sd == 10.0


def test_noise_of_the_mean_follows_what_was_measured_and_the_record():
    """Where one of two was measured, the mean has its noise; interpolation took some of all."""
    noise = np.full((4, 4, 4, 3), 100.0, np.float32)
    counts = np.full((4, 4, 4), 2)
    counts[0] = 1
    mask = np.ones((4, 4, 4), dtype=bool)
    plain = variance_of_mean(noise, counts, mask, None)
    assert (plain[0] == 100).all() and (plain[1:] == 50).all()
    told = variance_of_mean(noise, counts, mask, 6.0)
    np.testing.assert_allclose(told[0], 72)
    np.testing.assert_allclose(told[1:], 36)
