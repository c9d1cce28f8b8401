"""``n2a-tools pretrain``: weights with a model card, resumable, and packed images."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from n2a_bids.cli.tools import main
from n2a_bids.io.weights import PACKAGED, load_weights, save_weights

pytestmark = pytest.mark.slow


@pytest.fixture
def brain(tmp_path):
    """A ball with texture in a NIfTI file."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 40)] * 3, indexing="ij"))
    image = ((grid**2).sum(axis=0) < 0.7) * (300 + 60 * np.sin(7 * grid).sum(axis=0))
    path = tmp_path / "brain_T1w.nii.gz"
    nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), path)
    return path


def _arguments(brain, tmp_path, *more):
    common = ["--brains", str(brain), "--validation", str(brain), "--checkpoint", str(tmp_path / "c.pt")]
    return ["pretrain", *common, "--out-dir", str(tmp_path / "weights"), "--omp-nthreads", "1", *more]


@pytest.mark.proof
def test_pretraining_writes_weights_and_resumes(brain, tmp_path):
    """A second call goes on from the checkpoint; the card says how far training went."""
    steps = []
    for _ in range(2):
        assert main(_arguments(brain, tmp_path, "--hours", "1", "--slice-minutes", "0.05")) == 0
        weights = load_weights("resunet-t1w", tmp_path / "weights")
        card = json.loads((tmp_path / "weights" / "resunet-t1w.json").read_text())
        assert card["sha256"] == weights.sha256
        steps.append(card["steps"])
    assert 0 < steps[0] < steps[1]
    assert [row["step"] for row in card["curve"]] == steps


def test_fusion_is_trained_on_blocks_that_are_made_once(brain, tmp_path, capsys):
    """Blocks lie beside the checkpoint and serve the next call; the card says how many there were."""
    more = ["--network", "fusion-t1w", "--blocks", "2", "--block-edge", "16", "--hours", "0"]
    for expected in (4, 0):
        assert main(_arguments(brain, tmp_path, *more)) == 0
        assert capsys.readouterr().err.count(" of 2\n") == expected
    weights = load_weights("fusion-t1w", tmp_path / "weights")
    assert not weights.tensors["tail.weight"].any()
    card = json.loads((tmp_path / "weights" / "fusion-t1w.json").read_text())
    assert card["n_blocks"] == 2
    assert card["curve"][-1]["gain_over_nonlocal_db"] == 0
    assert main(_arguments(brain, tmp_path, *more, "--random-seed", "8")) != 0
    assert "found those of another call" in " ".join(capsys.readouterr().err.split())


def test_training_starts_from_given_weights(brain, tmp_path):
    """No time to train: what is written are the weights given, and the card names them."""
    packaged = load_weights("resunet-t1w")
    arguments = _arguments(brain, tmp_path, "--hours", "0", "--initial-weights", str(PACKAGED))
    assert main(arguments) == 0
    written = load_weights("resunet-t1w", tmp_path / "weights")
    assert all((written.tensors[key] == value).all() for key, value in packaged.tensors.items())
    card = json.loads((tmp_path / "weights" / "resunet-t1w.json").read_text())
    assert card["initial_weights_sha256"] == packaged.sha256


def test_weights_of_another_network_are_refused(brain, tmp_path, capsys):
    """The message names the option and the network that was expected."""
    arguments = _arguments(
        brain, tmp_path, "--hours", "0", "--initial-weights", str(tmp_path), "--network", "munet-t1w"
    )
    weights = load_weights("resunet-t1w")
    save_weights(replace(weights, name="munet-t1w"), tmp_path, {})
    assert main(arguments) != 0
    assert "--initial-weights" in capsys.readouterr().err


def test_unreadable_image_is_named(tmp_path, capsys):
    """Before anything is trained."""
    assert main(_arguments(tmp_path / "absent.nii.gz", tmp_path)) == 70
    assert "absent.nii.gz: expected a NIfTI image" in " ".join(capsys.readouterr().err.split())


