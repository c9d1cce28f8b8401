"""``n2a-tools benchmark --modality dwi``: strategies and peers on phantoms made from a real series."""

from __future__ import annotations

import argparse
from pathlib import Path

from n2a_bids.errors import ConfigError

_CONDITIONS = ("single", "repeat", "reverse-pe", "split")
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
    group.add_argument("--dwi-conditions", nargs="+", choices=_CONDITIONS, default=["single", "reverse-pe"])
    group.add_argument("--phantoms", nargs="+", choices=_PHANTOMS, default=["tensor"])
    group.add_argument("--recipe", default="default", help="recipe of the strategies")
    group.add_argument("--peak-voxels", type=float, default=3.0, help="largest displacement of pairs")


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
        If the truth is missing or a method is unknown.
    BIDSDataError
        If the truth or its table cannot be used.
    """
    from n2a_bids.benchmark.diffusion import DiffusionPlan, known_methods, run_diffusion

    methods = tuple(args.strategies or ("noisy", "auto", "mppca", "patch2self"))
    unknown = [name for name in methods if name not in known_methods()]
    if unknown:
        raise ConfigError(
            f"--strategies: expected {', '.join(known_methods())} for diffusion series, found {unknown[0]}; "
            "correct the name"
        )
    if len(args.truth) != 1:
        raise ConfigError(
            f"--truth: expected one diffusion series with .bval and .bvec beside it, found {len(args.truth)} "
            "files; give one"
        )
    plan = DiffusionPlan(
        phantoms=tuple(args.phantoms),
        conditions=tuple(args.dwi_conditions),
        snrs=tuple(args.snr),
        seeds=tuple(range(args.seeds or 1)),
        methods=methods,
        recipe=args.recipe,
        peak_voxels=args.peak_voxels,
    )
    run_diffusion(_load_truths(args, plan.phantoms), plan, args.out / "diffusion.tsv")
    return 0


def _load_truths(args: argparse.Namespace, phantoms: tuple[str, ...]) -> list:
    from n2a_bids.benchmark.diffusion import make_truths
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
    return make_truths(data[box], table, mask[box], voxel_sizes_mm(affine), phantoms)


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
