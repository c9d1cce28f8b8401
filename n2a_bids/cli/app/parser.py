"""Builds the argument parser of ``n2a`` from the fields of `Config`.

Every option that is a setting has a `dest` that names its field (``denoise.recipe``) and no default: what the
command line does not say is absent from the namespace, so a settings file can fill it in.
"""

from __future__ import annotations

import argparse

from n2a_bids import __version__
from n2a_bids.cli.argument_parser import ArgumentParser, HelpFormatter
from n2a_bids.cli.arguments import CollectPairs, absolute_path, entity_filter, existing_path
from n2a_bids.cli.options import OptionGroups, add_options
from n2a_bids.config import Config, TrainConfig
from n2a_bids.contrasts import MODALITIES
from n2a_bids.dataset.read.filters import QUERIES

_GROUPS = {
    "which images": None,
    "denoising": None,
    "diffusion series": None,
    TrainConfig.HEADING: "The result is for --weights-dir; see docs/training.md.",
    "resources": "Defaults are what cgroup, Slurm and affinity leave to this process, not the whole host.",
    "do less": None,
    "outputs": None,
    "settings file and debugging": None,
}
"""Headings of ``--help`` in their order, with what is said under them."""

_EXAMPLES = """\
examples:
  n2a bids_dir out_dir participant --dry-run           what would be denoised, and what not, and why
  n2a bids_dir out_dir participant --participant-label 01 02 -w /scratch/n2a
  n2a bids_dir out_dir train                           weights of one network for this dataset
  n2a bids_dir out_dir group                           one table and one page of all participants

Flags have a --no- form (--no-skull-strip), to overrule a settings file.

exit codes:
  0   everything that could be denoised was        75   stopped by a signal; the same command resumes
  1   something failed; the table says what       127   a Python package is missing
  2   the command line is not usable              130   stopped by Ctrl-C; the same command resumes
  70  no image matches the selection, or the dataset is not usable
"""

_STAGES = (
    ("dry-run", "print the groups of images found, and the images left out with the reason, and stop"),
    ("reports-only", "write the reports again from what an earlier run has left"),
    ("boilerplate-only", "write the methods text and the citations, and stop"),
)


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of ``n2a``.

    Returns
    -------
    parser : ArgumentParser
        Its namespace holds only what the command line says.
    """
    parser = ArgumentParser(
        prog="n2a",
        usage="n2a bids_dir output_dir {participant,group,train} [options]",
        description="Denoise repeated MRI of a BIDS dataset: runs of one contrast, or diffusion series.",
        epilog=_EXAMPLES,
        formatter_class=HelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", type=absolute_path, help="the BIDS dataset with the acquired images")
    parser.add_argument("output_dir", type=absolute_path, help="the derivative dataset to write")
    parser.add_argument(
        "analysis_level",
        choices=("participant", "group", "train"),
        help="denoise, summarise what was denoised, or train a network on all participants",
    )
    parser.add_argument("--version", action="version", version=f"n2a {__version__}")
    groups = OptionGroups(parser, {title: text for title, text in _GROUPS.items() if text})
    for title in _GROUPS:
        _ = groups[title]
    _add_stages(groups["do less"])
    _add_settings_file(groups["settings file and debugging"])
    add_options(groups, Config, with_defaults=False)
    _add_what_is_no_setting(groups)
    return parser


def _add_stages(group: argparse._ArgumentGroup) -> None:
    """How much of the run is asked for: one flag for each value of a single setting."""
    only = group.add_mutually_exclusive_group()
    for stage, text in _STAGES:
        only.add_argument(f"--{stage}", dest="stage", action="store_const", const=stage, help=text)
    group.add_argument(
        "--level", choices=("full", "minimal"),
        help="'minimal' aligns and averages only, like --strategy mean (default: full)",
    )  # fmt: skip


def _add_settings_file(group: argparse._ArgumentGroup) -> None:
    """Where settings come from, and two options that count or combine."""
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


def _add_what_is_no_setting(groups: OptionGroups) -> None:
    """Options that are laid over settings, and those that do nothing."""
    for modality, query in zip(MODALITIES, QUERIES, strict=True):
        groups["which images"].add_argument(
            *dict.fromkeys((f"--filter-{query}", f"--filter-{modality}")), dest=f"filter_{query}",
            type=entity_filter, nargs="+", action=CollectPairs, metavar="ENTITY=VALUE",
            help=f"--bids-filter-file for the query '{query}', laid over the file: acquisition=hires, "
            "run=1,2, reconstruction:none, acquisition:required, or run:any to undo a filter"
            if query == "t1w" else f"the same for the query '{query}'",
        )  # fmt: skip
    groups["resources"].add_argument(
        "--use-plugin", "--nipype-plugin-file", dest="plugin_file", type=existing_path, metavar="FILE",
        help="YAML or JSON with 'plugin' and 'plugin_args' for nipype; laid over our own plugin_args",
    )  # fmt: skip
    for name, what in (("notrack", "tracked"), ("no-datalad-get", "fetched")):
        groups["settings file and debugging"].add_argument(
            f"--{name}",
            action="store_true",
            help=f"accepted for compatibility: nothing is ever {what}",
        )
