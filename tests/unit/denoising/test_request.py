"""``n2a-tools denoise``: images in, images and records out, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nb
import numpy as np
import pytest
import torch
from conftest import save_image
from scipy import ndimage

import n2a_bids.denoising.record as denoise_record
import n2a_bids.denoising.run as denoise_run
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.strategies import Strategy, get_strategy
from n2a_bids.cli.tools import main
from n2a_bids.denoising.inputs import DenoiseJob, load_repetitions
from n2a_bids.denoising.warnings import residual_warnings
from n2a_bids.errors import ConfigError, DenoisingError
from n2a_bids.io.weights import load_weights, save_weights
from n2a_bids.lab.benchmark import worker
from n2a_bids.record.denoising import DenoisingRecord, StrategyRecord


@pytest.fixture
def files(tmp_path, head, noisy_runs, affine) -> dict[str, Path]:
    """Two runs, the second brighter, and the brain mask."""
    first, second = noisy_runs(n=2)
    paths = {name: tmp_path / f"{name}.nii.gz" for name in ("one", "two", "mask", "out")}
    save_image(paths["one"], first, affine)
    save_image(paths["two"], 1.5 * second + 20, affine)
    save_image(paths["mask"], head[1].astype(np.uint8), affine)
    return paths


def denoise(files: dict[str, Path], *options: object) -> int:
    runs = ["--no-align", files["one"], files["two"]]
    arguments = ["denoise", *runs, "--mask", files["mask"], "--out", files["out"]]
    return main([str(word) for word in (*arguments, "--omp-nthreads", "1", "--device", "cpu", *options)])


@pytest.fixture
def register(monkeypatch):
    """Put a strategy made of one function under the name 'mean', on a machine with 100 GB free."""
    monkeypatch.setattr(denoise_run, "free_device_memory_gb", lambda device: 100.0)

    def put(function, config=None, **facts) -> None:
        mean = get_strategy("mean")
        strategy = replace(
            mean, denoise=function, config=config or mean.config, facts=replace(mean.facts, **facts)
        )
        monkeypatch.setattr(denoise_run, "get_strategy", lambda name, kind: strategy)

    return put


def test_mean_writes_image_maps_and_record(files, tmp_path, head, capsys):
    """Geometry of the first run, its intensity scale, and a record of what was measured."""
    maps = {name: tmp_path / f"{name}.nii.gz" for name in ("mean", "residual", "noise-sd", "uncertainty")}
    options = [word for name, path in maps.items() for word in (f"--out-{name}", path)]
    assert denoise(files, "--strategy", "mean", *options) == 0
    out, first = nb.load(files["out"]), nb.load(files["one"])
    assert np.array_equal(out.affine, first.affine)
    assert out.get_data_dtype() == np.float32
    values = out.get_fdata()
    assert abs(values[head[1]].mean() - first.get_fdata()[head[1]].mean()) < 5
    assert values[~head[1]].any()
    assert not nb.load(maps["residual"]).get_fdata().any()
    noise_sd = np.median(nb.load(maps["noise-sd"]).get_fdata()[head[1]])
    assert noise_sd == pytest.approx(60, rel=0.15)
    expected = nb.load(maps["uncertainty"]).get_fdata()
    assert np.median(expected[head[1]]) == pytest.approx(noise_sd / np.sqrt(2))
    assert not expected[~head[1]].any()
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["noise_sd_mean"] == pytest.approx(60 / np.sqrt(2), rel=0.15)
    assert record["error_denoised"] == pytest.approx(record["noise_sd_mean"])
    assert record["repetitions"][1]["file"].endswith("two.nii.gz")
    assert record["weights"] is None
    assert "precision" not in record, "no network computed"
    assert record["seconds"]["total"] > 0
    assert "wrote" in capsys.readouterr().err


def test_every_key_of_the_record_is_explained(files, tmp_path):
    """Whoever reads the record finds each of its keys in the documentation."""
    assert denoise(files, "--strategy", "mean", "--quiet") == 0
    page = (Path(__file__).resolve().parents[3] / "docs" / "outputs.md").read_text(encoding="utf-8")
    record = json.loads((tmp_path / "out.json").read_text())
    assert [key for key in record if f"`{key}`" not in page] == []


def test_memory_is_counted_in_millions_of_bytes(monkeypatch):
    """What the system calls kilobytes are 1024 bytes."""
    usage = SimpleNamespace(ru_maxrss=1_000_000)
    monkeypatch.setattr(denoise_record.resource, "getrusage", lambda who: usage)
    record = denoise_record.complete(DenoisingRecord(strategy="auto", device="cpu"), 0.0)
    assert record.peak_memory_mb == worker.peak_memory_mb() == 1024


def test_skull_strip_is_black_outside_only(files, head):
    """Inside the mask nothing changes."""
    denoise(files, "--strategy", "mean", "--quiet")
    whole = nb.load(files["out"]).get_fdata()
    denoise(files, "--strategy", "mean", "--quiet", "--skull-strip")
    stripped = nb.load(files["out"]).get_fdata()
    assert not stripped[~head[1]].any()
    assert np.array_equal(stripped[head[1]], whole[head[1]])


def test_same_seed_same_bits(files, register):
    """Both generators of torch start from the seed."""

    def random(repetitions, config, context):
        shape = repetitions.data.shape[1:]
        return DenoisedImage((torch.rand(shape) + torch.rand(shape, generator=context.generator)).numpy())

    register(random)
    results = []
    for seed in (3, 3, 4):
        assert denoise(files, "--random-seed", seed) == 0
        results.append(nb.load(files["out"]).get_fdata())
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def bad_files(files: dict[str, Path], affine: np.ndarray, kind: str) -> None:
    """Damage the second run, or the mask."""
    data = np.asarray(nb.load(files["two"]).dataobj)
    if kind == "grid":
        save_image(files["two"], data[:-1], affine)
    elif kind == "affine":
        save_image(files["two"], data, affine + np.eye(4) * [1, 1, 1, 0])
    elif kind == "nan":
        data[20, 24, 18] = np.nan  # in the brain: elsewhere it is no measurement
        save_image(files["two"], data, affine)
    elif kind == "constant":
        save_image(files["two"], np.full_like(data, 3), affine)
    elif kind == "missing":
        files["two"].unlink()
    elif kind == "truncated":
        files["two"].write_bytes(files["two"].read_bytes()[:2000])
    elif kind == "no image":
        files["two"].write_text("hello")
    elif kind == "empty mask":
        save_image(files["mask"], np.zeros(data.shape, np.uint8), affine)
    elif kind == "mask elsewhere":
        far = affine + np.array([[0, 0, 0, 1e4]] * 3 + [[0, 0, 0, 0]])
        save_image(files["mask"], np.ones(data[:-2].shape, np.uint8), far)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("grid", "align and resample"),
        ("affine", "another affine"),
        ("nan", "NaN"),
        ("constant", "the value 3 in every voxel"),
        ("missing", "two.nii.gz"),
        ("truncated", "two.nii.gz"),
        ("no image", "two.nii.gz"),
        ("empty mask", "empty"),
        ("mask elsewhere", "outside of it"),
    ],
)
def test_unusable_files_are_refused_and_nothing_is_written(files, affine, kind, words, capsys):
    """One paragraph that names the file; no traceback, no half result."""
    bad_files(files, affine, kind)
    assert denoise(files, "--strategy", "mean") == 70
    error = " ".join(capsys.readouterr().err.split())
    assert words in error
    assert "Traceback" not in error
    assert not files["out"].exists()
    assert not [path for path in files["out"].parent.iterdir() if path.name.startswith(".")]


def test_nan_from_a_strategy_is_never_written(files, register, capsys):
    """A half-trained network must not pass for a result."""
    register(
        lambda repetitions, config, context: DenoisedImage(np.full((*repetitions.mask.shape, 1), np.nan))
    )
    assert denoise(files) == 1
    assert "NaN" in capsys.readouterr().err
    assert not files["out"].exists()


def test_out_of_memory_tries_smaller_blocks(files, register, capsys):
    """Half the memory each time, from the same seed, and the result of the first that fits."""
    seen = []

    def hungry(repetitions, config, context):
        seen.append((context.memory_gb, float(torch.rand(1, generator=context.generator))))
        if len(seen) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return DenoisedImage(repetitions.data[0])

    register(hungry)
    assert denoise(files, "--memory-gb", "4") == 0
    assert [memory for memory, _ in seen] == [4, 2, 1]
    assert len({draw for _, draw in seen}) == 1
    assert "out of memory; again" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "memory_gb"), [([], 3.0), (["--memory-gb", "64"], 5.0)])
def test_blocks_never_take_more_memory_than_is_free(files, register, monkeypatch, options, memory_gb):
    """On a GPU of 5 GB in a host of 64 GB, and on a machine that others use too."""
    seen = []

    def look(repetitions, config, context):
        seen.append(context.memory_gb)
        return DenoisedImage(repetitions.data[0])

    register(look)
    monkeypatch.setattr(denoise_run, "free_device_memory_gb", lambda device: 5.0)
    assert denoise(files, *options) == 0
    assert seen == [memory_gb]


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("can't allocate memory: x")],
)
def test_out_of_memory_ends_with_a_clear_error(files, register, capsys, error):
    """After four attempts the user is told what helps."""
    attempts = []

    def hungry(repetitions, config, context):
        attempts.append(context.memory_gb)
        raise error

    register(hungry)
    assert denoise(files, "--memory-gb", "4") == 1
    assert len(attempts) == 4
    assert "ask for more memory" in " ".join(capsys.readouterr().err.split())


def test_other_errors_of_a_strategy_name_the_file(files, register, capsys):
    """A diverging loss is a DenoisingError; a bug is called unexpected."""

    def diverge(repetitions, config, context):
        raise FloatingPointError("the loss is NaN in epoch 2")

    register(diverge)
    assert denoise(files) == 1
    assert "epoch 2" in capsys.readouterr().err

    def fail(repetitions, config, context):
        raise RuntimeError("a bug")

    register(fail)
    assert denoise(files) == 1
    assert "unexpected RuntimeError: a bug" in capsys.readouterr().err
    assert denoise(files, "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_strategies_refuse_what_they_cannot_take(files, register, capsys):
    """Too few repetitions, other contrasts, no gradients: each with what to do."""
    identity = get_strategy("mean").denoise
    register(identity, min_repetitions=3)
    assert denoise(files) == 1
    assert "at least 3" in capsys.readouterr().err
    register(identity, needs_same_contrast=True)
    assert denoise(files, "--different-contrast") == 1
    assert "one contrast" in capsys.readouterr().err
    register(identity, needs_gradients=True)
    assert denoise(files) == 1
    assert "--bvals" in capsys.readouterr().err


def test_requests_that_contradict_are_usage_errors(files, tmp_path, capsys):
    """Exit code 2, as for every mistake on the command line."""
    assert denoise(files, "--out-repetitions", tmp_path / "a.nii.gz") == 2
    assert denoise({**files, "out": tmp_path / "out.mgz"}) == 2
    if not torch.cuda.is_available():
        assert denoise(files, "--device", "cuda") == 2
        assert "--gpus all" in " ".join(capsys.readouterr().err.split())
    assert denoise(files, "--strategy", "san2n") == 2, "san2n takes diffusion series only"
    with pytest.raises(SystemExit) as caught:
        denoise(files, "--strategy", "best")
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out-mean", "{tmp}/mean"], "the name of an image"),
        (["--out-mean", "{tmp}/out.nii.gz"], "given twice"),
        (["--out-residual", "{tmp}/one.nii.gz"], "is an input"),
        (["--bvals", "{tmp}/bvals"], "--bvecs"),
        (["--strategy", "auto", "--recipe", "faithful"], "published schedule"),
        (["--omp-nthreads", "-2"], "whole number from 1"),
        (["--random-seed", "-5"], "whole number from 0"),
        (["--memory-gb", "-1"], "amount of memory"),
    ],
)
def test_what_would_fail_after_the_work_is_refused_before_it(files, tmp_path, options, words, capsys):
    """Names that cannot be written, inputs that would be overwritten, numbers that make no sense."""
    before = files["one"].read_bytes()
    try:
        status = denoise(files, "--strategy", "mean", *(word.format(tmp=tmp_path) for word in options))
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    error = " ".join(capsys.readouterr().err.split())
    assert words in error
    assert "averaging" not in error
    assert files["one"].read_bytes() == before
    assert not files["out"].exists()


def test_the_record_replaces_no_sidecar_of_an_input(files, tmp_path, capsys):
    """A run without compression has the sidecar that the record of a result of its name would have."""
    plain = tmp_path / "plain" / "one.nii"
    plain.parent.mkdir()
    nb.save(nb.load(files["one"]), plain)
    plain.with_name("one.json").write_text("{}")
    changed = {**files, "one": plain, "out": plain.with_name("one.nii.gz")}
    assert denoise(changed, "--strategy", "mean") == 2
    assert "sidecar" in capsys.readouterr().err
    assert plain.with_name("one.json").read_text() == "{}"


def test_folder_that_cannot_be_written_is_told_before_the_work(files, tmp_path, capsys):
    """A file stands where the folder of the result should be."""
    (tmp_path / "file").touch()
    assert denoise({**files, "out": tmp_path / "file" / "out.nii.gz"}) == 70
    error = capsys.readouterr().err
    assert "expected an output folder that can be written" in error
    assert "recipe" not in error


def test_maps_that_a_strategy_does_not_give_are_refused(files, tmp_path, noisy_runs, affine, capsys):
    """The mean has no single repetitions, and of diffusion series no error of every voxel."""
    options = ["--strategy", "mean", "--out-repetitions", tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]
    assert denoise(files, *options) == 1
    assert "noise2average" in capsys.readouterr().err
    for seed, name in enumerate(("one", "two")):
        save_image(files[name], np.stack(noisy_runs(n=3, seed=seed), axis=-1), affine)
    (tmp_path / "bvals").write_text("0 1000 1000\n")
    (tmp_path / "bvecs").write_text("0 1 0\n0 0 1\n0 0 0\n")
    options = ["--strategy", "mean", "--bvals", tmp_path / "bvals", "--bvecs", tmp_path / "bvecs"]
    assert denoise(files, *options, "--out-uncertainty", tmp_path / "sd.nii.gz") == 1
    assert "leave --out-uncertainty out" in capsys.readouterr().err


def test_one_image_tells_its_noise_itself(files, tmp_path, head):
    """Without a second one to compare with; this is the error of its mean, too."""
    words = ["denoise", files["one"], "--mask", files["mask"], "--out", files["out"], "--strategy", "mean"]
    maps = [tmp_path / "sd.nii.gz", tmp_path / "error.nii.gz"]
    words += ["--out-noise-sd", maps[0], "--out-uncertainty", maps[1]]
    assert main([str(word) for word in words]) == 0
    for path in maps:
        assert np.median(nb.load(path).get_fdata()[head[1]]) == pytest.approx(60, rel=0.2)


def test_mean_of_echoes_has_a_noise_level(files, tmp_path, head):
    """A difference of contrasts holds anatomy: the level comes from each echo, and is one for all voxels."""
    options = ["--strategy", "mean", "--different-contrast", "--out-noise-sd", tmp_path / "sd.nii.gz"]
    assert denoise(files, *options) == 0
    level = nb.load(tmp_path / "sd.nii.gz").get_fdata()
    assert np.ptp(level) == 0
    assert level.max() == pytest.approx(60, rel=0.2)


def test_left_right_axis_and_voxel_size_come_from_the_affine(files, tmp_path, head, noisy_runs):
    """Heads may be flipped along left-right only, wherever that axis lies."""
    affine = np.array([[0, 0, -3.0, 0], [2.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 0, 1]])
    for name, data in zip(("one", "two"), noisy_runs(n=2)):
        save_image(files[name], data, affine)
    save_image(files["mask"], head[1].astype(np.uint8), affine)
    repetitions = load_repetitions(DenoiseJob((files["one"], files["two"]), files["mask"]))
    assert repetitions.left_right_axis == 2
    assert repetitions.voxel_size_mm == (2, 4, 3)


def test_series_come_with_their_gradients(files, tmp_path, noisy_runs, affine):
    """4D series: one channel for each volume, FSL tables either way round."""
    for seed, name in enumerate(("one", "two")):
        save_image(files[name], np.stack(noisy_runs(n=3, seed=seed), axis=-1), affine)
    (tmp_path / "bvals").write_text("0 1000 1000\n")
    (tmp_path / "bvecs").write_text("0 1 0\n0 0 1\n0 0 0\n")
    options = ["--strategy", "mean", "--bvals", tmp_path / "bvals", "--bvecs", tmp_path / "bvecs"]
    assert denoise(files, *options) == 0
    assert nb.load(files["out"]).shape[-1] == 3
    (tmp_path / "bvals").write_text("0 1000\n")
    assert denoise(files, *options) == 70


@pytest.fixture
def weights_dir(tmp_path) -> Path:
    """Weights of a very small network with their model card."""
    folder = tmp_path / "weights"
    save_weights(PretrainedWeights("tiny", "", {"w": torch.arange(4.0)}), folder, {"licence": "CC0"})
    return folder


def test_weights_survive_writing_and_reading(weights_dir):
    """Tensors and checksum come back; the package without weights gives None."""
    weights = load_weights("tiny", weights_dir)
    assert torch.equal(weights.tensors["w"], torch.arange(4.0))
    assert weights.sha256 == json.loads((weights_dir / "tiny.json").read_text())["sha256"]
    assert load_weights("no-such-network") is None


@pytest.mark.parametrize("damage", ["bit", "truncated", "card", "no card", "absent", "pickle"])
def test_damaged_weights_are_refused(weights_dir, damage):
    """Nothing is denoised with weights that are not those of the model card."""
    path, card = weights_dir / "tiny.safetensors", weights_dir / "tiny.json"
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[-1] ^= 1
    path.write_bytes(content[:-3] if damage == "truncated" else content)
    if damage == "card":
        card.write_text("{}")
    elif damage == "no card":
        card.unlink()
    elif damage == "absent":
        path.unlink()
    elif damage == "pickle":
        torch.save({"w": torch.zeros(1)}, path)
    with pytest.raises(DenoisingError, match=r"tiny\.(json|safetensors)"):
        load_weights("tiny", weights_dir)


def test_weights_of_a_training_that_diverged_are_refused(tmp_path):
    """NaN, with a card that fits: the file, and what to do."""
    weights = PretrainedWeights("tiny", "", {"w": torch.tensor([1.0, float("nan")]), "v": torch.ones(2)})
    save_weights(weights, tmp_path, {})
    with pytest.raises(DenoisingError, match=r"tiny\.safetensors: .* 1 of 2 tensors, such as w;.*again"):
        load_weights("tiny", tmp_path)


def test_weights_of_another_network_are_refused_by_their_file(tmp_path):
    """Several folders may be in play (option, variable, package): the message names the one that is wrong."""
    shipped = load_weights("resunet-2d")
    (first, *others) = shipped.tensors
    for change in (
        {name: shipped.tensors[name] for name in others},
        shipped.tensors | {first: shipped.tensors[first].repeat_interleave(2, 0)},
        shipped.tensors | {"more": torch.ones(1)},
        load_weights("resunet-t1w").tensors,
    ):
        save_weights(PretrainedWeights("resunet-2d", "", change), tmp_path, {})
        with pytest.raises(DenoisingError, match="do not fit the network 'resunet-2d'") as caught:
            load_weights("resunet-2d", tmp_path)
        assert str(caught.value).startswith(f"{tmp_path / 'resunet-2d.safetensors'}: ")
    save_weights(shipped, tmp_path, {})
    assert load_weights("resunet-2d", tmp_path).sha256


def test_valid_checksum_of_something_else_is_refused(weights_dir):
    """A card that fits a file which is no safetensors file."""
    import hashlib

    (weights_dir / "tiny.safetensors").write_bytes(b"not tensors")
    record = {"sha256": hashlib.sha256(b"not tensors").hexdigest()}
    (weights_dir / "tiny.json").write_text(json.dumps(record))
    with pytest.raises(DenoisingError, match="not a safetensors file"):
        load_weights("tiny", weights_dir)


def test_corrupt_weights_end_the_command(files, weights_dir, register, capsys):
    """Exit code 1 with the file, before any training."""
    (weights_dir / "tiny.safetensors").write_bytes(b"x")
    register(None, weights=("tiny",))
    assert denoise(files, "--weights-dir", weights_dir) == 1
    assert "damaged" in capsys.readouterr().err


def test_weights_are_recorded(files, weights_dir, register, tmp_path):
    """Name and checksum go into the record."""
    register(
        lambda repetitions, config, context: DenoisedImage(repetitions.data[0]),
        weights=("tiny",),
    )
    assert denoise(files, "--weights-dir", weights_dir) == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["precision"] in ("float32", "bfloat16")
    assert record["weights"] == {"name": "tiny", "sha256": load_weights("tiny", weights_dir).sha256}


def test_further_weights_come_from_the_package_where_the_folder_has_none(
    files, weights_dir, register, tmp_path
):
    """A folder of one's own needs the first network only; all that were used are recorded."""
    used = ["fusion-t1w"]
    register(
        lambda repetitions, config, context: DenoisedImage(
            repetitions.data[0], record=StrategyRecord(networks=tuple(used))
        ),
        config=lambda recipe, *weights: weights,
        weights=("tiny", "fusion-t1w", "no-such-network"),
    )
    assert denoise(files, "--weights-dir", weights_dir) == 0
    record = json.loads((tmp_path / "out.json").read_text())
    fusion = load_weights("fusion-t1w")
    assert record["weights"]["name"] == "tiny"
    assert record["further_weights"] == [{"name": "fusion-t1w", "sha256": fusion.sha256}]
    used.clear()
    assert denoise(files, "--weights-dir", weights_dir) == 0
    assert "further_weights" not in json.loads((tmp_path / "out.json").read_text())


