"""Laws of training on micrographs: fields of view apart, stabilised as strategies do, resumable."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from microscopy_dataset import cells
from scipy import ndimage

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.dataset_training.batches import batches_of_groups
from n2a_bids.algorithms.dataset_training.evaluation import evaluate
from n2a_bids.algorithms.dataset_training.exposures import prepare_exposures
from n2a_bids.algorithms.nn import weights as networks
from n2a_bids.algorithms.nn.networks import ResidualUNet
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.strategies.micr import auto
from n2a_bids.config import TrainConfig
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.io.weights import load_weights
from n2a_bids.training.groups import AlignedGroup, groups_of_pairs, network_of, split_subjects, tell_apart
from n2a_bids.training.request import TrainRequest, check_files
from n2a_bids.training.session import run_train

SMALL = partial(ResidualUNet, widths=(4, 8), depths=(1, 1), n_axes=2)
TRAIN = TrainConfig(epochs=2, steps=1, batch_size=2, block_edge=16, from_scratch=True)


@pytest.fixture(autouse=True)
def _small_network(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "resunet-2d", SMALL)


def _exposures(seed, n_exposures=2, size=64, smoothness=1.0):
    """Counts of drawn cells, (R, X, Y)."""
    rng = np.random.default_rng(100 + seed)
    expected = ndimage.gaussian_filter(np.maximum(cells(size, seed), 1), smoothness)
    return rng.poisson(expected, (n_exposures, size, size)).astype(np.uint16)


def _group(seed, n_exposures=2, size=64, n_channels=1):
    channels = [_exposures(seed + 50 * channel, n_exposures, size, 4.0) for channel in range(n_channels)]
    data = np.stack(channels, axis=-1)
    repetitions = Repetitions(
        data[:, :, :, None].astype(np.float32), np.ones((size, size, 1), bool), micrograph=True
    )
    return prepare_exposures("01", repetitions, Context(torch.Generator().manual_seed(0)))


@pytest.fixture
def request_of(tmp_path):
    """A training on four fields of view of one specimen, whose exposures are TIFF files."""
    words = []
    for chunk in range(1, 5):
        paths = [tmp_path / f"sub-1_sample-A_run-{run}_chunk-{chunk}_TEM.tif" for run in (1, 2)]
        for path, image in zip(paths, _exposures(chunk)):
            tifffile.imwrite(path, image)
        words.append(",".join(map(str, paths)))

    def make(name, **changes):
        given = {"pairs": tuple(words), "train": TRAIN, "device": "cpu", "omp_nthreads": 1} | changes
        return TrainRequest(tmp_path / name, tmp_path / f"{name}.pt", **given)

    return make


def _field(subject, chunk, stain="HE", ses="1"):
    names = [
        f"sub-{subject}_ses-{ses}_sample-A_stain-{stain}_run-{run}_chunk-{chunk}_BF.tif" for run in (1, 2)
    ]
    return ",".join(names)


def test_fields_of_view_of_one_specimen_are_kept_apart():
    """Those of another stain or session show the same: they are in the same part."""
    words = [_field("1", chunk, stain, ses) for chunk in range(6) for stain, ses in (("HE", 1), ("NF", 2))]
    groups = tell_apart(groups_of_pairs(words, []), TRAIN)
    split = split_subjects(groups, TRAIN, 1)
    parts = [set(split.training), set(split.validation), set(split.test)]
    assert sorted(map(len, parts)) == [1, 1, 4]
    assert set.union(*parts) == {f"1_sample-A_chunk-{chunk}" for chunk in range(6)}


def test_subjects_are_kept_apart_where_there_are_enough():
    """All fields of view of a subject are in one part then."""
    words = [_field(subject, chunk) for subject in "abc" for chunk in range(4)]
    split = split_subjects(tell_apart(groups_of_pairs(words, []), TRAIN), TRAIN, 1)
    assert sorted((*split.training, *split.validation, *split.test)) == list("abc")


def test_too_few_fields_of_view_are_named():
    """Two cannot train a network that is judged on others."""
    groups = tell_apart(groups_of_pairs([_field("1", 1), _field("1", 2)], []), TRAIN)
    with pytest.raises(BIDSDataError, match=r"at least 3 subjects, or fields of view, .* found 2"):
        split_subjects(groups, TRAIN, 1)


def test_heads_of_too_few_subjects_are_not_split():
    """Only micrographs have fields of view: sessions of two persons stay two subjects."""
    groups = [AlignedGroup(label, label, (Path("a.nii"), Path("b.nii")), Path("m.nii")) for label in "ab"]
    assert tell_apart(groups, TRAIN) == groups


def test_stopped_training_ends_as_if_it_had_not_been(request_of, better, train_interrupted):
    """The same bits; the card says that specimens were not kept apart, and what is written is read again."""
    run_train(request_of("whole"))
    train_interrupted(request_of("stopped"))
    run_train(request_of("stopped"))
    whole, stopped = (request_of(one).out / "resunet-2d.safetensors" for one in ("whole", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()
    card = json.loads(stopped.with_suffix(".json").read_text())
    assert load_weights("resunet-2d", stopped.parent).sha256 == card["sha256"]
    assert card["kept_apart"] == "fields of view"
    assert "not on other specimens" in card["limits"]
    assert [row["epoch"] for row in card["curve"]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("words", "masks"),
    [
        (["a.tif,b.nii.gz"], ["m.nii"]),
        (["a.tif"], []),
        (["a.tif,b.tif"], ["m.nii"]),
        (["a.png,b.png", "c.nii,d.nii"], []),
    ],
)
def test_files_that_cannot_be_one_group_are_named(words, masks):
    """Micrographs have no mask, and one alone has nothing to learn from."""
    with pytest.raises(ConfigError, match="PNG"):
        groups_of_pairs(words, list(map(Path, masks)))


def test_heads_and_micrographs_do_not_train_one_network():
    """The error says which option chooses."""
    head = AlignedGroup("01", "01", (Path("a.nii"), Path("b.nii")), Path("m.nii"))
    with pytest.raises(ConfigError, match="--modalities"):
        network_of([head, *groups_of_pairs([_field("1", 1)], [])])


@pytest.mark.parametrize(("targets", "n_exposures"), [("recorrupted", 2), ("noise2noise", 3)])
def test_noise_of_inputs_and_targets_is_independent(targets, n_exposures):
    """Or the network would learn to keep noise: what is finest in both is noise, uncorrelated."""
    draw = batches_of_groups([_group(3, n_exposures, 96, n_channels=2)], targets, 8, 32, 4)
    rng, products = np.random.default_rng(1), []
    for _ in range(20):
        batch = draw(rng)
        noisy, target = (torch.diff(part, n=3, dim=-1) for part in (batch.inputs[0], batch.target))
        products.append(float((noisy * target).mean() / (noisy.std() * target.std())))
    assert abs(np.mean(products)) < 0.05


def test_a_batch_is_the_same_for_the_same_seed():
    """Of two fields of view of unequal size, too: training resumes by it."""
    draw = batches_of_groups([_group(3, size=40), _group(4)], "recorrupted", 3, 64, 4)
    first, second = (draw(np.random.default_rng(5)) for _ in range(2))
    assert first.target.shape == (3, 1, 40, 40)
    assert all(torch.equal(a, b) for a, b in zip(first.inputs, second.inputs, strict=True))


class _Change(ResidualUNet):
    """A network that blurs, or sharpens."""

    def __init__(self, factor):
        super().__init__((4, 8), (1, 1), n_axes=2)
        self.factor = factor

    def forward(self, image, noise_sd):
        return self.factor * (torch.nn.functional.avg_pool2d(image, 3, 1, 1) - image)


def test_evaluation_knows_a_denoiser_from_a_spoiler():
    """Without a truth, and near what it is: what a blur leaves of the error of the mean."""
    size, rng = 96, np.random.default_rng(3)
    clean = ndimage.gaussian_filter(cells(size, 2), 2)
    data = (clean + 20 * rng.standard_normal((2, size, size))).astype(np.float32)
    repetitions = Repetitions(data[..., None, None], np.ones((size, size, 1), bool), micrograph=True)
    context = Context(torch.Generator().manual_seed(0))
    group = prepare_exposures("01", repetitions, context)
    (found,) = evaluate({"blurs": _Change(0.7), "spoils": _Change(-0.7)}, [group], context, seed=3)
    assert found.error_left["blurs"] < 1 < found.error_left["spoils"]
    mean = data.mean(axis=0)
    blurred = mean + 0.7 * (ndimage.uniform_filter(mean, 3) - mean)
    true = np.mean((blurred - clean) ** 2) / np.mean((mean - clean) ** 2)
    assert found.error_left["blurs"] == pytest.approx(true, abs=0.1)


def test_shipped_network_stays_a_candidate_beside_other_weights():
    """Where weights are given, the risk decides between them, the shipped ones and the mean."""
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.append(PretrainedWeights("resunet-2d", str(seed), SMALL().state_dict()))
    data = _exposures(2)[..., None, None].astype(np.float32)
    repetitions = Repetitions(data, np.ones((64, 64, 1), bool), micrograph=True)
    config = replace(auto.config("zero-shot", made[0]), shipped=made[1])
    found = auto.denoise(repetitions, config, Context(torch.Generator().manual_seed(0)))
    names = {row.name.partition(" (")[0] for row in found.record.candidates}
    assert names >= {"mean", "pretrained network", "pretrained network as shipped"}


@pytest.mark.parametrize(("name", "folder", "sound"), [
    ("a.nii", True, False), ("a.tif", True, False), ("a.tif", False, True),
    ("a.ome.zarr", True, True), ("a.ome.zarr", False, False),
])  # fmt: skip
def test_only_an_ome_zarr_image_is_a_folder(tmp_path, name, folder, sound):
    """Refused before the work, which would come to it after hours."""
    path = tmp_path / name
    path.mkdir() if folder else path.touch()
    groups = [AlignedGroup("01", "group", (path, path), None)]
    if sound:
        check_files(groups)
        return
    with pytest.raises(BIDSDataError, match=r"a\.[a-z.]+: expected an image, found no such file"):
        check_files(groups)
