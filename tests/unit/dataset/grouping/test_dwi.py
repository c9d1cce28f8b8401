"""DWI series: pairs, repeats, splits and singles, and gradient tables that are wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from n2a_bids.config import SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.dataset.grouping.dwi_b0 import leave_distortion
from n2a_bids.dataset.listing import format_collection
from n2a_bids.dataset.read.acquisition import read_acquisition
from n2a_bids.dataset.write.raw_like.reversed_b0 import copy_reversed_b0
from n2a_bids.interfaces.derivatives.raw_like import DescribeRawLike
from n2a_bids.io.gradients import phase_encoding_of, read_gradients, write_gradients

AP, PA = ({"PhaseEncodingDirection": pe, "TotalReadoutTime": 0.05} for pe in ("j-", "j"))
# A table of one shell has two b0 volumes first, one b0 in the middle.
N_VOLUMES = 23


def directions(n: int, seed: int = 0) -> np.ndarray:
    """(n, 3) directions spread by a golden spiral over a half sphere, then shuffled."""
    height = (np.arange(n) + 0.5) / n
    angle = np.pi * (1 + 5**0.5) * np.arange(n)
    radius = np.sqrt(1 - height**2)
    spread = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
    return np.random.default_rng(seed).permutation(spread)


def table(n: int = 20, b: float = 1000.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """b-values (n + 3,) and directions (n + 3, 3)."""
    weighted = directions(n, seed)
    bvecs = np.vstack([np.zeros((2, 3)), weighted[: n // 2], np.zeros((1, 3)), weighted[n // 2 :]])
    return np.where(np.any(bvecs, axis=1), b, 0.0), bvecs


class Dataset:
    """Writer of DWI series into one dataset."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        (root / "dataset_description.json").write_text('{"Name": "dwi", "BIDSVersion": "1.10.0"}')

    def add(self, name, gradients=None, metadata=None, n_volumes=None) -> Path:
        """Write ``sub-01[_name]_dwi`` with image, table and sidecar; returns the path without extension."""
        bvals, bvecs = gradients or table()
        stem = self.root / "sub-01" / "dwi" / "_".join(["sub-01", *([name] if name else []), "dwi"])
        stem.parent.mkdir(parents=True, exist_ok=True)
        shape = (4, 4, 3, n_volumes or len(bvals))
        nb.Nifti1Image(np.indices(shape)[0].astype("uint8"), np.eye(4)).to_filename(f"{stem}.nii.gz")
        np.savetxt(f"{stem}.bval", bvals[None], fmt="%g")
        np.savetxt(f"{stem}.bvec", bvecs.T, fmt="%.6f")
        if metadata is not None:
            Path(f"{stem}.json").write_text(json.dumps(metadata))
        return stem

    def collect(self, pairing: str = "auto"):
        return collect(self.root, SelectionConfig(modalities=("dwi",), dwi_pairing=pairing))


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return Dataset(tmp_path / "bids")


def summary(collection) -> list[tuple[str, str, int]]:
    return [(unit.kind, unit.label, len(unit.images)) for unit in collection.units]


def test_opposite_phase_encoding_is_paired_by_sidecar_not_label(dataset):
    """Labels that say the opposite, or nothing, do not matter."""
    dataset.add("dir-AP", metadata=PA)
    dataset.add("dir-PA", metadata=AP)
    found = dataset.collect()
    assert summary(found) == [("dwi-reverse-pe", "sub-01_dwi", 2)]
    assert found.units[0].volumes == ()
    assert "from the sidecars" in found.units[0].reason
    assert not found.units[0].notes


@pytest.mark.parametrize(
    ("labels", "label"),
    [
        (("AP", "PA"), "sub-01_dwi"),
        (("ap", "pa"), "sub-01_dwi"),
        (("b1000AP", "b1000PA"), "sub-01_acq-b1000_dwi"),
    ],
)
def test_directions_that_acq_names_make_a_pair_as_those_of_dir(dataset, labels, label):
    """Many datasets have acq-AP and acq-PA: what is made of both has neither in its name."""
    for acq, sidecar in zip(labels, (AP, PA)):
        dataset.add(f"acq-{acq}", metadata=sidecar)
    (unit,) = dataset.collect().units
    assert (unit.kind, unit.label) == ("dwi-reverse-pe", label)
    assert [image.entities["dir"].upper() for image in unit.images] == ["AP", "PA"]


def test_an_acq_of_one_direction_stays_in_the_names(dataset):
    """Runs of acq-AP without an acq-PA keep the name that they have."""
    for run in "12":
        dataset.add(f"acq-AP_run-{run}", metadata=AP)
    assert summary(dataset.collect()) == [("dwi-repeats", "sub-01_acq-AP_dwi", 2)]


def test_acq_labels_of_opposite_directions_make_no_repeats(dataset):
    """Without sidecars nobody knows: each by itself, as with dir-AP and dir-PA, under its own name."""
    dataset.add("acq-AP")
    dataset.add("acq-PA")
    assert {unit.label for unit in dataset.collect().units} == {"sub-01_acq-AP_dwi", "sub-01_acq-PA_dwi"}
    assert not dataset.collect("repeat").units


def test_a_partner_under_another_name_is_named(dataset):
    """Only acq keeps them apart, which may be on purpose: no pair, but a word."""
    dataset.add("acq-64dir", metadata=AP)
    dataset.add("acq-rev", metadata=PA)
    first, second = dataset.collect().units
    assert first.kind == second.kind == "dwi-split"
    assert "sub-01_acq-rev_dwi.nii.gz has opposite phase encoding" in first.reason
    assert "name them alike but for dir" in first.reason


def test_another_reconstruction_is_not_said_to_be_a_run(dataset):
    """Renamed as told, a series and its filtered copy would be averaged as two measurements."""
    dataset.add("run-1", metadata=AP)
    dataset.add("rec-denoised_run-1", metadata=AP)
    for unit in dataset.collect().units:
        assert "differ in rec: two reconstructions of one acquisition are no two measurements" in unit.reason


def test_a_run_without_echo_time_does_not_join_two_that_differ(dataset):
    """The first tells nothing; of the others only one repeats it."""
    dataset.add("run-1", metadata=AP)
    dataset.add("run-2", metadata={**AP, "EchoTime": 0.08})
    dataset.add("run-3", metadata={**AP, "EchoTime": 0.11})
    repeats = [unit for unit in dataset.collect().units if unit.kind == "dwi-repeats"]
    assert [[image.entities["run"] for image in unit.images] for unit in repeats] == [["1", "2"]]


@pytest.mark.parametrize("rows", [[0, 1, 2], [1, 0, 2]], ids=["mirrored", "exchanged"])
def test_a_table_in_another_frame_is_told_and_not_paired_by_chance(dataset, rows):
    """Most of a table that is nearly symmetric are found in its image, as directions of other volumes."""

    def changed(directions):
        return directions[:, rows] * [-1, 1, 1]

    _, half = table(8)
    bvecs = np.vstack([half, changed(half), table(4, seed=7)[1]])
    bvals = np.where(np.any(bvecs, axis=1), 1000.0, 0.0)
    dataset.add("dir-AP", (bvals, bvecs), AP)
    dataset.add("dir-PA", (bvals, changed(bvecs)), PA)
    units = dataset.collect().units
    assert [unit.label for unit in units] == ["sub-01_dir-AP_dwi", "sub-01_dir-PA_dwi"]
    assert all("axes of the array mirrored or exchanged" in unit.reason for unit in units)


