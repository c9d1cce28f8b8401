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
    "shared_motion": "eddy currents joined",
    "register": "series registered",
    "distortion": "distortion estimated",
    "align": "images aligned",
    "inspect": "alignment judged",
    "denoise": "denoised",
    "regions_wf.place": "regions placed",
}
"""Step of a unit -> what is done when it has ended."""

_STEPS_S: dict[str, dict[str, tuple[float, float]]] = {
    "anat": {
        "check": (0.5, 0.03),
        "gaps": (0.5, 0.04),
        "mask_wf.brain": (4.0, 0.4),
        "align_wf.reference": (0.5, 0.0),
        "align_wf.register": (2.0, 0.55),
        "align_wf.resample": (2.0, 0.75),
        "inspect": (0.5, 0.08),
    },
    "dwi": {
        "check": (0.3, 0.03),
        "pick": (0.2, 0.12),
        "mask": (3.5, 0.6),
        "distinct": (0.3, 0.12),
        "motion": (4.0, 2.1),
        "shared_motion": (1.0, 0.8),
        "distortion": (2.0, 1.0),
        "align": (0.5, 0.7),
        "inspect": (0.3, 0.03),
        "tensor_wf.fit_mean": (0.5, 0.1),
        "tensor_wf.fit_denoised": (0.5, 0.1),
    },
    "micr": {"align": (1.0, 0.8)},
}
"""Kind and step -> seconds of any unit, and seconds for each million values of its images; on two threads of
an AMD EPYC of 2024. Figures and files together take `_FILES_S`."""

_REGIONS_S = 45.0
"""The template of an atlas is registered with one thread, at a resolution of its own."""
_FILES_S = (3.0, 0.4)
_DENOISE_S = {"anat": (25.0, 2.8), "dwi": (6.5, 1.25), "micr": (12.0, 3.0)}
_NETWORKS_S = (15.0, 2.0)
"""What networks add to the denoising of anatomical images, beside training."""
_TRAINING_S = {"zero-shot": 0.0, "fast": 30.0, "default": 61.0, "thorough": 305.0, "faithful": 1500.0}
"""Training of repetitions of one contrast, of any size."""
_LEARNS_FROM_ANOTHER = 2.2
"""Time of the denoising of a diffusion series that learns from another one over that of one alone."""
_MEAN_SHARE = 0.3
"""Time of the strategy ``mean``, which only measures, over that of all but networks."""
_SLOWER = (
    (("amx_tile",), 0.65),
    (("avx512_bf16", "avx512_vp2intersect"), 1.0),
    (("avx512_bf16",), 2.0),
    (("avx512f",), 2.4),
    ((), 4.4),
)
"""First of these sets of flags that a processor has -> time of networks over that of the EPYC, whose flags
are the second (docs/hpc.md; that of the third, which has vectors of half the width, is reckoned)."""
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
        Time of networks over that of the processor that was measured; by default what this one's flags say.

    Returns
    -------
    plan : StepPlan
        For one unit at a time, on the threads of a step.
    """
    sizes = [_n_values(image.path) / 1e6 for image in unit.images]
    millions = sum(sizes)
    slower = slower_networks() if slower is None else slower
    steps = {name: base + rate * millions for name, (base, rate) in _STEPS_S[unit.datatype].items()}
    if len(unit.images) == 1:
        for name in ("align_wf.register", "align_wf.resample", "shared_motion"):
            steps.pop(name, None)
    if not unit.distortion_is_estimated:
        steps.pop("distortion", None)
    if config.outputs.regions and unit.has_regional_noise:
        steps["regions_wf.place"] = _REGIONS_S
    # The mean of anatomical images is denoised, of other kinds every image.
    denoised = max(sizes, default=0.0) if unit.datatype == "anat" else millions
    steps["denoise"] = _denoise_s(unit, config, denoised, slower)
    return StepPlan(steps, _FILES_S[0] + _FILES_S[1] * millions)


def _denoise_s(unit: DenoisingUnit, config: Config, millions: float, slower: float) -> float:
    """Seconds of the denoising of so many million values."""
    constant, each = _DENOISE_S[unit.datatype]
    seconds = constant + each * millions
    if unit.companion is not None:
        seconds *= _LEARNS_FROM_ANOTHER
    if config.denoise.strategy == "mean":
        seconds *= _MEAN_SHARE
    elif unit.datatype == "anat":
        training_s = _TRAINING_S[config.denoise.recipe] if len(unit.images) > 1 else 0.0
        seconds += slower * (_NETWORKS_S[0] + _NETWORKS_S[1] * millions + training_s)
    # Half of the work has threads, the other half one.
    threads = min(max(1, config.resources.omp_nthreads), 8)
    return seconds * (1 + _THREADS / threads) / 2


def slower_networks(cpu_flags: Path = _CPU_FLAGS) -> float:
    """Time of networks on this processor over that on the one that was measured, by the processor's flags.

    Examples
    --------
    >>> slower_networks(Path("nowhere"))
    4.4
    """
    try:
        text = cpu_flags.read_text(encoding="utf-8")
    except OSError:
        text = ""
    flags = set(text.split())
    return next(factor for needed, factor in _SLOWER if flags.issuperset(needed))


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
