"""``n2a-tools benchmark --modality dwi``: starts the diffusion benchmark that its options name."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from n2a_bids.errors import ConfigError
from n2a_bids.io.files import write_whole
from n2a_bids.lab.benchmark.config import BenchmarkConfig, DownstreamConfig
from n2a_bids.lab.simulation.conditions import DWI_NAMES, find_condition

if TYPE_CHECKING:
    from n2a_bids.lab.benchmark.dwi.run import DiffusionPlan

WITH_PHASE = ("single", "repeat")
"""What the head may do between complex series, which are not moved or distorted here."""


def run_dwi(config: BenchmarkConfig) -> int:
    """Run the benchmark on diffusion series.

    Parameters
    ----------
    config : BenchmarkConfig
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
    if config.dwi.distortion or config.dwi.brain_masks:
        return _run_distortion(config) if config.dwi.distortion else _run_brain_masks(config)
    return _run_unseen(config) if config.unseen else _run_cells(config)


def _run_cells(config: BenchmarkConfig) -> int:
    """Every method on every simulated cell, or an analysis of them."""
    from n2a_bids.lab.benchmark.baselines import installed
    from n2a_bids.lab.benchmark.dwi.baselines import DWI_BASELINES
    from n2a_bids.lab.benchmark.dwi.methods import known_methods
    from n2a_bids.lab.benchmark.dwi.run import (
        CELL_COLUMNS,
        COLUMNS,
        DiffusionPlan,
        run_diffusion,
        summarise_diffusion,
    )
    from n2a_bids.lab.benchmark.strategies import MethodSettings
    from n2a_bids.lab.benchmark.table import RowTable, keep_settings

    methods = tuple(config.strategies or ("noisy", "auto", *installed(DWI_BASELINES)))
    _check_names(config, methods, known_methods())
    _check_truth(config)
    plan = DiffusionPlan(
        phantoms=tuple(config.dwi.phantoms),
        conditions=tuple(config.dwi.dwi_conditions),
        scans=tuple(config.conditions or ("aligned",)),
        snrs=tuple(config.dwi.snr),
        seeds=tuple(range(config.seeds or 1)),
        methods=methods,
        peak_mm=config.dwi.peak_mm,
        settings=MethodSettings.of(config, config.dwi.recipe),
    )
    if config.downstream.asked:
        return _run_downstream(config, plan)
    if config.calibration:
        return _run_calibration(config, plan)
    path = config.out / "diffusion.tsv"
    asked = {"crop": config.crop, "recipe": config.dwi.recipe, "peak_mm": config.dwi.peak_mm}
    keep_settings(path, {"truth": config.truth[0].name} | asked)
    table = run_diffusion(_load_truths(config, plan.phantoms, plan.needs_elsewhere), plan, path)
    write_whole(config.out / "diffusion.md", summarise_diffusion(RowTable(table, COLUMNS, CELL_COLUMNS).rows))
    return 0


def _run_downstream(config: BenchmarkConfig, plan: DiffusionPlan) -> int:
    """Maps and a bundle of a pair; the rows of another box, recipe or truth are refused."""
    from nibabel.affines import voxel_sizes

    from n2a_bids.io.images import load
    from n2a_bids.lab.benchmark.downstream.diffusion import run_series
    from n2a_bids.lab.benchmark.downstream.rows import COLUMNS, KEY_COLUMNS
    from n2a_bids.lab.benchmark.table import RowTable, keep_settings

    if config.downstream.analyses != DownstreamConfig().analyses:
        raise ConfigError(
            f"--analyses {' '.join(config.downstream.analyses)}: of diffusion series FA, MD, main "
            "direction and a bundle are analysed; leave the option out"
        )
    path = config.out / "downstream.tsv"
    keep_settings(path, {"truth": config.truth[0].name, "crop": config.crop, "recipe": plan.settings.recipe})
    affine = load(config.truth[0])[1]
    axes = affine[:3, :3] / voxel_sizes(affine)
    table = RowTable(path, COLUMNS, KEY_COLUMNS)
    return run_series(_load_truths(config, plan.phantoms), axes, plan, config.repetitions or (2,), table)


def _run_calibration(config: BenchmarkConfig, plan: DiffusionPlan) -> int:
    """Expected against true errors; the rows of another box or recipe are refused."""
    from n2a_bids.lab.benchmark.dwi.calibration import run_dwi_calibration
    from n2a_bids.lab.benchmark.table import keep_settings

    path = config.out / "calibration.tsv"
    keep_settings(path, {"crop": config.crop, "recipe": plan.settings.recipe, "peak_mm": plan.peak_mm})
    series = config.truth[0].name.split("_")[0]
    return run_dwi_calibration(_load_truths(config, plan.phantoms), series, plan, path)


def _check_names(config: BenchmarkConfig, methods: tuple[str, ...], known: list[str]) -> None:
    unknown = [name for name in methods if name not in known]
    if unknown:
        raise ConfigError(
            f"--strategies: expected {', '.join(known)} for diffusion series, found {unknown[0]}; "
            "correct the name"
        )
    wrong = [name for name in config.conditions if name not in DWI_NAMES]
    if wrong:
        raise ConfigError(
            f"--conditions: expected {', '.join(DWI_NAMES)} for diffusion series, found {wrong[0]}; what "
            "the head does between series is said by --dwi-conditions"
        )
    with_phase = [name for name in config.conditions if find_condition(name).is_complex]
    moving = [name for name in config.dwi.dwi_conditions if name not in WITH_PHASE]
    if with_phase and moving:
        raise ConfigError(
            f"--conditions {with_phase[0]}: expected --dwi-conditions {' or '.join(WITH_PHASE)}, found "
            f"{moving[0]}; run the others without it"
        )


