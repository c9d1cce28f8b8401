"""Laws of motion estimation between diffusion volumes."""

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.dwi_motion import estimate_motion, motion_size, register_rigid
from n2a_bids.algorithms.realizations import Gradients

_SIZE = (2.0, 2.0, 2.5)


def _head(shape=(28, 30, 20), seed=0):
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.6
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    return 100 * ndimage.gaussian_filter(mask.astype(float), 1) * (1 + 2 * texture).clip(0.2), mask


def _voxel_map(angle_deg, shift_mm, shape):
    centre = np.array(shape) / 2 * _SIZE
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("z", angle_deg, degrees=True).as_matrix()
    motion[:3, 3] = centre + shift_mm - motion[:3, :3] @ centre
    scale = np.diag([*_SIZE, 1.0])
    return np.linalg.inv(scale) @ motion @ scale


def _moved(image, voxel_map):
    """Acquired image of a head that moved: sampling it at the map gives the head back."""
    back = np.linalg.inv(voxel_map)
    return ndimage.affine_transform(image, back[:3, :3], back[:3, 3], order=3)


def _largest_error_mm(found, truth, mask):
    points = np.c_[np.argwhere(mask), np.ones(mask.sum())]
    return np.linalg.norm(((found - truth) @ points.T)[:3].T * _SIZE, axis=1).max()


def test_known_motion_is_found():
    """A rotation of 3 degrees and a shift of 2 mm are found to a fifth of a voxel."""
    image, mask = _head()
    truth = _voxel_map(3.0, [1.0, -1.5, 1.0], image.shape)
    found = register_rigid(image, 1.3 * _moved(image, truth), mask, _SIZE)
    assert _largest_error_mm(found, truth, mask) < 0.5
    angle, shift = motion_size(truth, mask, _SIZE)
    assert abs(angle - 3) < 1e-6 and 1.5 < shift < 2.6


def test_identical_image_stays():
    """An image registered to itself does not move."""
    image, mask = _head()
    assert np.allclose(register_rigid(image, image, mask, _SIZE), np.eye(4), atol=1e-3)


def test_moved_volume_of_a_series_is_found_and_the_first_b0_is_the_reference():
    """The one volume that moved is told from those that did not, whatever the direction's contrast."""
    image, mask = _head()
    other, _ = _head(seed=5)
    vectors = np.random.default_rng(1).standard_normal((14, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = Gradients(np.r_[0.0, np.full(14, 1000.0)], np.vstack((np.zeros(3), vectors)))
    weights = np.r_[1.0, 0.4 + 0.1 * vectors[:, 0] ** 2]
    data = np.stack([image * w + other * 0.1 * w**2 for w in weights], axis=-1)
    truth = _voxel_map(2.0, [1.5, 0.0, -1.0], image.shape)
    data[..., 6] = _moved(data[..., 6], truth)
    maps = estimate_motion(data.astype(np.float32), table, mask, _SIZE, lambda fixed, moving: np.eye(4))
    assert np.allclose(maps[0], np.eye(4), atol=1e-9)
    assert _largest_error_mm(maps[6], truth, mask) < 1.0
    assert max(_largest_error_mm(maps[c], np.eye(4), mask) for c in (1, 4, 9, 14)) < 0.6


def test_motion_between_shells_is_added_to_that_of_every_volume():
    """What aligns the shells sees their means, and its map goes into the maps of the weighted volumes."""
    image, mask = _head()
    truth = _voxel_map(2.0, [1.0, 0.5, -1.0], image.shape)
    vectors = np.vstack((np.zeros((2, 3)), np.eye(3), np.eye(3)[::-1]))
    table = Gradients(np.r_[0.0, 0.0, np.full(6, 1000.0)], vectors)
    data = np.stack([image, image] + [_moved(0.5 * image, truth)] * 6, axis=-1).astype(np.float32)
    seen = []

    def align_shell(fixed, moving):
        seen.append((fixed, moving))
        return truth

    maps = estimate_motion(data, table, mask, _SIZE, align_shell)
    ((fixed, moving),) = seen
    assert np.abs(fixed - image)[mask].max() < 1
    assert np.abs(moving - data[..., 2])[mask].max() < 1
    assert max(_largest_error_mm(voxel_map, truth, mask) for voxel_map in maps[2:]) < 0.2
    assert max(_largest_error_mm(voxel_map, np.eye(4), mask) for voxel_map in maps[:2]) < 0.2
