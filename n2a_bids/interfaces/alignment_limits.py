"""Inputs of the nodes that judge alignment: the limits that aligned images must keep."""

from __future__ import annotations

import numpy as np
from nipype.interfaces.base import traits

from n2a_bids.algorithms.quality.alignment_checks import QCThresholds
from n2a_bids.interfaces.resumable import StepInputSpec


class AlignmentLimitsInputSpec(StepInputSpec):
    """The fields of `QCThresholds`; without them nothing is refused."""

    min_correlation = traits.Float(-1.0, usedefault=True, desc="see QCThresholds")
    min_structure_correlation = traits.Float(-1.0, usedefault=True, desc="see QCThresholds")
    max_rotation_deg = traits.Float(180.0, usedefault=True, desc="see QCThresholds")
    max_translation_mm = traits.Float(np.inf, usedefault=True, desc="see QCThresholds")
    min_overlap = traits.Float(0.0, usedefault=True, desc="see QCThresholds")

    def limits(self) -> QCThresholds:
        """What aligned images must keep."""
        return QCThresholds(**{name: getattr(self, name) for name in QCThresholds.__slots__})
