"""Settings that must agree, settings worth a note, and sidecars that tell of one acquisition."""

from dataclasses import replace
from pathlib import Path

import pytest

from n2a_bids.dataset.grouping.anat import group_anat
from n2a_bids.dataset.grouping.protocols import protocol_notes, reason_not_together
from n2a_bids.dataset.grouping.sidecar_duplicates import split_same_acquisition
from n2a_bids.dataset.listing import format_collection
from n2a_bids.dataset.units import DenoisingUnit, ImageFile

MORNING = {"AcquisitionTime": "10:05:09.992500", "SeriesNumber": 3, "ImageType": ["ORIGINAL", "M", "ND"]}


def image(number, **metadata):
    path = Path(f"/bids/sub-01/anat/sub-01_run-{number}_T1w.nii.gz")
    return ImageFile(path, {"sub": "01", "run": str(number)}, metadata)


def noted(kind, first, second):
    unit = DenoisingUnit(kind, (image(1, **first), image(2, **second)), {"sub": "01"})
    return " ".join(protocol_notes(unit))


@pytest.mark.parametrize(
    ("first", "second", "t1w", "echoes", "dwi"),
    [
        ({"ContrastBolusIngredient": "GADOLINIUM"}, {}, "refuse", "refuse", "note"),
        ({"ContrastBolusIngredient": "none"}, {"ContrastBolusIngredient": ""}, "", "", ""),
        ({"ContrastBolusIngredient": ["GADOLINIUM"]}, {"ContrastBolusIngredient": "gadolinium"}, "", "", ""),
        ({"ContrastBolusAgent": "Gadovist"}, {}, "refuse", "refuse", "note"),
        ({"ContrastBolusAgent": "Gadovist"}, {"ContrastBolusAgent": "GADOVIST 1.0"}, "", "", ""),
        ({"ContrastBolusAgent": "None"}, {}, "", "", ""),
        ({"MTState": True}, {"MTState": False}, "refuse", "refuse", "note"),
        ({"MTState": False}, {"MTState": "false"}, "", "", ""),
        ({"MTState": True}, {}, "", "", ""),
        ({"MagneticFieldStrength": 3}, {"MagneticFieldStrength": 1.5}, "refuse", "refuse", "refuse"),
        ({"MagneticFieldStrength": 3}, {"MagneticFieldStrength": 2.89}, "", "", ""),
        ({"MagneticFieldStrength": 3}, {"MagneticFieldStrength": 30000}, "", "", ""),
        ({"EchoTime": 0.003}, {"EchoTime": 0.00301}, "", "", ""),
        ({"EchoTime": 0.003}, {"EchoTime": 0.0035}, "note", "", "note"),
        ({"EchoTime": 0.0017}, {"EchoTime": 0.0036}, "refuse", "", "refuse"),
        ({"EchoTime": 0.08}, {"EchoTime": 0.1}, "note", "", "refuse"),
        ({"FlipAngle": 9}, {"FlipAngle": 8}, "note", "note", ""),
        ({"FlipAngle": 5}, {"FlipAngle": 30}, "refuse", "note", ""),
        ({"InversionTime": 0.9}, {"InversionTime": 1.1}, "note", "note", "note"),
        ({"InversionTime": 0.7}, {"InversionTime": 2.7}, "refuse", "note", "note"),
        ({"RepetitionTime": 2.3}, {"RepetitionTime": 0.5}, "refuse", "note", "note"),
        ({"RepetitionTime": 2.3}, {"RepetitionTime": 2300}, "", "", ""),
        ({"EchoTime": 3}, {"EchoTime": 0.003}, "", "", ""),
        ({"RepetitionTime": 2.3}, {}, "", "", ""),
        ({"RepetitionTime": 2.3}, {"RepetitionTime": "2.3 s"}, "", "", ""),
        ({"EchoTime": -1}, {"EchoTime": 0.003}, "", "", ""),
        ({"RepetitionTime": 0}, {"RepetitionTime": 2.3}, "", "", ""),
        ({"FlipAngle": "9"}, {"FlipAngle": 9}, "", "", ""),
        ({"FlipAngle": "5"}, {"FlipAngle": 30}, "refuse", "note", ""),
        ({"DeviceSerialNumber": "45000"}, {"DeviceSerialNumber": "45001"}, "note", "note", "note"),
        ({"FlipAngle": float("nan")}, {"FlipAngle": {"a": 1}}, "", "", ""),
        ({"ReceiveCoilName": "Head_32"}, {"ReceiveCoilName": "HeadNeck_20"}, "note", "note", "note"),
        ({"ReceiveCoilName": "head_32 "}, {"ReceiveCoilName": "Head_32"}, "", "", ""),
        (
            {"ReceiveCoilActiveElements": "HEA;HEP"},
            {"ReceiveCoilActiveElements": "HEP;HEA"},
            *("", "", ""),
        ),
        ({"ImageType": ["ORIGINAL", "ND"]}, {"ImageType": ["ORIGINAL", "NORM"]}, "note", "note", "note"),
        ({"ImageType": ["ORIGINAL", "ND", "MOSAIC"]}, {"ImageType": ["ORIGINAL", "ND"]}, "", "", ""),
        ({"ImageType": "ORIGINAL\\ND"}, {"ImageType": ["ND", "ORIGINAL"]}, "", "", ""),
        ({"MatrixCoilMode": "GRAPPA"}, {"MatrixCoilMode": "SENSE"}, "note", "note", "note"),
        (
            {"ParallelReductionFactorInPlane": 2},
            {"ParallelReductionFactorInPlane": 3},
            *("note", "note", "note"),
        ),
        ({"PartialFourier": 1}, {"PartialFourier": 0.75}, "note", "note", "note"),
        ({"ReconMatrixPE": 256}, {"ReconMatrixPE": 512}, "note", "note", "note"),
        ({"SoftwareVersions": "VB17"}, {"SoftwareVersions": "VE11"}, "note", "note", "note"),
        ({"DeviceSerialNumber": "1"}, {"DeviceSerialNumber": "2"}, "note", "note", "note"),
        ({"StationName": "A"}, {"StationName": "B"}, "note", "note", "note"),
    ],
)
def test_what_settings_lead_to(first, second, t1w, echoes, dwi):
    """Each row, for T1w runs, echoes and diffusion; what is missing or of a wrong type says nothing."""
    field = next(iter(first))
    for kind, group, expected in (
        ("anat-repeats", "anat-repeats", t1w),
        ("anat-echoes", "anat-echoes", echoes),
        ("dwi-repeats", "dwi", dwi),
    ):
        reason = reason_not_together(image(1, **first), image(2, **second), group)
        assert (field in reason) == (expected == "refuse")
        if expected != "refuse":
            assert (field in noted(kind, first, second)) == (expected == "note")


