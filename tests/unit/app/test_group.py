"""The group level on a folder that it can read and not write to."""

import errno
import os
import tempfile

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
