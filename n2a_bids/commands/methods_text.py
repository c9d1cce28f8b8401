"""The methods text of a run in ``logs``: a failure to write it is told, but spoils no result."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from n2a_bids.commands.work import explain
from n2a_bids.config import Config


def write_methods_text(config: Config, labels: Sequence[str]) -> None:
    """Tell in ``logs/CITATION.*`` what was done to the given participants.

    Parameters
    ----------
    config : Config
        The run.
    labels : sequence of str
        Participants without ``sub-``.
    """
    # Imported late: listing a dataset needs no reports.
    from n2a_bids.reports.boilerplate import write_citation

    try:
        files = write_citation(config.output_dir, labels)
    except Exception as error:
        explain(config)
        sys.stderr.write(
            f"n2a: warning: the methods text could not be written: {type(error).__name__}: {error}\n"
        )
        return
    if config.outputs.md_only_boilerplate:
        for path in files:
            if path.suffix != ".md":
                path.unlink(missing_ok=True)
