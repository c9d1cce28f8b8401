"""The options of ``n2a`` that say which images are looked at."""

from __future__ import annotations

import argparse

from n2a_bids.cli.arguments import (
    Collect,
    CollectPairs,
    absolute_path,
    entity_filter,
    filter_file,
    named_path,
    participant_label,
    session_label,
)
from n2a_bids.option_values import natural_int

_FLAG = argparse.BooleanOptionalAction


def add_selection_options(parser: argparse.ArgumentParser) -> None:
    """Add the group of these options.

    Parameters
    ----------
    parser : ArgumentParser
        Modified; as for all options, what is not given stays absent from its namespace.
    """
    group = parser.add_argument_group("which images")
    group.add_argument(
        "--participant-label", "--participant_label", dest="selection.participants",
        type=participant_label, nargs="+", action=Collect, metavar="LABEL",
        help="only these participants, with or without 'sub-'",
    )  # fmt: skip
    group.add_argument(
        "--exclude-participant-label", dest="selection.exclude_participants",
        type=participant_label, nargs="+", action=Collect, metavar="LABEL", help="not these participants",
    )  # fmt: skip
    group.add_argument(
        "--session-label", "--session-id", dest="selection.sessions",
        type=session_label, nargs="+", action=Collect, metavar="LABEL",
        help="only these sessions, with or without 'ses-'",
    )  # fmt: skip
    group.add_argument(
        "--run-id", dest="selection.runs", type=natural_int, nargs="+", action=Collect, metavar="N",
        help="only images with one of these run indices",
    )  # fmt: skip
    group.add_argument(
        "--modalities", "-m", dest="selection.modalities", choices=("T1w", "dwi"), nargs="+", action=Collect,
        help="only these kinds of image (default: both)",
    )  # fmt: skip
    group.add_argument(
        "--bids-filter-file", dest="selection.bids_filters", type=filter_file, metavar="FILE",
        help="JSON with entities for the queries 't1w' and 'dwi'; null means absent, '*' means any",
    )  # fmt: skip
    for query in ("t1w", "dwi"):
        group.add_argument(
            f"--filter-{query}", *(["--filter-T1w"] if query == "t1w" else []), dest=f"filter_{query}",
            type=entity_filter, nargs="+", action=CollectPairs, metavar="ENTITY=VALUE",
            help=f"the same for the query '{query}', laid over the file: acquisition=hires, run=1,2, "
            "reconstruction:none, acquisition:required, or run:any to undo a filter",
        )  # fmt: skip
    group.add_argument(
        "--bids-database-dir", dest="selection.database_dir", type=absolute_path, metavar="DIR",
        help="keep the index of the dataset here, and take it from here next time",
    )  # fmt: skip
    group.add_argument(
        "--bids-database-wipe", dest="selection.wipe_database", action=_FLAG, help="make that index anew"
    )
    group.add_argument(
        "--skip-bids-validation", "--skip_bids_validation", dest="selection.skip_validation", action=_FLAG,
        help="do not check the images before the run (only those that are used are ever checked)",
    )  # fmt: skip
    group.add_argument(
        "-d", "--derivatives", dest="derivatives", type=named_path, nargs="+", action=CollectPairs,
        metavar="NAME=PATH", help="derivative datasets; a brain mask found there is used instead of ours",
    )  # fmt: skip
