"""``n2a-tools``: what is useful without a BIDS dataset, and around one."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from n2a_bids import __version__
from n2a_bids.cli.failures import status_of
from n2a_bids.cli.help_formatter import HelpFormatter
from n2a_bids.parent_watch import end_with_parent

_COMMANDS = {
    "denoise": ("denoise_files", "denoise aligned NIfTI files, without BIDS"),
    "demo": ("demo", "write a small dataset, denoise it and print the gain"),
    "doctor": ("doctor", "examine installation and machine: what to paste into an issue"),
    "slurm": ("slurm", "write a SLURM array job for a dataset"),
    "pretrain": ("pretrain", "train the weights that denoising starts from"),
    "benchmark": ("benchmark", "compare strategies on images with a known truth"),
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
    return status_of("n2a-tools", lambda: _run(arguments), show_traceback=show_traceback)


def _run(arguments: Sequence[str]) -> int:
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="n2a-tools",
        description="Tools that are useful without a BIDS dataset, and around one.",
        epilog="n2a-tools COMMAND --help tells the options of a command.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"n2a {__version__}")
    parser.add_argument("--debug", action="store_true", help="full tracebacks")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = None
    for name, (module, text) in _COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", formatter_class=HelpFormatter
        )
        if name == chosen:
            # Only the chosen command is imported: the others' torch, pybids and nipype take seconds.
            command = importlib.import_module(f"n2a_bids.commands.{module}")
            command.add_arguments(subparser)
            subparser.add_argument(
                "--debug", action="store_true", default=argparse.SUPPRESS, help="full tracebacks"
            )
    args = parser.parse_args(arguments)
    return command.run(args)


if __name__ == "__main__":
    sys.exit(main())
