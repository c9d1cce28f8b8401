"""Thickness of a cortex that is known, and what tells two of them apart."""

import numpy as np
import pytest

from n2a_bids.errors import DenoisingError
from n2a_bids.lab.benchmark.downstream.thickness import Thickness, compare_thickness, measure

SIZE_MM = (1.0, 1.0, 1.0)


def ball(thickness_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """White matter in a shell of grey matter in a shell of CSF, with partial volumes, and its mask."""
    distance = np.linalg.norm(np.indices((22, 22, 22)) - 10.5, axis=0)
    radii = (10.5, 4.5 + thickness_mm, 4.5)
    image = sum(300 * np.clip(radius - distance + 0.5, 0, 1) for radius in radii)
    return image.astype(np.float32), distance < radii[0]


@pytest.mark.proof
def test_a_thicker_cortex_is_told_and_the_same_image_gives_the_same():
    """Two images of one shell agree to the bit; a shell that is 2 mm thicker is found clearly thicker."""
    found = {}
    for thickness_mm in (2.0, 4.0):
        image, mask = ball(thickness_mm)
        found[thickness_mm] = measure(image, mask, SIZE_MM)
    means = {true: one.map_mm[one.map_mm > 0.1].mean() for true, one in found.items()}
    assert 1.0 < means[4.0] - means[2.0] < 3.0
    again = measure(*ball(2.0), SIZE_MM)
    assert set(compare_thickness(again, found[2.0]).values()) == {0.0}
    assert compare_thickness(found[4.0], found[2.0])["regional_thickness_mm"] > 0.5


def test_errors_of_voxels_that_cancel_leave_the_pieces_alone():
    """A piece of cortex that is too thick here and too thin there has the right mean."""
    pieces = np.zeros((10, 10, 10), int)
    flat = Thickness(np.full(pieces.shape, 3.0, np.float32), pieces)
    signs = np.where(np.indices(pieces.shape).sum(axis=0) % 2, 0.5, -0.5).astype(np.float32)
    differences = compare_thickness(Thickness(flat.map_mm + signs, pieces), flat)
    assert differences["thickness_mm"] == pytest.approx(0.5)
    assert differences["regional_thickness_mm"] == pytest.approx(0.0, abs=1e-6)


def test_an_image_without_tissues_is_named():
    mask = ball(2.0)[1]
    with pytest.raises(DenoisingError, match="three tissues"):
        measure(mask.astype(np.float32), mask, SIZE_MM)