def test_choose_device_knows_three_words():
    """'auto' never fails."""
    assert denoise_run.choose_device("cpu").type == "cpu"
    assert denoise_run.choose_device("auto").type in ("cpu", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError):
            denoise_run.choose_device("cuda")


def test_strategy_is_a_registered_record():
    """The fixture above replaces fields of the real class."""
    assert isinstance(get_strategy("mean"), Strategy)


def test_noise_kept_without_gradients_is_refused(tmp_path, capsys):
    """The option has no effect on T1w images, so it is not taken silently."""
    words = [
        "denoise",
        "run-1.nii.gz",
        "run-2.nii.gz",
        "--mask",
        "mask.nii.gz",
        "--out",
        tmp_path / "o.nii.gz",
    ]
    assert main([str(word) for word in (*words, "--noise-kept", "0.9")]) != 0
    assert "--noise-kept" in capsys.readouterr().err


def test_a_run_given_twice_is_refused(files, tmp_path, capsys):
    """Also in another scale, and before anything is computed: both names are in the message."""
    data = nb.load(files["one"]).get_fdata()
    save_image(files["two"], 1.5 * data + 20, nb.load(files["one"]).affine)
    assert denoise(files, "--strategy", "mean") != 0
    message = capsys.readouterr().err
    assert str(files["one"]) in message and str(files["two"]) in message and "a copy of it" in message
    assert not files["out"].exists()


