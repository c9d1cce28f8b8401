"""Motion between series, and the one interpolation that undoes all motion together with the distortion."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion import in_view
from n2a_bids.algorithms.dwi_motion import motion_size, register_rigid
from n2a_bids.algorithms.gradients import rotate_bvecs
from n2a_bids.algorithms.interpolated_noise import noise_kept
from n2a_bids.algorithms.realizations import Gradients
from n2a_bids.algorithms.similarity import smooth_correlation
from n2a_bids.gradient_files import write_gradients
from n2a_bids.images import load, save_like, voxel_sizes_mm
from n2a_bids.interfaces.b0_threshold import b0_threshold_trait
from n2a_bids.interfaces.distortion import phase_encoding_axis
from n2a_bids.interfaces.dwi_mask import (
    find_brain,
    mean_b0,
    read_series_table,
)
from n2a_bids.interfaces.dwi_motion import resample_series, stays

_LEAST_IN_VIEW = 0.95
"""Part of the brain that a volume must show not to be named."""
_CLEARLY_LESS = 0.03
"""Of the brain, than most volumes of the series show."""
_MOST_NAMED = 3


class AcquiredSeriesInputSpec(BaseInterfaceInputSpec):
    """Series as acquired, and the motion and distortion that were found in them."""

    in_files = traits.List(File(exists=True), mandatory=True, desc="series as acquired, of equal length")
    bval_files = traits.List(File(exists=True), mandatory=True, desc="b-values of each")
    bvec_files = traits.List(File(exists=True), mandatory=True, desc="directions of each")
    motion_files = traits.List(File(exists=True), mandatory=True, desc="voxel maps of the volumes of each")
    mask_file = File(exists=True, mandatory=True, desc="brain mask on the first series")
    displacement_file = File(exists=True, desc="distortion of the first series; its partner has the opposite")
    b0_threshold = b0_threshold_trait()
    phase_encoding = traits.Str(desc="PhaseEncodingDirection of the first series")
    readout_ratio = traits.Float(
        1.0, usedefault=True, desc="displacement of the partner over that of the first"
    )


class _AlignSeriesInputSpec(AcquiredSeriesInputSpec):
    b0_files = traits.List(File(exists=True), mandatory=True, desc="mean b0 of each, as acquired")
    keep_mask = traits.Bool(
        False, usedefault=True, desc="the mask has the shape of the corrected brain: take it as it is"
    )
    names = traits.List(traits.Str(), mandatory=True, desc="file name of each series, for the record")
    between_file = File(exists=True, desc="JSON: voxel map from the first series to its partner")
    volumes = traits.List(traits.List(traits.Int()), desc="which volumes of each file these are; empty: all")


class _AlignSeriesOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="the series on the grid of the first, corrected")
    bval_file = File(exists=True, desc="b-values of the aligned series")
    bvec_file = File(exists=True, desc="directions of the aligned series, turned with the head")
    b0_files = traits.List(File(exists=True), desc="mean b0 of each aligned series")
    mask_file = File(exists=True, desc="brain mask without the folds of the distortion")
    figures_file = File(exists=True, desc="JSON of the alignment")
    between_file = File(exists=True, desc="JSON: voxel map from the first series to each")
    noise_kept = traits.Float(desc="part of the noise SD that the interpolation left")


class AlignSeries(SimpleInterface):
    """Bring every volume of every series onto one grid, in one interpolation."""

    input_spec = _AlignSeriesInputSpec
    output_spec = _AlignSeriesOutputSpec

    def _run_interface(self, runtime):
        folder, inputs = Path(runtime.cwd), self.inputs
        b0s = [load(Path(path))[0] for path in inputs.b0_files]
        affine = load(Path(inputs.b0_files[0]))[1]
        size = voxel_sizes_mm(affine)
        mask = load(Path(inputs.mask_file))[0] > 0.5
        displacements = series_displacements(inputs, mask.shape)
        out_files, out_b0s, tables, rows, betweens, kept = [], [], [], [], [], []
        shown = np.ones(mask.shape, bool)
        for number, path in enumerate(inputs.in_files):
            between = self._between(number, b0s, mask, size)
            own = json.loads(Path(inputs.motion_files[number]).read_text())
            maps = [np.array(motion) @ between for motion in own]
            (data, own_affine), moved = load(Path(path)), displacements[number]
            axis = phase_encoding_axis(inputs.phase_encoding)[0] if moved.any() else 1
            aligned = resample_series(data, maps, moved, axis, mask)
            kept.append(_noise_kept(data.shape[:3], maps, moved, axis, mask))
            view, shares = _find_view(data.shape[:3], maps, moved, axis, mask)
            shown &= view
            table = read_series_table(inputs, number, own_affine)
            tables.append(turned(table, maps, affine))
            betweens.append(between.tolist())
            out_b0s.append(mean_b0(aligned, table))
            target = folder / f"aligned_{number + 1}.nii.gz"
            # All lie on the grid of the first now, whatever affine theirs had.
            out_files.append(os.fspath(save_like(aligned, Path(inputs.in_files[0]), target)))
            row = _row(inputs.names[number], number, between, mask, size, (b0s, out_b0s))
            numbers = self._numbers_in_file(number, len(own))
            motion = _volume_motion(own, mask, size)
            rows.append(row | {"volumes": {"number": numbers, **motion, "brain_in_view": shares}})
        self._write(folder, mask, shown, out_b0s, tables, rows)
        between_file = folder / "between.json"
        between_file.write_text(json.dumps(betweens))
        self._results.update(
            out_files=out_files,
            between_file=os.fspath(between_file),
            noise_kept=float(np.sqrt(np.mean(np.square(kept)))),
        )
        return runtime

    def _write(
        self,
        folder: Path,
        mask: NDArray[np.bool_],
        shown: NDArray[np.bool_],
        b0s: list[NDArray[np.float32]],
        tables: list[Gradients],
        rows: list[dict[str, object]],
    ) -> None:
        """Everything but the series."""
        model = Path(self.inputs.b0_files[0])
        if isdefined(self.inputs.displacement_file) and not self.inputs.keep_mask:
            # The mask that came in has the shape of the distorted brain.
            mask = find_brain(np.mean(b0s, axis=0))
        covered = shown & np.all([b0 > 0 for b0 in b0s], axis=0)
        mask_file = save_like(mask & covered, model, folder / "mask.nii.gz", np.uint8)
        bval, bvec = write_gradients(_mean_table(tables), load(model)[1], folder / "aligned")
        figures_file = folder / "alignment.json"
        figures_file.write_text(json.dumps(_record(rows), indent=2))
        self._results.update(
            b0_files=[
                os.fspath(save_like(b0, model, folder / f"b0_{number}.nii.gz"))
                for number, b0 in enumerate(b0s, start=1)
            ],
            mask_file=os.fspath(mask_file),
            bval_file=os.fspath(bval),
            bvec_file=os.fspath(bvec),
            figures_file=os.fspath(figures_file),
        )

    def _numbers_in_file(self, number: int, count: int) -> list[int]:
        """Where the volumes of a series stand in its file."""
        picked = self.inputs.volumes[number] if isdefined(self.inputs.volumes) else []
        return list(picked) or list(range(count))

    def _between(
        self, number: int, b0s: list[NDArray], mask: NDArray[np.bool_], size: tuple[float, float, float]
    ) -> NDArray[np.float64]:
        """Voxel map from the first series to this one."""
        if number == 0:
            return np.eye(4)
        if isdefined(self.inputs.between_file):
            return np.array(json.loads(Path(self.inputs.between_file).read_text()))
        return register_rigid(b0s[0], b0s[number], mask, size)


def series_displacements(inputs: TraitedSpec, shape: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Of each series, positive where it moves signal to higher indices; zero where none is known."""
    if not isdefined(inputs.displacement_file):
        return [np.zeros(shape, np.float32) for _ in inputs.in_files]
    first, _ = load(Path(inputs.displacement_file))
    _, sign = phase_encoding_axis(inputs.phase_encoding)
    return [sign * first, -sign * first * np.float32(inputs.readout_ratio)]


