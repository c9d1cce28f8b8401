"""The group level on a folder that it can read and not write to."""

import errno
import os
import tempfile

import pytest

from n2a_bids.cli.main import main


def test_a_folder_that_cannot_be_written_is_told_in_words(tmp_path, capsys, monkeypatch):
    """Before anything is read, with the remedy."""

    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert main([str(tmp_path / "bids"), str(tmp_path), "group"]) == 70
    message = " ".join(capsys.readouterr().err.split())
    assert f"{tmp_path}: expected an output folder that can be written" in message
    assert "Read-only file system; correct its permissions" in message


@pytest.mark.parametrize(("there", "is_told"), [("1", True), ("12", False), ("", False)])
def test_results_of_those_who_left_the_dataset_are_told(make_bids, tmp_path, capsys, there, is_told):
    """Who has withdrawn must not stay in the table unseen; another dataset as input tells nothing."""
    bids_dir = make_bids({f"sub-0{label}/anat/sub-0{label}_T1w.nii.gz": None for label in there})
    for label in "12":
        folder = tmp_path / "out" / f"sub-0{label}" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-0{label}_desc-denoised_figures.json").write_text("{}")
    main([str(bids_dir), str(tmp_path / "out"), "group"])
    told = capsys.readouterr().err
    assert (f"not in {bids_dir} (any more): sub-02; leave them out" in told) == is_told
    assert ("any more" in told) == is_told
