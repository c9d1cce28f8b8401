"""The record of a denoising: the same before and after a file, and nothing that is not declared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from types import NoneType
from typing import get_args, get_origin, get_type_hints

import numpy as np
import pytest

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.json import json_text
from n2a_bids.record.alignment import DistortionRecord, FieldDisplacement, MotionBetweenSeries
from n2a_bids.record.denoising import (
    CandidateRisk,
    Choice,
    DenoisingRecord,
    NetworkWeights,
    NoiseModelRecord,
    RepetitionRecord,
    VolumeGroupRecord,
    list_epochs,
)
from n2a_bids.record.typed_json import from_json, to_json
from n2a_bids.reports.records.measures import measures
from n2a_bids.reports.records.unit_record import UnitRecord

FULL = DenoisingRecord(
    chosen=Choice("blend", "a blend", {"network": 0.75, "mean": 0.25}),
    candidates=(CandidateRisk("mean", 0.0, 0.0), CandidateRisk("blend", -0.1, None, (0.1, 0.2), 3.0)),
    history=list_epochs("fit", [0.5, 0.25]),
    networks=("fusion-t1w",),
    repetitions=(RepetitionRecord("run-1.nii.gz", 1.0, 0.0, 0.5, 20.0), RepetitionRecord("run-2.nii.gz")),
    groups=(VolumeGroupRecord(33, "local PCA"),),
    noise_sd_per_volume=(1.0, 2.0),
    warnings=("look",),
    seconds={"total": 1.5},
    weights=NetworkWeights("resunet-t1w", "abc"),
    n_repetitions=2,
    rician=True,
    same_contrast=False,
    noise_model=NoiseModelRecord("air", (1.0, 1.7), 1.3, acquired_matrix=(9, 8), partial_fourier=(0.75, 1.0)),
    noise_sd_mean=3.0,
)


@pytest.mark.parametrize("record", [FULL, DenoisingRecord()], ids=["full", "empty"])
def test_a_record_survives_its_file(record):
    """Every type, every None and every tuple comes back as it was."""
    assert from_json(DenoisingRecord, json.loads(json_text(to_json(record))), "x.json") == record


def test_names_in_the_file_are_those_of_the_fields():
    """One spelling; what is unknown is left out, but for the two that are told to be none."""
    assert set(to_json(FULL)) <= {field.name for field in fields(DenoisingRecord)}
    content = to_json(DenoisingRecord(candidates=(CandidateRisk("mean", 0.0),)))
    assert content["weights"] is None
    assert content["candidates"] == [{"name": "mean", "risk": 0.0, "standard_error": None}]
    assert "noise_sd_mean" not in content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"noise_sd": 3.0}, "'noise_sd', which this version does not know"),
        ({"chosen": {"nam": "mean"}}, "'chosen.nam'"),
        ({"n_repetitions": 2.5}, "a whole number at n_repetitions, found 2.5"),
        ({"n_repetitions": True}, "a whole number"),
        ({"noise_kept": "1"}, "a finite number at noise_kept"),
        (
            {"history": [{"phase": "fit", "epoch": 1, "loss": float("nan")}]},
            r"a finite number at history\[0\].loss",
        ),
        ({"candidates": [{"risk": 0.1}]}, r"a value at candidates\[0\].name"),
        ({"candidates": {"name": "mean"}}, "a list at candidates"),
        ({"seconds": {"total": "1 s"}}, "a finite number at seconds.total, found '1 s'"),
        ([1], "an object with fields"),
    ],
)
def test_what_is_no_record_is_named_by_file_and_place(content, message):
    """A typing error in a name, or a value of another kind, never passes in silence."""
    with pytest.raises(BIDSDataError, match=f"x.json: expected.*{message}"):
        from_json(DenoisingRecord, content, "x.json")


def test_numbers_that_are_none_are_never_written():
    """Neither NaN nor infinity, wherever they come from; numbers of numpy are plain ones."""
    odd = replace(FULL, noise_sd_mean=float("nan"), error_denoised=np.float32("inf"), rician=np.bool_(True))
    content = to_json(odd)
    assert from_json(DenoisingRecord, {"noise_sd_mean": float("nan")}, "x.json").noise_sd_mean is None
    assert "noise_sd_mean" not in content and "error_denoised" not in content
    assert content["rician"] is True
    json.dumps(content, allow_nan=False)


def test_a_number_that_could_not_be_found_does_not_spoil_the_rest():
    """A risk without noise, a field of nowhere: the record is written and read."""
    nowhere = float("nan")
    odd = replace(FULL, candidates=(CandidateRisk("mean", nowhere),), noise_sd_per_volume=(nowhere, 1.0))
    read = from_json(DenoisingRecord, json.loads(json_text(to_json(odd))), "x.json")
    assert read.candidates[0].risk is None and read.noise_sd_per_volume == (None, 1.0)
    field = DistortionRecord(
        displacement_mm=FieldDisplacement(nowhere, nowhere, 2.0),
        motion_between_series=MotionBetweenSeries((0, 1), (0.0, nowhere), (True, False)),
    )
    read = from_json(DistortionRecord, json.loads(json_text(to_json(field))), "x.json")
    assert read.displacement_mm == FieldDisplacement(largest=2.0)
    assert read.motion_between_series.last_step_voxels == (0.0, None)


@pytest.mark.parametrize("measure", measures(), ids=lambda measure: measure.name)
def test_every_measure_is_a_field_of_a_record(measure):
    """A number that is renamed is renamed in the list of measures, or this says so."""
    kind = UnitRecord
    for name in measure.path.split("."):
        kind = type_at(kind, name)
    assert kind in (int, float)


def type_at(kind, name: str):
    """Declared type of a field, a property or the values of a mapping, without None."""
    if get_origin(kind) is Mapping:
        return get_args(kind)[1]
    own = getattr(kind, name, None)
    hint = get_type_hints(own.fget)["return"] if isinstance(own, property) else get_type_hints(kind)[name]
    known = [part for part in get_args(hint) if part is not NoneType]
    return known[0] if NoneType in get_args(hint) else hint
