"""The options of ``n2a`` that only diffusion series have."""

from __future__ import annotations

import argparse

from n2a_bids.option_values import b_value

_FLAG = argparse.BooleanOptionalAction


def add_diffusion_options(parser: argparse.ArgumentParser) -> None:
    """Add the group of these options.

    Parameters
    ----------
    parser : ArgumentParser
        Modified; as for all options, what is not given stays absent from its namespace.
    """
    group = parser.add_argument_group("diffusion series")
    group.add_argument(
        "--dwi-pairing", dest="selection.dwi_pairing",
        choices=("auto", "reverse-pe", "repeat", "split", "single"),
        help="what counts as a repetition of a diffusion series (default: auto, the best that the data "
        "allow)",
    )  # fmt: skip
    group.add_argument(
        "--dwi-corrected", dest="selection.dwi_corrected", action=_FLAG,
        help="distortion has been corrected already: none is estimated, and series of opposite phase "
        "encoding count as repeats",
    )  # fmt: skip
    group.add_argument(
        "--b0-threshold", dest="selection.b0_threshold", type=b_value, metavar="B",
        help="largest b-value, in s/mm2, of a volume that counts as b0; volumes without direction do, too "
        "(default: 50)",
    )  # fmt: skip
    group.add_argument(
        "--dwi-own-grid", dest="outputs.dwi_own_grid", action=_FLAG,
        help="also write each series of a pair or of repeats denoised on its own grid, with its distortion",
    )  # fmt: skip
