"""Laws of training on a dataset: subjects apart, resumable to the bit, never worse than what is shipped."""

import errno
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import distributed, multiprocessing

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.dataset_training.batches import batches_of_groups
from n2a_bids.algorithms.dataset_training.evaluation import Evaluation, evaluate
from n2a_bids.algorithms.dataset_training.groups import prepare_group
from n2a_bids.algorithms.dataset_training.steps import mean_over_processes
from n2a_bids.algorithms.nn import weights as networks
from n2a_bids.algorithms.nn.networks import MUNet, ResidualUNet
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.preparation.repetitions import prepare
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.held_out import hold_out
from n2a_bids.algorithms.strategies.anat import auto
from n2a_bids.algorithms.strategies.anat.auto_candidates import pretrained_candidates
from n2a_bids.config import TrainConfig
from n2a_bids.errors import BIDSDataError, ConfigError, DenoisingError
from n2a_bids.io.weights import load_weights, save_checkpoint
from n2a_bids.training import course, session
from n2a_bids.training.groups import AlignedGroup, groups_of_pairs, split_subjects, write_groups
from n2a_bids.training.session import TrainRequest, run_train

SMALL = partial(ResidualUNet, widths=(4, 8), depths=(1, 1))
TRAIN = TrainConfig(epochs=2, steps=1, batch_size=1, block_edge=8, from_scratch=True)


@pytest.fixture(autouse=True)
def _small_network(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "resunet-t1w", SMALL)


def _scene(seed, shape=(20, 22, 18)):
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.8
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    return np.where(mask, 500 + 150 * texture / texture.std(), 0), mask


def _noisy(seed, n_runs=2):
    clean, mask = _scene(seed)
    noise = np.random.default_rng(seed + 100).standard_normal((n_runs, *clean.shape))
    return (clean + 60 * noise).astype(np.float32), mask


def test_one_image_alone_is_recorrupted_by_noise_as_coloured_as_its_own():
    """What is added to the input, and taken from the target: neighbours are as alike as in the image."""
    shape = (48, 48, 48)
    white = np.random.default_rng(0).standard_normal(shape)
    noise = ndimage.convolve1d(white, [0.25, 0.5, 0.25], axis=0) / np.sqrt(0.375)
    image, mask = (500 + 60 * noise).astype(np.float32), np.ones(shape, bool)
    context = Context(torch.Generator().manual_seed(0))
    group = prepare_group("01", Repetitions(image[None, ..., None], mask), None, context)
    draw = batches_of_groups([group], "recorrupted", 1, 32, 2)
    batch = draw(np.random.default_rng(0))
    added = (batch.inputs[0] - batch.target).numpy()[0, 0]
    alike = [
        np.corrcoef(np.take(added, range(31), axis).ravel(), np.take(added, range(1, 32), axis).ravel())[0, 1]
        for axis in range(3)
    ]
    assert sorted(alike) == pytest.approx([0, 0, 2 / 3], abs=0.1)  # blocks are turned


@pytest.fixture
def request_of(tmp_path):
    """A training on four subjects, one of whom has one image only."""
    pairs, masks = [], []
    for seed in range(4):
        runs, mask = _noisy(seed, 1 if seed == 3 else 2)
        paths = [tmp_path / f"s{seed}_{index}.nii.gz" for index in range(len(runs))]
        for run, path in zip(runs, paths):
            nib.save(nib.Nifti1Image(run, np.eye(4)), path)
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), np.eye(4)), tmp_path / f"m{seed}.nii.gz")
        pairs.append(",".join(map(str, paths)))
        masks.append(tmp_path / f"m{seed}.nii.gz")

    def make(name, **changes):
        given = {"pairs": tuple(pairs), "masks": tuple(masks), "train": TRAIN, "device": "cpu"} | changes
        return TrainRequest(tmp_path / name, tmp_path / f"{name}.pt", **given)

    return make


def _group(label):
    return AlignedGroup(label, label, (Path("a.nii"), Path("b.nii")), Path("mask.nii"))


def test_subjects_are_apart_and_drawn_by_the_seed():
    """Every subject is in one part only, with all of its groups; another seed draws others."""
    groups = [_group(f"{index % 12:02d}") for index in range(24)]
    split = split_subjects(groups, TRAIN, 1)
    parts = [set(split.training), set(split.validation), set(split.test)]
    assert sorted(map(len, parts)) == [2, 2, 8]
    assert set.union(*parts) == {group.subject for group in groups}
    assert split == split_subjects(groups[::-1], TRAIN, 1)
    assert split != split_subjects(groups, TRAIN, 2)


