"""``benchmark --trust``: pass or fail on noise alone, uniform objects, lesions, invented anatomy.

All tests use two aligned repetitions with Rician noise of 0.4 in-mask SD.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.masked_filters import without_rim
from n2a_bids.algorithms.quality.metrics import edge_correlation
from n2a_bids.errors import DenoisingError
from n2a_bids.lab.benchmark.anat.cells import CellData
from n2a_bids.lab.benchmark.anat.methods import run_method
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan, open_table
from n2a_bids.lab.benchmark.strategies import MethodSettings
from n2a_bids.lab.benchmark.truths import Truth, crop_truth
from n2a_bids.lab.benchmark.worker import run_in_child
from n2a_bids.lab.simulation.lesions import Lesions, ball_mask, kept_contrast, make_lesions
from n2a_bids.lab.simulation.runs import SimulatedRuns, SimulationConfig, simulate_runs
from n2a_bids.record.typed_json import JsonObject

TRUST_COLUMNS = ("test", "method", "value", "lowest", "highest", "verdict", "status")
_NOISE_LEVEL = 0.4
_LESION_CONTRAST_SD = 1.0
_UNIFORM_SNR = 10.0
_EXACT_GAIN, _ANY_GAIN, _OFFSET_SD = 3.0, 3.7, 1.9
_STEPS_PER_SD = 1000
"""Of intensities that stay exact in single precision under `_EXACT_GAIN`, as stored integers do."""
_SEED = 11
_LESION_SEEDS = (11, 12, 13)
"""Places of the lesions: the six of one draw keep contrasts that differ by 1 to 2 %."""

Volume = NDArray[np.float32]
Denoise = Callable[[CellData], Volume]


@dataclass(frozen=True, slots=True)
class Finding:
    """One number and the range in which it should lie."""

    test: str
    value: float
    lowest: float
    highest: float

    @property
    def holds(self) -> bool:
        """Whether the number lies in the range."""
        return bool(self.lowest <= self.value <= self.highest)


def run_trust(truth: Truth, plan: BenchmarkPlan) -> int:
    """Put every method to the trust tests and write ``trust.tsv``.

    Returns
    -------
    exit_code : int
        0, or 1 if a test does not hold for a strategy of the app named ``auto``.
    """
    columns, keys = TRUST_COLUMNS, ("test", "method")
    shared = {"truth": truth.name, "lesion_seeds": _LESION_SEEDS}
    table = open_table(plan, "trust.tsv", columns=columns, key_columns=keys, shared=shared)
    stage = crop_truth(truth, plan.crop)
    for method, (names, test) in product(plan.methods, TESTS.items()):
        keys = [{"test": name, "method": method} for name in names]
        if all(map(table.has, keys)):
            continue
        try:
            findings = test(stage, partial(_denoise, method, plan.settings))
        except DenoisingError as error:
            for key in keys:
                table.add(key | {"status": f"failed: {error}"})
            continue
        for finding in findings:
            table.add(_row(finding, method))
            sys.stderr.write(f"{method}, {finding.test}: {finding.value:.4g}\n")
    return int(
        any(r["status"] != "ok" or r["verdict"] != "holds" for r in table.rows if r["method"] == "auto")
    )


def _denoise(method: str, settings: MethodSettings, data: CellData) -> Volume:
    return run_in_child(partial(run_method, method, data, settings)).image


def noise_only(stage: Truth, denoise: Denoise) -> list[Finding]:
    """Noise alone comes out flat: SD over that of the plain mean."""
    nothing = replace(stage, data=np.zeros_like(stage.data), mask=ball_mask(stage.data.shape))
    return [Finding("noise only comes out flat", _left_variation(nothing, denoise), 0.0, 0.5)]


def uniform(stage: Truth, denoise: Denoise) -> list[Finding]:
    """A uniform ball comes out flat: SD inside over that of the plain mean."""
    ball = ball_mask(stage.data.shape)
    flat = replace(
        stage, data=np.where(ball, np.float32(_UNIFORM_SNR * _NOISE_LEVEL), np.float32(0)), mask=ball
    )
    return [Finding("uniform object comes out flat", _left_variation(flat, denoise), 0.0, 0.5)]


def lesions(stage: Truth, denoise: Denoise) -> list[Finding]:
    """Lesions in all repetitions keep their contrast; in one only they stay a share of it."""
    unit = float(np.std(stage.data[stage.mask]))
    without = denoise(_cell(stage, _simulate(stage, unit)))
    kept, shown = [], []
    for seed in _LESION_SEEDS:
        added = make_lesions(
            stage.mask,
            _LESION_CONTRAST_SD * unit,
            np.random.default_rng(seed),
            voxel_size_mm=stage.voxel_size_mm,
            alternate=True,
        )
        everywhere = np.stack([added.signal, added.signal])
        once = np.stack([np.zeros_like(added.signal), added.signal])
        kept.append(_kept(stage, unit, everywhere, without, added, denoise))
        shown.append(_kept(stage, unit, once, without, added, denoise))
    return [
        Finding("lesions in all repetitions keep their contrast", float(np.mean(kept)), 0.95, 1.05),
        Finding("lesions in one of two repetitions appear by half", float(np.mean(shown)), 0.0, 0.55),
    ]


def residual_without_anatomy(stage: Truth, denoise: Denoise) -> list[Finding]:
    """Edge correlation of the residual, over that of half the difference of the repetitions."""
    unit = float(np.std(stage.data[stage.mask]))
    data = _cell(stage, _simulate(stage, unit))
    image = denoise(data)
    mean = data.matched.mean(axis=0)
    half_difference = (data.matched[0] - data.matched[1]) / 2
    excess = edge_correlation(mean - image, image, stage.mask)
    excess -= edge_correlation(half_difference, image, stage.mask)
    return [Finding("residual holds no more anatomy than the difference", excess, -1.0, 0.1)]


def gain_and_offset(stage: Truth, denoise: Denoise) -> list[Finding]:
    """Scaling and shifting the input does just that to the output.

    Two findings: the largest deviation where the scaled input is exact in single
    precision, and the root mean square where it is rounded, both over the SD.
    """
    unit = float(np.std(stage.data[stage.mask]))
    data = _cell(stage, _simulate(stage, unit))
    step = np.float32(2.0 ** np.round(np.log2(unit / _STEPS_PER_SD)))
    stored = _with_intensities(data, np.round(data.repetitions.data / step) * step, 1.0)
    offset = np.float32(np.round(_OFFSET_SD * unit / step)) * step
    exact = _deviation(stored, _EXACT_GAIN, offset, denoise) / unit
    rounded = _deviation(data, _ANY_GAIN, np.float32(_OFFSET_SD * unit), denoise) / unit
    mask = stage.mask
    return [
        Finding("gain and offset carry through", float(np.abs(exact[mask]).max()), 0.0, 1e-4),
        Finding(
            "rounding by gain and offset stays small", float(np.sqrt(np.mean(rounded[mask] ** 2))), 0.0, 0.005
        ),
    ]


TESTS: dict[tuple[str, ...], Callable[[Truth, Denoise], list[Finding]]] = {
    ("noise only comes out flat",): noise_only,
    ("uniform object comes out flat",): uniform,
    (
        "lesions in all repetitions keep their contrast",
        "lesions in one of two repetitions appear by half",
    ): lesions,
    ("residual holds no more anatomy than the difference",): residual_without_anatomy,
    ("gain and offset carry through", "rounding by gain and offset stays small"): gain_and_offset,
}
"""Names of findings -> test: takes the truth and a denoiser, returns what it found."""


def _left_variation(stage: Truth, denoise: Denoise) -> float:
    data = _cell(stage, _simulate(stage, 1.0))
    inner = without_rim(stage.mask)
    return float(np.std(denoise(data)[inner]) / np.std(data.matched.mean(axis=0)[inner]))


def _kept(
    stage: Truth, unit: float, signal: Volume, without: Volume, added: Lesions, denoise: Denoise
) -> float:
    image = denoise(_cell(stage, _simulate(stage, unit, signal)))
    return float(np.mean(kept_contrast(image, without, added)))


def _deviation(data: CellData, gain: float, offset: np.float32, denoise: Denoise) -> Volume:
    """What the result of the scaled input differs by from the scaled result, in the input's unit."""
    scaled = _with_intensities(data, np.float32(gain) * data.repetitions.data + offset, gain)
    return (denoise(scaled).astype(np.float64) - offset) / gain - denoise(data)


def _with_intensities(data: CellData, images: Volume, gain: float) -> CellData:
    repetitions = replace(data.repetitions, data=images.astype(np.float32))
    return replace(data, repetitions=repetitions, noise_sd=np.float32(gain) * data.noise_sd)


def _simulate(stage: Truth, unit: float, added_signal: Volume | None = None) -> SimulatedRuns:
    """Same noise at every call: results differ by the signal only."""
    config = SimulationConfig(noise_level=_NOISE_LEVEL, noise_unit=unit)
    generator = np.random.default_rng(_SEED)
    return simulate_runs(stage.data, stage.mask, config, generator, stage.voxel_size_mm, added_signal)


def _cell(stage: Truth, runs: SimulatedRuns) -> CellData:
    return CellData(stage.repetitions(runs.repetitions), runs.truth, runs.gains, runs.noise_sd)


def _row(finding: Finding, method: str) -> JsonObject:
    return {
        "test": finding.test,
        "method": method,
        "value": finding.value,
        "lowest": finding.lowest,
        "highest": finding.highest,
        "verdict": "holds" if finding.holds else "does not hold",
        "status": "ok",
    }
