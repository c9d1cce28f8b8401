"""Draws the figures of the report: arrays in, SVG text out.

Volumes are (X, Y, Z) arrays in RAS order, cropped to the brain (see :class:`~n2a_bids.viz.view.Frame`).
Images stay pixel-exact PNGs inside the SVG, so that what is seen is what was measured.
"""

from n2a_bids.viz.charts import loss_curve, risk_bars
from n2a_bids.viz.dwi import (
    MotionCurve,
    distortion_flicker,
    gradient_plot,
    motion_curves,
    tensor_maps,
    volume_quality,
)
from n2a_bids.viz.maps import noise_map, residual_map
from n2a_bids.viz.mosaics import (
    alignment_flicker,
    denoising_flicker,
    detail_zoom,
    mask_contours,
)
from n2a_bids.viz.regions import region_chart, region_flicker
from n2a_bids.viz.view import Frame, crop_to_mask, grey_window

__all__ = [
    "Frame",
    "MotionCurve",
    "alignment_flicker",
    "crop_to_mask",
    "denoising_flicker",
    "detail_zoom",
    "distortion_flicker",
    "gradient_plot",
    "grey_window",
    "loss_curve",
    "mask_contours",
    "motion_curves",
    "noise_map",
    "region_chart",
    "region_flicker",
    "residual_map",
    "risk_bars",
    "tensor_maps",
    "volume_quality",
]
