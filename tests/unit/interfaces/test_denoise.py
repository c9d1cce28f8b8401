"""Check, denoise and write as nodes: what they accept, what command they run, what they leave behind."""

import errno
import json
import os
import shlex
import shutil
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from n2a_bids import __version__
from n2a_bids.algorithms.risk.stacking import describe_blend
from n2a_bids.errors import BIDSDataError
from n2a_bids.interfaces.denoise import Denoise
from n2a_bids.interfaces.derivatives.sidecar_fields import alignment_sidecar, denoising_sidecar
from n2a_bids.interfaces.derivatives.sidecars import DescribeResults, completed_record
from n2a_bids.interfaces.derivatives.sink import SelectByIndex, WriteDerivatives
from n2a_bids.interfaces.image_checks import CheckImages
from n2a_bids.record.alignment import AlignmentRecord
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.typed_json import from_json
from n2a_bids.system.child import child_environment, run_module

ALIGNMENT = {
    "reference": "sub-01_run-2_T1w.nii.gz",
    "space": "reference",
    "interpolation": "one",
    "repetitions": [
        {
            "file": f"sub-01_run-{run}_T1w.nii.gz",
            "rotation_deg": 1.0,
            "translation_mm": 2.0,
            "correlation_after": 0.9,
            "overlap": 1.0,
            "mean_framewise_displacement_mm": 0.1,
            "max_framewise_displacement_mm": 0.3,
            "accepted": run != 1,
            "reason": "another person" if run == 1 else "",
        }
        for run in (1, 2, 3)
    ],
}
RECORD = {
    "strategy": "auto",
    "chosen": {"name": "recorrupted", "description": "a network trained on recorrupted means."},
    "recipe": "fast",
    "random_seed": 7,
    "weights": {"name": "unet", "sha256": "abc"},
    "n_repetitions": 2,
    "equivalent_averages": 9.5,
    "repetitions": [{"file": "/elsewhere/repetition-1.nii.gz"}, {"file": "/elsewhere/repetition-2.nii.gz"}],
}


@pytest.fixture
def files(tmp_path):
    """Two images and a mask by name only."""
    paths = [tmp_path / name for name in ("with space.nii.gz", "b.nii.gz", "mask.nii.gz")]
    for path in paths:
        path.touch()
    return [str(path) for path in paths]


