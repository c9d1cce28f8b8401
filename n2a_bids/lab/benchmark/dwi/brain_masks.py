"""Compares brain masks of b0s: against simulated truth, and against outlines drawn by hand."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

from n2a_bids.algorithms.quality.mask_checks import dice
from n2a_bids.errors import BIDSDataError
from n2a_bids.external.b0_brain import find_b0_brain
from n2a_bids.io.gradients import read_gradients
from n2a_bids.io.images import load
from n2a_bids.lab.benchmark.table import RowTable
from n2a_bids.lab.simulation.head import simulate_b0

METHODS = ("network", "deepbet", "template", "otsu")
KEYS = ("image", "seed", "method")
COLUMNS = (*KEYS, "dice", "missed", "extra", "seconds")
"""``missed`` and ``extra`` in units of the true brain (of the outlines)."""

Slices = Sequence[tuple[int, int, NDArray[np.bool_]]]


@dataclass(frozen=True, slots=True)
class B0WithTruth:
    """A b0, and what is known of its brain."""

    name: str
    seed: str
    b0: nb.Nifti1Image
    """RAS."""
    slices: Slices
    """Axis, index and truth of each slice that is judged."""


def simulated_b0s(truths: Sequence[Path], seeds: Sequence[int], peak_mm: float) -> Iterator[B0WithTruth]:
    """b0s made from skull-stripped T1w brains, judged in every slice.

    Parameters
    ----------
    truths : sequence of Path
        T1w brains, zero outside.
    peak_mm : float
        Largest displacement.
    """
    for path in truths:
        image = nb.as_closest_canonical(nb.load(path))
        brain = np.asarray(image.dataobj, np.float32)
        for seed in seeds:
            made = simulate_b0(brain, brain > 0, image.header.get_zooms()[:3], seed, peak_mm=peak_mm)
            b0 = nb.Nifti1Image(made.image, np.diag([*made.voxel_size_mm, 1.0]))
            slices = [(2, index, made.brain[..., index]) for index in range(made.brain.shape[2])]
            yield B0WithTruth(path.name, str(seed), b0, slices)


def outlined_b0s(outlines: Path) -> Iterator[B0WithTruth]:
    """Real b0s with outlines of the brain in a few slices.

    Parameters
    ----------
    outlines : Path
        JSON: path of an image, from the folder of this file, to ``{"x 64": [[column, row], ...]}``: a polygon
        in voxel indices of one slice of the image in RAS order. Of a series with ``.bval`` and ``.bvec``
        beside it, the b0s are averaged.

    Raises
    ------
    BIDSDataError
        If an image is not there.
    """
    for name, polygons in json.loads(outlines.read_text()).items():
        path = outlines.parent / name
        if not path.exists():
            raise BIDSDataError(f"{outlines}: expected the image {path}, found none; correct its path")
        b0 = _mean_b0(path)
        slices = []
        for label, polygon in polygons.items():
            axis, index = "xyz".index(label.split()[0]), int(label.split()[1])
            shape = [count for other, count in enumerate(b0.shape) if other != axis]
            centres = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 2)
            slices.append((axis, index, Polygon(polygon).contains_points(centres).reshape(shape)))
        yield B0WithTruth(path.name, "", b0, slices)


def run_brain_masks(b0s: Iterator[B0WithTruth], methods: Sequence[str], table_path: Path) -> Path:
    """Fill the table, b0 by b0; rows that are there already are kept.

    Parameters
    ----------
    b0s : iterator of B0WithTruth
    methods : sequence of str
        Names of `METHODS`.
    table_path : Path
        TSV file.
    """
    table = RowTable(table_path, COLUMNS, KEYS)
    for one in b0s:
        for method in methods:
            key = {"image": one.name, "seed": one.seed, "method": method}
            if table.has(key):
                continue
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "b0.nii.gz"
                nb.save(one.b0, path)
                started = time.perf_counter()
                mask = find_b0_brain(path, method, Path(folder)).mask
                seconds = time.perf_counter() - started
            table.add(key | _score(mask, one.slices) | {"seconds": f"{seconds:.1f}"})
    return table_path


def _score(mask: NDArray[np.bool_], slices: Slices) -> dict[str, str]:
    pairs = [(np.take(mask, index, axis).ravel(), truth.ravel()) for axis, index, truth in slices]
    found, truth = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    size = np.count_nonzero(truth)
    shares = {"missed": np.count_nonzero(truth & ~found), "extra": np.count_nonzero(found & ~truth)}
    return {"dice": f"{dice(found, truth):.4f}"} | {
        name: f"{count / size:.4f}" for name, count in shares.items()
    }


def _mean_b0(path: Path) -> nb.Nifti1Image:
    data, affine = load(path)
    if data.ndim == 4:
        stem = path.name.split(".")[0]
        bval, bvec = (path.with_name(stem + extension) for extension in (".bval", ".bvec"))
        used = read_gradients(bval, bvec, affine).is_b0 if bval.exists() else slice(None)
        data = data[..., used].mean(axis=-1)
    return nb.as_closest_canonical(nb.Nifti1Image(data, affine))
