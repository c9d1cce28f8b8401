"""Anatomical images of every contrast are found by the same rules, and never mixed."""

from __future__ import annotations

from pathlib import Path

import pytest

from n2a_bids.config import Config, SelectionConfig
from n2a_bids.contrasts import ANAT_SUFFIXES, NEVER_DENOISED
from n2a_bids.dataset.collect import collect
from n2a_bids.dataset.listing import format_collection
from n2a_bids.dataset.read.given_masks import find_brain_mask
from n2a_bids.reports.records.unit_record import UnitRecord
from n2a_bids.reports.records.units import find_units
from n2a_bids.workflows.derivatives import outputs_of


def runs(suffix: str, *marks: str) -> dict[str, None]:
    """Empty images of one suffix."""
    return {f"sub-01/anat/sub-01_{mark}_{suffix}.nii.gz": None for mark in marks or ("run-1", "run-2")}


@pytest.mark.parametrize("suffix", ANAT_SUFFIXES)
def test_runs_of_every_contrast_are_repetitions(make_bids, suffix):
    """One group, named after the suffix; the listing says what it is; a lone image is named by its suffix."""
    alone = runs(suffix, "acq-alone")
    found = collect(make_bids({**runs(suffix), **alone}), SelectionConfig())
    assert [unit.label for unit in found.units] == [f"sub-01_{suffix}"]
    assert f"[{suffix} repetitions]" in format_collection(found)
    assert f"one {suffix} with acq-alone" in found.excluded[0].reason


@pytest.mark.parametrize("suffix", ["T1w", "T2w", "T2starw"])
def test_echoes_of_every_contrast_are_denoised_together(make_bids, suffix):
    """MEMPRAGE, a dual-echo TSE, a multi-echo gradient echo; the phase images stay out."""
    names = [f"echo-{number}_part-{part}" for number in (1, 2, 3) for part in ("mag", "phase")]
    found = collect(make_bids(runs(suffix, *names)), SelectionConfig())
    assert [(unit.kind, unit.suffix, len(unit.images)) for unit in found.units] == [
        ("anat-echoes", suffix, 3)
    ]


def test_runs_of_echoes_are_repetitions_of_each_echo(make_bids):
    """Two runs of a multi-echo T2starw: a group for each echo."""
    names = [f"run-{run}_echo-{echo}" for run in (1, 2) for echo in (1, 2)]
    found = collect(make_bids(runs("T2starw", *names)), SelectionConfig())
    assert [unit.label for unit in found.units] == ["sub-01_echo-1_T2starw", "sub-01_echo-2_T2starw"]


def test_suffixes_are_never_mixed(make_bids):
    """One run of each is nothing to average, although the names differ in the suffix only."""
    files = {**runs("T1w", "run-1"), **runs("T2w", "run-1"), **runs("FLAIR", "run-1")}
    found = collect(make_bids(files), SelectionConfig())
    assert not found.units
    assert len(found.excluded) == 3


@pytest.mark.parametrize(("asked", "labels"), [(("T2w",), ["T2w"]), (("anat",), ["T1w", "T2w"])])
def test_modalities_choose_contrasts(make_bids, asked, labels):
    """By suffix, or all of anatomy."""
    bids_dir = make_bids({**runs("T1w"), **runs("T2w")})
    found = collect(bids_dir, SelectionConfig(modalities=asked))
    assert [unit.suffix for unit in found.units] == labels


def test_filters_are_those_of_the_contrast(make_bids):
    """A filter of T1w leaves T2w alone, and the other way round."""
    bids_dir = make_bids({**runs("T1w"), **runs("T2w")})
    found = collect(bids_dir, SelectionConfig(bids_filters={"t2w": {"acquisition": "hires"}}))
    assert [unit.suffix for unit in found.units] == ["T1w"]


