"""Laws of the alignment of diffusion series: everything happens in the world, whatever the grids are."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.distortion.field import acquired_grid, resample
from n2a_bids.algorithms.quality.alignment_checks import QCThresholds
from n2a_bids.algorithms.registration.dwi_alignment import judge_series
from n2a_bids.algorithms.registration.dwi_resampling import (
    mean_b0,
    resample_series,
    series_noise_kept,
    series_view,
)
from n2a_bids.algorithms.registration.motion_measures import mean_gradients, measure_motion, undo_rotations
from n2a_bids.algorithms.registration.noise_attenuation import PairNoise
from n2a_bids.algorithms.registration.placed_images import (
    PlacedImage,
    brain_overlap,
    register_series,
    show_on,
)
from n2a_bids.algorithms.transforms import Affine, world_points
from n2a_bids.external.b0_brain import find_brain
from n2a_bids.interfaces.dwi.alignment_record import motion_warnings
from n2a_bids.io.gradients import superior_axis
from n2a_bids.record.alignment import AlignedRepetition, VolumeMotion

_AFFINE = np.array([[-3.0, 0, 0, 40], [0, 3.0, 0, -45], [0, 0, 3.0, -30], [0, 0, 0, 1]])
_GATES = QCThresholds(0.85, 0.5, 45.0, 80.0, 0.9)


def _head(seed: int = 0, affine: np.ndarray = _AFFINE, shape=(28, 32, 22)) -> PlacedImage:
    """A head that stands in the world: any grid may look at it."""
    generator = np.random.default_rng(seed)
    centres, sizes = generator.uniform(-24, 24, (60, 3)), generator.uniform(5, 9, 60)
    points = world_points(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1), affine)
    inside = ((points / (32, 38, 26)) ** 2).sum(axis=-1)
    image = 100 / (1 + np.exp(20 * (inside - 0.9)))
    for centre, size in zip(centres, sizes, strict=True):
        image *= 1 + 0.8 * np.exp(-((points - centre) ** 2).sum(axis=-1) / (2 * size**2))
    return PlacedImage(image.astype(np.float32), affine, inside < 0.95)


def _motion(turn_deg=(3.0, -2.0, 4.0), shift_mm=(2.0, -3.0, 1.5)) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return Affine(matrix)


def _stored(placed: PlacedImage, code: str) -> PlacedImage:
    """The same voxels in another order."""
    image = nb.Nifti1Image(placed.image, placed.affine)
    to = nb.orientations.ornt_transform(
        nb.io_orientation(placed.affine), nb.orientations.axcodes2ornt(tuple(code))
    )
    turned = image.as_reoriented(to)
    mask = nb.Nifti1Image(placed.mask.astype(np.uint8), placed.affine).as_reoriented(to)
    return PlacedImage(turned.get_fdata(dtype=np.float32), turned.affine, mask.get_fdata() > 0)


def _oblique(voxel_mm: float = 3.4) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (12, -7, 20), degrees=True).as_matrix() * voxel_mm
    affine[:3, 3] = -affine[:3, :3] @ (np.array((26, 30, 24)) / 2)
    return affine


@pytest.mark.parametrize("code", ["RAS", "PSR", "LIP", "SPL"])
def test_another_order_of_storage_is_no_interpolation(code):
    """The same voxels come back bit for bit, all in view, with all their noise."""
    head = _head()
    other = _stored(head, code)
    voxel_map = Affine().between_voxels(head.affine, other.affine)
    still = np.zeros(head.image.shape, np.float32)
    mapping = ([voxel_map], still, 1, head.mask)
    assert np.array_equal(resample_series(other.image[..., None], *mapping)[..., 0], head.image)
    seen, fractions = series_view(other.image.shape, *mapping)
    assert seen.all() and fractions == [1.0]
    assert series_noise_kept(other.image.shape, *mapping) == 1


@pytest.mark.parametrize("other_affine", [_oblique(), _oblique(2.6), _AFFINE + np.eye(4, k=3) * 6])
def test_motion_is_found_in_the_world_whatever_the_grid(other_affine):
    """Angle, voxel size and field of view of the other series change nothing."""
    reference, motion = _head(), _motion()
    shape = (36, 40, 32) if other_affine[0, 1] else (28, 32, 22)
    # A head that moved, seen on the other grid: its voxels look where the head was.
    moved = _head(affine=(~motion @ Affine(other_affine)).matrix, shape=shape)
    other = PlacedImage(moved.image, other_affine, moved.mask)
    found = register_series(reference, other)
    apart = found.transform.apply(reference.brain_points) - motion.apply(reference.brain_points)
    assert np.linalg.norm(apart, axis=1).max() < 0.5
    assert found.converged
    assert found.transform.rotation_deg == pytest.approx(motion.rotation_deg, abs=0.3)


def test_a_series_whose_header_lies_far_off_is_found():
    """An origin that was lost: the brains are laid over each other first."""
    reference, lost = _head(), _AFFINE.copy()
    lost[:3, 3] += (90, -60, 120)
    other = PlacedImage(reference.image, lost, reference.mask)
    assert brain_overlap(reference, reference) == 1 and brain_overlap(reference, other) < 0.1
    found = register_series(reference, other).transform
    assert np.allclose(found.apply(np.zeros(3)), (90, -60, 120), atol=0.3)


def test_a_mirror_image_of_the_head_is_named():
    """QCThresholds that both pass tell nothing: a head is much like its mirror image."""
    reference, noise = _head(), np.random.default_rng(4).standard_normal((2, *_head().image.shape))
    # Nearly symmetric, as heads are.
    even = reference.image + 0.75 * (reference.image[::-1] - reference.image) + noise[0].astype(np.float32)
    head = PlacedImage(even.astype(np.float32), _AFFINE, reference.mask & reference.mask[::-1])
    thresholds = QCThresholds(-1.0, -1.0, 180.0, np.inf, 0.0)
    for flip, is_named in ((1, False), (-1, True)):
        other = PlacedImage((even[::flip] + noise[1]).astype(np.float32), _AFFINE, head.mask[::flip])
        transform = register_series(head, other).transform
        after, seen = show_on(other, transform, head)
        found = judge_series(head, other.image, after, seen, transform, thresholds)
        assert ("left and right were swapped" in found.reason) is is_named


def test_noise_is_no_reason_to_take_a_head_for_its_mirror_image():
    """Interpolated once more than the head, its mirror image has less noise to be made up for."""
    reference = _head()
    # Symmetric about a plane beside the middle: voxels of the mirror image lie between those of the head.
    mirrored = ndimage.shift(reference.image[::-1], (0.5, 0, 0), order=3)
    even = reference.image + np.float32(0.45) * (mirrored - reference.image)
    head = PlacedImage(even, _AFFINE, reference.mask & reference.mask[::-1])
    real, imaginary = np.random.default_rng(4).normal(0, 2.0 * even[head.mask].mean(), (2, *even.shape))
    other = np.hypot(even + real, imaginary).astype(np.float32)
    thresholds, seen = QCThresholds(-1.0, -1.0, 180.0, np.inf, 0.0), np.ones(even.shape, bool)
    measured = PairNoise.measure(head.image, head.mask, other, np.eye(4))
    found = judge_series(head, other, other, seen, Affine(), thresholds, measured)
    assert found.correlation_after < 0.97 and found.reason == ""


def test_another_head_is_refused_and_a_moved_one_is_not():
    """The QC thresholds of T1w images hold for b0s; what fails is named with its number."""
    reference = _head()
    results = {}
    for name, other in (("same", _head(affine=_oblique(), shape=(30, 34, 28))), ("other", _head(seed=5))):
        transform = register_series(reference, other).transform
        shown, seen = show_on(other, transform, reference)
        results[name] = judge_series(reference, shown, shown, seen, transform, _GATES)
    assert results["same"].reason == ""
    assert "does not match" in results["other"].reason and "at least 0.85" in results["other"].reason


@pytest.mark.parametrize(("slice_mm", "is_named"), [(5.2, True), (3.0, False)])
def test_thick_slices_are_a_reason_of_their_own(slice_mm, is_named):
    """Of one head that turned they show other parts: it need not be another person."""
    head, other = _head(), _head(seed=5)
    flat = replace(head, affine=np.diag([1.7, 1.7, slice_mm, 1.0]))
    found = judge_series(flat, other.image, other.image, np.ones(head.mask.shape, bool), Affine(), _GATES)
    assert ("slices of 5.2 mm that cut the brain elsewhere, or alignment failed" in found.reason) is is_named
    assert "another person or contrast" in found.reason


def test_a_gate_on_the_view():
    """Half a brain is refused by the part that is shown."""
    reference = _head()
    seen = np.zeros(reference.mask.shape, bool)
    seen[:14] = True
    found = judge_series(reference, reference.image, reference.image, seen, Affine(), _GATES)
    assert "of the brain, at least 90% is needed" in found.reason
    seen[:] = True
    seen[tuple(np.argwhere(reference.mask)[: int(0.102 * reference.mask.sum())].T)] = False
    found = judge_series(reference, reference.image, reference.image, seen, Affine(), _GATES)
    assert "89% of the brain, at least 90% is needed" in found.reason, "never 90% of 90%"


def test_distortion_is_undone_along_the_axis_of_each_array():
    """The stretch belongs to the phase-encoding axis, wherever storage has put it."""
    head = _head()
    bump = 3 * np.exp(-((np.indices(head.image.shape) - 14) ** 2).sum(axis=0) / 40).astype(np.float32)
    # As acquired: moved along the second axis, which is the first one of the array stored PSR.
    distorted = acquired_grid(np.eye(4), bump, 1, head.image.shape).show(head.image)
    plain = resample(distorted, np.eye(4), bump, 1, 1)
    stored = _stored(PlacedImage(distorted, head.affine, head.mask), "PSR")
    voxel_map = Affine().between_voxels(head.affine, stored.affine)
    # Towards lower indices there: anterior is where the axis comes from.
    turned = resample(stored.image, voxel_map, -bump, 0, 1)
    assert np.allclose(turned, plain, atol=1e-2 * head.image.max())
    # Splines are not band-limited: what is left is far less than what the distortion did.
    undone = np.abs(plain - head.image)[head.mask].mean()
    assert undone < 0.2 * np.abs(distorted - head.image)[head.mask].mean()


def test_negative_values_survive_where_there_are_any():
    """Noise about zero keeps its mean through the one interpolation; magnitudes never become negative."""
    noise = np.random.default_rng(0).normal(0, 1, (16, 18, 14, 1)).astype(np.float32)
    half, still, mask = np.eye(4), np.zeros((16, 18, 14), np.float32), np.ones((16, 18, 14), bool)
    half[:3, 3] = 0.4
    kept = resample_series(noise, [half], still, 1, mask, signed=True)[2:-2, 2:-2, 2:-2]
    clipped = resample_series(np.abs(noise), [half], still, 1, mask)
    assert abs(kept.mean()) < 0.05 and kept.min() < -1
    assert clipped.min() >= 0


def test_directions_turn_back_with_the_head():
    """A head turned by 30 degrees in the scanner: its own directions are turned by minus 30."""
    turn = _motion((0, 0, 30), (0, 0, 0))
    table = Gradients(np.array([0.0, 1000.0]), np.array([[0.0, 0, 0], [1.0, 0, 0]]))
    turned = undo_rotations(table, [turn, turn])
    assert np.allclose(turned.bvecs, [[0, 0, 0], [np.cos(np.pi / 6), -0.5, 0]])
    opposite = Gradients(table.bvals, -turned.bvecs)
    assert np.allclose(mean_gradients([turned, opposite]).bvecs, turned.bvecs)


def test_framewise_displacement_counts_neighbours_in_time():
    """Power's sum of shifts and arcs, between volumes in the order of acquisition, not of the table."""
    steps = [Affine(), _motion((0, 0, 0), (1, -2, 0)), _motion((0, 0, 1.0), (1, -2, 0))]
    found = measure_motion(steps, np.zeros(3))
    assert found.framewise_displacement_mm == pytest.approx([3.0, 50 * np.radians(1)])
    assert found.max_framewise_displacement_mm == pytest.approx(3.0)
    assert found.rotation_deg == pytest.approx([0, 0, 1]) and found.translation_mm[1] == pytest.approx(5**0.5)
    swapped = measure_motion([steps[2], steps[0], steps[1]], np.zeros(3), [2, 0, 1])
    assert swapped.framewise_displacement_mm == pytest.approx(found.framewise_displacement_mm)


