"""Table of all outputs (derivatives) of each kind of image: a new output is one row.

A row names the file, the input that brings it, the sidecar that describes it and when it is written. One
sink writes all rows, and takes each by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from n2a_bids.config import Config
from n2a_bids.dataset.names import derivative_path, shared_suffix_labels
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.strategy_table import find_strategy, takes_halves

Condition = Callable[[DenoisingUnit, Config], bool]


def always(unit: DenoisingUnit, config: Config) -> bool:
    """Condition of what is written for every group."""
    return True


def has_known_distortion(unit: DenoisingUnit, config: Config) -> bool:
    """Written where there is an image of opposite phase encoding, which tells the distortion."""
    return unit.distortion_is_estimated


def is_repeated(unit: DenoisingUnit, config: Config) -> bool:
    """Written where there is more than one image."""
    return len(unit.images) > 1


def stays_one_image(unit: DenoisingUnit, config: Config) -> bool:
    """Whether one image is denoised as it is: its own mean, whose noise is not that of one of several."""
    return len(unit.images) == 1 and not takes_halves(config.denoise.strategy)


def writes_each_echo(unit: DenoisingUnit, config: Config) -> bool:
    """Whether each repetition is an output: echoes differ in contrast, but a plain mean is one image."""
    return unit.has_echoes and config.denoise.strategy != "mean"


def tells_error(unit: DenoisingUnit, config: Config) -> bool:
    """Written where the strategy knows the error to expect in every voxel."""
    strategy = config.denoise.strategy
    # Nothing tells the noise of the mean of one image, nor how it differs between echoes.
    if unit.has_echoes or (unit.kind == "anat-single" and strategy == "mean"):
        return False
    return find_strategy(strategy, unit.datatype).tells_error


def is_made_of_several(unit: DenoisingUnit, config: Config) -> bool:
    """Written where the mean is not an image of the dataset: a series that lies where it lay is its own."""
    return not unit.lies_in_place


def writes_own_grids(unit: DenoisingUnit, config: Config) -> bool:
    """Written where it was asked for: one series alone is there anyway."""
    return config.outputs.dwi_own_grid and len(unit.images) > 1


def needs_own_grids(unit: DenoisingUnit, config: Config) -> bool:
    """Whether each series is brought to its own grid: as an output, or for a raw-like dataset of a pair."""
    pair_is_emitted = config.outputs.raw_like_dir is not None and unit.has_opposite_series
    return writes_own_grids(unit, config) or (pair_is_emitted and len(unit.images) > 1)


def writes_complex(unit: DenoisingUnit, config: Config) -> bool:
    """Whether the denoised image is written with its phase, too."""
    return config.outputs.complex_output and unit.uses_phase


def measures_regions(unit: DenoisingUnit, config: Config) -> bool:
    """Written where regions of an atlas were asked for, and noise is known place by place."""
    return config.outputs.regions is not None and unit.has_regional_noise


@dataclass(frozen=True, slots=True)
class Output:
    """One file of a group, or one for each of its repetitions."""

    field: str
    """Field of the input node that brings it."""
    suffix: str
    """Empty for that of the images."""
    desc: str | None
    extension: str = ".nii.gz"
    datatype: str = "anat"
    sidecar: str = ""
    """Output of the describing node with its sidecar; empty where it needs none."""
    is_described: bool = False
    """Whether the describing node completes the file itself, instead of the input node."""
    of_each_repetition: bool = False
    """One file for each repetition that was used, under the entities of that."""
    part: str = ""
    """``part-`` of its name: of complex images."""
    is_written: Condition = always

    @property
    def name(self) -> str:
        """Name of the input of the sink."""
        return f"{self.field}_{self.desc or self.suffix}_{self.extension.strip('.').replace('.', '_')}"

    def paths(self, unit: DenoisingUnit, config: Config) -> list[Path]:
        """Where its files go."""
        if self.of_each_repetition:
            return [self._path(unit.names_of(image), unit, config) for image in unit.images]
        return [self._path(unit.entities, unit, config)]

    def _path(self, entities: dict[str, str], unit: DenoisingUnit, config: Config) -> Path:
        suffix = self.suffix or unit.suffix
        labels = {key: value for key, value in entities.items() if key not in ("desc", "space")}
        labels |= shared_suffix_labels(suffix, unit.suffix)
        if self.part:
            labels["part"] = self.part
        if suffix == "xfm":
            labels |= {"from": "orig", "to": unit.suffix, "mode": "image"}
        return derivative_path(
            config.output_dir,
            labels,
            suffix,
            desc=self.desc,
            extension=self.extension,
            datatype=self.datatype,
        )


def _images(datatype: str, map_suffix: str = "") -> tuple[Output, ...]:
    """What is written for anatomy and diffusion alike; maps of several images have a suffix of their own."""
    return (
        Output("denoised", "", "denoised", datatype=datatype, sidecar="denoised"),
        Output("mean", "", "mean", datatype=datatype, sidecar="mean", is_written=is_made_of_several),
        Output("residual", "", "residual", datatype=datatype, sidecar="residual"),
        Output("noise_sd", "", "noisesd", datatype=datatype, sidecar="noise_sd"),
        Output(
            "uncertainty",
            map_suffix,
            "uncertainty",
            datatype=datatype,
            sidecar="uncertainty",
            is_written=tells_error,
        ),
        Output("mask", "mask", "brain", datatype=datatype, sidecar="mask"),
        Output("record_file", "figures", "denoised", ".json", datatype, is_described=True),
        Output("alignment", "figures", "alignment", ".json", datatype),
    )


ANAT_OUTPUTS: tuple[Output, ...] = (
    *_images("anat"),
    Output("transforms", "xfm", None, ".txt", of_each_repetition=True, is_written=is_repeated),
    Output(
        "repetitions",
        "",
        "denoised",
        sidecar="repetitions",
        of_each_repetition=True,
        is_written=writes_each_echo,
    ),
)
DWI_OUTPUTS: tuple[Output, ...] = (
    *_images("dwi", "dwimap"),
    *(
        Output(table, "dwi", desc, f".{table}", "dwi", is_written=is_written)
        for desc, is_written in (
            ("denoised", always),
            ("mean", is_made_of_several),
            ("residual", always),
            ("noisesd", always),
        )
        for table in ("bval", "bvec")
    ),
    Output(
        "displacement",
        "displacement",
        "susceptibility",
        datatype="dwi",
        sidecar="displacement",
        is_written=has_known_distortion,
    ),
    Output("distortion", "figures", "distortion", ".json", "dwi", is_written=has_known_distortion),
)


OWN_GRID_OUTPUTS: tuple[Output, ...] = tuple(
    Output(
        field,
        suffix,
        "owngrid",
        extension,
        "dwi",
        sidecar,
        of_each_repetition=True,
        is_written=writes_own_grids,
    )
    for field, suffix, extension, sidecar in (
        ("series", "dwi", ".nii.gz", "series_sidecar"),
        ("mask", "mask", ".nii.gz", "mask_sidecar"),
        ("bval", "dwi", ".bval", ""),
        ("bvec", "dwi", ".bvec", ""),
    )
)
"""Of diffusion series, by a workflow of its own."""


def complex_outputs(unit: DenoisingUnit) -> tuple[Output, ...]:
    """Rows of magnitude and phase of a complex image, which nodes of their own write."""
    return tuple(
        Output(
            name,
            unit.suffix,
            "denoised",
            datatype=unit.datatype,
            sidecar=f"{name}_sidecar",
            part=part,
            is_written=writes_complex,
        )
        for name, part in (("magnitude", "mag"), ("phase", "phase"))
    )


REGION_FIGURES = ("regions", "regionalnoise")
"""Labels of the figures of the regions."""


def outputs_of(unit: DenoisingUnit, config: Config) -> list[Output]:
    """Rows that are written for a group."""
    return [row for row in _table(unit) if row.is_written(unit, config)]


def region_outputs(unit: DenoisingUnit) -> tuple[Output, ...]:
    """Rows of the regions of an atlas, which a workflow of its own writes: if it fails, all else is there."""
    rows = (
        Output("labels", "dseg", "regions", datatype=unit.datatype, sidecar="labels_sidecar"),
        Output("names", "dseg", "regions", ".tsv", unit.datatype),
        Output("stats", "stats", "regions", ".tsv", unit.datatype, sidecar="stats_sidecar"),
        Output("regions", "figures", "regions", ".json", unit.datatype),
    )
    return tuple(replace(row, is_written=measures_regions) for row in rows)


def superseded_outputs(unit: DenoisingUnit, config: Config) -> list[Output]:
    """Rows that this run does not write, but one of the same group with other options may have.

    The error to expect of an image of `auto`, or its echoes, would otherwise stand beside the plain mean that
    replaced it.
    """
    own_grids = OWN_GRID_OUTPUTS if unit.datatype == "dwi" else ()
    rows = (*_table(unit), *region_outputs(unit), *own_grids, *complex_outputs(unit))
    return [row for row in rows if not row.is_written(unit, config) and _is_of_this_group(row, unit, config)]


def _is_of_this_group(row: Output, unit: DenoisingUnit, config: Config) -> bool:
    """Whether files of a row are of this group for sure: a run may have been denoised alone, by its name."""
    if row.part:
        # Magnitudes that were denoised as such bear part- in their names.
        (record,) = Output("record_file", "figures", "denoised", ".json", unit.datatype, part=row.part).paths(
            unit, config
        )
        return not record.exists()
    if not row.of_each_repetition:
        return True
    return len(unit.images) > 1 and (row in OWN_GRID_OUTPUTS or unit.has_echoes)


def _table(unit: DenoisingUnit) -> tuple[Output, ...]:
    return ANAT_OUTPUTS if unit.datatype == "anat" else DWI_OUTPUTS


def input_fields(rows: Sequence[Output]) -> list[str]:
    """Fields of an input node that bring the files of these rows."""
    return list(dict.fromkeys(row.field for row in rows if not row.is_described))