def test_labels_alone_make_no_pair(dataset):
    """Two labels, one phase encoding: each series by itself, and the reason says so."""
    dataset.add("dir-AP", metadata=AP)
    dataset.add("dir-PA", metadata=AP)
    found = dataset.collect()
    assert [unit.kind for unit in found.units] == ["dwi-split", "dwi-split"]
    assert "no other series has opposite phase encoding" in found.units[0].reason
    assert "the names have dir-AP and dir-PA: if one sidecar is wrong" in found.units[0].reason


def test_phase_encoding_is_inherited(dataset):
    """Sidecars at the top of the dataset apply by their entities."""
    dataset.add("dir-AP")
    dataset.add("dir-PA")
    for label, metadata in (("AP", AP), ("PA", PA)):
        (dataset.root / f"dir-{label}_dwi.json").write_text(json.dumps(metadata))
    assert summary(dataset.collect()) == [("dwi-reverse-pe", "sub-01_dwi", 2)]


def test_gradient_tables_are_inherited(dataset):
    """One bval and bvec at the top serve all series."""
    for name in ("run-1", "run-2"):
        stem = dataset.add(name, metadata=AP)
        for extension in (".bval", ".bvec"):
            Path(f"{stem}{extension}").replace(dataset.root / f"dwi{extension}")
    assert summary(dataset.collect()) == [("dwi-repeats", "sub-01_dwi", 2)]


def test_axes_must_agree(dataset):
    """i and j- are perpendicular, not opposite."""
    dataset.add("dir-AP", metadata=AP)
    dataset.add("dir-LR", metadata={**PA, "PhaseEncodingDirection": "i"})
    assert [unit.kind for unit in dataset.collect().units] == ["dwi-split", "dwi-split"]


def test_two_pairs_are_told_apart_by_their_tables(dataset):
    """As in the Human Connectome Project: parts of one set of directions, each with both phase encodings."""
    all_directions = directions(80)
    for label, part in (("98", all_directions[:40]), ("99", all_directions[40:])):
        one = np.r_[0.0, np.full(40, 3000.0)], np.vstack((np.zeros(3), part))
        dataset.add(f"dir-{label}AP", one, AP)
        dataset.add(f"dir-{label}PA", one, PA)
    # The sorted order alone would pair 98AP with 98PA too; a swap of labels shows that tables decide.
    dataset.add("dir-97AP", table(60, 3000, 3), AP)
    dataset.add("dir-990PA", table(60, 3000, 3), PA)
    found = dataset.collect()
    names = [{image.entities["dir"] for image in unit.images} for unit in found.units]
    assert sorted(map(sorted, names)) == [["97AP", "990PA"], ["98AP", "98PA"], ["99AP", "99PA"]]
    assert len({unit.label for unit in found.units}) == 3


@pytest.mark.parametrize(
    "names", [("AP_run-1", "AP_run-2", "PA_run-1"), ("AP_run-1", "PA_run-1", "AP_run-2", "PA_run-2")]
)
def test_runs_of_both_directions_repeat_each_other(dataset, names):
    """However many of each there are, all measure one thing."""
    for name in names:
        dataset.add(f"dir-{name}", metadata=AP if name.startswith("AP") else PA)
    (unit,) = dataset.collect().units
    assert (unit.kind, unit.label, len(unit.images)) == ("dwi-reverse-pe", "sub-01_dwi", len(names))
    assert unit.reason == (
        f"{len(names)} series, phase encoding j- and j (from the sidecars), the same gradient table"
    )
    labels = [image.entities["dir"] for image in unit.images]
    assert [labels[leader] for leader in unit.polarity_leaders] == labels
    assert sorted(set(unit.polarity_leaders)) == [labels.index("AP"), labels.index("PA")]


@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_was_broken_off_costs_two_others_nothing(dataset, first):
    """They stay whole, and the third is denoised by itself, with the reason."""
    bvals, bvecs = table()
    lengths = [N_VOLUMES - 5, N_VOLUMES, N_VOLUMES] if first else [N_VOLUMES, N_VOLUMES, N_VOLUMES - 5]
    for run, n_volumes in enumerate(lengths, start=1):
        dataset.add(f"run-{run}", (bvals[:n_volumes], bvecs[:n_volumes]), AP)
    units = dataset.collect().units
    repeats, alone = sorted(units, key=lambda unit: -len(unit.images))
    assert repeats.kind == "dwi-repeats" and len(repeats.images) == 2 and not repeats.volumes
    assert len(alone.images) == 1
    assert (
        "it has 15 diffusion-weighted volumes, sub-01_run-" in alone.reason
        and "_dwi.nii.gz 20:" in alone.reason
    )


@pytest.mark.parametrize("other", [{}, {"PhaseEncodingAxis": "j"}])
def test_runs_of_which_one_tells_no_phase_encoding_are_repeats_where_asked_for(dataset, other):
    """Nothing is guessed: the reason names the option, which takes both unless labels speak against it."""
    dataset.add("run-1", metadata=AP)
    dataset.add("run-2", metadata=other)
    units = dataset.collect().units
    assert [unit.kind for unit in units] == ["dwi-split", "dwi-split"]
    assert other or all("--dwi-pairing repeat takes them together" in unit.reason for unit in units)
    (unit,) = dataset.collect("repeat").units
    assert (unit.kind, len(unit.images), unit.phase_encoding) == ("dwi-repeats", 2, ())
    dataset.add("run-2", metadata={**other, "SeriesDescription": "dti_PA"})
    dataset.add("run-1", metadata={**AP, "SeriesDescription": "dti_AP"})
    assert not dataset.collect("repeat").units


def test_of_two_runs_one_may_be_broken_off(dataset):
    """What both have is worth more twice than alone."""
    bvals, bvecs = table()
    for run, n_volumes in (("1", N_VOLUMES), ("2", N_VOLUMES - 5)):
        dataset.add(f"run-{run}", (bvals[:n_volumes], bvecs[:n_volumes]), AP)
    (unit,) = dataset.collect().units
    assert unit.kind == "dwi-repeats" and len(unit.volumes[0]) == N_VOLUMES - 5


def test_pairs_of_which_one_was_broken_off_follow_the_run(dataset):
    """A run that would take volumes from the others stays out."""
    bvals, bvecs = table()
    for run, n_volumes in (("1", N_VOLUMES), ("2", N_VOLUMES - 5)):
        for label, metadata in (("AP", AP), ("PA", PA)):
            dataset.add(f"dir-{label}_run-{run}", (bvals[:n_volumes], bvecs[:n_volumes]), metadata)
    units = dataset.collect().units
    assert [(unit.label, len(unit.images)) for unit in units] == [
        ("sub-01_run-1_dwi", 2),
        ("sub-01_run-2_dwi", 2),
    ]


