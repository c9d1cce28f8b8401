"""What is no repetition of what its name says: other voxels, echoes, other kinds of image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from n2a_bids.config import SelectionConfig
from n2a_bids.contrasts import ANAT_SUFFIXES
from n2a_bids.dataset.collect import collect
from tests.conftest import save_image

SHAPE = (8, 9, 7)


def grid(*sizes: float, order=(0, 1, 2), turn_deg: float = 0.0) -> np.ndarray:
    """Affine of voxels of these sizes along right, front and up, stored in some order and turned about z."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", turn_deg, degrees=True).as_matrix() @ np.diag(sizes)
    affine[:3, :3] = affine[:3, order]
    return affine


def write_runs(root: Path, affines, suffix="T1w", mark="run", sidecars=()) -> Path:
    """A dataset of one participant with an image on each grid, and sidecars."""
    rng = np.random.default_rng(0)
    folder = root / "sub-01" / "anat"
    folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    for number, affine in enumerate(affines, 1):
        path = folder / f"sub-01_{mark}-{number}_{suffix}.nii.gz"
        save_image(path, rng.normal(100, 10, SHAPE), affine)
    for number, sidecar in enumerate(sidecars, 1):
        (folder / f"sub-01_{mark}-{number}_{suffix}.json").write_text(json.dumps(sidecar))
    return root


def told(root: Path, *sidecars: dict, suffix="T1w") -> tuple[list[list[str]], dict[str, str]]:
    """Groups of runs on one grid, and the reasons against the others, by their sidecars."""
    return grouped(write_runs(root, [grid(1, 1, 1)] * len(sidecars), suffix, sidecars=sidecars))


def grouped(root: Path) -> tuple[list[list[str]], dict[str, str]]:
    """Names of the images in each group, and the reasons against the others."""
    found = collect(root, SelectionConfig())
    names = [[image.path.name.split("_")[1] for image in unit.images] for unit in found.units]
    return names, {item.path.name.split("_")[1]: item.reason for item in found.excluded}


@pytest.mark.parametrize("suffix", ANAT_SUFFIXES)
def test_orthogonal_stacks_of_thick_slices_are_no_repetitions(tmp_path, suffix):
    """The mean of three is worse than one of them; two of one geometry stay together."""
    stacks = [grid(4, 0.9, 0.9), grid(0.9, 0.9, 4), grid(0.9, 4, 0.9), grid(0.9, 0.9, 4)]
    names, reasons = grouped(write_runs(tmp_path, stacks, suffix))
    assert names == [["run-2", "run-4"]]
    assert "voxels of 4 x 0.9 x 0.9 and 0.9 x 0.9 x 4 mm" in reasons["run-1"]
    assert f"sub-01_run-2_{suffix}.nii.gz" in reasons["run-1"] and "acq-" in reasons["run-1"]
    assert "voxels of 0.9 x 4 x 0.9" in reasons["run-3"]


@pytest.mark.parametrize("mark", ["run", "echo"])
def test_thick_slices_beside_isotropic_voxels_are_left_out(tmp_path, mark):
    """Runs and echoes alike."""
    names, reasons = grouped(write_runs(tmp_path, [grid(1, 1, 1), grid(1, 1, 6), grid(1, 1, 1)], mark=mark))
    assert names == [[f"{mark}-1", f"{mark}-3"]]
    assert "voxels of 1 x 1 x 6 and 1 x 1 x 1 mm" in reasons[f"{mark}-2"]


