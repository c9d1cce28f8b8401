"""Alignment as nodes: reference, registration, one interpolation, refusals."""

import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.registration.resampling import resample
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.errors import BIDSDataError
from n2a_bids.interfaces.anat.align import AlignRepetitions
from n2a_bids.interfaces.anat.register import ChooseReference, RegisterRigid
from n2a_bids.interfaces.gaps import FindGaps
from n2a_bids.interfaces.image_checks import voxel_size_warnings
from n2a_bids.interfaces.odd_repetitions import read_odd_repetitions
from n2a_bids.io.transforms import read_itk_transform, write_itk_transform
from n2a_bids.record.alignment import ODD_REPETITIONS_FILE

THRESHOLDS = {
    "min_correlation": 0.5,
    "min_structure_correlation": 0.5,
    "max_rotation_deg": 45.0,
    "max_translation_mm": 80.0,
    "min_overlap": 0.9,
}


@pytest.fixture
def write(tmp_path, affine):
    """Writer of images with the affine of the phantom, or another."""

    def save(name, data, where=None):
        image = nb.Nifti1Image(np.asarray(data, np.float32), affine if where is None else where)
        image.set_qform(image.affine, 1)
        image.set_sform(image.affine, 1)
        path = tmp_path / f"{name}.nii.gz"
        image.to_filename(path)
        return str(path)

    return save


@pytest.fixture
def motion(head, affine):
    """Three degrees and some millimetres about the centre of the head, reference to moved world."""
    centre = affine[:3, :3] @ np.array(ndimage.center_of_mass(head[1])) + affine[:3, 3]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", (2, -1.5, 2.5), degrees=True).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + (3, -2, 4)
    return matrix


@pytest.fixture
def pair(head, affine, motion, write):
    """Reference, moved run and their masks, as files; the run shows the head after the motion."""
    mask = head[1]
    # Folds, without which the phantom is nearly a ball that may turn as it likes.
    folds = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(mask.shape), 1)
    clean = head[0] + 200 * folds / folds.std() * mask
    to_voxels = np.linalg.inv(affine) @ np.linalg.inv(motion) @ affine
    moved = resample(clean.astype(np.float32), to_voxels, clean.shape)[0]
    noise = np.random.default_rng(3).normal(0, 20, (4, *mask.shape))
    return {
        "reference": write("run-1", np.hypot(clean + noise[0], noise[1])),
        "moved": write("run-2", 1.2 * np.hypot(moved + noise[2], noise[3])),
        "reference_mask": write("mask-1", mask),
        "moved_mask": write("mask-2", resample(mask.astype(np.float32), to_voxels, mask.shape)[0] > 0.5),
    }


def align(folder, files, mask, transforms, **changes):
    inputs = {
        "in_files": files,
        "index": 0,
        "reference_mask": mask,
        "reference_reason": "first",
        "transforms": transforms,
        "contrast_to_noise": [1.0] * len(files),
        **THRESHOLDS,
        **changes,
    }
    return AlignRepetitions(**inputs).run(cwd=str(folder)).outputs


def itk(folder, name, matrix):
    return str(write_itk_transform(matrix, Path(folder) / f"{name}.txt"))


def test_choose_reference_takes_the_quieter_run(noisy_runs, head, write):
    """The run with the least noise wins, wherever it stands; a wish decides before quality."""
    files = [write(f"run-{sd}", noisy_runs(1, noise_sd=sd)[0]) for sd in (80, 30, 60)]
    mask = write("mask", head[1])
    found = ChooseReference(in_files=files, mask_files=[mask] * 3).run().outputs
    assert found.index == 1
    assert found.moving_files == [files[0], files[2]]
    assert ChooseReference(in_files=files, mask_files=[mask] * 3, required_index=2).run().outputs.index == 2
    processed = ChooseReference(in_files=files, mask_files=[mask] * 3, processing_steps=[0, 1, 0])
    found = processed.run().outputs
    assert found.index == 2 and found.reason.endswith("among those processed least")