def test_unequal_tables_pair_their_common_part_and_name_the_rest(dataset):
    """An aborted second series in another order, with flipped signs and b-values that jitter."""
    bvals, bvecs = table()
    order = np.random.default_rng(3).permutation(N_VOLUMES)[: N_VOLUMES - 3]
    jitter = np.random.default_rng(4).normal(0, 8, N_VOLUMES) * (bvals > 0)
    dataset.add("dir-AP", (bvals, bvecs), AP)
    dataset.add("dir-PA", ((bvals + jitter)[order], -bvecs[order]), PA)
    unit = dataset.collect().units[0]
    first, second = unit.volumes
    assert len(first) == len(second) == N_VOLUMES - 3
    np.testing.assert_allclose(
        np.abs((bvecs[list(first)] * bvecs[order][list(second)]).sum(1)), bvals[list(first)] / 1000
    )
    missing = sorted(set(range(N_VOLUMES)) - set(first))
    for index in missing:
        assert f"{index} (b=" in unit.notes[0]
    assert "20 volumes in common" in unit.reason


@pytest.mark.parametrize(
    ("bvals", "reason"),
    [([0, 0, 0], "no diffusion-weighted volume"), ([0, 2000, 0], "only one diffusion-weighted volume")],
)
def test_a_b0_of_opposite_phase_encoding_is_no_partner(dataset, bvals, reason):
    """The full series goes alone; the b0 has nothing to denoise."""
    dataset.add("dir-AP", metadata=AP)
    dataset.add("dir-PA", (np.array(bvals), np.eye(3)), PA)
    found = dataset.collect()
    assert summary(found) == [("dwi-split", "sub-01_dir-AP_dwi", 1)]
    assert f"{reason}, nothing to denoise" in found.excluded[0].reason


def test_a_missing_readout_time_is_stated(dataset):
    """The pair stands; the note says what is assumed."""
    dataset.add("dir-AP", metadata={"PhaseEncodingDirection": "j-"})
    dataset.add("dir-PA", metadata=PA)
    unit = dataset.collect().units[0]
    assert unit.kind == "dwi-reverse-pe"
    assert "TotalReadoutTime is missing for sub-01_dir-AP_dwi.nii.gz" in unit.notes[0]


def test_readout_times_that_differ_are_stated(dataset):
    """Displacements are mirror images only for equal readouts."""
    dataset.add("dir-AP", metadata={**AP, "TotalReadoutTime": 0.06})
    dataset.add("dir-PA", metadata=PA)
    told = "TotalReadoutTime differs (0.05 s of sub-01_dir-PA_dwi.nii.gz, 0.06 s of sub-01_dir-AP_dwi.nii.gz)"
    assert told in dataset.collect().units[0].notes[0]


def test_a_missing_phase_encoding_is_stated(dataset):
    """Without it opposite series look like any others: no pair, and the reason says why."""
    dataset.add("dir-AP", metadata={})
    dataset.add("dir-PA", metadata=PA)
    first, second = dataset.collect().units
    assert "its PhaseEncodingDirection is missing" in first.reason
    assert "PhaseEncodingDirection of sub-01_dir-AP_dwi.nii.gz is missing" in second.reason


def test_runs_of_one_table_are_repeats(dataset):
    """Three runs, directions up to sign; acq keeps another series apart."""
    bvals, bvecs = table()
    for run, sign in (("1", 1), ("2", -1), ("3", 1)):
        dataset.add(f"run-{run}", (bvals, sign * bvecs), AP)
    dataset.add("acq-hi", metadata=AP)
    assert summary(dataset.collect()) == [
        ("dwi-split", "sub-01_acq-hi_dwi", 1),
        ("dwi-repeats", "sub-01_dwi", 3),
    ]


def test_runs_of_different_tables_are_no_repeats(dataset):
    """A table that is acquired in two parts: only the b0s are common."""
    bvals, bvecs = table(40)
    weighted = np.flatnonzero(bvals)
    for run, part in (("1", weighted[::2]), ("2", weighted[1::2])):
        chosen = np.concatenate([[0], part])
        dataset.add(f"run-{run}", (bvals[chosen], bvecs[chosen]), AP)
    found = dataset.collect()
    assert [unit.kind for unit in found.units] == ["dwi-split", "dwi-split"]


def test_single_shell_of_twelve_directions_is_split(dataset):
    """2 x 6 is the least."""
    dataset.add("", table(12))
    found = dataset.collect()
    assert summary(found) == [("dwi-split", "sub-01_dwi", 1)]
    assert "12 well-spread directions" in found.units[0].reason


@pytest.mark.parametrize(
    ("gradients", "why"),
    [
        (table(11), "11 different directions, fewer than 2 x 6"),
        (table(30, 3000), "b=3000 is outside"),
        (tuple(np.concatenate(pair) for pair in zip(table(12), table(12, 2000, 1))), "2 shells"),
        (tuple(part[np.flatnonzero(table()[0])] for part in table()), "no b0 volume"),
        (tuple(np.concatenate(pair) for pair in zip(table(6), table(6))), "6 different directions"),
    ],
)
def test_other_series_go_alone_and_say_why(dataset, gradients, why):
    """Few or repeated directions, high b, several shells, no b0."""
    dataset.add("", gradients)
    found = dataset.collect()
    assert summary(found) == [("dwi-single", "sub-01_dwi", 1)]
    assert why in found.units[0].reason


def test_directions_in_a_plane_are_not_split(dataset):
    """Twelve directions in one plane do not determine a tensor."""
    angles = np.arange(12) * np.pi / 12
    bvecs = np.stack([np.cos(angles), np.sin(angles), np.zeros(12)], axis=1)
    dataset.add("", (np.r_[0, np.full(12, 1000.0)], np.vstack([np.zeros(3), bvecs])))
    assert "not well spread" in dataset.collect().units[0].reason


def test_a_series_without_b0_says_so(dataset):
    """Stated in the notes of its unit."""
    dataset.add("", tuple(part[np.flatnonzero(table()[0])] for part in table()))
    assert "it has no b0 volume" in dataset.collect().units[0].notes[0]


@pytest.mark.parametrize(
    ("pairing", "kinds"),
    [
        ("reverse-pe", ["dwi-reverse-pe"]),
        ("repeat", []),
        ("split", ["dwi-split", "dwi-split"]),
        ("single", ["dwi-single", "dwi-single"]),
    ],
)
def test_pairing_can_be_asked_for(dataset, pairing, kinds):
    """--dwi-pairing allows one way; what does not fit is left out and says so."""
    dataset.add("dir-AP", metadata=AP)
    dataset.add("dir-PA", metadata=PA)
    found = dataset.collect(pairing)
    assert [unit.kind for unit in found.units] == kinds
    assert len(found.excluded) == 2 * (not kinds)
    assert all("--dwi-pairing repeat was asked for" in item.reason for item in found.excluded)


def test_corrected_series_of_opposite_phase_encoding_are_repeats(dataset):
    """--dwi-corrected: nothing is left to correct, so that dir- may differ like run-; so it says."""
    dataset.add("dir-AP_run-1", metadata=AP)
    dataset.add("dir-PA_run-1", metadata=PA)
    dataset.add("dir-AP_run-2", metadata={})
    unit, *others = collect(dataset.root, SelectionConfig(modalities=("dwi",), dwi_corrected=True)).units
    assert (unit.kind, unit.label, len(unit.images)) == ("dwi-repeats", "sub-01_dwi", 3)
    assert "corrected already" in unit.reason and not others


