"""`Config`, all settings of one run: sections for resources, outputs and debugging, and all others.

A new option is one annotated field here (or in the section that it belongs to) and one use: the parsers of
``n2a`` and ``n2a-tools``, ``--help``, the settings file and the denoising node are made from the fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from n2a_bids.config.options import Option, Range
from n2a_bids.config.processing import AlignConfig, DenoiseConfig, MaskConfig
from n2a_bids.config.selection import SelectionConfig
from n2a_bids.config.training import TrainLevelConfig
from n2a_bids.record.typed_json import JsonObject


@dataclass(frozen=True, slots=True)
class ResourceConfig:
    """What the run may use."""

    HEADING: ClassVar[str] = "resources"

    n_procs: Annotated[
        int,
        Range(1),
        Option(
            "processors to use, all processes together",
            flags=("--nprocs", "--nthreads", "--n-cpus", "--n_cpus"), metavar="N", default="",
        ),
    ] = 1  # fmt: skip
    omp_nthreads: Annotated[
        int,
        Range(1),
        Option("threads of one process", metavar="N", default="--nprocs, at most 8"),
    ] = 1
    memory_gb: Annotated[
        float,
        Range(0.1),
        Option(
            "memory to stay within: 1.5G, 8000M, or a plain number in GB",
            flags=("--mem", "--mem-gb", "--mem_gb"), metavar="SIZE", reading="memory",
            default="90% of what is allowed",
        ),
    ] = 8.0  # fmt: skip
    low_mem: Annotated[bool, Option("smaller blocks, slower, for little memory")] = False
    n_gpu_procs: Annotated[
        int,
        Range(0),
        Option("denoising processes on the GPUs at the same time", metavar="N", default="one for each GPU"),
    ] = 0
    nipype_plugin: Annotated[str | None, "plugin of nipype that runs the steps, such as MultiProc"] = None
    nipype_plugin_args: Annotated[JsonObject, "plugin_args of nipype"] = field(default_factory=dict)

    @property
    def run_here(self) -> bool:
        """Whether steps run on this machine, and not as jobs with resources of their own."""
        return self.nipype_plugin in (None, "Linear", "MultiProc", "LegacyMultiProc")


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """What is written, beyond the derivatives that are always there."""

    HEADING: ClassVar[str] = "outputs"

    layout: Annotated[
        Literal["bids", "multiverse"],
        Option(
            "'multiverse' writes into a folder named after version and settings", flags=("--output-layout",)
        ),
    ] = "bids"
    sessions_in_a_report: Annotated[
        int,
        Range(1),
        Option(
            "most sessions in one report; a participant with more has one report for each session",
            flags=("--aggregate-session-reports",), metavar="N",
        ),
    ] = 4  # fmt: skip
    report_level: Annotated[
        Literal["root", "subject", "session"],
        Option(
            "folder of the reports: that of the dataset, of the participant, or of the session, which means "
            "one report for each session", flags=("--report-output-level",),
        ),
    ] = "root"  # fmt: skip
    viewer: Annotated[
        bool,
        Option(
            "also write 'sub-<label>_viewer.html', to scroll through the images, swipe between before and "
            "after, and rate them: one file that needs no network and shows nothing but the brain"
        ),
    ] = False
    viewer_head: Annotated[
        bool,
        Option("the viewer shows the whole head, by which a person can be recognised; implies --viewer"),
    ] = False
    ratings_dir: Annotated[
        Path | None,
        Option(
            "where ratings saved in viewers lie ('*_rating*.json'), for the group level",
            metavar="DIR", reading="absolute path",
            default="beside the reports",
        ),
    ] = None  # fmt: skip
    regions: Annotated[
        str | None,
        Option(
            "also measure noise and gain in the regions of an atlas: a segmentation of TemplateFlow "
            "(TEMPLATE:atlas-LABEL:desc-LABEL; on disk, or see --templateflow-download), or the path of a "
            "'*_dseg.nii.gz' that has its look-up table '*_dseg.tsv' beside it",
            metavar="ATLAS", default="",
        ),
    ] = None  # fmt: skip
    regions_template: Annotated[
        str | None,
        Option(
            "with a path for --regions: the T1w image that the regions lie on, a path or a template of "
            "TemplateFlow; its brain is the '*_desc-brain_mask.nii.gz' beside it, or found by deepbet",
            metavar="FILE", default="",
        ),
    ] = None  # fmt: skip
    fmriprep_derivatives: Annotated[
        bool,
        Option("also write the bias-corrected 'desc-preproc_T1w' that fMRIPrep takes with --derivatives"),
    ] = False
    raw_like_dir: Annotated[
        Path | None,
        Option(
            "also write a dataset that looks raw ('rec-n2a'), for tools that read no derivatives",
            flags=("--emit-raw-like",), metavar="DIR", reading="absolute path",
        ),
    ] = None  # fmt: skip
    dwi_own_grid: Annotated[
        bool,
        Option(
            "also write each series of a pair or of repeats denoised on its own grid, with its distortion",
            "diffusion series",
        ),
    ] = False
    complex_output: Annotated[
        bool,
        Option("also write denoised complex data as magnitude and phase ('part-mag', 'part-phase')"),
    ] = False
    micr_float: Annotated[
        bool,
        Option("write denoised micrographs in single precision (TIFF), unrounded", "micrographs"),
    ] = False
    clean_workdir: Annotated[
        bool,
        Option("delete a participant's intermediate files after success (never after a failure)"),
    ] = False
    md_only_boilerplate: Annotated[bool, Option("methods text as Markdown only", "do less")] = False
    write_graph: Annotated[bool, Option("draw the workflow in the work directory", DebugConfig.HEADING)] = (
        False
    )

    @property
    def wants_viewer(self) -> bool:
        """Whether participants get a viewer page."""
        return self.viewer or self.viewer_head


@dataclass(frozen=True, slots=True)
class DebugConfig:
    """How much is told, and what happens after a failure."""

    HEADING: ClassVar[str] = "settings file and debugging"

    verbosity: Annotated[int, Range(0), "0 to 2, as -v and -vv"] = 0
    stop_on_first_crash: Annotated[bool, Option("stop at the first failure")] = False
    crashfile_format: Annotated[Literal["txt", "pklz"], Option("how nipype keeps failures")] = "txt"
    resource_monitor: Annotated[bool, Option("record memory and processors")] = False
    show_traceback: Annotated[bool, "--debug: full tracebacks, and nipype's own debug messages"] = False
    pdb: Annotated[bool, "--debug pdb: open the debugger at the first failure"] = False


@dataclass(frozen=True, slots=True)
class Config:
    """One run of the app."""

    bids_dir: Path
    output_dir: Path
    work_dir: Annotated[
        Path,
        Option(
            "intermediate files; the same folder resumes a stopped run", "outputs",
            flags=("-w", "--work-dir", "--work_dir"), metavar="DIR", default="./work",
            reading="absolute path",
        ),
    ]  # fmt: skip
    run_uuid: str
    analysis_level: Literal["participant", "group", "train"] = "participant"
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    resources: ResourceConfig = field(default_factory=ResourceConfig)
    denoise: DenoiseConfig = field(default_factory=DenoiseConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    train: TrainLevelConfig = field(default_factory=TrainLevelConfig)
    outputs: OutputConfig = field(default_factory=OutputConfig)
    debug: DebugConfig = field(default_factory=DebugConfig)
    derivatives: Annotated[
        dict[str, Path],
        Option(
            "derivative datasets; a brain mask found there is used instead of ours", "which images",
            flags=("-d", "--derivatives"), metavar="NAME=PATH", reading="named path",
        ),
    ] = field(default_factory=dict)  # fmt: skip
    """Where a ready brain mask is looked for first, by name."""
    stage: Literal["run", "dry-run", "reports-only", "boilerplate-only"] = "run"
    """How much of the run is asked for."""
    sloppy: Annotated[bool, Option("poor and quick: for tests only", DebugConfig.HEADING)] = False
    """Cheapest settings everywhere."""