def test_a_processed_copy_is_refused_unless_allowed(files, capsys):
    """Shaded and rounded; the noise tells."""
    image = nb.load(files["one"])
    data = image.get_fdata()
    shading = np.linspace(0.7, 1.3, data.shape[0])[:, None, None]
    save_image(files["two"], np.round(data * shading), image.affine)
    assert denoise(files, "--strategy", "mean") != 0
    message = capsys.readouterr().err
    assert f"{files['two']}: expected noise of its own, found that of {files['one']} (corr" in message
    assert not files["out"].exists()
    assert denoise(files, "--strategy", "mean", "--allow-shared-noise") == 0


@pytest.mark.parametrize(
    ("shift", "at_edges", "in_detail"), [(0, False, False), (1, True, False), (4, False, True)]
)
def test_runs_that_are_not_aligned_are_told(files, shift, at_edges, in_detail):
    """One voxel apart they differ along edges; far apart their detail has nothing in common.

    Nothing is said of what is as it should be: "or their detail differs (correlation 1.00)" would be no sign.
    """
    image = nb.load(files["two"])
    save_image(files["two"], np.roll(image.get_fdata(), shift, 1), image.affine)
    assert denoise(files, "--strategy", "mean") == 0
    warnings = json.loads(Path(str(files["out"]).replace(".nii.gz", ".json")).read_text())["warnings"]
    told = [text for text in warnings if "do not seem to be aligned" in text]
    assert len(told) == (at_edges or in_detail)
    assert [any(words in text for text in told) for words in ("differ at edges", "detail differs")] == [
        at_edges,
        in_detail,
    ]
    # The same words stand in the report of a run that has aligned them.
    assert not any("align them" in text for text in warnings)


