"""Laws of gradient tables."""

import numpy as np
import pytest
import torch
from diffusion_series import random_directions, random_table

from n2a_bids.algorithms.diffusion.gradients import Gradients, antipodal_angle_deg, match_tables
from n2a_bids.algorithms.diffusion.shells import angular_groups, nearest_neighbours, round_to_shells
from n2a_bids.algorithms.diffusion.split import split_directions, tensor_condition_number


def test_round_to_shells_merges_jitter_and_keeps_shells_apart():
    """Jittered b-values become one shell; distinct shells stay distinct; b0 is zero."""
    bvals = np.array([0, 5, 995, 1000, 1005, 2990, 3010, 700])
    assert round_to_shells(bvals).tolist() == [0, 0, 1000, 1000, 1000, 3000, 3000, 700]


@pytest.mark.parametrize(
    ("bvals", "shells"),
    [
        ([985, 995, 1000, 1005, 1015], [1000] * 5),
        ([2950, 2975, 3000, 3025, 3050], [3000] * 5),
        ([700, 710, 840, 990, 995, 1005], [700, 700, 840, 1000, 1000, 1000]),
        ([5, 99, 300, 350], [0, 100, 300, 350]),
        ([50, 51, 60], [0, 60, 60]),
    ],
)
def test_shells_are_as_wide_as_the_jitter_of_scanners(bvals, shells):
    """What a scanner writes for one b-value is one shell; neighbours that were meant to differ are two."""
    found = round_to_shells(np.array(bvals, float))
    assert found == pytest.approx(shells, abs=6)
    assert np.unique(found).size == np.unique(shells).size


@pytest.mark.parametrize(
    "bvals",
    [
        np.arange(0, 1100, 100.0),
        np.array([0, 10, 20, 30, 40, 60, 80, 100, 120, 140, 160, 180, 200, 300, 400, 500, 600, 800, 1000.0]),
        np.linspace(0, 4000, 200),
        np.sort(np.random.default_rng(0).random(120) * 4000),
        np.repeat([0.0, 700.0, 1000.0, 2000.0, 3000.0], 5) + np.tile([-6.0, -2.0, 0.0, 3.0, 9.0], 5).clip(0),
    ],
)
def test_chains_of_b_values_make_no_shell(bvals):
    """No shell is wider than 50 or 5 %, whatever the scheme and its order; names keep shells apart."""
    shells = round_to_shells(bvals)
    for shell in np.unique(shells[shells > 0]):
        members = bvals[shells == shell]
        assert np.ptp(members) <= max(50, 0.05 * np.median(members))
        assert members.min() - 5 <= shell <= members.max() + 5
    order = np.random.default_rng(1).permutation(bvals.size)
    assert np.array_equal(round_to_shells(bvals[order]), shells[order])


def test_antipodal_angle_ignores_sign():
    """A direction and its opposite are at angle zero of each other."""
    bvecs = random_directions(7)
    assert np.allclose(antipodal_angle_deg(bvecs, bvecs), antipodal_angle_deg(bvecs, -bvecs))
    assert np.allclose(np.diag(antipodal_angle_deg(bvecs, -bvecs)), 0, atol=1e-5)


def test_nearest_neighbours_stay_on_shell_and_within_angle():
    """Neighbours share the shell and the angle limit; b0 and lonely volumes are their own."""
    bvecs = np.array([[0, 0, 0], [1, 0, 0], [-0.99, 0.14, 0], [0, 0, 1], [1, 0, 0]], dtype=float)
    bvecs[1:] /= np.linalg.norm(bvecs[1:], axis=1, keepdims=True)
    table = Gradients(np.array([0, 1000, 1000, 1000, 2000.0]), bvecs)
    assert nearest_neighbours(table).tolist() == [0, 2, 1, 3, 4]


def test_match_tables_pairs_up_to_sign_and_order():
    """A shuffled table with flipped signs is matched completely; foreign directions are left out."""
    first = random_table(1, 8)
    order = np.random.default_rng(1).permutation(9)
    second = Gradients(first.bvals[order], -first.bvecs[order])
    assert all(order[j] == i for i, j in match_tables(first, second))
    assert len(match_tables(first, second)) == 9
    other = Gradients(first.bvals, np.vstack((np.zeros(3), random_directions(8, seed=5))))
    assert len(match_tables(first, other)) < 9


def test_match_tables_never_pairs_b0_with_dwi():
    """A weighted volume has no partner among b0 volumes."""
    assert match_tables(random_table(0, 3), random_table(3, 0)) == []


def test_split_directions_partitions_with_low_condition_number():
    """Every direction lies in one subset and each subset determines a tensor well."""
    bvecs = random_directions(20)
    subsets = split_directions(bvecs, 2, torch.Generator().manual_seed(0), n_tries=200)
    assert sorted(np.concatenate(subsets)) == list(range(20))
    plain = max(tensor_condition_number(half) for half in np.array_split(bvecs, 2))
    assert max(tensor_condition_number(bvecs[s]) for s in subsets) < plain
    with pytest.raises(ValueError, match="at least 6"):
        split_directions(bvecs[:11], 2, torch.Generator())


