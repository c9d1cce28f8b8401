"""The options of ``n2a``.

Every option that is a setting has a `dest` that names its field of `Config`
(``denoise.recipe``) and no default: what the command line does not say is
absent from the namespace, so a settings file can fill it.
"""

from __future__ import annotations

import argparse
import typing

from n2a_bids import __version__
from n2a_bids.cli.arguments import absolute_path, existing_path
from n2a_bids.cli.diffusion_options import add_diffusion_options
from n2a_bids.cli.help_formatter import HelpFormatter
from n2a_bids.cli.selection_options import add_selection_options
from n2a_bids.config import DenoiseConfig, Device, Recipe
from n2a_bids.option_values import memory_gb, natural_int, positive_int
from n2a_bids.strategy_table import STRATEGY_NAMES

# Each flag also has its ``--no-`` form: without it the command line could not overrule a settings file.
_FLAG = argparse.BooleanOptionalAction

_EXAMPLES = """\
examples:
  n2a bids_dir out_dir participant --dry-run           what would be denoised, and what not, and why
  n2a bids_dir out_dir participant --participant-label 01 02 -w /scratch/n2a
  n2a bids_dir out_dir group                           one table and one page of all participants

Flags have a --no- form (--no-skull-strip), to overrule a settings file.

exit codes:
  0   everything that could be denoised was        75   stopped by a signal; the same command resumes
  1   something failed; the table says what       127   a Python package is missing
  2   the command line is not usable              130   stopped by Ctrl-C; the same command resumes
  70  nothing to do, or the dataset is not usable
"""


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of ``n2a``.

    Returns
    -------
    parser : ArgumentParser
        Its namespace holds only what the command line says.
    """
    parser = argparse.ArgumentParser(
        prog="n2a",
        usage="n2a bids_dir output_dir {participant,group} [options]",
        description="Denoise repeated MRI of a BIDS dataset: two or more T1w runs of a session, or DWI.",
        epilog=_EXAMPLES,
        formatter_class=HelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", type=absolute_path, help="the BIDS dataset with the acquired images")
    parser.add_argument("output_dir", type=absolute_path, help="the derivative dataset to write")
    parser.add_argument(
        "analysis_level", choices=("participant", "group"), help="denoise, or summarise what was denoised"
    )
    parser.add_argument("--version", action="version", version=f"n2a {__version__}")
    add_selection_options(parser)
    for add_options in (_denoising, add_diffusion_options, _resources, _subset, _outputs, _other):
        add_options(parser)
    return parser


def _denoising(parser: argparse.ArgumentParser) -> None:
    default = DenoiseConfig()
    group = parser.add_argument_group("denoising")
    group.add_argument(
        "--strategy", dest="denoise.strategy", choices=STRATEGY_NAMES,
        help=f"how to denoise (default: {default.strategy}, which tries several and keeps what measures "
        f"best)",
    )  # fmt: skip
    group.add_argument(
        "--recipe", dest="denoise.recipe", choices=typing.get_args(Recipe),
        help="how much time it may take; 'faithful' is the published schedule of a strategy, such as "
        f"noise2average (default: {default.recipe})",
    )  # fmt: skip
    group.add_argument(
        "--keep-noise-floor", dest="denoise.keep_noise_floor", action=_FLAG,
        help="leave the Rician bias of magnitudes in the result of 'auto' and 'recorrupted' (default: it is "
        "removed from diffusion series, and from T1w images whose air shows it)",
    )  # fmt: skip
    group.add_argument(
        "--weights-dir", dest="denoise.weights_dir", type=existing_path, metavar="DIR",
        help="pretrained weights (default: $N2A_WEIGHTS_DIR, then those in the package)",
    )  # fmt: skip
    group.add_argument(
        "--mask-method",
        dest="mask.method",
        choices=("deepbet", "template"),
        help="brain mask (default: deepbet)",
    )
    group.add_argument(
        "--mask-template", dest="mask.template", metavar="NAME",
        help="TemplateFlow template for --mask-method template; it must be on disk (default: the packaged "
        "one)",
    )  # fmt: skip
    group.add_argument(
        "--align-space", dest="align.space", choices=("reference", "halfway"),
        help="grid of the result: that of the best repetition, or half-way between all (default: reference)",
    )  # fmt: skip
    group.add_argument(
        "--skull-strip", dest="denoise.skull_strip", action=_FLAG, help="black outside of the brain"
    )
    group.add_argument(
        "--random-seed", dest="denoise.random_seed", type=natural_int, metavar="N",
        help=f"seed of everything random (default: {default.random_seed})",
    )  # fmt: skip


def _resources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "resources", "Defaults are what cgroup, Slurm and affinity leave to this process, not the whole host."
    )
    group.add_argument(
        "--nprocs", "--nthreads", "--n-cpus", "--n_cpus", dest="resources.n_procs",
        type=positive_int, metavar="N", help="processors to use, all processes together",
    )  # fmt: skip
    group.add_argument(
        "--omp-nthreads", dest="resources.omp_nthreads", type=positive_int, metavar="N",
        help="threads of one process (default: --nprocs, at most 8)",
    )  # fmt: skip
    group.add_argument(
        "--mem", "--mem-gb", "--mem_gb", dest="resources.memory_gb", type=memory_gb, metavar="SIZE",
        help="memory to stay within: 1.5G, 8000M, or a plain number in GB (default: 90%% of what is allowed)",
    )  # fmt: skip
    group.add_argument(
        "--low-mem", dest="resources.low_mem", action=_FLAG, help="smaller blocks, slower, for little memory"
    )
    group.add_argument(
        "--device", dest="denoise.device", choices=typing.get_args(Device),
        help="'cuda' fails when there is no usable GPU; 'auto' takes one when there is (default: auto)",
    )  # fmt: skip
    group.add_argument(
        "--cuda-graphs", dest="denoise.cuda_graphs", action=_FLAG,
        help="replay recorded training steps on a GPU: less waiting for the host, more GPU memory (default: "
        "each step is launched anew)",
    )  # fmt: skip
    group.add_argument(
        "--n-gpu-procs", dest="resources.n_gpu_procs", type=positive_int, metavar="N",
        help="denoising processes on the GPUs at the same time (default: one for each GPU)",
    )  # fmt: skip
    group.add_argument(
        "--use-plugin", "--nipype-plugin-file", dest="plugin_file", type=existing_path, metavar="FILE",
        help="YAML or JSON with 'plugin' and 'plugin_args' for nipype; laid over our own plugin_args",
    )  # fmt: skip


def _subset(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("do less")
    only = group.add_mutually_exclusive_group()
    for stage, text in (
        ("dry-run", "print the groups of images found, and the images left out with the reason, and stop"),
        ("reports-only", "write the reports again from what an earlier run has left"),
        ("boilerplate-only", "write the methods text and the citations, and stop"),
    ):
        only.add_argument(f"--{stage}", dest="stage", action="store_const", const=stage, help=text)
    group.add_argument(
        "--level", choices=("full", "minimal"),
        help="'minimal' aligns and averages only, like --strategy mean (default: full)",
    )  # fmt: skip
    group.add_argument(
        "--md-only-boilerplate", dest="outputs.md_only_boilerplate", action=_FLAG,
        help="methods text as Markdown only",
    )  # fmt: skip


def _outputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("outputs")
    group.add_argument(
        "--output-layout", dest="outputs.layout", choices=("bids", "multiverse"),
        help="'multiverse' writes into a folder named after version and settings (default: bids)",
    )  # fmt: skip
    group.add_argument(
        "--aggregate-session-reports", dest="outputs.sessions_in_a_report", type=positive_int, metavar="N",
        help="most sessions in one report; a participant with more has one report for each session "
        "(default: 4)",
    )  # fmt: skip
    group.add_argument(
        "--report-output-level", dest="outputs.report_level", choices=("root", "subject", "session"),
        help="folder of the reports: that of the dataset, of the participant, or of the session, which "
        "means one report for each session (default: root)",
    )  # fmt: skip
    group.add_argument(
        "--fmriprep-derivatives", dest="outputs.fmriprep_derivatives", action=_FLAG,
        help="also write the bias-corrected 'desc-preproc_T1w' that fMRIPrep takes with --derivatives",
    )  # fmt: skip
    group.add_argument(
        "--emit-raw-like", dest="outputs.raw_like_dir", type=absolute_path, metavar="DIR",
        help="also write a dataset that looks raw ('rec-n2a'), for tools that read no derivatives",
    )  # fmt: skip
    group.add_argument(
        "-w", "--work-dir", "--work_dir", dest="work_dir", type=absolute_path, metavar="DIR",
        help="intermediate files; the same folder resumes a stopped run (default: ./work)",
    )  # fmt: skip
    group.add_argument(
        "--clean-workdir", dest="outputs.clean_workdir", action=_FLAG,
        help="delete a participant's intermediate files after success (never after a failure)",
    )  # fmt: skip


def _other(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("settings file and debugging")
    group.add_argument(
        "--config-file", type=existing_path, metavar="TOML",
        help="settings; the command line overrules them. Every run leaves one in sub-*/log/*/n2a.toml",
    )  # fmt: skip
    group.add_argument(
        "-v", "--verbose", dest="debug.verbosity", action="count", help="say more; -vv says all"
    )
    group.add_argument(
        "--debug", nargs="?", const="traceback", choices=("traceback", "pdb", "all"),
        help="full tracebacks; 'pdb' opens the debugger at a failure; 'all' does both",
    )  # fmt: skip
    group.add_argument(
        "--stop-on-first-crash",
        dest="debug.stop_on_first_crash",
        action=_FLAG,
        help="stop at the first failure",
    )
    group.add_argument(
        "--crashfile-format", dest="debug.crashfile_format", choices=("txt", "pklz"),
        help="how nipype keeps failures (default: txt)",
    )  # fmt: skip
    group.add_argument(
        "--resource-monitor", dest="debug.resource_monitor", action=_FLAG, help="record memory and processors"
    )
    group.add_argument(
        "--write-graph",
        dest="outputs.write_graph",
        action=_FLAG,
        help="draw the workflow in the work directory",
    )
    group.add_argument("--sloppy", dest="sloppy", action=_FLAG, help="poor and quick: for tests only")
    group.add_argument(
        "--notrack", action="store_true", help="accepted for compatibility: nothing is ever tracked"
    )
    group.add_argument(
        "--no-datalad-get", action="store_true", help="accepted for compatibility: nothing is ever fetched"
    )
