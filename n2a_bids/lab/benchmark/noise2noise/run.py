"""``benchmark --noise2noise``: the tables of the Noise2Noise paper trained and tested again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from n2a_bids.algorithms.dataset_training.steps import (
    TrainingBatch,
    TrainingState,
    new_state,
    train_steps,
)
from n2a_bids.denoising.run import choose_device, device_name
from n2a_bids.errors import ConfigError
from n2a_bids.io.files import whole_file
from n2a_bids.lab.benchmark.config import BenchmarkConfig
from n2a_bids.lab.benchmark.noise2noise.config import Noise2NoiseConfig
from n2a_bids.lab.benchmark.noise2noise.images import (
    PHOTOGRAPH_NOISE,
    Picture,
    load_photographs,
    load_slices,
    psnr_db,
    undersample,
)
from n2a_bids.lab.benchmark.noise2noise.networks import BlindUNet, ConsistentUNet
from n2a_bids.lab.benchmark.table import RowTable, keep_settings

_COLUMNS = (
    *("noise", "test_set", "n_images", "noisy_db", "clean_targets_db", "noisy_targets_db", "difference_db"),
    *("published_clean_db", "published_noisy_db", "steps", "seconds_clean", "seconds_noisy", "device"),
)
_PUBLISHED = {
    ("gaussian", "kodak"): (32.38, 32.39),
    ("gaussian", "bsds300"): (31.01, 31.02),
    ("poisson", "kodak"): (31.66, 31.66),
    ("poisson", "bsds300"): (30.27, 30.26),
    ("mri", "brains"): (31.77, 31.74),
}
"""PSNR (dB) with clean and with noisy targets (Lehtinen et al., ICML 2018); MRI: IXI slices of 256 pixels."""

_STEPS_PER_CHECKPOINT = 100
_TEST_SEED = 20261127


@dataclass(frozen=True, slots=True)
class _Pace:
    peak_rate: float
    warmup_steps: int = 100
    averaging: float = 0.998


@dataclass(frozen=True, slots=True)
class _Task:
    """One kind of noise: what is drawn to learn, and how a test image is restored."""

    build: Callable[[], nn.Module]
    draw: Callable[[bool, np.random.Generator], TrainingBatch]
    """Takes whether targets are clean."""
    tests: Mapping[str, list[Picture]]
    restore: Callable[[nn.Module, Picture, np.random.Generator], tuple[Picture, Picture]]
    """Noisy and restored image of a clean one."""


def run_noise2noise(config: BenchmarkConfig) -> int:
    """Train with clean and with noisy targets, and compare both on the test images.

    Returns
    -------
    exit_code : int
        0.

    Raises
    ------
    ConfigError
        If images are not given, or the table was begun with other settings.
    BIDSDataError
        If an image cannot be read.
    """
    asked, device = config.noise2noise, choose_device(config.device)
    torch.set_num_threads(config.omp_nthreads)
    path = config.out / "noise2noise.tsv"
    settings = {"steps": asked.steps, "batch": asked.batch, "crop": asked.crop, "width": asked.width}
    tested = {name: str(folder.resolve()) for name, folder in asked.test_images.items()}
    images = {
        "training_images": asked.training_images and str(asked.training_images.resolve()),
        **{"test_images": tested, "most_tests": asked.most_tests, "slice_edge": asked.slice_edge},
        "truth": [str(brain.resolve()) for brain in config.truth],
    }
    keep_settings(path, {**settings, **images, "rate": asked.rate, "random_seed": config.random_seed})
    table = RowTable(path, _COLUMNS, ("noise", "test_set"))
    for noise in asked.noise:
        task = _mri_task(config) if noise == "mri" else _photograph_task(noise, asked)
        if not all(table.has({"noise": noise, "test_set": name}) for name in task.tests):
            _fill_rows(noise, task, config, device, table)
    return 0


def _fill_rows(
    noise: str, task: _Task, config: BenchmarkConfig, device: torch.device, table: RowTable
) -> None:
    networks, seconds = {}, {}
    for targets in ("clean", "noisy"):
        networks[targets], seconds[targets] = _trained(noise, targets, task, config, device)
    for name, images in task.tests.items():
        before_db, clean_db = _psnr_before_and_after(task, networks["clean"], images)
        _, noisy_db = _psnr_before_and_after(task, networks["noisy"], images)
        published = _PUBLISHED.get((noise, name), ("n/a", "n/a"))
        row = {
            **{"noise": noise, "test_set": name, "n_images": len(images), "noisy_db": f"{before_db:.2f}"},
            **{"clean_targets_db": f"{clean_db:.3f}", "noisy_targets_db": f"{noisy_db:.3f}"},
            **{"difference_db": f"{noisy_db - clean_db:.3f}", "steps": config.noise2noise.steps},
            **{"published_clean_db": published[0], "published_noisy_db": published[1]},
            **{f"seconds_{key}": f"{value:.0f}" for key, value in seconds.items()},
            "device": device_name(device),
        }
        table.add(row)
        sys.stdout.write("\t".join(str(row[column]) for column in _COLUMNS) + "\n")


def _psnr_before_and_after(task: _Task, network: nn.Module, images: Sequence[Picture]) -> tuple[float, float]:
    """Mean PSNR of the noisy images and of what a network makes of them, dB."""
    found = []
    for index, clean in enumerate(images):
        pair = task.restore(network, clean, np.random.default_rng([_TEST_SEED, index]))
        found.append([psnr_db(image, clean) for image in pair])
    before, after = np.transpose(found)
    return float(np.mean(before)), float(np.mean(after))


def _trained(
    noise: str, targets: str, task: _Task, config: BenchmarkConfig, device: torch.device
) -> tuple[nn.Module, float]:
    """The network after all steps; a checkpoint is resumed."""
    asked, path = config.noise2noise, config.out / f"{noise}-{targets}.pt"
    torch.manual_seed(config.random_seed)
    state = new_state(task.build, device, _Pace(asked.rate))
    seconds = _resume(state, path)
    while state.step < asked.steps:
        started = time.monotonic()
        loss = train_steps(
            state,
            partial(task.draw, targets == "clean"),
            _Pace(asked.rate),
            seed=config.random_seed,
            n_steps=min(_STEPS_PER_CHECKPOINT, asked.steps - state.step),
            progress=lambda step: step / asked.steps,
        )
        seconds += time.monotonic() - started
        with whole_file(path) as temporary:
            torch.save({"state": state.state_dict(), "seconds": seconds}, temporary)
        sys.stderr.write(f"{noise}, {targets} targets: step {state.step}, loss {loss:.6f}, {seconds:.0f} s\n")
    return state.averaged.eval(), seconds


def _resume(state: TrainingState, path: Path) -> float:
    if not path.is_file():
        return 0.0
    try:
        kept = torch.load(path, weights_only=True, map_location="cpu")
        state.load_state_dict(kept["state"])
        return float(kept["seconds"])
    except Exception as error:  # whatever a damaged file makes of torch
        raise ConfigError(
            f"{path}: expected a checkpoint of this benchmark, found none that fits "
            f"({type(error).__name__}); give another --out folder"
        ) from error


def _photograph_task(noise: str, asked: Noise2NoiseConfig) -> _Task:
    if asked.training_images is None or not asked.test_images:
        raise ConfigError(
            f"--noise2noise {noise}: expected --training-images DIR and --test-images NAME=DIR, found none"
        )
    bank = load_photographs(asked.training_images)
    if min(min(image.shape[1:]) for image in bank) < asked.crop:
        raise ConfigError(f"--n2n-crop {asked.crop}: a training image is smaller; give a smaller crop")
    tests = {name: load_photographs(path, asked.most_tests) for name, path in asked.test_images.items()}
    kind = PHOTOGRAPH_NOISE[noise]

    def draw(clean_targets: bool, rng: np.random.Generator) -> TrainingBatch:
        noisy, targets, weights = [], [], []
        for _ in range(asked.batch):
            clean = _crop(bank[rng.integers(len(bank))], asked.crop, rng)
            level = kind.largest * (1 - rng.random())
            noisy.append(kind.add(clean, level, rng))
            # Drawn in both trainings, so that they see the same inputs.
            other = kind.add(clean, level, rng)
            targets.append(clean if clean_targets else other)
            weights.append(kind.weight(level))
        target = torch.from_numpy(np.stack(targets))
        weight = torch.tensor(weights, dtype=torch.float32)[:, None, None, None]
        return TrainingBatch((torch.from_numpy(np.stack(noisy)),), target, weight)

    def restore(network: nn.Module, clean: Picture, rng: np.random.Generator) -> tuple[Picture, Picture]:
        noisy = kind.add(clean, kind.judged, rng)
        pads = [(0, 0), *((8, 8 + -size % 4) for size in noisy.shape[1:])]
        padded = torch.from_numpy(np.pad(noisy, pads, mode="reflect"))[None]
        restored = _apply(network, padded)[0]
        return noisy, restored[:, 8 : 8 + noisy.shape[1], 8 : 8 + noisy.shape[2]]

    return _Task(partial(BlindUNet, 3, asked.width), draw, tests, restore)


def _mri_task(config: BenchmarkConfig) -> _Task:
    asked, brains = config.noise2noise, config.truth
    if len(brains) < 2:
        raise ConfigError("--noise2noise mri: expected --truth with two brains or more, the last to test on")
    n_test = max(1, len(brains) // 5)
    bank = load_slices(brains[:-n_test], asked.slice_edge)
    tests = {"brains": load_slices(brains[-n_test:], asked.slice_edge)[: asked.most_tests]}

    def draw(clean_targets: bool, rng: np.random.Generator) -> TrainingBatch:
        rows = []
        for _ in range(max(1, asked.batch // 4)):
            clean = bank[rng.integers(len(bank))][0]
            clean = np.roll(clean, rng.integers(-16, 17, 2), (0, 1))
            clean = np.ascontiguousarray(clean[::-1] if rng.random() < 0.5 else clean)
            image, samples, drawn = undersample(clean, rng)
            other, _, _ = undersample(clean, rng)
            rows.append((image, samples, drawn, clean if clean_targets else other))
        image, samples, drawn, target = (np.stack(part) for part in zip(*rows))
        inputs = tuple(torch.from_numpy(one) for one in _inputs(image, samples, drawn))
        return TrainingBatch(inputs, torch.from_numpy(target)[:, None], torch.ones(1, 1, 1, 1))

    def restore(network: nn.Module, clean: Picture, rng: np.random.Generator) -> tuple[Picture, Picture]:
        image, samples, drawn = (one[None] for one in undersample(clean[0], rng))
        return image, _apply(network, *map(torch.from_numpy, _inputs(image, samples, drawn)))[0]

    return _Task(partial(ConsistentUNet, asked.width), draw, tests, restore)


def _inputs(
    image: np.ndarray, samples: np.ndarray, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, E, E) image, samples and mask as `ConsistentUNet` takes them."""
    parts = np.stack((samples.real, samples.imag), axis=1).astype(np.float32)
    return image[:, None], parts, drawn[:, None].astype(np.float32)


@torch.no_grad()
def _apply(network: nn.Module, *inputs: torch.Tensor) -> np.ndarray:
    device = next(network.parameters()).device
    image, *others = (one.to(device) for one in inputs)
    return (image + network(image, *others)).float().cpu().numpy()


def _crop(image: Picture, edge: int, rng: np.random.Generator) -> Picture:
    low = [rng.integers(size - edge + 1) for size in image.shape[1:]]
    crop = image[:, low[0] : low[0] + edge, low[1] : low[1] + edge]
    crop = np.rot90(crop, rng.integers(4), (1, 2))
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)
