"""Nodes that bring an atlas to an image, and measure noise and gain in its regions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    File,
    InputMultiObject,
    TraitedSpec,
    isdefined,
    traits,
)
from numpy.typing import NDArray

from n2a_bids.algorithms.quality.mask_checks import dice
from n2a_bids.algorithms.quality.regions import (
    RegionMaps,
    Regions,
    measure_regions,
    noise_of_repetitions,
    variance_of_mean,
)
from n2a_bids.dataset.templates.regions import find_atlas, read_region_names
from n2a_bids.errors import BIDSDataError
from n2a_bids.external.t1w_brain import write_brain_mask
from n2a_bids.interfaces.dwi.series import b0_threshold_trait, read_shells
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.files import write_whole
from n2a_bids.io.images import load, load_mask, mask_in_world, same_grid, save_like
from n2a_bids.io.json import read_typed, write_record
from n2a_bids.io.tables import as_tsv, cell
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.regions import EXPLAINED, RegionRecord, RegionsRecord
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.system.child import run_ants

_LEAST_OVERLAP = 0.9  # see `PlaceRegions`
_LARGEST_NUMBER = 2**24
"""Of a region: ANTs holds them in single precision."""


class _FindRegionsInputSpec(StepInputSpec):
    regions = traits.Str(mandatory=True, desc="segmentation of TemplateFlow, or path of one")
    template = traits.Str(desc="with a path: the T1w image that it lies on")
    superseded = traits.List(
        traits.Str(), [], usedefault=True, desc="what an earlier run wrote of an atlas, deleted if there"
    )


class _FindRegionsOutputSpec(TraitedSpec):
    labels_file = File(exists=True, desc="number of the region of every voxel")
    template_file = File(exists=True, desc="T1w image that they lie on")
    brain_file = File(exists=True, desc="brain mask of that, where there is one")
    names = traits.Dict(traits.Int(), traits.Str(), desc="of all regions, by their number")


class FindRegions(ResumableInterface):
    """Files of an atlas, looked for anew in every run: what follows sees whether they changed.

    What an earlier run wrote goes first: where this one fails, regions of another image or atlas do not stay.
    """

    input_spec = _FindRegionsInputSpec
    output_spec = _FindRegionsOutputSpec
    _always_run = True

    def _run_interface(self, runtime):
        for path in self.inputs.superseded:
            Path(path).unlink(missing_ok=True)
        template = self.inputs.template if isdefined(self.inputs.template) else None
        found = find_atlas(self.inputs.regions, template)
        numbers = _region_numbers(found.labels)
        known = {} if found.names is None else read_region_names(found.names)
        names = {number: known.get(number) or str(number) for number in numbers}
        self._results.update(
            labels_file=os.fspath(found.labels), template_file=os.fspath(found.template), names=names
        )
        if found.brain is not None:
            self._results["brain_file"] = os.fspath(found.brain)
        return runtime


def _region_numbers(labels: Path) -> list[int]:
    """Numbers of the regions in an image, without that of the background."""
    data, _ = load(labels)
    numbers = np.unique(data)
    numbers = numbers[numbers != 0]
    is_whole = np.isfinite(numbers).all() and np.array_equal(numbers, np.rint(numbers))
    if data.ndim != 3 or not is_whole or not numbers.size or abs(numbers).max() >= _LARGEST_NUMBER:
        found = f"the shape {data.shape} and {numbers.size} other values, such as {numbers[:3].tolist()}"
        raise BIDSDataError(
            f"{labels}: expected a three-dimensional image of regions, whole numbers with 0 for none, found "
            f"{found}; give a segmentation (dseg), not probabilities"
        )
    return [int(number) for number in numbers]


class _PlaceRegionsInputSpec(StepInputSpec):
    in_file = File(exists=True, mandatory=True, desc="mean image, or mean b0")
    mask_file = File(exists=True, mandatory=True, desc="brain mask, same grid")
    labels_file = File(exists=True, mandatory=True, desc="regions, in the world of the template")
    template_file = File(exists=True, mandatory=True, desc="T1w image of the template")
    brain_file = File(exists=True, desc="brain mask of the template; found by deepbet where it is not given")
    random_seed = traits.Int(1, usedefault=True, desc="seed of ANTs")


class _PlaceRegionsOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="regions on the grid of the image, int32")
    overlap = traits.Float(desc="Dice coefficient of the brain mask and the brain of the template")


class PlaceRegions(ResumableInterface):
    """Bring the regions of a template to an image: rigid, affine, deformable, by mutual information.

    Brain of ICBM 152 and mask overlap by Dice coefficients of 0.978 to 0.981 on two real T1w heads and a b0;
    white matter of the heads by 0.92 and 0.94. Without deformation it is 0.97 and 0.88 on one of them.
    """

    input_spec = _PlaceRegionsInputSpec
    output_spec = _PlaceRegionsOutputSpec

    def _run_interface(self, runtime):
        folder, inputs = Path(runtime.cwd), self.inputs
        out_file, placed_brain = folder / "regions.nii.gz", folder / "template_brain.nii.gz"
        files = {
            "image": inputs.in_file,
            "mask": inputs.mask_file,
            "template": inputs.template_file,
            "template_brain": os.fspath(self._template_brain(folder)),
            "labels": inputs.labels_file,
            "out_file": os.fspath(out_file),
            "out_brain": os.fspath(placed_brain),
        }
        run_ants("template_labels", files, folder, random_seed=inputs.random_seed)
        found, brain = (load_mask(path, out_file) for path in (placed_brain, Path(inputs.mask_file)))
        self._results.update(out_file=os.fspath(out_file), overlap=dice(found, brain))
        return runtime

    def _template_brain(self, folder: Path) -> Path:
        """Brain mask on the grid of the template."""
        template, target = Path(self.inputs.template_file), folder / "brain_of_template.nii.gz"
        if not isdefined(self.inputs.brain_file):
            return write_brain_mask(template, target)
        brain = Path(self.inputs.brain_file)
        if same_grid(brain, template):
            return brain
        return save_like(mask_in_world(brain, template), template, target, np.uint8)


class _RegionalNoiseInputSpec(StepInputSpec):
    labels_file = File(exists=True, mandatory=True, desc="regions on the grid of the result")
    names = traits.Dict(traits.Int(), traits.Str(), mandatory=True, desc="of all regions, by number")
    mask_file = File(exists=True, mandatory=True, desc="brain mask, same grid")
    denoised_file = File(exists=True, mandatory=True, desc="denoised image or series")
    noise_sd_file = File(exists=True, mandatory=True, desc="noise SD of one repetition")
    uncertainty_file = File(exists=True, desc="expected error; of a series one map for each shell")
    repetition_files = InputMultiObject(
        File(exists=True), desc="aligned repetitions of an anatomical image, from which noise is known best"
    )
    measured_file = File(exists=True, desc="how many repetitions were measured where, if not all")
    record_file = File(exists=True, mandatory=True, desc="record of the denoising")
    bval_file = File(exists=True, desc="b-values of a series, FSL format")
    bvec_file = File(exists=True, desc="directions of a series, FSL format")
    b0_threshold = b0_threshold_trait()
    overlap = traits.Float(mandatory=True, desc="as `PlaceRegions` tells it")
    atlas = traits.Str(mandatory=True, desc="what was asked for")
    template_file = File(exists=True, mandatory=True, desc="T1w image of the template, for its name")
    image_uri = traits.Str(mandatory=True, desc="BIDS URI of the denoised image")


class _RegionalNoiseOutputSpec(TraitedSpec):
    stats_file = File(exists=True, desc="TSV: a row for each region, and shell")
    names_file = File(exists=True, desc="TSV: look-up table of the regions")
    record_file = File(exists=True, desc="the same as JSON")
    stats_sidecar = traits.Dict(desc="what the columns are")
    labels_sidecar = traits.Dict(desc="sidecar of the regions")


class RegionalNoise(ResumableInterface):
    """Signal, noise, expected error and gain in every region of an atlas."""

    input_spec = _RegionalNoiseInputSpec
    output_spec = _RegionalNoiseOutputSpec

    def _run_interface(self, runtime):
        folder, inputs = Path(runtime.cwd), self.inputs
        rows = tuple(self._rows())
        record = RegionsRecord(
            atlas=inputs.atlas,
            template=Path(inputs.template_file).name,
            overlap=round(inputs.overlap, 4),
            regions=rows,
            warnings=_warnings(inputs.overlap, rows),
        )
        columns = [name for name in EXPLAINED if name != "shell" or isdefined(inputs.bval_file)]
        lines = [{name: cell(getattr(row, name)) for name in columns} for row in rows]
        names = [{"index": str(number), "name": name} for number, name in inputs.names.items()]
        self._results.update(
            stats_file=os.fspath(write_whole(folder / "stats.tsv", as_tsv(lines))),
            names_file=os.fspath(write_whole(folder / "names.tsv", as_tsv(names))),
            record_file=write_record(record, folder / "regions.json"),
            **_sidecars(record, inputs.image_uri, columns),
        )
        return runtime

    def _rows(self) -> Iterator[RegionRecord]:
        """Region by region; of a series, shell by shell."""
        inputs = self.inputs
        record = read_typed(DenoisingRecord, Path(inputs.record_file))
        labels = load(Path(inputs.labels_file))[0].astype(np.int32)
        mask = load_mask(Path(inputs.mask_file), Path(inputs.labels_file))
        counts: NDArray | int = record.n_repetitions or 1
        if isdefined(inputs.measured_file):
            counts = load(Path(inputs.measured_file))[0].astype(np.uint8)
        regions = Regions(labels, mask & (counts > 0), inputs.names)
        gain = record.gain_of_weighting_db if record.chosen.mean_won else None
        noise = self._noise_of_repetitions(regions, mask, counts)
        for maps in self._maps(record, mask, counts):
            yield from measure_regions(regions, maps, noise_variance=noise, gain_of_mean_db=gain)

    def _noise_of_repetitions(
        self, regions: Regions, mask: NDArray[np.bool_], counts: NDArray | int
    ) -> NDArray[np.float64] | None:
        """None of a series, whose volumes would all have to be held, and of one image alone.

        Where fewer repetitions were measured, the others stand in for them, and differ too little.
        """
        files = list(self.inputs.repetition_files) if isdefined(self.inputs.repetition_files) else []
        if len(files) < 2:
            return None
        of_all = mask if isinstance(counts, int) else mask & (counts == len(files))
        images = np.stack([load(Path(path))[0] for path in files])
        return noise_of_repetitions(regions, images, mask, of_all)

    def _maps(
        self, record: DenoisingRecord, mask: NDArray[np.bool_], counts: NDArray | int
    ) -> Iterator[RegionMaps]:
        inputs = self.inputs
        noise = load(Path(inputs.noise_sd_file))[0] ** 2
        of_mean = variance_of_mean(noise, counts, mask, record.noise_sd_mean)
        signal = load(Path(inputs.denoised_file))[0]
        error = load(Path(inputs.uncertainty_file))[0] ** 2 if isdefined(inputs.uncertainty_file) else None
        if not isdefined(inputs.bval_file):
            yield RegionMaps(signal, noise, of_mean, error)
            return
        shells = read_shells(inputs)
        for index, shell in enumerate(np.unique(shells)):
            volumes = np.flatnonzero(shells == shell)
            averaged = [one[..., volumes].mean(axis=-1) for one in (signal, noise, of_mean)]
            of_shell = error if error is None or error.ndim == 3 else error[..., index]
            yield RegionMaps(*averaged, of_shell, float(shell))


def _warnings(overlap: float, rows: tuple[RegionRecord, ...]) -> tuple[str, ...]:
    warnings = []
    if overlap < _LEAST_OVERLAP:
        warnings.append(
            "the regions of the atlas may lie wrong: its template fits the brain mask by a Dice coefficient "
            f"of {overlap:.2f} only (0.95 is usual); look at the figure of the regions, and at the mask"
        )
    if not any(row.n_voxels for row in rows):
        warnings.append("no region of the atlas lies in the brain mask: nothing could be measured in them")
    return tuple(warnings)


def _sidecars(record: RegionsRecord, image_uri: str, columns: list[str]) -> dict[str, JsonObject]:
    """What stands beside the table, and beside the regions as an image."""
    shared = {
        "Sources": [image_uri],
        "Atlas": record.atlas,
        "Template": record.template,
        "TemplateOverlap": record.overlap,
    }
    way = "brought here by registration of its template (rigid, affine, deformable) with ANTs"
    stats: JsonObject = {
        "Description": f"Signal, noise and expected error in the regions of an atlas, {way}",
        **shared,
        **{name: {"Description": EXPLAINED[name]} for name in columns},
    }
    labels: JsonObject = {
        "Description": f"Regions of an atlas, {way}; one interpolation (nearest voxel)",
        "SpatialReference": image_uri,
        "Manual": False,
        **shared,
    }
    if record.warnings:
        stats["Warnings"] = list(record.warnings)
    return {"stats_sidecar": stats, "labels_sidecar": labels}
