"""Finding the work in a dataset: selection, filters, inheritance, speed, broken datasets."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.config import SelectionConfig
from n2a_bids.dataset.collect import collect, leave_out_unsuitable
from n2a_bids.dataset.grouping.anat import group_anat
from n2a_bids.dataset.grouping.protocols import protocol_notes
from n2a_bids.dataset.grouping.sound_groups import regroup_sound_images
from n2a_bids.dataset.listing import format_collection
from n2a_bids.dataset.names import parse_name
from n2a_bids.dataset.read.duplicate_files import note_duplicates
from n2a_bids.dataset.units import ImageFile
from n2a_bids.errors import BIDSDataError, ConfigError

RUNS = {
    f"sub-{subject}/anat/sub-{subject}_run-{run}_T1w.nii.gz": None for subject in ("01", "02") for run in "12"
}


def select(**choices) -> SelectionConfig:
    return SelectionConfig(**{"modalities": ("T1w",), **choices})


def test_only_selected_participants_are_collected(make_bids):
    """--participant-label takes labels with and without sub-."""
    bids_dir = make_bids(RUNS)
    assert [unit.label for unit in collect(bids_dir, select(participants=("sub-02",))).units] == [
        "sub-02_T1w"
    ]
    assert [unit.label for unit in collect(bids_dir, select(exclude_participants=("02",))).units] == [
        "sub-01_T1w"
    ]
    with pytest.raises(BIDSDataError, match="--exclude-participant-label leaves out all of those selected"):
        collect(bids_dir, select(participants=("02",), exclude_participants=("sub-02",)))


def test_derivatives_sourcedata_and_code_are_not_looked_at(make_bids):
    """Copies of the images elsewhere in the dataset are neither units nor left out."""
    copies = {
        f"{folder}/sub-01/anat/sub-01_run-{run}_T1w.nii.gz": None
        for folder in ("derivatives/n2a", "sourcedata", "code", ".git")
        for run in "34"
    }
    found = collect(make_bids({**RUNS, **copies}), select())
    assert len(found.units) == 2
    assert not found.excluded


@pytest.mark.parametrize("kind", ["derivative", "raw"])
def test_images_of_a_derivative_are_told(make_bids, kind):
    """Once for the group, which is denoised: denoising belongs before interpolation."""
    bids_dir = make_bids(RUNS)
    description = {"Name": "made", "BIDSVersion": "1.9.0", "DatasetType": kind}
    (bids_dir / "dataset_description.json").write_text(json.dumps(description))
    for unit in collect(bids_dir, select()).units:
        assert sum("processed before" in note for note in unit.notes) == (kind == "derivative")


def test_a_subdataset_that_was_not_fetched_is_told(make_bids):
    """DataLad leaves an empty folder of it; a folder with other data has none of ours."""
    bids_dir = make_bids({**RUNS, "sub-05/func/sub-05_task-rest_bold.nii.gz": None})
    (bids_dir / "sub-04").mkdir()
    reasons = {item.path.name: item.reason for item in collect(bids_dir, select()).excluded}
    empty = (
        f"its folder is empty; where it is a subdataset of DataLad, run 'datalad get -n {bids_dir}/sub-04'"
    )
    assert reasons == {"sub-04": f"sub-04: no T1w image: {empty}", "sub-05": "sub-05: no T1w image"}


def test_sessions_are_selected(make_bids):
    """--session-label; one that nobody has is an error, one that some lack is not; none is none of them."""
    files = {f"sub-01/ses-{s}/anat/sub-01_ses-{s}_run-{r}_T1w.nii.gz": None for s in ("a", "b") for r in "12"}
    without = {f"sub-03/anat/sub-03_run-{r}_T1w.nii.gz": None for r in "12"}
    bids_dir = make_bids({**files, **without, "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz": None})
    found = collect(bids_dir, select(sessions=("b",)))
    assert [unit.label for unit in found.units] == ["sub-01_ses-b_T1w"]
    assert [item.reason for item in found.excluded] == [
        f"sub-0{number}: no T1w image in the sessions asked for" for number in (2, 3)
    ]
    with pytest.raises(BIDSDataError, match=r"ses-c.*none of the 3 .*--session-label"):
        collect(bids_dir, select(sessions=("c",)))


def test_unknown_participant_is_an_error_with_a_suggestion(make_bids):
    """A typing error names what is there."""
    with pytest.raises(
        BIDSDataError, match=r"sub-011.*found no such folder among the 2 there.*did you mean sub-01"
    ):
        collect(make_bids(RUNS), select(participants=("011",)))


def test_participants_in_other_case_or_with_commas_are_named_once(make_bids):
    """Labels are meant as folders are spelled, with spaces between them."""
    words = r"with spaces between labels \(did you mean sub-base\?\)"
    with pytest.raises(BIDSDataError, match=words):
        collect(make_bids({"sub-base/README": ""}), select(participants=("BASE", "base,")))


@pytest.mark.parametrize("end", ["__dup-01.nii.gz", "1.nii.gz", "a.nii", "_e2.nii.gz"])
@pytest.mark.parametrize("first", ["_T1w.nii.gz", None])
def test_what_a_converter_added_to_a_name_is_told(make_bids, first, end):
    """A second image of one name was passed over without a word; derivatives beside images stay unnamed."""
    files = [f"sub-01/anat/sub-01_T1w{end}", "sub-01/anat/sub-01_T1w_brain.nii.gz"]
    files += [f"sub-01/anat/sub-01{first}"] if first else []
    found = collect(make_bids(dict.fromkeys(files)), select())
    (named,) = [item for item in found.excluded if item.path.name == f"sub-01_T1w{end}"]
    assert "behind T1w is what converters add" in named.reason and "(run-2)" in named.reason
    assert not named.is_error
    assert not any(item.path.name.endswith("_brain.nii.gz") for item in found.excluded)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found no such file.*BIDSVersion"),
        ("{", "expected a readable JSON file"),
        ("[]", "expected a JSON object"),
    ],
)
def test_dataset_description_is_needed(make_bids, content, message):
    """Missing, broken and senseless descriptions are errors with a remedy."""
    bids_dir = make_bids(RUNS)
    path = bids_dir / "dataset_description.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(BIDSDataError, match=message):
        collect(bids_dir, select())


def test_a_folder_that_is_no_dataset_is_an_error(make_bids, tmp_path):
    """Missing folder, and a dataset without participants."""
    with pytest.raises(BIDSDataError, match=r"expected the folder of a BIDS dataset, found nothing"):
        collect(tmp_path / "nowhere", select())
    with pytest.raises(BIDSDataError, match=r"expected folders named sub-<label>, found none"):
        collect(make_bids({"README": "empty"}), select())


def test_metadata_are_inherited_and_the_nearest_wins(make_bids):
    """Root, session and image level are merged; other suffixes and entities do not apply."""
    bids_dir = make_bids(
        {
            "sub-01/ses-1/anat/sub-01_ses-1_run-1_T1w.nii.gz": None,
            "sub-01/ses-1/anat/sub-01_ses-1_run-02_T1w.nii.gz": None,
            "T1w.json": {"MagneticFieldStrength": 3, "EchoTime": 0.001, "Manufacturer": "A"},
            "acq-other_T1w.json": {"Manufacturer": "B"},
            "bold.json": {"Manufacturer": "C"},
            "sub-01/sub-01_T1w.json": {"EchoTime": 0.002},
            "sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.json": {"EchoTime": 0.003},
        }
    )
    first, second = collect(bids_dir, select()).units[0].images
    assert first.metadata == {"MagneticFieldStrength": 3, "EchoTime": 0.002, "Manufacturer": "A"}
    assert second.metadata["EchoTime"] == 0.003


def test_a_broken_sidecar_harms_only_its_image(make_bids):
    """Other participants go on; the file is named as a fault."""
    bids_dir = make_bids({**RUNS, "sub-01/anat/sub-01_run-1_T1w.json": "{broken"})
    found = collect(bids_dir, select())
    assert [unit.label for unit in found.units] == ["sub-02_T1w"]
    fault = next(item for item in found.excluded if item.is_error)
    assert "sub-01_run-1_T1w.json: expected a readable JSON sidecar" in fault.reason


@pytest.mark.parametrize(
    ("query", "labels", "n_filtered"),
    [
        ({"acquisition": None}, ["sub-01_T1w"], 2),
        ({"acquisition": "*"}, ["sub-01_acq-hi_T1w"], 2),
        ({"acq": ["hi", "low"], "run": [1, 2]}, ["sub-01_acq-hi_T1w"], 2),
        ({"run": 1}, [], 2),
        ({"Manufacturer": "A"}, ["sub-01_acq-hi_T1w"], 2),
        (
            {"suffix": "T1w", "datatype": "anat", "extension": ".nii.gz"},
            ["sub-01_acq-hi_T1w", "sub-01_T1w"],
            0,
        ),
        ({"desc": "denoised"}, [], 4),
    ],
)
def test_filter_file_selects_images(make_bids, query, labels, n_filtered):
    """Null means absent, * present, lists any of; what is not selected is left out and says why."""
    bids_dir = make_bids(
        {f"sub-01/anat/sub-01_{acq}run-0{run}_T1w.nii.gz": None for acq in ("", "acq-hi_") for run in "12"}
        | {"acq-hi_T1w.json": {"Manufacturer": "A"}}
    )
    found = collect(bids_dir, select(bids_filters={"t1w": query, "bold": {"nonsense": 1}}))
    assert [unit.label for unit in found.units] == labels
    assert sum("BIDS filters of 't1w'" in item.reason for item in found.excluded) == n_filtered


def test_filter_file_with_members_of_the_pybids_enumeration(make_bids):
    """A filter file parsed for pybids holds Query.NONE and Query.ANY in place of null and *."""
    from bids.layout import Query

    files = {f"sub-01/anat/sub-01_{acq}run-{run}_T1w.nii.gz": None for acq in ("", "acq-hi_") for run in "12"}
    bids_dir = make_bids(files)
    values = ((Query.NONE, "sub-01_T1w"), ("Query.NONE", "sub-01_T1w"), (Query.ANY, "sub-01_acq-hi_T1w"))
    for value, label in values:
        found = collect(bids_dir, select(bids_filters={"t1w": {"acquisition": value}}))
        assert [unit.label for unit in found.units] == [label]


def test_runs_are_selected_by_their_index(make_bids):
    """With or without leading zeros; an image without run- is none of them."""
    names = ("run-01_", "run-02_", "run-3_", "")
    bids_dir = make_bids({f"sub-01/anat/sub-01_{name}T1w.nii.gz": None for name in names})
    found = collect(bids_dir, select(runs=(1, 3)))
    assert [image.path.name for unit in found.units for image in unit.images] == [
        "sub-01_run-01_T1w.nii.gz", "sub-01_run-3_T1w.nii.gz"
    ]  # fmt: skip
    assert [item.reason for item in found.excluded] == ["--run-id does not select it"] * 2


def test_filter_file_with_an_unknown_entity_is_an_error(make_bids):
    """A typing error must not silently select everything or nothing."""
    with pytest.raises(ConfigError, match=r"'aquisition'.*correct the name"):
        collect(make_bids(RUNS), select(bids_filters={"t1w": {"aquisition": "hi"}}))


def test_index_cache_is_used_and_follows_the_dataset(make_bids, tmp_path):
    """The cache gives the same answer, and files that come or go are seen."""
    bids_dir, cached = make_bids(RUNS), select(database_dir=tmp_path / "db")
    first = collect(bids_dir, cached)
    assert len(list((tmp_path / "db").iterdir())) == 1
    assert collect(bids_dir, cached) == first == collect(bids_dir, select())
    (bids_dir / "sub-01/anat/sub-01_run-3_T1w.nii.gz").touch()
    assert len(collect(bids_dir, cached).units[0].images) == 3
    only_second = select(database_dir=tmp_path / "db", participants=("02",))
    assert [unit.label for unit in collect(bids_dir, only_second).units] == ["sub-02_T1w"]


def test_an_index_is_of_the_path_that_was_given(make_bids, tmp_path):
    """Its paths begin with that: through a link to the dataset they would lead past it."""
    bids_dir, cached = make_bids(RUNS), select(database_dir=tmp_path / "db")
    (tmp_path / "link").symlink_to(bids_dir)
    for folder in (bids_dir, tmp_path / "link"):
        images = [image.path for unit in collect(folder, cached).units for image in unit.images]
        assert images == [folder / name for name in RUNS]


def test_a_damaged_or_unwritable_index_cache_is_an_error(make_bids, tmp_path):
    """With the folder to delete, or the option to correct."""
    bids_dir, cached = make_bids(RUNS), select(database_dir=tmp_path / "db")
    collect(bids_dir, cached)
    (database,) = (tmp_path / "db").glob("*/*.sqlite")
    database.write_bytes(b"not a database" * 100)
    with pytest.raises(BIDSDataError, match=r"found a damaged one.*delete this folder"):
        collect(bids_dir, cached)
    (tmp_path / "file").touch()
    with pytest.raises(BIDSDataError, match="correct --bids-database-dir"):
        collect(bids_dir, select(database_dir=tmp_path / "file"))


def test_a_file_of_another_participant_is_a_fault(make_bids):
    """A copy that was not renamed must not mix two people."""
    found = collect(make_bids({**RUNS, "sub-01/anat/sub-02_run-3_T1w.nii.gz": None}), select())
    assert [len(unit.images) for unit in found.units] == [2, 2]
    assert found.excluded[0].is_error
    assert "rename or move the file" in found.excluded[0].reason


def test_what_a_filter_excludes_need_not_be_sound(make_bids):
    """Neither a broken sidecar nor a bad name fails a participant whose images are excluded by name."""
    files = {
        "sub-01/anat/sub-01_acq-low_T1w.nii.gz": None,
        "sub-01/anat/sub-01_acq-low_T1w.json": "{broken",
        "sub-01/anat/sub-01_acq-low_defaced_T1w.nii.gz": None,
        "sub-01/anat/sub-01_run-9_T1w.nii.gz": None,
        "sub-01/anat/sub-01_run-9_T1w.json": "{broken",
    }
    bids_dir = make_bids({**RUNS, **files})
    assert sum(item.is_error for item in collect(bids_dir, select()).excluded) == 3
    filters = {"t1w": {"acquisition": None, "EchoTime": None}}
    found = collect(bids_dir, select(bids_filters=filters, runs=(1, 2)))
    assert len(found.units) == 2
    assert not any(item.is_error for item in found.excluded)
    # A filter of metadata cannot do without them.
    found = collect(bids_dir, select(bids_filters={"t1w": {"EchoTime": None}}, runs=(9,)))
    assert [item.is_error for item in found.excluded if "run-9" in item.path.name] == [True]


@pytest.mark.parametrize("part", ["acq-high-res", "colour-red", "defaced", "acq-a_acq-b"])
def test_a_name_that_bids_does_not_know_is_a_fault(make_bids, part):
    """Found before the work, since no derivative could be named after it."""
    found = collect(make_bids({**RUNS, f"sub-01/anat/sub-01_{part}_T1w.nii.gz": None}), select())
    assert len(found.units) == 2
    assert found.excluded[0].is_error
    assert f"found {part.split('_')[-1]}; rename the file" in found.excluded[0].reason


def test_an_unreadable_participant_is_a_fault(make_bids, monkeypatch):
    """A folder without permission is not the same as a participant without images."""
    bids_dir = make_bids({**RUNS, "sub-03/anat/sub-03_T2w.nii.gz": None})
    closed = bids_dir / "sub-03" / "anat"
    monkeypatch.setattr("os.access", lambda path, mode, **options: Path(path) != closed)
    (item,) = collect(bids_dir, select()).excluded
    assert item.is_error
    assert "sub-03/anat: expected a folder that can be read" in item.reason


def test_listing_shows_groups_files_and_reasons(make_bids):
    """What --dry-run prints."""
    text = format_collection(collect(make_bids({**RUNS, "sub-03/anat/sub-03_T1w.nii.gz": None}), select()))
    assert text.startswith("2 groups to denoise (4 images of 2 participants), 1 left out")
    assert "sub-01_T1w  [T1w repetitions]" in text
    assert "  - sub-01_run-2_T1w.nii.gz" in text
    assert "  - sub-03_T1w.nii.gz\n      one T1w, nothing to average" in text


def test_listing_tells_a_shared_reason_once(make_bids):
    """A dataset of single images is a list of names, not of one sentence again and again."""
    lone = {f"sub-{label}/ses-1/anat/sub-{label}_ses-1_T1w.nii.gz": None for label in ("01", "02", "03")}
    text = format_collection(collect(make_bids(lone), select()))
    assert text.count("nothing to average") == 1
    assert all(Path(name).name in text for name in lone)
    # A path is not broken, however long it is.
    assert max(len(line) for line in text.splitlines() if "/" not in line) <= 110


def test_dangling_links_are_listed_not_lost(make_bids):
    """A DataLad clone without content can be planned with --dry-run."""
    bids_dir = make_bids({"sub-01/anat/sub-01_T1w.json": {}})
    for run in "12":
        link = bids_dir / f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz"
        link.symlink_to("../../.git/annex/objects/aa/bb/key")
    assert len(collect(bids_dir, select()).units[0].images) == 2


@pytest.mark.proof
def test_one_of_2000_participants_is_found_in_seconds(tmp_path, capsys):
    """The other 1,999 are never walked."""
    names = [f"run-{run}_T1w{extension}" for run in "12" for extension in (".nii.gz", ".json")]
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "big", "BIDSVersion": "1.10.0"}))
    for index in range(2000):
        for datatype, suffixes in (
            ("anat", names),
            ("func", ["task-rest_bold.nii.gz", "task-rest_bold.json"]),
        ):
            folder = tmp_path / f"sub-{index:04d}" / datatype
            folder.mkdir(parents=True)
            for suffix in suffixes:
                (folder / f"sub-{index:04d}_{suffix}").write_text("{}")
    image = nb.Nifti1Image(np.zeros((16, 16, 16), np.uint8), np.eye(4))
    for run in "12":
        image.to_filename(tmp_path / f"sub-1234/anat/sub-1234_run-{run}_T1w.nii.gz")
    start = time.perf_counter()
    found = collect(tmp_path, select(participants=("1234",)))
    seconds = time.perf_counter() - start
    with capsys.disabled():
        print(f"\none of 2,000 participants found in {seconds:.2f} s")
    assert len(found.units) == 1
    assert seconds < 10


def test_runs_of_different_protocols_are_told(make_bids):
    """Beyond rounding, in numbers or in the sequence; fields that one run lacks tell nothing."""
    usual = {"RepetitionTime": 2.3, "EchoTime": 0.003, "FlipAngle": 9, "ScanningSequence": ["GR", "IR"]}
    others = {
        "01": {"RepetitionTime": 1.9, "EchoTime": 0.003, "FlipAngle": 8, "ScanningSequence": "SE"},
        "02": {"RepetitionTime": 2.301, "InversionTime": 0.9, "ScanningSequence": ["IR", "GR"]},
    }
    sidecars = {
        f"sub-{subject}/anat/sub-{subject}_run-{run}_T1w.json": content
        for subject in ("01", "02")
        for run, content in (("1", usual), ("2", others[subject]))
    }
    found = collect(make_bids({**RUNS, **sidecars}), select())
    notes = [protocol_notes(unit) for unit in found.units]
    assert notes[1] == []
    assert re.search(r"RepetitionTime \(2.3, 1.9\), FlipAngle \(9, 8\), ScanningSequence", notes[0][0])
    assert "EchoTime" not in notes[0][0]
    assert "note: the sidecars of these images differ" in format_collection(found)


def test_echoes_of_one_echo_time_are_not_said_to_differ_in_contrast(make_bids):
    """Their names say that they are echoes; the reason says what their sidecars tell."""
    files = {f"sub-01/anat/sub-01_echo-{echo}_T1w.nii.gz": None for echo in "12"}
    files |= {f"sub-01/anat/sub-01_echo-{echo}_T1w.json": {"EchoTime": 0.002} for echo in "12"}
    (unit,) = collect(make_bids(files), select()).units
    assert "the contrast differs" not in unit.reason and "with run- in place of echo-" in unit.reason


def test_a_combination_does_not_take_the_names_of_its_echoes(make_bids):
    """What is made of echoes is named as their combination is: one would replace the other in the output."""
    names = ("run-1", "run-1_echo-1", "run-1_echo-2")
    bids_dir = make_bids({f"sub-01/anat/sub-01_{name}_T1w.nii.gz": None for name in names})
    for single in (False, True):
        found = collect(bids_dir, SelectionConfig(single=single))
        assert [unit.label for unit in found.units] == ["sub-01_run-1_T1w"]
        (item,) = found.excluded
        assert item.reason.endswith("give --single and --filter-t1w echo:none")
    selection = SelectionConfig(single=True, bids_filters={"t1w": {"echo": None}})
    assert [unit.kind for unit in collect(bids_dir, selection).units] == ["anat-single"]


def test_echo_times_of_echoes_differ_by_design(make_bids):
    """They are no note, other settings are."""
    files = {f"sub-01/anat/sub-01_echo-{echo}_T1w.nii.gz": None for echo in "12"}
    files |= {
        f"sub-01/anat/sub-01_echo-{echo}_T1w.json": {"EchoTime": 0.002 * int(echo), "FlipAngle": 8}
        for echo in "12"
    }
    (unit,) = collect(make_bids(files), select()).units
    assert protocol_notes(unit) == []
    assert protocol_notes(replace(unit, kind="anat-repeats")) != []


def test_volumes_in_one_file_are_not_promised_to_be_denoised(tmp_path):
    """Repetitions stored as one image of four dimensions: the remedy is to split them, not --single."""
    for subject, shape in (("01", (4, 4, 4, 3)), ("02", (4, 4, 4))):
        anat = tmp_path / "bids" / f"sub-{subject}" / "anat"
        anat.mkdir(parents=True)
        image = nb.Nifti1Image(np.ones(shape, np.float32), np.eye(4))
        image.to_filename(anat / f"sub-{subject}_T1w.nii.gz")
    (tmp_path / "bids" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    stack, volume = collect(tmp_path / "bids", select()).excluded
    assert "one T1w, nothing to average, and --single could not take it either" in stack.reason
    assert "found 3 volumes" in stack.reason and "split them" in stack.reason and not stack.is_error
    assert volume.reason.endswith("--single denoises it by itself")


def test_groups_that_a_strategy_cannot_take_are_left_out(make_bids):
    """With the reason, before the work; others stay."""
    found = collect(make_bids(RUNS), select())
    assert leave_out_unsuitable(found, "auto").units == found.units
    without = leave_out_unsuitable(found, "san2n")
    assert without.units == ()
    assert len(without.excluded) == len(found.excluded) + 4
    assert "san2n denoises diffusion series only; use --strategy auto" in format_collection(without)


def test_the_list_names_files_that_were_not_fetched(make_bids):
    """A dangling git-annex link, with the command that fetches it, below its name."""
    bids_dir = make_bids({**RUNS, "sub-01/anat/sub-01_run-1_T1w.nii.gz": "image"})
    link = bids_dir / "sub-01/anat/sub-01_run-3_T1w.nii.gz"
    link.symlink_to("../../.git/annex/objects/xx/yy/content")
    text = " ".join(format_collection(collect(bids_dir, select(participants=("01",)))).split())
    assert "run-3_T1w.nii.gz cannot be used:" in text
    assert "left out; 2 files of these groups cannot be used sub-01" in text
    assert f"git-annex) link to content that was not fetched; run 'datalad get {link}'" in text
    assert "run-1_T1w.nii.gz cannot be used" not in text


def test_a_file_of_another_participant_or_session_is_noted(make_bids):
    """By its content, whatever its name; files of one size that differ are none."""
    files = {
        f"sub-{sub}/ses-{ses}/anat/sub-{sub}_ses-{ses}_run-{run}_T1w.nii.gz": bytes([number]) * 100_000
        for number, (sub, ses, run) in enumerate(
            (sub, ses, run) for sub in ("01", "02") for ses in "ab" for run in "12"
        )
    }
    names = list(files)
    files[names[2]] = files[names[4]] = files[names[0]]
    elsewhere = [ImageFile(Path("/bids") / name, parse_name(Path(name))[0]) for name in names]
    unread = note_duplicates(group_anat(elsewhere).units, Path("/bids"))
    assert all(unit.notes == () for unit in unread)
    bids_dir = make_bids(files)
    images = [ImageFile(bids_dir / name, parse_name(Path(name))[0]) for name in names]
    notes = [unit.notes for unit in note_duplicates(group_anat(images).units, bids_dir)]
    assert [len(note) for note in notes] == [1, 1, 1, 0]
    assert names[2] in notes[0][0]
    assert names[4] in notes[0][0]
    assert "put the right file in place" in notes[2][0]
    for image in images:
        image.path.write_bytes(b"")
    assert all(unit.notes == () for unit in note_duplicates(group_anat(images).units, bids_dir))


@pytest.mark.parametrize(("datatype", "suffix"), [("anat", "T1w"), ("dwi", "dwi")])
def test_names_that_mean_the_same_are_told_apart_by_what_they_hold(make_bids, datatype, suffix):
    """run-1 beside run-01 is a copy only where the voxels are the same; else a name is wrong."""
    first, other = np.random.default_rng(0).integers(0, 900, (2, 6, 6, 6, 3), dtype=np.int16)
    if suffix == "T1w":
        first, other = first[..., 0], other[..., 0]
    stem = f"sub-01/{datatype}/sub-01_"
    bids_dir = make_bids(
        {
            f"{stem}run-001_{suffix}.nii.gz": first,
            f"{stem}run-1_{suffix}.nii.gz": first,
            f"{stem}run-01_{suffix}.nii.gz": other,
            f"{stem}run-2_{suffix}.nii.gz": other,
        }
    )
    reasons = {
        item.path.name: item.reason for item in collect(bids_dir, select(modalities=(suffix,))).excluded
    }
    assert "the same image as " in reasons[f"sub-01_run-1_{suffix}.nii.gz"]
    assert "another image than " in reasons[f"sub-01_run-01_{suffix}.nii.gz"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sub-02/anat/sub-02_run-1_T1w.mgz", "is of a format that BIDS does not have: convert it to NIfTI"),
        ("sub-02/sub-02_run-1_T1w.nii.gz", "lies where none is looked for: move it"),
        ("sub-02/ses-1/sub-02_ses-1_T1w.nii", "lies where none is looked for: move it"),
        ("sub-02/anat/sub-02_bold.mgz", ""),
    ],
)
def test_images_that_are_never_found_are_named(make_bids, name, words):
    """A participant without images is told of those of another format or in a wrong folder."""
    found = collect(make_bids({name: None, "sub-02/README": ""}), select(participants=("02",)))
    reasons = " ".join(item.reason for item in found.excluded if item.path.name == "sub-02")
    assert (f"{name} {words}" if words else "no T1w image") in reasons
    assert bool(words) == (name in reasons)


@pytest.mark.parametrize("ends", [(".hdr", ".img"), (".mgz",), (".mif.gz",)])
@pytest.mark.parametrize("suffix", ["T1w", "dwi"])
def test_a_repetition_of_another_format_is_named(make_bids, suffix, ends):
    """Beside NIfTI images it would be missed otherwise; one that is there as NIfTI, too, needs no word."""
    stem = f"sub-01/{'dwi' if suffix == 'dwi' else 'anat'}/sub-01_run-"
    names = [f"{stem}1_{suffix}.nii.gz", *(f"{stem}{run}_{suffix}{end}" for run in "12" for end in ends)]
    found = collect(make_bids(dict.fromkeys(names, "")), select(modalities=(suffix,)))
    told = [item for item in found.excluded if "BIDS does not have: convert it to NIfTI" in item.reason]
    assert [item.path.name for item in told] == [f"sub-01_run-2_{suffix}{ends[-1]}"]


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 2)])
def test_images_that_no_header_places_are_named(make_bids, codes):
    """Left and right are a guess where neither qform nor sform is coded; one of them is enough."""
    bids_dir = make_bids(RUNS)
    for run in (1, 2):
        image = nb.Nifti1Image(np.random.default_rng(run).random((8, 8, 8), np.float32), None)
        image.header.set_sform(np.eye(4))
        image.header["qform_code"], image.header["sform_code"] = codes if run == 1 else (1, 1)
        nb.save(image, bids_dir / f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz")
    (unit,) = collect(bids_dir, select(participants=("01",))).units
    words = "sub-01_run-1_T1w.nii.gz: the header does not tell how the head lies"
    assert [note.startswith(words) for note in unit.notes] == ([True] if codes == (0, 0) else [])


@pytest.mark.parametrize("damaged", [0, 2])
def test_notes_on_files_stay_when_another_one_is_left_out(make_bids, damaged):
    """What is known of an image by its header holds with whatever it is grouped; notes on others go."""
    bids_dir = make_bids({f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz": None for run in (1, 2, 3)})
    for run in (1, 2, 3):
        image = nb.Nifti1Image(np.random.default_rng(run).random((8, 8, 8), np.float32), None)
        image.header.set_sform(np.eye(4))
        image.header["qform_code"], image.header["sform_code"] = (0, 0) if run == 1 else (1, 1)
        nb.save(image, bids_dir / f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz")
    (unit,) = collect(bids_dir, select()).units
    bad = unit.images[damaged].path
    (left,) = regroup_sound_images(
        [unit], select(), lambda image: "damaged" * (image.path == bad), lambda image: None
    ).units
    assert len(left.images) == 2
    assert left.notes == (() if damaged == 0 else unit.notes)
    assert len(unit.notes) == 1


def write_runs(bids_dir: Path, edges_mm: dict[int, float], unit: str = "mm") -> None:
    """Runs of one participant whose headers say so of voxels."""
    for run, edge_mm in edges_mm.items():
        image = nb.Nifti1Image(
            np.random.default_rng(run).random((8, 8, 8), np.float32), np.diag([edge_mm] * 3 + [1])
        )
        image.header.set_xyzt_units(unit if run == 1 else "mm")
        nb.save(image, bids_dir / f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz")


def test_headers_in_metres_leave_out_no_sound_image(make_bids):
    """However many they are: the remedy is to correct them, not another name for one or the other."""
    bids_dir = make_bids({f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz": None for run in range(1, 6)})
    write_runs(bids_dir, {1: 0.001, 2: 0.001, 3: 0.001, 4: 1, 5: 1})
    found = collect(bids_dir, select())
    (unit,) = found.units
    assert [image.path.name[7:12] for image in unit.images] == ["run-4", "run-5"]
    assert all("expected voxels of 0.01 to 50 mm" in item.reason for item in found.excluded)
    assert len(found.excluded) == 3


@pytest.mark.parametrize(
    ("unit", "told"), [("meter", "metres"), ("micron", "micrometres"), ("mm", ""), ("unknown", "")]
)
def test_lengths_of_another_unit_than_mm_are_named(make_bids, unit, told):
    """Some tools scale by the unit of the header, others do not; unset is mm to all."""
    bids_dir = make_bids({f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz": None for run in (1, 2)})
    write_runs(bids_dir, {1: 2, 2: 2}, unit)
    (group,) = collect(bids_dir, select()).units
    words = (
        f"sub-01_run-1_T1w.nii.gz: the header gives lengths in {told} (xyzt_units), and voxels of 2 x 2 x 2"
    )
    assert [note.startswith(words) for note in group.notes] == ([True] if told else [])
