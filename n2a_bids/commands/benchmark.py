"""``n2a-tools benchmark``: every method on identical simulated data, trust tests, speed."""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from n2a_bids.commands.benchmark_dwi import add_dwi_arguments, run_dwi
from n2a_bids.errors import ConfigError
from n2a_bids.option_values import memory_gb, natural_int, positive_int

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
_OPTIONAL = ("nlmeans", "nlmeans-each", "ants", "ants-each", "bm4d", "oracle")


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``n2a-tools benchmark``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Modified.
    """
    parser.add_argument("--out", type=Path, required=True, help="folder for tables, figure and pictures")
    parser.add_argument(
        "--truth", type=Path, nargs="+", default=[], metavar="FILE",
        help="clean images, skull-stripped unless masks are given (default: a packaged template)",
    )  # fmt: skip
    parser.add_argument(
        "--truth-mask", type=Path, nargs="+", default=[], metavar="FILE", help="brain mask of each truth"
    )
    parser.add_argument(
        "--config", choices=sorted(_GRIDS), default="small", help="defaults of the options below"
    )
    parser.add_argument(
        "--strategies",
        nargs="+",
        metavar="NAME",
        help="methods; a strategy may carry a recipe: auto:thorough; auto+floor keeps the Rician bias, "
        "auto+zero-shot trains nothing, auto+scratch starts from random weights, nlmeans-floor has the bias "
        "taken out",
    )
    parser.add_argument("--sigmas", type=float, nargs="+", help="noise SD over in-mask SD of the truth")
    parser.add_argument("--repetitions", type=positive_int, nargs="+", help="numbers of repetitions")
    parser.add_argument(
        "--conditions", nargs="+", choices=("aligned", "moved", "uneven", "unequal", "echoes"),
        help="moved: up to 5 mm and 5 degrees per axis, realigned by the app; uneven: noise and gains vary; "
        "unequal: runs of unequal noise; echoes: contrasts differ, the first counts",
    )  # fmt: skip
    parser.add_argument("--seeds", type=positive_int, help="noise draws per cell")
    parser.add_argument(
        "--crop", type=int, nargs=3, metavar=("X", "Y", "Z"), help="box around the brain centre"
    )
    parser.add_argument("--resume", action="store_true", help="keep the finished rows of an earlier run")
    parser.add_argument("--trust", action="store_true", help="run the trust tests instead of the cells")
    parser.add_argument(
        "--interpolation",
        action="store_true",
        help="compare ways to bring a moved repetition to the first instead of the methods",
    )
    parser.add_argument(
        "--nonlocal",
        dest="compare_nonlocal",
        action="store_true",
        help="compare what mirror images and non-local Bayes add to the network instead of the methods",
    )
    parser.add_argument("--speed", action="store_true", help="measure speed by phase instead of quality")
    parser.add_argument(
        "--pair", type=Path, nargs="+", metavar="FILE",
        help="compare the methods on real aligned repetitions instead, by risk and time",
    )  # fmt: skip
    parser.add_argument("--pair-mask", type=Path, metavar="FILE", help="brain mask of the pair")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device of the strategies")
    parser.add_argument("--omp-nthreads", type=positive_int, default=1, help="threads per method")
    parser.add_argument("--memory-gb", type=memory_gb, default=6.0, help="memory per method")
    parser.add_argument("--random-seed", type=natural_int, default=20261121, help="seed of the strategies")
    parser.add_argument("--weights-dir", type=Path, help="folder of pretrained weights (default: packaged)")
    parser.add_argument("--modality", choices=("T1w", "dwi"), default="T1w", help="kind of image")
    add_dwi_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the benchmark.

    Parameters
    ----------
    args : argparse.Namespace
        As `add_arguments` fills it.

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
        os.environ[variable] = str(args.omp_nthreads)
    if args.modality == "dwi":
        _record_machine(args)
        return run_dwi(args)
    from n2a_bids.benchmark.run import BenchmarkPlan, run_cells

    plan = _make_plan(args, BenchmarkPlan)
    if args.pair:
        from n2a_bids.benchmark.pair import run_pair

        if args.pair_mask is None:
            raise ConfigError(
                "--pair: expected the brain mask of the pair, found none; give --pair-mask FILE"
            )
        _record_machine(args)
        return run_pair(args.pair, args.pair_mask, plan)
    truths = _load_truths(args)
    _record_machine(args)
    if args.trust:
        from n2a_bids.benchmark.trust import run_trust

        return run_trust(truths[0], plan)
    if args.interpolation:
        from n2a_bids.benchmark.interpolation import run_interpolation

        return run_interpolation(truths, plan)
    if args.compare_nonlocal:
        from n2a_bids.benchmark.nonlocal_search import run_nonlocal

        return run_nonlocal(truths, plan)
    if args.speed:
        from n2a_bids.benchmark.speed import run_speed

        return run_speed(truths[0], plan)
    return run_cells(truths, plan)


def _load_truths(args: argparse.Namespace) -> list:
    from n2a_bids.benchmark.truths import load_truth, template_truth

    if args.truth_mask and len(args.truth_mask) != len(args.truth):
        raise ConfigError(
            f"--truth-mask: expected one mask for each of the {len(args.truth)} truths, "
            f"found {len(args.truth_mask)}; give them in the same order"
        )
    masks = args.truth_mask or [None] * len(args.truth)
    truths = [load_truth(path, mask) for path, mask in zip(args.truth, masks, strict=True)]
    if len({truth.name for truth in truths}) < len(truths):
        raise ConfigError("--truth: expected different file names, found the same name twice; rename one")
    return truths or [template_truth()]


def _make_plan(args: argparse.Namespace, plan_class: type) -> object:
    from n2a_bids.benchmark.methods import MethodSettings, available_methods, check_method

    grid = _GRIDS[args.config]
    methods = args.strategies
    if methods is None:
        known = available_methods()
        methods = [name for name in _DEFAULT_METHODS[args.config] if name in known or name not in _OPTIONAL]
    for name in methods:
        check_method(name)
    if "mean" not in methods:
        methods = ["mean", *methods]
    return plan_class(
        out_dir=args.out,
        methods=tuple(dict.fromkeys(methods)),
        conditions=tuple(args.conditions or grid.conditions),
        noise_levels=tuple(args.sigmas or grid.sigmas),
        repetitions=tuple(args.repetitions or grid.repetitions),
        n_seeds=args.seeds or grid.seeds,
        crop=tuple(args.crop) if args.crop else None if args.pair or args.speed else grid.crop,
        resume=args.resume,
        settings=MethodSettings(
            n_threads=args.omp_nthreads,
            memory_gb=args.memory_gb,
            device=args.device,
            random_seed=args.random_seed,
            weights_dir=args.weights_dir,
        ),
    )


def _record_machine(args: argparse.Namespace) -> None:
    """Write what was run and where, next to the results."""
    from n2a_bids.benchmark.machine import describe_machine
    from n2a_bids.benchmark.rows import write_whole

    options = []
    for name, value in sorted(vars(args).items()):
        if name not in ("command", "debug") and value not in (None, False, []):
            words = value if isinstance(value, list) else [value]
            options += [f"--{name.replace('_', '-')}", *(map(str, words) if value is not True else ())]
    lines = [f"command: n2a-tools benchmark {shlex.join(options)}", *describe_machine(args.omp_nthreads)]
    write_whole(args.out / "machine.txt", "\n".join(lines) + "\n")
