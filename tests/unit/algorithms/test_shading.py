"""Laws of the shading of one image against another: found where it differs, and nothing else is."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from n2a_bids.algorithms.quality.alignment_checks import QCThresholds
from n2a_bids.algorithms.registration.alignment import bring_to_grid, judge_alignment
from n2a_bids.algorithms.registration.placed_images import PlacedImage
from n2a_bids.algorithms.shading import FINE, relative_shading

_GATES = QCThresholds(0.85, 0.5, 45, 80, 0.9)


@pytest.fixture(scope="module")
def coil(head):
    """(X, Y, Z) brightness that surface coils receive: 0.4 in the middle, 1.2 at the rim of the brain."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in head[0].shape), indexing="ij")
    return np.exp(1.9 * (x**2 + y**2 + 0.6 * z**2) + 0.3 * y - 0.9)


@pytest.fixture(scope="module")
def shaded_pair(head, coil):
    """A reference as coils see it, and another acquisition without their shading; 20 and 15 of noise."""
    noise = np.random.default_rng(4).normal(0, 1, (4, *head[0].shape))
    reference = np.hypot(coil * head[0] + 20 * noise[0], 20 * noise[1])
    other = np.hypot(head[0] + 15 * noise[2], 15 * noise[3])
    return reference.astype(np.float32), other.astype(np.float32)


def _placed(image, affine, mask):
    return PlacedImage(image, affine, mask)


def test_shading_is_found_to_some_percent(shaded_pair, head, coil):
    """Whatever the intensity scales, in the brain and as a range that can be told."""
    mask = head[1]
    found = relative_shading(shaded_pair[0], 7 * shaded_pair[1], mask, (4, 4, 4), FINE)
    error = np.log(found.factor / coil)[mask]
    assert (error - error.mean()).std() < 0.02
    truth = 1 / coil[mask] * np.exp(np.log(coil[mask]).mean())
    assert [found.darkest, found.brightest] == pytest.approx(np.percentile(truth, (1, 99)), rel=0.1)
    assert (found.brightness > 0).all()


def test_runs_of_one_protocol_are_shaded_alike(noisy_runs, head):
    """However noisy: noise is no shading."""
    for noise_sd in (20, 200):
        first, second = (run.astype(np.float32) for run in noisy_runs(2, noise_sd=noise_sd))
        assert relative_shading(first, second, head[1], (4, 4, 4)) is None


def test_images_without_signal_tell_no_shading(head):
    """Nor do values around zero, as of standardised images."""
    image = head[0].astype(np.float32)
    for other in (np.zeros_like(image), image - 2 * image[head[1]].mean()):
        assert relative_shading(image, other, head[1], (4, 4, 4)) is None
    assert relative_shading(image, image, np.zeros_like(head[1]), (4, 4, 4)) is None


def _ball(mask, radius_voxels):
    """Beside the middle of the brain."""
    centre = np.argwhere(mask).mean(axis=0) + np.array([6, 0, 0])
    return radius_voxels**2 > ((np.indices(mask.shape).T - centre) ** 2).sum(axis=-1).T


def _contrast(image, ball, mask):
    """Of a ball against the brain around it."""
    return np.median(image[ball]) / np.median(image[mask & ~ball])


@pytest.mark.parametrize("factor", [0.6, 1.5, 1.8])
def test_a_lesion_is_no_shading(noisy_runs, head, factor):
    """What one run shows brighter or darker in one place, as after contrast agent, is not taken out."""
    first, second = (run.astype(np.float32) for run in noisy_runs(2, noise_sd=20))
    second[_ball(head[1], 6)] *= factor
    assert relative_shading(first, second, head[1], (4, 4, 4)) is None


def test_a_lesion_keeps_its_contrast_where_shading_is_taken_out(shaded_pair, head, coil):
    """Most of what the other run shows there, and the shading around it, as without the lesion."""
    reference, other = shaded_pair
    mask, ball = head[1], _ball(head[1], 3)
    bright = np.where(ball, 1.6 * other, other).astype(np.float32)
    found = relative_shading(reference, bright, mask, (4, 4, 4), FINE)
    matched = bright * found.factor / coil
    gained = np.log(_contrast(matched, ball, mask) / _contrast(other, ball, mask)) / np.log(1.6)
    assert gained > 0.75
    error = np.log(found.factor / coil)[mask & ~ball]
    assert (error - error.mean()).std() < 0.04


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scalp_of_another_brightness_is_no_shading(noisy_runs, head, factor):
    """As with fat suppressed in one run: the brains are alike."""
    first, second = (run.astype(np.float32) for run in noisy_runs(2, noise_sd=20))
    second[~head[1]] *= factor
    assert relative_shading(first, second, head[1], (4, 4, 4)) is None


