"""Voxels of small denoised images, kept beside the tests: a patch release must give them again.

``python tests/datasets/reference_values.py`` makes them anew, for a release that may change derivatives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from dwi_dataset import head
from numpy.typing import NDArray
from small_dataset import head_phantom

import n2a_bids

KEPT = Path(__file__).with_suffix(".json")
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
NOISE_SD = {"t1w": 40.0, "dwi": 5.0}
N_KEPT = 40
"""Voxels of every image, evenly spread over the brain."""

BOX = (slice(8, 32), slice(10, 34), slice(2, 26))
"""Of the head, with air below: small, so that it is quick."""

ImageAndBrain = tuple[NDArray[np.float32], NDArray[np.bool_]]


def _t1w(n_repetitions: int, strategy: str, recipe: str) -> ImageAndBrain:
    clean, brain = (volume[BOX] for volume in head_phantom())
    # Of numpy's legacy generator, whose numbers stay the same in every version.
    noise = np.random.RandomState(0).normal(0, NOISE_SD["t1w"], (2, n_repetitions, *clean.shape))
    runs = [(np.hypot(clean + real, imaginary).astype(np.float32), AFFINE) for real, imaginary in zip(*noise)]
    return _denoise(runs, brain, strategy, recipe)


def _dwi(n_repetitions: int) -> ImageAndBrain:
    clean, gradients = head()
    noise = np.random.RandomState(2).normal(0, NOISE_SD["dwi"], (2, n_repetitions, *clean.shape))
    runs = [(np.hypot(clean + real, imaginary).astype(np.float32), AFFINE) for real, imaginary in zip(*noise)]
    return _denoise(runs, clean[..., 0] > 30, "auto", "fast", gradients=gradients)


def _denoise(runs: list, brain: NDArray, strategy: str, recipe: str, **more: object) -> ImageAndBrain:
    found = n2a_bids.denoise(
        runs,
        (brain.astype(np.uint8), AFFINE),
        strategy=strategy,
        recipe=recipe,
        align=False,
        threads=1,
        **more,
    )
    return found.image.get_fdata(dtype=np.float32), brain


CASES: dict[str, Callable[[], ImageAndBrain]] = {
    "t1w, mean of 3": lambda: _t1w(3, "mean", "fast"),
    "t1w, auto of 2": lambda: _t1w(2, "auto", "zero-shot"),
    "t1w, one alone": lambda: _t1w(1, "auto", "zero-shot"),
    "dwi, one series": lambda: _dwi(1),
    "dwi, two series": lambda: _dwi(2),
}
"""What is denoised, by name; the first word says in which unit of noise differences count."""


def values_of(name: str) -> NDArray[np.float64]:
    """(N,) or (N, C) voxels of a case."""
    image, brain = CASES[name]()
    places = np.linspace(0, brain.sum() - 1, N_KEPT).astype(int)
    return image[brain][places].astype(float)


def main() -> None:
    """Write the values of the code as it is."""
    KEPT.write_text(json.dumps({name: values_of(name).round(2).tolist() for name in CASES}, indent=None))


if __name__ == "__main__":
    main()
