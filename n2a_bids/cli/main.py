"""Entry point of ``n2a``: from the command line to the exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from n2a_bids.cli.failures import status_of
from n2a_bids.system.signals import Interruption, interruptible


def main(argv: Sequence[str] | None = None) -> int:
    """Run the app.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments without the program's name; None takes those of the process.

    Returns
    -------
    status : int
        The exit code, see ``n2a --help``.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    show_traceback = any(argument.startswith(("--debug", "-v", "--verbose")) for argument in arguments)
    # First of all, before the imports: a time limit may come while the dataset is still looked through.
    with interruptible() as interruption:
        return status_of("n2a", lambda: _run(arguments, interruption), show_traceback=show_traceback)


def _run(arguments: Sequence[str], interruption: Interruption) -> int:
    # Imported late: --help and mistakes on the command line answer at once.
    from n2a_bids.cli.app.settings import parse_config

    config = parse_config(arguments)
    if config.analysis_level == "group":
        from n2a_bids.system.environment import brief_environment

        # Before anything imports matplotlib, which needs a place for its cache.
        with brief_environment(config):
            from n2a_bids.app.group import run_group

            return run_group(config)
    if config.analysis_level == "train":
        from n2a_bids.app.training import run_training

        return run_training(config, interruption)
    from n2a_bids.app.participant import run_participants

    status = run_participants(config, interruption)
    # Some library may have taken the interruption for a failure of its own.
    interruption.check()
    return status


if __name__ == "__main__":
    sys.exit(main())
