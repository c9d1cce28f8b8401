"""``n2a-tools denoise``: aligned NIfTI files in, a denoised one and its figures out."""

from __future__ import annotations

import argparse
import os
import sys
import time
import typing
from collections.abc import Sequence
from pathlib import Path

from n2a_bids.commands.denoise_inputs import DenoiseJob
from n2a_bids.commands.denoise_outputs import write_outputs
from n2a_bids.commands.denoise_run import denoise_files
from n2a_bids.config import DenoiseConfig, Device, Recipe, SelectionConfig
from n2a_bids.dataset.folders import check_writable
from n2a_bids.errors import ConfigError
from n2a_bids.option_values import b_value, memory_gb, natural_int, part_of_one, positive_int
from n2a_bids.strategy_table import STRATEGY_NAMES, check_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``n2a-tools denoise``."""
    default = DenoiseConfig()
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="repetitions, aligned, on one grid")
    parser.add_argument("--mask", type=Path, required=True, help="brain mask on that grid")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="OUT.nii.gz", help="denoised image; .json beside it"
    )
    parser.add_argument(
        "--strategy", choices=STRATEGY_NAMES, default=default.strategy, help="default: %(default)s"
    )
    parser.add_argument(
        "--recipe", choices=typing.get_args(Recipe), default=default.recipe, help="default: %(default)s"
    )
    parser.add_argument(
        "--device", choices=typing.get_args(Device), default=default.device, help="default: %(default)s"
    )
    parser.add_argument(
        "--cuda-graphs", action="store_true", help="replay recorded training steps on the GPU"
    )
    parser.add_argument(
        "--omp-nthreads", type=positive_int, default=0, metavar="N",
        help="default: processors allowed, at most 8",
    )  # fmt: skip
    parser.add_argument(
        "--memory-gb", type=memory_gb, metavar="GB", help="for blocks and activations (default: what is free)"
    )
    parser.add_argument(
        "--random-seed", type=natural_int, default=default.random_seed, metavar="N",
        help="default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--skull-strip", action="store_true", help="black outside of the mask")
    parser.add_argument(
        "--different-contrast", action="store_true", help="the runs differ in contrast (echoes)"
    )
    parser.add_argument(
        "--weights-dir", type=Path, metavar="DIR", help="pretrained weights (default: N2A_WEIGHTS_DIR)"
    )
    parser.add_argument(
        "--bvals", type=Path, metavar="FILE", help="b-values of a diffusion series, FSL format"
    )
    parser.add_argument("--bvecs", type=Path, metavar="FILE", help="gradient directions, FSL format")
    parser.add_argument(
        "--b0-threshold", type=b_value, default=SelectionConfig().b0_threshold, metavar="B",
        help="largest b-value, in s/mm2, of a volume that counts as b0 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--keep-noise-floor", action="store_true", help="leave the Rician bias of magnitudes in the result"
    )
    parser.add_argument(
        "--allow-shared-noise", action="store_true",
        help="take runs that hold the same noise, which is otherwise an error",
    )  # fmt: skip
    parser.add_argument(
        "--noise-kept", type=part_of_one, default=1.0, metavar="PART",
        help="part of the noise SD that interpolation of a diffusion series left, which its Rician bias does "
        "not follow (default: %(default)s, not interpolated)",
    )  # fmt: skip
    parser.add_argument(
        "--measured", type=Path, metavar="FILE",
        help="how many of the runs were measured at each voxel; the others hold what those show (default: "
        "zones of one value are looked for)",
    )  # fmt: skip
    parser.add_argument("--out-mean", type=Path, metavar="FILE", help="plain mean of the repetitions")
    parser.add_argument("--out-residual", type=Path, metavar="FILE", help="plain mean minus denoised image")
    parser.add_argument("--out-noise-sd", type=Path, metavar="FILE", help="noise SD of one repetition")
    parser.add_argument(
        "--out-repetitions", type=Path, nargs="+", metavar="FILE", help="each repetition denoised"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on standard error")


def run(args: argparse.Namespace) -> int:
    """Denoise.

    Parameters
    ----------
    args : Namespace
        See :func:`add_arguments`.

    Returns
    -------
    status : int
        Always 0; errors are raised.
    """
    if args.noise_kept < 1 and not (args.bvals and args.bvecs):
        raise ConfigError(
            "--noise-kept: expected a diffusion series with --bvals and --bvecs, found none; leave it out"
        )
    maps = {"mean": args.out_mean, "residual": args.out_residual, "noise_sd": args.out_noise_sd}
    repetitions = args.out_repetitions or []
    _check_request(args, [args.out, *filter(None, maps.values()), *repetitions])
    weights_dir = args.weights_dir or (Path(text) if (text := os.environ.get("N2A_WEIGHTS_DIR")) else None)
    job = DenoiseJob(
        runs=tuple(args.runs),
        mask=args.mask,
        strategy=args.strategy,
        recipe=args.recipe,
        device=args.device,
        cuda_graphs=args.cuda_graphs,
        omp_nthreads=args.omp_nthreads,
        memory_gb=args.memory_gb,
        random_seed=args.random_seed,
        same_signal=not args.different_contrast,
        weights_dir=weights_dir,
        bvals=args.bvals,
        bvecs=args.bvecs,
        b0_threshold=args.b0_threshold,
        keep_noise_floor=args.keep_noise_floor,
        allow_shared_noise=args.allow_shared_noise,
        noise_kept=args.noise_kept,
        measured=args.measured,
    )
    report = (lambda message: None) if args.quiet else _Progress()
    result = denoise_files(job, report)
    write_outputs(result, args.out, maps, repetitions, skull_strip=args.skull_strip)
    report(f"wrote {args.out}")
    return 0


def _check_request(args: argparse.Namespace, outputs: Sequence[Path]) -> None:
    """Refuse before the work what would fail after it, or overwrite what went in.

    Raises
    ------
    ConfigError
        If names of outputs cannot be used together, or a gradient table is half given.
    BIDSDataError
        If a folder cannot be written.
    """
    if not args.out.name.endswith(".nii.gz"):
        raise ConfigError(
            f"{args.out}: the output should end in .nii.gz; its figures go into .json beside it"
        )
    check_recipe(args.strategy, args.recipe)
    if args.out_repetitions and len(args.out_repetitions) != len(args.runs):
        raise ConfigError(
            f"--out-repetitions names {len(args.out_repetitions)} files for {len(args.runs)} runs"
        )
    if (args.bvals is None) != (args.bvecs is None):
        raise ConfigError(
            "a gradient table needs both --bvals and --bvecs, found one of them; give the other"
        )
    taken = {path.resolve() for path in (*args.runs, args.mask)}
    for path in outputs:
        if not path.name.endswith((".nii", ".nii.gz")):
            raise ConfigError(f"{path}: expected the name of an image to write, .nii.gz or .nii; correct it")
        if path.resolve() in taken:
            raise ConfigError(
                f"{path}: expected a new name for each image that is written, found one that is an input or "
                "given twice; choose another"
            )
        taken.add(path.resolve())
        check_writable(path.parent)


class _Progress:
    """One line on standard error for each message, with the seconds since the start."""

    def __init__(self):
        self._started = time.monotonic()

    def __call__(self, message: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - self._started:6.1f} s] {message}\n")
        sys.stderr.flush()
