"""Files are aligned as the app aligns them: where the reference is odd, once more without it."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel as nb
import numpy as np
import pytest
from nipype.interfaces.base import Undefined
from small_dataset import head_phantom

import n2a_bids
from n2a_bids.api import aligned_files
from n2a_bids.api.aligned_files import AlignedFiles, AlignmentOptions, align_files
from n2a_bids.cli.tools import main
from n2a_bids.errors import BIDSDataError
from n2a_bids.interfaces.anat.mask import GivenBrainMask
from n2a_bids.interfaces.odd_repetitions import note_odd_repetitions
from n2a_bids.io.json import write_record
from n2a_bids.record.alignment import AlignedRepetition, AlignmentRecord

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def test_an_odd_reference_is_left_out_and_named_where_it_stood(tmp_path, monkeypatch):
    """Files of one name in three folders: indices, record and order stay those of what was given."""
    image, brain = head_phantom()
    nb.Nifti1Image(brain.astype(np.uint8), AFFINE).to_filename(tmp_path / "mask.nii.gz")
    noise_sds, paths = (40, 20, 60), []
    for number, noise_sd in enumerate(noise_sds):
        (tmp_path / str(number)).mkdir()
        paths.append(tmp_path / str(number) / "T1.nii.gz")
        noisy = image + np.random.default_rng(number).normal(0, noise_sd, image.shape)
        nb.Nifti1Image(noisy.astype(np.float32), AFFINE).to_filename(paths[-1])

    def mask(path, how, owner):
        return GivenBrainMask(in_file=path, mask_file=str(tmp_path / "mask.nii.gz"))

    def align(chosen, images, owner, folder, how):
        (folder / "aligned").mkdir(parents=True)
        if len(images) == 3:
            note_odd_repetitions(folder / "aligned", {"T1.nii.gz": "its error is large"})
            raise BIDSDataError("spoiled")
        rows = tuple(AlignedRepetition(file=one.file) for one in images)
        record = write_record(AlignmentRecord(repetitions=rows), folder / "alignment.json")
        outputs = {"brain_mask": "mask", "common_mask": "mask", "measured_file": Undefined}
        return SimpleNamespace(
            out_files=["0", "2"], out_transforms=["0", "2"], **outputs,
            accepted=[0, 1], record_file=record, warnings=[],
        )  # fmt: skip

    monkeypatch.setattr(aligned_files, "_mask_interface", mask)
    monkeypatch.setattr(aligned_files, "_align_to", align)
    found = align_files(paths, tmp_path / "work", AlignmentOptions())
    assert found.accepted == (0, 2)
    assert found.reference == paths[0] and found.measured is None
    rows = found.record.repetitions
    assert [row.accepted for row in rows] == [True, False, True]
    assert [row.file for row in rows] == [str(paths[0]), "T1.nii.gz", str(paths[2])]
    assert rows[1].reason == "its error is large"


def test_what_the_app_warns_of_is_told_here(tmp_path, monkeypatch):
    """Bright tissue that was cut off, and voxel sizes that differ."""
    image, brain = head_phantom()
    nb.Nifti1Image(brain.astype(np.uint8), AFFINE).to_filename(tmp_path / "mask.nii.gz")
    paths = [tmp_path / name for name in ("cut.nii.gz", "coarse.nii.gz")]
    noisy = [image + np.random.default_rng(number).normal(0, 20, image.shape) for number in (0, 1)]
    cut = np.minimum(noisy[0], np.quantile(noisy[0][brain], 0.9)).astype(np.float32)
    nb.Nifti1Image(cut, AFFINE).to_filename(paths[0])
    nb.Nifti1Image(noisy[1].astype(np.float32), AFFINE * [1.2, 1.2, 1.2, 1]).to_filename(paths[1])

    def align(chosen, images, owner, folder, how):
        rows = tuple(AlignedRepetition(file=path.name) for path in paths)
        record = write_record(AlignmentRecord(repetitions=rows), tmp_path / "alignment.json")
        outputs = {"brain_mask": "mask", "common_mask": "mask", "measured_file": Undefined}
        return SimpleNamespace(
            out_files=["0", "1"], out_transforms=["0", "1"], **outputs,
            accepted=[0, 1], record_file=record, warnings=["moved far"],
        )  # fmt: skip

    monkeypatch.setattr(aligned_files, "_align_to", align)
    found = align_files(paths, tmp_path / "work", AlignmentOptions(mask=tmp_path / "mask.nii.gz"))
    told = "; ".join(found.warnings)
    assert "voxel sizes of the images differ" in told and "cut.nii.gz: 10.0%" in told
    assert "coarse.nii.gz:" not in told and found.warnings[-1] == "moved far"


def test_an_image_that_would_be_left_alone_is_not_aligned(tmp_path, monkeypatch):
    """Of a pair with a slab, the app denoises the complete image: here, the failure is told."""
    image, brain = head_phantom()
    for name, values, kind in (("mask", brain, np.uint8), ("T1", image, np.float32)):
        nb.Nifti1Image(values.astype(kind), AFFINE).to_filename(tmp_path / f"{name}.nii.gz")

    def align(chosen, images, owner, folder, how):
        (folder / "aligned").mkdir(parents=True)
        note_odd_repetitions(folder / "aligned", {"T1.nii.gz": "it shows half of the brain"})
        raise BIDSDataError("half of the brain")

    monkeypatch.setattr(aligned_files, "_align_to", align)
    with pytest.raises(BIDSDataError, match="half of the brain"):
        align_files([tmp_path / "T1.nii.gz"] * 2, tmp_path, AlignmentOptions(mask=tmp_path / "mask.nii.gz"))


def test_what_fails_for_another_reason_fails(tmp_path, monkeypatch):
    """Nothing was written down against the reference."""
    image, brain = head_phantom()
    nb.Nifti1Image(brain.astype(np.uint8), AFFINE).to_filename(tmp_path / "mask.nii.gz")
    nb.Nifti1Image(image.astype(np.float32), AFFINE).to_filename(tmp_path / "T1.nii.gz")

    def align(*arguments):
        raise BIDSDataError("nothing fits")

    monkeypatch.setattr(aligned_files, "_align_to", align)
    with pytest.raises(BIDSDataError, match="nothing fits"):
        align_files(
            [tmp_path / "T1.nii.gz"] * 2, tmp_path / "work", AlignmentOptions(mask=tmp_path / "mask.nii.gz")
        )


class _Seen(Exception):
    """Ends the denoising where its job is known."""


@pytest.fixture
def runs(tmp_path):
    """Two small images with noise, as files."""
    paths = [tmp_path / f"run-{number}.nii.gz" for number in (1, 2)]
    for seed, path in enumerate(paths):
        values = 100 + np.random.default_rng(seed).normal(0, 5, (16, 16, 16))
        nb.save(nb.Nifti1Image(values.astype(np.float32), np.eye(4)), path)
    return paths


@pytest.mark.parametrize("caller", ["function", "command"])
def test_noise_is_compared_and_its_matrix_looked_for_before_interpolation(
    caller, runs, tmp_path, monkeypatch
):
    """As in the app, its k-space is that of the reference as stored; runs were compared as acquired."""
    files = {
        name: tmp_path / f"{name}.nii.gz" for name in ("one", "two", "brain", "common", "stored", "measured")
    }
    rows = tuple(AlignedRepetition(file=path.name) for path in runs)
    aligned = AlignedFiles(
        runs=(files["one"], files["two"]),
        brain_mask=files["brain"],
        common_mask=files["common"],
        transforms=(),
        reference=files["stored"],
        accepted=(0, 1),
        record=AlignmentRecord(repetitions=rows),
        measured=files["measured"],
    )
    seen = []

    def note(request, *_):
        seen.append(getattr(request, "job", request))
        raise _Seen

    monkeypatch.setattr("n2a_bids.api.aligned_files.align_files", lambda *_: aligned)
    monkeypatch.setattr("n2a_bids.api.denoising.align_files", lambda *_: aligned)
    monkeypatch.setattr("n2a_bids.api.denoising.denoise_files", note)
    monkeypatch.setattr("n2a_bids.tools.denoise.run_denoise", note)
    if caller == "function":
        with pytest.raises(_Seen):
            n2a_bids.denoise(runs, random_seed=5)
    else:
        assert main(["denoise", *map(str, runs), "--random-seed", "5", "--out", str(tmp_path / "o.nii.gz")])
    (job,) = seen
    assert job.runs == aligned.runs and job.mask == files["brain"] and job.measured == files["measured"]
    assert job.stored == (files["stored"],) and job.allow_shared_noise
    assert job.denoise.random_seed == 5
