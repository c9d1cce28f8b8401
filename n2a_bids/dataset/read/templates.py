"""Brain templates of TemplateFlow that are on disk."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from n2a_bids.errors import ConfigError
from n2a_bids.system.child import run_module


def find_template(name: str, home: Path | None = None) -> tuple[Path, Path]:
    """T1w image and brain mask of a TemplateFlow template that is on disk; nothing is downloaded.

    Parameters
    ----------
    name : str
        Such as ``MNI152NLin2009cAsym``.
    home : Path, optional
        Root of the archive; ``$TEMPLATEFLOW_HOME`` or ``~/.cache/templateflow`` by default. The
        TemplateFlow client is not asked because its import writes 2,540 files into that folder.

    Returns
    -------
    template, mask : Path

    Raises
    ------
    ConfigError
        If the template is not there.
    """
    folder = Path(home or _default_home()) / f"tpl-{name}"
    for resolution in ("_res-01", "_res-1", "", "_res-02", "_res-2"):
        template = folder / f"tpl-{name}{resolution}_T1w.nii.gz"
        mask = folder / f"tpl-{name}{resolution}_desc-brain_mask.nii.gz"
        # An archive that was only indexed has empty files.
        if all(path.is_file() and path.stat().st_size for path in (template, mask)):
            return template, mask
    raise ConfigError(
        f"--mask-template {name}: expected a T1w image and a desc-brain mask in {folder}, found none; fetch "
        f"tpl-{name}_res-01_T1w.nii.gz and tpl-{name}_res-01_desc-brain_mask.nii.gz with "
        "--templateflow-download, or on a machine with network by TemplateFlow (and set TEMPLATEFLOW_HOME), "
        "or leave the name out to use the packaged template"
    )


def _default_home() -> Path:
    return Path(os.environ.get("TEMPLATEFLOW_HOME") or Path.home() / ".cache" / "templateflow")


def provide_template(name: str, own_home: Path) -> Path:
    """Find a template on disk, or download it with TemplateFlow's client into a folder of ours.

    Parameters
    ----------
    name : str
        Such as ``MNI152NLin2009cAsym``.
    own_home : Path
        Archive to download into; nothing is written where the template is there already, here or in
        ``$TEMPLATEFLOW_HOME``.

    Returns
    -------
    home : Path
        Root of the archive that has it.

    Raises
    ------
    ConfigError
        If there is no such template, or it cannot be fetched.
    """
    for home in (_default_home(), own_home):
        with suppress(ConfigError):
            find_template(name, home)
            return home
    variables = {"TEMPLATEFLOW_HOME": os.fspath(own_home), "TEMPLATEFLOW_AUTOUPDATE": "0"}
    try:
        run_module("n2a_bids.external.template_archive", [name], variables=variables)
    except RuntimeError as error:
        raise ConfigError(
            f"--mask-template {name}: expected to download it (--templateflow-download), but "
            f"{str(error).splitlines()[-1]}; look at the name and the network, or fetch it elsewhere and set "
            "TEMPLATEFLOW_HOME"
        ) from error
    find_template(name, own_home)
    return own_home
