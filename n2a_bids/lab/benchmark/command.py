"""``n2a-tools benchmark``: starts the benchmark that its options name."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from n2a_bids.errors import ConfigError
from n2a_bids.io.files import write_whole
from n2a_bids.lab.benchmark.config import BenchmarkConfig
from n2a_bids.lab.benchmark.dwi.command import run_dwi

_DEFAULT_METHODS = {
    "small": ("single", "mean", "nlmeans", "ants", "auto:fast"),
    "full": (
        "single",
        "mean",
        "nlmeans",
        "nlmeans-each",
        "ants",
        "ants-each",
        "bm4d",
        "noise2noise",
        "noise2average",
        "recorrupted",
        "auto",
        "oracle",
    ),
}
_DOWNSTREAM_METHODS = {
    "small": ("ants-each", "bm4d-spectrum-floor", "auto:fast"),
    "full": ("ants-each", "bm4d-spectrum-floor", "auto"),
}
"""Beside plain means: what fMRIPrep does with every run, and BM4D told all that can be told."""
_OPTIONAL = ("nlmeans", "nlmeans-each", "ants", "ants-each", "bm4d", "bm4d-spectrum-floor", "oracle")


@dataclass(frozen=True, slots=True)
class GridDefaults:
    """Cells of a configuration, unless options say otherwise."""

    sigmas: tuple[float, ...]
    repetitions: tuple[int, ...]
    conditions: tuple[str, ...]
    seeds: int
    crop: tuple[int, int, int] | None


_GRIDS = {
    "small": GridDefaults((0.4,), (2,), ("aligned",), 1, (48, 48, 48)),
    "full": GridDefaults((0.2, 0.4, 0.6), (2, 4), ("aligned", "moved"), 2, (96, 96, 96)),
}


def run_benchmark(config: BenchmarkConfig) -> int:
    """Run the benchmark.

    Returns
    -------
    exit_code : int
        0; 1 if a method failed in a cell, or a trust test did not hold.

    Raises
    ------
    ConfigError
        If options contradict each other or name an unknown method.
    BIDSDataError
        If a truth cannot be used.
    """
    # before numpy, torch and ITK are loaded: they read these once
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[variable] = str(config.omp_nthreads)
    run = _without_t1w_truths(config)
    if run is not None:
        _record_machine(config)
        return run(config)
    from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan, run_cells

    plan = _make_plan(config, BenchmarkPlan)
    if config.pair:
        from n2a_bids.lab.benchmark.anat.pair import run_pair

        if config.pair_mask is None:
            raise ConfigError(
                "--pair: expected the brain mask of the pair, found none; give --pair-mask FILE"
            )
        _record_machine(config)
        if config.downstream.asked:
            from n2a_bids.lab.benchmark.downstream.pair import run_real_pair

            return run_real_pair(config.pair, config.pair_mask, plan, config.downstream.analyses)
        if config.unseen:
            from n2a_bids.lab.benchmark.anat.unseen import run_unseen

            return run_unseen(config.pair, config.pair_mask, plan)
        return run_pair(config.pair, config.pair_mask, plan)
    truths = _load_truths(config)
    _record_machine(config)
    return _run_on_truths(config, truths, plan, run_cells)


def _without_t1w_truths(config: BenchmarkConfig) -> Callable[[BenchmarkConfig], int] | None:
    """What was asked for, where it is not about T1w images."""
    if config.noise2noise.noise:
        from n2a_bids.lab.benchmark.noise2noise.run import run_noise2noise

        return run_noise2noise
    if config.rates:
        from n2a_bids.lab.benchmark.rates import run_rates

        return run_rates
    if config.modality == "dwi":
        return run_dwi
    if config.modality == "micr":
        from n2a_bids.lab.benchmark.micr.run import run_micrographs

        return run_micrographs
    return None


def _run_on_truths(config: BenchmarkConfig, truths: list, plan: object, run_cells: Callable[..., int]) -> int:
    """What was asked for, or else every method in every cell."""
    if config.trust:
        from n2a_bids.lab.benchmark.anat.trust import run_trust

        return run_trust(truths[0], plan)
    if config.interpolation:
        from n2a_bids.lab.benchmark.anat.interpolation import run_interpolation

        return run_interpolation(truths, plan)
    if config.compare_nonlocal:
        from n2a_bids.lab.benchmark.anat.nonlocal_search import run_nonlocal

        return run_nonlocal(truths, plan)
    if config.calibration:
        from n2a_bids.lab.benchmark.anat.calibration import run_calibration

        return run_calibration(truths, plan)
    if config.downstream.asked:
        from n2a_bids.lab.benchmark.downstream.cells import run_downstream

        return run_downstream(truths, plan, config.downstream.analyses)
    if config.site:
        from n2a_bids.lab.benchmark.anat.site import run_site

        return run_site(truths, plan, config.train)
    if config.speed:
        from n2a_bids.lab.benchmark.anat.speed import run_speed

        return run_speed(truths[0], plan)
    return run_cells(truths, plan)


def _load_truths(config: BenchmarkConfig) -> list:
    from n2a_bids.lab.benchmark.truths import in_contrast, load_truth, template_truth

    if config.truth_mask and len(config.truth_mask) != len(config.truth):
        raise ConfigError(
            f"--truth-mask: expected one mask for each of the {len(config.truth)} truths, "
            f"found {len(config.truth_mask)}; give them in the same order"
        )
    masks = config.truth_mask or [None] * len(config.truth)
    truths = [load_truth(path, mask) for path, mask in zip(config.truth, masks, strict=True)]
    if len({truth.name for truth in truths}) < len(truths):
        raise ConfigError("--truth: expected different file names, found the same name twice; rename one")
    return [in_contrast(truth, config.contrast) for truth in truths or [template_truth()]]


def _make_plan(config: BenchmarkConfig, plan_class: type) -> object:
    from n2a_bids.lab.benchmark.anat.methods import available_methods, check_method
    from n2a_bids.lab.benchmark.strategies import MethodSettings

    grid = _GRIDS[config.config]
    methods = config.strategies
    if not methods:
        known = available_methods()
        defaults = _DOWNSTREAM_METHODS if config.downstream.asked else _DEFAULT_METHODS
        methods = [
            name
            for name in defaults[config.config]
            if name.removesuffix("-floor") in known or name not in _OPTIONAL
        ]
    for name in methods:
        check_method(name)
    if "mean" not in methods:
        methods = ["mean", *methods]
    return plan_class(
        out_dir=config.out,
        methods=tuple(dict.fromkeys(methods)),
        conditions=tuple(config.conditions or grid.conditions),
        noise_levels=tuple(config.sigmas or grid.sigmas),
        repetitions=tuple(config.repetitions or grid.repetitions),
        n_seeds=config.seeds or grid.seeds,
        crop=config.crop or (None if config.pair or config.speed else grid.crop),
        resume=config.resume,
        settings=MethodSettings.of(config),
    )


def _record_machine(config: BenchmarkConfig) -> None:
    """Write what was run and where, next to the results."""
    from n2a_bids.lab.benchmark.machine import describe_machine

    words = shlex.join(config.command_line)
    lines = [f"command: n2a-tools benchmark {words}", *describe_machine(config.omp_nthreads)]
    write_whole(config.out / "machine.txt", "\n".join(lines) + "\n")