def test_too_few_subjects_are_named():
    """One subject alone cannot train a network that is judged on others."""
    with pytest.raises(BIDSDataError, match=r"at least 3 subjects .* found 1 \(01\)"):
        split_subjects([_group("01"), _group("01")], TRAIN, 1)


def test_stopped_training_ends_as_if_it_had_not_been(request_of, better, train_interrupted):
    """What is written after an interruption is the same to the bit, and the card tells what was done."""
    run_train(request_of("whole"))
    train_interrupted(request_of("stopped"))
    run_train(request_of("stopped"))
    name = "resunet-t1w.safetensors"
    whole, stopped = (request_of(one).out for one in ("whole", "stopped"))
    assert (whole / name).read_bytes() == (stopped / name).read_bytes()
    card = json.loads((stopped / "resunet-t1w.json").read_text())
    assert load_weights("resunet-t1w", stopped).sha256 == card["sha256"]
    assert [len(card["subjects"][part]) for part in ("training", "validation", "test")] == [2, 1, 1]
    assert [row["epoch"] for row in card["curve"]] == [0, 1, 2]


def test_a_full_disk_leaves_the_checkpoint_of_the_epoch_before(tmp_path, monkeypatch):
    """The error names the file and what to do, and what was done before can be resumed."""

    def fill(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "checkpoint.pt"
    save_checkpoint({"epoch": 1}, path)
    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match=r"No space left.*free some.*checkpoint\.pt"):
        save_checkpoint({"epoch": 2}, path)
    assert torch.load(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_are_not_better_are_not_written(request_of):
    """A few steps from random weights are no denoiser: the error says so and nothing is left."""
    asked = request_of("worse")
    with pytest.raises(DenoisingError, match="not better than the shipped"):
        run_train(asked)
    assert not list(asked.out.glob("*"))


def test_checkpoint_of_another_training_is_refused(request_of, better):
    """Other settings do not go on where these stopped."""
    run_train(request_of("one"))
    other = replace(TRAIN, targets="noise2noise")
    with pytest.raises(ConfigError, match="of other images or settings"):
        run_train(request_of("one", train=other))


def test_checkpoint_of_other_subjects_is_refused(request_of, better, tmp_path):
    """Aligned files of all subjects may have one name and size: who was learned from is never tested on."""
    asked = request_of("one")
    rows = groups_of_pairs(asked.pairs, asked.masks)
    for number, subjects in enumerate(("abcd", "efgh")):
        groups = [replace(row, subject=subject) for row, subject in zip(rows, subjects)]
        write_groups(groups, tmp_path / f"{number}.json")
    run_train(request_of("one", pairs=(), masks=(), groups=tmp_path / "0.json"))
    with pytest.raises(ConfigError, match="of other images or settings"):
        run_train(request_of("one", pairs=(), masks=(), groups=tmp_path / "1.json"))


def test_checkpoint_of_images_that_were_changed_is_refused(request_of, better):
    """A corrected image may have the name and size of the old one."""
    asked = request_of("one")
    run_train(asked)
    path = Path(asked.pairs[0].split(",")[0])
    before = path.read_bytes()
    path.write_bytes(before[:-4] + bytes(4))
    try:
        with pytest.raises(ConfigError, match="of other images or settings"):
            run_train(asked)
    finally:
        path.write_bytes(before)


def test_sessions_of_one_subject_are_in_one_part():
    """Of pairs by their names: what is tested on is not another session of who was learned from."""
    words = [f"sub-{label}_ses-{ses}_run-1_T1w.nii.gz,b.nii.gz" for label in "abcd" for ses in (1, 2)]
    groups = groups_of_pairs(words, [Path("mask.nii")] * 8)
    split = split_subjects(groups, TRAIN, 1)
    assert sorted((*split.training, *split.validation, *split.test)) == list("abcd")


def test_what_is_no_number_is_not_better():
    """Weights whose gain cannot be told are refused."""
    found = [Evaluation("01", {"trained": np.nan, "shipped": 0.5})]
    with pytest.raises(DenoisingError, match="not better than the shipped"):
        session._refuse_worse(found, course.Course(""), Path("checkpoint.pt"))


def test_training_that_diverges_is_named(request_of, monkeypatch):
    """Without a traceback: what to change."""

    def diverge(*args, **kwargs):
        raise FloatingPointError("the training loss is nan at step 3")

    monkeypatch.setattr(course, "train_steps", diverge)
    with pytest.raises(DenoisingError, match="lower one by --train-rate"):
        run_train(request_of("diverges"))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"masks": ()}, ConfigError, "one brain mask for each of the 4"),
        ({"pairs": (), "masks": ()}, ConfigError, "--pairs with --masks, or --groups"),
    ],
)
def test_files_that_do_not_fit_are_named(request_of, change, error, words):
    """Before anything is read."""
    with pytest.raises(error, match=words):
        run_train(request_of("wrong", **change))