def test_check_images_passes_good_ones_and_names_a_bad_one(tiny_bids):
    """Good images come out as they went in; the first bad one raises."""
    good = [str(tiny_bids / f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz") for run in (1, 2)]
    assert CheckImages(in_files=good).run().outputs.out_files == good
    with pytest.raises(BIDSDataError, match=r"missing\.nii\.gz"):
        CheckImages(in_files=[good[0], "missing.nii.gz"]).run()


def test_denoise_command_names_every_option(files):
    """The command line is that of ``n2a-tools denoise``, with quoted paths."""
    node = Denoise(
        in_files=files[:2],
        mask_file=files[2],
        strategy="mean",
        recipe="fast",
        random_seed=3,
        skull_strip=True,
        different_contrast=True,
        save_repetitions=True,
        device="cpu",
        omp_nthreads=2,
        memory_gb=1.5,
    )
    command = node.cmdline
    assert f"'{files[0]}' {files[1]}" in command
    for part in (
        *("--strategy mean", "--recipe fast", "--random-seed 3", "--skull-strip", "--different-contrast"),
        *("--device cpu", "--omp-nthreads 2", "--memory-gb 1.50", "--out denoised.nii.gz"),
        *("--out-mean mean.nii.gz", "--out-residual residual.nii.gz", "--out-noise-sd noise_sd.nii.gz"),
        *("--out-repetitions repetition-1.nii.gz repetition-2.nii.gz", f"--mask {files[2]}"),
    ):
        assert part in command


def test_denoise_command_leaves_out_what_is_not_asked(files):
    """Flags that are not set do not appear."""
    command = Denoise(in_files=files[:2], mask_file=files[2]).cmdline
    for flag in ("--skull-strip", "--different-contrast", "--out-repetitions", "--weights-dir", "--bvals"):
        assert flag not in command


def test_denoise_command_quotes_the_folder_of_weights(files, tmp_path):
    """A folder with a space is one argument."""
    folder = tmp_path / "my weights"
    folder.mkdir()
    node = Denoise(in_files=files[:2], mask_file=files[2], weights_dir=str(folder))
    arguments = shlex.split(node.cmdline)
    assert arguments[arguments.index("--weights-dir") + 1] == str(folder)


def test_child_environment_hides_the_gpu_unless_it_is_wanted():
    """Mask and registration never see a GPU; the denoiser may."""
    assert child_environment(3)["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in child_environment(3, hide_gpu=False)
    assert child_environment(3)["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "3"


def test_run_module_repeats_what_a_failing_child_wrote():
    """The end of its words is in the error."""
    with pytest.raises(RuntimeError, match="No module named"):
        run_module("n2a_bids.no_such_module", [])


def test_write_derivatives_leaves_whole_files_and_sidecars(tmp_path):
    """Files and sidecars appear under their names, nothing else; an empty sidecar is not written."""
    sources = [tmp_path / "a.nii.gz", tmp_path / "b.json"]
    for source in sources:
        source.write_text(source.name)
    out = tmp_path / "out" / "sub-01"
    targets = {"image": out / "image.nii.gz", "record": out / "record.json"}
    node = WriteDerivatives(targets, image=str(sources[0]), record=str(sources[1]))
    node.inputs.image_sidecar = {"Description": "x"}
    assert node.always_run
    assert node.run().outputs.out_files == [str(path) for path in targets.values()]
    assert sorted(os.listdir(out)) == ["image.json", "image.nii.gz", "record.json"]
    assert json.loads((out / "image.json").read_text()) == {"Description": "x"}
    assert (out / "image.nii.gz").read_text() == "a.nii.gz"


@pytest.mark.parametrize("full", ["image", "sidecar"])
def test_a_full_disk_leaves_neither_image_nor_sidecar(tmp_path, monkeypatch, full):
    """Whichever of the two finds no space: half of a result would pass for one."""
    (tmp_path / "a.nii.gz").write_text("a")

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    owner, name = (shutil, "copyfile") if full == "image" else (Path, "write_text")
    monkeypatch.setattr(owner, name, fail)
    node = WriteDerivatives({"image": tmp_path / "out" / "mean.nii.gz"}, image=str(tmp_path / "a.nii.gz"))
    node.inputs.image_sidecar = {"Description": "x"}
    with pytest.raises(OSError, match="No space"):
        node.run(cwd=str(tmp_path))
    assert os.listdir(tmp_path / "out") == []


def test_write_derivatives_takes_the_repetitions_that_were_used(tmp_path):
    """Of a list of targets those at the indices of the files that are there; none may be."""
    (tmp_path / "a.txt").write_text("a")
    targets = {"transforms": [tmp_path / "out" / f"run-{number}.txt" for number in (1, 2)]}
    node = WriteDerivatives(targets, transforms=[str(tmp_path / "a.txt")], indices=[1])
    assert node.run().outputs.out_files == [str(tmp_path / "out" / "run-2.txt")]
    assert WriteDerivatives(targets, transforms=[], indices=[]).run().outputs.out_files == []
    with pytest.raises(ValueError, match="zip"):
        WriteDerivatives(targets, transforms=[str(tmp_path / "a.txt")]).run()


def test_select_places_may_select_nothing():
    """None left is an answer, not an error."""
    assert SelectByIndex(values=["a", "b", "c"], indices=[2, 0]).run().outputs.out == ["c", "a"]
    assert SelectByIndex(values=["a"], indices=[]).run().outputs.out == []


def described(tmp_path, **alignment):
    (tmp_path / "record.json").write_text(json.dumps(RECORD))
    (tmp_path / "alignment.json").write_text(json.dumps(ALIGNMENT | alignment))
    (tmp_path / "work").mkdir()
    return (
        DescribeResults(
            datatype="anat",
            record_file=tmp_path / "record.json",
            alignment_file=tmp_path / "alignment.json",
            accepted=[1, 2],
            sources=[f"bids:raw:run-{run}" for run in (1, 2, 3)],
            metadata=[{"EchoTime": run / 1000, "FlipAngle": 9, "PatientName": "x"} for run in (1, 2, 3)],
            skull_stripped=True,
            mask_source="bids:masks:brain",
            own_uri="bids::denoised",
        )
        .run(cwd=str(tmp_path / "work"))
        .outputs
    )


def test_describe_derivatives_tells_what_was_used(tmp_path):
    """Sources are the accepted repetitions only; differing metadata is dropped, echoes keep their own."""
    outputs = described(tmp_path)
    assert outputs.denoised["Sources"] == ["bids:raw:run-2", "bids:raw:run-3"]
    assert outputs.denoised["SkullStripped"] is True
    assert outputs.mean["SkullStripped"] is False
    for other in (outputs.mean, outputs.residual, outputs.noise_sd, outputs.uncertainty):
        assert other["SoftwareVersion"] == __version__
        assert other["NumberOfRepetitions"] == 2
        assert other["Alignment"] == outputs.denoised["Alignment"]
        assert "DenoisingStrategy" not in other
    assert outputs.denoised["FlipAngle"] == 9
    assert not {"EchoTime", "PatientName"} & outputs.denoised.keys()
    assert [own["EchoTime"] for own in outputs.repetitions] == [0.002, 0.003]
    assert outputs.denoised["Weights"] == {"name": "unet", "sha256": "abc"}
    assert outputs.denoised["SpatialReference"] == "bids:raw:run-2"
    assert outputs.mask["Type"] == "Brain"
    assert outputs.mask["Sources"] == ["bids:raw:run-2", "bids:masks:brain"]
    named = json.loads(Path(outputs.record_file).read_text())["repetitions"]
    assert [row["file"] for row in named] == [f"sub-01_run-{run}_T1w.nii.gz" for run in (2, 3)]


def test_the_grid_between_the_repetitions_is_that_of_no_source(tmp_path):
    """In midspace, image and mask lie on the denoised image's grid; the mask still shows the reference."""
    outputs = described(tmp_path, space="midspace")
    for sidecar in (outputs.denoised, outputs.mean, outputs.noise_sd, outputs.mask):
        assert sidecar["SpatialReference"] == "bids::denoised"
    assert outputs.mask["Sources"][0] == "bids:raw:run-2"


def test_repetitions_without_noise_between_them_are_refused(tmp_path):
    """They hold one measurement, whatever hides that; one alone may be still."""
    record_file = tmp_path / "record.json"
    record_file.write_text(json.dumps({"n_repetitions": 2, "noise_sd_mean": 0.0}))
    with pytest.raises(BIDSDataError, match=r"run-1.*run-2.*SD 0"):
        completed_record(record_file, ["run-1.nii.gz", "run-2.nii.gz"], DescribeResults().inputs)
    record_file.write_text(json.dumps({"n_repetitions": 1, "noise_sd_mean": 0.0}))
    inputs = DescribeResults(mask_method="given", sources=["bids:raw:run-1"], run_uuid="now").inputs
    record = completed_record(record_file, ["run-1.nii.gz"], inputs)
    assert (record.mask_method, record.sources, record.run_uuid) == ("given", ("bids:raw:run-1",), "now")


@pytest.mark.parametrize("corrected", [True, False])
def test_every_image_of_a_series_says_how_it_was_made(tmp_path, corrected):
    """Version, repetitions and alignment are in the sidecar of each image, the choice in that of one.

    The b0 of opposite phase encoding is a source where the distortion was corrected with it.
    """
    (tmp_path / "record.json").write_text(json.dumps(RECORD))
    (tmp_path / "alignment.json").write_text(json.dumps(ALIGNMENT))
    distortion = tmp_path / "distortion.json"
    distortion.write_text("{}")
    series = tmp_path / "series.nii.gz"
    nb.Nifti1Image(np.zeros((2, 2, 2, 3), np.float32), np.eye(4)).to_filename(series)
    outputs = (
        DescribeResults(
            datatype="dwi",
            record_file=tmp_path / "record.json",
            alignment_file=tmp_path / "alignment.json",
            sources=[f"bids:raw:run-{run}" for run in (1, 2, 3)],
            metadata=[{}, {}, {}],
            images=[str(series)] * 3,
            accepted=[0, 2],
            skull_stripped=False,
            corrected=corrected,
            distortion_file=distortion,
            reversed_b0="bids:raw:fmap",
        )
        .run(cwd=str(tmp_path))
        .outputs
    )
    sources = ["bids:raw:run-1", "bids:raw:run-3", *(["bids:raw:fmap"] if corrected else [])]
    assert outputs.mask["Sources"] == ["bids:raw:run-2", *(sources if corrected else [])]
    for sidecar in (outputs.denoised, outputs.mean, outputs.residual, outputs.noise_sd):
        assert sidecar["Sources"] == sources
        assert sidecar["SoftwareVersion"] == __version__
        assert sidecar["NumberOfRepetitions"] == 2
        assert sidecar["Alignment"]["Reference"] == ALIGNMENT["reference"]
        assert ("DenoisingStrategy" in sidecar) == (sidecar is outputs.denoised)


def test_a_blend_is_named_as_one():
    """Not by its largest part, which is not all of it."""
    names, weights = ["mean", "one network", "another"], np.array([0.25, 0.0, 0.75])
    record = denoising_sidecar(DenoisingRecord(chosen=describe_blend(names, weights)))
    assert record["DenoisingChosen"] == "blend"
    assert record["DenoisingShares"] == {"another": 0.75, "mean": 0.25}
    alone = denoising_sidecar(DenoisingRecord(chosen=describe_blend(names, np.array([0.0, 1.0, 0.0]))))
    assert alone["DenoisingChosen"] == "one network"
    assert "DenoisingShares" not in alone


def test_records_leave_out_what_is_unknown():
    """Absent numbers make no empty fields; a refused repetition keeps its reason."""
    assert set(denoising_sidecar(DenoisingRecord())) == {"SoftwareVersion"}
    rows = alignment_sidecar(from_json(AlignmentRecord, ALIGNMENT, "x.json"))["Repetitions"]
    assert rows[0]["reason"] == "another person"
    assert "reason" not in rows[1]


def test_write_derivatives_deletes_what_there_is_not_any_more(tmp_path):
    """A repetition that became the reference has no figure; that of one that was left out stays."""
    (tmp_path / "a.svg").write_text("a")
    targets = [tmp_path / "out" / f"run-{run}.svg" for run in (1, 2, 3)]
    targets[0].parent.mkdir()
    for path in (*targets, targets[1].with_suffix(".json")):
        path.write_text("b")
    WriteDerivatives({"figure": targets}, figure=[str(tmp_path / "a.svg")], indices=[0], gone=[1]).run()
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        "run-1.svg": "a",
        "run-3.svg": "b",
    }


def test_write_derivatives_keeps_no_others(tmp_path):
    """A transform of a run that is left out now says that it was used."""
    (tmp_path / "a.txt").write_text("a")
    targets = [tmp_path / "out" / f"run-{run}_xfm.txt" for run in (1, 2, 3)]
    targets[0].parent.mkdir()
    for path in targets:
        path.write_text("b")
    WriteDerivatives({"xfm": targets}, xfm=[str(tmp_path / "a.txt")], indices=[1], no_others=True).run()
    assert [path.name for path in targets[0].parent.iterdir()] == ["run-2_xfm.txt"]


def test_write_derivatives_deletes_what_it_replaces(tmp_path):
    """Results of an earlier run with other options do not stay beside those of this one; others do."""
    (tmp_path / "a.nii.gz").write_text("a")
    old, foreign = tmp_path / "out" / "old.nii.gz", tmp_path / "out" / "foreign.nii.gz"
    old.parent.mkdir()
    for path in (old, foreign):
        path.write_text("b")
    targets = {"image": tmp_path / "out" / "image.nii.gz"}
    superseded = [str(old), str(tmp_path / "out" / "never_written.json")]
    WriteDerivatives(targets, image=str(tmp_path / "a.nii.gz"), superseded=superseded).run()
    assert sorted(os.listdir(tmp_path / "out")) == ["foreign.nii.gz", "image.nii.gz"]