def _run_distortion(config: BenchmarkConfig) -> int:
    from n2a_bids.lab.benchmark.dwi.distortion import methods, run_distortion
    from n2a_bids.lab.benchmark.dwi.distortion_pairs import real_pair, simulated_pairs

    known = methods(config.dwi.pyhysco)
    unknown = [name for name in config.strategies or () if name not in known]
    if unknown:
        raise ConfigError(
            f"--strategies: expected {', '.join(known)} for --distortion, found {unknown[0]}; correct the "
            "name, or give --pyhysco PROGRAM"
        )
    known = {name: known[name] for name in config.strategies or known}
    pairs = []
    if config.truth:
        _check_truth(config)
        (truth,) = _load_truths(config, ("tensor",))
        seeds, dwi = range(config.seeds or 1), config.dwi
        pairs += simulated_pairs(truth, dwi.snr, seeds, dwi.peak_mm, dwi.pair_motions)
    if config.pair:
        if len(config.pair) != 2:
            raise ConfigError(f"--pair: expected two b0s, found {len(config.pair)} files; give both")
        pairs += [real_pair(*config.pair, config.pair_mask, motion) for motion in config.dwi.pair_motions]
    if not pairs:
        raise ConfigError("--distortion: expected --truth or --pair, found neither; give one of them")
    run_distortion(pairs, known, config.out / "distortion.tsv")
    return 0


def _run_unseen(config: BenchmarkConfig) -> int:
    """Real pairs that the app has aligned; the rows of another recipe are refused."""
    from n2a_bids.lab.benchmark.baselines import installed
    from n2a_bids.lab.benchmark.dwi.baselines import DWI_BASELINES
    from n2a_bids.lab.benchmark.dwi.methods import known_methods
    from n2a_bids.lab.benchmark.dwi.unseen import COLUMNS, KEY_COLUMNS, run_unseen_series
    from n2a_bids.lab.benchmark.strategies import MethodSettings, split_variant
    from n2a_bids.lab.benchmark.table import RowTable, keep_settings

    if not config.pair:
        raise ConfigError(
            "--unseen: expected folders 'align' in the work directory of runs of n2a, found none; give them "
            "by --pair"
        )
    methods = tuple(config.strategies or ("noisy", "auto", *installed(DWI_BASELINES)))
    _check_names(config, tuple(split_variant(name)[0] for name in methods), known_methods())
    path = config.out / "unseen.tsv"
    keep_settings(path, {"recipe": config.dwi.recipe}, resume=False)
    table = RowTable(path, COLUMNS, KEY_COLUMNS)
    return run_unseen_series(config.pair, methods, MethodSettings.of(config, config.dwi.recipe), table)


def _run_brain_masks(config: BenchmarkConfig) -> int:
    from n2a_bids.lab.benchmark.dwi.brain_masks import METHODS, outlined_b0s, run_brain_masks, simulated_b0s

    unknown = [name for name in config.strategies if name not in METHODS]
    if unknown or not (config.truth or config.dwi.outlines):
        found = unknown[0] if unknown else "neither"
        raise ConfigError(
            f"--brain-masks: expected --truth or --outlines, and among --strategies {', '.join(METHODS)}, "
            f"found {found}; correct it"
        )
    simulated = simulated_b0s(config.truth, range(config.seeds or 1), config.dwi.peak_mm)
    outlined = outlined_b0s(config.dwi.outlines) if config.dwi.outlines else iter(())
    run_brain_masks(chain(simulated, outlined), config.strategies or METHODS, config.out / "brain_masks.tsv")
    return 0


def _check_truth(config: BenchmarkConfig) -> None:
    if len(config.truth) != 1:
        raise ConfigError(
            "--truth: expected one diffusion series with .bval and .bvec beside it, found "
            f"{len(config.truth)} files; give one"
        )


def _load_truths(config: BenchmarkConfig, phantoms: tuple[str, ...], with_elsewhere: bool = False) -> list:
    from n2a_bids.algorithms.registration.dwi_resampling import mean_b0
    from n2a_bids.algorithms.transforms import voxel_sizes_mm
    from n2a_bids.dataset.read.gradient_tables import read_series
    from n2a_bids.dataset.units import ImageFile
    from n2a_bids.external.b0_brain import find_brain
    from n2a_bids.io.images import load, load_mask
    from n2a_bids.lab.benchmark.dwi.phantoms import make_truths
    from n2a_bids.lab.benchmark.truths import centred_box

    path = config.truth[0]
    stem = path.name.split(".")[0]
    tables = [_existing(path.with_name(stem + extension)) for extension in (".bval", ".bvec")]
    table = read_series(ImageFile(path, bval=tables[0], bvec=tables[1])).gradients
    data, affine = load(path)
    given = config.truth_mask
    mask = load_mask(given[0], path) if given else find_brain(mean_b0(data, table))
    box = centred_box(mask, config.crop) if config.crop else (slice(None),) * 3
    sizes = voxel_sizes_mm(affine)
    try:
        return make_truths(data, table, mask, sizes, phantoms, box, with_elsewhere=with_elsewhere)
    except ValueError as error:
        raise ConfigError(f"--strategies supervised: {error}; give a smaller --crop") from error


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None
