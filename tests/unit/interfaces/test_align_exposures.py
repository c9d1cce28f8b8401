"""Exposures as inputs of a step: what is done again when they change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from n2a_bids.interfaces.micr import AlignExposures
from n2a_bids.interfaces.reportlets.micr import DriftChart
from n2a_bids.io.json import read_typed
from n2a_bids.record.alignment import AlignmentRecord


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


@pytest.mark.parametrize("drift", [0.0, 0.8])
def test_the_path_of_frames_is_recorded_and_drawn(tmp_path, monkeypatch, drift):
    """Sums of frames that were moved back lie on each other: the chart shows where the frames lay."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    scene = 30 + 10 * ndimage.zoom(rng.standard_normal((12, 12)), 8)
    seen = [ndimage.shift(scene, (0, drift * frame), mode="mirror").clip(0) for frame in range(8)]
    tifffile.imwrite("movie.tif", rng.poisson(seen).astype(np.uint8))
    align = AlignExposures(in_files=[str(tmp_path / "movie.tif")], metadata=[{}], n_frame_groups=2)
    record_file = align.run(cwd=str(tmp_path)).outputs.record_file
    path = read_typed(AlignmentRecord, tmp_path / record_file).frame_drift_pixels
    assert len(path) == (8 if drift else 0)
    if drift:
        np.testing.assert_allclose(path, [[drift * frame, 0] for frame in range(8)], atol=0.3)
    figure = DriftChart(alignment_file=record_file).run(cwd=str(tmp_path)).outputs.out_file
    assert ("Drift of 8 frames" in Path(figure).read_text()) == bool(drift)
