"""Laws of pairs of opposite phase encoding: distortion and motion are told apart."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from textured_heads import distortion_head

from n2a_bids.algorithms.distortion.blip_pair import BlipPair
from n2a_bids.algorithms.distortion.field import DistortionConfig, resample
from n2a_bids.algorithms.distortion.pepolar import PairConfig, correct_pair, doubt_of_pair
from n2a_bids.algorithms.distortion.polarity import axis_doubt
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.external.b0_brain import find_brain
from n2a_bids.io.images import load
from n2a_bids.lab.simulation.dwi import distort, susceptibility_displacement

_AXIS = 1
_SIZE = (3.0, 3.0, 3.5)
_QUICK = PairConfig(
    coarse=DistortionConfig((2,), (0.7,), (80,), (2,)),
    fine=DistortionConfig((2, 1), (0.7, 0.5), (80, 60), (2, 2)),
    polish=DistortionConfig((1,), (0.5,), (40,), (2,)),
)


def _motion(shape, angle_deg, shift_mm, size_mm=_SIZE):
    """Voxel of the head as it first lay to voxel of the head that moved."""
    turn = Rotation.from_rotvec(np.radians(angle_deg) * np.array([0.8, 0.4, 0.45])).as_matrix()
    scale, centre = np.diag([*size_mm, 1.0]), (np.array(shape) - 1) / 2 * size_mm
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = turn, centre + shift_mm - turn @ centre
    return np.linalg.inv(scale) @ motion @ scale


def _moved(volume, voxel_map):
    back = np.linalg.inv(voxel_map)
    return ndimage.affine_transform(volume, back[:3, :3], back[:3, 3], order=3)


def _pair(image, field, voxel_map, ratio=1.0):
    """Both images: the field goes with the head, the blips stay with the scanner."""
    second = distort(_moved(image, voxel_map), ratio * _moved(field, voxel_map), _AXIS, -1)
    return distort(image, field, _AXIS, 1), second


def _blips(first, second, mask, **settings):
    return BlipPair(first, second, mask, _SIZE, (_AXIS, _AXIS), **settings)


def _largest_error(found, truth, mask):
    """Voxels, but for the translation along the phase encoding, which no pair can tell."""
    points = np.c_[np.argwhere(mask), np.ones(mask.sum())]
    error = ((found - truth) @ points.T)[:3]
    error[_AXIS] -= error[_AXIS].mean()
    return np.linalg.norm(error, axis=0).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("angle_deg", "shift_mm"),
    [(0.0, (0, 0, 0)), (0.0, (3.0, 0, 0)), (4.0, (0, 0, 3.0)), (5.0, (3.0, 0, 4.0))],
)
def test_motion_and_displacement_are_told_apart(angle_deg, shift_mm):
    """Motion between the series is found to a tenth of a voxel, whatever the field, and the field besides."""
    image, mask = distortion_head()
    field = susceptibility_displacement(mask, _AXIS, 3.0, torch.Generator().manual_seed(0))
    truth = _motion(image.shape, angle_deg, shift_mm)
    found = correct_pair(_blips(*_pair(image, field, truth), mask), config=_QUICK)
    assert found.converged and found.last_step_voxels < 0.05 and not found.warnings
    assert _largest_error(found.voxel_map, truth, mask) < 0.12
    inner = ndimage.binary_erosion(mask, iterations=2)
    assert np.median(np.abs(found.displacement - field)[inner]) < 0.1
    assert np.corrcoef(*(part[inner] for part in found.corrected))[0, 1] > 0.99


def test_second_image_may_be_stored_otherwise():
    """Mirrored and permuted storage, other voxels and another readout change neither motion nor field."""
    image, mask = distortion_head()
    field = susceptibility_displacement(mask, _AXIS, 2.0, torch.Generator().manual_seed(1))
    truth = _motion(image.shape, 2.0, (2.0, 0, -1.0))
    first, second = _pair(image, field, truth, ratio=1.5)
    stored = np.ascontiguousarray(second.transpose(2, 1, 0)[:, ::-1])
    start = np.eye(4)[[2, 1, 0, 3]]
    start[1] *= -1
    start[1, 3] = image.shape[1] - 1
    found = correct_pair(_blips(first, stored, mask, start=start, readout_ratio=1.5), config=_QUICK)
    assert _largest_error(np.linalg.inv(start) @ found.voxel_map, truth, mask) < 0.15
    inner = ndimage.binary_erosion(mask, iterations=2)
    assert np.median(np.abs(found.displacement - field)[inner]) < 0.1
    again = resample(stored, found.voxel_map, found.second_displacement, 1, 1)
    assert np.median(np.abs(again - image)[inner]) < 0.05 * image[inner].mean()


@pytest.mark.proof
@pytest.mark.real_data
def test_motion_put_into_a_real_pair_is_found(real_data):
    """Of 3 mm and 3 degrees put between two real b0s, at half their resolution, next to none is missed."""
    images = []
    for name in ("AP", "PA"):
        data, affine = load(real_data / f"epi-pair/sub-01/fmap/sub-01_dir-{name}_epi.nii.gz")
        data = data.mean(axis=-1) if data.ndim == 4 else data
        images.append(data.reshape(64, 2, 64, 2, *data.shape[2:]).mean(axis=(1, 3)))
    size = (2 * voxel_sizes_mm(affine)[0], 2 * voxel_sizes_mm(affine)[1], voxel_sizes_mm(affine)[2])
    mask = find_brain(np.mean(images, axis=0))
    truth = _motion(mask.shape, 3.0, (0.0, 0.0, 3.0), size)
    images[1] = _moved(images[1], truth)
    found = correct_pair(BlipPair(*images, mask, size, (_AXIS, _AXIS)), config=_QUICK)
    assert found.converged
    assert _largest_error(found.voxel_map, truth, mask) < 0.12
    before, after = (np.corrcoef(*(part[mask] for part in pair))[0, 1] for pair in (images, found.corrected))
    assert before < 0.7 and after > 0.97


@pytest.mark.proof
@pytest.mark.real_data
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_axis_of_a_real_pair_is_believed_and_another_one_is_not(real_data, axis):
    """Two real b0s of phase encoding along j; corrected along i or k they would correlate by 0.88 or 0.82."""
    images = []
    for name in ("AP", "PA"):
        stem = real_data / f"dwi-pairs/sub-uih/dwi/sub-uih_dir-{name}_dwi"
        data, affine = load(stem.with_suffix(".nii.gz"))
        images.append(data[..., np.loadtxt(stem.with_suffix(".bval")) < 50].mean(axis=-1))
    mask = find_brain(np.mean(images, axis=0))
    doubt = axis_doubt(tuple(images), mask, voxel_sizes_mm(affine), axis, after=(0.88, 0.967, 0.82)[axis])
    named = f"distorted along axis j of the array rather than along {'ijk'[axis]}"
    assert named in doubt if axis != 1 else doubt == ""


def test_gain_between_the_images_is_no_distortion():
    """A second image that is merely brighter leaves the displacement as it is."""
    image, mask = distortion_head((24, 26, 14))
    noise = np.random.default_rng(1).standard_normal((2, *image.shape)).astype(np.float32)
    first, second = image + noise
    plain = correct_pair(_blips(first, second, mask), config=_QUICK)
    brighter = correct_pair(_blips(first, 1.3 * second, mask), config=_QUICK)
    np.testing.assert_allclose(brighter.displacement, plain.displacement, atol=0.02)


@pytest.mark.parametrize("opposite", [True, False])
def test_unknown_polarity_is_found_by_trying_both(opposite):
    """Opposite blips need a field, equal ones only the motion; the record says which, and how clearly."""
    image, mask = distortion_head((28, 36, 20))
    field = susceptibility_displacement(mask, _AXIS, 2.0, torch.Generator().manual_seed(1))
    truth = _motion(image.shape, 2.0, (1.0, 0.0, 2.0))
    pair = _pair(image, field, truth, ratio=1.0 if opposite else -1.0)
    noise = np.random.default_rng(1).standard_normal((2, *image.shape)) * 5
    found = correct_pair(_blips(*(pair + noise), mask), opposite=None, config=_QUICK)
    assert found.opposite == opposite and found.polarity_margin is not None
    assert bool(found.displacement.any()) == opposite
    assert "found from the images" in found.warnings[-1]


@pytest.mark.parametrize(("peak_voxels", "n_slices"), [(0.6, 20), (2.0, 20), (0.8, 14)])
def test_opposite_pair_is_not_doubted(peak_voxels, n_slices):
    """Not even where its distortion is small, its b0s are noisy, or the second shows a part of the brain."""
    image, mask = distortion_head((28, 36, 20))
    field = susceptibility_displacement(mask, _AXIS, peak_voxels, torch.Generator().manual_seed(1))
    pair = _pair(image, field, _motion(image.shape, 2.0, (1.0, 0.0, 2.0)))
    noise = np.random.default_rng(1).standard_normal((2, *image.shape)) * 5
    first, second = pair + noise
    blips = _blips(first, second[:, :, :n_slices], mask)
    assert doubt_of_pair(blips, correct_pair(blips, config=_QUICK), config=_QUICK) == ""


@pytest.mark.parametrize("peak_voxels", [0.0, 2.0], ids=["corrected before", "one polarity"])
def test_pair_without_opposite_distortion_is_doubted(peak_voxels):
    """A head that moved along the phase encoding, too, is no distortion; the distortion of both stays."""
    image, mask = distortion_head((28, 36, 20))
    field = susceptibility_displacement(mask, _AXIS, peak_voxels, torch.Generator().manual_seed(1))
    pair = _pair(image, field, _motion(image.shape, 0.0, (1.0, 4.0, 2.0)), ratio=-1.0)
    noise = np.random.default_rng(1).standard_normal((2, *image.shape)) * 5
    blips = _blips(*(pair + noise), mask)
    found = doubt_of_pair(blips, correct_pair(blips, config=_QUICK), config=_QUICK)
    assert "PhaseEncodingDirection" in found


@pytest.mark.parametrize("axis", [0, _AXIS])
def test_a_wrong_axis_of_phase_encoding_is_named(axis):
    """As of a sidecar that was not changed when the image was reordered: a field along it bends the brain."""
    image, mask = distortion_head((28, 36, 20))
    field = susceptibility_displacement(mask, _AXIS, 2.0, torch.Generator().manual_seed(1))
    noise = np.random.default_rng(1).standard_normal((2, *image.shape)) * 5
    first, second = _pair(image, field, np.eye(4)) + noise
    found = axis_doubt((first, second), mask, _SIZE, axis, 0.9)
    assert (
        found[:75]
        == (
            ""
            if axis == _AXIS
            else "the b0s are distorted along axis j of the array rather than along i, which "
        )[:75]
    )


def test_no_convergence_is_said():
    """Where the rounds run out, a sentence names the last step."""
    image, mask = distortion_head((24, 26, 14))
    truth = _motion(image.shape, 6.0, (0, 0, 5.0))
    once = PairConfig(_QUICK.coarse, _QUICK.fine, _QUICK.polish, 1, 1, largest_step_voxels=1e-9)
    pair = _pair(image, np.zeros(image.shape, np.float32), truth)
    found = correct_pair(_blips(*pair, mask), config=once)
    assert not found.converged and "did not come to rest" in found.warnings[0]


def test_axes_across_each_other_are_refused():
    """One displacement cannot serve two images whose phase encodings stand across each other."""
    image, mask = distortion_head((12, 12, 12))
    with pytest.raises(ValueError, match="not parallel"):
        BlipPair(image, image, mask, _SIZE, (1, 0))


def test_border_of_the_view_is_no_edge_of_the_head():
    """A head that moved out of the view of the second image at one end is placed like one in full view."""
    image, mask = distortion_head()
    image, mask = image[:, :, 4:-4], mask[:, :, 4:-4]
    field = susceptibility_displacement(mask, _AXIS, 2.0, torch.Generator().manual_seed(0))
    truth = _motion(image.shape, 0.0, (0.0, 0.0, 7.0))
    first, second = _pair(image, field, truth)
    found = correct_pair(_blips(first, second, mask), config=_QUICK)
    assert found.converged and _largest_error(found.voxel_map, truth, mask) < 0.15
