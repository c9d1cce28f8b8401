"""The level 'train' of the app, from a dataset to weights, in two processes that learn together."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_dataset import describe, write_mask, write_participant

from n2a_bids.io.weights import load_weights

SHORT = ("--train-epochs", 2, "--train-steps", 8, "--train-block", 16, "--train-rate", 0.001)


def _run(root: Path, *options: object) -> subprocess.CompletedProcess[str]:
    words = ["bids", "out", "train", "-w", "work", "--nprocs", 1, "--device", "cpu"]
    words += ["-d", f"masks={root / 'masks'}", *options]
    command = [sys.executable, "-m", "n2a_bids", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, timeout=900)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Three participants with two runs each."""
    root = tmp_path_factory.mktemp("train")
    describe(root / "bids", "small", "raw")
    for number in (1, 2, 3):
        write_participant(root / "bids", f"0{number}", seed=number)
        write_mask(root / "masks", f"0{number}")
    return root


def test_dry_run_tells_who_is_kept_apart(study):
    """Nothing is written, and all participants are named."""
    done = _run(study, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "3 groups of repetitions" in done.stdout
    assert not (study / "out").exists() and not (study / "work").exists()


def test_one_participant_is_too_few(study):
    """The error says how many are needed, before anything is computed."""
    done = _run(study, "--participant-label", "01")
    assert done.returncode == 70
    assert "at least 3 subjects" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_weights_of_a_dataset_are_whole_or_not_there(study):
    """Two processes on the CPU: weights with a card that fits, or the sentence that they are not better."""
    done = _run(study, *SHORT, "--train-processes", 2)
    if done.returncode == 0:
        assert load_weights("resunet-t1w", study / "out" / "weights") is not None
    else:
        assert done.returncode == 1, done.stderr
        assert "not better than the shipped ones" in done.stderr
        assert not list((study / "out").rglob("*.safetensors"))
    assert (study / "work").glob("*/train/checkpoint.pt")