def test_a_contrast_agent_is_one_by_whichever_field_tells_it():
    """A brand beside an ingredient is no difference; one of two ingredients is."""
    brand, both = {"ContrastBolusAgent": "Gadovist"}, {"ContrastBolusIngredient": "GADOLINIUM"}
    assert reason_not_together(image(1, **brand), image(2, **brand, **both), "anat-repeats") == ""
    other = {"ContrastBolusIngredient": "IODINE"}
    assert "IODINE" in reason_not_together(image(1, **both), image(2, **brand, **other), "anat-repeats")


@pytest.mark.parametrize("field", ["SeriesDescription", "ProtocolName"])
@pytest.mark.parametrize(
    ("first", "second", "is_noted"),
    [
        ("T1 MPRAGE PRE", "T1 MPRAGE POST GD +C", True),
        ("t2_tse_ax", "t2_tse_sag", True),
        ("T1_MPRAGE_run1", "T1_MPRAGE_run2", False),
        ("T1 MPRAGE", "t1_mprage RR", False),
        ("MPRAGE 1", "MPRAGE 2", False),
        ("T1w_MPR1", "T1w_MPR2", False),
        ("t1 first", "t1 second", False),
        ("T1w_MPR1", "T2w_SPC1", True),
        ("MPRAGE", None, False),
    ],
)
def test_other_descriptions_of_runs_ask_whether_they_are_repetitions(field, first, second, is_noted):
    """Numbers of runs are none; echoes and diffusion series differ in their descriptions."""
    pair = [{} if text is None else {field: text} for text in (first, second)]
    told = noted("anat-repeats", *pair)
    assert (f"{field} ({first}, {second}): are they repetitions" in told) == is_noted
    assert (field in told) == is_noted
    assert not noted("anat-echoes", *pair) and not noted("dwi-repeats", *pair)


