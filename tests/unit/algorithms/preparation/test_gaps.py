"""Laws of voxels that hold no measurement: found, continued, and filled by other repetitions."""

from dataclasses import replace

import numpy as np
import pytest
from rigid_motions import about_centre
from scipy import ndimage

from n2a_bids.algorithms.distortion.field import resample as resample_epi
from n2a_bids.algorithms.preparation.gap_filling import fill_aligned, fill_from_others, fill_series
from n2a_bids.algorithms.preparation.gaps import Gaps, extend_measured, find_gaps, without_gaps, zone_value
from n2a_bids.algorithms.preparation.repetitions import prepare
from n2a_bids.algorithms.quality.alignment_checks import QCThresholds
from n2a_bids.algorithms.registration.alignment import bring_to_grid, judge_alignment
from n2a_bids.algorithms.registration.placed_images import PlacedImage
from n2a_bids.algorithms.registration.resampling import resample
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.strategies.anat.recorrupted import loss_weight

VOXEL_MM = (4.0, 4.0, 4.0)


@pytest.fixture
def runs(noisy_runs):
    """Three repetitions of one head, (3, X, Y, Z)."""
    return np.stack(noisy_runs(3, noise_sd=20)).astype(np.float32)


@pytest.fixture
def face(head):
    """A corner of the grid that holds a part of the head, but none of the brain."""
    zone = np.zeros(head[1].shape, bool)
    zone[:, -12:, :14] = True
    return zone & ~ndimage.binary_dilation(head[1], iterations=2)


@pytest.mark.parametrize("value", [0, -1024, 37, 4095, np.nan])
def test_a_zone_of_one_value_is_found_to_the_voxel(runs, face, value):
    """Zeros, a value beyond all signal, another one at the border of the grid, NaN; none in a whole head."""
    assert not find_gaps(runs[0], VOXEL_MM).any
    defaced = np.where(face, np.float32(value), runs[0])
    gaps = find_gaps(defaced, VOXEL_MM)
    assert np.count_nonzero(gaps.zone != face) <= 2
    assert not gaps.specks.any()
    assert zone_value(defaced, gaps) == (37 if value == 37 else 0)
    plain = without_gaps(defaced, gaps)
    np.testing.assert_array_equal(plain[~face], runs[0][~face])
    assert np.isfinite(plain).all()


def test_tissue_that_was_cut_off_at_the_top_is_measured(runs):
    """A bright region at the largest value is saturated, not missing; so is a plateau within the head."""
    saturated = np.minimum(runs[0], np.percentile(runs[0], 85))
    assert not find_gaps(saturated, VOXEL_MM, (0, float(saturated.max()))).any
    plateau = runs[0].copy()
    plateau[15:22, 15:22, 15:22] = 500
    assert not find_gaps(plateau, VOXEL_MM).any


@pytest.mark.parametrize("value", [32767, -32768, 65531, np.inf, np.nan])
def test_specks_are_found_and_become_like_their_surroundings(runs, value):
    """Forty voxels of impossible intensity, in air and head; nothing else is touched."""
    places = np.random.default_rng(0).choice(runs[0].size, 40, replace=False)
    spoiled = runs[0].copy()
    spoiled.ravel()[places] = value
    gaps = find_gaps(spoiled, VOXEL_MM)
    np.testing.assert_array_equal(np.flatnonzero(gaps.specks), np.sort(places))
    mended = without_gaps(spoiled, gaps)
    np.testing.assert_array_equal(mended[~gaps.specks], runs[0][~gaps.specks])
    assert np.abs(mended - runs[0]).max() < np.ptp(runs[0])
    assert np.abs(mended - runs[0])[gaps.specks].mean() < 0.15 * np.ptp(runs[0])


def test_specks_within_the_range_are_found_at_the_limit_of_the_data_type(runs):
    """Wrapped values of bytes: single voxels of 255 in the air are specks, a bright vessel is none."""
    image = np.clip(runs[0] / runs[0].max() * 150, 0, 255).astype(np.float32)
    image[2, 3, 4] = image[3, 20, 30] = 255
    image[15, 20, 8:22] = 255
    assert np.argwhere(find_gaps(image, VOXEL_MM, (0, 255)).specks).tolist() == [[2, 3, 4], [3, 20, 30]]
    assert not find_gaps(image, VOXEL_MM).any


