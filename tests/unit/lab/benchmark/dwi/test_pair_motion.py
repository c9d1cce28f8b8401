"""Laws of the motion between the series of a pair, in the benchmark."""

import numpy as np
import pytest
from scipy import ndimage
from textured_heads import distortion_head

from n2a_bids.lab.benchmark.dwi.distortion import COLUMNS, KEYS, DistortedPair, methods, run_distortion
from n2a_bids.lab.benchmark.dwi.pair_motion import MOTIONS, motion_between, moved, residual_motion_mm
from n2a_bids.lab.benchmark.table import RowTable

_SIZE = (3.0, 3.0, 3.5)


@pytest.mark.parametrize("name", MOTIONS)
def test_motion_is_as_large_as_its_name_says(name):
    """Read at the map, the moved head lies as before; the translation is across the phase encoding."""
    image, mask = distortion_head((24, 26, 16))
    shift_mm, angle_deg = MOTIONS[name]
    voxel_map = motion_between(name, image.shape, _SIZE, 1)
    centre = np.append((np.array(image.shape) - 1) / 2, 1.0)
    shift = (voxel_map @ centre - centre)[:3] * _SIZE
    assert np.linalg.norm(shift) == pytest.approx(shift_mm) and shift[1] == pytest.approx(0)
    back = ndimage.affine_transform(moved(image, voxel_map), voxel_map[:3, :3], voxel_map[:3, 3], order=3)
    assert np.corrcoef(back[mask], image[mask])[0, 1] > 0.99
    missed = residual_motion_mm(np.eye(4), voxel_map, mask, _SIZE, 1)
    assert missed == pytest.approx(shift_mm, abs=1e-6) if not angle_deg else missed > shift_mm


def test_table_holds_the_motion_that_is_left(tmp_path):
    """Rows name the motion, and say how much of it a method leaves."""
    image, mask = distortion_head((24, 26, 16))
    second = moved(image, motion_between("3mm", image.shape, _SIZE, 1))
    pair = DistortedPair("test", "", image.astype(np.float32), second, mask, _SIZE, 1, motion="3mm")
    table = run_distortion([pair], {"rigid": methods(None)["rigid"]}, tmp_path / "rows.tsv")
    (row,) = RowTable(table, COLUMNS, KEYS).rows
    assert row["motion"] == "3mm" and float(row["residual_motion_mm"]) < 0.6