@pytest.mark.parametrize("kind", ["anat-repeats", "anat-echoes", "dwi-repeats"])
@pytest.mark.parametrize(
    ("field", "first", "second", "is_noted"),
    [
        ("PatientSex", "M", "F", True),
        ("PatientSex", "M", "m", False),
        ("PatientSex", "M", None, False),
        ("PatientID", 4711, 4712, True),
        ("PatientBirthDate", "19700101", "19800101", True),
    ],
)
def test_another_person_is_asked_about_and_not_named(kind, field, first, second, is_noted):
    """In the sidecars: notes go into reports, which are shown around."""
    told = noted(kind, {field: first}, {field: second})
    assert (f"differ in {field}: are they images of one person?" in told) == is_noted
    assert str(first) not in told.split()


@pytest.mark.parametrize(
    ("first", "second", "days"),
    [
        ({"AcquisitionDate": "20190301"}, {"AcquisitionDate": "20200301"}, 366),
        ({"AcquisitionDateTime": "2019-03-01T10:00:00"}, {"AcquisitionDate": 20200301}, 366),
        ({"AcquisitionDate": "20190301"}, {"AcquisitionDate": "20190302"}, 0),
        ({"AcquisitionDate": "20190301"}, {"AcquisitionDate": "00000000"}, 0),
        ({"AcquisitionDate": "20190301"}, {}, 0),
    ],
)
def test_scans_of_other_dates_are_told_of(first, second, days):
    """By how many days, not by the dates, which may name a person."""
    for kind in ("anat-repeats", "anat-echoes", "dwi-repeats", "dwi-reverse-pe"):
        told = noted(kind, first, second)
        assert (f"acquired {days} days apart" in told) == bool(days)
        assert "2019" not in told


@pytest.mark.parametrize(
    ("setting", "spelled"), [({"InversionTime": 2.5}, "2.5"), ({"MTState": True}, "true")]
)
def test_a_setting_that_one_of_two_told_sidecars_lacks_is_noted(setting, spelled):
    """An inversion or a transfer pulse in one run only; a run without sidecar, or no pulse, tells nothing."""
    others, (field,) = {"RepetitionTime": 9, "EchoTime": 0.09}, setting
    for pair in (({**others, **setting}, others), (others, {**others, **setting})):
        assert f"differ in {field} (" in noted("anat-repeats", *pair)
        assert "not given" in noted("anat-repeats", *pair) and spelled in noted("anat-repeats", *pair)
    assert field not in noted("anat-repeats", {**others, **setting}, {})
    assert not noted("anat-repeats", {**others, "MTState": False}, others)


@pytest.mark.parametrize("silent", [1, 2, 3])
def test_an_image_that_tells_nothing_does_not_join_two_that_differ(silent):
    """It goes with the first of them; the other is left out, wherever the silent one stands."""
    told = iter(({"FlipAngle": 9}, {"FlipAngle": 30}))
    images = [image(number, **({} if number == silent else next(told))) for number in (1, 2, 3)]
    found = group_anat(images)
    (unit,), (left,) = found.units, found.excluded
    assert left.path == next(one.path for one in images if one.metadata.get("FlipAngle") == 30)
    assert "its FlipAngle is 30, that of" in left.reason
    assert [one.path for one in unit.images] == [one.path for one in images if one.path != left.path]


