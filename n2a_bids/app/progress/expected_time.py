"""Expected seconds of each step of a run, and the words that name the step; the header sums them up.

A plan, not a promise: what steps really take corrects it from the first one on, see `n2a_bids.app.progress`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nb

from n2a_bids.config import Config
from n2a_bids.dataset.units import DenoisingUnit

STEP_WORDS = {
    "check": "images checked",
    "gaps": "gaps looked for",
    "mask_wf.brain": "brain mask",
    "align_wf.reference": "reference chosen",
    "align_wf.register": "repetitions registered",
    "align_wf.resample": "repetitions resampled",
    "pick": "volumes picked",
    "mask": "brain mask",
    "distinct": "copies looked for",
    "motion": "motion estimated",
    "register": "series registered",
    "distortion": "distortion estimated",
    "align": "images aligned",
    "inspect": "alignment judged",
    "denoise": "denoised",
    "regions_wf.place": "regions placed",
}
"""Step of a unit -> what is done when it has ended."""

_CHECKS_S = {"check": (0.5, 0.05), "inspect": (0.5, 0.08)}
_STEPS_S: dict[str, dict[str, tuple[float, float]]] = {
    "anat": {
        **_CHECKS_S,
        "gaps": (1.0, 0.1),
        "mask_wf.brain": (6.0, 0.15),
        "align_wf.reference": (0.5, 0.0),
        "align_wf.register": (2.0, 0.4),
        "align_wf.resample": (2.0, 1.0),
    },
    "dwi": {
        **_CHECKS_S,
        "mask": (2.0, 0.4),
        "distinct": (1.0, 0.15),
        "motion": (2.0, 1.6),
        "distortion": (2.0, 1.0),
        "align": (1.0, 0.8),
        "tensor_wf.fit_mean": (0.5, 0.1),
        "tensor_wf.fit_denoised": (0.5, 0.1),
    },
    "micr": {"align": (1.0, 0.8)},
}
"""Kind and step -> seconds of any unit, and seconds for each million values of its images; on two processors
with AMX. Figures and files together take `_FILES_S`."""

_REGIONS_S = 45.0
"""The template of an atlas is registered with one thread, at a resolution of its own."""
_FILES_S = (4.0, 1.0)
_DENOISE_S = {"anat": (15.0, 8.5), "dwi": (3.0, 1.7)}
_LEARNS_FROM_ANOTHER = 2.2
"""Time of the denoising of a diffusion series that learns from another one over that of one alone."""
_RECIPES = {"default": 1.0, "fast": 0.4, "zero-shot": 0.55, "faithful": 12.0}
"""Time of the denoising of anatomical images over that of the default recipe."""
_MEAN_SHARE = 0.08
"""The same of the strategy ``mean``, which only measures."""
_SLOWER = (("amx_tile", 1.0), ("avx512_bf16", 2.2), ("avx512f", 3.0), ("", 4.0))
"""First of these flags that a processor has -> time of networks over that with AMX."""
_THREADS = 2
"""Of the processor that was measured."""
_UNREADABLE_VALUES = 8e6
_CPU_FLAGS = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Seconds that the steps of one unit should take."""

    steps_s: dict[str, float]
    """Name within the workflow of the unit -> seconds; ``denoise`` among them."""
    files_s: float
    """Of writing outputs and drawing figures, in many small steps."""

    @property
    def total_s(self) -> float:
        """All of it."""
        return sum(self.steps_s.values()) + self.files_s


def plan_unit(unit: DenoisingUnit, config: Config, slower: float | None = None) -> StepPlan:
    """Plan one unit.

    Parameters
    ----------
    slower : float, optional
        Time of networks over that of a processor with AMX; by default what this processor's flags say.

    Returns
    -------
    plan : StepPlan
        For one unit at a time, on the threads of a step.
    """
    millions = sum(_n_values(image.path) for image in unit.images) / 1e6
    threads = max(1, config.resources.omp_nthreads)
    kind = "anat" if unit.datatype == "anat" else "dwi"
    factor = _RECIPES.get(config.denoise.recipe, 1.0) if kind == "anat" else 1.0
    if config.denoise.strategy == "mean":
        factor = _MEAN_SHARE
    if unit.companion is not None:
        factor *= _LEARNS_FROM_ANOTHER
    slower = slower_than_amx() if slower is None else slower
    networks = slower if kind == "anat" and config.denoise.strategy != "mean" else 1.0
    constant, each = _DENOISE_S[kind]
    steps = {name: base + rate * millions for name, (base, rate) in _STEPS_S[unit.datatype].items()}
    if len(unit.images) == 1:
        for name in ("align_wf.register", "align_wf.resample"):
            steps.pop(name, None)
    if not unit.distortion_is_estimated:
        steps.pop("distortion", None)
    if config.outputs.regions and unit.has_regional_noise:
        steps["regions_wf.place"] = _REGIONS_S
    # Half of the work has threads, the other half one.
    speedup = 2 / (1 + _THREADS / min(threads, 8))
    steps["denoise"] = constant + each * millions * factor * networks / speedup
    return StepPlan(steps, _FILES_S[0] + _FILES_S[1] * millions)


def slower_than_amx(cpu_flags: Path = _CPU_FLAGS) -> float:
    """Time of networks on this processor over that on one with AMX, by the processor's flags.

    Examples
    --------
    >>> slower_than_amx(Path("nowhere"))
    4.0
    """
    try:
        text = cpu_flags.read_text(encoding="utf-8")
    except OSError:
        text = ""
    flags = set(text.split())
    return next(factor for flag, factor in _SLOWER if not flag or flag in flags)


def _n_values(path: Path) -> float:
    try:
        return float(math.prod(nb.load(path).shape))
    except Exception:  # whatever is wrong with an image is told by the step that reads it
        return _UNREADABLE_VALUES


def about(seconds: float) -> str:
    """A length of time that is not known well.

    Examples
    --------
    >>> about(7), about(95), about(1234), about(7300)
    ('under 10 s', 'about 1 min 40 s', 'about 21 min', 'about 2 h')
    >>> about(5400), about(120_000), about(1_000_000)
    ('about 1.5 h', 'about 33 h', 'about 12 days')
    """
    if seconds < 10:
        return "under 10 s"
    if seconds < 55:
        return f"about {round(seconds, -1):.0f} s"
    if seconds < 150:
        minutes, rest = divmod(int(round(seconds, -1)), 60)
        return f"about {minutes} min" + (f" {rest} s" if rest else "")
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    hours = seconds / 3600
    if hours < 72:
        return f"about {hours:.2g} h"
    return f"about {hours / 24:.0f} days"
