"""Settings of a run: frozen dataclasses, standard library only.

The parser fills them, every workflow builder takes its own section.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "cuda"]
Recipe = Literal["fast", "default", "thorough", "faithful"]

RESERVED_NAMES = {"raw": "input dataset", "": "output dataset"}
"""Names of datasets in BIDS URIs that no derivative can have."""


@dataclass(frozen=True, slots=True)
class SelectionConfig:
    """Which images of the dataset are looked at."""

    participants: tuple[str, ...] = ()
    """Labels without ``sub-``; empty means all."""
    sessions: tuple[str, ...] = ()
    """Labels without ``ses-``; empty means all."""
    exclude_participants: tuple[str, ...] = ()
    runs: tuple[int, ...] = ()
    """Indices of ``run-``; empty means all, with or without one."""
    modalities: tuple[Literal["T1w", "dwi"], ...] = ("T1w", "dwi")
    bids_filters: dict[str, dict[str, object]] = field(default_factory=dict)
    """Content of ``--bids-filter-file``: query name -> entities (``t1w``, ``dwi``)."""
    database_dir: Path | None = None
    """Cache of the pybids index."""
    wipe_database: bool = False
    """Make the cache of the index anew."""
    skip_validation: bool = False
    """Do not open the images before the run to check them."""
    dwi_pairing: Literal["auto", "reverse-pe", "repeat", "split", "single"] = "auto"
    dwi_corrected: bool = False
    """Distortion has been taken out of the diffusion series already: none is estimated."""
    b0_threshold: float = 50.0
    """Largest b-value, in s/mm2, that counts as no diffusion weighting."""


@dataclass(frozen=True, slots=True)
class MaskConfig:
    """How the brain is found."""

    method: Literal["deepbet", "template"] = "deepbet"
    template: str | None = None
    """TemplateFlow name, or ``None`` for the packaged one; used by ``template``."""


@dataclass(frozen=True, slots=True)
class AlignConfig:
    """How repetitions are brought onto one grid, and when they are refused."""

    space: Literal["reference", "halfway"] = "reference"
    min_correlation: float = 0.85
    """Lowest in-mask correlation with the reference after alignment, of smoothed intensities."""
    min_structure_correlation: float = 0.5
    """Lowest in-mask correlation of gyral detail: two people stay below 0.3."""
    max_rotation_deg: float = 45.0
    max_translation_mm: float = 80.0
    min_overlap: float = 0.9
    """Lowest fraction of the brain mask inside the field of view of a repetition."""


@dataclass(frozen=True, slots=True)
class DenoiseConfig:
    """The denoising itself: what ``n2a-tools denoise`` is told."""

    strategy: str = "auto"
    recipe: Recipe = "default"
    device: Device = "auto"
    skull_strip: bool = False
    random_seed: int = 20261121
    weights_dir: Path | None = None
    keep_noise_floor: bool = False
    """Leave the Rician bias of magnitudes in the result."""
    cuda_graphs: bool = False
    """Record a training step on the GPU and replay it, in place of launching its kernels one by one."""


@dataclass(frozen=True, slots=True)
class ResourceConfig:
    """What the run may use."""

    n_procs: int = 1
    omp_nthreads: int = 1
    memory_gb: float = 8.0
    n_gpu_procs: int = 0
    low_mem: bool = False
    nipype_plugin: str | None = None
    nipype_plugin_args: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """What is written, beyond the derivatives that are always there."""

    fmriprep_derivatives: bool = False
    raw_like_dir: Path | None = None
    dwi_own_grid: bool = False
    """Also write each diffusion series denoised on its own grid, with its distortion."""
    layout: Literal["bids", "multiverse"] = "bids"
    clean_workdir: bool = False
    """Delete the participant's work directory once everything of it has succeeded."""
    report_level: Literal["root", "subject", "session"] = "root"
    """Folder of the reports: of the dataset, of the participant, of the session."""
    sessions_in_a_report: int = 4
    """A participant with more sessions has a report for each."""
    write_graph: bool = False
    md_only_boilerplate: bool = False
    """Write the methods text as Markdown only."""


@dataclass(frozen=True, slots=True)
class DebugConfig:
    """How much is told, and what happens after a failure."""

    verbosity: int = 0
    stop_on_first_crash: bool = False
    resource_monitor: bool = False
    crashfile_format: Literal["txt", "pklz"] = "txt"
    show_traceback: bool = False
    """``--debug``: full tracebacks, and nipype's own debug messages."""
    pdb: bool = False
    """``--debug pdb``: open the debugger at the first failure."""


@dataclass(frozen=True, slots=True)
class Config:
    """One run of the app."""

    bids_dir: Path
    output_dir: Path
    work_dir: Path
    run_uuid: str
    analysis_level: Literal["participant", "group"] = "participant"
    derivatives: dict[str, Path] = field(default_factory=dict)
    """``--derivatives NAME=PATH``: where a ready brain mask is looked for first."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    denoise: DenoiseConfig = field(default_factory=DenoiseConfig)
    resources: ResourceConfig = field(default_factory=ResourceConfig)
    outputs: OutputConfig = field(default_factory=OutputConfig)
    debug: DebugConfig = field(default_factory=DebugConfig)
    stage: Literal["run", "dry-run", "reports-only", "boilerplate-only"] = "run"
    """How much of the run is asked for."""
    sloppy: bool = False
    """Cheapest settings everywhere: for tests only."""
