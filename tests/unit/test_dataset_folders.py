"""Folders that n2a must not write to are refused with the remedy."""

from __future__ import annotations

import pytest

from n2a_bids.dataset.folders import check_output_dir
from n2a_bids.errors import BIDSDataError


def test_output_outside_or_in_named_derivatives_passes(tmp_path):
    """Folders that need not exist yet, and are not created."""
    bids_dir = tmp_path / "bids"
    bids_dir.mkdir()
    for good in (
        tmp_path / "out" / "deep",
        bids_dir / "derivatives" / "n2a",
        bids_dir / "derivatives" / "n2a-0.1",
    ):
        check_output_dir(bids_dir, good)
        assert not good.exists()


def test_output_that_would_damage_the_input_is_refused(tmp_path):
    """The input itself, folders inside, links to it, another raw dataset."""
    bids_dir = tmp_path / "bids"
    (bids_dir / "derivatives").mkdir(parents=True)
    (tmp_path / "link").symlink_to(bids_dir)
    for bad, found in (
        (bids_dir, "the input itself"),
        (tmp_path / "link", "the input itself"),
        (bids_dir / "sub-01", "a folder inside"),
        (bids_dir / "derivatives", "a folder inside"),
        (bids_dir / "derivatives" / "fmriprep", "a folder inside"),
        (bids_dir / "sourcedata" / "n2a", "a folder inside"),
    ):
        with pytest.raises(BIDSDataError, match=rf"expected .*found {found}.*; choose"):
            check_output_dir(bids_dir, bad)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "dataset_description.json").write_text('{"Name": "other", "BIDSVersion": "1.8.0"}')
    with pytest.raises(BIDSDataError, match="found a raw BIDS dataset"):
        check_output_dir(bids_dir, raw)


def test_output_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    """A file in the way, and a disk that is full or read-only."""
    bids_dir = tmp_path / "bids"
    bids_dir.mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(BIDSDataError, match="found a file"):
        check_output_dir(bids_dir, tmp_path / "file")

    def fail(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    with pytest.raises(BIDSDataError, match=r"found OSError.*Read-only file system; correct its permissions"):
        check_output_dir(bids_dir, tmp_path / "out")