def test_packed_images_come_back_within_a_step(brain, tmp_path):
    """8 bits keep the image to half a step, and nothing is trained."""
    assert main(_arguments(brain, tmp_path, "--pack", str(tmp_path / "heads.npz"))) == 0
    packed = np.load(tmp_path / "heads.npz")
    assert packed["brain_T1w/image"].dtype == np.uint8
    restored = packed["brain_T1w/image"] * packed["brain_T1w/step"]
    inside = packed["brain_T1w/brain"]
    assert restored[inside].std() == pytest.approx(1, rel=0.02)
    assert not (tmp_path / "c.pt").exists()


@pytest.mark.proof
def test_programme_for_a_gpu_resumes_and_gives_weights(brain, tmp_path):
    """What it leaves behind, here on a CPU, is a checkpoint that the command makes weights of."""
    heads, out = tmp_path / "heads.npz", tmp_path / "out"
    assert main(_arguments(brain, tmp_path, "--pack", str(heads))) == 0
    programme = Path(__file__).parents[1] / "gpu" / "programme.py"
    options = ["--hours", "0.01", "--slice-minutes", "0.01", "--batch-size", "1", "--steps-per-report", "1"]
    steps = []
    for _ in range(2):
        command = [sys.executable, programme, heads, out, "--device", "cpu", *options]
        subprocess.run([str(word) for word in command], check=True, capture_output=True)
        steps.append(json.loads((out / "metrics.json").read_text())["steps"])
    assert min(steps) > 0
    command = [
        sys.executable,
        programme,
        heads,
        out,
        "--device",
        "cpu",
        "--hours",
        "0",
        "--speed",
        "--denoise",
    ]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    metrics = json.loads((out / "metrics.json").read_text())
    phases = {row["phase"] for row in metrics["speed"]}
    assert phases >= {"training step", "recorded training step", "ceiling"}
    assert not any("failed" in row for row in metrics["speed"])
    (denoising,) = metrics["denoising"]
    assert denoising["error_denoised"] < denoising["error_of_mean"]
    arguments = _arguments(brain, tmp_path, "--hours", "0")
    arguments[arguments.index("--checkpoint") + 1] = str(out / "resunet-t1w.pt")
    assert main(arguments) == 0
    card = json.loads((tmp_path / "weights" / "resunet-t1w.json").read_text())
    assert card["steps"] == sum(steps)


@pytest.mark.parametrize("network", ["resunet-t1w", "fusion-t1w"])
def test_a_head_too_small_for_blocks_is_refused_at_the_start(network, brain, tmp_path, capsys):
    """The error names the image and the least size, fusion with its longer blocks included."""
    more = ["--network", network, "--block-edge", "96", "--hours", "0"]
    assert main(_arguments(brain, tmp_path, *more)) != 0
    message = " ".join(capsys.readouterr().err.split())
    least = 112 if network == "fusion-t1w" else 96
    assert f"brain_T1w: expected at least {least} voxels" in message


def test_blocks_larger_than_the_drawings_are_refused(brain, tmp_path, capsys):
    """In one line, before a drawing is made."""
    more = ["--network", "resunet-2d", "--block-edge", "300", "--drawings", "4", "--hours", "0"]
    assert main(_arguments(brain, tmp_path, *more)) != 0
    told = capsys.readouterr().err
    assert "--block-edge 300: expected at most 256" in " ".join(told.split())
    assert "Traceback" not in told


def test_the_brain_mask_network_learns_from_label_maps(brain, tmp_path):
    """Its card tells how well it finds brains that it did not learn from."""
    assert main(_arguments(brain, tmp_path, "--network", "brain-mask", "--hours", "0")) == 0
    weights = load_weights("brain-mask", tmp_path / "weights")
    card = json.loads((tmp_path / "weights" / "brain-mask.json").read_text())
    assert card["sha256"] == weights.sha256 and 0 <= card["curve"][-1]["dice"] <= 1
