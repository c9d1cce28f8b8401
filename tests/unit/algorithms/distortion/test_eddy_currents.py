"""Eddy currents of series of one protocol: told together, and the same in the world, however stored."""

from dataclasses import replace

import numpy as np
import pytest

from n2a_bids.algorithms.distortion.eddy_currents import believed_currents, shared_currents

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
def test_series_tell_their_eddy_currents_together(second, sign):
    """Volumes of both are displaced alike in the world, or oppositely, nearer to the truth than by one."""
    gradients = half_sphere()
    truth = 60 * gradients @ SLOPES
    errors = []
    for seed in range(8):
        first_own = measured("LAS", gradients, seed)
        # Phase encoding may be opposite, or a converter have turned all gradients of a series round.
        other_own = measured(second, gradients, seed + 100)
        other_own = believed_like(other_own, sign)
        found = shared_currents([first_own, other_own], [STORED["LAS"], STORED[second]])
        here = displacements_mm(found[0], "LAS", gradients)
        there = displacements_mm(found[1], second, sign * gradients)
        np.testing.assert_allclose(here, there, atol=1e-9)
        alone = displacements_mm(first_own, "LAS", gradients)
        errors.append([np.sqrt(np.mean((one - truth) ** 2)) for one in (alone, here)])
    assert np.mean(errors, axis=0)[1] < 0.85 * np.mean(errors, axis=0)[0]


def believed_like(currents, sign):
    """The same currents, all displacements of this sign."""
    return replace(currents, slopes=sign * currents.slopes, evidence=sign * currents.evidence)


def test_what_no_other_series_tells_is_not_shared():
    """One that is alone, and one that tells something else than two others, which go on together."""
    own = [measured("PSR", half_sphere(), seed) for seed in (0, 1)]
    assert shared_currents(own[:1], [STORED["PSR"]]) == [None]
    other = replace(own[0], slopes=own[0].slopes[::-1], evidence=own[0].evidence[::-1])
    with_other = shared_currents([own[0], other, own[1]], [STORED["PSR"]] * 3)
    without = shared_currents(own, [STORED["PSR"]] * 2)
    assert with_other[1] is None
    for found, expected in zip((with_other[0], with_other[2]), without, strict=True):
        np.testing.assert_allclose(found.slopes, expected.slopes, atol=1e-12)


def test_series_with_other_signs_of_single_gradients_tell_the_same():
    """As scanners that choose them anew for every phase encoding do: signs count as each table has them."""
    gradients = half_sphere()
    mixed = gradients * np.where(np.arange(20) % 2, 1, -1)[:, None]
    found = shared_currents([measured("LAS", gradients, 0), measured("LAS", mixed, 1)], [STORED["LAS"]] * 2)
    np.testing.assert_allclose(found[0].slopes, found[1].slopes, atol=1e-12)
    np.testing.assert_allclose(
        displacements_mm(found[0], "LAS", np.eye(3)), 60 * SLOPES, atol=0.15 * 60 * np.abs(SLOPES).max()
    )