def test_a_run_with_contrast_agent_is_left_out_with_the_reason():
    """The runs without stay together, whichever comes first; two of two leave nothing to average."""
    runs = [image(1, ContrastBolusIngredient="GADOLINIUM"), image(2), image(3)]
    found = group_anat(runs)
    assert [one.path.name[7:12] for one in found.units[0].images] == ["run-2", "run-3"]
    (left,) = found.excluded
    assert "ContrastBolusIngredient is GADOLINIUM, that of sub-01_run-2_T1w.nii.gz not given" in left.reason
    assert "ContrastBolusIngredient" in format_collection(group_anat(runs[:2]))


def processed(**changes):
    return {**MORNING, "SeriesNumber": 4, "ImageType": ["ORIGINAL", "M", "ND", "NORM"], **changes}


@pytest.mark.parametrize(
    ("second", "is_same"),
    [
        (processed(), True),
        (processed(AcquisitionTime="100509.9925"), True),
        (processed(ImageType=["DERIVED", "SECONDARY", "M", "DIS3D"]), True),
        (processed(AcquisitionTime="10:11:20.100000"), False),
        (processed(AcquisitionNumber=2), True),
        (processed(AcquisitionDate="2020-01-02"), True),
        (processed(EchoTime=0.005), True),
        (MORNING, False),
        ({}, False),
        ({"AcquisitionTime": {}, "ImageType": 3, "SeriesNumber": [], "SeriesInstanceUID": 1.0}, False),
    ],
)
def test_one_start_of_two_reconstructions_is_one_acquisition(second, is_same):
    """To the fraction of a second; sidecars that are equal in all, or lack the time, prove nothing."""
    for first_number, second_number in ((1, 2), (2, 1)):
        kept, excluded = split_same_acquisition(
            [image(first_number, **MORNING), image(second_number, **second)]
        )
        assert len(excluded) == is_same
        if is_same:
            # The image with fewer steps of processing stays, whatever its run.
            assert kept[0].entities["run"] == str(first_number)
            assert f"one acquisition with sub-01_run-{first_number}_T1w.nii.gz" in excluded[0].reason


@pytest.mark.parametrize("time", ["00:00:00.000000", "12:00:00", "10:05:09"])
def test_anonymised_times_prove_nothing(time):
    """Nor do other numbers of the acquisition, dates, echoes or directions of phase encoding."""
    first, second = ({**one, "AcquisitionTime": time} for one in (MORNING, processed()))
    assert split_same_acquisition([image(1, **first), image(2, **second)])[1] == []
    for key, values in (
        ("AcquisitionNumber", (1, 2)),
        ("AcquisitionDate", ("2020-01-01", "2020-01-02")),
        ("EchoTime", (0.002, 0.005)),
        ("PhaseEncodingDirection", ("j", "j-")),
    ):
        pair = [image(1, **MORNING, **{key: values[0]}), image(2, **processed(), **{key: values[1]})]
        assert split_same_acquisition(pair)[1] == []


def test_one_series_uid_is_one_acquisition_unless_numbers_differ():
    """Two measurements of one series have another number, or equal sidecars: their noise decides."""
    first = {"SeriesInstanceUID": "1.2.3", "ImageType": ["ORIGINAL", "ND"]}
    second = {**first, "ImageType": ["ORIGINAL", "NORM"]}
    assert len(split_same_acquisition([image(1, **first), image(2, **second)])[1]) == 1
    numbered = [image(1, **first, AcquisitionNumber=1), image(2, **second, AcquisitionNumber=2)]
    assert split_same_acquisition(numbered)[1] == []
    assert split_same_acquisition([image(1, **first), image(2, **first)])[1] == []


def test_echoes_and_directions_may_share_their_time():
    """Names that differ in more than run are not compared; equal sidecars of runs are a note."""
    first, second = image(1, **MORNING), image(2, **processed())
    echoes = [
        replace(one, entities={"sub": "01", "echo": str(number)})
        for number, one in enumerate((first, second))
    ]
    assert split_same_acquisition(echoes)[1] == []
    (unit,) = group_anat([image(1, **MORNING), image(2, **MORNING)]).units
    assert "one AcquisitionTime" in protocol_notes(unit)[0]
