"""``n2a-tools benchmark --modality dwi``: strategies and peers on phantoms made from a real series."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

from n2a_bids.config import Recipe
from n2a_bids.errors import ConfigError

_CONDITIONS = ("single", "repeat", "misaligned", "reverse-pe", "split")
_PHANTOMS = ("tensor", "multi-tensor")


def add_dwi_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only diffusion series have.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Modified.
    """
    group = parser.add_argument_group("diffusion series (--modality dwi)")
    group.add_argument("--snr", type=float, nargs="+", default=[10.0, 15.0, 20.0], help="SNR of the b0")
    group.add_argument(
        "--dwi-conditions", nargs="+", choices=_CONDITIONS, default=["single", "reverse-pe"],
        help="misaligned: two repetitions, up to half a voxel and half a degree apart; reverse-pe: distorted "
        "and corrected by the app; split: one series, halved for networks that need two",
    )  # fmt: skip
    group.add_argument(
        "--phantoms", nargs="+", choices=_PHANTOMS, default=["tensor"], help="signal made from --truth"
    )
    group.add_argument(
        "--recipe", choices=typing.get_args(Recipe), default="default", help="recipe of the strategies"
    )
    group.add_argument(
        "--peak-mm", type=float, default=15.0, help="largest displacement of pairs (default: %(default)g)"
    )
    group.add_argument(
        "--distortion", action="store_true",
        help="compare distortion corrections instead: on --truth with a known field, and on the two b0s "
        "(3D or 4D, phase encoding along the second axis) given by --pair",
    )  # fmt: skip
    group.add_argument(
        "--pyhysco", metavar="PROGRAM", help="'pyhysco' of an installation of PyHySCO, to compare with"
    )


def run_dwi(args: argparse.Namespace) -> int:
    """Run the benchmark on diffusion series.

    Parameters
    ----------
    args : argparse.Namespace
        With one ``--truth``: a series with ``.bval`` and ``.bvec`` beside it.

    Returns
    -------
    exit_code : int
        0.

    Raises
    ------
    ConfigError
        If the truth is missing, a method is unknown, or `--out` holds rows of another truth,
        box or recipe.
    BIDSDataError
        If the truth or its table cannot be used.
    """
    if args.distortion:
        return _run_distortion(args)
    from n2a_bids.benchmark.diffusion import (
        CELL_COLUMNS,
        COLUMNS,
        DiffusionPlan,
        known_methods,
        run_diffusion,
    )
    from n2a_bids.benchmark.diffusion_summary import summarise_diffusion
    from n2a_bids.benchmark.rows import RowTable, keep_settings, write_whole
    from n2a_bids.interfaces.dwi_peers import available_dwi_peers

    methods = tuple(args.strategies or ("noisy", "auto", *available_dwi_peers()))
    unknown = [name for name in methods if name not in known_methods()]
    if unknown:
        raise ConfigError(
            f"--strategies: expected {', '.join(known_methods())} for diffusion series, found {unknown[0]}; "
            "correct the name"
        )
    _check_truth(args)
    plan = DiffusionPlan(
        phantoms=tuple(args.phantoms),
        conditions=tuple(args.dwi_conditions),
        snrs=tuple(args.snr),
        seeds=tuple(range(args.seeds or 1)),
        methods=methods,
        recipe=args.recipe,
        peak_mm=args.peak_mm,
        n_threads=args.omp_nthreads,
        device=args.device,
        memory_gb=args.memory_gb,
    )
    path = args.out / "diffusion.tsv"
    asked = {name: getattr(args, name) for name in ("crop", "recipe", "peak_mm")}
    keep_settings(path, {"truth": args.truth[0].name} | asked)
    table = run_diffusion(_load_truths(args, plan.phantoms, plan.needs_elsewhere), plan, path)
    write_whole(args.out / "diffusion.md", summarise_diffusion(RowTable(table, COLUMNS, CELL_COLUMNS).rows))
    return 0


def _run_distortion(args: argparse.Namespace) -> int:
    from n2a_bids.benchmark.distortion import methods, run_distortion
    from n2a_bids.benchmark.distortion_pairs import real_pair, simulated_pairs

    known = methods(args.pyhysco)
    unknown = [name for name in args.strategies or () if name not in known]
    if unknown:
        raise ConfigError(
            f"--strategies: expected {', '.join(known)} for --distortion, found {unknown[0]}; correct the "
            "name, or give --pyhysco PROGRAM"
        )
    known = {name: known[name] for name in args.strategies or known}
    pairs = []
    if args.truth:
        _check_truth(args)
        (truth,) = _load_truths(args, ("tensor",))
        pairs += simulated_pairs(truth, args.snr, range(args.seeds or 1), args.peak_mm)
    if args.pair:
        if len(args.pair) != 2:
            raise ConfigError(f"--pair: expected two b0s, found {len(args.pair)} files; give both")
        pairs.append(real_pair(*args.pair, args.pair_mask))
    if not pairs:
        raise ConfigError("--distortion: expected --truth or --pair, found neither; give one of them")
    run_distortion(pairs, known, args.out / "distortion.tsv")
    return 0


def _check_truth(args: argparse.Namespace) -> None:
    if len(args.truth) != 1:
        raise ConfigError(
            f"--truth: expected one diffusion series with .bval and .bvec beside it, found {len(args.truth)} "
            "files; give one"
        )


def _load_truths(args: argparse.Namespace, phantoms: tuple[str, ...], with_elsewhere: bool = False) -> list:
    from n2a_bids.benchmark.diffusion_truths import make_truths
    from n2a_bids.dataset.gradient_tables import read_series
    from n2a_bids.dataset.units import ImageFile
    from n2a_bids.images import load, load_mask, voxel_sizes_mm
    from n2a_bids.interfaces.dwi_mask import find_brain, mean_b0

    path = args.truth[0]
    stem = path.name.split(".")[0]
    tables = [_existing(path.with_name(stem + extension)) for extension in (".bval", ".bvec")]
    table = read_series(ImageFile(path, bval=tables[0], bvec=tables[1])).gradients
    data, affine = load(path)
    given = args.truth_mask
    mask = load_mask(given[0], path) if given else find_brain(mean_b0(data, table))
    box = _crop_box(mask, args.crop)
    sizes = voxel_sizes_mm(affine)
    try:
        return make_truths(data, table, mask, sizes, phantoms, box, with_elsewhere=with_elsewhere)
    except ValueError as error:
        raise ConfigError(f"--strategies supervised: {error}; give a smaller --crop") from error


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _crop_box(mask, crop: list[int] | None) -> tuple[slice, ...]:
    """Box of this size about the centre of the mask, inside the grid; all of it by default."""
    if not crop:
        return (slice(None),) * 3
    box = []
    for axis, (size, extent) in enumerate(zip(crop, mask.shape, strict=True)):
        hit = mask.any(axis=tuple(other for other in range(3) if other != axis)).nonzero()[0]
        length = min(size, extent)
        low = min(max((int(hit[0]) + int(hit[-1]) + 1 - length) // 2, 0), extent - length)
        box.append(slice(low, low + length))
    return tuple(box)
