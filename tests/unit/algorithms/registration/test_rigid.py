"""Laws of rigid transforms."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.registration.rigid import first_guess, midspace_transforms
from n2a_bids.algorithms.transforms import Affine


def rigid(angles_deg=(0, 0, 0), shift_mm=(0, 0, 0), centre=(0, 0, 0)):
    turn = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    return Affine.about(turn, np.asarray(centre), np.add(centre, shift_mm)).matrix


def test_rotation_deg_does_not_depend_on_direction_or_shift():
    """A motion and its inverse turn by one angle, wherever they shift to."""
    motion = rigid((10, -20, 5), (3, 1, 7))
    assert Affine(motion).rotation_deg == pytest.approx((~Affine(motion)).rotation_deg)
    assert Affine(rigid(shift_mm=(9, 9, 9))).rotation_deg == 0


def test_displacement_mm_of_a_shift_is_its_length():
    """A pure shift moves every point alike."""
    points = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_allclose(Affine(rigid(shift_mm=(3, 4, 0))).displacement_mm(points), 5)


@pytest.mark.parametrize("n_images", [2, 3, 5])
def test_midspace_transforms_keep_relative_motion_and_centre(n_images):
    """The motions between images stay; for two images the middle is as far from one as from the other."""
    generator = np.random.default_rng(n_images)
    motions = [np.eye(4)] + [
        rigid(generator.uniform(-20, 20, 3), generator.uniform(-30, 30, 3)) for _ in range(n_images - 1)
    ]
    midspace = midspace_transforms(motions)
    for motion, half in zip(motions, midspace, strict=True):
        np.testing.assert_allclose(half @ np.linalg.inv(midspace[0]), motion, atol=1e-9)
        np.testing.assert_allclose(half[:3, :3] @ half[:3, :3].T, np.eye(3), atol=1e-12)
    if n_images == 2:
        np.testing.assert_allclose(midspace[0] @ midspace[1], np.eye(4), atol=1e-9)


@pytest.mark.parametrize(
    ("angles", "shift"), [((0, 0, 0), (0, 0, 0)), ((0, 0, 35), (150, -90, 60)), ((-25, 0, 0), (0, 300, 0))]
)
@pytest.mark.parametrize("edge", [1.0, 0.05], ids=["human", "animal"])
def test_first_guess_finds_a_head_far_away(head, affine, angles, shift, edge):
    """The guess lies close enough for a local search, also when the head is 30 cm off and turned."""
    image, mask = head
    affine, shift = np.diag([edge, edge, edge, 1]) @ affine, edge * np.array(shift)
    brain = (image * mask).astype(np.float32)
    centre = affine[:3, :3] @ np.array(ndimage.center_of_mass(mask)) + affine[:3, 3]
    motion = rigid(angles, shift, centre)
    # The same voxels, placed elsewhere: the head is where the motion takes it.
    guess = first_guess(brain, affine, brain, motion @ affine)
    points = np.argwhere(mask)[::50] @ affine[:3, :3].T + affine[:3, 3]
    assert Affine(np.linalg.inv(motion) @ guess).displacement_mm(points).max() < 35 * edge


def test_first_guess_trusts_headers_that_agree(head, affine):
    """Without motion the guess is the identity, to the bit."""
    brain = (head[0] * head[1]).astype(np.float32)
    np.testing.assert_array_equal(first_guess(brain, affine, brain, affine), np.eye(4))


def test_first_guess_takes_brains_of_negative_intensities(head, affine):
    """Standardised images lie around zero or below it: their centre is that of the mask."""
    brain = np.where(head[1], head[0] - 2000, 0).astype(np.float32)
    far = affine.copy()
    far[:3, 3] += (300, -200, 100)
    guess = first_guess(brain, affine, brain, far)
    assert guess[:3, 3] == pytest.approx((300, -200, 100), abs=4)
