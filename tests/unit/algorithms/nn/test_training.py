"""The training loop: recorded steps, and what a step may not do."""

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from n2a_bids.algorithms.nn import precision
from n2a_bids.algorithms.nn.cuda_graphs import RecordedStep
from n2a_bids.algorithms.nn.networks import ResidualUNet
from n2a_bids.algorithms.nn.training import Batch, Schedule, fit

CPU = torch.device("cpu")
HOST_READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal"}


def _network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return ResidualUNet((4, 8), (1, 1))


def _batch(generator: torch.Generator, edge: int = 8) -> Batch:
    noisy, target = torch.randn((2, 2, 1, edge, edge, edge), generator=generator)
    return Batch(noisy, torch.full_like(noisy, 0.3), target, torch.ones_like(noisy))


class _Recorder:
    """Replays as a CUDA graph does: the same memory, and gradients written anew."""

    def __init__(self, network: nn.Module):
        self.network = network
        self.n_replays = 0

    def __call__(self, work):
        def replay():
            self.n_replays += 1
            self.network.zero_grad(set_to_none=True)
            work()

        return replay


def _trained(edges: tuple[int, ...], recorded: bool) -> tuple[nn.Module, list[float], int]:
    network, generator, drawn = _network(), torch.Generator().manual_seed(0), iter(edges)
    recorder = _Recorder(network) if recorded else None
    schedule = Schedule(2, len(edges) // 2, 1e-3)
    losses = fit(network, lambda: _batch(generator, next(drawn)), schedule, device=CPU, recorder=recorder)
    return network, losses, recorder.n_replays if recorder else 0


@pytest.mark.parametrize("edges", [(8,) * 10, (8, 8, 8, 8, 8, 4, 8, 12, 8, 8)], ids=["one shape", "several"])
def test_recorded_steps_learn_what_plain_ones_learn(edges):
    plain, plain_losses, _ = _trained(edges, recorded=False)
    replayed, losses, n_replays = _trained(edges, recorded=True)
    assert n_replays == 10 - 3 - sum(edge != 8 for edge in edges)
    assert losses == pytest.approx(plain_losses, rel=1e-5)
    for ours, theirs, first in zip(replayed.parameters(), plain.parameters(), _network().parameters()):
        assert (theirs - first).abs().max() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_batches_are_copied_to_where_the_recorded_one_was():
    seen = []
    step = RecordedStep(
        lambda noisy: seen.append((noisy.data_ptr(), float(noisy[0]))), lambda: None, lambda w: w
    )
    batches = [torch.full((4,), float(index)) for index in range(6)]
    for batch in batches:
        step(batch)
    assert [value for _, value in seen] == [0, 1, 2, 3, 4, 5]
    assert len({address for address, _ in seen[3:]}) == 1
    assert all(float(batch[0]) == index for index, batch in enumerate(batches))


class _CountHostReads(TorchDispatchMode):
    n_reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n_reads += func.name().split(".")[0] in HOST_READS
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("steps_per_epoch", [1, 7])
@pytest.mark.parametrize("recorded", [False, True])
def test_the_host_reads_one_value_an_epoch(steps_per_epoch, recorded):
    """Any more, and steps would wait for the GPU; any in a step, and it could not be recorded."""
    network = _network()
    batch = _batch(torch.Generator().manual_seed(0))
    with _CountHostReads() as counter:
        fit(
            network,
            lambda: batch,
            Schedule(3, steps_per_epoch, 1e-3),
            device=CPU,
            recorder=_Recorder(network) if recorded else None,
        )
    # The optimiser looks once at a learning rate that lies on the device.
    assert counter.n_reads == 3 + recorded


def test_a_loss_that_is_not_finite_ends_the_training():
    batch = _batch(torch.Generator().manual_seed(0))
    batch.target[0, 0, 0, 0, 0] = torch.inf
    with pytest.raises(FloatingPointError, match="training loss of epoch 1"):
        fit(_network(), lambda: batch, Schedule(1, 2, 1e-3), device=CPU)


@pytest.mark.parametrize("edge", [8, 12])
def test_small_blocks_learn_from_nothing_but_themselves(monkeypatch, edge):
    """Where bfloat16 is taken, memory that nobody wrote must not reach the weights: here it holds NaN."""
    monkeypatch.setattr(precision, "_time_over_float32", lambda: 0.1)
    network, generator = ResidualUNet(), torch.Generator().manual_seed(0)
    for _ in range(3):
        unwritten = [torch.full((2**power,), torch.nan) for power in range(6, 20) for _ in range(4)]
        del unwritten
        losses = fit(network, lambda: _batch(generator, edge), Schedule(1, 2, 1e-6), device=CPU)
        assert all(map(math.isfinite, losses))
    assert all(torch.isfinite(weights).all() for weights in network.parameters())