def test_choose_reference_prefers_the_first_of_equals(noisy_runs, head, write):
    """Runs of one quality keep their order, and the first is not said to be the best."""
    files = [write(f"run-{i}", data) for i, data in enumerate(noisy_runs(2))]
    mask = write("mask", head[1])
    for order in (files, files[::-1]):
        found = ChooseReference(in_files=order, mask_files=[mask] * 2).run().outputs
        ratios = found.contrast_to_noise
        assert found.index == 0
        assert found.reason.startswith("largest ratio" if ratios[0] == max(ratios) else "first of those")


def test_the_reference_has_the_smallest_voxels(noisy_runs, head, write, affine):
    """Larger voxels have less noise, but their grid would coarsen all the others; who gave a mask decides."""
    coarse = affine @ np.diag([2.0, 2, 2, 1])
    halves = [ndimage.zoom(data, 0.5, order=1) for data in (noisy_runs(1, noise_sd=10)[0], 1.0 * head[1])]
    files = [write("coarse", halves[0], coarse)]
    files += [write(f"run-{sd}", noisy_runs(1, noise_sd=sd)[0]) for sd in (80, 60)]
    masks = [write("coarse_mask", halves[1] > 0.5, coarse), *([write("mask", head[1])] * 2)]
    found = ChooseReference(in_files=files, mask_files=masks).run().outputs
    assert found.contrast_to_noise[0] == max(found.contrast_to_noise)
    assert found.index == 2
    assert "smallest voxels" in found.reason
    assert ChooseReference(in_files=files, mask_files=masks, required_index=0).run().outputs.index == 0
    assert "4 x 4 x 4, 8 x 8 x 8 mm" in voxel_size_warnings([files[1], files[0]])[0]
    turned = write("turned", noisy_runs(1)[0], affine[:, [1, 2, 0, 3]] @ np.diag([1.0, 1, 1.04, 1]))
    assert voxel_size_warnings([files[1], turned]) == []


def test_all_echoes_take_the_run_of_one_number(noisy_runs, head, write):
    """Which run is quieter is told by noise, and for each echo otherwise: they would lie in two positions."""
    files = [write(f"run-{sd}", noisy_runs(1, noise_sd=sd)[0]) for sd in (80, 30)]
    masks = [write("mask", head[1])] * 2
    found = ChooseReference(in_files=files, mask_files=masks, takes_first=True).run().outputs
    assert found.index == 0
    assert found.reason == "the first, as of the other echoes, so that all lie alike"


@pytest.mark.parametrize("axis", [0, 2])
def test_the_reference_shows_the_whole_brain(noisy_runs, head, write, affine, axis):
    """A first run that was planned badly would end the result where its view ends, whatever its noise."""
    cut = [slice(None)] * 3
    cut[axis] = slice(None, int(np.flatnonzero(head[1].any(axis=tuple({0, 1, 2} - {axis})))[-1]))
    runs = [noisy_runs(1, noise_sd=20)[0][tuple(cut)], *noisy_runs(2)]
    files = [write(f"run-{number}", run) for number, run in enumerate(runs, start=1)]
    masks = [write("cut", head[1][tuple(cut)]), *([write("mask", head[1])] * 2)]
    found = ChooseReference(in_files=files, mask_files=masks).run().outputs
    assert found.contrast_to_noise[0] == max(found.contrast_to_noise)
    assert found.index == 1
    assert found.reason.endswith("among those whose view holds most of the brain")


def test_a_whole_head_beside_slabs_is_not_the_reference(noisy_runs, head, write, affine):
    """It shows all of each slab, but none shows enough of it: the slabs would go without it, or it alone."""
    low, high = (int(edge) for edge in np.flatnonzero(head[1].any(axis=(0, 1)))[[0, -1]])
    start = low + (high - low) // 2
    place = affine.copy()
    place[:3, 3] += place[:3, 2] * start
    whole, *runs = noisy_runs(3)
    files = [
        write("whole", whole),
        *(write(f"slab-{n}", run[..., start:], place) for n, run in enumerate(runs)),
    ]
    masks = [write("mask", head[1]), *([write("cut", head[1][..., start:], place)] * 2)]
    choose = ChooseReference(in_files=files, mask_files=masks, min_overlap=0.9)
    found = choose.run().outputs
    assert found.index == 1 and found.reason.endswith("among those of which others show enough")
    choose.inputs.min_overlap = 0.4
    assert choose.run().outputs.index == 0
    # Of one slab the whole head goes on, as before: there is nothing to average it with.
    choose.inputs.trait_set(in_files=files[:2], mask_files=masks[:2], gap_files=[], min_overlap=0.9)
    assert choose.run().outputs.index == 0


