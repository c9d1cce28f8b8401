"""Fixtures shared by all tests: a small head, a writer of BIDS datasets, and the way to real images."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

# One thread per test process, set before numpy or torch start theirs: the workers share the cores.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("NIPYPE_NO_ET", "1")

import nibabel as nb
import numpy as np
import pytest
import torch
from small_dataset import head_phantom

LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")
Files = Mapping[str, np.ndarray | dict | str | bytes | None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with whole runs: a file of them at the end would keep one worker busy and the other idle."""
    folders = [Path(__file__).parent / name for name in ("e2e", "workflows")]
    items.sort(key=lambda item: not any(folder in item.path.parents for folder in folders))


@pytest.fixture(autouse=True, scope="session")
def _no_network():
    """The package never needs the network, so a test that reaches for it fails."""
    connect = socket.socket.connect

    def refuse(self, address):
        far = self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL_HOSTS
        if far:
            raise OSError(f"a test tried to reach {address}: the package must work without a network")
        return connect(self, address)

    socket.socket.connect = refuse
    yield
    socket.socket.connect = connect


@pytest.fixture(autouse=True)
def _seeded_draws():
    """Weights and images drawn without a generator are the same in every run of a test."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real images for development; skips where there is none."""
    sibling = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("N2A_TEST_DATA", sibling))
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder} is absent; set N2A_TEST_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def head() -> tuple[np.ndarray, np.ndarray]:
    """A noise-free whole head of 40 x 44 x 36 voxels: image (0 to 1000) and brain mask."""
    return head_phantom(ventricles=True)


@pytest.fixture(scope="session")
def noisy_runs(head) -> Callable[..., list[np.ndarray]]:
    """Maker of repetitions on one grid: ``noisy_runs(n=2, noise_sd=60, seed=0)``, Rician."""

    def make(n: int = 2, noise_sd: float = 60.0, seed: int = 0) -> list[np.ndarray]:
        generator = np.random.default_rng(seed)
        real, imaginary = generator.normal(0, noise_sd, (2, n, *head[0].shape))
        return [np.hypot(head[0] + a, b) for a, b in zip(real, imaginary, strict=True)]

    return make


@pytest.fixture(scope="session")
def affine() -> np.ndarray:
    """Scanner-like affine of 4 mm voxels: 40 x 44 x 36 of them span one head."""
    return np.array([[4.0, 0, 0, -78], [0, 4, 0, -86], [0, 0, 4, -70], [0, 0, 0, 1]])


@pytest.fixture
def own_environment(tmp_path, monkeypatch) -> Iterator[None]:
    """For runs of the app in this process: it sets variables, and works in the current folder."""
    before = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def make_bids(tmp_path, affine) -> Callable[..., Path]:
    """Writer of small BIDS datasets.

    ``make_bids({"sub-01/anat/sub-01_run-1_T1w.nii.gz": array, ...})`` writes the files and a
    ``dataset_description.json`` and returns the folder. An array becomes an image (float32 unless
    it is integer), a dict JSON, text and bytes themselves, ``None`` an empty file.
    """

    def make(files: Files, name: str = "bids") -> Path:
        root = tmp_path / name
        description = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": "raw"}
        for path, content in {"dataset_description.json": description, **files}.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, content, affine)
        return root

    return make


def _write(target: Path, content: np.ndarray | dict | str | bytes | None, affine: np.ndarray) -> None:
    if isinstance(content, np.ndarray):
        save_image(target, content, affine)
    elif isinstance(content, dict):
        target.write_text(json.dumps(content, indent=2))
    elif isinstance(content, bytes):
        target.write_bytes(content)
    else:
        target.write_text(content or "")


def save_image(target: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an array as a NIfTI whose qform and sform agree."""
    dtype = array.dtype if array.dtype.kind in "iu" and array.dtype.itemsize <= 4 else np.float32
    image = nb.Nifti1Image(np.asarray(array, dtype=dtype), affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(target)


@pytest.fixture
def tiny_bids(make_bids, noisy_runs) -> Path:
    """A dataset of two participants: sub-01 with two T1w runs, sub-02 with one."""
    first, second, other = noisy_runs(n=3)
    return make_bids(
        {
            "sub-01/anat/sub-01_run-1_T1w.nii.gz": first,
            "sub-01/anat/sub-01_run-1_T1w.json": {"MagneticFieldStrength": 3},
            "sub-01/anat/sub-01_run-2_T1w.nii.gz": 1.1 * second,
            "sub-01/anat/sub-01_run-2_T1w.json": {"MagneticFieldStrength": 3},
            "sub-02/anat/sub-02_T1w.nii.gz": other,
        }
    )