def test_short_series_are_left_out_with_reason(dataset):
    """A clinical scan of one b0 and three directions; seven volumes are enough."""
    for name, n_directions in (("acq-trace", 3), ("acq-more", 6)):
        dataset.add(
            name,
            (np.r_[0, np.full(n_directions, 1000.0)], np.vstack([np.zeros(3), directions(n_directions)])),
        )
    found = dataset.collect()
    assert [unit.label for unit in found.units] == ["sub-01_acq-more_dwi"]
    (item,) = found.excluded
    assert "4 volumes, too few to tell noise from signal" in item.reason
    assert not item.is_error


def test_series_of_other_voxels_are_not_paired(dataset):
    """The one resampling does not even out voxels of twice the size; the reason has the numbers."""
    dataset.add("dir-AP", metadata=AP)
    stem = dataset.add("dir-PA", metadata=PA)
    _store(stem, np.diag([1.0, 1.0, 2.0, 1.0]))
    found = dataset.collect()
    assert [unit.kind for unit in found.units] == ["dwi-split", "dwi-split"]
    assert "voxels of 1 x 1 x 1 and 1 x 1 x 2 mm (sub-01_dir-PA_dwi.nii.gz)" in found.units[0].reason


_TURNED = np.eye(4)
_TURNED[:3, :3] = Rotation.from_euler("x", 8, degrees=True).as_matrix()


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.0000001, 0.9999999, 1, 1]),
        np.diag([1.02, 1.02, 1, 1]),
        np.diag([-1.0, 1, 1, 1]),
        np.array([[0, 0, 1, 9], [-1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 0, 1.0]]),
        _TURNED,
    ],
    ids=["rounded", "slightly larger", "mirrored", "sagittal", "oblique"],
)
@pytest.mark.parametrize("kind", ["dwi-repeats", "dwi-reverse-pe"])
def test_grids_may_differ_as_long_as_the_world_agrees(dataset, affine, kind):
    """Storage, matrix, field of view, angle: directions and phase encoding are those of the head."""
    names = ("run-1", "run-2") if kind == "dwi-repeats" else ("dir-AP", "dir-PA")
    dataset.add(names[0], metadata=AP)
    stem = dataset.add(names[1])
    _store(stem, affine, crop=1)
    backwards = 1 if kind == "dwi-repeats" else -1
    direction = phase_encoding_of(backwards * np.array([0, -1.0, 0]), affine)
    Path(f"{stem}.json").write_text(json.dumps({**AP, "PhaseEncodingDirection": direction}))
    (unit,) = dataset.collect().units
    assert (unit.kind, unit.volumes) == (kind, ())
    assert np.dot(unit.phase_encoding[0].direction, unit.phase_encoding[1].direction) * backwards > 0.98


def test_b_values_that_changed_places_are_named_as_the_reason(dataset):
    """Not an angle of 0 degrees."""
    bvals, bvecs = table()
    close = np.where(np.arange(bvals.size) < 12, 700.0, 800.0) * (bvals > 0)
    dataset.add("run-1", (close, bvecs))
    dataset.add("run-2", (np.where(close > 0, 1500 - close, 0.0), bvecs))
    assert "with other b-values for the same directions" in dataset.collect().units[0].reason


def test_directions_that_turned_with_the_slices_are_refused_with_the_angle(dataset):
    """One file of directions beside two angles of slices: two tables in the head."""
    dataset.add("run-1", metadata=AP)
    stem = dataset.add("run-2", metadata=AP)
    image = nb.load(f"{stem}.nii.gz")
    nb.Nifti1Image(np.asarray(image.dataobj), _TURNED).to_filename(f"{stem}.nii.gz")
    reasons = [unit.reason for unit in dataset.collect().units]
    assert len(reasons) == 2
    assert re.search(r"directions differ by up to (7\.\d|8\.0) degrees .* in the world", reasons[0])


def test_one_direction_of_the_head_in_mirrored_storage_is_no_pair(dataset):
    """i and i- of RAS and LAS images are one phase encoding: repeats, not opposite."""
    dataset.add("run-1", metadata={**AP, "PhaseEncodingDirection": "i"})
    stem = dataset.add("run-2", metadata={**AP, "PhaseEncodingDirection": "i-"})
    _store(stem, np.diag([-1.0, 1, 1, 1]))
    assert summary(dataset.collect()) == [("dwi-repeats", "sub-01_dwi", 2)]


def test_a_pair_of_unknown_polarity_is_taken_when_asked_for(dataset):
    """PhaseEncodingAxis and labels: the option takes it and says what is left to find; else it is named."""
    sidecar = {"PhaseEncodingAxis": "j", "TotalReadoutTime": 0.05}
    dataset.add("dir-AP", metadata=sidecar)
    dataset.add("dir-PA", metadata=sidecar)
    first, _ = dataset.collect().units
    assert first.kind == "dwi-split" and "--dwi-pairing reverse-pe takes them as a pair" in first.reason
    (unit,) = dataset.collect("reverse-pe").units
    own, its = unit.phase_encoding
    assert not own.polarity_is_known and not its.polarity_is_known
    assert np.allclose(own.direction, np.negative(its.direction))
    assert "is found by trying both" in unit.notes[0]


def test_series_without_labels_are_left_to_the_images(dataset):
    """One axis, no polarity, no label: asked for as a pair, the estimate of the distortion decides."""
    for run in "12":
        dataset.add(f"run-{run}", metadata={"PhaseEncodingAxis": "j"})
    (unit,) = dataset.collect("reverse-pe").units
    assert unit.kind == "dwi-reverse-pe" and not unit.phase_encoding[0].polarity_is_known
    assert "opposite if the images say so" in unit.reason
    assert [unit.kind for unit in dataset.collect().units] == ["dwi-repeats"]


def test_descriptions_of_the_scanner_that_are_opposite_make_no_repeats(dataset):
    """AP and PA in SeriesDescription, and no polarity in the sidecar: not averaged as they are."""
    for run, description in (("1", "ep2d_diff_AP"), ("2", "ep2d_diff_PA")):
        metadata = {"PhaseEncodingAxis": "j", "SeriesDescription": description}
        dataset.add(f"run-{run}", metadata=metadata)
    assert [unit.kind for unit in dataset.collect().units] == ["dwi-split", "dwi-split"]
    assert [unit.kind for unit in dataset.collect("reverse-pe").units] == ["dwi-reverse-pe"]


def test_labels_that_agree_make_no_pair_of_unknown_polarity(dataset):
    """Two runs with one axis: nothing says that they are opposite."""
    for run in "12":
        dataset.add(f"dir-AP_run-{run}", metadata={"PhaseEncodingAxis": "j"})
    found = dataset.collect("reverse-pe")
    assert not found.units
    assert "use --dwi-pairing repeat" in found.excluded[0].reason


