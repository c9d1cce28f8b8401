"""Laws of what is believed of measured motion."""

import numpy as np
import pytest

from n2a_bids.algorithms.registration.motion_over_time import _smoothed, believed_course, join_in_time

_TIMES = np.arange(40.0)
_ERRORS_MM = np.random.default_rng(3).uniform(0.3, 0.9, (40, 3))


def _measured(course):
    return course + _ERRORS_MM * np.random.default_rng(4).standard_normal((40, 3))


def _rms(difference):
    return float(np.sqrt(np.mean(difference**2)))


def test_head_that_kept_still_keeps_still():
    """Of motion that is all error, nothing is left but a common shift of a tenth of it."""
    course = believed_course(_measured(np.zeros((40, 3))), _ERRORS_MM**2, _TIMES)
    assert np.abs(np.diff(course, axis=0)).max() < 0.03
    assert np.abs(course).max() < 0.25


def test_drift_and_jump_are_followed():
    """A slow drift is known better than it was measured, a jump of 5 mm comes at its time."""
    truth = np.outer(_TIMES / 20, [1, -0.5, 0.2])
    truth[25:] += [5, 0, -3]
    course = believed_course(_measured(truth), _ERRORS_MM**2, _TIMES)
    assert _rms(course - truth) < 0.7 * _rms(_measured(truth) - truth)
    assert course[25, 0] - course[24, 0] > 3.5


@pytest.mark.parametrize("jump_mm", [[5, 0, -3], [0.3, 1.5, 1.2]])
def test_a_head_keeps_still_before_and_after_a_jump(jump_mm):
    """One large step makes no small ones credible: no ramp leads to the jump."""
    errors, truth = [], np.zeros((40, 3))
    truth[25:] += jump_mm
    for seed in range(5):
        noise = _ERRORS_MM * np.random.default_rng(seed).standard_normal((40, 3))
        course = believed_course(truth + noise, _ERRORS_MM**2, _TIMES)
        still = np.delete(np.diff(course, axis=0), slice(22, 27), axis=0)
        assert np.abs(still).max() < 0.1
        errors.append(_rms(course - truth - (course - truth).mean(axis=0)))
    assert np.mean(errors) < 0.2


def test_well_known_motion_is_left_as_measured():
    """Where errors are small beside the motion, whatever its course, next to nothing changes."""
    truth = 2 * np.random.default_rng(5).standard_normal((40, 3))
    course = believed_course(truth, np.full((40, 3), 0.02**2), _TIMES)
    assert np.abs(course - truth).max() < 0.02


def test_unknown_motion_is_taken_from_neighbours():
    """A volume that tells nothing lies where those before and after it lie."""
    truth = np.outer(_TIMES / 10, [1.0, 0, 0])
    measured, variances = truth.copy(), np.full((40, 3), 0.05**2)
    measured[20], variances[20] = 30.0, np.inf
    assert np.abs(believed_course(measured, variances, _TIMES)[20] - truth[20]).max() < 0.2


def test_groups_agree_where_they_meet_in_time():
    """The constant between two groups comes from neighbours, and not from the one of them that moved."""
    motions = np.zeros((20, 6))
    motions[10:, 3] = 4.0
    motions[9, 3] = -6.0
    errors = join_in_time(motions, [np.arange(10), np.arange(10, 20)], np.arange(20))
    assert not np.any(errors)
    assert np.allclose(motions[10:, 3], 0) and motions[9, 3] == -6


def test_what_was_not_measured_follows_what_was():
    """Infinite errors, of most volumes or of all, leave a course of finite numbers."""
    measured = np.array([[0.0], [9.0], [-7.0], [8.0], [0.2]])
    variances = np.array([[1e-4], [np.inf], [np.inf], [np.inf], [1e-4]])
    course = believed_course(measured, variances, np.arange(5.0))
    assert np.all((course > -0.05) & (course < 0.25))
    assert np.array_equal(believed_course(measured, np.full((5, 1), np.inf), np.arange(5.0)), measured)


def test_a_component_that_was_never_measured_takes_nothing_from_the_others():
    """Nothing is NaN, and the others are as if it were not there."""
    rng = np.random.default_rng(0)
    measured, variances = rng.normal(0, 0.3, (20, 3)), np.full((20, 3), 0.09)
    variances[:, 1] = np.inf
    measured[:, 1] = 0.0
    course = believed_course(measured, variances, np.arange(20.0))
    alone = believed_course(measured[:, [0, 2]], variances[:, [0, 2]], np.arange(20.0))
    np.testing.assert_array_equal(course[:, [0, 2]], alone)
    np.testing.assert_array_equal(course[:, 1], measured[:, 1])


def test_steps_of_nothing_leave_a_still_course():
    """Measurements that agree exactly, with errors beside which they are nothing."""
    assert np.allclose(believed_course(np.zeros((6, 3)), np.ones((6, 3)), np.arange(6.0)), 0)


def test_smoothed_course_is_the_least_squares_solution():
    """The recursion over time gives what the normal equations of all places together give."""
    generator = np.random.default_rng(9)
    measured, variances = generator.standard_normal((12, 3)), generator.uniform(0.01, 2, (12, 3))
    variances[[0, 5, 11]] = np.inf
    step_variances = np.geomspace(1e-4, 3, 11)
    course, squares = _smoothed(measured, variances, step_variances)
    difference = np.diff(np.eye(12), axis=0)
    for k in range(3):
        walk = difference.T @ np.diag(1 / step_variances) @ difference
        covariance = np.linalg.inv(walk + np.diag(1 / variances[:, k]))
        expected = covariance @ (measured[:, k] / variances[:, k])
        spread = np.diag(difference @ covariance @ difference.T)
        assert np.allclose(course[:, k], expected, atol=1e-9)
        assert np.allclose(squares[:, k], np.diff(expected) ** 2 + spread, rtol=1e-6)
