"""Diffusion series denoised where they lie: nothing moves, and what comes next takes them as raw."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from complex_dataset import write_parts
from dwi_dataset import write_dataset
from scipy import ndimage
from valid_dataset import assert_valid

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.config import Config, DenoiseConfig, MaskConfig, OutputConfig, SelectionConfig
from n2a_bids.dataset.collect import collect, leave_out_unsuitable
from n2a_bids.dataset.grouping.protocols import input_notes
from n2a_bids.dataset.listing import format_collection
from n2a_bids.dataset.units import Collection
from n2a_bids.dataset.write.description import write_dataset_files
from n2a_bids.io.gradients import read_gradients, write_gradients
from n2a_bids.lab.simulation.dwi import distort
from n2a_bids.workflows.participant import init_participant_wf

pytestmark = pytest.mark.slow

_KEPT = {"SliceTiming": [0.0, 0.5, 1.0], "B0FieldIdentifier": "pepolar", "MultibandAccelerationFactor": 2}
_IN_PLACE = SelectionConfig(modalities=("dwi",), dwi_in_place=True)


def _prepare(bids: Path) -> None:
    """Scanner-like files: integers, slice order in the header, table with trailing blanks, one field."""
    for path in sorted((bids / "sub-01" / "dwi").glob("*_dwi.nii.gz")):
        image = nb.load(path)
        stored = nb.Nifti1Image(np.round(np.asarray(image.dataobj)).astype(np.int16), image.affine)
        stored.header.set_dim_info(0, 1, 2)
        stored.header["slice_code"], stored.header["slice_duration"] = 3, 0.07
        stored.header["pixdim"][4] = 3.2
        stored.to_filename(path)
        stem = path.name.removesuffix(".nii.gz")
        for end in (".bval", ".bvec"):
            table = path.with_name(stem + end)
            table.write_text(table.read_text().rstrip("\n") + "  \n")
        sidecar = path.with_name(stem + ".json")
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | _KEPT))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A pair of opposite phase encoding, denoised in place, as derivatives and under raw names."""
    root = tmp_path_factory.mktemp("in_place")
    truth = write_dataset(root / "bids", "reverse-pe")
    _prepare(root / "bids")
    config = Config(
        *(root / "bids", root / "out", root / "work", "uuid"),
        selection=_IN_PLACE,
        denoise=DenoiseConfig(recipe="fast", device="cpu"),
        mask=MaskConfig(dwi_method="otsu"),
        outputs=OutputConfig(raw_like_dir=root / "rawlike"),
    )
    write_dataset_files(root / "out", root / "bids", {})
    workflow = init_participant_wf("01", collect(root / "bids", _IN_PLACE).units, config)
    workflow.base_dir = str(root / "work")
    workflow.config["execution"] = {"crashdump_dir": str(root), "stop_on_first_crash": "true"}
    workflow.run()
    return root, truth


def _series(root: Path) -> list[tuple[Path, Path]]:
    """Each series as acquired, and denoised."""
    acquired = sorted((root / "bids" / "sub-01" / "dwi").glob("*_dwi.nii.gz"))
    folder = root / "out" / "sub-01" / "dwi"
    return [(path, folder / path.name.replace("_dwi", "_desc-denoised_dwi")) for path in acquired]


def test_each_series_is_a_unit_of_its_own(tmp_path):
    """Pairs and repeats, too; the list says why."""
    for kind in ("reverse-pe", "repeat"):
        write_dataset(tmp_path / kind, kind)
        units = collect(tmp_path / kind, _IN_PLACE).units
        assert [len(unit.images) for unit in units] == [1, 1]
        assert {unit.kind for unit in units} == {"dwi-in-place"}
        assert all("--dwi-in-place" in unit.reason and unit.reversed_b0 is None for unit in units)
        assert units[0].label != units[1].label
        # Repeats may learn from each other; of opposite phase encoding, distortion and artefacts differ.
        learned_from = [unit.companion and unit.companion.path for unit in units]
        others = [units[1].images[0].path, units[0].images[0].path]
        assert learned_from == (others if kind == "repeat" else [None, None])


