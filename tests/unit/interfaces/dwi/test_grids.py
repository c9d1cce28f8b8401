"""Alignment of diffusion series as nodes, whatever grid each has; results in native space."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from diffusion_series import random_table
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.distortion.pepolar import PairCorrection
from n2a_bids.algorithms.quality.alignment_checks import AlignmentQC
from n2a_bids.algorithms.registration.motion_measures import measure_motion
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.dataset.units import DenoisingUnit, ImageFile
from n2a_bids.errors import BIDSDataError
from n2a_bids.external.b0_brain import find_brain
from n2a_bids.interfaces.dwi.align import AlignSeries
from n2a_bids.interfaces.dwi.aligned_series import AlignedSeries, without_spoiled
from n2a_bids.interfaces.dwi.alignment_record import SeriesRow
from n2a_bids.interfaces.dwi.distortion import EstimateDistortion
from n2a_bids.interfaces.dwi.motion import RegisterSeries
from n2a_bids.interfaces.dwi.native_grid import NativeGrids
from n2a_bids.io.gradients import read_gradients, write_gradients
from n2a_bids.io.images import load
from n2a_bids.io.transforms import read_transforms, write_transforms
from n2a_bids.lab.simulation.dwi import distort
from n2a_bids.record.alignment import ODD_REPETITIONS_FILE, VolumeMotion
from n2a_bids.workflows.dwi.preparation import reference_first

_AFFINE = np.array([[-5.0, 0, 0, 60], [0, 5.0, 0, -62], [0, 0, 5.0, -35], [0, 0, 0, 1]])
_SHAPE = (24, 26, 14)
_N_VOLUMES = 8
_GATES = {"min_correlation": 0.85, "min_structure_correlation": 0.5, "min_overlap": 0.9}


def _series(seed: int = 0, noise_seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(X, Y, Z, C) noisy series of a head on the first grid, and its mask."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1.15, 1.15, n) for n in _SHAPE), indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.8
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(_SHAPE), 1.5)
    head = np.where(mask, 100 * (1 + 3 * texture).clip(0.3), 0)
    table = random_table(1, _N_VOLUMES - 1)
    along = (table.bvecs @ np.array([0.6, 0.8, 0])) ** 2
    signal = head[..., None] * np.exp(-table.bvals / 1000 * (0.3 + 1.2 * along))
    noise = np.random.default_rng(noise_seed).normal(0, 2, signal.shape)
    return np.abs(signal + noise).astype(np.float32), mask


class _Unit:
    """Files of two series, the second in an order of storage of its own, and what the nodes want of them."""

    def __init__(self, folder: Path, code: str, *, other_head: int = 0):
        # Nodes write into the folder above.
        self.folder, self.inputs = folder / "raw", {}
        self.folder.mkdir()
        self.data = []
        for number, seed in enumerate((0, other_head), start=1):
            data, mask = _series(seed, noise_seed=number)
            self.data.append(data)
            self._write(number, data, mask, "LAS" if number == 1 else code)
        self.inputs["mask_file"] = self.inputs["mask_files"][0]

    def _write(self, number: int, data: np.ndarray, mask: np.ndarray, code: str) -> None:
        affine = None
        for name, image in (("in", data), ("b0", data[..., 0]), ("mask", mask.astype(np.uint8))):
            stored = nb.Nifti1Image(image, _AFFINE)
            to = nb.orientations.axcodes2ornt(tuple(code))
            stored = stored.as_reoriented(nb.orientations.ornt_transform(nb.io_orientation(_AFFINE), to))
            path = self.folder / f"{name}_{number}.nii.gz"
            stored.to_filename(path)
            affine = stored.affine
            self.inputs.setdefault(f"{name}_files", []).append(str(path))
        bval, bvec = write_gradients(random_table(1, _N_VOLUMES - 1), affine, self.folder / f"in_{number}")
        motion = write_transforms([Affine()] * _N_VOLUMES, self.folder / f"motion_{number}.json")
        for name, path in (("bval", bval), ("bvec", bvec), ("motion", motion)):
            self.inputs.setdefault(f"{name}_files", []).append(str(path))

    def cut(self, number: int, n_slices: int) -> None:
        """Leave the lowest slices of one series."""
        for name in ("in", "b0", "mask"):
            path = self.inputs[f"{name}_files"][number - 1]
            image = nb.load(path)
            kept = nb.Nifti1Image(np.asarray(image.dataobj)[:, :, :n_slices], image.affine)
            kept.to_filename(path)

    def run(self, **thresholds):
        """Outputs of the registration and of the alignment."""
        names = ["sub-01_run-1_dwi.nii.gz", "sub-01_run-2_dwi.nii.gz"]
        taken = {name: self.inputs[name] for name in ("b0_files", "mask_files")}
        register = RegisterSeries(names=names, **taken).run().outputs
        fields = (
            "in_files",
            "b0_files",
            "bval_files",
            "bvec_files",
            "motion_files",
            "mask_file",
            "mask_files",
        )
        align = AlignSeries(
            names=names,
            between_file=register.between_file,
            registration_file=register.record_file,
            **{name: self.inputs[name] for name in fields},
            **thresholds,
        )
        return register, align.run().outputs


@pytest.mark.parametrize("cut", [1, 2])
def test_of_two_series_the_one_that_shows_too_little_is_noted(tmp_path, monkeypatch, cut):
    """Whichever comes first: the other is then denoised alone, on its own grid."""
    monkeypatch.chdir(tmp_path)
    unit = _Unit(tmp_path, "LAS")
    unit.cut(cut, 9)
    with pytest.raises(BIDSDataError, match="of the brain"):
        unit.run(**_GATES)
    ((name, reason),) = json.loads((tmp_path / ODD_REPETITIONS_FILE).read_text())["reasons"].items()
    assert name == f"sub-01_run-{cut}_dwi.nii.gz"
    assert "it shows 7" in reason and "at least 90% is needed" in reason


def test_a_first_series_that_shows_less_keeps_a_mask_that_was_given(tmp_path, monkeypatch):
    """The mask says what counts, and limits that are off refuse nothing."""
    monkeypatch.chdir(tmp_path)
    unit = _Unit(tmp_path, "LAS")
    unit.cut(1, 9)
    assert unit.run(keep_mask=True, **_GATES)[1].accepted == [0, 1]
    assert unit.run()[1].accepted == [0, 1]


def _aligned_series(folder: Path, number: int, data: np.ndarray) -> AlignedSeries:
    """A series that lies on the grid of the first."""
    path = folder / f"aligned_{number}.nii.gz"
    nb.Nifti1Image(data.astype(np.float32), _AFFINE).to_filename(path)
    still = measure_motion([Affine()] * _N_VOLUMES, np.zeros(3), range(_N_VOLUMES))
    row = SeriesRow(f"run-{number}", AlignmentQC.of_reference(), "", still, VolumeMotion())
    table, seen = random_table(1, _N_VOLUMES - 1), np.ones(_SHAPE, bool)
    return AlignedSeries(data[..., 0], table, seen, {}, path, 1.0, row)


@pytest.mark.parametrize(
    ("spoiled", "may_leave_out_first", "left_out"),
    [(0, True, [0]), (2, True, [2]), (0, False, []), (None, True, [])],
)
def test_a_series_of_two_poses_is_left_out(tmp_path, spoiled, may_leave_out_first, left_out):
    """Slices of each volume lie elsewhere; stronger noise alone is no reason."""
    runs = []
    for number in range(3):
        data = _series(noise_seed=number)[0]
        if number == spoiled:
            moved = ndimage.shift(data, (1.2, -1.0, 0, 0), order=1)
            data[:, :, ::3] = moved[:, :, ::3]
        elif spoiled is None and number == 2:
            data += 2 * np.random.default_rng(9).normal(0, 2, data.shape).astype(np.float32)
        runs.append(_aligned_series(tmp_path, number, data))
    judged, warnings = without_spoiled(runs, _series()[1], may_leave_out_first=may_leave_out_first)
    assert [index for index, one in enumerate(judged) if one.row.reason] == left_out
    assert all("the mean is better without it" in judged[index].row.reason for index in left_out)
    assert [text.split(":")[0] for text in warnings] == ([] if may_leave_out_first else ["run-0"])


def test_two_series_tell_nothing_of_each_other(tmp_path):
    """Whose error it is, nobody can tell; one that is not used does not count."""
    runs = [_aligned_series(tmp_path, number, (1 + number) * _series()[0]) for number in range(3)]
    runs[1] = replace(runs[1], row=replace(runs[1].row, excluded="a copy"))
    assert without_spoiled(runs, _series()[1], may_leave_out_first=True) == (runs, [])


@pytest.mark.parametrize("code", ["LAS", "PSR"])
def test_another_series_stands_in_for_a_lost_slice(tmp_path, monkeypatch, code):
    """In the unit of the series that lost it, however that is stored; what both lost stays lost."""
    monkeypatch.chdir(tmp_path)
    unit, axis = _Unit(tmp_path, code), code.index("S")
    for number, lost in ((1, {4: 8}), (2, {3: 6, 4: 8})):
        path = unit.inputs["in_files"][number - 1]
        image = nb.load(path)
        data = np.float32(number) * image.get_fdata(dtype=np.float32)
        for volume, index in lost.items():
            np.moveaxis(data, 2 if number == 1 else axis, 0)[index, ..., volume] *= 0.2
        nb.Nifti1Image(data, image.affine).to_filename(path)
    b0 = nb.load(unit.inputs["b0_files"][1])
    nb.Nifti1Image(2 * b0.get_fdata(dtype=np.float32), b0.affine).to_filename(unit.inputs["b0_files"][1])
    outputs = unit.run(lost_slices=[[[4, 8]], [[3, 6], [4, 8]]], slice_axes=[2, axis], **_GATES)[1]
    first, second = (nb.load(path).get_fdata() for path in outputs.out_files)
    assert np.allclose(second[:, :, 6, 3], 2 * first[:, :, 6, 3], rtol=0.02, atol=1e-3)
    assert np.allclose(first[:, :, 8, 4], 0.2 * unit.data[0][:, :, 8, 4], atol=1e-3)
    whole = np.delete(second, (6, 8), axis=2)
    assert np.allclose(whole, 2 * np.delete(unit.data[1], (6, 8), axis=2), rtol=1e-5)


@pytest.mark.parametrize("code", ["RAS", "PSR", "SPL"])
def test_storage_changes_nothing(tmp_path, monkeypatch, code):
    """Voxels, table, mask and record are those of the same pair stored in one order."""
    monkeypatch.chdir(tmp_path)
    unit = _Unit(tmp_path, code)
    register, outputs = unit.run(**_GATES)
    assert outputs.accepted == [0, 1] and outputs.noise_kept == 1
    for path, data in zip(outputs.out_files, unit.data, strict=True):
        aligned = nb.load(path)
        assert np.array_equal(aligned.affine, _AFFINE)
        assert np.array_equal(np.asarray(aligned.dataobj), data)
    found = read_gradients(Path(outputs.bval_file), Path(outputs.bvec_file), _AFFINE)
    # The registration of noisy images turns a still head by some hundredths of a degree.
    assert np.allclose(found.bvecs, random_table(1, _N_VOLUMES - 1).bvecs, atol=1e-3)
    record = json.loads(Path(outputs.record_file).read_text())
    assert record["repetitions"][1]["rotation_deg"] < 0.2 and record["warnings"] == []
    assert record["motion_between_series"]["converged"] == [True, True]
    assert len(read_transforms(register.between_file)) == 2


def test_every_series_comes_back_in_its_own_order(tmp_path, monkeypatch):
    """The combined signal on the grid of each source, with a table that is true there."""
    monkeypatch.chdir(tmp_path)
    unit = _Unit(tmp_path, "PSR")
    register, outputs = unit.run()
    mean = np.mean([nb.load(path).get_fdata() for path in outputs.out_files], axis=0).astype(np.float32)
    nb.Nifti1Image(mean, _AFFINE).to_filename(tmp_path / "mean.nii.gz")
    names = ("in_files", "bval_files", "bvec_files", "motion_files")
    own = NativeGrids(
        between_file=register.between_file,
        own_b0_files=unit.inputs["b0_files"],
        accepted=outputs.accepted,
        b0_files=outputs.b0_files,
        mask_file=outputs.mask_file,
        denoised_file=str(tmp_path / "mean.nii.gz"),
        **{name: unit.inputs[name] for name in names},
    )
    results = own.run().outputs
    second, source = nb.load(results.out_files[1]), nb.load(unit.inputs["in_files"][1])
    assert np.array_equal(second.affine, source.affine) and second.shape == source.shape
    inside = ndimage.binary_erosion(nb.load(outputs.mask_file).get_fdata() > 0, iterations=2)
    back = second.as_reoriented(
        nb.orientations.ornt_transform(nb.io_orientation(second.affine), nb.io_orientation(_AFFINE))
    ).get_fdata()
    assert np.abs(back - mean)[inside].mean() < 0.5
    table = read_gradients(Path(results.bval_files[1]), Path(results.bvec_files[1]), second.affine)
    assert np.allclose(table.bvecs, random_table(1, _N_VOLUMES - 1).bvecs, atol=1e-6)


def test_a_pair_of_two_people_is_an_error_that_names_both_and_the_number(tmp_path, monkeypatch):
    """Which of the two is the right one cannot be told."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BIDSDataError, match=r"run-1.*run-2_dwi\.nii\.gz: its b0 does not match \(corr"):
        _Unit(tmp_path, "RAS", other_head=3).run(**_GATES)


_COIL = np.exp(np.meshgrid(np.linspace(-1, 1, 24), *(np.zeros(n) for n in _SHAPE[1:]), indexing="ij")[0])
"""(X, Y, Z) brightness that a surface coil receives: seven times as much beside it as at the other side."""


def _shade(path: str, gain: float = 1.0) -> None:
    """Multiply an image by what coils receive, however it is stored."""
    image = nb.load(path)
    coil = nb.Nifti1Image(gain * _COIL, _AFFINE)
    to = nb.orientations.ornt_transform(nb.io_orientation(_AFFINE), nb.io_orientation(image.affine))
    field = coil.as_reoriented(to).get_fdata()
    field = field[..., None] if image.ndim == 4 else field
    nb.Nifti1Image((image.get_fdata() * field).astype(np.float32), image.affine).to_filename(path)


@pytest.mark.parametrize("code", ["LAS", "PSR"])
def test_a_series_without_normalisation_gets_the_shading_of_the_first(tmp_path, monkeypatch, code):
    """It is neither refused nor turned by it, and the record tells; slices that were lost are no shading."""
    monkeypatch.chdir(tmp_path)
    unit = _Unit(tmp_path, code)
    for name in ("in_files", "b0_files"):
        _shade(unit.inputs[name][1], gain=3.0)
    register, outputs = unit.run(**_GATES)
    assert outputs.accepted == [0, 1]
    turned = read_transforms(register.between_file)[1]
    assert turned.rotation_deg < 0.5
    mask = nb.load(outputs.mask_file).get_fdata() > 0
    first, second = (nb.load(path).get_fdata()[mask] for path in outputs.out_files)
    for volume in range(_N_VOLUMES):
        alike = np.corrcoef(*(data[mask][:, volume] for data in unit.data))[0, 1]
        assert np.corrcoef(first[:, volume], second[:, volume])[0, 1] > alike - 0.02
    record = json.loads(Path(outputs.record_file).read_text())
    assert record["repetitions"][1]["shading"][1] > 2 * record["repetitions"][1]["shading"][0]
    assert any("its shading is another than that of sub-01_run-1" in text for text in record["warnings"])


def test_two_people_stay_two_however_they_are_shaded(tmp_path, monkeypatch):
    """Shading that both have is no likeness."""
    monkeypatch.chdir(tmp_path)
    unit = _Unit(tmp_path, "RAS", other_head=3)
    for name in ("in_files", "b0_files"):
        _shade(unit.inputs[name][0])
    with pytest.raises(BIDSDataError, match=r"run-2_dwi\.nii\.gz: its b0 does not match"):
        unit.run(**_GATES)


def test_a_series_excluded_beforehand_is_left_out_and_the_other_goes_on(tmp_path, monkeypatch):
    """A copy, say: one measurement is left, and the record says why."""
    monkeypatch.chdir(tmp_path)
    unit = _Unit(tmp_path, "RAS")
    _, outputs = unit.run(excluded=["", "it holds the noise of run-1"])
    assert outputs.accepted == [0] and len(outputs.out_files) == 1
    rows = json.loads(Path(outputs.record_file).read_text())["repetitions"]
    assert [row["accepted"] for row in rows] == [True, False]
    assert rows[1]["reason"] == "it holds the noise of run-1"


def test_the_finest_voxels_are_the_grid_of_the_result(tmp_path):
    """No series loses detail; volumes and files stay together, and rounding of headers decides nothing."""
    images = []
    for number, size in enumerate((2.5, 2.0, 2.0000001), start=1):
        path = tmp_path / f"sub-01_run-{number}_dwi.nii.gz"
        nb.Nifti1Image(np.zeros((4, 4, 4)), np.diag([size, size, size, 1])).to_filename(path)
        images.append(ImageFile(path))
    unit = DenoisingUnit("dwi-repeats", tuple(images), {"sub": "01"}, volumes=((0,), (1,), (2,)))
    moved, reason = reference_first(unit)
    assert [image.path.name[7:12] for image in moved.images] == ["run-2", "run-1", "run-3"]
    assert moved.volumes == ((1,), (0,), (2,)) and "smallest voxels" in reason
    same, reason = reference_first(DenoisingUnit("dwi-repeats", tuple(images[1:]), {"sub": "01"}))
    assert same.images[0] is images[1] and "first series" in reason


def test_a_given_mask_makes_its_series_the_grid_of_the_result(tmp_path):
    """As long as no other has smaller voxels: on any other the mask is known to a first look alone."""
    images = []
    for number, size in enumerate((2.0, 2.0, 2.5), start=1):
        affine = np.diag([size, size, size, 1])
        affine[0, 3] = number
        path = tmp_path / f"sub-01_run-{number}_dwi.nii.gz"
        nb.Nifti1Image(np.zeros((4, 4, 4, 2)), affine).to_filename(path)
        nb.Nifti1Image(np.ones((4, 4, 4)), affine).to_filename(tmp_path / f"mask-{number}.nii.gz")
        images.append(ImageFile(path))
    unit = DenoisingUnit("dwi-repeats", tuple(images), {"sub": "01"})
    firsts = [reference_first(unit, tmp_path / f"mask-{number}.nii.gz") for number in (1, 2, 3)]
    assert [moved.images[0] for moved, _ in firsts] == [images[0], images[1], images[0]]
    assert "brain mask" in firsts[1][1] and "first series" in firsts[2][1]


def _pair_files(folder: Path, code: str) -> dict[str, object]:
    """b0s of a pair distorted along anterior-posterior, the second stored in another order."""
    folder.mkdir()
    data, mask = _series()
    field = (1.5 * ndimage.gaussian_filter(np.random.default_rng(3).standard_normal(_SHAPE), 4)).astype(
        np.float32
    )
    field *= np.float32(1.5) / np.abs(field[mask]).max()
    smooth = ndimage.gaussian_filter(data[..., 0], 0.7)
    inputs: dict[str, object] = {"names": ["ap", "pa"], "phase_encoding": [[0, -1, 0], [0, 1, 0]]}
    to = nb.orientations.axcodes2ornt(tuple(code))
    for number, sign in enumerate((1, -1), start=1):
        for name, image in (("b0", distort(smooth, field, 1, sign)), ("mask", mask.astype(np.uint8))):
            stored = nb.Nifti1Image(image, _AFFINE)
            if number == 2:
                stored = stored.as_reoriented(nb.orientations.ornt_transform(nb.io_orientation(_AFFINE), to))
            path = folder / f"{name}_{number}.nii.gz"
            stored.to_filename(path)
            inputs.setdefault(f"{name}_files", []).append(str(path))
    return inputs


@pytest.mark.proof
def test_a_pair_stored_in_two_orders_has_the_same_distortion(tmp_path, monkeypatch):
    """The axis is that of each array, and the field that of the head."""
    found = {}
    for code in ("LAS", "PSR"):
        folder = tmp_path / code
        folder.mkdir()
        monkeypatch.chdir(folder)
        outputs = EstimateDistortion(**_pair_files(folder / "raw", code)).run().outputs
        record = json.loads(Path(outputs.record_file).read_text())
        assert record["correlation_after"] > max(0.97, record["correlation_before"])
        fields = [nb.load(path) for path in outputs.displacement_files]
        assert all(np.array_equal(field.affine, _AFFINE) for field in fields)
        found[code] = [field.get_fdata() for field in fields], read_transforms(outputs.between_file)[1]
    assert np.allclose(found["LAS"][0][0], found["PSR"][0][0], atol=0.05)
    # The first axis of PSR runs to the back: the same displacement has the other sign there.
    assert np.allclose(found["LAS"][0][1], -found["PSR"][0][1], atol=0.05)
    assert np.allclose(found["LAS"][1].matrix, found["PSR"][1].matrix, atol=0.02)


@pytest.mark.proof
@pytest.mark.real_data
def test_distortion_is_not_led_by_shading(tmp_path, monkeypatch, real_data):
    """The partner without prescan normalisation: the field is that of two normalised b0s, of a real head."""
    fields = []
    for name in ("alike", "shaded"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        inputs, mask = _real_pair_files(real_data, folder, shaded=name == "shaded")
        outputs = EstimateDistortion(**inputs).run().outputs
        fields.append(nb.load(outputs.displacement_files[0]).get_fdata())
        assert json.loads(Path(outputs.record_file).read_text())["correlation_after"] > 0.99
    # Without it, the pair is refused: folds in 11 % of the brain, and moves it by 61 mm.
    assert np.abs(fields[1] - fields[0])[mask].mean() < 0.4 * np.abs(fields[0])[mask].mean()


def _real_pair_files(
    real_data: Path, folder: Path, *, shaded: bool
) -> tuple[dict[str, object], NDArray[np.bool_]]:
    """b0s at half their resolution, the second as the coils at one side of the head receive it, if shaded."""
    inputs: dict[str, object] = {"names": ["ap", "pa"], "phase_encoding": [[0, -1, 0], [0, 1, 0]]}
    for name in ("AP", "PA"):
        data, affine = load(real_data / f"epi-pair/sub-01/fmap/sub-01_dir-{name}_epi.nii.gz")
        data = data.mean(axis=-1) if data.ndim == 4 else data
        data = data.reshape(64, 2, 64, 2, *data.shape[2:]).mean(axis=(1, 3))
        mask = find_brain(data)
        if shaded and name == "PA":
            data = data * np.exp(np.linspace(-1, 1, len(data)))[:, None, None]
        for kind, values in (("b0", data), ("mask", mask)):
            path = folder / f"{kind}_{name}.nii.gz"
            image = nb.Nifti1Image(values.astype(np.float32), affine @ np.diag([2, 2, 1, 1]))
            image.to_filename(path)
            inputs.setdefault(f"{kind}_files", []).append(str(path))
    return inputs, mask


@pytest.mark.proof
def test_series_of_one_polarity_that_are_stated_opposite_are_told(tmp_path, monkeypatch):
    """The field of noise is believed, as the sidecars are, but not without a word."""
    monkeypatch.chdir(tmp_path)
    inputs = _pair_files(tmp_path / "raw", "LAS")
    first = nb.load(inputs["b0_files"][0])
    noise = np.random.default_rng(0).normal(0, 0.02 * first.get_fdata().max(), _SHAPE)
    nb.Nifti1Image(first.get_fdata() + noise, _AFFINE).to_filename(inputs["b0_files"][1])
    outputs = EstimateDistortion(**inputs).run().outputs
    assert outputs.corrected
    (warning,) = json.loads(Path(outputs.record_file).read_text())["warnings"]
    assert "both have one phase encoding" in warning


def test_a_field_that_explains_nothing_is_refused(tmp_path, monkeypatch):
    """Two people as a pair: no distortion makes one of the other."""
    monkeypatch.chdir(tmp_path)
    inputs = _pair_files(tmp_path / "raw", "LAS")
    first = nb.load(inputs["b0_files"][0])
    far = PairCorrection(
        *(np.full(_SHAPE, sign * 2, np.float32) for sign in (1, -1)),
        np.eye(4),
        (np.roll(first.get_fdata(), 2, 1).astype(np.float32), first.get_fdata().astype(np.float32)),
        *(1, 0.0, True),
    )
    monkeypatch.setattr("n2a_bids.interfaces.dwi.distortion.correct_pair", lambda *args, **settings: far)
    with pytest.raises(BIDSDataError, match=r"^ap: .* how pa differs.* without making the b0s more alike"):
        EstimateDistortion(**inputs).run()


def test_b0s_are_compared_where_both_show_the_brain(tmp_path, monkeypatch):
    """Elsewhere they would differ, and the field is not known: the part that is shown is told."""
    monkeypatch.chdir(tmp_path)
    inputs = _pair_files(tmp_path / "raw", "LAS") | {"is_optional": True}
    image = nb.load(inputs["b0_files"][0]).get_fdata().astype(np.float32)
    nb.Nifti1Image(image[:, :, :9], _AFFINE).to_filename(inputs["b0_files"][1])
    mask = _series()[1].astype(np.uint8)
    nb.Nifti1Image(mask[:, :, :9], _AFFINE).to_filename(inputs["mask_files"][1])
    nothing, black = np.zeros(_SHAPE, np.float32), np.arange(_SHAPE[2]) >= 9
    still = PairCorrection(nothing, nothing, np.eye(4), (image, np.where(black, 0, image)), 1, 0.0, True)
    monkeypatch.setattr("n2a_bids.interfaces.dwi.distortion.correct_pair", lambda *args, **settings: still)
    monkeypatch.setattr("n2a_bids.interfaces.dwi.distortion.doubt_of_pair", lambda *args: "")
    record = json.loads(Path(EstimateDistortion(**inputs).run().outputs.record_file).read_text())
    assert record["correlation_aligned"] == record["correlation_after"] == 1
    (warning,) = record["warnings"]
    assert warning.startswith("pa shows only 7") and "hardly corrected" in warning


@pytest.mark.parametrize("is_optional", [True, False])
def test_an_image_without_signal_makes_no_pair(tmp_path, monkeypatch, is_optional):
    """A b0 that others can do without leaves the distortion, and a partner is refused by name."""
    monkeypatch.chdir(tmp_path)
    inputs = _pair_files(tmp_path / "raw", "LAS") | {"is_optional": is_optional}
    nb.Nifti1Image(np.zeros(_SHAPE, np.float32), _AFFINE).to_filename(inputs["b0_files"][1])
    node = EstimateDistortion(**inputs)
    if not is_optional:
        with pytest.raises(BIDSDataError, match=r"^ap: .* how pa differs.* no signal"):
            node.run()
        return
    outputs = node.run().outputs
    assert not outputs.corrected
    assert not any(nb.load(path).get_fdata().any() for path in outputs.displacement_files)
    warnings = json.loads(Path(outputs.record_file).read_text())["warnings"]
    assert "the distortion is left as it is" in warnings[0] and "no signal" in warnings[0]