def test_lengths_that_are_no_matter_of_voxels_shrink_with_small_brains():
    """A rat that turned by a degree had moved by nearly a millimetre, 6 mm off was no warning, and its
    brain was compared with its mirror image in seven voxels."""
    turn = [Affine(), _motion((0, 0, 1.0), (0, 0, 0))]
    brains = [
        PlacedImage(np.ones((24, 24, 24)), np.diag([mm, mm, mm, 1]), np.ones((24, 24, 24), bool))
        for mm in (5.0, 0.5)
    ]
    measures = [measure_motion(turn, np.zeros(3), size=brain.brain_size) for brain in brains]
    arcs_mm = [one.max_framewise_displacement_mm for one in measures]
    assert arcs_mm[0] == pytest.approx(50 * np.radians(1)) and 0.1 < arcs_mm[1] < 0.2
    moved = VolumeMotion((0, 1), (0.0, 0.0), (0.0, 6.0), (0.0, 6.0), (1.0, 1.0))
    row = AlignedRepetition(file="dwi.nii.gz", volumes=moved)
    told = [motion_warnings([row], brain.brain_size) for brain in brains]
    assert not told[0] and "motion of up to 6 mm" in told[1][0]


def _real_b0(path) -> PlacedImage:
    image = nb.load(path)
    b0 = np.asarray(image.dataobj[..., 0], np.float32)
    return PlacedImage(b0, image.affine, find_brain(b0, superior_axis(image.affine)))