def test_condition_number_of_ideal_scheme():
    """The icosahedral six directions reach the optimum of this design, the square root of 2.5."""
    phi = (1 + 5**0.5) / 2
    ideal = np.array([[1, phi, 0], [-1, phi, 0], [0, 1, phi], [0, -1, phi], [phi, 0, 1], [phi, 0, -1]])
    ideal /= np.linalg.norm(ideal, axis=1, keepdims=True)
    assert tensor_condition_number(ideal) == pytest.approx(2.5**0.5, abs=0.001)
    assert tensor_condition_number(ideal[:5]) == np.inf


def test_angular_groups_leave_no_volume_with_too_few_others():
    """A lone b0, and shells of a few directions, go with a neighbouring shell."""
    vectors = np.random.default_rng(0).standard_normal((80, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for bvals in (
        np.r_[0.0, np.full(64, 1000.0)],
        np.r_[np.full(64, 1000.0), 2000.0, 2000.0, 2000.0],
        np.r_[0.0, 500.0, 500.0, np.full(62, 1000.0), np.full(6, 3000.0)],
    ):
        table = Gradients(bvals, vectors[: bvals.size])
        groups = angular_groups(table, 20)
        assert sorted(np.concatenate(groups)) == list(range(bvals.size))
        assert min(group.size for group in groups) >= 7


def test_angular_groups_of_scattered_b_values_are_large():
    """Where every b is its own shell (DSI, IVIM), groups hold neighbouring b-values, and no handful each."""
    bvals = np.r_[0.0, np.random.default_rng(0).permutation(np.linspace(100, 4000, 150))]
    table = Gradients(bvals, np.vstack((np.zeros(3), random_directions(150))))
    groups = angular_groups(table, 40)
    assert sorted(np.concatenate(groups)) == list(range(151))
    assert min(map(len, groups)) >= 7 and max(map(len, groups)) <= 41 and np.median([*map(len, groups)]) > 15
    ends = sorted((bvals[group].min(), bvals[group].max()) for group in groups)
    assert all(high < low for (_, high), (low, _) in zip(ends[1:], ends[2:]))


def test_angular_groups_cover_once_within_limit():
    """Long series are cut into bounded groups; each volume is in one."""
    table = Gradients(
        np.r_[np.zeros(3), np.full(20, 1000.0), np.full(30, 2000.0)],
        np.vstack((np.zeros((3, 3)), random_directions(50))),
    )
    groups = angular_groups(table, 12)
    assert sorted(np.concatenate(groups)) == list(range(53))
    # The three b0s are too few for a group of their own.
    assert max(map(len, groups)) <= 12 + 3
    assert len(angular_groups(table, 64)) == 1


def test_match_tables_keeps_low_b_values_apart():
    """A missing b0 shifts the places, not the b-values; every volume finds the one that measures the same."""
    bvals = np.array([0.0, 0, 10, 20, 40, 1000, 1000])
    first = Gradients(bvals, np.vstack((np.zeros((2, 3)), random_directions(5))))
    pairs = match_tables(first, first.subset(slice(1, None)))
    assert [(bvals[i], bvals[1:][j]) for i, j in pairs] == [(b, b) for b in bvals[1:]]
    without = [index for index in range(7) if index not in (1, 3)]
    assert 3 not in dict(match_tables(first, first.subset(without)))


@pytest.mark.parametrize(("bvals", "paired"), [((15, 15), 2), ((60, 60), 2), ((5, 15), 2), ((10, 40), 0)])
def test_match_tables_pairs_b0s_whatever_b_is_written_for_them(bvals, paired):
    """Scanners write 0, 5, 15 or 60 for a b0; several low b-values of one table are a protocol of its own."""
    first = random_table(2, 8)
    second = Gradients(np.r_[bvals, first.bvals[2:]], first.bvecs)
    assert [pair for pair in match_tables(first, second) if pair[0] < 2] == [(0, 0), (1, 1)][:paired]
    other_way = [pair[::-1] for pair in match_tables(second, first)]
    assert sorted(other_way) == match_tables(first, second)


def test_match_tables_makes_as_many_pairs_as_possible():
    """Two directions that could go with the same partner: first come would leave one alone."""
    angles = np.radians([[0, 4], [4, 8]])
    first, second = (
        Gradients(np.full(2, 1000.0), np.stack([np.cos(a), np.sin(a), 0 * a], axis=1)) for a in angles
    )
    assert match_tables(first, second.subset([0, 1])) == [(0, 0), (1, 1)]


def test_match_tables_tells_a_b0_from_a_low_b_with_direction():
    """Above the threshold, a volume without direction is no partner of one with."""
    b = np.array([60.0])
    assert not match_tables(Gradients(b, np.zeros((1, 3))), Gradients(b, np.eye(3)[:1]))
    assert match_tables(Gradients(b, np.zeros((1, 3))), Gradients(b + 2, np.zeros((1, 3)))) == [(0, 0)]


def test_b0_has_no_direction_or_a_low_b():
    """The threshold is part of the table, and stays with its parts."""
    table = Gradients(
        np.array([0.0, 20, 60, 60]), np.vstack((np.zeros(3), np.eye(3)[:1], np.zeros(3), np.eye(3)[1]))
    )
    assert table.is_b0.tolist() == [True, True, True, False]
    strict = Gradients(table.bvals, table.bvecs, b0_threshold=0.0)
    assert strict.subset([1, 0]).is_b0.tolist() == [False, True]
