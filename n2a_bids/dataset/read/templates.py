"""Brain templates of TemplateFlow that are on disk."""

from __future__ import annotations

import os
from pathlib import Path

from n2a_bids.errors import ConfigError


def find_template(name: str, home: Path | None = None) -> tuple[Path, Path]:
    """T1w image and brain mask of a TemplateFlow template that is on disk; nothing is downloaded.

    Parameters
    ----------
    name : str
        Such as ``MNI152NLin2009cAsym``.
    home : Path, optional
        Root of the archive; ``$TEMPLATEFLOW_HOME`` or ``~/.cache/templateflow`` by default. The
        TemplateFlow client is not asked because its import writes into the home folder.

    Returns
    -------
    template, mask : Path

    Raises
    ------
    ConfigError
        If the template is not there.
    """
    default = os.environ.get("TEMPLATEFLOW_HOME") or Path.home() / ".cache" / "templateflow"
    folder = Path(home or default) / f"tpl-{name}"
    for resolution in ("_res-01", "_res-1", "", "_res-02", "_res-2"):
        template = folder / f"tpl-{name}{resolution}_T1w.nii.gz"
        mask = folder / f"tpl-{name}{resolution}_desc-brain_mask.nii.gz"
        # An archive that was only indexed has empty files.
        if all(path.is_file() and path.stat().st_size for path in (template, mask)):
            return template, mask
    raise ConfigError(
        f"--mask-template {name}: expected a T1w image and a desc-brain mask in {folder}, found none; give "
        "the name of a TemplateFlow template, fetch it with TemplateFlow on a machine with network and set "
        "TEMPLATEFLOW_HOME, or leave the name out to use the packaged template"
    )
