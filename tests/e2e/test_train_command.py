"""The level 'train' of the app, from a dataset to weights, in two processes that learn together."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from microscopy_dataset import describe_dataset, expose, micr_path
from PIL import Image
from small_dataset import describe, write_mask, write_participant

from n2a_bids.io.weights import load_weights, save_weights

SHORT = ("--train-epochs", 2, "--train-steps", 8, "--train-block", 16, "--train-rate", 0.001)


def _run(root: Path, *options: object, masks: bool = True) -> subprocess.CompletedProcess[str]:
    words = ["bids", "out", "train", "-w", "work", "--nprocs", 1, "--device", "cpu"]
    words += [*(["-d", f"masks={root / 'masks'}"] if masks else []), *options]
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


@pytest.mark.proof
def test_weights_of_a_dataset_are_whole_or_not_there(study):
    """Two processes on the CPU: weights with a card that fits, or the sentence that they are not better."""
    done = _run(study, *SHORT, "--train-processes", 2)
    if done.returncode == 0:
        assert load_weights("resunet-t1w", study / "out" / "weights") is not None
    else:
        assert done.returncode == 1, done.stderr
        assert "not better than the shipped ones" in done.stderr
        assert not list((study / "out").rglob("*.safetensors"))
    assert list((study / "work").glob("*/train/resunet-t1w.pt"))


@pytest.mark.proof
def test_a_network_for_micrographs_is_used_at_the_participant_level(tmp_path):
    """From exposures of four fields of view to weights; the participant level names them in its record."""
    describe_dataset(tmp_path / "bids")
    for run in (1, 2):
        for chunk in range(1, 5):
            image = Image.fromarray(expose(10 * chunk + run))
            image.save(micr_path(tmp_path / "bids", f"run-{run}_chunk-{chunk}", "TEM", ".tif"))
    done = _run(tmp_path, *SHORT, "--train-from-scratch", masks=False)
    # From random weights a few steps are no denoiser: what is written then is nothing.
    assert done.returncode == 1, done.stderr
    assert "not better than the shipped ones" in done.stderr
    shipped = load_weights("resunet-2d")
    tensors = {name: value * 1.01 for name, value in shipped.tensors.items()}
    save_weights(replace(shipped, tensors=tensors), tmp_path / "own", {})
    words = ["bids", "out", "participant", "-w", "work", "--nprocs", 1, "--device", "cpu"]
    words += ["--omp-nthreads", 1, "--weights-dir", "own", "--recipe", "zero-shot"]
    command = [sys.executable, "-m", "n2a_bids", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    (record, *_) = sorted((tmp_path / "out").rglob("*_desc-denoised_figures.json"))
    names = {row["name"].partition(" (")[0] for row in json.loads(record.read_text())["candidates"]}
    assert {"pretrained network", "pretrained network as shipped"} <= names
