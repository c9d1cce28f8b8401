"""Entry point of ``n2a-tools`` and its table of subcommands."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from n2a_bids import __version__
from n2a_bids.cli.argument_parser import ArgumentParser, HelpFormatter, complete
from n2a_bids.cli.failures import status_of
from n2a_bids.cli.options import OptionGroups, add_options, read_options
from n2a_bids.system.environment import variables_asked_for
from n2a_bids.system.parent_watch import end_with_parent


@dataclass(frozen=True, slots=True)
class Tool:
    """One command: what its help says, and where the rest is."""

    text: str
    module: str
    """In `n2a_bids`."""
    model: str
    """Dataclass whose fields declare the options."""
    function: str
    """Takes that dataclass; returns the exit code, or nothing, where it raises whatever goes wrong."""


TOOLS = {
    "denoise": Tool(
        "mask, align and denoise images (NIfTI), or denoise micrographs (PNG, TIFF), without BIDS",
        "tools.denoise",
        "DenoiseCommand",
        "run_denoise_command",
    ),
    "demo": Tool(
        "write a small dataset, denoise it and print the gain", "tools.demo", "DemoConfig", "run_demo"
    ),
    "doctor": Tool(
        "examine installation and machine: what to paste into an issue",
        "tools.doctor.report",
        "DoctorConfig",
        "run_doctor",
    ),
    "describe": Tool(
        "write a Boutiques descriptor, or the JSON Schema of the settings file",
        "cli.describe",
        "DescribeConfig",
        "run_describe",
    ),
    "slurm": Tool("write a SLURM array job for a dataset", "tools.slurm", "JobConfig", "run_slurm"),
    "train": Tool(
        "train a network on aligned repetitions of many subjects, for --weights-dir",
        "training.session",
        "TrainRequest",
        "run_train",
    ),
    "pretrain": Tool(
        "train the weights that denoising starts from",
        "lab.pretraining.session",
        "PretrainConfig",
        "run_pretrain",
    ),
    "benchmark": Tool(
        "compare strategies on images with a known truth",
        "lab.benchmark.command",
        "BenchmarkConfig",
        "run_benchmark",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the tools.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments without the program's name; None takes those of the process.

    Returns
    -------
    status : int
        The exit code.
    """
    # Started by a run, it ends with that.
    end_with_parent()
    arguments = sys.argv[1:] if argv is None else list(argv)
    show_traceback = "--debug" in arguments
    return status_of("n2a-tools", lambda: _run(arguments), show_traceback=show_traceback, resumes=False)


def _run(arguments: Sequence[str]) -> int:
    if "COMP_LINE" in os.environ:
        # The shell asks for completions: it gives the line so far and no arguments.
        arguments = os.environ["COMP_LINE"].split()[1:]
    chosen = next((word for word in arguments if not word.startswith("-")), "")
    # Before numpy and torch are imported, which read them once.
    os.environ.update(variables_asked_for(arguments))
    parser = build_parser(chosen)
    complete(parser)
    args = parser.parse_args(arguments)
    tool, module = TOOLS[chosen], _module(chosen)
    return getattr(module, tool.function)(read_options(args, getattr(module, tool.model))) or 0


def build_parser(chosen: str = "") -> argparse.ArgumentParser:
    """Make the parser of ``n2a-tools``.

    Parameters
    ----------
    chosen : str
        The command whose options are added. Only this one is imported: the others' torch, pybids and nipype
        take seconds.
    """
    parser = ArgumentParser(
        prog="n2a-tools",
        description="Tools that are useful without a BIDS dataset, and around one.",
        epilog="n2a-tools COMMAND --help tells the options of a command.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"n2a {__version__}")
    parser.add_argument("--debug", action="store_true", help="full tracebacks")
    subparsers = parser.add_subparsers(dest="chosen", required=True, metavar="COMMAND")
    for name, tool in TOOLS.items():
        description = f"{tool.text[0].upper()}{tool.text[1:]}."
        subparser = subparsers.add_parser(
            name, help=tool.text, description=description, formatter_class=HelpFormatter
        )
        if name == chosen:
            add_options(OptionGroups(subparser), getattr(_module(name), tool.model))
            subparser.add_argument(
                "--debug", action="store_true", default=argparse.SUPPRESS, help="full tracebacks"
            )
    return parser


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"n2a_bids.{TOOLS[name].module}")


if __name__ == "__main__":
    sys.exit(main())