def _noise_kept(
    shape: tuple[int, ...],
    maps: list[NDArray[np.float64]],
    displacement: NDArray[np.float32],
    axis: int,
    mask: NDArray[np.bool_],
) -> float:
    """Root mean square over the volumes of a series: see `noise_kept`; those that stay keep all."""
    moved = [voxel_map for voxel_map in maps if not stays(shape, voxel_map, displacement, mask)]
    kept = noise_kept(shape, moved, displacement, axis, 1, mask)
    return float(np.sqrt((len(maps) - len(moved) + len(moved) * kept**2) / len(maps)))


def turned(table: Gradients, maps: list[NDArray], affine: NDArray[np.float64]) -> Gradients:
    """Directions in the corrected head, in the world; voxel maps are those of a grid with this affine."""
    axes = affine[:3, :3]
    bvecs = table.bvecs.copy()
    for volume, voxel_map in enumerate(maps):
        # The map leads from the corrected head to the head as it lay: directions go the other way.
        rotation = (axes @ voxel_map[:3, :3] @ np.linalg.inv(axes)).T
        bvecs[volume] = rotate_bvecs(bvecs[volume : volume + 1], rotation)[0]
    return replace(table, bvecs=bvecs)


def _mean_table(tables: list[Gradients]) -> Gradients:
    """Mean direction of corresponding volumes, signs matched to the first series."""
    first = tables[0].bvecs
    total = np.zeros_like(first)
    for table in tables:
        agreement = np.sum(table.bvecs * first, axis=1, keepdims=True)
        total += np.where(agreement < 0, -table.bvecs, table.bvecs)
    norms = np.linalg.norm(total, axis=1, keepdims=True)
    bvecs = np.divide(total, norms, out=np.zeros_like(total), where=norms > 0)
    return replace(tables[0], bvals=np.mean([table.bvals for table in tables], axis=0), bvecs=bvecs)


