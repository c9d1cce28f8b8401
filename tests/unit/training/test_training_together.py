"""Laws of processes that train together under torchrun: one network in all of them, resumable to the bit."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import training_together
from torch import distributed
from training_together import TRAIN, train_small, write_runs

from n2a_bids.algorithms.dataset_training.steps import TrainingBatch
from n2a_bids.algorithms.nn import weights as networks
from n2a_bids.errors import ConfigError
from n2a_bids.training import session
from n2a_bids.training.course import Course, check_same_epoch

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).resolve().parents[3]
_SEED = 20261121


def _torchrun(folder, name, *options):
    words = ["--standalone", "--nproc-per-node", "2", training_together.__file__, folder, name, *options]
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=environment, cwd=folder
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training in two processes, and what each of them has learned."""
    folder = tmp_path_factory.mktemp("together")
    write_runs(folder)
    done = _torchrun(folder, "whole")
    assert done.returncode == 0, done.stderr
    return folder, [torch.load(folder / f"whole-of-{rank}.pt") for rank in (0, 1)]


def test_all_processes_have_the_same_weights(trained):
    """To the bit, though each has learned from other blocks."""
    _, (first, second) = trained
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def _as_it_was(monkeypatch):
    """What a training in this process changes of the package is undone."""
    for name in ("load_weights", "LEVELS", "_refuse_worse", "new_state"):
        monkeypatch.setattr(session, name, getattr(session, name))
    monkeypatch.setitem(networks.NETWORKS, "resunet-t1w", networks.NETWORKS["resunet-t1w"])


@pytest.mark.usefixtures("_as_it_was")
def test_two_processes_are_one_with_twice_the_batch(trained, monkeypatch):
    """Given the blocks of both, one process learns the same, to rounding."""
    folder, (together, _) = trained
    monkeypatch.setattr(session, "batches_of_groups", _with_blocks_of_the_second(session.batches_of_groups))
    alone = train_small(folder, "alone")
    begun = train_small(folder, "begun", replace(TRAIN, rate=1e-9))
    for name, value in together.items():
        moved = (alone[name] - begun[name]).abs().max()
        assert moved > 0, name
        assert (alone[name] - value).abs().max() < 0.01 * moved, name


def _with_blocks_of_the_second(make):
    """Batches that hold those of the first process and, behind them, those of the second."""

    def batches(*given):
        draw, steps = make(*given), iter(range(TRAIN.epochs * TRAIN.steps))

        def both(rng):
            parts = [draw(one) for one in (rng, np.random.default_rng([_SEED, next(steps), 1]))]
            inputs = tuple(map(torch.cat, zip(*(part.inputs for part in parts), strict=True)))
            target, weight = (
                torch.cat([getattr(part, key) for part in parts]) for key in ("target", "weight")
            )
            return TrainingBatch(inputs, target, weight)

        return both

    return batches


def test_training_that_was_stopped_ends_as_if_it_had_not_been(trained):
    """Two processes go on from the checkpoint of the first, to the bit."""
    folder, (whole, _) = trained
    stopped = _torchrun(folder, "stopped", "--stop")
    assert stopped.returncode != 0
    assert (folder / "stopped.pt").is_file() and not (folder / "stopped").exists()
    done = _torchrun(folder, "stopped")
    assert done.returncode == 0, done.stderr
    assert "epoch 1:" not in done.stderr
    for rank in (0, 1):
        resumed = torch.load(folder / f"stopped-of-{rank}.pt")
        assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    written = [(folder / name / "resunet-t1w.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert written[0] == written[1]


def test_checkpoint_that_only_one_machine_sees_is_refused(monkeypatch):
    """Processes that went on from different epochs would never agree again."""
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(
        distributed, "all_gather_object", lambda found, own: found.__setitem__(slice(2), [3, 0])
    )
    with pytest.raises(ConfigError, match=r"training\.pt: .* epochs 0, 3; .*see"):
        check_same_epoch(Course("", epoch=3), Path("training.pt"))
