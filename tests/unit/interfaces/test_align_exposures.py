"""Exposures as inputs of a step: what is done again when they change."""

from __future__ import annotations

from n2a_bids.interfaces.micrographs import AlignExposures


def test_a_changed_chunk_of_a_folder_is_another_input(tmp_path):
    """A step is done again where a folder holds something else, and the folder is read only then."""
    folders = [tmp_path / f"{name}.ome.zarr" for name in "ab"]
    for folder in folders:
        folder.mkdir()
        (folder / "0").write_bytes(b"abcd")
    inputs = AlignExposures(in_files=[str(folder) for folder in folders], metadata=[{}, {}]).inputs
    before = inputs.get_hashval("content")[1]
    assert inputs.get_hashval("content")[1] == before
    (folders[1] / "0").write_bytes(b"abce")
    assert inputs.get_hashval("content")[1] != before