@pytest.mark.parametrize(("suffix", "together"), [("T1w", True), ("T2w", False), ("T2starw", False)])
def test_runs_of_another_echo_time_are_another_contrast(make_bids, suffix, together):
    """Echoes that a converter called runs: 20 % matter where the contrast follows the echo time."""
    sidecars = {
        f"sub-01/anat/sub-01_run-{run}_{suffix}.json": {"EchoTime": time}
        for run, time in ((1, 0.020), (2, 0.025))
    }
    found = collect(make_bids({**runs(suffix), **sidecars}), SelectionConfig())
    assert bool(found.units) == together
    assert together or any("EchoTime" in item.reason for item in found.excluded)


@pytest.mark.parametrize("suffix", sorted(NEVER_DENOISED))
def test_images_of_kindred_suffixes_are_named(make_bids, suffix):
    """Maps, inversions and names that BIDS dropped: a reason, no silence."""
    found = collect(make_bids(runs(suffix)), SelectionConfig())
    assert not found.units
    assert all(f"{suffix} " in item.reason and not item.is_error for item in found.excluded)


def test_contrasts_of_a_session_have_files_of_their_own(make_bids, tmp_path):
    """No derivative of T2w has the name of one of T1w, and the report gives every file to its unit."""
    bids_dir = make_bids({**runs("T1w"), **runs("T2w")})
    config = Config(bids_dir, tmp_path / "out", tmp_path / "work", "run")
    units = collect(bids_dir, config.selection).units
    names = {
        unit.suffix: [path for row in outputs_of(unit, config) for path in row.paths(unit, config)]
        for unit in units
    }
    assert not set(names["T1w"]) & set(names["T2w"])
    for path in (*names["T1w"], *names["T2w"]):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    figures = tmp_path / "out" / "sub-01" / "figures"
    figures.mkdir()
    for suffix in names:
        (figures / f"sub-01_desc-denoised_{suffix}.svg").write_text("<svg></svg>")
    found: list[UnitRecord] = find_units(tmp_path / "out", "01")
    assert [unit.label for unit in found] == [unit.label for unit in units]
    for unit in found:
        assert set(unit.files) == set(names[unit.suffix])
        assert [path.name for path in unit.figures] == [f"sub-01_desc-denoised_{unit.suffix}.svg"]


@pytest.mark.parametrize(
    ("suffix", "mask", "taken"),
    [
        ("T2w", "sub-01_desc-brain_mask", False),
        ("T2w", "sub-01_space-T2w_desc-brain_mask", True),
        ("T1w", "sub-01_space-T2w_desc-brain_mask", False),
        ("T1w", "sub-01_desc-brain_mask", True),
    ],
)
def test_a_brain_mask_is_that_of_its_contrast(make_bids, tmp_path, head, suffix, mask, taken):
    """On another grid, the mask of the T1w says nothing of where the T2w lies."""
    bids_dir = make_bids(dict.fromkeys(runs(suffix), head[0]))
    (unit,) = collect(bids_dir, SelectionConfig()).units
    masks = make_bids({f"sub-01/anat/{mask}.nii.gz": head[1][::2].astype("uint8")}, "masks")
    assert (find_brain_mask({"m": Path(masks)}, unit) is not None) == taken


def test_images_that_were_not_repeated_are_groups_if_asked_for(make_bids):
    """Each under all its entities; pairs stay pairs, and what is never denoised stays out."""
    files = {**runs("T1w"), **runs("T2w", "run-1"), **runs("FLAIR", "acq-a"), **runs("MP2RAGE", "inv-1")}
    bids_dir = make_bids(files)
    without = collect(bids_dir, SelectionConfig())
    assert sum("--single denoises it" in item.reason for item in without.excluded) == 2
    found = collect(bids_dir, SelectionConfig(single=True))
    kinds = {unit.label: unit.kind for unit in found.units}
    assert kinds == {
        "sub-01_T1w": "anat-repeats",
        "sub-01_run-1_T2w": "anat-single",
        "sub-01_acq-a_FLAIR": "anat-single",
    }
    assert len(found.excluded) == 1
