"""Field maps in the dataset that looks raw: which are copied, and what they name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from n2a_bids.dataset.write.raw_like import fieldmaps as raw_like_fields
from n2a_bids.dataset.write.raw_like.fieldmaps import copied_identifiers, copy_field_maps, raw_like_metadata
from n2a_bids.errors import BIDSDataError


class Participant:
    """Series and field maps of one participant, and the dataset that looks raw."""

    def __init__(self, folder: Path) -> None:
        self.bids, self.root = folder / "bids", folder / "rawlike"
        self.renamed: dict[Path, Path] = {}

    def add(self, name: str, metadata: dict | str, datatype: str = "fmap") -> Path:
        path = self.bids / "sub-01" / datatype / f"sub-01_{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image")
        text = metadata if isinstance(metadata, str) else json.dumps(metadata)
        path.with_name(f"sub-01_{name}.json").write_text(text)
        return path

    def add_series(self, name: str, **metadata: object) -> Path:
        path = self.add(f"{name}dwi", metadata, "dwi")
        self.renamed[path] = self.root / "sub-01/dwi" / f"sub-01_{name}rec-n2a_dwi.nii.gz"
        return self.renamed[path]

    def copy(self, *written: Path) -> list[str]:
        """Write series, then their field maps; names of these."""
        for path in written:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        copies = copy_field_maps(self.bids, self.root, self.renamed, written)
        return sorted(path.name.removeprefix("sub-01_").removesuffix(".nii.gz") for path in copies)

    def named_by(self, name: str) -> list[str]:
        return json.loads((self.root / f"sub-01/fmap/sub-01_{name}.json").read_text())["IntendedFor"]


@pytest.fixture
def participant(tmp_path):
    return Participant(tmp_path)


def test_field_maps_of_a_series_follow_it_and_others_stay(participant):
    """By IntendedFor or B0FieldSource; a magnitude goes with its phase difference."""
    series = participant.add_series("", B0FieldSource="pa")
    participant.add("dir-PA_epi", {"IntendedFor": ["bids::sub-01/dwi/sub-01_dwi.nii.gz"]})
    participant.add("acq-b_dir-PA_epi", {"B0FieldIdentifier": ["pa", "other"]})
    participant.add("phasediff", {"IntendedFor": "dwi/sub-01_dwi.nii.gz", "EchoTime1": 0.004})
    participant.add("magnitude1", {})
    participant.add("dir-AP_epi", {"IntendedFor": ["func/sub-01_task-rest_bold.nii.gz"]})
    assert participant.copy(series) == ["acq-b_dir-PA_epi", "dir-PA_epi", "magnitude1", "phasediff"]
    for name in ("dir-PA_epi", "acq-b_dir-PA_epi", "phasediff"):
        assert participant.named_by(name) == ["dwi/sub-01_rec-n2a_dwi.nii.gz"]


def test_a_field_map_that_is_a_series_keeps_its_table(participant):
    """By which tools know its b0s."""
    series = participant.add_series("")
    field = participant.add("dir-PA_epi", {"IntendedFor": ["dwi/sub-01_dwi.nii.gz"]})
    field.with_name("sub-01_dir-PA_epi.bval").write_text("0 1000")
    participant.copy(series)
    assert (participant.root / "sub-01/fmap/sub-01_dir-PA_epi.bval").read_text() == "0 1000"


def test_a_field_map_that_series_share_names_all_that_are_there(participant):
    """In whatever order they are written; one that failed is not named, nor one that is gone."""
    first, second = participant.add_series("acq-a_"), participant.add_series("acq-b_")
    participant.add_series("acq-failed_")
    names = [f"dwi/sub-01_acq-{label}_dwi.nii.gz" for label in ("a", "b", "failed")]
    participant.add("dir-PA_epi", {"IntendedFor": names})
    participant.copy(first)
    assert participant.named_by("dir-PA_epi") == ["dwi/sub-01_acq-a_rec-n2a_dwi.nii.gz"]
    participant.copy(second)
    assert participant.named_by("dir-PA_epi") == [
        f"dwi/sub-01_acq-{label}_rec-n2a_dwi.nii.gz" for label in "ab"
    ]
    # Another run, which selects one of them only.
    participant.renamed = {path: new for path, new in participant.renamed.items() if new == second}
    first.unlink()
    participant.copy(second)
    assert participant.named_by("dir-PA_epi") == ["dwi/sub-01_acq-b_rec-n2a_dwi.nii.gz"]


def test_series_written_at_the_same_time_do_not_take_each_other_out(participant, monkeypatch):
    """One process writes a sidecar with what it saw before the other wrote series and sidecar."""
    first, second = participant.add_series("acq-a_"), participant.add_series("acq-b_")
    participant.add("dir-PA_epi", {"IntendedFor": [f"dwi/sub-01_acq-{label}_dwi.nii.gz" for label in "ab"]})
    real, read = [], raw_like_fields._read

    def read_while_the_other_writes(sidecar):
        if not real:
            real.append(1)
            participant.copy(second)
            return {}
        return read(sidecar)

    monkeypatch.setattr(raw_like_fields, "_read", read_while_the_other_writes)
    participant.copy(first)
    assert len(participant.named_by("dir-PA_epi")) == 2


def test_a_series_stays_part_of_the_field_that_it_is_estimated_from(participant):
    """Series and copied field map have opposite polarity: either alone gives no field."""
    metadata = {"B0FieldIdentifier": ["pepolar", "gone"], "B0FieldSource": "pepolar", "SliceTiming": [0]}
    participant.add_series("", **metadata)
    assert raw_like_metadata(metadata, {}) == {"B0FieldSource": "pepolar"}
    participant.add("dir-PA_epi", {"B0FieldIdentifier": "pepolar"})
    copied = copied_identifiers(participant.bids, participant.renamed)
    assert copied == {"pepolar"}
    kept = raw_like_metadata(metadata, {}, copied)
    assert kept == {"B0FieldIdentifier": "pepolar", "B0FieldSource": "pepolar"}
    new = {"B0FieldIdentifier": "pair", "B0FieldSource": "pair"}
    assert raw_like_metadata(metadata, new, copied) == new


def test_a_broken_sidecar_matters_to_those_that_it_names(participant):
    """Of other images it stops nothing; one that names the series, or cannot be seen at all, is an error."""
    series = participant.add_series("", B0FieldSource="pa")
    participant.add("dir-PA_epi", {"B0FieldIdentifier": "pa"})
    participant.add("acq-x_epi", '{"IntendedFor": ["func/sub-01_task-rest_bold.nii.gz"')
    assert participant.copy(series) == ["dir-PA_epi"]
    participant.add("acq-x_epi", '{"IntendedFor": ["dwi/sub-01_dwi.nii.gz"')
    with pytest.raises(BIDSDataError, match=r"acq-x_epi\.json: expected a readable JSON"):
        participant.copy(series)
    sidecar = participant.add("acq-x_epi", {}).with_name("sub-01_acq-x_epi.json")
    sidecar.unlink()
    sidecar.symlink_to("nowhere")
    with pytest.raises(BIDSDataError, match="datalad get"):
        participant.copy(series)


def test_a_field_map_that_was_not_fetched_is_named(participant):
    """No sidecar without its image is left behind."""
    series = participant.add_series("")
    image = participant.add("dir-PA_epi", {"IntendedFor": ["dwi/sub-01_dwi.nii.gz"]})
    image.unlink()
    image.symlink_to(".git/annex/objects/nowhere")
    with pytest.raises(BIDSDataError, match=r"dir-PA_epi\.nii\.gz: .*datalad get"):
        participant.copy(series)
    shutil.rmtree(participant.root / "sub-01/dwi")
    assert not [path for path in participant.root.rglob("*") if path.is_file()]