@pytest.mark.parametrize("value", ["j+", " j ", "y", "Y+"])
def test_spellings_of_phase_encoding_are_understood(dataset, value):
    """Spaces, a plus sign, and the axes as x, y, z."""
    dataset.add("dir-AP", metadata=AP)
    dataset.add("dir-PA", metadata={**PA, "PhaseEncodingDirection": value})
    assert [unit.kind for unit in dataset.collect().units] == ["dwi-reverse-pe"]


def test_a_wrong_phase_encoding_is_quoted(dataset):
    """What is no direction is taken for missing, and shown."""
    dataset.add("dir-AP", metadata=AP)
    dataset.add("dir-PA", metadata={**PA, "PhaseEncodingDirection": "posterior"})
    assert 'PhaseEncodingDirection is "posterior", not i, j or k' in dataset.collect().units[1].notes[0]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 0, -0.05, "0.05", True, 50.0, 1e-30, [0.05]])
def test_a_readout_time_that_is_none_is_computed_or_missing(dataset, value):
    """Quoted, and never used; EffectiveEchoSpacing and the lines of the image replace it."""
    dataset.add("dir-AP", metadata=AP)
    stem = dataset.add("dir-PA", metadata={**PA, "TotalReadoutTime": value})
    (unit,) = dataset.collect().units
    assert unit.phase_encoding[1].readout_time_s is None
    assert "TotalReadoutTime is" in unit.notes[0] and "taken for missing" in unit.notes[0]
    n_lines = nb.load(f"{stem}.nii.gz").shape[1]
    spacing = {"EffectiveEchoSpacing": 0.05 / (n_lines - 1), "ReconMatrixPE": n_lines}
    Path(f"{stem}.json").write_text(json.dumps({**PA, "TotalReadoutTime": value, **spacing}))
    (unit,) = dataset.collect().units
    assert unit.phase_encoding[1].readout_time_s == pytest.approx(0.05)
    assert "0.05 s was computed" in unit.notes[0]
    Path(f"{stem}.json").write_text(
        json.dumps({"PhaseEncodingDirection": "j", "EffectiveEchoSpacing": 0.001})
    )
    (unit,) = dataset.collect().units
    assert unit.phase_encoding[1].readout_time_s == pytest.approx(0.001 * (n_lines - 1))


@pytest.mark.parametrize(
    ("matrix", "readout_s", "told"),
    [
        (96, 0.0475, "taken for cropped, and the readout for that of 96 lines"),
        (160, 0.0395, "the readout is computed from 80"),
        (64, 0.0395, "the readout is computed from 80"),
        (80, 0.0395, ""),
    ],
)
def test_lines_of_the_sidecar_that_cannot_be_of_the_image_are_not_believed(matrix, readout_s, told):
    """A cropped image has fewer lines than were read out, but no head fits into half of them."""
    sidecar = {"PhaseEncodingDirection": "j", "EffectiveEchoSpacing": 0.0005, "ReconMatrixPE": matrix}
    found = read_acquisition(sidecar, (96, 80, 60))
    assert found.readout_time_s == pytest.approx(readout_s)
    assert [told in note for note in found.notes] == [True] * bool(told)


def test_an_echo_spacing_in_milliseconds_is_told(dataset):
    """It was left without a word."""
    dataset.add("dir-AP", metadata=AP)
    stem = dataset.add("dir-PA", metadata={"PhaseEncodingDirection": "j"})
    spacing = 50 / (nb.load(f"{stem}.nii.gz").shape[1] - 1)
    Path(f"{stem}.json").write_text(
        json.dumps({"PhaseEncodingDirection": "j", "EffectiveEchoSpacing": spacing})
    )
    (unit,) = dataset.collect().units
    assert unit.phase_encoding[1].readout_time_s is None
    told = f"EffectiveEchoSpacing is {spacing:g} s, which makes a readout of 50 s"
    assert any(told in note for note in unit.notes)


@pytest.mark.real_data
def test_real_pairs_are_found(real_data):
    """Sagittal runs stored PSL and PSR are repeats; AP and PA without polarity are a pair when asked for."""
    selection = SelectionConfig(modalities=("dwi",))
    sagap, *uih = collect(real_data / "dwi-pairs", selection).units
    assert (sagap.kind, sagap.volumes) == ("dwi-repeats", ())
    assert len(uih) == 2 and all("--dwi-pairing reverse-pe" in unit.reason for unit in uih)
    selection = SelectionConfig(modalities=("dwi",), dwi_pairing="reverse-pe")
    (pair,) = collect(real_data / "dwi-pairs", selection).units
    assert (pair.kind, pair.label) == ("dwi-reverse-pe", "sub-uih_dwi")


def _store(stem: Path, affine: np.ndarray, crop: int = 0) -> None:
    """Store a series of the unit grid on another one, with the table that describes the same directions."""
    table = read_gradients(f"{stem}.bval", f"{stem}.bvec", np.eye(4))
    data = np.zeros((4, 4, 3 + crop, table.bvals.size), "uint8")
    nb.Nifti1Image(data, affine).to_filename(f"{stem}.nii.gz")
    write_gradients(table, affine, stem)


def _spoil(stem: Path, extension: str, change) -> None:
    path = Path(f"{stem}{extension}")
    np.savetxt(path, change(np.loadtxt(path, ndmin=2)), fmt="%g")


def _set(row: int, column: int, value: float):
    def change(numbers: np.ndarray) -> np.ndarray:
        numbers[row, column] = value
        return numbers

    return change


@pytest.mark.parametrize(
    ("extension", "change", "message"),
    [
        (".bval", lambda numbers: numbers[:, 1:], r"for each of the 23 volumes of .* found 22"),
        (".bval", _set(0, 4, np.nan), "found nan for volume 4 "),
        (".bval", _set(0, 4, -5), "found -5"),
        (".bval", lambda numbers: np.ones((3, 23)), r"expected one row of b-values"),
        (".bvec", lambda numbers: numbers[:, 1:], r"expected 3 rows of 23 values.*found 3 rows of 22"),
        (".bvec", lambda numbers: numbers[:2], "found 2 rows of 23"),
        (".bvec", _set(0, 4, np.nan), r"NaN or infinite values for volume 4 \(b=1000"),
        (".bvec", lambda numbers: 2 * numbers, r"expected unit vectors.*found length 2 .* and 19 more"),
        (
            ".bvec",
            lambda numbers: 0.7 * numbers,
            r"found length 0.7 .* if lengths scale the b-values",
        ),
        (".bvec", lambda numbers: numbers * (np.arange(23) != 4), "found length 0 for volume 4 .*trace"),
    ],
)
def test_wrong_tables_are_faults_with_a_remedy(dataset, extension, change, message):
    """The series is left out as broken, another one is not harmed."""
    stem = dataset.add("acq-bad")
    dataset.add("acq-good")
    _spoil(stem, extension, change)
    found = dataset.collect()
    assert [unit.label for unit in found.units] == ["sub-01_acq-good_dwi"]
    fault = found.excluded[0]
    assert fault.is_error

    assert re.search(message, fault.reason), fault.reason
    assert "; " in fault.reason


