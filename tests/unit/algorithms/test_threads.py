"""Tests of pieces of work that are done side by side."""

import threading

import pytest
import torch

from n2a_bids.algorithms.threads import map_side_by_side

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_pieces_are_done_at_once_each_by_one_thread_and_told_in_order(two_threads):
    """Both pieces wait for each other: one after the other would wait forever."""
    both = threading.Barrier(2, timeout=30)

    def work(piece):
        both.wait()
        return piece, torch.get_num_threads()

    assert map_side_by_side(CPU, work, [7, 5]) == [(7, 1), (5, 1)]
    assert torch.get_num_threads() == 2


def test_an_error_of_a_piece_reaches_the_caller_and_leaves_the_threads_as_they_were(two_threads):
    """Want of memory is met by smaller blocks further up."""

    def work(piece):
        raise MemoryError(piece)

    with pytest.raises(MemoryError):
        map_side_by_side(CPU, work, [1, 2, 3])
    assert torch.get_num_threads() == 2