@pytest.mark.parametrize("strategy", ["auto", "recorrupted", "san2n", "mean"])
def test_only_a_strategy_that_learns_from_another_series_gets_it(tmp_path, strategy):
    """The others would register it for nothing, and the list would promise what is not done."""
    write_dataset(tmp_path / "bids", "repeat")
    found = leave_out_unsuitable(collect(tmp_path / "bids", _IN_PLACE), strategy)
    assert len(found.units) == 2
    assert all((unit.companion is not None) == (strategy == "auto") for unit in found.units)
    listed = " ".join(format_collection(found).split())
    assert ("it learns from sub-01_run-2_dwi.nii.gz" in listed) == (strategy == "auto")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("matrix", "it has 24 x 28 x 14 voxels of 6 x 6 x 6 mm, the series 26 x 28 x 14 voxels"),
        ("voxels", "it has 26 x 28 x 14 voxels of 6.3 x 6 x 6 mm"),
        (
            "b-values",
            "the gradient table of sub-01_run-2_dwi.nii.gz is another: b-values of 700 s/mm2, 1000 in",
        ),
        ("order", "its volumes stand in another order of the table"),
        ("subset", "of 17 and 15 volumes, 15 are in both tables"),
        ("phase", "of complex data each series is denoised by itself"),
    ],
)
def test_why_a_repeat_is_not_learned_from(tmp_path, change, reason):
    """Voxels are compared one with one, and volumes in their order: the list names the series and says so."""
    write_dataset(tmp_path / "bids", "repeat")
    path = tmp_path / "bids" / "sub-01" / "dwi" / "sub-01_run-2_dwi.nii.gz"
    data, affine = np.asarray(nb.load(path).dataobj, np.float32), nb.load(path).affine
    table = read_gradients(*(Path(str(path).replace(".nii.gz", end)) for end in (".bval", ".bvec")), affine)
    volumes = np.arange(17)
    if change == "matrix":
        data = data[:-2]
    elif change == "voxels":
        affine = affine @ np.diag([1.05, 1, 1, 1])
    elif change == "b-values":
        table = Gradients(np.where(table.bvals > 50, 700.0, 0), table.bvecs)
    elif change == "order":
        volumes = np.r_[1, 0, 16:1:-1]
    elif change == "subset":
        volumes = np.arange(15)
    else:
        write_parts(path.with_name("sub-01_run-2"), data.astype(np.complex64), affine, "rad", "dwi")
        path.unlink()
    if change != "phase":
        nb.save(nb.Nifti1Image(data[..., volumes], affine), path)
        write_gradients(table.subset(volumes), affine, Path(str(path).removesuffix(".nii.gz")))
    units = collect(tmp_path / "bids", _IN_PLACE).units
    assert [unit.companion for unit in units] == [None, None]
    assert any("run-2" in note and f"is not learned from: {reason}" in note for note in input_notes(units[0]))
    (unasked, _) = leave_out_unsuitable(Collection(units), "mean").units
    assert input_notes(unasked) == list(unasked.notes)


def test_tables_and_headers_are_those_of_the_scanner(done):
    """Byte for byte, and field for field but for the data type."""
    for acquired, denoised in _series(done[0]):
        stem = denoised.name.removesuffix(".nii.gz")
        for end in (".bval", ".bvec"):
            own = acquired.with_name(acquired.name.removesuffix(".nii.gz") + end)
            assert denoised.with_name(stem + end).read_bytes() == own.read_bytes()
        before, after = nb.load(acquired), nb.load(denoised)
        assert after.shape == before.shape and after.get_data_dtype() == np.float32
        for field in ("pixdim", "slice_code", "slice_duration", "dim_info", "xyzt_units", "sform_code"):
            assert np.array_equal(after.header[field], before.header[field]), field
        assert np.array_equal(after.affine, before.affine)
    assert not list((done[0] / "out" / "sub-01" / "dwi").glob("*desc-mean*"))


def test_signal_is_nearer_to_the_truth_and_the_air_less_noisy(done):
    """In the brain as it lies, distorted; around it noise falls, too, but is not cut away."""
    root, truth = done
    inside = ndimage.binary_erosion(truth["mask"], iterations=3)
    far = ~ndimage.binary_dilation(truth["mask"], iterations=3)
    for acquired, denoised in _series(root):
        before, after = (np.asarray(nb.load(path).dataobj, np.float32) for path in (acquired, denoised))
        assert after[far].std() < 0.5 * before[far].std()
        assert after[far].mean() == pytest.approx(before[far].mean(), rel=0.05)
        lies = distort(truth["signal"], truth["displacement"], 1, -1 if "dir-AP" in acquired.name else 1)
        errors = [np.sqrt(np.mean((image - lies)[inside] ** 2)) for image in (before, after)]
        assert errors[1] < 0.8 * errors[0]


def test_sidecars_keep_what_is_true_of_raw_series(done):
    """Phase encoding, readout, slice timing and the field that the two share; so do those under raw names."""
    root, _ = done
    for acquired, denoised in _series(root):
        raw = json.loads(acquired.with_name(acquired.name.replace(".nii.gz", ".json")).read_text())
        sidecar = json.loads(denoised.with_name(denoised.name.replace(".nii.gz", ".json")).read_text())
        label = acquired.name.split("_dwi")[0].split("dir-")[1]
        under_raw = json.loads(
            (root / "rawlike" / "sub-01" / "dwi" / f"sub-01_rec-n2a_dir-{label}_dwi.json").read_text()
        )
        for key in ("PhaseEncodingDirection", "TotalReadoutTime", *_KEPT):
            assert sidecar[key] == under_raw[key] == raw[key], key
        assert sidecar["DistortionCorrected"] is False and sidecar["NoiseFloorRemoved"] is False
        record = json.loads(
            denoised.with_name(
                denoised.name.replace("desc-denoised_dwi.nii.gz", "desc-alignment_figures.json")
            ).read_text()
        )
        assert record["in_place"] is True and record["repetitions"][0]["volumes"]["number"][-1] == 16


@pytest.mark.parametrize("folder", ["out", "rawlike"])
def test_both_datasets_are_valid(done, folder):
    """The validator of BIDS says so."""
    assert_valid(done[0] / folder)


def test_without_the_option_a_pair_is_a_pair(tmp_path):
    """The same dataset is one unit."""
    write_dataset(tmp_path, "reverse-pe")
    (unit,) = collect(tmp_path, replace(_IN_PLACE, dwi_in_place=False)).units
    assert unit.kind == "dwi-reverse-pe"
