"""Makes the `Config` of a run: command line over settings file over defaults of the machine."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from n2a_bids import __version__
from n2a_bids.cli.app.parser import build_parser
from n2a_bids.cli.app.plugins import check_plugin_args, read_plugin_file
from n2a_bids.cli.argument_parser import complete
from n2a_bids.config import Config
from n2a_bids.config.options import check_choices, declared_fields
from n2a_bids.config.toml import Settings, make_config, merge, read_settings, setting_names
from n2a_bids.contrasts import ALL_ANATOMY, MODALITIES
from n2a_bids.dataset.read.filters import QUERIES, by_query, short_name
from n2a_bids.dataset.templates.brain import find_template
from n2a_bids.dataset.templates.regions import asked_of_templateflow, check_regions, find_atlas, is_path
from n2a_bids.errors import ConfigError
from n2a_bids.strategy_table import check_recipe
from n2a_bids.system.environment import named_weights_dir
from n2a_bids.system.resources import available_cpus, available_memory_gb, probe_gpus

_MOST_THREADS = 8
_MEMORY_SHARE = 0.9


def parse_config(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Read the command line and everything it stands on.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments without the program's name; None takes those of the process.
    environ : mapping
        Environment, for Slurm, CUDA and ``N2A_WEIGHTS_DIR``.

    Returns
    -------
    config : Config
        All settings of the run, with resources and device settled.

    Raises
    ------
    SystemExit
        With 0 after ``--help`` and ``--version``, with 2 when the arguments are unusable.
    ConfigError
        If the settings file, the plugin file or a combination of options cannot be used.
    """
    parser = build_parser()
    complete(parser)
    args = parser.parse_args(argv)
    settings: Settings = {"work_dir": Path("work").absolute(), "run_uuid": _new_run_uuid()}
    if weights_dir := named_weights_dir(environ):
        settings["denoise"] = {"weights_dir": weights_dir}
    if "config_file" in args:
        of_file = read_settings(args.config_file)
        check_plugin_args(of_file.get("resources", {}).get("nipype_plugin_args", {}), args.config_file)
        settings = merge(settings, of_file)
    settings = _lay_filters(merge(settings, _command_line(args)), args)
    if settings.get("sloppy"):
        settings = merge({"denoise": {"recipe": "fast"}, "mask": {"dwi_method": "otsu"}}, settings)
    settings = merge(settings, {"resources": _settle_resources(settings, environ)})
    config = _with_absolute_regions(make_config(settings))
    _check(config)
    if config.analysis_level in ("participant", "train") and config.stage in ("run", "dry-run"):
        _check_templates(config)
        config = _settle_device(config)
    return _place_output(config)


def _command_line(args: argparse.Namespace) -> Settings:
    """Settings that the command line gives, as nested mappings."""
    settings, given = {}, vars(args)
    for dest in given.keys() & set(setting_names()):
        section, _, name = dest.rpartition(".")
        one = {name: given[dest]}
        settings = merge(settings, {section: one} if section else one)
    if given.get("level") == "minimal":
        if settings.get("denoise", {}).get("strategy", "mean") != "mean":
            raise ConfigError(
                f"--level minimal averages only, but --strategy {settings['denoise']['strategy']} is asked "
                "for; give one of them"
            )
        settings = merge(settings, {"denoise": {"strategy": "mean"}})
    if "debug" in given:
        shown = {"show_traceback": True, "pdb": args.debug in ("pdb", "all")}
        settings = merge(settings, {"debug": shown})
    if "plugin_file" in given:
        plugin, plugin_args = read_plugin_file(args.plugin_file)
        settings = merge(
            settings, {"resources": {"nipype_plugin": plugin, "nipype_plugin_args": plugin_args}}
        )
    return settings