@pytest.mark.parametrize("size", [0.4, 0.08])
def test_small_brains_are_shaded_as_large_ones(shaded_pair, head, size):
    """Macaques and mice: all lengths shrink with the brain."""
    adult, animal = (
        relative_shading(*shaded_pair, head[1], 3 * (spacing,)) for spacing in (4.0 * 1.2, 4.0 * size)
    )
    assert animal.limits == pytest.approx(adult.limits, rel=0.02)


def test_shading_at_the_end_of_a_view_is_that_of_what_was_measured(shaded_pair, head, coil, affine):
    """A run whose field of view ends in the brain: what resampling continues there tells nothing."""
    reference, other = shaded_pair
    cut, moved = other[:, :, 9:], affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [0, 0, 9]
    grid = _placed(reference, affine, head[1])
    aligned, inside = bring_to_grid(cut, moved, np.eye(4), grid, match_shading=True)
    border = head[1] & inside & (np.arange(inside.shape[2]) < 12)
    whole = bring_to_grid(other, affine, np.eye(4), grid, match_shading=True)[0]
    ratio = np.log(aligned[border] / whole[border])
    assert np.percentile(np.abs(ratio - np.median(ratio)), 95) < 0.05
    assert abs(np.median(ratio)) < 0.03


def test_no_factor_grows_where_there_is_nothing_to_match(shaded_pair, head):
    """A ghost in the air beside one head alone, and distortion, which no shading can make alike."""
    reference, image, mask = (np.pad(one, 16) for one in (*shaded_pair, head[1]))
    air = distance_transform_edt(~mask)
    reference[(air > 8) & (air < 10)] = np.median(reference[mask])
    with np.errstate(all="raise", under="ignore"):
        found = relative_shading(reference, np.roll(image, 3, axis=0), mask, (4, 4, 4), FINE)
    assert np.isfinite(found.factor).all()


def test_another_shading_is_no_other_contrast(shaded_pair, head, affine):
    """Refused by its contrast before, accepted with the shading it has told; the reference may be either."""
    for reference, other in (shaded_pair, shaded_pair[::-1]):
        grid = _placed(reference, affine, head[1])
        plain = judge_alignment(other, affine, np.eye(4), grid, _GATES)
        assert "contrast" in plain.reason and plain.shading is None
        found = judge_alignment(other, affine, np.eye(4), grid, _GATES, match_shading=True)
        assert not found.reason
        assert found.correlation_after > 0.95
        assert found.shading[1] / found.shading[0] > 2.5


def test_another_contrast_stays_one_however_it_is_shaded(shaded_pair, head, affine):
    """Dark where the reference is bright: common shading must not make two contrasts alike."""
    reference, other = shaded_pair
    inverted = np.where(head[1], 1100 - other, other).astype(np.float32)
    for image, still in ((inverted, reference), (inverted, other)):
        found = judge_alignment(
            image, affine, np.eye(4), _placed(still, affine, head[1]), _GATES, match_shading=True
        )
        assert "contrast" in found.reason


def test_an_image_takes_the_shading_of_the_grid_and_its_mean_stays(shaded_pair, head, coil, affine):
    """What is left between the two is noise, as after the true shading."""
    reference, other = shaded_pair
    grid = _placed(reference, affine, head[1])
    aligned = bring_to_grid(other, affine, np.eye(4), grid, match_shading=True)[0]
    assert relative_shading(reference, aligned, head[1], (4, 4, 4)) is None
    found, best = (np.corrcoef(reference[head[1]], one[head[1]])[0, 1] for one in (aligned, coil * other))
    assert found > best - 0.003
    ratio = np.log(aligned[head[1]].clip(1) / other[head[1]].clip(1)).mean()
    assert abs(ratio) < 0.02
