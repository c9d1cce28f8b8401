"""``n2a-tools describe``: the command line and the settings file of ``n2a``, for other programs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from n2a_bids.cli.app.descriptor import boutiques_descriptor
from n2a_bids.config.options import Option
from n2a_bids.config.schema import settings_schema
from n2a_bids.io.files import write_whole


@dataclass(frozen=True, slots=True)
class DescribeConfig:
    """What is described, and where that goes."""

    what: Annotated[
        Literal["boutiques", "settings"],
        Option(
            "'boutiques': a descriptor of the command line, for Boutiques, CBRAIN and Nipoppy; 'settings': "
            "the JSON Schema of the file that --config-file takes, for editors",
            positional=True,
        ),
    ]  # fmt: skip
    image: Annotated[str, Option("container image that the descriptor names", metavar="NAME:TAG")] = "n2a"
    out: Annotated[Path | None, Option("file to write", metavar="FILE", default="standard output")] = None


def run_describe(config: DescribeConfig) -> None:
    """Write a description as JSON.

    Parameters
    ----------
    config : DescribeConfig
        What, and where to.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    described = boutiques_descriptor(config.image) if config.what == "boutiques" else settings_schema()
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    if config.out is None:
        sys.stdout.write(text)
    else:
        write_whole(config.out, text)
