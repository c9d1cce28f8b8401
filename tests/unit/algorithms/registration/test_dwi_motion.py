"""Laws of motion estimation between diffusion volumes."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from diffusion_series import random_directions
from dwi_dataset import NOISE_SD, VOXEL_MM, head
from scipy import ndimage
from scipy.spatial.transform import Rotation
from textured_heads import motion_head

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.volume_comparison import place_weights
from n2a_bids.algorithms.diffusion.volume_prediction import noise_over_signal
from n2a_bids.algorithms.distortion.eddy_currents import can_be_told, relative_gradients
from n2a_bids.algorithms.registration.dwi_contrasts import contrast_groups, largest_shift_voxels
from n2a_bids.algorithms.registration.dwi_motion import estimate_motion
from n2a_bids.algorithms.registration.rigid import register_rigid
from n2a_bids.algorithms.transforms import Shear

_SIZE = (2.0, 2.0, 2.5)


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
    image, mask = motion_head()
    truth = _voxel_map(3.0, [1.0, -1.5, 1.0], image.shape)
    found = register_rigid(image, 1.3 * _moved(image, truth), mask, _SIZE)
    assert _largest_error_mm(found, truth, mask) < 0.5


def test_identical_image_stays():
    """An image registered to itself does not move."""
    image, mask = motion_head()
    assert np.allclose(register_rigid(image, image, mask, _SIZE), np.eye(4), atol=1e-3)


def test_moved_volume_of_a_series_is_found_and_the_first_b0_is_the_reference():
    """The one volume that moved is told from those that did not, whatever the direction's contrast."""
    image, mask = motion_head()
    other, _ = motion_head(seed=5)
    vectors = np.random.default_rng(1).standard_normal((14, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = Gradients(np.r_[0.0, np.full(14, 1000.0)], np.vstack((np.zeros(3), vectors)))
    weights = np.r_[1.0, 0.4 + 0.1 * vectors[:, 0] ** 2]
    data = np.stack([image * w + other * 0.1 * w**2 for w in weights], axis=-1)
    truth = _voxel_map(2.0, [1.5, 0.0, -1.0], image.shape)
    data[..., 6] = _moved(data[..., 6], truth)
    maps = estimate_motion(
        data.astype(np.float32), table, mask, _SIZE, lambda fixed, moving: np.eye(4)
    ).voxel_maps
    assert np.allclose(maps[0], np.eye(4), atol=1e-9)
    assert _largest_error_mm(maps[6], truth, mask) < 1.0
    assert max(_largest_error_mm(maps[c], np.eye(4), mask) for c in (1, 4, 9, 14)) < 0.6


def test_motion_between_shells_is_added_to_that_of_every_volume():
    """What aligns the shells sees their means, and its map goes into the maps of the weighted volumes."""
    image, mask = motion_head()
    truth = _voxel_map(2.0, [1.0, 0.5, -1.0], image.shape)
    vectors = np.vstack((np.zeros((2, 3)), np.eye(3), np.eye(3)[::-1]))
    table = Gradients(np.r_[0.0, 0.0, np.full(6, 1000.0)], vectors)
    data = np.stack([image, image] + [_moved(0.5 * image, truth)] * 6, axis=-1).astype(np.float32)
    seen = []

    def align_shell(fixed, moving):
        seen.append((fixed, moving))
        return truth

    maps = estimate_motion(data, table, mask, _SIZE, align_shell).voxel_maps
    ((fixed, moving),) = seen
    assert np.abs(fixed - image)[mask].max() < 1
    assert np.abs(moving - data[..., 2])[mask].max() < 1
    assert max(_largest_error_mm(voxel_map, truth, mask) for voxel_map in maps[2:]) < 0.2
    assert max(_largest_error_mm(voxel_map, np.eye(4), mask) for voxel_map in maps[:2]) < 0.2


def test_time_runs_as_volumes_were_acquired():
    """A series that is stored in another order moves as in its own: its neighbours in time are others."""
    shape = (18, 20, 12)
    image, mask = motion_head(shape)
    rng = np.random.default_rng(2)
    vectors = random_directions(8)
    table = Gradients(np.r_[0.0, np.full(8, 1000.0)], np.vstack((np.zeros(3), vectors)))
    drift = [_voxel_map(0.4 * volume, [0.3 * volume, 0.0, 0.0], shape) for volume in range(9)]
    data = np.stack([_moved(image * (1.0 if one is drift[0] else 0.5), one) for one in drift], axis=-1)
    data = (data + 6 * rng.standard_normal(data.shape)).astype(np.float32)
    order = np.r_[0, 1 + rng.permutation(8)]

    def still(fixed, moving):
        return np.eye(4)

    own = estimate_motion(data, table, mask, _SIZE, still).voxel_maps
    stored = data[..., order], table.subset(order), mask, _SIZE, still
    assert np.allclose(estimate_motion(*stored, times=order.tolist()).voxel_maps, own[order], atol=1e-3)
    assert not np.allclose(estimate_motion(*stored).voxel_maps, own[order], atol=1e-1)


_IVIM = np.array([0.0, 10, 20, 40, 60, 80, 100, 150, 200, 300, 400, 500, 600, 700, 800, 900, 1000])
_DSI = np.r_[0.0, np.sort(np.random.default_rng(0).random(24) * 4000)]
_SHELLS = np.r_[0.0, 0.0, np.full(8, 700.0), np.full(8, 1000.0), np.full(8, 2000.0), np.full(8, 3000.0)]


def _tissue_series(bvals, image, mask, seed=0):
    """Noisy series of a head of CSF, fibres and grey matter, and its table."""
    generator = np.random.default_rng(seed)
    bvecs = generator.standard_normal((bvals.size, 3))
    bvecs /= np.linalg.norm(bvecs, axis=1, keepdims=True)
    bvecs[bvals == 0] = 0
    csf, fibres = (motion_head(image.shape, seed)[0] / 200 for seed in (3, 4))
    along = (bvecs @ np.array([0.6, 0.8, 0.0])) ** 2
    b = bvals / 1000
    signal = [
        image * (f0 * np.exp(-3 * b_) + f1 * np.exp(-b_ * (0.3 + 1.5 * a)) + np.exp(-0.8 * b_)) / 2
        for b_, a, f0, f1 in ((b_, a, csf, fibres) for b_, a in zip(b, along))
    ]
    return np.stack(signal, axis=-1), Gradients(bvals, bvecs)


def _with_noise(series, sd=0.5):
    generator = np.random.default_rng(1)
    real, imaginary = (sd * generator.standard_normal(series.shape) for _ in range(2))
    return np.hypot(series + real, imaginary).astype(np.float32)


def _still(fixed, moving):
    return np.eye(4)


def _shifts_of_still_head(volumes):
    """Mean shift in voxels of each volume of a still head, of which these volumes were acquired."""
    truth, table = head()
    mask, points = truth[..., 0] > 0, np.argwhere(truth[..., 0] > 0)
    series = _with_noise(truth[..., volumes], NOISE_SD)
    motion = estimate_motion(series, table.subset(volumes), mask, (VOXEL_MM,) * 3, _still)
    assert motion.converged
    moved = [points @ (one[:3, :3] - np.eye(3)).T + one[:3, 3] for one in motion.voxel_maps]
    return [np.linalg.norm(one, axis=1).mean() for one in moved]


def test_contrast_of_directions_is_no_motion():
    """Where fibres run in all directions, each of 15 volumes looks different; voxels are 6 mm wide."""
    shifts = _shifts_of_still_head(np.arange(head()[1].bvals.size))
    assert np.median(shifts) < 0.1 and max(shifts) < 0.2


@pytest.mark.parametrize("first", [0, 5, 9])
def test_contrast_of_few_directions_is_no_motion(first):
    """Five directions and a b0 foretell the sixth badly: by 0.4 to 0.7 voxels it was taken to have moved."""
    weighted = np.flatnonzero(head()[1].bvals > 0)
    assert max(_shifts_of_still_head(np.r_[0, weighted[first : first + 6]])) < 0.15


@pytest.mark.parametrize(("noise_sd", "weighed_as"), [(NOISE_SD, 0.03), (6 * NOISE_SD, 0.07)])
def test_noisy_series_are_predicted_with_more_noise(noise_sd, weighed_as):
    """Else single noisy volumes that moved, of high b-values, were not found to have moved."""
    truth, table = head()
    assert noise_over_signal(_with_noise(truth, noise_sd), table, truth[..., 0] > 0) == weighed_as


@pytest.mark.parametrize("bvals", [_IVIM, _DSI, _SHELLS], ids=["ivim", "dsi", "shells"])
def test_still_head_stays(bvals):
    """Whatever the b-values, a head that keeps still moves next to nothing."""
    image, mask = motion_head()
    series, table = _tissue_series(bvals, image, mask)
    motion = estimate_motion(_with_noise(series), table, mask, _SIZE, _still)
    errors = [_largest_error_mm(found, np.eye(4), mask) for found in motion.voxel_maps]
    assert motion.converged and motion.last_step_voxels < 0.05
    assert np.median(errors) < 0.3 and max(errors) < 1.2


_SPREAD = np.r_[0.0, 0.0, np.full(24, 1500.0)]
"""One shell, as most series have."""


def _sheared(series, table, shift_mm, slopes, axis=1):
    """What eddy currents make of a still head: displacements along an axis, linear in gradient and place."""
    sheared, size = series.copy(), np.array(_SIZE)
    points = np.indices(series.shape[:3]).reshape(3, -1).T * size
    centre = points.mean(axis=0)
    for volume, gradient in enumerate(relative_gradients(table)):
        shear = Shear(axis, centre, float(gradient @ shift_mm), gradient @ slopes)
        # The head is seen where the inverse of the displacement reads it, its signal conserved.
        back = np.linalg.inv(shear.matrix)
        source = (points @ back[:3, :3].T + back[:3, 3]) / size
        seen = ndimage.map_coordinates(series[..., volume], source.T, order=3)
        sheared[..., volume] = np.linalg.det(back[:3, :3]) * seen.reshape(series.shape[:3])
    return sheared


@pytest.mark.slow
@pytest.mark.parametrize("bvals", [_SPREAD, _SHELLS], ids=["shell", "shells"])
def test_eddy_currents_are_found_and_are_no_motion(bvals):
    """What follows the gradients is told from the head, which keeps still, in shift, shear and stretch."""
    image, mask = motion_head()
    series, table = _tissue_series(bvals, image, mask)
    shift_mm = np.array([1.0, -1.5, 0.5])
    slopes = np.array([[0.03, 0.0, -0.02], [0.0, 0.02, 0.03], [-0.02, 0.01, 0.05]])
    noisy = _with_noise(_sheared(series, table, shift_mm, slopes))
    found = estimate_motion(noisy, table, mask, _SIZE, _still, 1)
    assert np.median([_largest_error_mm(one, np.eye(4), mask) for one in found.rigid_maps]) < 0.6
    scale, centre = np.diag([*_SIZE, 1.0]), (np.array(image.shape) - 1) / 2 * _SIZE
    truth = [
        np.linalg.inv(scale) @ Shear(1, centre, float(g @ shift_mm), g @ slopes).matrix @ scale
        for g in relative_gradients(table)
    ]
    errors = [_largest_error_mm(*pair, mask) for pair in zip(found.voxel_maps, truth)]
    moved = [_largest_error_mm(np.eye(4), one, mask) for one in truth]
    assert np.max(moved) > 2
    assert np.median(errors) < np.median(moved) / 2 and max(errors) < 1


def test_known_eddy_currents_are_undone_and_no_others_looked_for():
    """As what a series shares with another: the head keeps still, and slopes are those that were given.

    Those of a mouse were left where they moved its brain by less than 0.2 mm, which is a voxel or more.
    """
    image, mask = motion_head()
    series, table = _tissue_series(_SPREAD, image, mask)
    slopes = np.array([[0.03, 0.0, -0.02], [0.0, 0.02, 0.03], [-0.02, 0.01, 0.05]])
    noisy = _with_noise(_sheared(series, table, np.zeros(3), slopes))
    of_mouse = tuple(0.05 * np.array(_SIZE))
    own = estimate_motion(noisy, table, mask, of_mouse, _still, 1)
    given = replace(own.currents, slopes=slopes)
    found = estimate_motion(noisy, table, mask, of_mouse, _still, 1, given)
    assert found.currents is given
    assert found.n_rounds < own.n_rounds
    assert np.median([_largest_error_mm(one, np.eye(4), mask) for one in found.rigid_maps]) < 0.6


@pytest.mark.parametrize("bvals", [_SPREAD, _IVIM, _DSI, _SHELLS], ids=["shell", "ivim", "dsi", "shells"])
def test_a_still_head_has_no_eddy_currents(bvals):
    """Contrast looks alike for opposite gradients, distortion does not: none is taken for the other."""
    image, mask = motion_head()
    series, table = _tissue_series(bvals, image, mask)
    found = estimate_motion(_with_noise(series), table, mask, _SIZE, _still, 1)
    assert np.array_equal(found.voxel_maps, found.rigid_maps)


def test_eddy_currents_of_few_directions_are_not_looked_for():
    """Twelve numbers are not known from six volumes, nor from gradients in a plane, nor without a b0."""
    directions = np.random.default_rng(0).standard_normal((20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    flat = directions * [1, 1, 0] / np.linalg.norm(directions[:, :2], axis=1, keepdims=True)
    b = np.full(20, 1000.0)
    tables = {"all": directions, "six": directions[:6], "flat": flat}
    tables = {name: np.vstack((np.zeros(3), rows)) for name, rows in tables.items()}
    told = {name: can_be_told(Gradients(np.r_[0, b][: len(rows)], rows)) for name, rows in tables.items()}
    assert told == {"all": True, "six": False, "flat": False}
    assert not can_be_told(Gradients(b, directions))


@pytest.mark.parametrize("bvals", [_IVIM, _DSI, _SHELLS], ids=["ivim", "dsi", "shells"])
def test_volumes_that_moved_are_told_from_their_neighbours(bvals):
    """Whatever the b-values, single volumes that moved are found, relative to those of nearest b."""
    image, mask = motion_head()
    series, table = _tissue_series(bvals, image, mask)
    moved = {
        5: _voxel_map(3.0, [2.0, 0.0, -1.5], image.shape),
        12: _voxel_map(-2.0, [0, 2.5, 1], image.shape),
    }
    for volume, truth in moved.items():
        series[..., volume] = _moved(series[..., volume], truth)
    found = estimate_motion(_with_noise(series), table, mask, _SIZE, _still).voxel_maps
    for volume, truth in moved.items():
        around = (found[volume - 1] + found[volume + 1]) / 2
        assert _largest_error_mm(found[volume] @ np.linalg.inv(around), truth, mask) < 1.0


def test_drift_along_b_is_taken_from_the_contrasts():
    """What follows b looks like diffusion: the alignment of contrasts tells it, but not the least of it."""
    bvals = np.linspace(0, 1000, 21)
    image, mask = motion_head()
    series, table = _tissue_series(bvals, image, mask)
    noisy = _with_noise(series)
    for shift_mm in (3.0, 0.5):
        calls = []

        def align(fixed, moving, shift_mm=shift_mm, calls=calls):
            calls.append(1)
            return _voxel_map(0.0, [shift_mm, 0, 0], image.shape)

        maps = estimate_motion(noisy, table, mask, _SIZE, align).voxel_maps
        along = maps[:, 0, 3] * _SIZE[0]
        assert len(calls) == 1
        if shift_mm < 1:
            assert np.abs(along).max() < 0.4
        else:
            assert np.abs(along[:5]).max() < 0.4 and np.abs(along[-5:] - shift_mm).max() < 0.4
            assert (np.diff(along) > -0.3).all() and 1.0 < along[11] < 2.0


def test_groups_keep_shells_apart_and_small_ones_together():
    """Shells of their own are groups, scattered b-values are one, and a b0 stays apart from a far shell."""

    def sizes(bvals):
        bvals = np.asarray(bvals, float)
        table = Gradients(bvals, np.where(bvals[:, None] > 0, [1.0, 0, 0], 0.0))
        groups = contrast_groups(table)
        assert sorted(np.concatenate(groups)) == list(range(bvals.size))
        return [group.size for group in groups]

    assert sizes(_SHELLS) == [2, 8, 8, 8, 8]
    assert sizes(_IVIM) == [17]
    assert sizes(np.r_[0.0, np.full(30, 1000.0)]) == [1, 30]
    assert sizes(np.r_[0.0, np.full(30, 500.0)]) == [1, 30]
    assert sizes(np.r_[0.0, 0.0, np.full(3, 500.0), np.full(30, 1000.0)]) == [5, 30]
    assert sizes(np.repeat([0, 250, 500, 750, 1000], 3)) == [6, 9]


def _noisy_shell(noise_sd, moved):
    """Volumes of b = 3000 after two b0s, some of which a head that moved lies elsewhere in."""
    image, mask = motion_head()
    bvals = np.r_[0.0, 0.0, np.full(10, 3000.0)]
    series, table = _tissue_series(bvals, image, mask)
    for volume, truth in moved.items():
        series[..., volume] = _moved(series[..., volume], truth)
    signal = series[mask][:, 2:].mean()
    noise = noise_sd * signal * np.random.default_rng(7).standard_normal(series.shape)
    return (series + noise).astype(np.float32), table, mask


def test_noise_moves_no_volume():
    """With as much noise as signal, volumes of a head that kept still lie still."""
    data, table, mask = _noisy_shell(1.0, {})
    found = estimate_motion(data, table, mask, _SIZE, _still).voxel_maps
    assert max(_largest_error_mm(one, np.eye(4), mask) for one in found) < 0.5


def test_motion_beyond_its_error_is_found_in_noise():
    """With half as much noise as signal, a head that turned away for the second half of a shell is found."""
    truth = _voxel_map(4.0, [3.0, -2.0, 2.0], (28, 30, 20))
    data, table, mask = _noisy_shell(0.5, dict.fromkeys(range(7, 12), truth))
    found = estimate_motion(data, table, mask, _SIZE, _still).voxel_maps
    turned = [found[volume] @ np.linalg.inv(found[volume - 5]) for volume in range(7, 12)]
    assert np.median([_largest_error_mm(one, truth, mask) for one in turned]) < 2.5


def test_contrasts_aligned_within_their_error_are_left():
    """Mutual information between b-values errs by some tenths of a voxel: no less is believed."""
    image, mask = motion_head()
    data, table, mask = _noisy_shell(0.05, {})
    step = _voxel_map(0.0, [0.6, 0, 0], image.shape)
    maps = estimate_motion(data, table, mask, _SIZE, lambda fixed, moving: step).voxel_maps
    assert max(_largest_error_mm(one, np.eye(4), mask) for one in maps) < 0.15


@pytest.mark.parametrize("offset", [-1.0, -0.05, 0.0, 0.05])
def test_a_lost_volume_stays_with_its_neighbours(offset):
    """Noise around zero, or a volume of another sign, tells no motion: it is not flung away."""
    data, table, mask = _noisy_shell(0.1, {})
    lost = data[..., 6]
    noise = np.random.default_rng(2).standard_normal(lost.shape) + offset
    data[..., 6] = -lost if offset == -1 else noise * lost.std()
    maps = estimate_motion(data, table, mask, _SIZE, _still).voxel_maps
    assert max(_largest_error_mm(one, np.eye(4), mask) for one in maps) < 3.0


def test_blank_images_are_left_where_they_are():
    """Nothing to register is no motion, and no crash."""
    image, mask = motion_head()
    blank = np.zeros_like(image)
    for pair in ((image, blank), (blank, image), (blank, blank)):
        assert np.array_equal(register_rigid(*pair, mask, _SIZE, beyond_error=True), np.eye(4))


@pytest.mark.parametrize("unit", [1e-9, 1e6])
def test_motion_does_not_depend_on_the_unit_of_the_image(unit):
    """Reconstructions may be in any unit: a head that moved is found in all of them."""
    truth = _voxel_map(4.0, [3.0, -2.0, 2.0], (28, 30, 20))
    data, table, mask = _noisy_shell(0.1, dict.fromkeys(range(7, 12), truth))
    maps = [estimate_motion(series, table, mask, _SIZE, _still).voxel_maps for series in (data, unit * data)]
    assert max(_largest_error_mm(one, other, mask) for one, other in zip(*maps)) < 0.02


def test_memory_is_that_of_few_copies_of_the_series():
    """A series of 288 volumes of 1.25 mm takes 4 GB by itself."""
    image, mask = motion_head((40, 40, 30))
    data, table = _tissue_series(_SHELLS, image, mask)
    data = data.astype(np.float32)
    tracemalloc.start()
    try:
        estimate_motion(data, table, mask, _SIZE, _still)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * data.nbytes


def test_where_predictions_fail_beyond_noise_is_trusted_less():
    """Noise alone moves no weight by much; a tract that no other direction foretells loses nearly all."""
    noise = np.random.default_rng(0).normal(0, 1, (24, 4000)).astype(np.float32)
    mean = np.full((24, 24), 1 / 23, np.float32) * (1 - np.eye(24, dtype=np.float32))
    assert np.quantile(place_weights(noise, mean), 0.25) > 0.6
    noise[:, :100] += 20 * np.random.default_rng(1).choice([-1, 1], (24, 1)).astype(np.float32)
    trusted = place_weights(noise, mean)
    assert trusted[:100].max() < 0.01 < trusted[100:].min()


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_of_large_voxels_moves_no_head_from_round_to_round(seed):
    """Interpolation takes noise away: images smoothed by less than a voxel ran away together (5, 9 mm)."""
    shape, voxel_mm = (36, 42, 32), (4.0, 4.0, 4.0)
    image, mask = motion_head(shape)
    rng = np.random.default_rng(100)
    fibre = np.stack([ndimage.gaussian_filter(rng.standard_normal(shape), 2.5) for _ in range(3)], axis=-1)
    fibre /= np.linalg.norm(fibre, axis=-1, keepdims=True)
    order = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    order = np.clip(0.5 + order / order.std() / 2, 0, 1)[..., None]
    bvals = np.r_[0, 0, np.tile([1000.0, 2000.0], 8)]
    bvecs = np.vstack((np.zeros((2, 3)), random_directions(16)))
    series = image[..., None] * np.exp(-bvals / 1000 * (0.6 + 0.5 * order * (fibre @ bvecs.T) ** 2))
    noise = np.random.default_rng(seed).normal(0, np.median(image[mask]) / 8, (2, *series.shape))
    noisy = np.hypot(series + noise[0], noise[1]).astype(np.float32)
    found = estimate_motion(noisy, Gradients(bvals, bvecs), mask, voxel_mm, lambda fixed, moving: np.eye(4))
    assert max(4 * largest_shift_voxels(one, mask) for one in found.voxel_maps) < 1.5
