"""Which sidecars and tables apply to an image: those of other images beside it do not."""

from __future__ import annotations

import json

import pytest

from n2a_bids.dataset.read.metadata import SidecarReader


@pytest.fixture
def read(tmp_path):
    """Writer of a dataset of empty images and sidecars; reads what applies to the first file."""

    def write_and_read(*files):
        for name, content in files:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("" if content is None else json.dumps(content))
        return SidecarReader(tmp_path).metadata(tmp_path / files[0][0])

    return write_and_read


_PLAIN = [
    ("sub-1/anat/sub-1_T1w.nii.gz", None),
    ("sub-1/anat/sub-1_T1w.json", {"InversionTime": 0.9, "EchoTime": 0.003}),
]


@pytest.mark.parametrize("special", ["acq-hi", "echo-2", "run-2", "part-phase"])
def test_the_sidecar_of_another_image_does_not_apply_beside_the_own(read, special):
    """BIDS foresees one file in a folder: a plain image keeps its inversion time to itself."""
    image = (f"sub-1/anat/sub-1_{special}_T1w.nii.gz", None)
    own = (f"sub-1/anat/sub-1_{special}_T1w.json", {"EchoTime": 0.005})
    assert read(image, *_PLAIN, own) == {"EchoTime": 0.005}


@pytest.mark.parametrize("special", ["acq-hi", "echo-2", "run-2", "part-phase"])
@pytest.mark.parametrize("folder", ["sub-1/sub-1_", ""])
def test_what_stands_nearer_wins_key_by_key_over_a_more_specific_name(read, special, folder):
    """As BIDS has it: files further up fill in the keys that no nearer file holds."""
    image = (f"sub-1/anat/sub-1_{special}_T1w.nii.gz", None)
    above = (f"{folder}{special}_T1w.json", {"EchoTime": 0.005, "FlipAngle": 8})
    assert read(image, *_PLAIN, above) == {"InversionTime": 0.9, "EchoTime": 0.003, "FlipAngle": 8}


@pytest.mark.parametrize("above", ["run-2_T1w.json", "T1w.json", "sub-1/sub-1_run-2_T1w.json"])
def test_no_file_above_switches_off_keys_of_the_own(read, above):
    """Whatever entities its name has."""
    own = ("sub-1/anat/sub-1_run-2_T1w.json", {"EchoTime": 0.005})
    found = read(("sub-1/anat/sub-1_run-2_T1w.nii.gz", None), own, (above, {"EchoTime": 1.0, "FlipAngle": 8}))
    assert found == {"EchoTime": 0.005, "FlipAngle": 8}


def test_a_sidecar_of_several_images_applies_to_all_of_them(read):
    """What echoes share stands in one file without image; what differs in one for each."""
    found = read(
        ("sub-1/anat/sub-1_acq-hi_echo-2_T1w.nii.gz", None),
        ("sub-1/anat/sub-1_acq-hi_T1w.json", {"RepetitionTime": 2.5, "EchoTime": 0.001}),
        ("sub-1/anat/sub-1_acq-hi_echo-2_T1w.json", {"EchoTime": 0.004}),
        ("acq-lo_T1w.json", {"Manufacturer": "A"}),
        ("echo-1_T1w.json", {"Manufacturer": "B"}),
        ("T1w.json", {"MagneticFieldStrength": 3}),
    )
    assert found == {"RepetitionTime": 2.5, "EchoTime": 0.004, "MagneticFieldStrength": 3}


def test_an_image_without_any_file_of_its_own_inherits_by_the_letter(read):
    """BIDS lets the sidecar of an image with fewer entities apply."""
    assert read(("sub-1/anat/sub-1_run-2_T1w.nii.gz", None), *_PLAIN)["InversionTime"] == 0.9


def test_null_takes_back_what_was_inherited(read):
    """No result says that an echo time is null."""
    found = read(
        ("sub-1/anat/sub-1_T1w.nii.gz", None),
        ("T1w.json", {"EchoTime": 0.003, "FlipAngle": 8}),
        ("sub-1/anat/sub-1_T1w.json", {"EchoTime": None}),
    )
    assert found == {"FlipAngle": 8}


def test_the_table_of_another_series_is_not_nearer_than_a_more_specific_one(tmp_path):
    """A table for one acquisition at the top of the participant, beside a series with its own."""
    folder = tmp_path / "sub-1" / "dwi"
    folder.mkdir(parents=True)
    for name in ("sub-1_dwi.nii.gz", "sub-1_dwi.bval", "sub-1_acq-hi_dwi.nii.gz", "../sub-1_acq-hi_dwi.bval"):
        (folder / name).touch()
    reader = SidecarReader(tmp_path)
    own = tmp_path / "sub-1" / "sub-1_acq-hi_dwi.bval"
    assert reader.nearest(folder / "sub-1_acq-hi_dwi.nii.gz", ".bval") == own
    assert reader.nearest(folder / "sub-1_dwi.nii.gz", ".bval") == folder / "sub-1_dwi.bval"