@pytest.mark.parametrize(
    ("targets", "n_runs"), [("recorrupted", 1), ("recorrupted", 2), ("recorrupted", 3), ("noise2noise", 3)]
)
def test_noise_of_inputs_and_targets_is_independent(targets, n_runs):
    """Or the network would learn to keep noise: what is finest in both is noise, uncorrelated."""
    runs, mask = _noisy(5, n_runs)
    context = Context(torch.Generator().manual_seed(0))
    group = prepare_group("01", Repetitions(runs[..., None], mask), None, context)
    if n_runs == 1:
        level = np.float32(60 / group.prepared.scales[0].gain)
        known = np.full_like(group.prepared.repetition_noise_sd, level)
        group = replace(group, prepared=replace(group.prepared, repetition_noise_sd=known))
    draw = batches_of_groups([group], targets, 4, 16, 2)
    rng, products = np.random.default_rng(1), []
    for _ in range(40):
        batch = draw(rng)
        noisy, target = _detail(batch.inputs[0]), _detail(batch.target)
        products.append(float((noisy * target).mean() / (noisy.std() * target.std())))
    assert abs(np.mean(products)) < 0.08


def _detail(volume):
    """Differences of third order, in which noise rules."""
    return torch.diff(volume[..., 4:12, 4:12, 4:12], n=3, dim=-1)


def test_evaluation_knows_a_denoiser_from_a_spoiler():
    """Without a truth: a network that blurs a little is better than the mean, one that sharpens is worse."""

    class Change(MUNet):
        def __init__(self, factor):
            super().__init__(n_channels=2)
            self.factor = factor

        def forward(self, image, noise_sd):
            return self.factor * (torch.nn.functional.avg_pool3d(image, 3, 1, 1) - image)

    clean, mask = _scene(7, (40, 44, 36))
    noise = np.random.default_rng(3).standard_normal((2, *clean.shape))
    runs = (ndimage.gaussian_filter(clean, 2) + 60 * noise).astype(np.float32)
    context = Context(torch.Generator().manual_seed(0))
    group = prepare_group("01", Repetitions(runs[..., None], mask), None, context)
    (found,) = _judged({"blurs": Change(0.7), "spoils": Change(-0.7)}, group, context)
    assert found.error_left["blurs"] < 1 < found.error_left["spoils"]


def _judged(tried, group, context):
    found = evaluate(tried, [group], context, seed=3)
    assert found == evaluate(tried, [group], context, seed=3)
    assert isinstance(found[0], Evaluation)
    return found


def test_shipped_network_stays_a_candidate_beside_other_weights():
    """Where weights are given, the risk still decides between them, the shipped ones and the mean."""
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.append(PretrainedWeights("resunet-t1w", str(seed), SMALL().state_dict()))
    runs, mask = _noisy(2)
    context = Context(torch.Generator().manual_seed(0))
    prepared = prepare(Repetitions(runs[..., None], mask))
    config = replace(auto.config("zero-shot", made[0]), shipped=made[1], noise_factors=(1.0,))
    blocks = hold_out(prepared.mask, context.generator)
    candidates, _, _ = pretrained_candidates(prepared, blocks, config, context)
    names = [candidate.name.partition(" (")[0] for candidate in candidates]
    assert names[0] == "mean"
    assert sorted(names[1:]) == ["pretrained network", "pretrained network as shipped"]


def _one_of_two(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    network = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.ones_(network.weight)
    network(torch.full((1, 2), float(rank + 1))).sum().backward()
    mean_over_processes(network)
    torch.save(network.weight.grad, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_learn_from_the_mean_of_their_gradients(tmp_path):
    """With gloo on the CPU: gradients 1 and 2 become 1.5 in both."""
    multiprocessing.spawn(_one_of_two, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt").tolist() == [[1.5, 1.5]]
