"""Picks the T1w group of a session that gets ``desc-preproc`` names, which fMRIPrep reuses."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from n2a_bids.config import Config
from n2a_bids.dataset.names import derivative_path, parse_name, source_uri
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.json import listed, read_json, sidecar_path


def preproc_units(units: Iterable[DenoisingUnit]) -> list[DenoisingUnit]:
    """The plainest T1w unit of each session, repeated if any is: it gives the ``desc-preproc_T1w``."""
    return [min(members, key=_plainness) for members in _by_session(units)]


def _plainness(unit: DenoisingUnit) -> tuple[bool, int]:
    return unit.kind == "anat-single", len(unit.entities)


def preproc_conflict(units: Iterable[DenoisingUnit]) -> str:
    """What fMRIPrep would stumble over, with the remedy; empty if there is nothing.

    Every group writes its own ``desc-brain_mask``, but only one of a session the ``desc-preproc_T1w``.

    Parameters
    ----------
    units : iterable of DenoisingUnit
        Of all participants.

    Returns
    -------
    sentence : str
        It names the first session only: a large dataset has the same groups everywhere.
    """
    crowded = [members for members in _by_session(units) if len(members) > 1]
    if not crowded:
        return ""
    (chosen,) = preproc_units(crowded[0])
    more = f", and in {len(crowded) - 1} more sessions" if len(crowded) > 1 else ""
    return (
        f"{', '.join(unit.label for unit in crowded[0])} are groups of one session{more}. Each has its own "
        f"desc-brain_mask, but desc-preproc_T1w shows {chosen.label} alone: fMRIPrep expects one of each in "
        "a session. Select one group with --filter-t1w or --bids-filter-file"
    )


def several_sessions(units: Iterable[DenoisingUnit], output_dir: Path) -> str:
    """How fMRIPrep must be run where a participant has ``desc-preproc_T1w`` in several sessions; else empty.

    fMRIPrep looks for the T1w of all sessions of a participant at once, and cannot take more than one.

    Parameters
    ----------
    units : iterable of DenoisingUnit
        Of all participants.
    output_dir : Path
        Where earlier runs may have left the images of other sessions.

    Returns
    -------
    sentence : str
        It names the first participant only.
    """
    sessions: dict[str, set[str]] = {}
    for members in _by_session(units):
        entities = members[0].entities
        sessions.setdefault(entities["sub"], set()).add(entities.get("ses", ""))
    for participant, found in sessions.items():
        for image in (output_dir / f"sub-{participant}").glob("**/anat/*_desc-preproc_T1w.nii*"):
            found.add(parse_name(image)[0].get("ses", ""))
    several = {participant: sorted(found) for participant, found in sessions.items() if len(found) > 1}
    if not several:
        return ""
    first, found = next(iter(several.items()))
    named = ", ".join(f"ses-{label}" if label else "no session" for label in found)
    more = f", and {len(several) - 1} more participants" if len(several) > 1 else ""
    return (
        f"sub-{first} ({named}){more}: there will be a desc-preproc_T1w in more than one session. fMRIPrep "
        "takes those of all sessions for one by default, and stops; run it with "
        "--subject-anatomical-reference sessionwise"
    )


def preproc_path(unit: DenoisingUnit, output_dir: Path) -> Path:
    """Where the ``desc-preproc_T1w`` of the session of a unit goes."""
    session = {key: unit.entities[key] for key in ("sub", "ses") if key in unit.entities}
    return derivative_path(output_dir, session, "T1w", desc="preproc")


def outdated_preproc(unit: DenoisingUnit, config: Config) -> list[Path]:
    """Image and sidecar that an earlier run made of these images, where this run does not renew them.

    fMRIPrep would take the earlier image for the result of this run. That of another group stays.
    """
    image = preproc_path(unit, config.output_dir)
    sidecar = sidecar_path(image)
    if config.outputs.fmriprep_derivatives or unit.suffix != "T1w" or not sidecar.is_file():
        return []
    with suppress(BIDSDataError):
        sources = listed(read_json(sidecar).get("Sources"))
        if any(source_uri(one.path, config) in sources for one in unit.images):
            return [image, sidecar]
    return []


def _by_session(units: Iterable[DenoisingUnit]) -> list[list[DenoisingUnit]]:
    """T1w units that are of one participant and session."""
    sessions: dict[tuple[str, str], list[DenoisingUnit]] = {}
    for unit in units:
        if unit.suffix == "T1w":
            sessions.setdefault((unit.entities["sub"], unit.entities.get("ses", "")), []).append(unit)
    return list(sessions.values())
