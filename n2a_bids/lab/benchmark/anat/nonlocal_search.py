"""Compares patch searches of non-local Bayes, and mirror images, as additions to a network."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.algorithms.filters.nonlocal_bayes import BayesSettings, guided_nonlocal_bayes
from n2a_bids.algorithms.filters.patch_search import PatchSearch
from n2a_bids.algorithms.nn.inference import FLIPS
from n2a_bids.algorithms.quality.metrics import edge_psnr, psnr
from n2a_bids.lab.benchmark.anat.alignment import align_runs
from n2a_bids.lab.benchmark.anat.cells import make_cell_data, plan_cells
from n2a_bids.lab.benchmark.anat.methods import OracleInput, oracle_input
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan, open_table
from n2a_bids.lab.benchmark.truths import Truth

_KEY = ("truth", "condition", "noise_level", "n_repetitions", "seed", "variant")
_MEASURES = ("psnr_db", "edge_psnr_db", "seconds")
_MIRRORS_OF_THE_GUIDE = 2
_SEARCH = PatchSearch()


@dataclass(frozen=True, slots=True)
class Variant:
    """A network's estimate averaged over mirror images, and what follows it."""

    n_mirrors: int = _MIRRORS_OF_THE_GUIDE
    passes: int = 0
    search: PatchSearch = _SEARCH


VARIANTS: dict[str, Variant] = {
    **{f"network, {n} mirror images": Variant(n_mirrors=n) for n in (1, 2, 4, 8)},
    **{f"then non-local Bayes, passes: {n}": Variant(passes=n) for n in (1, 2, 3)},
    "1 pass, guide of 8 mirror images": Variant(n_mirrors=8, passes=1),
    "1 pass, radius 3": Variant(passes=1, search=PatchSearch(radius=3)),
    "1 pass, radius 5": Variant(passes=1, search=PatchSearch(radius=5)),
    "1 pass, stride 2": Variant(passes=1, search=PatchSearch(stride=2)),
    "1 pass, edge 3, stride 2": Variant(passes=1, search=PatchSearch(edge=3, stride=2)),
    "1 pass, edge 5": Variant(passes=1, search=PatchSearch(edge=5)),
    "1 pass, 32 similar": Variant(passes=1, search=PatchSearch(n_similar=32)),
    "1 pass, 64 similar": Variant(passes=1, search=PatchSearch(n_similar=64)),
}


def run_nonlocal(truths: Sequence[Truth], plan: BenchmarkPlan) -> int:
    """Measure every variant in every cell; writes ``nonlocal.tsv``.

    The network is the oracle of the benchmark: pretrained, told the true noise, not fine-tuned.

    Parameters
    ----------
    plan : BenchmarkPlan
        Its methods are not looked at.

    Returns
    -------
    exit_code : int
        0.
    """
    table = open_table(plan, "nonlocal.tsv", columns=(*_KEY, *_MEASURES), key_columns=_KEY)
    by_name = {truth.name: truth for truth in truths}
    cells = plan_cells(by_name, plan.conditions, plan.noise_levels, plan.repetitions, plan.n_seeds)
    torch.set_num_threads(plan.settings.n_threads)
    for cell in cells:
        key = asdict(cell)
        missing = [name for name in VARIANTS if not table.has(key | {"variant": name})]
        if not missing:
            continue
        data = make_cell_data(cell, by_name[cell.truth], plan.crop, align_runs)
        estimate = _estimator(oracle_input(data, plan.settings), data.repetitions.mask)
        for name in missing:
            image, seconds = estimate(VARIANTS[name])
            mask = data.repetitions.mask
            row = {
                "variant": name,
                "psnr_db": psnr(image, data.truth, mask),
                "edge_psnr_db": edge_psnr(image, data.truth, mask),
                "seconds": seconds,
            }
            table.add(key | row)
            sys.stderr.write(f"{cell.truth} {cell.noise_level:g} {name}: {row['psnr_db']:.2f} dB\n")
    return 0


Estimator = Callable[[Variant], tuple[NDArray[np.float32], float]]


def _estimator(inputs: OracleInput, mask: NDArray[np.bool_]) -> Estimator:
    """Variant -> image in the unit of the truth, and the seconds of its last step."""

    @cache
    def estimate(variant: Variant) -> tuple[NDArray[np.float32], float]:
        if variant.passes == 0:
            started = time.perf_counter()
            image = inputs.denoise(FLIPS[: variant.n_mirrors])
            return image, time.perf_counter() - started
        guide, _ = estimate(Variant(variant.n_mirrors, variant.passes - 1, variant.search))
        started = time.perf_counter()
        image = guided_nonlocal_bayes(
            inputs.mean - inputs.bias(guide),
            guide,
            inputs.noise_sd,
            mask,
            BayesSettings(inputs.device, variant.search, memory_gb=inputs.memory_gb),
        )
        return image, time.perf_counter() - started

    def in_unit_of_truth(variant: Variant) -> tuple[NDArray[np.float32], float]:
        image, seconds = estimate(variant)
        return inputs.scale.invert(image), seconds

    return in_unit_of_truth
