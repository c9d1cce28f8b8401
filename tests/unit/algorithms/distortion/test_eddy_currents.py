"""Eddy currents of repeats of one protocol: told together, and the same in the world, however stored."""

import numpy as np
import pytest

from n2a_bids.algorithms.distortion.eddy_currents import believed_currents, reversal, shared_currents

STORED = {"LAS": np.diag([-1.0, 1, 1]), "PSR": np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]])}
"""Axes of the array in the world, as columns."""
SLOPES = np.array([[0.04, -0.012, 0.016], [0.003, 0.012, -0.008], [-0.018, 0.004, 0.006]])
"""By gradients along the axes of the world, of displacements towards the front, per mm in the world."""


def half_sphere(seed=3, n=20):
    """Gradients that have a direction in common, as many scanners and converters give them."""
    directions = np.random.default_rng(seed).standard_normal((n, 3))
    directions[:, 0] = np.abs(directions[:, 0]) + 0.4
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def measured(stored, gradients, seed):
    """Eddy currents as one series tells them, stored in some order, with errors of its volumes."""
    axes, rng = STORED[stored], np.random.default_rng(seed)
    axis = int(np.argmax(np.abs(axes[1])))
    front = axes[1, axis]
    points = 60 * rng.uniform(-1, 1, (400, 3))
    compared = gradients - 0.9 * gradients.mean(axis=0)
    slopes = compared @ (front * SLOPES @ axes) + 0.003 * rng.standard_normal(gradients.shape)
    return believed_currents(np.zeros(len(gradients)), slopes, gradients, compared, points, axis)


def displacements_mm(currents, stored, gradients):
    """Towards the front, at points 60 mm along each axis of the world, by every gradient."""
    axes = STORED[stored]
    front = axes[1, currents.axis]
    return 60 * front * gradients @ currents.slopes @ axes.T


@pytest.mark.parametrize("second", ["LAS", "PSR"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_repeats_tell_their_eddy_currents_together(second, sign):
    """Volumes of both are displaced alike in the world, and nearer to the truth than by one series."""
    gradients = half_sphere()
    truth = 60 * gradients @ SLOPES
    errors = []
    for seed in range(8):
        first_own = measured("LAS", gradients, seed)
        # A converter may have turned all gradients of one series round, and what they do with them.
        other_own = measured(second, gradients, seed + 100)
        other_own = believed_like(other_own, sign)
        found = shared_currents([first_own, other_own], [STORED["LAS"], STORED[second]], [1.0, sign])
        here = displacements_mm(found[0], "LAS", gradients)
        there = displacements_mm(found[1], second, sign * gradients)
        np.testing.assert_allclose(here, there, atol=1e-9)
        alone = displacements_mm(first_own, "LAS", gradients)
        errors.append([np.sqrt(np.mean((one - truth) ** 2)) for one in (alone, here)])
    assert np.mean(errors, axis=0)[1] < 0.85 * np.mean(errors, axis=0)[0]


def believed_like(currents, sign):
    """The same currents told by a table of which all gradients have this sign."""
    return type(currents)(
        currents.axis,
        currents.centre_mm,
        currents.shift_mm,
        sign * currents.slopes,
        currents.certainty,
        sign * currents.evidence,
    )


def test_one_series_tells_what_it_tells_alone():
    gradients = half_sphere()
    own = measured("PSR", gradients, 0)
    (found,) = shared_currents([own], [STORED["PSR"]], [1.0])
    np.testing.assert_allclose(found.slopes, own.slopes, atol=1e-12)


def test_gradients_of_which_some_are_reversed_are_not_those_of_one_protocol():
    """Which of two tables has the signs that were applied is not known."""
    gradients = half_sphere()
    mixed = gradients * np.where(np.arange(20) % 2, 1, -1)[:, None]
    assert reversal(gradients, -gradients) == -1
    assert reversal(gradients, mixed) is None and reversal(gradients, gradients[:-1]) is None