def test_counts_must_fit_the_image(dataset):
    """Table and image of different series, or of one that was broken off."""
    dataset.add("", n_volumes=22)
    reason = dataset.collect().excluded[0].reason
    assert "for each of the 22 volumes of sub-01_dwi.nii.gz, found 23" in reason
    assert "if the scan was broken off, keep the first 22 columns" in reason


@pytest.mark.parametrize("extension", [".bval", ".bvec"])
def test_missing_tables_are_faults(dataset, extension):
    """The name of the missing file is given."""
    stem = dataset.add("")
    Path(f"{stem}{extension}").unlink()
    fault = dataset.collect().excluded[0]
    assert fault.is_error
    assert f"add sub-01_dwi{extension}" in fault.reason


def test_tables_that_are_not_numbers_are_faults(dataset):
    """Text, and rows of unequal length."""
    stem = dataset.add("")
    for content, found in (("a b c", "ValueError"), ("0 1\n2", r"rows of \[1, 2\]"), ("", "an empty file")):
        Path(f"{stem}.bvec").write_text(content)

        assert re.search(found, dataset.collect().excluded[0].reason)


def test_transposed_tables_and_small_rounding_are_accepted_with_a_note(dataset):
    """One direction per row, b-values in a column, vectors off unit length by 4 percent, NaN for b0."""
    stem = dataset.add("")
    _spoil(stem, ".bval", np.transpose)
    _spoil(stem, ".bvec", lambda numbers: np.where(np.any(numbers, 0), 1.04 * numbers, np.nan).T)
    unit = dataset.collect().units[0]
    notes = " ".join(unit.notes)
    assert "is a column" in notes
    assert "read transposed" in notes
    assert "off unit length by up to 4%" in notes


def test_parts_of_dwi_are_joined_and_chunks_left_out(dataset):
    """A magnitude with its phase is one complex series; slabs are never denoised as series."""
    dataset.add("part-mag")
    dataset.add("part-phase")
    dataset.add("chunk-1")
    found = dataset.collect()
    assert [unit.label for unit in found.units] == ["sub-01_dwi"]
    assert found.units[0].uses_phase
    assert len(found.excluded) == 1


def test_filter_file_applies_to_dwi(dataset):
    """The query named dwi."""
    dataset.add("acq-a")
    dataset.add("acq-b")
    selection = SelectionConfig(
        modalities=("dwi",), bids_filters={"dwi": {"acquisition": "b"}, "t1w": {"run": "*"}}
    )
    assert [unit.label for unit in collect(dataset.root, selection).units] == ["sub-01_acq-b_dwi"]


def test_a_series_whose_content_is_not_fetched_is_planned(dataset):
    """A DataLad clone has tables and sidecars, but no images."""
    stem = dataset.add("")
    image = Path(f"{stem}.nii.gz")
    image.unlink()
    image.symlink_to("../../.git/annex/objects/key")
    assert summary(dataset.collect()) == [("dwi-split", "sub-01_dwi", 1)]


def test_listing_shows_the_choice_and_its_notes(dataset):
    """--dry-run of a pair with a partial table."""
    bvals, bvecs = table()
    dataset.add("dir-AP", (bvals, bvecs), {"PhaseEncodingDirection": "j-"})
    dataset.add("dir-PA", (bvals[:-2], bvecs[:-2]), PA)
    text = format_collection(dataset.collect())
    assert "[DWI with opposite phase encoding]" in text
    assert "sub-01_dir-PA_dwi.nii.gz  (21 volumes)" in text
    assert "note: TotalReadoutTime is missing" in text


@pytest.mark.real_data
def test_real_series_are_found(real_data):
    """Two scanners' tables: one shell each, no repetition."""
    found = collect(real_data / "dwi", SelectionConfig(modalities=("dwi",)))
    assert [(unit.kind, unit.label) for unit in found.units] == [
        ("dwi-split", "sub-ds114_dwi"),
        ("dwi-split", "sub-philips_dwi"),
    ]


@pytest.mark.parametrize("extension", [".bval", ".bvec"])
def test_the_table_that_is_too_short_is_the_one_named(dataset, extension):
    """Both are compared with the volumes of the image, so that a short .bval is not blamed on the .bvec."""
    stem = dataset.add("")
    path = Path(f"{stem}{extension}")
    rows = [line.split()[:-1] for line in path.read_text().splitlines()]
    path.write_text("\n".join(" ".join(row) for row in rows) + "\n")
    (fault,) = dataset.collect().excluded
    assert fault.is_error
    assert re.match(
        rf"{re.escape(str(path))}: expected .*{N_VOLUMES}.* found .*{N_VOLUMES - 1}", fault.reason
    )


def test_repeats_of_opposite_phase_encoding_are_refused_with_the_way_out(dataset):
    """--dwi-pairing repeat on a pair names the partner and both options that take it."""
    dataset.add("dir-AP", metadata=AP)
    dataset.add("dir-PA", metadata=PA)
    reasons = [item.reason for item in dataset.collect("repeat").excluded]
    assert len(reasons) == 2
    assert "dir-PA_dwi.nii.gz is opposite: use --dwi-pairing reverse-pe, or --dwi-corrected" in reasons[0]


def test_reversed_b0_follow_into_the_raw_like_dataset(dataset, tmp_path):
    """A series of b0 images of opposite phase encoding, unchanged; not one of the same direction."""
    b0 = (np.zeros(3), np.zeros((3, 3)))
    field = {"B0FieldIdentifier": "pepolar"}
    main = dataset.add("dir-AP", metadata=AP | field | {"B0FieldSource": "pepolar"})
    back = dataset.add("dir-PA", gradients=b0, metadata=PA | field | {"IntendedFor": "dwi/a_dwi.nii.gz"})
    dataset.add("acq-same_dir-AP", gradients=b0, metadata=AP)
    dataset.add("acq-full_dir-PA", metadata=PA)
    back.with_suffix(".bvec").rename(dataset.root / "dir-PA_dwi.bvec")
    root = tmp_path / "raw-like"
    node = DescribeRawLike(
        sidecar={},
        metadata=[json.loads(Path(f"{main}.json").read_text())],
        series={f"{main}.nii.gz": str(root / "sub-01/dwi/sub-01_rec-n2a_dir-AP_dwi.nii.gz")},
        root=str(root),
        bids_dir=str(dataset.root),
    )
    (sidecar,) = node.run(cwd=str(tmp_path)).outputs.sidecars
    assert sidecar["B0FieldIdentifier"] == sidecar["B0FieldSource"] == "pepolar"
    copy = root / "sub-01/dwi" / back.name
    assert sorted(path.name for path in copy.parent.iterdir()) == [
        f"{back.name}{extension}" for extension in (".bval", ".bvec", ".json", ".nii.gz")
    ]
    assert Path(f"{copy}.nii.gz").read_bytes() == Path(f"{back}.nii.gz").read_bytes()
    assert json.loads(Path(f"{copy}.json").read_text()) == PA | field
    readme = (root / "README.md").read_text()
    assert "opposite phase encoding, are copied" in readme.replace("\n", " ")
    assert "QSIPrep wants a T1w image" in readme


