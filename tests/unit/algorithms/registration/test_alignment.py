"""Laws of quality, similarity and QC thresholds."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.quality.alignment_checks import QCThresholds
from n2a_bids.algorithms.registration.alignment import (
    bring_to_grid,
    is_negligible,
    judge_alignment,
    move_mask,
)
from n2a_bids.algorithms.registration.placed_images import PlacedImage
from n2a_bids.algorithms.registration.similarity import (
    contrast_to_noise,
    smooth_correlation,
    structure_correlation,
)

THRESHOLDS = QCThresholds(0.5, 0.5, 45, 80, 0.9)
STRICT = QCThresholds(0.97, 0.5, 45, 80, 0.9)


@pytest.fixture
def grid(head, affine, noisy_runs):
    return PlacedImage(noisy_runs(1, noise_sd=40, seed=5)[0].astype(np.float32), affine, head[1])


def folds(head, seed):
    """Gyral detail of one person: a random pattern inside the brain, (X, Y, Z)."""
    pattern = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(head[0].shape), 1)
    return (150 * pattern / pattern.std() * head[1]).astype(np.float32)


def shifted(millimetres):
    transform = np.eye(4)
    transform[:3, 3] = millimetres
    return transform


def judged(grid, image, transform=None, affine=None):
    transform = np.eye(4) if transform is None else transform
    affine = grid.affine if affine is None else affine
    return judge_alignment(image, affine, transform, grid, THRESHOLDS)


def test_contrast_to_noise_falls_with_noise_and_ignores_scale(noisy_runs, head):
    """Twice the noise halves the ratio, roughly; gain and offset do nothing."""
    quiet, loud = (noisy_runs(1, noise_sd=sd)[0].astype(np.float32) for sd in (40, 80))
    assert 1.6 < contrast_to_noise(quiet, head[1]) / contrast_to_noise(loud, head[1]) < 2.4
    scaled = contrast_to_noise(3 * quiet + 50, head[1])
    assert scaled == pytest.approx(contrast_to_noise(quiet, head[1]), rel=1e-3)
    assert contrast_to_noise(np.zeros_like(quiet), head[1]) == 0


def test_structure_correlation_tells_two_heads_apart(noisy_runs, head):
    """Repetitions agree in their detail; a head with the same outline and other folds does not."""
    first, second = (image.astype(np.float32) for image in noisy_runs(2, noise_sd=40))
    scales, first = (1.0, 2.5), first + folds(head, 1)
    same = structure_correlation(first, second + folds(head, 1), head[1], scales)
    other = structure_correlation(first, second + folds(head, 2), head[1], scales)
    assert same > 0.95
    assert other < 0.7


def test_correlations_ignore_gain_and_offset(noisy_runs, head):
    """A linear change of intensity is no difference."""
    first, second = (image.astype(np.float32) for image in noisy_runs(2))
    for measure in (smooth_correlation, structure_correlation):
        expected = measure(first, second, head[1])
        assert measure(first, 2 * second + 9, head[1]) == pytest.approx(expected, abs=1e-4)


def test_judge_accepts_a_repetition(grid, noisy_runs):
    """A second measurement of the same head in the same place has no reason against it."""
    found = judged(grid, 1.3 * noisy_runs(1, noise_sd=40, seed=9)[0].astype(np.float32))
    assert found.reason == ""
    assert found.overlap == 1
    assert found.rotation_deg == found.translation_mm == 0


def test_small_heads_are_judged_as_large_ones_are(grid, noisy_runs):
    """What is compared shrinks with the head: 2 mm are half of the brain of a mouse."""
    image = noisy_runs(1, noise_sd=40, seed=6)[0].astype(np.float32)
    found = []
    for edge in (0.2, 0.05):
        small = np.diag([edge, edge, edge, 1]) @ grid.affine
        found.append(judged(PlacedImage(grid.image, small, grid.mask), image))
    assert found[0].structure_correlation == pytest.approx(found[1].structure_correlation, rel=1e-6)
    assert found[0].correlation_after == pytest.approx(found[1].correlation_after, rel=1e-6)
    assert found[0].structure_correlation > 0.5 and not found[0].reason


def test_judge_names_another_head(grid, noisy_runs, head):
    """A head with other folds is called another person."""
    mine = PlacedImage(grid.image + 2 * folds(head, 1), grid.affine, grid.mask)
    repetition = noisy_runs(1, noise_sd=40, seed=9)[0].astype(np.float32)
    assert judged(mine, repetition + 2 * folds(head, 1)).reason == ""
    assert "another person" in judged(mine, repetition + 2 * folds(head, 2)).reason


@pytest.mark.parametrize(("voxel_mm", "refused"), [(1, False), (3, True)])
def test_folds_of_large_voxels_must_agree_more(grid, noisy_runs, head, voxel_mm, refused):
    """Heads of two people have the coarse shape of the brain in common."""
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    mine = PlacedImage(grid.image + 4 * folds(head, 1), affine, grid.mask)
    alike = 4 * (0.66 * folds(head, 1) + 0.75 * folds(head, 2))
    repetition = noisy_runs(1, noise_sd=10, seed=9)[0].astype(np.float32) + alike
    found = judge_alignment(repetition, affine, np.eye(4), mine, THRESHOLDS)
    assert 0.5 < found.structure_correlation < 0.8
    assert ("another person" in found.reason) == refused


def test_judge_names_another_contrast(grid, noisy_runs):
    """An inverted contrast is refused for its correlation."""
    inverted = 1000 - noisy_runs(1, noise_sd=40, seed=9)[0].astype(np.float32)
    found = judged(grid, inverted)
    assert found.correlation_after < -0.5
    assert "contrast differs" in found.reason


def test_judge_names_a_cropped_field_of_view(grid, noisy_runs):
    """Half a brain is refused, with the share that is seen."""
    cropped = noisy_runs(1, noise_sd=40, seed=9)[0].astype(np.float32)[:20]
    found = judged(grid, cropped)
    assert found.overlap == pytest.approx(0.5, abs=0.03)
    assert "field of view" in found.reason


@pytest.mark.parametrize("step", [-0.4, 0.4])
def test_a_view_that_ends_within_a_voxel_of_the_brain_is_no_other_contrast(grid, noisy_runs, step):
    """Between the outermost centres of an image and its faces there is tissue, not zero."""
    image = noisy_runs(1, noise_sd=40, seed=9)[0].astype(np.float32)
    whole = judged(grid, image, shifted((step * 4, 0, 0)))
    slab = grid.affine.copy()
    slab[:3, 3] += 17 * slab[:3, 0]
    cut = judged(grid, image[17:31], shifted((step * 4, 0, 0)), slab)
    assert cut.correlation_after > whole.correlation_after - 0.05
    assert cut.reason.startswith("its field of view") and ";" not in cut.reason


def test_judge_names_too_large_a_motion(grid, noisy_runs):
    """A head that is far away is refused even if it could be brought back."""
    image = noisy_runs(1, noise_sd=40, seed=9)[0].astype(np.float32)
    far = shifted((0, 100, 0))
    found = judged(grid, image, far, far @ grid.affine)
    assert found.translation_mm == pytest.approx(100)
    assert found.correlation_after > 0.95
    assert "100.0 mm away" in found.reason


def test_bring_to_grid_fills_what_was_not_seen_with_the_reference(grid, noisy_runs):
    """Beyond a cropped field of view stands the reference, in the intensity scale of the repetition."""
    image = 2 * noisy_runs(1, noise_sd=40, seed=9)[0].astype(np.float32) + 100
    aligned, inside = bring_to_grid(image[:32], grid.affine, np.eye(4), grid)
    assert inside[:32].all()
    assert not inside[32:].any()
    expected = 2 * grid.image[32:] + 100
    assert np.abs(aligned[32:] - expected).mean() < 0.05 * np.ptp(expected)


def test_is_negligible_compares_with_the_voxel(grid):
    """A twentieth of a 4 mm voxel is 0.2 mm."""
    assert is_negligible(shifted((0.19, 0, 0)), grid, 0.05)
    assert not is_negligible(shifted((0.21, 0, 0)), grid, 0.05)


def test_move_mask_follows_the_transform(grid):
    """A shift by one voxel shifts the mask by one voxel."""
    moved = move_mask(grid.mask, grid.affine, shifted((4, 0, 0)))
    np.testing.assert_array_equal(moved[:-1], grid.mask[1:])


def test_resampled_repetition_keeps_its_noise(grid, noisy_runs, head):
    """Noise SD after alignment is that of the acquired image, within 3 %."""
    run = noisy_runs(1, noise_sd=40, seed=11)[0].astype(np.float32)
    clean = head[0].astype(np.float32)
    transform = shifted((1.7, -1.1, 2.2))
    moved_run, moved_clean = (bring_to_grid(image, grid.affine, transform, grid)[0] for image in (run, clean))
    noise = moved_run - moved_clean
    core = ndimage.binary_erosion(grid.mask, iterations=3)
    assert noise[core].std() == pytest.approx((run - clean)[core].std(), rel=0.03)


def test_shading_is_not_called_contrast_alone(grid, noisy_runs, head):
    """The folds match where one image was normalised and the other was not."""
    mine = PlacedImage(grid.image + 2 * folds(head, 1), grid.affine, grid.mask)
    other = noisy_runs(1, noise_sd=40, seed=9)[0] + 2 * folds(head, 1)
    shading = np.linspace(0.2, 2, other.shape[1])[:, None]
    found = judge_alignment((other * shading).astype(np.float32), grid.affine, np.eye(4), mine, STRICT)
    assert found.structure_correlation > 0.9
    assert "its contrast or shading differs" in found.reason


@pytest.mark.parametrize("voxel_mm", [1.0, None])
def test_a_head_whose_sides_were_swapped_is_refused(grid, head, voxel_mm):
    """Nearly symmetric, as heads are, so that it passes all thresholds; fine grids are looked at coarsely."""
    affine = grid.affine if voxel_mm is None else np.diag([voxel_mm] * 3 + [1.0])
    rng, image = np.random.default_rng(3), head[0] + folds(head, 1)
    even = image + 0.8 * (image[::-1] - image)
    noisy = [(even + rng.normal(0, 20, even.shape)).astype(np.float32) for _ in range(2)]
    symmetric = PlacedImage(noisy[0], affine, head[1] & head[1][::-1])
    thresholds = QCThresholds(0.3, 0.1, 45, 80, 0.5)
    for flip in (1, -1):
        found = judge_alignment(noisy[1][::flip], affine, np.eye(4), symmetric, thresholds)
        assert ("left and right were swapped" in found.reason) == (flip == -1)