@pytest.mark.slow
def test_register_rigid_recovers_a_known_motion_and_repeats_itself(tmp_path, pair, motion, head, affine):
    """Within 0.1 mm and 0.1 degrees of the truth, and the same bits twice."""
    found = []
    for attempt in ("first", "second"):
        (tmp_path / attempt).mkdir()
        node = RegisterRigid(
            reference_file=pair["reference"],
            reference_mask=pair["reference_mask"],
            moving_file=pair["moved"],
            moving_mask=pair["moved_mask"],
        )
        outputs = node.run(cwd=str(tmp_path / attempt)).outputs
        found.append(Path(outputs.out_transform).read_text())
    assert found[0] == found[1]
    error = np.linalg.inv(motion) @ read_itk_transform(Path(outputs.out_transform))
    points = np.argwhere(head[1])[::20] @ affine[:3, :3].T + affine[:3, 3]
    assert Affine(error).displacement_mm(points).mean() < 0.1
    assert Affine(error).rotation_deg < 0.1


def test_align_repetitions_brings_the_moved_run_onto_the_reference(tmp_path, pair, motion, head):
    """After alignment the run differs from the reference by noise only; the reference is not touched."""
    outputs = align(
        tmp_path, [pair["reference"], pair["moved"]], pair["reference_mask"], [itk(tmp_path, "m", motion)]
    )
    assert outputs.out_files[0] == pair["reference"]
    aligned = nb.load(outputs.out_files[1])
    np.testing.assert_array_equal(aligned.affine, nb.load(pair["reference"]).affine)
    inner = ndimage.binary_erosion(head[1], iterations=2)
    rest = (aligned.get_fdata() / 1.2 - nb.load(pair["reference"]).get_fdata())[inner]
    assert rest.std() < 1.15 * 20 * np.sqrt(2)
    assert outputs.accepted == [0, 1]
    assert outputs.moved == [1]
    record = json.loads(Path(outputs.record_file).read_text())
    moved = record["repetitions"][1]
    assert moved["file"] == "run-2.nii.gz"
    assert moved["correlation_after"] > moved["correlation_before"]
    assert moved["rotation_deg"] == pytest.approx(Affine(motion).rotation_deg, abs=1e-6)
    assert moved["interpolated"]
    np.testing.assert_allclose(read_itk_transform(Path(outputs.out_transforms[1])), motion, atol=1e-12)


def test_align_repetitions_leaves_what_is_already_aligned(tmp_path, noisy_runs, head, write):
    """A run on the grid of the reference that moves a hundredth of a voxel is passed on as it is."""
    files = [write(f"run-{i}", data) for i, data in enumerate(noisy_runs(2))]
    tiny = np.eye(4)
    tiny[0, 3] = 0.04
    outputs = align(tmp_path, files, write("mask", head[1]), [itk(tmp_path, "tiny", tiny)])
    assert outputs.out_files == files
    np.testing.assert_array_equal(read_itk_transform(Path(outputs.out_transforms[1])), np.eye(4))


def test_align_repetitions_leaves_out_and_names_a_wrong_run(tmp_path, noisy_runs, head, write):
    """Two good runs go on, the third is named with its reason."""
    first, second, third = noisy_runs(3)
    files = [write("run-1", first), write("run-2", 1000 - second), write("run-3", third)]
    still = itk(tmp_path, "still", np.eye(4))
    outputs = align(tmp_path, files, write("mask", head[1]), [still, still])
    assert outputs.accepted == [0, 2]
    assert outputs.out_files == [files[0], files[2]]
    refused = json.loads(Path(outputs.record_file).read_text())["repetitions"][1]
    assert not refused["accepted"]
    assert "contrast" in refused["reason"]


@pytest.fixture
def two_poses(head):
    """The head, half of its k-space acquired a few voxels off, as after motion during the scan."""
    spectra = [np.fft.fftn(image) for image in (head[0], np.roll(head[0], (2, 1), axis=(1, 2)))]
    lines = np.fft.fftfreq(head[0].shape[1])[None, :, None]
    return np.abs(np.fft.ifftn(np.where(lines < 0.03, *spectra)))


