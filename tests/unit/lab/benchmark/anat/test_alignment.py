"""Simulated movement is undone by the app's alignment."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.quality.metrics import nrmse
from n2a_bids.lab.benchmark.anat.alignment import align_runs, refine_rigid
from n2a_bids.lab.simulation.runs import SimulationConfig, simulate_runs

SHAPE = (40, 44, 36)
VOXEL_MM = np.array([1.0, 0.9, 1.2])


@pytest.mark.slow
def test_moved_runs_come_back_without_knowing_the_transform(head):
    image, mask = head
    affine = np.diag([-2.0, 2, 2, 1])
    config = SimulationConfig(noise_level=0.05, max_rotation_deg=4, max_translation_mm=4)
    runs = simulate_runs(image, mask, config, np.random.default_rng(3), (2.0, 2.0, 2.0))
    aligned = align_runs(runs, affine)
    np.testing.assert_array_equal(aligned[0], runs.repetitions[0])
    before, after = (nrmse(run, image, mask) for run in (runs.repetitions[1], aligned[1]))
    assert after < 0.3 * before


@pytest.fixture(scope="module")
def textured_head():
    """A smooth random texture inside an ellipsoid."""
    generator = np.random.default_rng(3)
    texture = ndimage.gaussian_filter(generator.standard_normal(SHAPE), 2.0)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    mask = sum(a**2 for a in axes) < 0.5
    return (texture / texture.std()).astype(np.float32), mask


def _transform(angles_deg, shift_voxels):
    """Indices to indices, a rigid motion in mm about the centre."""
    to_mm = np.diag([*VOXEL_MM, 1.0])
    centre = (np.array(SHAPE) - 1) / 2 * VOXEL_MM
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    motion[:3, 3] = centre - motion[:3, :3] @ centre + shift_voxels
    return np.linalg.inv(to_mm) @ motion @ to_mm


def _show(clean, transform):
    """The moving image of which `clean` is what `transform` finds."""
    back = np.linalg.inv(transform)
    return ndimage.affine_transform(clean, back[:3, :3], back[:3, 3], order=5, mode="mirror")


def _error_voxels(transform, truth, mask):
    difference = (transform - truth)[:3]
    index = np.argwhere(mask)
    return np.linalg.norm(index @ difference[:, :3].T + difference[:, 3], axis=1).max()


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (2.5, -7.0)])
def test_a_known_motion_is_found_whatever_the_intensity_scale(textured_head, gain, offset):
    """From 0.5 voxel and 1 degree away to a hundredth of a voxel."""
    clean, mask = textured_head
    truth = _transform((3, -2, 1), (1.5, -0.7, 0.4))
    start = _transform((2, -2, 1), (1.1, -0.7, 0.7))
    moving = (gain * _show(clean, truth) + offset).astype(np.float32)
    refined = refine_rigid(clean, moving, start, mask, VOXEL_MM)
    assert _error_voxels(start, truth, mask) > 0.4
    assert _error_voxels(refined, truth, mask) < 0.01


def test_noise_in_the_moving_image_costs_little(textured_head):
    """As much noise as signal, and the error stays below a tenth of a voxel."""
    clean, mask = textured_head
    truth = _transform((1, 0, -1), (0.3, 0.2, -0.4))
    noise = np.random.default_rng(4).standard_normal(SHAPE).astype(np.float32)
    refined = refine_rigid(clean, _show(clean, truth) + noise, np.eye(4), mask, VOXEL_MM)
    assert _error_voxels(refined, truth, mask) < 0.1


def test_the_right_transform_stays(textured_head):
    """Nothing to refine, nothing changed."""
    clean, mask = textured_head
    refined = refine_rigid(clean, clean, np.eye(4), mask, VOXEL_MM)
    assert np.allclose(refined, np.eye(4), atol=2e-3)
