"""The page of one participant, from its figures and JSON files alone.

Figures are looked for in ``sub-<label>/figures/`` as ``<entities>_desc-<name>_<suffix>.svg``, where
``<entities>`` are those of the unit (``sub``, ``ses``, ``acq``, ...) plus ``run``, ``echo`` or ``dir`` where
there is one figure for each repetition, ``<suffix>`` is ``T1w`` or ``dwi``, and ``<name>`` is one of

==================  ===========================================  ====================
name                interface that draws it                      one for each
==================  ===========================================  ====================
``mask``            :class:`~..interfaces.reportlets.MaskContours`      unit
``alignment``       ``AlignmentFlicker``                         repetition (not the reference)
``distortion``      ``DistortionFlicker``                        unit (DWI)
``denoised``        ``DenoisingFlicker``                         unit or repetition
``detail``          ``DetailZoom``                               unit
``residual``        ``ResidualMap``                              unit
``noisesd``         ``NoiseMap``                                 unit
``loss``            ``LossCurve``                                unit
``risk``            ``RiskFigure``                               unit
``gradients``       ``GradientPlot``                             unit (DWI)
``tensor``          ``TensorMaps``                               unit (DWI)
``volumes``         ``VolumeQuality``                            unit (DWI)
==================  ===========================================  ====================

Numbers come from ``<entities>_desc-denoised_figures.json`` (``n2a-tools denoise``) and
``<entities>_desc-alignment_figures.json`` anywhere below ``sub-<label>/``.
"""

from __future__ import annotations

from pathlib import Path


def write_participant_report(output_dir: Path, participant: str, run_uuid: str) -> Path:
    """Write ``sub-<participant>.html`` into `output_dir` and return its path."""
    raise NotImplementedError
