"""Figures of the report, good ones from the report itself, bad ones from the same images with one fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from panels import Panel
from report_data import N_DIRECTIONS, directions
from scipy import ndimage

from n2a_bids import viz
from n2a_bids.interfaces.reportlets.scene import Scene, load_display
from n2a_bids.lab.simulation.dwi import distort, susceptibility_displacement
from n2a_bids.record.denoising import CandidateRisk, Choice, Epoch
from n2a_bids.viz import micrographs

Box = tuple[float, float, float, float]
Picture = Sequence[Sequence[Panel]]
SLICE: Box = (602, 49, 294, 365)
"""Third axial slice of a figure that flickers: x, y, width, height in units of the figure."""
LOW_SLICE: Box = (302, 49, 294, 365)
TWO_SLICES: Box = (602, 49, 594, 365)


class Report:
    """Figures and images of the simulated participants."""

    def __init__(self, derivatives: Path) -> None:
        self.root = derivatives

    def figure(self, participant: str, name: str) -> str:
        """SVG of one figure of a participant."""
        folder = self.root / f"sub-{participant}" / "figures"
        return sorted(folder.glob(f"*desc-{name}_*.svg"))[0].read_text(encoding="utf-8")

    def scene(self, participant: str, names: Sequence[str], volume: int | None = 0) -> Scene:
        """Images of a participant as figures show them, by the end of their names."""
        mask = self._file(participant, "desc-brain_mask.nii.gz")
        return load_display([self._file(participant, f"{name}.nii.gz") for name in names], mask, volume)

    def micrograph(self, name: str) -> NDArray[np.float64]:
        """One plane of the drawn cells."""
        return tifffile.imread(self._file("03", f"desc-{name}_TEM.tif")).squeeze().astype(float)

    def _file(self, participant: str, end: str) -> Path:
        return sorted((self.root / f"sub-{participant}").glob(f"*/*{end}"))[0]


def pair(good: str, bad: str, good_words: str, bad_words: str, box: Box | None = None) -> Picture:
    """A good figure beside a bad one."""
    return [
        [
            Panel(f"good: {good_words}", good, "good", box=box),
            Panel(f"bad: {bad_words}", bad, "bad", box=box),
        ]
    ]


def blurred(image: NDArray, sd: float = 1.2) -> NDArray:
    """A denoised image that lost its detail."""
    return ndimage.gaussian_filter(image, (sd,) * min(image.ndim, 3) + (0,) * (image.ndim - 3))


def draw_mask(report: Report) -> Picture:
    """Outline of a good mask, and of one that left its place."""
    scene = report.scene("01", ["desc-mean_T1w"])
    moved = ndimage.shift(scene.frame.mask.astype(float), (0, 4, -4), order=0) > 0.5
    bad = viz.mask_contours(scene.volumes[0], replace(scene.frame, mask=moved))
    return pair(
        report.figure("01", "mask"),
        bad,
        "on the surface of the brain",
        "cuts the brain, takes bone in",
        (602, 8, 294, 362),
    )


def draw_distortion(report: Report) -> Picture:
    """One b0 as scanned, corrected, and moved the wrong way."""
    good = report.figure("02", "distortion")
    scene = report.scene("02", ["desc-mean_dwi"])
    field = susceptibility_displacement(scene.frame.mask, 1, 4.0, torch.Generator().manual_seed(0))
    worse = [distort(scene.volumes[0], field, 1, sign) for sign in (1, -1)]
    bad = viz.distortion_flicker(*worse, *worse, scene.frame)
    return [
        [
            Panel("as scanned (AP)", good, state=0, box=LOW_SLICE),
            Panel("good: corrected (AP)", good, "good", 2, LOW_SLICE),
            Panel("bad: still bent", bad, "bad", 2, LOW_SLICE),
        ]
    ]


def draw_alignment(report: Report) -> Picture:
    """The reference, an aligned run, and one that is turned."""
    good = report.figure("01", "alignment")
    scene = report.scene("01", ["desc-mean_T1w"])
    turned = ndimage.rotate(scene.volumes[0], 8, (0, 1), reshape=False, order=1)
    bad = viz.alignment_flicker(scene.volumes[0], turned, turned, scene.frame)
    return [
        [
            Panel("reference", good, state=1, box=SLICE),
            Panel("good: nothing moves", good, "good", 2, SLICE),
            Panel("bad: turned", bad, "bad", 2, SLICE),
        ]
    ]


def draw_drift(report: Report) -> Picture:
    """A steady drift, and exposures that jump to and fro."""
    wild = [(0, 0), (3, -5), (61, -48), (4, -9)]
    return pair(
        report.figure("03", "drift"),
        micrographs.drift_chart(wild),
        "a stage that creeps",
        "one exposure far off",
    )


def draw_denoised(report: Report) -> Picture:
    """One run, the mean, the denoised image, and one that was smoothed."""
    good = report.figure("01", "denoised")
    scene = report.scene("01", ["desc-mean_T1w", "desc-denoised_T1w"])
    bad = viz.denoising_flicker(*[scene.volumes[0]] * 2, blurred(scene.volumes[1]), scene.frame)
    return [
        [
            *(Panel(name, good, state=index, box=SLICE) for index, name in enumerate(("one run", "mean"))),
            Panel("good: denoised", good, "good", 2, SLICE),
            Panel("bad: smoothed", bad, "bad", 2, SLICE),
        ]
    ]


def draw_detail(report: Report) -> Picture:
    """Pieces of cortex pixel by pixel."""
    scene = report.scene("01", ["desc-mean_T1w", "desc-denoised_T1w"])
    mean, denoised = scene.volumes
    bad = viz.detail_zoom(mean, mean, blurred(denoised), scene.frame)
    return pair(
        report.figure("01", "detail"),
        bad,
        "noise goes, borders stay",
        "borders are soft, folds are gone",
        (402, 0, 798, 440),
    )


def draw_residual(report: Report) -> Picture:
    """What was removed from a head: noise, or anatomy."""
    scene = report.scene("01", ["desc-mean_T1w", "desc-denoised_T1w", "desc-noisesd_T1w"])
    mean, denoised, noise_sd = scene.volumes
    bad = viz.residual_map(mean, blurred(denoised), scene.frame, noise_sd=noise_sd)
    return pair(report.figure("01", "residual"), bad, "noise alone", "folds and borders", TWO_SLICES)


def draw_residual_dwi(report: Report) -> Picture:
    """What was removed from a diffusion series."""
    scene = report.scene("02", ["desc-mean_dwi", "desc-denoised_dwi", "desc-noisesd_dwi"])
    mean, denoised, noise_sd = scene.volumes
    bad = viz.residual_map(mean, blurred(denoised), scene.frame, noise_sd=noise_sd)
    return pair(report.figure("02", "residual"), bad, "noise alone", "ventricles and borders", TWO_SLICES)


def draw_noisesd(report: Report) -> Picture:
    """Noise maps: smooth, or with anatomy in it."""
    scene = report.scene("01", ["desc-mean_T1w", "desc-noisesd_T1w"])
    mean, noise_sd = scene.volumes
    edges = np.hypot(*np.gradient(ndimage.gaussian_filter(mean, 1), axis=(0, 1)))
    bad = viz.noise_map(noise_sd + 0.5 * edges, scene.frame)
    return pair(
        report.figure("01", "noisesd"),
        bad,
        "smooth, without anatomy",
        "borders of tissue: the runs do not fit",
    )


def draw_uncertainty(report: Report) -> Picture:
    """Expected error: a little at borders, or a whole region."""
    scene = report.scene("01", ["desc-uncertainty_T1w", "desc-denoised_T1w"])
    error, denoised = scene.volumes
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in error.shape), indexing="ij"))
    region = np.exp(-(((places - np.array([0.4, 0.3, 0.1])[:, None, None, None]) ** 2).sum(axis=0)) / 0.08)
    spread = float(np.std(denoised[scene.frame.mask]))
    bad = viz.noise_map(error * (1 + 3 * region), scene.frame, "expected error of one voxel", spread=spread)
    return pair(
        report.figure("01", "uncertainty"),
        bad,
        "even, a little more at borders",
        "one region cannot be trusted",
    )


def draw_rings(report: Report) -> Picture:
    """Ring correlation and spectrum; a pattern of the network shows as a peak."""
    mean, denoised = (report.micrograph(name) for name in ("mean", "denoised"))
    stripes = 4 * np.sin(2 * np.pi * 0.31 * np.arange(mean.shape[1]))
    bad = micrographs.ring_chart(None, mean, denoised + stripes, 4.0)
    return pair(
        report.figure("03", "rings"),
        bad,
        "detail reaches further, a smooth spectrum",
        "a peak that the mean has not",
    )


def draw_micrographs(report: Report) -> Picture:
    """Detail and residual of a micrograph."""
    mean, denoised = (report.micrograph(name) for name in ("mean", "denoised"))
    smooth = ndimage.gaussian_filter(denoised, 2)
    noise_sd = np.full(mean.shape, (mean - denoised).std())
    detail = micrographs.detail(mean, mean, smooth)
    removed = micrographs.residual_picture(mean - smooth, noise_sd)
    return [
        *pair(
            report.figure("03", "detail"),
            detail,
            "membranes stay thin",
            "membranes are wide",
            (402, 0, 798, 440),
        ),
        *pair(
            report.figure("03", "residual"),
            removed,
            "noise alone",
            "membranes were taken away",
            (0, 0, 1200, 600),
        ),
    ]


def draw_tensor(report: Report) -> Picture:
    """FA and main direction: tracts that are clearer, or wider."""
    maps = ("fa", "v1")
    names = [f"param-{name}_desc-{kind}_dwimap" for kind in ("mean", "denoised") for name in maps]
    scene = report.scene("02", names, None)
    fa_mean, v1_mean, fa, v1 = scene.volumes
    bad = viz.tensor_maps(fa_mean, blurred(fa, 1.0), scene.frame, directions=(v1_mean, blurred(v1, 1.0)))
    return pair(
        report.figure("02", "tensor"), bad, "clearer, as wide as before", "wider and paler", (0, 0, 600, 400)
    )


def draw_risk(report: Report) -> Picture:
    """A candidate that beats the mean, and none that does."""
    rows = [
        CandidateRisk(name, risk, 0.004)
        for name, risk in (("mean", 0.0), ("network", 0.012), ("non-local Bayes", 0.02))
    ]
    bad = viz.risk_bars(rows, Choice("mean", mean_won=True))
    return pair(
        report.figure("01", "risk"),
        bad,
        "the chosen one is far left of zero",
        "none is left of zero: you get the mean",
    )


def draw_loss(report: Report) -> Picture:
    """A loss that levels off, and one that grows."""
    history = [Epoch("recorrupted", index + 1, 0.6 * 1.25**index) for index in range(10)]
    return pair(
        report.figure("01", "loss"), viz.loss_curve(history), "level, with ups and downs", "grows and grows"
    )


def draw_gradients(report: Report) -> Picture:
    """Directions all over the sphere, and on a part of it."""
    vectors = directions(N_DIRECTIONS)
    narrow = np.stack((vectors[:, 0], 0.15 * vectors[:, 1], vectors[:, 2]), axis=1)
    narrow /= np.linalg.norm(narrow, axis=1, keepdims=True)
    bad = viz.gradient_plot([(np.full(N_DIRECTIONS, 1000.0), narrow)])
    good = viz.gradient_plot([(np.full(N_DIRECTIONS, 1000.0), vectors)])
    return pair(good, bad, "all over the half sphere", "in one plane: was the table read right?")


def draw_motion(report: Report) -> Picture:
    """A head that creeps, and one that jumps."""
    steps = np.arange(26)
    jump = np.where(steps > 14, 7.0, 0.3)
    bad = viz.motion_curves(
        [viz.MotionCurve("AP", jump / 2, jump), viz.MotionCurve("PA", steps / 20, steps / 10)]
    )
    return pair(report.figure("02", "motion"), bad, "less than a voxel", "a jump of 7 mm")


def draw_volumes(report: Report) -> Picture:
    """Signal of every volume; one that lost its signal."""
    scene = report.scene("02", ["desc-mean_dwi", "desc-denoised_dwi", "desc-noisesd_dwi"], None)
    mean, denoised, noise_sd = scene.volumes
    lost = np.ones(mean.shape[3])
    lost[11] = 0.35
    shells = np.r_[0.0, 0.0, np.full(mean.shape[3] - 2, 1000.0)]
    bad = viz.volume_quality(mean * lost, denoised * lost, scene.frame.mask, shells, noise_sd=noise_sd)
    return pair(
        report.figure("02", "volumes"), bad, "all volumes of a shell alike", "volume 11 lost its signal"
    )


FIGURES: Mapping[str, Callable[[Report], Picture]] = {
    "mask": draw_mask,
    "distortion": draw_distortion,
    "alignment": draw_alignment,
    "drift": draw_drift,
    "denoised": draw_denoised,
    "detail": draw_detail,
    "rings": draw_rings,
    "micrographs": draw_micrographs,
    "tensor": draw_tensor,
    "residual": draw_residual,
    "residual-dwi": draw_residual_dwi,
    "noisesd": draw_noisesd,
    "uncertainty": draw_uncertainty,
    "risk": draw_risk,
    "loss": draw_loss,
    "gradients": draw_gradients,
    "motion": draw_motion,
    "volumes": draw_volumes,
}
"""Name of a picture, and what draws it."""
