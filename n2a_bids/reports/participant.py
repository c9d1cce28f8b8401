"""The page of one participant, from its figures and JSON files alone.

Figures are looked for in ``sub-<label>/figures/`` as ``<entities>_desc-<name>_<suffix>.svg``, where
``<entities>`` are those of the unit (``sub``, ``ses``, ``acq``, ...) plus ``run``, ``echo`` or ``dir`` where
there is one figure for each repetition, and ``<suffix>`` is ``T1w`` or ``dwi``. Names, order and captions are
in ``data/reports-spec.yml``: ``mask``, ``distortion``, ``alignment`` (one for each repetition but the
reference), ``denoised``, ``detail``, ``tensor``, ``residual``, ``noisesd``, ``risk``, ``loss``,
``gradients``, ``volumes``; the interfaces that draw them are in :mod:`n2a_bids.interfaces.reportlets`.

Numbers come from ``<entities>_desc-denoised_figures.json`` (written by ``n2a-tools denoise``) and
``<entities>_desc-alignment_figures.json`` in the ``anat`` or ``dwi`` folders.

The page is assembled by a template of our own. That of nireports loads jQuery and Bootstrap from two content
networks, so that it breaks where there is no network and tells strangers which report is being read; it also
inserts crash files without escaping, and rewrites the figures in place.
"""

from __future__ import annotations

from pathlib import Path

from n2a_bids import __version__
from n2a_bids.reports.bibliography import cited
from n2a_bids.reports.boilerplate import as_html, citation_keys, write_whole
from n2a_bids.reports.crashes import find_crashes
from n2a_bids.reports.methods import methods_markdown
from n2a_bids.reports.page import unit_page
from n2a_bids.reports.records import find_units
from n2a_bids.reports.templates import environment, style


def write_participant_report(output_dir: Path, participant: str, run_uuid: str) -> Path:
    """Write the page of a participant.

    Parameters
    ----------
    output_dir : path
        Derivative dataset.
    participant : str
        Label without ``sub-``.
    run_uuid : str
        Names the folder of the crash files, ``sub-<label>/log/<run_uuid>``.

    Returns
    -------
    path : path
        ``sub-<label>.html`` in `output_dir`: one file, which needs no network and no other file.

    Raises
    ------
    BIDSDataError
        If a JSON record is not readable.
    """
    units = find_units(output_dir, participant)
    crashes = find_crashes(output_dir / f"sub-{participant}" / "log" / run_uuid)
    methods = methods_markdown(units)
    page = environment().get_template("participant.html")
    text = page.render(
        participant=participant,
        run_uuid=run_uuid,
        version=__version__,
        style=style(),
        units=[unit_page(unit, output_dir) for unit in units],
        methods=as_html(methods, cited(citation_keys(methods))),
        crashes=[
            {
                "node": crash.node,
                "message": crash.message,
                "traceback": crash.traceback,
                "directory": crash.directory,
                "file": crash.path.name,
                "href": crash.path.relative_to(output_dir).as_posix(),
            }
            for crash in crashes
        ],
    )
    return write_whole(output_dir / f"sub-{participant}.html", text)
