"""What a file or folder holds is known by its content alone."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from n2a_bids.io.files import content_digest, whole_file, write_whole


def test_a_changed_chunk_changes_a_folder_and_a_copy_does_not(tmp_path):
    """A chunk of the same size and an older time, as restored from a backup, is another image."""
    folder = tmp_path / "image.ome.zarr"
    (folder / "0").mkdir(parents=True)
    for name, content in ((".zattrs", b"{}"), ("0/0.0", b"abcd"), ("0/0.1", b"efgh")):
        (folder / name).write_bytes(content)
    before = content_digest(folder)
    copy = shutil.copytree(folder, tmp_path / "other.ome.zarr")
    os.utime(copy / "0" / "0.1", (1, 1))
    assert content_digest(copy) == before
    times = (folder / "0" / "0.1").stat()
    (folder / "0" / "0.1").write_bytes(b"efgi")
    os.utime(folder / "0" / "0.1", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert content_digest(folder) != before
    (copy / "0" / "0.1").rename(copy / "0" / "0.2")
    assert content_digest(copy) != before
    assert content_digest(tmp_path / "none") == ""


@pytest.mark.parametrize("letter", ["a", "ü"])
def test_long_names_are_written(tmp_path, letter):
    """A name may take all of the 255 bytes; that of the temporary file ends with the same letters."""
    name = letter * (240 // len(letter.encode())) + "_T1w.nii.gz"
    with whole_file(tmp_path / name) as temporary:
        temporary.write_text("x")
        assert temporary.name.startswith(".") and temporary.name.endswith("_T1w.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_full_disk_is_told_with_the_file_that_was_to_be_written(tmp_path):
    """Python tells no file; a file within a file (an image with its sidecar) is told once, as what it is."""
    outer, inner = tmp_path / "image.nii.gz", tmp_path / "image.json"
    with (
        pytest.raises(OSError, match=r"No space left.*image\.json") as caught,
        whole_file(outer),
        whole_file(inner),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "image.nii.gz" not in str(caught.value)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path):
    """It is left as it is, with what it holds."""
    (tmp_path / "group.html").mkdir()
    (tmp_path / "group.html" / "kept.txt").touch()
    with pytest.raises(OSError, match=r"found a folder; move it away.*group\.html"):
        write_whole(tmp_path / "group.html", "<html>")
    assert [path.name for path in tmp_path.rglob("*")] == ["group.html", "kept.txt"]