def test_a_run_that_was_moved_during_its_scan_is_left_out(
    tmp_path, noisy_runs, head, write, affine, two_poses
):
    """It would make the mean worse; the record says by what it was found."""
    first, second = noisy_runs(2, noise_sd=20)
    shift = np.eye(4)
    shift[0, 3] = affine[0, 0]
    moved = write("run-2", np.roll(second, 1, axis=0))
    files, still = (
        [write("run-1", first), moved, write("run-3", two_poses)],
        itk(tmp_path, "still", np.eye(4)),
    )
    transforms = [itk(tmp_path, "shift", shift), still]
    outputs = align(tmp_path, files, write("mask", head[1]), transforms, space="midspace")
    assert outputs.accepted == [0, 1] and len(outputs.out_files) == 2 and not outputs.warnings
    rows = json.loads(Path(outputs.record_file).read_text())["repetitions"]
    assert "times that of the others" in rows[2]["reason"]
    (tmp_path / "without").mkdir()
    without = align(
        tmp_path / "without", files[:2], str(tmp_path / "mask.nii.gz"), transforms[:1], space="midspace"
    )
    for path, same in zip(outputs.out_files, without.out_files, strict=True):
        np.testing.assert_array_equal(nb.load(path).get_fdata(), nb.load(same).get_fdata())


def test_a_reference_that_was_moved_during_its_scan_is_told_of(tmp_path, noisy_runs, head, write, two_poses):
    """The others are aligned again without it; a reference that must stay is named in a warning."""
    files = [
        write("run-1", two_poses),
        *(write(f"run-{i}", run) for i, run in enumerate(noisy_runs(2, 20), 2)),
    ]
    still, mask = itk(tmp_path, "still", np.eye(4)), write("mask", head[1])
    with pytest.raises(BIDSDataError, match=r"run-1.nii.gz: expected a reference as good as the others"):
        align(tmp_path, files, mask, [still, still])
    (reason,) = json.loads((tmp_path / ODD_REPETITIONS_FILE).read_text())["reasons"].values()
    assert "times that of the others" in reason
    kept = align(tmp_path, files, mask, [still, still], may_leave_out_spoiled_reference=False)
    assert kept.accepted == [0, 1, 2]
    assert [text.startswith("run-1.nii.gz: its error") for text in kept.warnings] == [True]


def test_a_copy_of_a_run_that_is_not_the_reference_is_left_out(tmp_path, noisy_runs, head, write):
    """Of two equal runs the first stays; the reference stays wherever it stands."""
    first, second = noisy_runs(2)
    files = [write("run-1", first), write("run-2", second), write("run-3", second)]
    still, mask = itk(tmp_path, "still", np.eye(4)), write("mask", head[1])
    for index, accepted in ((0, [0, 1]), (2, [0, 2])):
        outputs = align(tmp_path, files, mask, [still, still], index=index)
        assert outputs.accepted == accepted
        rows = json.loads(Path(outputs.record_file).read_text())["repetitions"]
        (reason,) = [row["reason"] for row in rows if not row["accepted"]]
        assert reason == f"it is a copy of run-{2 if index == 0 else 3}.nii.gz, not a second measurement"


@pytest.mark.parametrize("kind", ["copy", "cropped"])
def test_align_repetitions_needs_two(tmp_path, noisy_runs, head, write, affine, kind):
    """With nothing left to combine, one error names every file and its reason."""
    first, second = noisy_runs(2)
    other = {"copy": 2 * first, "cropped": second[:20]}[kind]
    files = [write("run-1", first), write("run-2", other)]
    with pytest.raises(BIDSDataError, match=r"run-1.*run-2.*(copy|field of view)"):
        align(tmp_path, files, write("mask", head[1]), [itk(tmp_path, "still", np.eye(4))])