def test_extension_leaves_measured_voxels_and_no_edge(runs, head):
    """What is measured keeps its bits; at the border the step is that of the noise, not of the signal."""
    stripped = np.where(head[1], runs[0], np.nan)
    extended = extend_measured(stripped, head[1])
    np.testing.assert_array_equal(extended[head[1]], runs[0][head[1]])
    rim = ndimage.binary_dilation(head[1]) & ~head[1]
    local = ndimage.uniform_filter(np.where(head[1], runs[0], 0), 3) / np.maximum(
        ndimage.uniform_filter(head[1].astype(np.float32), 3), 1e-3
    )
    assert np.abs(extended - local)[rim].mean() < 0.05 * runs[0][head[1]].mean()
    assert extended.min() >= runs[0][head[1]].min()


def test_interpolation_does_not_ring_at_the_border_of_a_zone(runs, head):
    """In a rim of two voxels the error falls to less than half, and nothing is left in the air."""
    brain = head[1]
    stripped = np.where(brain, 500 + 30 * np.random.default_rng(3).standard_normal(brain.shape), 0)
    stripped = stripped.astype(np.float32)
    whole = extend_measured(stripped, brain)
    matrix = about_centre(brain.shape, (3, -2, 3), (0.4, 0.5, -0.3))
    truth, _ = resample(whole, matrix, brain.shape)
    ringing, _ = resample(stripped, matrix, brain.shape)
    quiet, inside = resample(stripped, matrix, brain.shape, brain)
    rim = inside & ~ndimage.binary_erosion(inside, iterations=2)
    assert np.abs(quiet - truth)[rim].mean() < 0.5 * np.abs(ringing - truth)[rim].mean()
    moved = ndimage.affine_transform(1.0 * brain, matrix[:3, :3], matrix[:3, 3], order=1) > 0.5
    np.testing.assert_array_equal(inside, moved)


def test_fill_makes_the_mean_that_of_the_repetitions_that_were_measured(runs, head, face):
    """One of three defaced, in another intensity scale: the plain mean there is that of the two others."""
    data = np.stack([runs[0], 2 * runs[1] + 50, runs[2]])
    measured = np.ones(data.shape, bool)
    measured[1] = ~face
    data[1, face] = 0
    filled, n_measured = fill_from_others(data.copy(), measured, head[1])
    np.testing.assert_array_equal(n_measured, np.where(face, 2, 3))
    np.testing.assert_array_equal(filled[:, ~face], data[:, ~face])
    mean = (filled[0] + (filled[1] - 50) / 2 + filled[2])[face] / 3
    expected = (runs[0] + runs[2])[face] / 2
    assert np.abs(mean - expected).mean() < 0.02 * expected.mean()


def test_what_all_have_lost_stays_empty(runs, head, face, affine):
    """All defaced alike: the value of the zone; where one shows more, that one alone."""
    grid = PlacedImage(runs[0], affine, head[1])
    more = face.copy()
    more[:, -14:, :16] |= ~ndimage.binary_dilation(head[1], iterations=2)[:, -14:, :16]
    zones = [face, more]
    data = np.stack([np.where(zone, np.float32(0), run) for zone, run in zip(zones, runs)])
    gaps = [Gaps(zone, np.zeros_like(zone)) for zone in zones]
    found = fill_aligned(data, ~np.stack(zones), gaps, [np.eye(4)] * 2, grid, 0.0, [face.shape] * 2)
    np.testing.assert_array_equal(found.n_measured, 2 - face.astype(int) - more.astype(int))
    assert (found.data[:, face] == 0).all()
    only = more & ~face
    np.testing.assert_array_equal(found.data[0, only], runs[0][only])
    assert found.data[1, only].mean() == pytest.approx(runs[0][only].mean(), rel=0.05)
    assert found.missing_ml[0] == 0


