"""Report figures of the regions of an atlas, as nodes."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import File, traits

from n2a_bids import viz
from n2a_bids.interfaces.reportlets.anat import FigureInterface
from n2a_bids.interfaces.reportlets.scene import load_display
from n2a_bids.interfaces.resumable import StepInputSpec
from n2a_bids.io.json import read_typed
from n2a_bids.record.regions import RegionsRecord


class _RegionOverlayInputSpec(StepInputSpec):
    in_file = File(exists=True, mandatory=True, desc="image under the regions, 3D")
    labels_file = File(exists=True, mandatory=True, desc="regions, same grid")
    mask_file = File(exists=True, mandatory=True, desc="brain mask, same grid")


class RegionOverlay(FigureInterface):
    """Regions of the atlas over the image."""

    input_spec = _RegionOverlayInputSpec

    def _draw(self) -> str:
        scene = load_display([self.inputs.in_file, self.inputs.labels_file], self.inputs.mask_file)
        return viz.region_flicker(*scene.volumes, scene.frame)


class _RegionChartInputSpec(StepInputSpec):
    record_file = File(exists=True, mandatory=True, desc="record of the regions")
    single = traits.Bool(False, usedefault=True, desc="one image, which is its own mean")


class RegionChart(FigureInterface):
    """Noise and expected error in each region; of a series, of its first shell that is no b0."""

    input_spec = _RegionChartInputSpec

    def _draw(self) -> str:
        regions = read_typed(RegionsRecord, Path(self.inputs.record_file)).regions
        weighted = [row.shell for row in regions if row.shell]
        shown = [row for row in regions if not weighted or row.shell == weighted[0]]
        return viz.region_chart(shown, single=self.inputs.single)