def _b0_image(stem: Path, metadata: dict, shape=(4, 4, 3)) -> Path:
    nb.Nifti1Image(np.indices(shape)[0].astype("uint8"), np.eye(4)).to_filename(f"{stem}.nii.gz")
    Path(f"{stem}.json").write_text(json.dumps(metadata))
    return Path(f"{stem}.nii.gz")


@pytest.mark.parametrize("shape", [(4, 4, 3), (4, 4, 3, 1), (4, 4, 3, 3)])
@pytest.mark.parametrize("inherits", [False, True])
def test_a_b0_without_table_is_left_out_with_a_note_and_kept_for_the_distortion(dataset, shape, inherits):
    """As converters write it; a table at the top that belongs to the series changes nothing."""
    stem = dataset.add("dir-AP", metadata=AP)
    if inherits:
        for extension in (".bval", ".bvec"):
            Path(f"{stem}{extension}").replace(dataset.root / f"dwi{extension}")
    back = _b0_image(stem.with_name("sub-01_dir-PA_dwi"), PA, shape)
    found = dataset.collect()
    assert summary(found) == [("dwi-split", "sub-01_dir-AP_dwi", 1)]
    assert found.units[0].reversed_b0.path == back
    (item,) = found.excluded
    assert not item.is_error
    assert "without a gradient table: taken for" in item.reason


@pytest.mark.parametrize(
    ("metadata", "kept"),
    [({}, False), (AP, False), ({**PA, "PhaseEncodingDirection": "i"}, False), (PA, True)],
)
def test_only_a_b0_of_opposite_phase_encoding_shows_the_distortion(dataset, metadata, kept):
    """The sidecar decides, never the label."""
    stem = dataset.add("run-1", metadata=AP)
    dataset.add("run-2", metadata=AP)
    _b0_image(stem.with_name("sub-01_acq-b0_dir-PA_dwi"), metadata)
    (unit,) = dataset.collect().units
    assert unit.kind == "dwi-repeats"
    assert (unit.reversed_b0 is not None) is kept


@pytest.mark.parametrize("table", ["", "0 1000"])
@pytest.mark.parametrize("word", ["TRACEW", "ADC", "FA", "CALC_BVALUE"])
def test_a_map_that_the_scanner_computed_is_no_b0_and_no_fault(dataset, tmp_path, word, table):
    """Its contrast is another: no distortion follows from it, here or in the raw-like dataset."""
    main = dataset.add("dir-AP", metadata=AP)
    stem = main.with_name("sub-01_acq-map_dir-PA_dwi")
    metadata = PA | {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", word, "ND", "NORM"]}
    _b0_image(stem, metadata, (4, 4, 3, 2) if table else (4, 4, 3))
    if table:
        stem.with_suffix(".bval").write_text(table)
        stem.with_suffix(".bvec").write_text("0 0\n0 0\n0 0\n")
    found = dataset.collect()
    assert found.units[0].reversed_b0 is None
    (item,) = found.excluded
    assert not item.is_error and "which the scanner computed" in item.reason
    assert copy_reversed_b0(dataset.root, tmp_path / "raw", [Path(f"{main}.nii.gz")], 50.0) == []


def test_a_series_of_many_volumes_is_no_map_whatever_its_sidecar_says(dataset):
    """What a converter kept of one volume does not make a series a map."""
    dataset.add("run-1", metadata=AP | {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]})
    assert summary(dataset.collect()) == [("dwi-split", "sub-01_run-1_dwi", 1)]


_URI, _FOLDER = "bids::sub-01/dwi/sub-01_dir-AP_dwi.nii.gz", "dwi/sub-01_dir-AP_dwi.nii.gz"


@pytest.mark.parametrize(
    ("of_field", "of_series", "kept"),
    [
        ({"IntendedFor": _FOLDER}, {}, True),
        ({"IntendedFor": ["func/sub-01_task-rest_bold.nii.gz", _URI]}, {}, True),
        ({"B0FieldIdentifier": "pepolar"}, {"B0FieldSource": ["other", "pepolar"]}, True),
        ({"B0FieldIdentifier": ["pepolar"]}, {"B0FieldIdentifier": "pepolar"}, True),
        ({"IntendedFor": _FOLDER, "PhaseEncodingDirection": "j-"}, {}, False),
        ({"IntendedFor": ["func/sub-01_task-rest_bold.nii.gz", "", 3]}, {"B0FieldSource": None}, False),
    ],
)
def test_a_field_map_serves_the_series_that_it_is_meant_for(dataset, of_field, of_series, kept):
    """The sidecars link them; field maps of other images, or of the same polarity, are not used or named."""
    dataset.add("dir-AP", metadata=AP | of_series)
    folder = dataset.root / "sub-01/fmap"
    folder.mkdir()
    back = _b0_image(folder / "sub-01_dir-PA_epi", PA | of_field, (4, 4, 3, 3))
    found = dataset.collect()
    assert summary(found) == [("dwi-split", "sub-01_dir-AP_dwi", 1)] and not found.excluded
    reversed_b0 = found.units[0].reversed_b0
    assert (reversed_b0 is not None and reversed_b0.path == back) is kept


def test_a_field_map_that_is_a_series_shows_the_distortion_by_its_b0s(dataset):
    """What its table calls weighted is none; without a b0, or with a broken table, it is named and unused."""
    dataset.add("dir-AP", metadata=AP)
    (dataset.root / "sub-01/fmap").mkdir()
    bvals, bvecs = table(6)
    field = dataset.root / "sub-01/fmap/sub-01_dir-PA_epi"
    _b0_image(field, PA | {"IntendedFor": _FOLDER}, (4, 4, 3, bvals.size))
    np.savetxt(f"{field}.bval", bvals[None], fmt="%g")
    np.savetxt(f"{field}.bvec", bvecs.T, fmt="%.6f")
    found = dataset.collect()
    reversed_b0 = found.units[0].reversed_b0
    assert (reversed_b0.bval, reversed_b0.bvec) == (Path(f"{field}.bval"), Path(f"{field}.bvec"))
    assert not found.excluded
    Path(f"{field}.bval").write_text("1000 " * bvals.size)
    for text, said in ((None, "expected unit vectors"), ("1 0 0\n" * bvals.size, "is a b0")):
        if text:
            Path(f"{field}.bvec").write_text(text)
        found = dataset.collect()
        assert found.units[0].reversed_b0 is None
        (item,) = found.excluded
        assert said in item.reason and "not used to estimate distortion" in item.reason and not item.is_error


def test_distortion_that_is_left_to_another_tool_is_said_to_be_left(dataset):
    """With raw-like series, which the b0 follows, nothing claims that n2a corrects them."""
    stem = dataset.add("dir-AP", metadata=AP)
    _b0_image(stem.with_name("sub-01_dir-PA_dwi"), PA)
    (unit,) = dataset.collect().units
    assert "the distortion is estimated with sub-01_dir-PA_dwi.nii.gz" in unit.reason
    left = leave_distortion(unit)
    assert left.reversed_b0 is None and "distortion" not in left.reason
    assert "distortion is left" in left.notes[-1] and "sub-01_dir-PA_dwi.nii.gz" in left.notes[-1]
    assert leave_distortion(left) == left