def test_specks_of_all_repetitions_keep_what_surrounds_them(runs, head, affine):
    """Where nobody was measured, but no zone is, a speck counts as one measurement."""
    specks = np.zeros(head[1].shape, bool)
    specks[20, 20, 20] = True
    gaps = [Gaps(np.zeros_like(specks), specks)] * 2
    grid = PlacedImage(runs[0], affine, head[1])
    still, shapes = [np.eye(4)] * 2, [specks.shape] * 2
    found = fill_aligned(runs[:2].copy(), ~np.stack([specks] * 2), gaps, still, grid, None, shapes)
    np.testing.assert_array_equal(found.data, runs[:2])
    assert found.n_measured[20, 20, 20] == 1


def test_quality_of_alignment_is_that_of_what_both_show(runs, head, affine):
    """A stripped run against a whole one: correlations and overlap are as if both were whole."""
    grid = PlacedImage(runs[0], affine, head[1])
    thresholds = QCThresholds(0.5, 0.5, 45, 80, 0.9)
    shift = np.eye(4)
    shift[:3, 3] = (1.5, -2, 1)
    kept = ndimage.binary_dilation(head[1])
    stripped = np.where(kept, runs[1], np.float32(0))
    whole = judge_alignment(runs[1], affine, shift, grid, thresholds)
    found = judge_alignment(stripped, affine, shift, grid, thresholds, kept)
    assert found.overlap > 0.98
    assert found.correlation_after == pytest.approx(whole.correlation_after, abs=0.01)
    aligned, inside = bring_to_grid(stripped, affine, shift, grid, kept)
    ringing, _ = bring_to_grid(stripped, affine, shift, grid)
    expected, _ = bring_to_grid(runs[1], affine, shift, grid)
    assert np.abs(aligned - expected)[inside].mean() < 0.7 * np.abs(ringing - expected)[inside].mean()
    assert aligned[~inside].mean() == pytest.approx(grid.image[~inside].mean(), rel=0.25)


def test_noise_is_measured_where_all_were_measured(runs, head, face):
    """A gap lowers no noise map, and in it the average is as noisy as what stands there."""
    whole = Repetitions(runs[:2, ..., None], head[1])
    data, n_measured = fill_from_others(
        np.stack([np.where(face, np.float32(0), runs[0]), runs[1]]), np.stack([~face, face | True]), head[1]
    )
    filled = Repetitions(data[..., None], head[1], n_measured=n_measured)
    expected, found = prepare(whole), prepare(filled)
    inside = head[1] | (found.head & face)
    ratio = found.repetition_noise_sd[inside] / expected.repetition_noise_sd[inside]
    assert np.abs(ratio - 1).max() < 0.15
    np.testing.assert_allclose(found.average_noise_sd[face], found.repetition_noise_sd[face], rtol=1e-6)
    np.testing.assert_array_equal(loss_weight(found)[face], 0)
    naive = prepare(replace(filled, n_measured=None))
    assert (naive.repetition_noise_sd / expected.repetition_noise_sd)[found.head & face].mean() < 0.95


def test_a_masked_diffusion_series_does_not_ring(head):
    """Moved by half a voxel, a masked volume stays flat to its border, and zero outside."""
    brain = head[1]
    volume = np.where(brain, np.float32(500), np.float32(0))
    move = about_centre(brain.shape, (3, 0, 2), (0.5, 0.4, -0.5))
    still = np.zeros(brain.shape, np.float32)
    moved = resample_epi(volume, move, still, 1, 0)
    assert np.abs(moved[moved > 0] - 500).max() < 1
    assert np.count_nonzero(moved) == pytest.approx(np.count_nonzero(brain), rel=0.02)


def test_series_stand_in_for_each_other_by_a_gain(head):
    """Where one series is zero in every volume, the other stands in its own intensity."""
    rng = np.random.default_rng(0)
    series = (500 + 20 * rng.standard_normal((2, *head[1].shape, 7))).astype(np.float32)
    data = np.stack([series[0], 3 * series[1]])
    gap = np.zeros(head[1].shape, bool)
    gap[:, :14] = True
    data[1, gap] = 0
    filled = fill_series(data.copy(), data.any(axis=-1), head[1])
    np.testing.assert_array_equal(filled[0], data[0])
    np.testing.assert_allclose(filled[1, gap], 3 * data[0, gap], rtol=0.01)
