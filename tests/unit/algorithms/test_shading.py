"""Laws of the shading of one image against another: found where it differs, and nothing else is."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from n2a_bids.algorithms.quality.alignment_checks import QCThresholds
from n2a_bids.algorithms.registration.alignment import bring_to_grid, judge
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
        plain = judge(other, affine, np.eye(4), grid, _GATES)
        assert "contrast" in plain.reason and plain.shading is None
        found = judge(other, affine, np.eye(4), grid, _GATES, match_shading=True)
        assert not found.reason
        assert found.correlation_after > 0.95
        assert found.shading[1] / found.shading[0] > 2.5


def test_another_contrast_stays_one_however_it_is_shaded(shaded_pair, head, affine):
    """Dark where the reference is bright: common shading must not make two contrasts alike."""
    reference, other = shaded_pair
    inverted = np.where(head[1], 1100 - other, other).astype(np.float32)
    for image, still in ((inverted, reference), (inverted, other)):
        found = judge(image, affine, np.eye(4), _placed(still, affine, head[1]), _GATES, match_shading=True)
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
