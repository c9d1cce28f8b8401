"""Laws of the image quality measures."""

import numpy as np
import pytest
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template
from scipy import ndimage

from n2a_bids.algorithms.quality import metrics
from n2a_bids.lab.simulation.lesions import ball_mask

VOXEL = (1.0, 1.0, 1.0)


@pytest.fixture
def anatomy():
    """Return a piecewise flat image with sharp borders, and its mask."""
    rng = np.random.default_rng(3)
    regions = ndimage.gaussian_filter(rng.standard_normal((40, 40, 40)), 3)
    image = 100 + 40 * (regions > 0) + 30 * (regions > 0.02)
    return ndimage.gaussian_filter(image, 0.6).astype(np.float32), ball_mask((40, 40, 40), 0.95)


@pytest.fixture(scope="module")
def head():
    """Return a block of an average brain, and its mask."""
    block = (slice(50, 130), slice(60, 140), slice(60, 140))
    image, mask = load_mni152_template(resolution=1), load_mni152_brain_mask(resolution=1)
    return image.get_fdata(dtype=np.float32)[block], mask.get_fdata()[block] > 0


def noise(scale, seed=0):
    return (scale * np.random.default_rng(seed).standard_normal((40, 40, 40))).astype(np.float32)


@pytest.mark.parametrize("measure", [metrics.psnr, metrics.edge_psnr, metrics.ssim])
def test_fidelity_falls_with_noise(anatomy, measure):
    truth, mask = anatomy
    values = [measure(truth + noise(scale), truth, mask) for scale in (1, 5, 20)]
    assert values[0] > values[1] > values[2]


def test_psnr_is_range_over_rmse(anatomy):
    truth, mask = anatomy
    estimate = truth + noise(5)
    rmse = np.sqrt(np.mean((estimate - truth)[mask].astype(float) ** 2))
    assert metrics.psnr(estimate, truth, mask) == pytest.approx(20 * np.log10(np.ptp(truth[mask]) / rmse))
    assert metrics.psnr(truth, truth, mask) == np.inf


@pytest.mark.parametrize("name", ["psnr", "edge_psnr", "ssim", "nrmse"])
def test_voxels_outside_the_mask_never_count_for_fidelity(anatomy, name):
    truth, mask = anatomy
    estimate = truth + noise(5)
    measure = getattr(metrics, name)
    elsewhere = measure(np.where(mask, estimate, -999), np.where(mask, truth, 777), mask)
    assert elsewhere == pytest.approx(measure(estimate, truth, mask), rel=1e-5)


def test_voxels_outside_the_mask_never_count_for_structure(anatomy):
    image, mask = anatomy
    residual = noise(3)
    masked_image, masked_residual = np.where(mask, image, -999), np.where(mask, residual, 50)
    assert metrics.sharpness(masked_image, mask, VOXEL) == pytest.approx(
        metrics.sharpness(image, mask, VOXEL)
    )
    assert metrics.edge_correlation(masked_residual, masked_image, mask) == pytest.approx(
        metrics.edge_correlation(residual, image, mask)
    )
    assert metrics.smoothness_fwhm_mm(masked_residual, mask, VOXEL) == pytest.approx(
        metrics.smoothness_fwhm_mm(residual, mask, VOXEL)
    )