@pytest.mark.parametrize(
    ("time", "told"), [(None, "is missing for sub-01_dir-PA"), (0.1, "differs (0.05 s of sub-01_dir-AP")]
)
def test_readout_times_of_a_series_and_its_b0_are_compared(dataset, time, told):
    """As those of a pair: the displacements are taken from them; left alone, there is nothing to say."""
    stem = dataset.add("dir-AP", metadata=AP)
    metadata = {key: value for key, value in {**PA, "TotalReadoutTime": time}.items() if value is not None}
    _b0_image(stem.with_name("sub-01_dir-PA_dwi"), metadata)
    (unit,) = dataset.collect().units
    assert any(told in note for note in unit.notes)
    assert not any(told in note for note in leave_distortion(unit).notes)


def test_what_is_wrong_in_a_sidecar_is_told_also_where_the_distortion_is_left(dataset):
    """A readout time that is none is a fault of the series, whoever corrects it."""
    stem = dataset.add("dir-AP", metadata={**AP, "TotalReadoutTime": "Infinity"})
    _b0_image(stem.with_name("sub-01_dir-PA_dwi"), PA)
    (unit,) = dataset.collect().units
    assert any("taken for missing" in note for note in unit.notes)
    assert any("taken for missing" in note for note in leave_distortion(unit).notes)


@pytest.mark.parametrize("fault", ["cut", "zeros", "nan"])
def test_a_b0_that_cannot_be_used_stops_nobody(dataset, fault):
    """Its voxels are looked at before: the series keeps its distortion, with a note, or takes the next b0."""
    stem = dataset.add("dir-AP", metadata=AP)
    path = _b0_image(stem.with_name("sub-01_dir-PA_dwi"), PA)
    if fault == "cut":
        nb.Nifti1Image(np.random.default_rng(0).random((32, 32, 9)), np.eye(4)).to_filename(path)
        path.write_bytes(path.read_bytes()[:-20])
    else:
        value = {"zeros": 0.0, "nan": np.nan}[fault]
        nb.Nifti1Image(np.full((4, 4, 3), value), np.eye(4)).to_filename(path)
    (unit,) = dataset.collect().units
    assert unit.reversed_b0 is None
    assert "not estimated with a b0 image that cannot be used: " in unit.notes[0]
    second = _b0_image(stem.with_name("sub-01_dir-PA_run-2_dwi"), PA)
    assert dataset.collect().units[0].reversed_b0.path == second


def test_a_broken_field_map_stops_nobody(dataset):
    """It is named, and is no fault: the series can do without. One of other images is not even named."""
    dataset.add("dir-AP", metadata=AP)
    (dataset.root / "sub-01/fmap").mkdir()
    meant = json.dumps({"IntendedFor": _FOLDER})
    for run, text in ((1, "{"), (2, meant), (3, "{}")):
        path = _b0_image(dataset.root / f"sub-01/fmap/sub-01_run-{run}_epi", {})
        path.with_name(f"sub-01_run-{run}_epi.json").write_text(text)
        if run > 1:
            path.write_bytes(b"no image")
    found = dataset.collect()
    assert len(found.units) == 1
    assert [item.is_error for item in found.excluded] == [False, False]
    assert all("not used to estimate distortion: " in item.reason for item in found.excluded)


@pytest.mark.parametrize(("angle_deg", "kind"), [(20, "dwi-repeats"), (40, "dwi-split")])
def test_repeats_may_be_cut_at_another_angle(dataset, angle_deg, kind):
    """Directions agree in the world; where phase is encoded along quite another line, distortion differs."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("x", angle_deg, degrees=True).as_matrix()
    bvals, bvecs = table()
    for run, affine in enumerate((np.eye(4), turn), start=1):
        world = bvecs @ np.diag([-1.0, 1, 1])
        stem = dataset.add(f"run-{run}", (bvals, world @ affine[:3, :3] @ np.diag([-1.0, 1, 1])), AP)
        nb.Nifti1Image(np.zeros((4, 4, 3, len(bvals)), "uint8"), affine).to_filename(f"{stem}.nii.gz")
    assert dataset.collect().units[0].kind == kind


def test_b0_series_with_a_table_and_corrected_series(dataset):
    """A table of zeros is as good as none; what is corrected already needs no b0."""
    dataset.add("dir-AP", metadata=AP)
    stem = dataset.add("dir-PA", (np.zeros(3), np.zeros((3, 3))), PA)
    assert dataset.collect().units[0].reversed_b0.path == Path(f"{stem}.nii.gz")
    selection = SelectionConfig(modalities=("dwi",), dwi_corrected=True)
    assert collect(dataset.root, selection).units[0].reversed_b0 is None


def test_a_single_band_reference_is_no_fault(dataset):
    """One without its series is named; that of a series is not; opposite ones serve the distortion."""
    stem = dataset.add("dir-AP", metadata=AP)
    _b0_image(stem.with_name("sub-01_dir-AP_sbref"), AP)
    back = _b0_image(stem.with_name("sub-01_dir-PA_sbref"), PA)
    found = dataset.collect()
    assert found.units[0].reversed_b0.path == back
    (item,) = found.excluded
    assert item.path == back and not item.is_error
    assert "a single-band reference without its series" in item.reason


def test_a_full_series_without_its_table_is_a_fault(dataset):
    """Its table is lost: that is no b0."""
    stem = dataset.add("")
    for extension in (".bval", ".bvec"):
        Path(f"{stem}{extension}").unlink()
    assert dataset.collect().excluded[0].is_error


def test_a_reversed_b0_without_table_follows_into_the_raw_like_dataset(dataset, tmp_path):
    """Image and sidecar, and zeros in place of a table of others that applies by inheritance."""
    main = dataset.add("dir-AP", metadata=AP)
    for extension in (".bval", ".bvec"):
        Path(f"{main}{extension}").replace(dataset.root / f"dwi{extension}")
    _b0_image(main.with_name("sub-01_dir-PA_dwi"), PA)
    root = tmp_path / "raw-like"
    copy_reversed_b0(dataset.root, root, [Path(f"{main}.nii.gz")], 50.0)
    copied = sorted(path.name for path in (root / "sub-01/dwi").iterdir())
    assert copied == [f"sub-01_dir-PA_dwi{end}" for end in (".bval", ".bvec", ".json", ".nii.gz")]
    assert (root / "sub-01/dwi/sub-01_dir-PA_dwi.bval").read_text() == "0\n"


@pytest.mark.parametrize(("n_weighted", "copied"), [(3, True), (1, True), (8, False)])
def test_series_too_short_to_be_denoised_go_along_as_they_are(dataset, tmp_path, n_weighted, copied):
    """UK Biobank has three b0s and three directions of opposite phase encoding, which correct the others."""
    main = dataset.add("dir-AP", metadata=AP)
    short = np.r_[0, 0, 0, np.full(n_weighted, 1000.0)], np.r_[np.zeros((3, 3)), directions(n_weighted)]
    dataset.add("dir-PA", short, PA)
    found = copy_reversed_b0(dataset.root, tmp_path / "raw", [Path(f"{main}.nii.gz")], 50.0)
    assert [image.path.name for image in found] == ["sub-01_dir-PA_dwi.nii.gz"] * copied
