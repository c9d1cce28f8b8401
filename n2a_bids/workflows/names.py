"""The name of a unit's workflow, in letters that nipype accepts."""

from __future__ import annotations

import re

from n2a_bids.dataset.units import DenoisingUnit


def workflow_name(unit: DenoisingUnit) -> str:
    """Name of a unit in letters, digits and underscores, as nipype wants it.

    Examples
    --------
    >>> workflow_name(DenoisingUnit("anat-repeats", (), {"sub": "01", "acq": "hires"}))
    'sub_01_acq_hires_T1w_anat_repeats'
    """
    return re.sub(r"\W", "_", f"{unit.label}_{unit.kind}")