@pytest.mark.parametrize(("n_slabs", "left_out"), [(1, "run-2"), (2, "run-1")])
def test_of_a_pair_the_one_that_shows_too_little_may_be_left_out(
    tmp_path, noisy_runs, head, write, n_slabs, left_out
):
    """The complete one is left, to be denoised alone; two slabs may be denoised without it."""
    first, *others = noisy_runs(1 + n_slabs)
    files = [write("run-1", first), *(write(f"run-{n}", one[:20]) for n, one in enumerate(others, start=2))]
    still = itk(tmp_path, "still", np.eye(4))
    with pytest.raises(BIDSDataError, match=r"complete image alone.*--single"):
        align(tmp_path, files, write("mask", head[1]), [still] * n_slabs)
    assert list(read_odd_repetitions(tmp_path)) == [f"{left_out}.nii.gz"]


def test_midspace_treats_all_alike(tmp_path, pair, motion, head):
    """Both runs are interpolated, by half of the motion each, and agree."""
    outputs = align(
        tmp_path,
        [pair["reference"], pair["moved"]],
        pair["reference_mask"],
        [itk(tmp_path, "m", motion)],
        space="midspace",
    )
    halves = [read_itk_transform(Path(path)) for path in outputs.out_transforms]
    np.testing.assert_allclose(halves[1] @ np.linalg.inv(halves[0]), motion, atol=1e-9)
    np.testing.assert_allclose(halves[0] @ halves[1], np.eye(4), atol=1e-9)
    images = [nb.load(path).get_fdata() for path in outputs.out_files]
    inner = ndimage.binary_erosion(nb.load(outputs.brain_mask).get_fdata() > 0, iterations=3)
    assert (images[1] / 1.2 - images[0])[inner].std() < 1.2 * 20 * np.sqrt(2)
    assert outputs.out_files[0] != pair["reference"]


def test_written_transform_does_in_ants_what_was_done_here(tmp_path, pair, motion, head):
    """``antsApplyTransforms`` with the written file lays the run onto the reference, too."""
    ants = pytest.importorskip("ants")
    outputs = align(
        tmp_path, [pair["reference"], pair["moved"]], pair["reference_mask"], [itk(tmp_path, "m", motion)]
    )
    images = [ants.image_read(pair[name]) for name in ("reference", "moved")]
    theirs = ants.apply_transforms(*images, [outputs.out_transforms[1]], interpolator="bSpline").numpy()
    ours = nb.load(outputs.out_files[1]).get_fdata()
    inner = ndimage.binary_erosion(head[1], iterations=2)
    assert np.corrcoef(ours[inner], theirs[inner])[0, 1] > 0.99


def test_align_repetitions_takes_runs_of_another_voxel_size(tmp_path, noisy_runs, head, write, affine):
    """A run with other voxels and another field of view ends on the grid of the reference."""
    first, second = noisy_runs(2, noise_sd=20)
    coarse_affine = affine @ np.diag([1.25, 1.0, 1.25, 1.0])
    shape = (31, 44, 28)
    to_voxels = np.linalg.inv(affine) @ coarse_affine
    coarse = ndimage.affine_transform(second, to_voxels[:3, :3], to_voxels[:3, 3], shape, order=3)
    files = [write("run-1", first), write("run-2", coarse, coarse_affine)]
    outputs = align(tmp_path, files, write("mask", head[1]), [itk(tmp_path, "still", np.eye(4))])
    aligned = nb.load(outputs.out_files[1])
    assert aligned.shape == first.shape
    assert np.corrcoef(aligned.get_fdata()[head[1]], first[head[1]])[0, 1] > 0.97
    rows = json.loads(Path(outputs.record_file).read_text())["repetitions"]
    assert rows[1]["interpolated"]


def test_a_run_of_far_larger_voxels_is_left_out(tmp_path, noisy_runs, head, write, affine):
    """A mean of it and the others is blurred: whoever calls this may not have looked at headers before."""
    first, second, third = noisy_runs(3, noise_sd=20)
    thick = third.reshape(40, 44, 18, 2).mean(axis=3)
    where = affine @ np.diag([1.0, 1, 2, 1])
    where[:3, 3] += affine[:3, 2] / 2
    files = [write("run-1", first), write("run-2", second), write("thick", thick, where)]
    still = itk(tmp_path, "still", np.eye(4))
    outputs = align(tmp_path, files, write("mask", head[1]), [still, still])
    assert outputs.accepted == [0, 1]
    reason = json.loads(Path(outputs.record_file).read_text())["repetitions"][2]["reason"]
    assert reason.startswith("voxels of 4 x 4 x 8 and 4 x 4 x 4 mm (the latter of run-1.nii.gz) differ too")