def _lay_filters(settings: Settings, args: argparse.Namespace) -> Settings:
    """Lay ``--filter-t1w`` and its like over the filters of the files, entity by entity."""
    filters = by_query(settings.get("selection", {}).get("bids_filters", {}))
    for query in QUERIES:
        asked = vars(args).get(f"filter_{query}", {})
        if asked:
            known = (*filters.get(query, {}).items(), *asked.items())
            filters[query] = {short_name(name): required for name, required in known}
    return merge(settings, {"selection": {"bids_filters": filters}}) if filters else settings


def _settle_resources(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Fill in processors, threads and memory where neither file nor command line gives them."""
    asked = settings.get("resources", {})
    asked = {**asked.get("nipype_plugin_args", {}), **asked}
    allowed_gb = available_memory_gb(environ=environ)
    n_procs = asked["n_procs"] if "n_procs" in asked else available_cpus(environ=environ)
    # More than the limit would only move the failure from the scheduler to the kernel.
    memory_gb = min(asked.get("memory_gb", _MEMORY_SHARE * allowed_gb), allowed_gb)
    omp_nthreads = min(asked.get("omp_nthreads", _MOST_THREADS), n_procs)
    return {"n_procs": n_procs, "omp_nthreads": omp_nthreads, "memory_gb": round(memory_gb, 2)}


def _settle_device(config: Config) -> Config:
    """Count the GPUs, and refuse a run that asks for one where there is none."""
    if not config.resources.run_here:
        # The GPUs of other machines cannot be seen from here.
        return config
    asking = {
        "--device cuda": config.denoise.device == "cuda",
        "--n-gpu-procs": config.resources.n_gpu_procs > 0,
        "--cuda-graphs": config.denoise.cuda_graphs,
    }
    option = next((name for name, asks in asking.items() if asks), None)
    if config.denoise.device == "cpu":
        if option:
            raise ConfigError(f"{option} asks for GPUs but --device cpu forbids them; give one of them")
        return _with_gpu_slots(config, 0)
    if config.stage == "dry-run" and not option:
        # A listing computes nothing: it only tells what the run would refuse.
        return config
    probe = probe_gpus()
    if not probe.names and option:
        raise ConfigError(
            f"{option}: expected a usable "
            f"NVIDIA GPU, found none ({probe.problem}). In a container give 'docker run --gpus all' or "
            "'apptainer run --nv'; under Slurm ask for one with '--gres=gpu:1'; a CPU build of torch cannot "
            "use any. 'n2a-tools doctor' tells more; '--device cpu' does without"
        )
    n_asked = config.resources.n_gpu_procs
    return _with_gpu_slots(config, (n_asked or len(probe.names)) if probe.names else 0)


def _with_gpu_slots(config: Config, n_gpu_procs: int) -> Config:
    resources = dataclasses.replace(config.resources, n_gpu_procs=n_gpu_procs)
    return dataclasses.replace(config, resources=resources)


def _check(config: Config) -> None:
    """Refuse values that a settings file may hold although the parser would not let them pass."""
    check_choices(config.denoise)
    check_recipe(config.denoise.strategy, config.denoise.recipe)
    _check_stage(config)
    if config.mask.template and config.mask.method != "template":
        raise ConfigError(
            f"--mask-template {config.mask.template} has no effect with --mask-method {config.mask.method}; "
            "add --mask-method template, or leave the template out"
        )
    if config.selection.wipe_database and config.selection.database_dir is None:
        raise ConfigError("--bids-database-wipe has no index to make anew; add --bids-database-dir")
    weights_dir = config.denoise.weights_dir
    if weights_dir is not None and not weights_dir.is_dir():
        raise ConfigError(f"{weights_dir}: expected a folder with weights, found none; check --weights-dir")
    if not config.selection.modalities:
        raise ConfigError(f"no modality is selected; give one or more of {', '.join(MODALITIES)}")
    unknown = [name for name in config.selection.modalities if name not in (ALL_ANATOMY, *MODALITIES)]
    if unknown:
        raise ConfigError(
            f"there is no modality {unknown[0]!r}; choose of {ALL_ANATOMY}, {', '.join(MODALITIES)}"
        )
    if config.selection.dwi_corrected and config.selection.dwi_pairing == "reverse-pe":
        raise ConfigError(
            "--dwi-pairing reverse-pe corrects distortion, but --dwi-corrected says that this is done; give "
            "one of them"
        )
    _check_in_place(config)
    _check_work_dir(config)


def _check_work_dir(config: Config) -> None:
    work_dir, bids_dir = config.work_dir.resolve(), config.bids_dir.resolve()
    if work_dir == bids_dir or (bids_dir in work_dir.parents and "derivatives" not in work_dir.parts):
        raise ConfigError(
            f"{config.work_dir}: the work directory is inside the input dataset; choose another with -w"
        )
    output_dir = config.output_dir.resolve()
    if output_dir == work_dir:
        raise ConfigError(
            f"{config.work_dir}: work and output directory are the same; choose another with -w"
        )
    if output_dir in work_dir.parents and work_dir.relative_to(output_dir).parts[0].startswith("sub-"):
        raise ConfigError(
            f"{config.work_dir}: the work directory is inside the results of a participant; choose another "
            "with -w"
        )


def _check_stage(config: Config) -> None:
    """Refuse to do less than a level does where it has no such part: it would do everything instead."""
    less_of = {"group": ("run",), "train": ("run", "dry-run")}
    if config.stage not in less_of.get(config.analysis_level, (config.stage,)):
        raise ConfigError(
            f"--{config.stage} is not for the {config.analysis_level} level; leave it out, or give the "
            "participant level"
        )


def _with_absolute_regions(config: Config) -> Config:
    """Steps run in folders of their own; what is no path is the name of a template."""
    outputs = config.outputs
    named = {name: getattr(outputs, name) for name in ("regions", "regions_template")}
    paths = {
        name: os.path.abspath(Path(value).expanduser())
        for name, value in named.items()
        if value and is_path(value)
    }
    return dataclasses.replace(config, outputs=dataclasses.replace(outputs, **paths))


def _check_templates(config: Config) -> None:
    """See that templates and atlases are there, unless they are to be downloaded."""
    regions, template = config.outputs.regions, config.outputs.regions_template
    download = config.mask.templateflow_download
    if config.mask.template and not download:
        find_template(config.mask.template)
    if template and not regions:
        raise ConfigError(
            f"--regions-template {template} has no effect without --regions; add the regions, or leave it out"
        )
    if regions:
        check_regions(regions, template)
        if not (download and asked_of_templateflow(regions, template)):
            find_atlas(regions, template)


def _check_in_place(config: Config) -> None:
    """Refuse what a series that stays where it lies cannot have."""
    if not config.selection.dwi_in_place:
        return
    against = {
        "--dwi-pairing": config.selection.dwi_pairing != "auto",
        "--dwi-own-grid": config.outputs.dwi_own_grid,
        "--dwi-corrected": config.selection.dwi_corrected,
    }
    for flag in (flag for flag, is_given in against.items() if is_given):
        raise ConfigError(
            f"--dwi-in-place denoises each series alone and as acquired, before distortion is corrected, so "
            f"that {flag} has no meaning; give one of them"
        )


def _place_output(config: Config) -> Config:
    """Under ``multiverse``, name the output folder after the version and the settings that shape results."""
    if config.outputs.layout != "multiverse":
        return config
    shaping = [tuple(config.derivatives.items())]  # In their order: the first that has a mask wins.
    for section in (config.selection, config.mask, config.align, config.denoise):
        shaping += [
            (declared.name, getattr(section, declared.name))
            for declared in declared_fields(type(section))
            if declared.option is None or declared.option.shapes_result
        ]
    digest = hashlib.sha256(repr((*shaping, config.sloppy)).encode()).hexdigest()[:8]
    return dataclasses.replace(config, output_dir=config.output_dir / f"n2a-{__version__}-{digest}")


def _new_run_uuid() -> str:
    # Runs are sorted by it, and a container need not have the time zone of its host.
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}_{uuid.uuid4()}"
