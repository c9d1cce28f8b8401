"""Options that select images: participants, sessions, BIDS filters, pairing, frames of micrographs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from n2a_bids.config.options import Option, Range
from n2a_bids.contrasts import ALL_ANATOMY, B0_THRESHOLD, MODALITIES
from n2a_bids.record.typed_json import JsonObject

RESERVED_NAMES = {"raw": "input dataset", "": "output dataset"}
"""Names of datasets in BIDS URIs that no derivative can have."""
_DIFFUSION = "diffusion series"

B0Threshold = Annotated[
    float,
    Range(0),
    Option(
        "largest b-value, in s/mm2, of a volume that counts as b0; volumes without direction do, too",
        _DIFFUSION, metavar="B", default=f"{B0_THRESHOLD:g}",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class SelectionConfig:
    """Which images of the dataset are looked at."""

    HEADING: ClassVar[str] = "which images"

    participants: Annotated[
        tuple[str, ...],
        Option(
            "only these participants, with or without 'sub-'",
            flags=("--participant-label", "--participant_label"), metavar="LABEL",
            reading="participant label", shapes_result=False,
        ),
    ] = ()  # fmt: skip
    """Labels without ``sub-``; empty means all."""
    exclude_participants: Annotated[
        tuple[str, ...],
        Option(
            "not these participants", flags=("--exclude-participant-label",), metavar="LABEL",
            reading="participant label", shapes_result=False,
        ),
    ] = ()  # fmt: skip
    sessions: Annotated[
        tuple[str, ...],
        Option(
            "only these sessions, with or without 'ses-'", flags=("--session-label", "--session-id"),
            metavar="LABEL", reading="session label", shapes_result=False,
        ),
    ] = ()  # fmt: skip
    """Labels without ``ses-``; empty means all."""
    runs: Annotated[
        tuple[int, ...],
        Range(0),
        Option("only images with one of these run indices", flags=("--run-id",), metavar="N"),
    ] = ()
    """Indices of ``run-``; empty means all, with or without one."""
    modalities: Annotated[
        tuple[str, ...],
        Option(
            "only these kinds of image, by their BIDS suffix; 'anat' is all but dwi and micr",
            flags=("--modalities", "-m"), choices=(ALL_ANATOMY, *MODALITIES), default="all",
            shapes_result=False,
        ),
    ] = MODALITIES  # fmt: skip
    bids_filters: Annotated[
        dict[str, JsonObject],
        Option(
            "JSON with entities for the queries 't1w', 't2w', ..., 'dwi'; null means absent, '*' means any",
            flags=("--bids-filter-file",), metavar="FILE", reading="filter file",
        ),
    ] = field(default_factory=dict)  # fmt: skip
    """Query name -> entities; the names are `MODALITIES` in small letters."""
    ignore_phase: Annotated[
        bool,
        Option(
            "denoise magnitudes, also where the dataset has phases, or real and imaginary parts",
            default="complex data are used where every image of a group has them",
        ),
    ] = False
    database_dir: Annotated[
        Path | None,
        Option(
            "keep the index of the dataset here, and take it from here next time",
            flags=("--bids-database-dir",), metavar="DIR", reading="absolute path", shapes_result=False,
        ),
    ] = None  # fmt: skip
    """Cache of the pybids index."""
    wipe_database: Annotated[
        bool, Option("make that index anew", flags=("--bids-database-wipe",), shapes_result=False)
    ] = False
    skip_validation: Annotated[
        bool,
        Option(
            "do not check the images before the run (only those that are used are ever checked)",
            flags=("--skip-bids-validation", "--skip_bids_validation"), shapes_result=False,
        ),
    ] = False  # fmt: skip
    single: Annotated[
        bool,
        Option(
            "also denoise anatomical images that were not repeated, each by itself: its noise is estimated "
            "from the image, and nothing independent checks the result"
        ),
    ] = False
    require_repetitions: Annotated[
        bool,
        Option(
            "end with exit code 70 where there are images, but none that can be denoised", shapes_result=False
        ),
    ] = False
    dwi_pairing: Annotated[
        Literal["auto", "reverse-pe", "repeat", "split", "single"],
        Option(
            "what counts as a repetition of a diffusion series", _DIFFUSION,
            default="auto, the best that the data allow",
        ),
    ] = "auto"  # fmt: skip
    dwi_corrected: Annotated[
        bool,
        Option(
            "distortion has been corrected already: none is estimated, and series of opposite phase encoding "
            "count as repeats",
            _DIFFUSION,
        ),
    ] = False
    dwi_in_place: Annotated[
        bool,
        Option(
            "denoise each diffusion series where it lies, before anything else: motion and distortion stay, "
            "and so do tables and headers",
            _DIFFUSION,
        ),
    ] = False
    b0_threshold: B0Threshold = B0_THRESHOLD
    micr_frames: Annotated[
        int | None,
        Range(2, 64),
        Option(
            "the pages of each TIFF are frames of one field of view, summed to this many groups: 2 are the "
            "even and the odd frames",
            "micrographs", metavar="K", default="pages are planes of a stack",
        ),
    ] = None  # fmt: skip
    """None: the pages of a TIFF are planes."""