def test_save_like_of_the_reference_is_the_geometry_of_every_output(tmp_path, pair, motion):
    """Masks and aligned runs have the header geometry of the reference."""
    outputs = align(
        tmp_path, [pair["reference"], pair["moved"]], pair["reference_mask"], [itk(tmp_path, "m", motion)]
    )
    expected = nb.load(pair["reference"]).header
    for path in (outputs.out_files[1], outputs.brain_mask, outputs.common_mask):
        header = nb.load(path).header
        for field in ("pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b"):
            np.testing.assert_array_equal(header[field], expected[field])


def test_a_defaced_run_is_filled_by_the_others_and_specks_are_mended(tmp_path, noisy_runs, head, write):
    """Gaps are found once, handed on, filled and named; the whole run is the reference."""
    first, second, third = (np.asarray(run, np.float32) for run in noisy_runs(3, noise_sd=20))
    face = np.zeros(head[1].shape, bool)
    face[:, -14:, :16] = ~ndimage.binary_dilation(head[1], iterations=2)[:, -14:, :16]
    specked = third.copy()
    specked[2:5:2, 3, 4] = 32767
    files = [write("run-1", np.where(face, np.float32(-1024), first)), write("run-2", second)]
    found = FindGaps(in_files=[*files, write("run-3", specked)]).run(cwd=str(tmp_path)).outputs
    assert [bool(path) for path in found.gap_files] == [True, False, True]
    assert found.out_files[1] == files[1]
    assert nb.load(found.out_files[0]).get_fdata()[face].max() == 0
    assert nb.load(found.out_files[2]).get_fdata().max() < 2000
    (warning,) = found.warnings
    assert "run-3.nii.gz: 2 voxels" in warning
    assert "32767" in warning
    mask, still = write("mask", head[1]), itk(tmp_path, "still", np.eye(4))
    chosen = ChooseReference(in_files=found.out_files, mask_files=[mask] * 3, gap_files=found.gap_files).run()
    assert chosen.outputs.index == 1
    assert "whole" in chosen.outputs.reason
    files, gaps = list(found.out_files), list(found.gap_files)
    outputs = align(tmp_path, files, mask, [still, still], index=1, gap_files=gaps)
    n_measured = nb.load(outputs.measured_file).get_fdata()
    np.testing.assert_array_equal(n_measured[face], 2)
    assert n_measured[2, 3, 4] == 2
    assert "run-1.nii.gz" in outputs.warnings[0]
    assert len(outputs.warnings) == 1
    mean = np.mean([nb.load(path).get_fdata()[face].mean() for path in outputs.out_files])
    assert mean == pytest.approx((second + third)[face].mean() / 2, rel=0.01)


def test_beyond_the_view_of_a_run_the_others_stand_in_and_are_counted(
    tmp_path, noisy_runs, head, affine, write
):
    """A run that ends in the brain is measured nowhere beyond: the mean is that of the others."""
    first, second, third = (np.asarray(run, np.float32) for run in noisy_runs(3, noise_sd=20))
    brain = np.flatnonzero(head[1].any(axis=(0, 1)))
    start = int(brain[0] + 0.3 * len(brain))
    where = affine.copy()
    where[:3, 3] += affine[:3, 2] * start
    files = [write("run-1", first), write("run-2", second[:, :, start:], where), write("run-3", third)]
    mask, still = write("mask", head[1]), itk(tmp_path, "still", np.eye(4))
    outputs = align(tmp_path, files, mask, [still, still], min_overlap=0.5)
    n_measured = nb.load(outputs.measured_file).get_fdata()
    beyond = np.zeros(head[1].shape, bool)
    beyond[:, :, :start] = True
    np.testing.assert_array_equal(n_measured, np.where(beyond, 2, 3))
    mean = np.mean([nb.load(path).get_fdata() for path in outputs.out_files], axis=0)
    cut = beyond & head[1]
    np.testing.assert_allclose(mean[cut], ((first + third) / 2)[cut], rtol=0.02)
    (warning,) = outputs.warnings
    assert "run-2.nii.gz" in warning and "of the brain lie beyond its field of view" in warning