@pytest.mark.parametrize(
    "second",
    [
        grid(1, 1, 1),
        grid(0.8, 0.8, 0.8),
        grid(1.5, 1, 1),
        grid(1, 1, 1, turn_deg=20),
        np.diag([-1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_moderate_differences_of_resolution_are_repetitions(tmp_path, second):
    """As the documentation says."""
    assert grouped(write_runs(tmp_path, [grid(1, 1, 1), second])) == ([["run-1", "run-2"]], {})


@pytest.mark.parametrize("turn_deg", [0, 15, -30])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_one_geometry_in_any_storage_order_is_a_repetition(tmp_path, order, turn_deg):
    """Thick slices of one direction of the head, stored along any axis, cut at a small angle."""
    pair = [grid(0.9, 0.9, 4), grid(0.9, 0.9, 4, order=order, turn_deg=turn_deg)]
    assert grouped(write_runs(tmp_path, pair)) == ([["run-1", "run-2"]], {})


ONE_START = {"AcquisitionTime": "10:11:12.340000"}


@pytest.mark.parametrize("suffix", ANAT_SUFFIXES)
@pytest.mark.parametrize(
    ("first", "second", "evidence"),
    [
        ({"EchoNumber": 1}, {"EchoNumber": 2}, "its EchoNumber is 2, that of sub-01_run-1_"),
        ({"EchoTime": 0.0018, **ONE_START}, {"EchoTime": 0.0019, **ONE_START}, "with one AcquisitionTime"),
        (
            {"EchoTime": 0.004, "SeriesInstanceUID": "1.2"},
            {"EchoTime": 0.0043, "SeriesInstanceUID": "1.2"},
            "with one SeriesInstanceUID",
        ),
        (
            {"EchoTime": 0.004, "SeriesNumber": 5, "AcquisitionTime": "10:11:12"},
            {"EchoTime": 0.0043, "SeriesNumber": 5, "AcquisitionTime": "10:11:12"},
            "with one AcquisitionTime and SeriesNumber",
        ),
    ],
)
def test_echoes_that_are_named_as_runs_are_no_repetitions(tmp_path, suffix, first, second, evidence):
    """Whatever their contrast, and however near their echo times; the remedy is their right name."""
    names, reasons = told(tmp_path, first, second, suffix=suffix)
    assert names == []
    assert evidence in reasons["run-2"] and "name them echo-1, echo-2" in reasons["run-2"]
    assert f"sub-01_run-2_{suffix}.nii.gz left out" in reasons["run-1"]


def test_repeated_echoes_that_are_named_as_runs_find_their_like(tmp_path):
    """Of two scans with two echoes the first echoes are repetitions."""
    names, _ = told(
        tmp_path, *({"EchoNumber": number, "EchoTime": 0.002 * number} for number in (1, 2, 1, 2))
    )
    assert names == [["run-1", "run-3"]]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"EchoNumber": 2, "EchoTime": 0.08}, {"EchoNumber": 2, "EchoTime": 0.08}),
        ({"EchoTime": 0.0030, **ONE_START}, {"EchoTime": 0.00301, **ONE_START}),
        (
            {"EchoTime": 0.0030, "AcquisitionTime": "00:00:00"},
            {"EchoTime": 0.0032, "AcquisitionTime": "00:00:00"},
        ),
        (
            {"EchoTime": 0.0030, "SeriesInstanceUID": "1.2", "AcquisitionTime": "10:11:12.34"},
            {"EchoTime": 0.0032, "SeriesInstanceUID": "1.2", "AcquisitionTime": "10:19:12.34"},
        ),
        ({"EchoNumber": 1}, {}),
    ],
)
def test_what_proves_no_echoes_leaves_runs_together(tmp_path, first, second):
    """One echo of both, rounded times, times that anonymisation left, two starts."""
    assert told(tmp_path, first, second) == ([["run-1", "run-2"]], {})


def kind(*words: str) -> dict:
    """Sidecar of an image of one acquisition, whose reconstruction ImageType names."""
    return {"ImageType": ["ORIGINAL", "PRIMARY", *words], **ONE_START}


PLAIN = kind("M", "ND")


