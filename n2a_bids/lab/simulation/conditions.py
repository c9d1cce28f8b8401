"""Table of the conditions of the benchmark: what scanners and sessions do to images.

Standard library only, so that ``--help`` knows it without torch and NumPy. A new condition is one row here,
and, where none of the functions serves, one function in `receivers.py` or `scans.py`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Modality = Literal["T1w", "dwi"]

_CODE = "n2a_bids.lab.simulation"
_BOTH: tuple[Modality, ...] = ("T1w", "dwi")


@dataclass(frozen=True, slots=True)
class Condition:
    """How repetitions come about."""

    name: str
    sentence: str
    """What it is, for the documentation and ``--help``."""
    modalities: tuple[Modality, ...] = ("T1w",)
    settings: dict[str, float] = field(default_factory=dict)
    """Of `SimulationConfig`, for T1w; ``echo_spacing_s`` makes echoes of the repetitions."""
    receiver: str = ""
    """``module:function`` of ``receiver(signal, mask, generator)``, a `Receiver`; white noise without."""
    variation: str = ""
    """``module:function`` of ``variation(signal, mask, n_repetitions, generator)``, a `Variation`: what
    repetitions differ in besides noise."""
    kspace_axes: tuple[int, ...] = ()
    """Array axes that have to be whole, because their k-space is touched."""
    is_complex: bool = False
    """Whether the phase is kept."""

    @property
    def is_scanned(self) -> bool:
        """Whether it has a receiver or a variation of its own."""
        return bool(self.receiver or self.variation)


CONDITIONS: tuple[Condition, ...] = (
    Condition("aligned", "repetitions differ by white Rician noise only", _BOTH),
    Condition(
        "moved",
        "every run but the first is turned and shifted by up to 5 degrees and 5 mm on each axis, and "
        "realigned by the app",
        settings={"max_rotation_deg": 5.0, "max_translation_mm": 5.0},
    ),
    Condition(
        "uneven",
        "the noise SD doubles from the best to the worst place, and gains differ by up to 20 %",
        settings={"noise_variation": 1.0, "max_gain_change": 0.2},
    ),
    Condition(
        "unequal",
        "the noise SD of the last run is twice that of the first",
        settings={"noise_ratio": 2.0},
    ),
    Condition(
        "shaded",
        "the first run is shaded sevenfold by its coils, the others are normalised; the app gives them the "
        "shading of the first, by which all are judged",
        settings={"shading_ratio": 7.0},
    ),
    Condition(
        "echoes",
        "repetitions are echoes 4 ms apart; the first is judged",
        settings={"echo_spacing_s": 0.004},
    ),
    Condition(
        "zero-filled",
        "the acquired matrix is 1.5 times coarser in plane, zero-filled to the grid",
        _BOTH,
        receiver=f"{_CODE}.receivers:zero_filled",
        kspace_axes=(0, 1),
    ),
    Condition(
        "zero-filled-2",
        "the same, 2 times coarser in plane",
        _BOTH,
        receiver=f"{_CODE}.receivers:zero_filled_twice",
        kspace_axes=(0, 1),
    ),
    Condition(
        "elliptic",
        "an ellipse of the two phase encodings is acquired, 0.85 as wide as the grid along the third axis",
        receiver=f"{_CODE}.receivers:elliptic",
        kspace_axes=(1, 2),
    ),
    Condition(
        "partial-fourier",
        "6/8 of the lines of phase encoding are acquired, the others zero",
        _BOTH,
        receiver=f"{_CODE}.receivers:partial_fourier",
        kspace_axes=(1,),
    ),
    Condition(
        "zero-filled-partial-fourier",
        "both: 6/8 of the lines of a matrix that is 1.5 times coarser in plane",
        _BOTH,
        receiver=f"{_CODE}.receivers:zero_filled_partial_fourier",
        kspace_axes=(0, 1),
    ),
    Condition(
        "grappa",
        "8 coils, every second line, filled by GRAPPA from 24 middle lines; coils combined by their "
        "sensitivities",
        _BOTH,
        receiver=f"{_CODE}.receivers:grappa",
        kspace_axes=(0, 1),
    ),
    Condition(
        "grappa-sos",
        "the same, the coils combined by the root sum of squares (noncentral chi noise)",
        _BOTH,
        receiver=f"{_CODE}.receivers:grappa_sum_of_squares",
        kspace_axes=(0, 1),
    ),
    Condition(
        "filtered",
        "k-space is multiplied by a Hamming window in plane, as a scanner's image filter does",
        _BOTH,
        receiver=f"{_CODE}.receivers:filtered",
        kspace_axes=(0, 1),
    ),
    Condition(
        "complex",
        "smooth phase and complex Gaussian noise; the phase is taken out, and the real part denoised",
        _BOTH,
        receiver=f"{_CODE}.receivers:white",
        is_complex=True,
    ),
    Condition(
        "sessions",
        "runs of different days: another smooth shading and small nonlinear displacements (0.3 voxels) in "
        "each; judged against the mean of the clean runs",
        _BOTH,
        variation=f"{_CODE}.scans:other_sessions",
    ),
    Condition(
        "ghost",
        "a copy of up to 5 % of the signal, half the field of view away along phase encoding",
        _BOTH,
        variation=f"{_CODE}.scans:ghosts",
        kspace_axes=(1,),
    ),
)

NAMES = tuple(row.name for row in CONDITIONS)
DWI_NAMES = tuple(row.name for row in CONDITIONS if "dwi" in row.modalities)
"""Those of diffusion series."""


def find_condition(name: str) -> Condition:
    """Look a condition up; KeyError for an unknown name.

    Examples
    --------
    >>> find_condition("partial-fourier").kspace_axes
    (1,)
    """
    return {row.name: row for row in CONDITIONS}[name]


def load_function(entry_point: str) -> Callable[..., Any]:
    """Function that ``module:function`` names."""
    module, _, name = entry_point.partition(":")
    return getattr(importlib.import_module(module), name)