def test_a_view_that_ends_below_the_brain_changes_nothing(tmp_path, noisy_runs, head, affine, write):
    """As after every motion of the head."""
    first, second = (np.asarray(run, np.float32) for run in noisy_runs(2, noise_sd=20))
    where = affine.copy()
    where[:3, 3] += affine[:3, 2]
    assert not head[1][:, :, 0].any()
    files = [write("run-1", first), write("run-2", second[:, :, 1:], where)]
    outputs = align(tmp_path, files, write("mask", head[1]), [itk(tmp_path, "still", np.eye(4))])
    assert not isinstance(outputs.measured_file, str)
    assert outputs.warnings == []


def test_a_dark_slice_of_one_repetition_is_named(tmp_path, noisy_runs, write):
    """By its file, slice and axis; the whole one beside it needs no word."""
    first, second = (np.asarray(run, np.float32) for run in noisy_runs(2, noise_sd=20))
    middle = second.shape[1] // 2
    second[:, middle] *= 0.3
    (warning,) = FindGaps(in_files=[write("run-1", first), write("run-2", second)]).run().outputs.warnings
    assert f"run-2.nii.gz: signal was lost in slices: slice {middle} (" in warning
    assert "along j" in warning and "leave the image out" in warning


@pytest.mark.slow
def test_specks_do_not_turn_a_registration(tmp_path, pair, motion, head, affine, write):
    """With forty voxels of 32767 in the air the head is found within 0.02 mm of where it is found without."""
    spoiled = nb.load(pair["moved"]).get_fdata()
    air = np.flatnonzero(~ndimage.binary_dilation(head[1], iterations=4))
    spoiled.flat[np.random.default_rng(0).choice(air, 40, replace=False)] = 32767
    mended = FindGaps(in_files=[write("specked", spoiled)]).run(cwd=str(tmp_path)).outputs
    assert "40 voxels" in mended.warnings[0]
    found = []
    for name in (pair["moved"], mended.out_files[0]):
        node = RegisterRigid(
            reference_file=pair["reference"],
            reference_mask=pair["reference_mask"],
            moving_file=name,
            moving_mask=pair["moved_mask"],
        )
        found.append(read_itk_transform(Path(node.run(cwd=str(tmp_path)).outputs.out_transform)))
    points = np.argwhere(head[1])[::20] @ affine[:3, :3].T + affine[:3, 3]
    assert Affine(np.linalg.inv(found[0]) @ found[1]).displacement_mm(points).max() < 0.02


def test_a_processed_copy_is_refused_and_the_reason_told(tmp_path, noisy_runs, head, write, affine):
    """A copy of another run than the reference, shaded and mirrored; what is shared in part is a warning."""
    runs = noisy_runs(4)
    shading = np.linspace(0.7, 1.3, runs[0].shape[0])[:, None, None]
    mirrored = affine @ np.diag([-1.0, 1, 1, 1])
    mirrored[:3, 3] = affine[:3, 3] + affine[:3, 0] * (runs[0].shape[0] - 1)
    images = {
        "run-1": (runs[0], affine),
        "run-2": (runs[1], affine),
        "run-3": (np.round(runs[1] * shading)[::-1], mirrored),
        "run-4": ((runs[0] + runs[2] + runs[3]) / 3, affine),
    }
    files = [write(name, *image) for name, image in images.items()]
    unmoved = [itk(tmp_path, f"unmoved-{number}", np.eye(4)) for number in range(3)]
    found = align(tmp_path, files, write("mask", head[1]), unmoved)
    assert found.accepted == [0, 1, 3]
    record = json.loads(Path(found.record_file).read_text())
    assert "same noise as run-2.nii.gz (correlation 1.00" in record["repetitions"][2]["reason"]
    (warning,) = found.warnings
    assert "run-1.nii.gz and run-4.nii.gz share part of their noise" in warning


