"""Diffusion series that only look like repeats, and what cannot show their distortion."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.config import SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.dataset.listing import format_collection
from tests.unit.dataset.grouping.test_dwi import AP, PA, Dataset, table

NAME = "sub-01_dir-AP_dwi"


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return Dataset(tmp_path / "bids")


def b0_image(stem: Path, metadata: dict, n_volumes: int = 3, voxel_mm: float = 1.0) -> Path:
    """An image without a table."""
    stem.parent.mkdir(exist_ok=True)
    grid = np.diag([1.0, 1.0, voxel_mm, 1.0])
    nb.Nifti1Image(np.indices((4, 4, 3, n_volumes))[0].astype("uint8"), grid).to_filename(f"{stem}.nii.gz")
    Path(f"{stem}.json").write_text(json.dumps(metadata))
    return Path(f"{stem}.nii.gz")


def reasons(found) -> dict[str, str]:
    """Why images were left out, by name."""
    return {item.path.name: item.reason for item in found.excluded}


@pytest.mark.parametrize("phase_run", [1, 2])
def test_a_phase_series_is_no_repeat_of_a_magnitude(dataset, phase_run):
    """The magnitude stays, whichever comes first; both have the start of their one acquisition."""
    start = {"AcquisitionTime": "10:11:12.340000"}
    for run in (1, 2):
        words = ["P", "PHASE"] if run == phase_run else ["M"]
        dataset.add(f"run-{run}", metadata={**AP, **start, "ImageType": ["ORIGINAL", "PRIMARY", *words]})
    found = dataset.collect()
    assert [[image.entities["run"] for image in unit.images] for unit in found.units] == [
        [str(3 - phase_run)]
    ]
    assert "a phase image by its ImageType" in reasons(found)[f"sub-01_run-{phase_run}_dwi.nii.gz"]


def test_a_phase_image_is_no_b0(dataset):
    """Of opposite phase encoding, in fmap or dwi."""
    stem = dataset.add("dir-AP", metadata=AP)
    phase = {"ImageType": ["ORIGINAL", "PRIMARY", "P"], **PA}
    b0_image(stem.with_name("sub-01_dir-PA_dwi"), phase)
    intended = {**phase, "IntendedFor": "dwi/sub-01_dir-AP_dwi.nii.gz"}
    b0_image(dataset.root / "sub-01" / "fmap" / "sub-01_dir-PA_epi", intended)
    (unit,) = dataset.collect().units
    assert unit.reversed_b0 is None


@pytest.mark.parametrize("pairing", ["auto", "repeat"])
@pytest.mark.parametrize(
    ("first", "second"),
    [("AP", "PA"), ("A>>P", "P>>A"), (["j"], ["j-"]), ("COL", "ROW")],
)
def test_directions_that_cannot_be_read_and_differ_make_no_repeats(dataset, pairing, first, second):
    """They count as missing, not as equal; the reason tells both and the notation of BIDS."""
    field = "InPlanePhaseEncodingDirectionDICOM" if first == "COL" else "PhaseEncodingDirection"
    for run, value in ((1, first), (2, second)):
        dataset.add(f"run-{run}", metadata={field: value})
    found = dataset.collect(pairing)
    assert [unit.kind for unit in found.units] == ["dwi-split"] * 2 * (pairing == "auto")
    texts = [unit.reason for unit in found.units] or list(reasons(found).values())
    for text in texts:
        assert field in text and "i, j or k, with - where reversed" in text
        assert all(json.dumps(value).strip('"[]') in text for value in (first, second))


@pytest.mark.parametrize(("second_s", "told"), [(0.025, True), (0.0502, False), (None, False)])
def test_repeats_of_other_readout_times_are_told(dataset, second_s, told):
    """Their distortion differs; corrected series have none, and what is missing or rounded says nothing."""
    second = {key: value for key, value in {**AP, "TotalReadoutTime": second_s}.items() if value is not None}
    for run, metadata in ((1, AP), (2, second)):
        dataset.add(f"run-{run}", metadata=metadata)
    (unit,) = dataset.collect().units
    assert unit.kind == "dwi-repeats"
    assert any("TotalReadoutTime differs (0.025 s of " in note for note in unit.notes) == told
    selection = SelectionConfig(modalities=("dwi",), dwi_corrected=True)
    (corrected,) = collect(dataset.root, selection).units
    assert not any("TotalReadoutTime" in note for note in corrected.notes)


def test_a_direction_that_cannot_be_read_is_quoted_and_no_missing_one(dataset):
    """Nor does it repeat a series without any; two that say the same do."""
    dataset.add("run-1", metadata={"PhaseEncodingDirection": "AP"})
    dataset.add("run-2", metadata={})
    texts = [unit.reason for unit in dataset.collect().units]
    assert len(texts) == 2 and 'its PhaseEncodingDirection is "AP", not i, j or k' in texts[0]
    dataset.add("run-2", metadata={"PhaseEncodingDirection": " ap"})
    assert [unit.kind for unit in dataset.collect().units] == ["dwi-repeats"]
    dataset.add("run-1", metadata=AP)
    first, _ = dataset.collect().units
    assert 'PhaseEncodingDirection of sub-01_run-2_dwi.nii.gz is " ap", not i, j or k' in first.reason


@pytest.mark.parametrize("n_volumes", [3, 7, 9, 30])
def test_b_values_of_zero_without_directions_are_b0s(dataset, n_volumes):
    """Of any number: converters write them so."""
    stem = dataset.add("dir-AP", metadata=AP)
    back = b0_image(stem.with_name("sub-01_dir-PA_dwi"), PA, n_volumes)
    back.with_name("sub-01_dir-PA_dwi.bval").write_text(" ".join("0" * n_volumes))
    found = dataset.collect()
    assert found.units[0].reversed_b0.path == back
    assert not any(item.is_error for item in found.excluded)


@pytest.mark.parametrize("fault", ["no table", "cut", "sidecar"])
def test_a_partner_that_cannot_be_used_is_named(dataset, fault):
    """Another series of the kind is there, and its own reason tells the remedy."""
    stem = dataset.add("dir-AP", metadata=AP)
    back = b0_image(stem.with_name("sub-01_dir-PA_dwi"), PA, 9)
    if fault == "cut":
        back.write_bytes(back.read_bytes()[:40])
    if fault == "sidecar":
        back.with_name("sub-01_dir-PA_dwi.json").write_text("{")
    found = dataset.collect()
    (unit,), (left,) = found.units, found.excluded
    assert "no other series of this kind that can be used: sub-01_dir-PA_dwi.nii.gz cannot" in unit.reason
    assert left.is_error
    if fault == "no table":
        assert "where all volumes are b0s, a row of zeros in it is enough" in left.reason


@pytest.mark.parametrize("where", ["dwi", "fmap"])
@pytest.mark.parametrize(
    ("sidecar", "voxel_mm", "why"),
    [
        ({}, 1, "PhaseEncodingDirection of sub-01_dir-PA_{}.nii.gz is missing"),
        ({"PhaseEncodingDirection": "PA"}, 1, 'sub-01_dir-PA_{}.nii.gz is "PA", not i, j or k'),
        (AP, 1, "its phase encoding is the same, by its sidecar"),
        (PA, 2, "voxels of 1 x 1 x 1 and 1 x 1 x 2 mm (sub-01_dir-PA_{}.nii.gz) differ too much"),
    ],
)
def test_b0s_that_do_not_serve_are_told_with_the_reason(dataset, where, sidecar, voxel_mm, why):
    """What is meant to show the distortion is not passed over; once another serves, nothing is to tell."""
    stem = dataset.add("dir-AP", metadata=AP)
    suffix = {"dwi": "dwi", "fmap": "epi"}[where]
    meant = {"IntendedFor": "dwi/sub-01_dir-AP_dwi.nii.gz"}
    folder = dataset.root / "sub-01" / where
    b0_image(folder / f"sub-01_dir-PA_{suffix}", {**sidecar, **meant}, 3, voxel_mm)
    (unit,) = dataset.collect().units
    (note,) = unit.notes
    assert note.startswith(f"the distortion is not estimated with sub-01_dir-PA_{suffix}.nii.gz: ")
    assert why.format(suffix) in note
    assert note in " ".join(format_collection(dataset.collect()).split())
    back = b0_image(stem.with_name("sub-01_acq-b0_dir-PA_dwi"), PA)
    (unit,) = dataset.collect().units
    assert unit.reversed_b0.path == back and not unit.notes


def test_b0s_of_the_same_direction_are_passed_over_unless_a_field_map(dataset):
    """A reference that lies beside its series is meant for nothing else."""
    stem = dataset.add("dir-AP", metadata=AP)
    b0_image(stem.with_name("sub-01_dir-AP_sbref"), {})
    b0_image(stem.with_name("sub-01_acq-b0_dir-AP_dwi"), AP)
    assert dataset.collect().units[0].notes == ()
    meant = {**AP, "IntendedFor": "dwi/sub-01_dir-AP_dwi.nii.gz"}
    b0_image(dataset.root / "sub-01" / "fmap" / "sub-01_dir-AP_epi", meant)
    assert "its phase encoding is the same" in dataset.collect().units[0].notes[0]


@pytest.mark.parametrize(
    ("intended", "told"),
    [
        ("dwi/sub-01_run-1_dwi.nii.gz", True),
        ("dwi/sub-01_dir-AP_dwi.nii", True),
        ("dwi\\sub-01_dir-AP_dwi.nii.gz", True),
        ("bids::sub-01/dwi/sub-01_dir-LR_dwi.nii.gz", True),
        ("func/sub-01_task-rest_bold.nii.gz", False),
        ("bids::sub-01/dwi/sub-01_acq-b0_dir-AP_dwi.nii.gz", False),
    ],
)
def test_a_field_map_for_a_series_that_is_not_there_is_told(dataset, intended, told):
    """With the path; those of other images, and of series that are there, are not."""
    stem = dataset.add("dir-AP", metadata=AP)
    b0_image(stem.with_name("sub-01_acq-b0_dir-AP_dwi"), AP)
    b0_image(dataset.root / "sub-01" / "fmap" / "sub-01_dir-PA_epi", {**PA, "IntendedFor": intended})
    found = [item for item in dataset.collect().excluded if item.path.parent.name == "fmap"]
    assert [f"names {intended}, which is not there" in item.reason for item in found] == [True] * told
    assert not any(item.is_error for item in found)


@pytest.mark.parametrize("lacking", [{}, {"IntendedFor": []}])
def test_a_field_map_that_names_no_image_is_told_once_where_it_would_serve(dataset, lacking):
    """With what to add, which makes it serve; not one of the same direction, and not beside another."""
    dataset.add("dir-AP_run-1", table(20), AP)
    dataset.add("dir-AP_run-2", table(9, seed=5), AP)
    for direction, sidecar in (("AP", AP), ("PA", PA)):
        b0_image(dataset.root / f"sub-01/fmap/sub-01_dir-{direction}_epi", {**sidecar, **lacking})
    found = dataset.collect()
    assert [unit.reversed_b0 for unit in found.units] == [None, None]
    ((name, reason),) = reasons(found).items()
    assert name == "sub-01_dir-PA_epi.nii.gz" and not found.excluded[0].is_error
    added = "bids::sub-01/dwi/sub-01_dir-AP_run-1_dwi.nii.gz"
    assert (
        f'its sidecar names no image; where it is meant for this series, add "IntendedFor": "{added}"'
        in reason
    )
    linked = b0_image(dataset.root / "sub-01/fmap/sub-01_dir-PA_epi", {**PA, "IntendedFor": added})
    assert dataset.collect().units[0].reversed_b0.path == linked
    b0_image(dataset.root / "sub-01/fmap/sub-01_dir-PA_epi", {**PA, **lacking})
    b0_image(dataset.root / "sub-01/dwi/sub-01_dir-PA_dwi", PA)
    assert not [name for name in reasons(dataset.collect()) if name.endswith("_epi.nii.gz")]


@pytest.mark.parametrize("asked", [{}, {"B0FieldSource": "pepolar1"}], ids=["none", "another"])
def test_a_field_map_that_no_image_asks_for_is_told(dataset, asked):
    """The series was denoised with its distortion and without a word; not where BOLD images ask for it."""
    dataset.add("dir-AP", metadata=AP | asked)
    b0_image(dataset.root / "sub-01/fmap/sub-01_dir-PA_epi", {**PA, "B0FieldIdentifier": "pepolar"})
    reason = reasons(dataset.collect())["sub-01_dir-PA_epi.nii.gz"]
    assert "its B0FieldIdentifier, pepolar, is the B0FieldSource of no image" in reason
    assert ("(sub-01_dir-AP_dwi.nii.gz has pepolar1)" in reason) == bool(asked)
    assert '"B0FieldSource": "pepolar"' in reason
    b0_image(dataset.root / "sub-01/func/sub-01_task-rest_bold", {"B0FieldSource": ["pepolar"]})
    assert not reasons(dataset.collect())


@pytest.mark.parametrize("where", ["dwi", "fmap"])
def test_lost_b_values_are_no_b0s(dataset, where):
    """Zeros beside directions: an error of the series, and a field map that is not used."""
    dataset.add("dir-AP", metadata=AP)
    bvals, bvecs = table()
    stem = dataset.add("dir-PA", (np.zeros(bvals.size), bvecs), {**PA, "IntendedFor": f"dwi/{NAME}.nii.gz"})
    if where == "fmap":
        (dataset.root / "sub-01" / "fmap").mkdir()
        for end in (".nii.gz", ".bval", ".bvec", ".json"):
            Path(f"{stem}{end}").rename(dataset.root / f"sub-01/fmap/sub-01_dir-PA_epi{end}")
    found = dataset.collect()
    assert [unit.reversed_b0 for unit in found.units] == [None]
    (left,) = found.excluded
    assert "b-values of 20 directions of unit length, found zeros alone" in left.reason
    assert left.is_error == (where == "dwi")


@pytest.mark.parametrize(("axes", "is_read"), [((1, -1), False), ((-1, 1), True)], ids=["before", "behind"])
def test_volumes_along_a_fifth_axis_are_told_before_anything_runs(dataset, axes, is_read):
    """As ITK stores vectors: the dry run took such a series, and the run refused it. One behind is read."""
    stem = dataset.add("")
    image = nb.load(f"{stem}.nii.gz")
    stored = np.asarray(image.dataobj).reshape(*image.shape[:3], *axes)
    nb.Nifti1Image(stored, image.affine).to_filename(f"{stem}.nii.gz")
    found = dataset.collect()
    assert bool(found.units) == is_read
    if not is_read:
        (reason,) = reasons(found).values()
        assert "4D" in reason and str(stored.shape) in reason


def test_series_of_two_tables_show_each_other_the_distortion(dataset):
    """Sixty-four directions of AP and twelve of PA are no pair, but both have b0s."""
    dataset.add("dir-AP_run-1", table(20), AP)
    dataset.add("dir-AP_run-2", table(20), AP)
    other = dataset.add("dir-PA", table(9, seed=5), PA)
    repeats, alone = sorted(dataset.collect().units, key=lambda unit: -len(unit.images))
    assert (repeats.kind, repeats.reversed_b0.path) == ("dwi-repeats", Path(f"{other}.nii.gz"))
    assert alone.reversed_b0.path.name == "sub-01_dir-AP_run-1_dwi.nii.gz"
    assert "estimated with sub-01_dir-PA_dwi.nii.gz, of opposite phase encoding" in repeats.reason
    # An image that is there for nothing else comes first.
    back = b0_image(other.with_name("sub-01_acq-b0_dir-PA_dwi"), PA)
    repeats, alone = sorted(dataset.collect().units, key=lambda unit: -len(unit.images))
    assert repeats.reversed_b0.path == back


@pytest.mark.parametrize("fault", ["same", "voxels", "no b0", "asked"])
def test_a_series_that_cannot_show_it_is_no_word_worth(dataset, fault):
    """It is denoised, and was not meant for this; nor where each series was asked for by itself."""
    dataset.add("dir-AP", table(20), AP)
    gradients = table(9, seed=5)
    if fault == "no b0":
        gradients = tuple(part[gradients[0] > 0] for part in gradients)
    other = dataset.add("dir-PA", gradients, AP if fault == "same" else PA)
    if fault == "voxels":
        image = nb.load(f"{other}.nii.gz")
        data = np.asarray(image.dataobj)
        nb.Nifti1Image(data, np.diag([1.0, 1, 3, 1])).to_filename(f"{other}.nii.gz")
    units = dataset.collect("single" if fault == "asked" else "auto").units
    assert [unit.reversed_b0 for unit in units] == [None, None]
    assert not any("the distortion is not estimated" in note for unit in units for note in unit.notes)