def _row(
    name: str,
    number: int,
    between: NDArray[np.float64],
    mask: NDArray[np.bool_],
    size: tuple[float, float, float],
    b0s: tuple[list[NDArray], list[NDArray]],
) -> dict[str, object]:
    before, after = b0s
    rotation, translation = motion_size(between, mask, size)
    return {
        "file": name,
        "rotation_deg": round(rotation, 3),
        "translation_mm": round(translation, 3),
        "correlation_before": round(smooth_correlation(before[0], before[number], mask, 0.7), 4),
        "correlation_after": round(smooth_correlation(after[0], after[number], mask, 0.7), 4),
        "overlap": round(float((after[number] > 0)[mask].mean()), 4),
        "accepted": True,
        "reason": "",
    }


def _find_view(
    shape: tuple[int, ...],
    maps: list[NDArray[np.float64]],
    displacement: NDArray[np.float32],
    axis: int,
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], list[float]]:
    """Voxels that all volumes of a series show, and the part of the brain that each shows."""
    common, shares = np.ones(mask.shape, bool), []
    for voxel_map in maps:
        view = in_view(shape, voxel_map, displacement, axis, 1)
        shares.append(round(float(view[mask].mean()), 4))
        common &= view
    return common, shares


def _volume_motion(
    maps: list[list[list[float]]], mask: NDArray[np.bool_], size: tuple[float, float, float]
) -> dict[str, list[float]]:
    """Motion of each volume relative to the first b0 of its series."""
    sizes = [motion_size(np.array(voxel_map), mask, size) for voxel_map in maps]
    return {
        "rotation_deg": [round(rotation, 3) for rotation, _ in sizes],
        "translation_mm": [round(translation, 3) for _, translation in sizes],
    }


def _cut_warnings(rows: list[dict[str, object]]) -> list[str]:
    """What took much of the brain out of view: the place of a series, or the motion of single volumes."""
    sentences = []
    for row in rows:
        shares = np.array(row["volumes"]["brain_in_view"])
        typical = float(np.median(shares))
        if typical < _LEAST_IN_VIEW:
            sentences.append(
                f"{row['file']} shows only {typical:.0%} of the brain of the first series, and the mask ends "
                "where its view ends"
            )
        moved = np.flatnonzero(shares < min(_LEAST_IN_VIEW, typical - _CLEARLY_LESS))
        if moved.size:
            named = ", ".join(str(row["volumes"]["number"][volume]) for volume in moved[:_MOST_NAMED])
            more = f" and {moved.size - _MOST_NAMED} more" if moved.size > _MOST_NAMED else ""
            sentences.append(
                f"{row['file']}: by motion, only {shares[moved].min():.0%} of the brain is in view (volume "
                f"{named}{more}, from 0), and the mask ends there; without this, with its b-value and "
                "direction, the mask would reach farther"
            )
    return sentences


def _record(rows: list[dict[str, object]]) -> dict[str, object]:
    return {
        "warnings": _cut_warnings(rows),
        "reference": rows[0]["file"],
        "reference_reason": "it is the first series",
        "space": "reference",
        "interpolation": "quintic B-spline, once, motion and distortion together",
        "repetitions": rows,
    }