@pytest.mark.parametrize("suffix", ["T1w", "T2w", "T2starw", "UNIT1"])
@pytest.mark.parametrize("words", [("P", "ND"), ("P", "ND", "PHASE"), ("PHASE MAP", "P", "FFE"), ("P_FFE",)])
@pytest.mark.parametrize("phase_first", [True, False])
def test_a_phase_image_is_no_repetition_of_magnitudes(tmp_path, suffix, words, phase_first):
    """Whatever its name says of it; two of them are none of each other."""
    phase = kind(*words)
    sidecars = [phase, phase, PLAIN] if phase_first else [PLAIN, phase, phase]
    names, reasons = told(tmp_path, *sidecars, suffix=suffix)
    assert names == []
    told_of = "run-1" if phase_first else "run-3"
    assert "a phase image by its ImageType" in reasons[told_of] and "part-phase" in reasons[told_of]
    assert "nothing to average" in reasons["run-3" if phase_first else "run-1"]


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (("DIXON", "WATER"), ("DIXON", "FAT"), ("water", "fat")),
        (("DIXON", "IN", "PHASE"), ("DIXON", "OPP", "PHASE"), ("in-phase", "opposed-phase")),
        (("M", "INV1"), ("M", "UNI"), ("first inversion", "uniform")),
        (("M", "UNI"), ("M", "UNI-DEN"), ("uniform image", "without noise in the air")),
        (("M",), ("SUBTRACTION",), ("plain", "difference")),
        (("M", "FFE"), ("R", "FFE"), ("plain", "real")),
    ],
)
def test_kinds_of_image_are_no_repetitions_of_each_other(tmp_path, first, second, names):
    """Two of one kind stay together; of one each, the plain one is told to be alone."""
    groups, reasons = told(tmp_path, kind(*first), kind(*second))
    assert groups == []
    assert all(name in reasons["run-2"] for name in names) and "by its ImageType" in reasons["run-2"]
    later = {"AcquisitionTime": "10:19:12.340000"}
    groups, _ = told(tmp_path / "again", kind(*first), kind(*second), {**kind(*first), **later})
    assert groups == [["run-1", "run-3"]]


def test_a_plain_image_is_kept_before_a_difference(tmp_path):
    """Whichever comes first; without ImageType nothing is known."""
    assert "nothing to average" in told(tmp_path, kind("SUBTRACTION"), PLAIN)[1]["run-2"]
    assert told(tmp_path / "again", {}, kind("M", "UNI")) == ([["run-1", "run-2"]], {})


LINK = "/nowhere/.git/annex/objects/x"


@pytest.mark.parametrize("kind_of_copy", ["empty", "link", "pointer"])
@pytest.mark.parametrize("name", ["run-1_{}.nii", "run-01_{}.nii.gz"])
@pytest.mark.parametrize("suffix", ["T1w", "FLAIR"])
def test_what_holds_nothing_does_not_stand_for_a_sound_image(tmp_path, suffix, name, kind_of_copy):
    """It is told that nothing was compared; the sound copy is denoised."""
    root = write_runs(tmp_path, [grid(1, 1, 1)] * 2, suffix)
    copy = root / "sub-01" / "anat" / f"sub-01_{name.format(suffix)}"
    if kind_of_copy == "link":
        copy.symlink_to(LINK)
    else:
        copy.write_bytes(b"/annex/objects/MD5-s1" * (kind_of_copy == "pointer"))
    found = collect(root, SelectionConfig())
    paths = [image.path.name for unit in found.units for image in unit.images]
    assert paths == [f"sub-01_run-{run}_{suffix}.nii.gz" for run in (1, 2)]
    (left,) = found.excluded
    assert left.path == copy
    assert f"its name means the same as that of sub-01_run-1_{suffix}.nii.gz" in left.reason
    assert "holds nothing that could be compared" in left.reason and "the same image" not in left.reason


def test_an_empty_phase_does_not_stand_for_a_sound_one(tmp_path):
    """Of the second file of a complex image, too."""
    root = write_runs(tmp_path, [grid(1, 1, 1)] * 2)
    folder = root / "sub-01" / "anat"
    for run in (1, 2):
        save_image(
            folder / f"sub-01_run-{run}_part-phase_T1w.nii.gz",
            np.random.default_rng(run).uniform(-3, 3, SHAPE),
            grid(1, 1, 1),
        )
    (folder / "sub-01_run-1_part-phase_T1w.nii").touch()
    (unit,) = collect(root, SelectionConfig()).units
    assert [image.parts.second.name for image in unit.images] == [
        f"sub-01_run-{run}_part-phase_T1w.nii.gz" for run in (1, 2)
    ]
