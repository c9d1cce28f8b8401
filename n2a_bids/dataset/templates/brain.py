"""Where the folder of TemplateFlow is, and the brain templates and masks in it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from n2a_bids.errors import ConfigError
from n2a_bids.external.template_archive import RESOLUTIONS


def find_template(name: str, home: Path | None = None, option: str = "--mask-template") -> tuple[Path, Path]:
    """T1w image and brain mask of a TemplateFlow template that is on disk; nothing is downloaded.

    Parameters
    ----------
    name : str
        Such as ``MNI152NLin2009cAsym``, or ``tpl-MNI152NLin2009cAsym``.
    home : Path, optional
        Root of the archive; ``$TEMPLATEFLOW_HOME`` or ``~/.cache/templateflow`` by default. The
        TemplateFlow client is not asked because its import writes 2,540 files into that folder.
    option : str
        What asks for it, for the message.

    Returns
    -------
    template, mask : Path

    Raises
    ------
    ConfigError
        If the template is not there.
    """
    name = name.removeprefix("tpl-")
    folder = Path(home or default_home()) / f"tpl-{name}"
    spellings = [(f"_res-{one:02d}", f"_res-{one}") if one else ("",) for one in RESOLUTIONS]
    for resolution in itertools.chain(*spellings):
        template = folder / f"tpl-{name}{resolution}_T1w.nii.gz"
        mask = folder / f"tpl-{name}{resolution}_desc-brain_mask.nii.gz"
        if is_there(template) and is_there(mask):
            return template, mask
    raise ConfigError(
        f"{option} {name}: expected a T1w image and a desc-brain mask in {folder}, found none; fetch "
        f"tpl-{name}_res-01_T1w.nii.gz and tpl-{name}_res-01_desc-brain_mask.nii.gz with "
        "--templateflow-download, or on a machine with network by TemplateFlow (and set TEMPLATEFLOW_HOME), "
        "or leave the name out"
    )


def is_there(path: Path) -> bool:
    """An archive that was only indexed has empty files."""
    return path.is_file() and path.stat().st_size > 0


def default_home() -> Path:
    """Root of the archive of the user."""
    return Path(os.environ.get("TEMPLATEFLOW_HOME") or Path.home() / ".cache" / "templateflow")