def test_real_series_stored_in_two_orders_are_one_head(real_data):
    """Stored PSL and PSR, fields of view 26 mm apart, head turned: found, and far above the QC thresholds."""
    folder = real_data / "dwi-pairs" / "sub-sagap" / "dwi"
    first, second = (_real_b0(folder / f"sub-sagap_run-{run}_dwi.nii.gz") for run in (1, 2))
    registration = register_series(first, second)
    transform = registration.transform
    shown, seen = show_on(second, transform, first)
    found = judge_series(first, shown, shown, seen, transform, _GATES)
    assert registration.converged and found.reason == ""
    assert found.correlation_after > 0.95 and found.structure_correlation > 0.95
    assert found.rotation_deg < 3


def test_lowest_shell_stands_for_b0s_whatever_scanners_write_for_it():
    """Runs without b0s are compared by all volumes of a shell, not by one that was rounded down."""
    data = np.random.default_rng(0).random((4, 4, 4, 8)).astype(np.float32)
    directions = np.random.default_rng(1).standard_normal((8, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for lowest in ([995.0, 1000, 1005, 1000], [1005.0, 995, 1000, 1000]):
        bvals = [*lowest, 2000, 1990, 2010, 2000]
        shown = mean_b0(data, Gradients(np.array(bvals), directions))
        np.testing.assert_allclose(shown, data[..., :4].mean(axis=-1), rtol=1e-6)
