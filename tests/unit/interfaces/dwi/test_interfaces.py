"""Diffusion nodes: copies, motion, distortion, volumes out of view."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
import torch
from diffusion_series import random_table
from scipy import ndimage

from n2a_bids.algorithms.distortion.eddy_currents import EddyCurrents
from n2a_bids.algorithms.registration.rigid_fit import SmoothImage
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.external.b0_brain import find_brain
from n2a_bids.interfaces.complex_parts import PlacePhase
from n2a_bids.interfaces.dwi.align import AlignSeries
from n2a_bids.interfaces.dwi.alignment_record import cut_warnings
from n2a_bids.interfaces.dwi.b0_mask import B0Mask
from n2a_bids.interfaces.dwi.copies import FindSeriesCopies
from n2a_bids.interfaces.dwi.distortion import phase_encoding_axis
from n2a_bids.interfaces.dwi.motion import EstimateMotion, to_record
from n2a_bids.interfaces.dwi.series import PickVolumes
from n2a_bids.interfaces.dwi.shared_motion import ShareEddyCurrents
from n2a_bids.interfaces.dwi.tensor import split_series, split_volumes
from n2a_bids.io.gradients import read_gradients, write_gradients
from n2a_bids.io.json import write_record
from n2a_bids.io.transforms import read_transforms, write_transforms
from n2a_bids.lab.benchmark.baselines import find_denoiser, installed
from n2a_bids.lab.benchmark.dwi.baselines import DWI_BASELINES
from n2a_bids.record.alignment import AlignedRepetition, VolumeMotion

_SHAPE = (24, 26, 14)
_AFFINE = np.diag([6.0, 6.0, 6.0, 1.0])


def _head():
    grid = np.stack(np.meshgrid(*(np.linspace(-1.15, 1.15, n) for n in _SHAPE), indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.8
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(_SHAPE), 2.5)
    return np.where(mask, 100 * (1 + 2 * texture).clip(0.5), 0.0).astype(np.float32), mask


def _tensor_series(table):
    head, mask = _head()
    along = (table.bvecs @ np.array([0.6, 0.8, 0])) ** 2
    return head[..., None] * np.exp(-table.bvals / 1000 * (0.3 + 1.2 * along)).astype(np.float32), mask


def _save(path, data):
    nb.Nifti1Image(data, _AFFINE).to_filename(path)
    return str(path)


def test_picked_volumes_keep_their_directions(tmp_path, monkeypatch):
    """Volumes and columns of the table stay together, in the order asked for."""
    monkeypatch.chdir(tmp_path)
    table = random_table(2, 14)
    series, _ = _tensor_series(table)
    bval, bvec = write_gradients(table, _AFFINE, tmp_path / "raw")
    volumes = [0, 5, 3]
    # Of five axes, as some converters write them.
    raw = _save(tmp_path / "raw.nii.gz", series[..., None])
    outputs = PickVolumes(in_file=raw, bval_file=bval, bvec_file=bvec, volumes=volumes).run().outputs
    assert np.allclose(nb.load(outputs.out_file).get_fdata(), series[..., volumes], atol=1e-3)
    assert nb.load(outputs.b0_file).shape == _SHAPE
    picked = read_gradients(outputs.bval_file, outputs.bvec_file, _AFFINE)
    assert np.allclose(picked.bvecs, table.bvecs[volumes], atol=1e-6)
    assert np.loadtxt(outputs.bval_file).tolist() == [0, 1000, 1000]


def test_an_empty_volume_is_named_before_anything_is_computed(tmp_path, monkeypatch):
    """An aborted scan leaves zeros at the end: file and volume are named."""
    monkeypatch.chdir(tmp_path)
    table = random_table(2, 14)
    series, _ = _tensor_series(table)
    series[..., 9] = 0
    bval, bvec = write_gradients(table, _AFFINE, tmp_path / "raw")
    node = PickVolumes(in_file=_save(tmp_path / "raw.nii.gz", series), bval_file=bval, bvec_file=bvec)
    with pytest.raises(BIDSDataError, match=r"raw\.nii\.gz: expected an image .* volume 9"):
        node.run()


@pytest.mark.parametrize("n_slices", [2, 3])
def test_a_slab_too_thin_for_motion_is_named(tmp_path, monkeypatch, n_slices):
    """Of two slices nothing is compared, and no motion found would read as a head that lay still."""
    monkeypatch.chdir(tmp_path)
    table = random_table(2, 14)
    series = _tensor_series(table)[0][:, :, 4 : 4 + n_slices]
    bval, bvec = write_gradients(table, _AFFINE, tmp_path / "raw")
    node = PickVolumes(in_file=_save(tmp_path / "raw.nii.gz", series), bval_file=bval, bvec_file=bvec)
    told = [text for text in node.run().outputs.gap_warnings if "slab of 2 slices" in text]
    assert len(told) == (n_slices == 2)
    points = np.argwhere(np.ones(series.shape[:3], bool)).astype(float)
    compared = SmoothImage(series[..., 0], (1.0, 1.0, 1.0), 1.0).sees(points, np.zeros(6))
    assert compared.any() == (n_slices > 2)


def test_a_map_of_the_scanner_that_was_stored_as_b0_is_refused(tmp_path, monkeypatch):
    """A trace image with b=0 at the end: file and volume are named; without it the series is taken."""
    monkeypatch.chdir(tmp_path)
    table = random_table(2, 14)
    series, _ = _tensor_series(table)
    series[..., 1] = series[..., 2:].mean(axis=-1)
    bval, bvec = write_gradients(table, _AFFINE, tmp_path / "raw")
    node = PickVolumes(in_file=_save(tmp_path / "raw.nii.gz", series), bval_file=bval, bvec_file=bvec)
    with pytest.raises(
        BIDSDataError, match=r"raw\.nii\.gz: expected b0 volumes .* volume 1 \(0\.\d+ of the o"
    ):
        node.run()
    node.inputs.volumes = [0, *range(2, 16)]
    assert node.run().outputs.gap_warnings == []


def test_dropout_of_a_slice_is_named_with_the_number_of_its_volume_in_the_file(tmp_path, monkeypatch):
    """Also where only some volumes are taken; a whole series needs no word."""
    monkeypatch.chdir(tmp_path)
    table = random_table(2, 14)
    series, _ = _tensor_series(table)
    bval, bvec = write_gradients(table, _AFFINE, tmp_path / "raw")
    table_and_volumes = {"bval_file": bval, "bvec_file": bvec, "volumes": [0, 1, 3, 5, 7, 9, 11]}
    whole = PickVolumes(in_file=_save(tmp_path / "raw.nii.gz", series), **table_and_volumes)
    assert whole.run().outputs.gap_warnings == []
    middle = series.shape[2] // 2
    series[:, :, middle, 7] *= 0.2
    lost = PickVolumes(in_file=_save(tmp_path / "lost.nii.gz", series), **table_and_volumes)
    (warning,) = lost.run().outputs.gap_warnings
    assert f"lost.nii.gz: signal was lost in slices: slice {middle} of volume 7 (2" in warning
    assert "along k" in warning and "eddy" in warning
    assert lost.run().outputs.lost_slices == [[4, middle]]
    lost.inputs.has_others = True
    (warning,) = lost.run().outputs.gap_warnings
    assert "stand in" in warning and "eddy" not in warning
    lost.inputs.slice_axis = 0
    assert lost.run().outputs.lost_slices == [], "no slice along that axis is dark"


def test_a_series_that_holds_the_noise_of_another_is_named(tmp_path):
    """Copied as it is, or shaded and stored mirrored; the first stays. Volumes stored twice are a warning."""
    table = random_table(2, 14)
    series, _ = _tensor_series(table)
    noise = np.random.default_rng(0).normal(0, 3, (2, *series.shape)).astype(np.float32)
    first, second = series + noise[0], series + noise[1]
    second[..., 4] = 2 * second[..., 1]
    shaded = np.round(10 * first * np.linspace(0.7, 1.3, first.shape[0])[:, None, None, None])[::-1]
    mirrored = _AFFINE @ np.diag([-1.0, 1, 1, 1])
    mirrored[:3, 3] = _AFFINE[:3, 3] + _AFFINE[:3, 0] * (first.shape[0] - 1)
    images = [(first, _AFFINE), (second, _AFFINE), (shaded, mirrored), (first, _AFFINE)]
    files, bvals, bvecs = [], [], []
    for number, (data, affine) in enumerate(images):
        files.append(str(tmp_path / f"{number}.nii.gz"))
        nb.Nifti1Image(data, affine).to_filename(files[-1])
        bval, bvec = write_gradients(table, affine, tmp_path / str(number))
        bvals.append(str(bval))
        bvecs.append(str(bvec))
    names = [f"run-{number}_dwi.nii.gz" for number in range(1, 5)]
    found = FindSeriesCopies(in_files=files, bval_files=bvals, bvec_files=bvecs, names=names).run().outputs
    assert found.reasons[:2] == ["", ""]
    assert "the same noise as run-1_dwi.nii.gz (correlation" in found.reasons[2]
    assert "copy of run-1_dwi.nii.gz" in found.reasons[3]
    (warning,) = found.warnings
    assert "run-2_dwi.nii.gz holds volumes twice (volume 4 of 1" in warning


@pytest.mark.slow
def test_b0s_are_averaged_where_the_first_of_them_lies(tmp_path, monkeypatch):
    """A head that moved between two b0s is not blurred in their mean."""
    monkeypatch.chdir(tmp_path)
    table = random_table(2, 14)
    series, mask = _tensor_series(table)
    still = series[..., 0].copy()
    series[..., 1] = ndimage.shift(still, (0.8, 0, 0), order=3)
    bval, bvec = write_gradients(table, _AFFINE, tmp_path / "raw")
    outputs = (
        EstimateMotion(
            in_file=_save(tmp_path / "raw.nii.gz", series),
            bval_file=bval,
            bvec_file=bvec,
            mask_file=_save(tmp_path / "mask.nii.gz", mask.astype(np.uint8)),
        )
        .run()
        .outputs
    )
    b0 = nb.load(outputs.b0_file).get_fdata()
    plain = series[..., :2].mean(axis=-1)
    inside = ndimage.binary_erosion(mask)
    assert np.abs(b0 - still)[inside].mean() < 0.4 * np.abs(plain - still)[inside].mean()


@pytest.mark.slow
def test_csf_that_is_bright_in_b0_and_dark_beside_it_moves_nothing(tmp_path, monkeypatch):
    """Contrast between shells is no motion: a head that kept still stays within a quarter of a voxel."""
    monkeypatch.chdir(tmp_path)
    shape = (40, 44, 26)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.6
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(shape), 2)
    brain = 100 * ndimage.gaussian_filter(mask.astype(float), 1) * (1 + 2 * texture).clip(0.2)
    # A cap of CSF at the top of the head, and ventricles below the middle.
    cap = mask & ~ndimage.binary_erosion(mask, iterations=2) & (z > 0.1)
    csf = ndimage.gaussian_filter((cap | (x**2 + y**2 + (z + 0.2) ** 2 < 0.04)).astype(float), 0.5)
    b0 = brain * (1 + 1.5 * csf)
    table = random_table(2, 12)
    csf = csf[..., None]
    diffusivity = 0.75 + 2.2 * csf + 0.3 * (1 - csf) * table.bvecs[:, 0] ** 2
    series = (b0[..., None] * np.exp(-table.bvals / 1000 * diffusivity)).astype(np.float32)
    bval, bvec = write_gradients(table, _AFFINE, tmp_path / "raw")
    node = EstimateMotion(
        in_file=_save(tmp_path / "raw.nii.gz", series),
        bval_file=bval,
        bvec_file=bvec,
        mask_file=_save(tmp_path / "mask.nii.gz", mask.astype(np.uint8)),
    )
    points = 6.0 * np.argwhere(mask)
    motion = read_transforms(node.run().outputs.motion_file)
    assert max(one.displacement_mm(points).mean() for one in motion) < 0.25 * 6.0


@pytest.mark.slow
@pytest.mark.parametrize("other", ["has none", "tells another", "tells the same"])
def test_motion_is_estimated_anew_only_by_eddy_currents_of_others(tmp_path, monkeypatch, other):
    """Else it stays what the series tells alone, file by file."""
    monkeypatch.chdir(tmp_path)
    table = random_table(1, 14)
    series, mask = _tensor_series(table)
    shown = _save(tmp_path / "series.nii.gz", series)
    bval, bvec = write_gradients(table, _AFFINE, tmp_path / "own")
    numbers = 1e3 * np.eye(3)
    own, another = (
        EddyCurrents(1, np.full(3, 60.0), np.zeros(3), slopes / 1e5, numbers, slopes / 100)
        for slopes in (numbers, numbers[::-1] * [1, -1, 1])
    )
    records = [
        str(write_record(to_record(currents), tmp_path / f"{name}.json"))
        for name, currents in (("own", own), ("second", another if other == "tells another" else own))
    ]
    node = ShareEddyCurrents(
        in_file=shown,
        bval_file=bval,
        bvec_file=bvec,
        mask_file=_save(tmp_path / "mask.nii.gz", mask.astype(np.uint8)),
        phase_encoding=[0.0, 1.0, 0.0],
        index=0,
        motion_file=write_transforms([Affine(np.eye(4))] * 15, tmp_path / "own_motion.json"),
        b0_file=_save(tmp_path / "own_b0.nii.gz", series[..., 0]),
        currents_files=[records[0], "" if other == "has none" else records[1]],
        in_files=[shown, shown],
    )
    outputs = node.run().outputs
    assert (Path(outputs.motion_file) != Path(node.inputs.motion_file)) is (other == "tells the same")
    if other == "tells the same":
        moved = read_transforms(outputs.motion_file)
        assert any(one.rigid is not None for one in moved)


def test_brain_is_found_in_a_b0(tmp_path, monkeypatch):
    """The mask overlaps the true head; an empty image is refused with its volume."""
    monkeypatch.chdir(tmp_path)
    head, mask = _head()
    found = find_brain(head)
    assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.8
    speck = np.zeros(_SHAPE, np.float32)
    speck[10:12, 10:12, 7] = 100
    with pytest.raises(BIDSDataError, match="ml"):
        B0Mask(in_file=_save(tmp_path / "b0.nii.gz", speck), b0_mask_method="otsu").run()


def test_phase_encoding_of_an_array():
    """The axis of the array that runs along a direction of the world, whatever the order of storage."""
    psl = np.array([[0, 0, -2.0, 0], [-2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 0, 1]])
    assert phase_encoding_axis([0, 1, 0], _AFFINE) == 1
    assert phase_encoding_axis([0, 1, 0], psl) == 0
    assert phase_encoding_axis([-1, 0, 0], psl) == 2


def _aligned(folder, table, motion, **inputs):
    """Outputs of the alignment of one series whose motion (world, mm) is given, and what went in."""
    series, mask = _tensor_series(table)
    bval, bvec = write_gradients(table, np.diag([6.0, 6.0, 6.0, 1.0]), folder / "raw")
    align = AlignSeries(
        in_files=[_save(folder / "series.nii.gz", series)],
        bval_files=[bval],
        bvec_files=[bvec],
        motion_files=[write_transforms([Affine(one) for one in motion], folder / "motion.json")],
        between_file=write_transforms([Affine()], folder / "between.json"),
        b0_files=[_save(folder / "b0.nii.gz", series[..., 0])],
        mask_file=_save(folder / "mask.nii.gz", mask.astype(np.uint8)),
        names=["series.nii.gz"],
        **inputs,
    )
    return align.run().outputs, series, mask


def test_series_that_did_not_move_are_not_interpolated(tmp_path, monkeypatch):
    """Identity motions and no distortion: the very same intensities and directions come out."""
    monkeypatch.chdir(tmp_path)
    table = random_table(2, 14)
    outputs, series, _ = _aligned(tmp_path, table, np.tile(np.eye(4), (len(table.bvals), 1, 1)))
    assert np.array_equal(nb.load(outputs.out_files[0]).get_fdata(), series)
    aligned = read_gradients(outputs.bval_file, outputs.bvec_file, _AFFINE)
    assert np.allclose(aligned.bvecs, table.bvecs, atol=1e-6)


def test_what_eddy_currents_did_to_a_volume_is_undone(tmp_path, monkeypatch):
    """Shear and stretch leave, with the intensity that they made; table and motion know nothing of them."""
    monkeypatch.chdir(tmp_path)
    table = random_table(2, 14)
    series, mask = _tensor_series(table)
    bval, bvec = write_gradients(table, _AFFINE, tmp_path / "raw")
    shear = np.eye(4)
    shear[1] = 0.03, 1.06, 0.05, -6.0
    sheared = series.copy()
    back = np.linalg.inv(_AFFINE) @ np.linalg.inv(shear) @ _AFFINE
    sheared[..., 5] = ndimage.affine_transform(series[..., 5], back[:3, :3], back[:3, 3], order=3) / 1.06
    transforms = [Affine(shear, np.eye(4)) if volume == 5 else Affine() for volume in range(16)]
    outputs = (
        AlignSeries(
            in_files=[_save(tmp_path / "series.nii.gz", sheared)],
            bval_files=[bval],
            bvec_files=[bvec],
            motion_files=[write_transforms(transforms, tmp_path / "motion.json")],
            between_file=write_transforms([Affine()], tmp_path / "between.json"),
            b0_files=[_save(tmp_path / "b0.nii.gz", series[..., 0])],
            mask_file=_save(tmp_path / "mask.nii.gz", mask.astype(np.uint8)),
            names=["series.nii.gz"],
        )
        .run()
        .outputs
    )
    inside = ndimage.binary_erosion(mask, iterations=2)
    left = (nb.load(outputs.out_files[0]).get_fdata() - series)[inside, 5]
    assert np.abs(left).mean() < 0.2 * np.abs((sheared - series)[inside, 5]).mean()
    aligned = read_gradients(outputs.bval_file, outputs.bvec_file, _AFFINE)
    assert np.allclose(aligned.bvecs, table.bvecs, atol=1e-6)
    row = json.loads(Path(outputs.record_file).read_text())["repetitions"][0]
    assert row["eddy_currents_mm"] > 5 and row["max_framewise_displacement_mm"] == 0


def test_a_phase_is_moved_and_not_made_stronger(tmp_path, monkeypatch):
    """What a stretch does to intensities, it does not do to radians."""
    monkeypatch.chdir(tmp_path)
    table = random_table(2, 14)
    phase = np.full((*_SHAPE, 16), 1.5, np.float32)
    stretch = np.diag([1.0, 1.2, 1.0, 1.0])
    bval, bvec = write_gradients(table, _AFFINE, tmp_path / "raw")
    transforms = [Affine(stretch, np.eye(4))] * 16
    place = PlacePhase(
        in_files=[_save(tmp_path / "phase.nii.gz", phase)],
        bval_files=[bval],
        bvec_files=[bvec],
        motion_files=[write_transforms(transforms, tmp_path / "motion.json")],
        between_file=write_transforms([Affine()], tmp_path / "between.json"),
        mask_file=_save(tmp_path / "mask.nii.gz", _head()[1].astype(np.uint8)),
    )
    placed = nb.load(place.run().outputs.phase_file).get_fdata()
    assert placed[10, 10, 7] == pytest.approx(np.full(16, 1.5), abs=1e-3)


def test_transforms_keep_their_motion_beside_distortion(tmp_path):
    """On disk, joined and inverted."""
    shear, turn = np.eye(4), np.eye(4)
    shear[1, 2] = 0.1
    turn[:2, :2] = [[0, -1], [1, 0]]
    path = write_transforms([Affine(shear @ turn, turn), Affine(turn)], tmp_path / "motion.json")
    distorted, plain = read_transforms(path)
    assert plain.rigid is None and plain.stretch == 1
    assert np.allclose(distorted.rotation, turn[:3, :3]) and distorted.rotation_deg == pytest.approx(90)
    both = distorted @ plain
    assert np.allclose(both.rotation, (turn @ turn)[:3, :3])
    assert np.allclose((~both @ both).matrix, np.eye(4)) and np.allclose((~both @ both).rotation, np.eye(3))


def test_a_volume_that_moved_out_of_view_is_named(tmp_path, monkeypatch):
    """The mask ends with its view, and the record says which volume did it and how far each one moved."""
    monkeypatch.chdir(tmp_path)
    table = random_table(2, 14)
    maps = np.tile(np.eye(4), (len(table.bvals), 1, 1))
    maps[5, 2, 3] = 4.0 * 6.0
    outputs, _, mask = _aligned(tmp_path, table, maps, volumes=[list(range(3, 3 + len(table.bvals)))])
    record = json.loads(Path(outputs.record_file).read_text())
    volumes = record["repetitions"][0]["volumes"]
    assert volumes["translation_mm"][5] == pytest.approx(4 * 6.0)
    assert volumes["brain_in_view"][5] < 0.95 and volumes["brain_in_view"][4] == 1
    cut, implausible = record["warnings"]
    assert cut.startswith("series.nii.gz: by motion, only")
    assert "(volume 8, from 0)" in cut, "as counted in the file"
    assert "motion of up to 24 mm" in implausible and "(volume 8, from 0)" in implausible
    # There and back, over all pairs of neighbours.
    assert record["repetitions"][0]["max_framewise_displacement_mm"] == pytest.approx(24)
    assert record["repetitions"][0]["mean_framewise_displacement_mm"] == pytest.approx(2 * 24 / 15, rel=1e-3)
    assert nb.load(outputs.mask_file).get_fdata().sum() < mask.sum()


def test_a_series_that_lies_elsewhere_is_named_once():
    """What all its volumes miss is no motion, and leaving one out would change nothing."""
    numbers = tuple(range(40))
    volumes = VolumeMotion(numbers, brain_in_view=(0.9,) * 40)
    far = VolumeMotion(numbers, brain_in_view=(1.0,) * 30 + (0.6,) * 10)
    texts = cut_warnings(
        [AlignedRepetition(file="a", volumes=volumes), AlignedRepetition(file="b", volumes=far)]
    )
    assert [text.split()[0] for text in texts] == ["a", "b:"]
    assert "90%" in texts[0] and "volume 30, 31, 32 and 7 more" in texts[1]


def test_halves_share_no_direction_and_give_the_whole_table():
    """Each half has its own volumes, and predicts the noise-free series exactly."""
    table = random_table(2, 14)
    series, mask = _tensor_series(table)
    halves = split_volumes(table, torch.Generator().manual_seed(0))
    assert not set(halves[0]) & set(halves[1])
    for half in split_series(series, table, mask, halves):
        assert np.allclose(half[mask], series[mask], rtol=1e-3)


@pytest.mark.parametrize("name", installed(DWI_BASELINES))
def test_baselines_keep_grid_and_outside(name):
    """A baseline gives a finite series of the same shape and leaves the outside alone."""
    table = random_table(2, 14)
    series, mask = _tensor_series(table)
    noisy = series + np.abs(np.random.default_rng(0).normal(0, 3, series.shape)).astype(np.float32)
    result = find_denoiser(name, DWI_BASELINES)(noisy, mask, table)
    assert result.shape == noisy.shape and np.isfinite(result).all()
    assert np.array_equal(result[~mask], noisy[~mask])


def test_unknown_baseline_is_named():
    """The error lists those that exist."""
    with pytest.raises(ConfigError, match="mppca"):
        find_denoiser("nothing", DWI_BASELINES)