def test_ssim_agrees_with_plain_loop_at_one_voxel():
    rng = np.random.default_rng(1)
    truth, estimate = rng.random((2, 9, 9, 9))
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[3:6, 3:6, 3:6] = True
    values = []
    for centre in np.argwhere(mask):
        near = np.indices((3, 3, 3)).reshape(3, -1).T + 3
        weight = np.exp(-np.sum((near - centre) ** 2, axis=1) / (2 * 1.5**2))
        weight /= weight.sum()
        a, b = estimate[tuple(near.T)], truth[tuple(near.T)]
        ma, mb = weight @ a, weight @ b
        va, vb, cab = weight @ (a - ma) ** 2, weight @ (b - mb) ** 2, weight @ ((a - ma) * (b - mb))
        c1, c2 = (0.01 * np.ptp(truth[mask])) ** 2, (0.03 * np.ptp(truth[mask])) ** 2
        values.append((2 * ma * mb + c1) * (2 * cab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    assert metrics.ssim(estimate, truth, mask) == pytest.approx(np.mean(values), rel=1e-6)


@pytest.mark.parametrize("edges_of", ["blurred image", "sharp image"])
def test_sharpness_falls_with_blur_whoever_finds_the_edges(head, edges_of):
    """On gyri, where borders are close together: reports find edges in the result and must see its blur."""
    image, mask = head
    ratios = []
    for sd in (0.5, 0.8, 1.5, 3.0):
        blurred = ndimage.gaussian_filter(image, sd)
        edges = blurred if edges_of == "blurred image" else image
        ratios.append(
            metrics.sharpness(blurred, mask, VOXEL, edges) / metrics.sharpness(image, mask, VOXEL, edges)
        )
    assert ratios[0] < 0.95
    assert ratios == sorted(ratios, reverse=True)


def test_sharpness_does_not_see_noise_at_edges_found_elsewhere(head):
    image, mask = head
    sharp = metrics.sharpness(image, mask, VOXEL)
    noisy = image + np.float32(0.5 * image[mask].std()) * np.random.default_rng(0).standard_normal(
        image.shape
    )
    assert metrics.sharpness(noisy, mask, VOXEL, image) == pytest.approx(sharp, rel=0.01)


def test_sharpness_ignores_gain_and_offset(anatomy):
    image, mask = anatomy
    value = metrics.sharpness(image, mask, VOXEL)
    assert metrics.sharpness(3 * image + 50, mask, VOXEL) == pytest.approx(value, rel=1e-4)


def test_sharpness_of_constant_image_is_zero():
    mask = ball_mask((16, 16, 16))
    assert metrics.sharpness(np.full(mask.shape, 7.0), mask, VOXEL) == 0


@pytest.mark.parametrize("fwhm", [2.5, 4.0])
def test_smoothness_finds_the_width_of_smoothed_noise(fwhm):
    white = np.random.default_rng(2).standard_normal((48, 48, 48))
    smooth = ndimage.gaussian_filter(white, fwhm / np.sqrt(8 * np.log(2)), mode="wrap")
    mask = np.ones(white.shape, dtype=bool)
    assert metrics.smoothness_fwhm_mm(smooth, mask, (2.0, 2.0, 2.0)) == pytest.approx(2 * fwhm, rel=0.07)
    assert metrics.smoothness_fwhm_mm(white, mask, VOXEL) < 0.8


def test_edge_correlation_is_near_zero_for_noise_and_drifting_noise(anatomy):
    image, mask = anatomy
    drift = np.linspace(1, 3, 40)[:, None, None]
    assert abs(metrics.edge_correlation(noise(5), image, mask)) < 0.06
    assert abs(metrics.edge_correlation(noise(5) * drift, image, mask)) < 0.08


@pytest.mark.parametrize("level", [0.1, 0.3])
def test_edge_correlation_detects_smoothed_edges(anatomy, level):
    image, mask = anatomy
    noisy = image + noise(level * image[mask].std())
    smoothed = ndimage.gaussian_filter(noisy, 0.8)
    assert metrics.edge_correlation(noisy - smoothed, smoothed, mask) > 0.25


def test_edge_mask_holds_a_fifth_of_the_inner_mask(anatomy):
    image, mask = anatomy
    edges = metrics.edge_mask(image + noise(1), mask)
    assert not np.any(edges & ~mask)
    assert edges.sum() == pytest.approx(0.2 * ndimage.binary_erosion(mask).sum(), rel=0.01)


def test_wrong_grids_and_empty_masks_are_refused():
    image = np.zeros((4, 4, 4))
    with pytest.raises(ValueError, match="grid"):
        metrics.psnr(image, image, np.ones((4, 4, 5), dtype=bool))
    with pytest.raises(ValueError, match="empty"):
        metrics.ssim(image, image, np.zeros((4, 4, 4), dtype=bool))