def test_stripped_runs_meet_in_midspace_and_stay_stripped(tmp_path, pair, motion, head):
    """Both without skull, moved against each other: no ripples in the air, empty where both are."""
    stripped = {}
    for name in ("reference", "moved"):
        image, mask = nb.load(pair[name]), nb.load(pair[f"{name}_mask"]).get_fdata() > 0
        path = tmp_path / f"{name}_T1w.nii.gz"
        image.__class__(
            (image.get_fdata() * mask).astype(np.float32), image.affine, image.header
        ).to_filename(path)
        stripped[name] = str(path)
    files = [stripped["reference"], stripped["moved"]]
    gaps = FindGaps(in_files=files).run(cwd=str(tmp_path)).outputs
    assert gaps.out_files == files
    for space in ("reference", "midspace"):
        outputs = align(
            tmp_path,
            files,
            pair["reference_mask"],
            [itk(tmp_path, "m", motion)],
            gap_files=list(gaps.gap_files),
            space=space,
        )
        n_measured = nb.load(outputs.measured_file).get_fdata()
        images = np.stack([nb.load(path).get_fdata() for path in outputs.out_files])
        assert not images[:, n_measured == 0].any()
        assert np.count_nonzero(n_measured) < 1.15 * np.count_nonzero(head[1])
        rim = (
            ndimage.binary_dilation(n_measured > 0)
            & (n_measured > 0)
            & ~ndimage.binary_erosion(n_measured == 2)
        )
        assert images[:, rim].min() > 0
        assert outputs.warnings == []


@pytest.fixture
def coil(head):
    """(X, Y, Z) brightness of a head as surface coils receive it: thrice as bright at its rim."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in head[0].shape), indexing="ij")
    return np.exp(1.9 * (x**2 + y**2 + 0.6 * z**2) + 0.3 * y - 0.9)


@pytest.mark.slow
def test_registration_is_not_led_by_shading(tmp_path, pair, motion, head, affine, coil, write):
    """One run as the coils saw it, the other normalised: within 0.1 mm of the truth."""
    reference = nb.load(pair["reference"]).get_fdata()
    found = RegisterRigid(
        reference_file=write("shaded", coil * reference),
        reference_mask=pair["reference_mask"],
        moving_file=pair["moved"],
        moving_mask=pair["moved_mask"],
    ).run(cwd=str(tmp_path))
    transform = read_itk_transform(Path(found.outputs.out_transform))
    points = np.argwhere(head[1])[::50] @ affine[:3, :3].T + affine[:3, 3]
    assert Affine(transform @ np.linalg.inv(motion)).displacement_mm(points).mean() < 0.1


@pytest.mark.parametrize("space", ["reference", "midspace"])
def test_a_run_shaded_otherwise_gets_the_shading_of_the_reference(
    tmp_path, pair, motion, head, coil, write, space
):
    """As with and without prescan normalisation: told, and not refused for its contrast; echoes are left."""
    shaded = write("shaded", coil * nb.load(pair["reference"]).get_fdata())
    files, mask = [shaded, pair["moved"]], pair["reference_mask"]
    transforms = [itk(tmp_path, "known", motion)]
    found = align(tmp_path, files, mask, transforms, space=space, min_correlation=0.85)
    still, other = (nb.load(path).get_fdata()[head[1]] for path in found.out_files)
    assert np.corrcoef(still, other)[0, 1] > 0.95
    (warning,) = found.warnings
    assert warning.startswith("run-2.nii.gz: its shading is another than that of shaded.nii.gz (0.")
    record = json.loads(Path(found.record_file).read_text())
    assert "shading" not in record["repetitions"][0] or record["repetitions"][0]["shading"] is None
    assert record["repetitions"][1]["shading"][1] > 2 * record["repetitions"][1]["shading"][0]
    with pytest.raises(BIDSDataError, match="contrast"):
        align(tmp_path, files, mask, transforms, match_shading=False, min_correlation=0.95)


def test_a_normalised_copy_is_told_as_a_copy_however_strong_its_shading(
    tmp_path, noisy_runs, head, coil, write
):
    """Its contrast is not what is wrong with it; in place it needs no interpolation to be told."""
    first = noisy_runs(1, noise_sd=40)[0]
    files = [write("run-1", coil * first), write("run-2", first)]
    still = [itk(tmp_path, "still", np.eye(4))]
    with pytest.raises(BIDSDataError, match="holds the same noise as run-1"):
        align(tmp_path, files, write("mask", head[1]), still, min_correlation=0.85)