def test_a_run_that_was_moved_during_its_scan_is_told(files, head, noisy_runs, affine):
    """Of runs that are taken as they lie, by its name; the noise alone of three others is not."""
    first, second, third = noisy_runs(n=3, noise_sd=20)
    spectra = [np.fft.fftn(image) for image in (third, np.roll(third, (2, 1), axis=(1, 2)))]
    lines = np.fft.fftfreq(third.shape[1])[None, :, None]
    spoiled = np.abs(np.fft.ifftn(np.where(lines < 0.03, *spectra)))
    save_image(files["one"], first, affine)
    save_image(files["two"], second, affine)
    three = files["mask"].with_name("three.nii.gz")
    runs = ["--no-align", files["one"], files["two"], three, "--mask", files["mask"], "--out", files["out"]]
    for data, n_warnings in ((third, 0), (spoiled, 1)):
        save_image(three, data, affine)
        assert main([str(word) for word in ("denoise", *runs, "--strategy", "mean", "--device", "cpu")]) == 0
        record = json.loads(Path(str(files["out"]).replace(".nii.gz", ".json")).read_text())
        told = [text for text in record["warnings"] if text.startswith("three.nii.gz: its error")]
        assert len(told) == n_warnings and all("better without it" in text for text in told)


def test_a_face_removed_from_one_run_comes_from_the_other_and_from_both_stays_removed(files, head):
    """In its own intensity, and exact zeros where both are empty."""
    face = np.zeros(head[1].shape, bool)
    face[:, -14:, :16] = ~ndimage.binary_dilation(head[1], iterations=2)[:, -14:, :16]
    only = face & (np.arange(face.shape[0]) < face.shape[0] // 2)[:, None, None]
    one, two = (nb.load(files[name]) for name in ("one", "two"))
    save_image(files["one"], np.where(face & ~only, 0, one.get_fdata()), one.affine)
    save_image(files["two"], np.where(face, 0, two.get_fdata()), one.affine)
    assert denoise(files, "--strategy", "mean", "--quiet") == 0
    result = nb.load(files["out"]).get_fdata()
    assert not result[face & ~only].any()
    bright = only & (head[0] > 300)
    assert result[bright].mean() == pytest.approx(one.get_fdata()[bright].mean(), rel=0.1)
    record = json.loads(Path(str(files["out"]).replace(".nii.gz", ".json")).read_text())
    assert ["no measurement" in warning for warning in record["warnings"]] == [True]
    assert record["noise_sd_mean"] == pytest.approx(60 / np.sqrt(2), rel=0.15)


@pytest.mark.parametrize(("residual", "n_warnings"), [(0.15, 0), (0.26, 1)])
def test_a_residual_with_edges_is_told(residual, n_warnings):
    """More than the trust tests allow over what the runs themselves differ by."""
    runs = Repetitions(np.zeros((2, 4, 4, 4, 1), np.float32), np.ones((4, 4, 4), bool))
    record = DenoisingRecord(residual_edge_correlation=residual, difference_edge_correlation=0.1)
    assert len(residual_warnings(runs, record)) == n_warnings
    assert residual_warnings(runs, DenoisingRecord(residual_edge_correlation=residual)) == []


def test_noise_of_skull_stripped_runs_is_that_of_the_brain(files, head):
    """Most of the volume is empty in both: it lowers neither the noise map nor the error."""
    for name in ("one", "two"):
        image = nb.load(files[name])
        save_image(files[name], np.where(head[1], image.get_fdata(), 0), image.affine)
    assert denoise(files, "--strategy", "mean", "--quiet") == 0
    record = json.loads(Path(str(files["out"]).replace(".nii.gz", ".json")).read_text())
    assert record["noise_sd_mean"] == pytest.approx(60 / np.sqrt(2), rel=0.15)
    assert not nb.load(files["out"]).get_fdata()[~head[1]].any()
