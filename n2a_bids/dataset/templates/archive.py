"""In which folder of TemplateFlow the files that were asked for are, and their download with its client."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from n2a_bids.dataset.templates.brain import default_home, find_template
from n2a_bids.dataset.templates.regions import find_atlas
from n2a_bids.errors import ConfigError
from n2a_bids.system.child import run_module


def provide_templates(mask_template: str | None, regions: str | None, own_home: Path) -> Path:
    """Find what is named on disk, or download it with TemplateFlow's client into a folder of ours.

    Parameters
    ----------
    mask_template : str or None
        Such as ``MNI152NLin2009cAsym``.
    regions : str or None
        As of `find_atlas`, or the name of a template for regions of the user's own.
    own_home : Path
        Archive to download into; nothing is written where all is there already, here or in
        ``$TEMPLATEFLOW_HOME``.

    Returns
    -------
    home : Path
        Root of the archive that has all of it.

    Raises
    ------
    ConfigError
        If there is no such template or segmentation, or it cannot be fetched.
    """
    wanted = [("--mask-template", mask_template)] if mask_template else []
    wanted += [("--regions" if ":" in regions else "--regions-template", regions)] if regions else []
    for home in (default_home(), own_home):
        with suppress(ConfigError):
            for option, name in wanted:
                _find(option, name, home)
            return home
    for option, name in wanted:
        with suppress(ConfigError):
            _find(option, name, own_home)
            continue
        _download(option, name, own_home)
        _find(option, name, own_home)
    return own_home


def _find(option: str, name: str, home: Path) -> None:
    """See that a template, or a segmentation of one, is on disk."""
    if option == "--regions":
        find_atlas(name, home=home)
    else:
        find_template(name, home, option)


def _download(option: str, name: str, own_home: Path) -> None:
    arguments = name.removeprefix("tpl-").split(":")
    variables = {"TEMPLATEFLOW_HOME": os.fspath(own_home), "TEMPLATEFLOW_AUTOUPDATE": "0"}
    try:
        run_module("n2a_bids.external.template_archive", arguments, variables=variables)
    except RuntimeError as error:
        raise ConfigError(
            f"{option} {name}: expected to download it (--templateflow-download), but "
            f"{str(error).splitlines()[-1]}; look at the name and the network, or fetch it elsewhere and set "
            "TEMPLATEFLOW_HOME"
        ) from error
