"""Node that finds diffusion series with the noise of others, and volumes that are stored twice."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from nipype.interfaces.base import File, TraitedSpec, traits

from n2a_bids.algorithms.noise.copies import find_repeated_volumes
from n2a_bids.algorithms.noise.shared_noise import SharedNoise, shared_series_noise
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.interfaces.anat.copies import copy_reasons, partial_warnings
from n2a_bids.interfaces.dwi.series import b0_threshold_trait, read_series_table
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.images import load


class _FindSeriesCopiesInputSpec(StepInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, desc="series with corresponding volumes")
    bval_files = traits.List(File(exists=True), mandatory=True, desc="b-values of each")
    bvec_files = traits.List(File(exists=True), mandatory=True, desc="directions of each")
    names = traits.List(traits.Str(), mandatory=True, desc="file name of each, for the message")
    b0_threshold = b0_threshold_trait()


class _FindSeriesCopiesOutputSpec(TraitedSpec):
    reasons = traits.List(traits.Str(), desc="for each series why it is no measurement of its own, or empty")
    warnings = traits.List(traits.Str(), desc="of noise that is shared in part, and of repeated volumes")


class FindSeriesCopies(ResumableInterface):
    """Find diffusion series that hold the noise of others, as their headers place them.

    The first series, on whose grid the others will be, is never named. Volumes that a series holds twice are
    a warning.
    """

    input_spec = _FindSeriesCopiesInputSpec
    output_spec = _FindSeriesCopiesOutputSpec

    def _run_interface(self, runtime):
        names = [Path(name) for name in self.inputs.names]
        files = [Path(path) for path in self.inputs.in_files]
        shared = {
            (one, other): self._compare(one, other) for one, other in combinations(range(len(files)), 2)
        }
        found = copy_reasons(files, shared, range(len(files)), names)
        kept = [index for index in range(len(files)) if index not in found]
        self._results["reasons"] = [found.get(index, "") for index in range(len(files))]
        self._results["warnings"] = [
            *partial_warnings(names, shared, kept),
            *(text for index in kept for text in _repeated_volumes(files[index], names[index])),
        ]
        return runtime

    def _compare(self, one: int, other: int) -> SharedNoise | None:
        (first, affine), (second, other_affine) = (load(Path(self.inputs.in_files[i])) for i in (one, other))
        tables = [
            read_series_table(self.inputs, index, own)
            for index, own in ((one, affine), (other, other_affine))
        ]
        bvecs = (tables[0].bvecs, tables[1].bvecs)
        to_second = Affine().between_voxels(affine, other_affine)
        return shared_series_noise((first, second), tables[0].bvals, bvecs, to_second)


def _repeated_volumes(path: Path, name: Path) -> list[str]:
    repeated = find_repeated_volumes(load(path)[0])
    if not repeated:
        return []
    listed = ", ".join(f"{late} of {early}" for late, early in repeated)
    return [
        f"{name.name} holds volumes twice (volume {listed}, from 0): their noise is counted as if it were "
        "independent; take the copies out of the series, with their b-values and directions"
    ]
