"""Charts drawn with matplotlib: loss curve and risk bars."""

from __future__ import annotations

import hashlib
import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from xml.sax.saxutils import escape, quoteattr

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from n2a_bids.record.candidate_names import MEANS, candidate_name
from n2a_bids.record.denoising import CandidateRisk, Choice, Epoch
from n2a_bids.viz.svg import INK, MUTED

ACCENT, PLAIN, MEAN = "#0b7a75", "#a9b4c0", "#5b6675"
SERIES = ("#0b7a75", "#d1495b", "#3066be", "#8a5a00", "#6a4c93", "#2e7d32")
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "n2a_bids",
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e7ec",
}
_PHASES = {"recorrupted": "training on recorrupted averages"}
_LABEL_WIDTH = 38
"""Characters of a line beside a bar: names of several steps take two."""


@contextmanager
def drawing(width_in: float, height_in: float) -> Iterator[Figure]:
    """A figure in the style of the report; nothing of it outlives the ``with`` block."""
    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width_in, height_in), layout="constrained")


def render(figure: Figure, title: str) -> str:
    """The figure as SVG text, the same for the same figure, with its style kept to itself.

    Parameters
    ----------
    title : str
        Read out by screen readers.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    document = buffer.getvalue()
    document = document[document.index("<svg") :]
    uid = "n2a" + hashlib.sha256(document.encode()).hexdigest()[:12]
    document = document.replace("<svg ", f'<svg id="{uid}" role="img" aria-label={quoteattr(title)} ', 1)
    # The first element of the document, as some readers want it.
    inside = document.index(">", document.index("<svg ")) + 1
    document = f"{document[:inside]}<title>{escape(title)}</title>{document[inside:]}"
    return document.replace(">*{", f">#{uid} *{{", 1)


def loss_curve(history: Sequence[Epoch]) -> str:
    """Training loss over epochs, one line for each phase; no text at all where nothing was trained.

    Parameters
    ----------
    history : sequence of Epoch
        In order of training.
    """
    rows = [row for row in history if np.isfinite(row.loss)]
    if not rows:
        return ""
    with drawing(8.2, 3.1) as figure:
        axes = figure.add_subplot()
        phases = list(dict.fromkeys(row.phase for row in rows))
        offset = 0
        for index, phase in enumerate(phases):
            part = [row for row in rows if row.phase == phase]
            epochs = offset + np.arange(1, len(part) + 1)
            colour = SERIES[index % len(SERIES)]
            losses = [row.loss for row in part]
            axes.plot(
                epochs,
                losses,
                color=colour,
                marker="o",
                markersize=3,
                linewidth=1.8,
                label=_PHASES.get(phase, phase.replace("_", " ")),
            )
            offset += len(part)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        axes.set(xlabel="epoch, phases one after the other", ylabel="training loss (z$^2$)")
        # Above the axes: no curve is hidden, however it runs.
        axes.legend(frameon=False, fontsize=10, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        return render(figure, f"Training loss over {len(rows)} epochs")


def risk_bars(candidates: Sequence[CandidateRisk], chosen: Choice, *, before: str = "plain mean") -> str:
    """Estimated risk of every candidate relative to the mean (or the first), the one delivered marked.

    No text at all where fewer than two were compared.

    Parameters
    ----------
    candidates : sequence of CandidateRisk
        ``gain_over_mean_db`` is written beside the bar where there is one.
    chosen : Choice
        What was delivered; ``blend`` stands for the combination of the others.
    before : str
        What ``mean`` is called: a single series is no mean.
    """
    rows = [row for row in candidates if row.risk is not None]
    if len(rows) < 2:
        return ""
    # Iterations of one strategy are compared among themselves: the mean has no risk in their measure.
    baseline = next((row for row in rows if row.name in MEANS), rows[0])
    delivered = chosen.name
    rows.sort(key=lambda row: -row.risk)
    labels = [_risk_label(row, delivered, before) for row in rows]
    n_lines = max(label.count("\n") + 1 for label in labels)
    against = candidate_name(baseline.name)
    if baseline.name in MEANS:
        against = f"the {against}" if before == "plain mean" else f"the data {before}"
    with drawing(8.2, 1.1 + (0.18 + 0.18 * n_lines) * len(rows)) as figure:
        axes = figure.add_subplot()
        _draw_risks(axes, rows, labels, baseline.risk, delivered)
        # In the middle of the figure: beside long names the axes are too narrow for it.
        text = f"held-out squared error minus that of {against}; further left is better"
        figure.supxlabel(text, fontsize=axes.xaxis.label.get_fontsize())
        return render(
            figure, f"Estimated risk of the candidates; the output is the {candidate_name(delivered)}"
        )


def _draw_risks(
    axes: Axes, rows: Sequence[CandidateRisk], labels: Sequence[str], baseline: float, delivered: str
) -> None:
    """A bar with its standard error for each candidate, the one delivered in colour and bold."""
    risks = [row.risk - baseline for row in rows]
    errors = [row.standard_error or 0.0 for row in rows]
    colours = [ACCENT if row.name == delivered else PLAIN for row in rows]
    axes.barh(range(len(rows)), risks, color=colours, height=0.66)
    axes.errorbar(risks, range(len(rows)), xerr=errors, fmt="none", ecolor=INK, elinewidth=1.3, capsize=3)
    axes.axvline(0, color=MEAN, linewidth=1.2)
    axes.set_yticks(range(len(rows)), labels)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.name == delivered else "normal")
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6))


def _risk_label(row: CandidateRisk, delivered: str, before: str) -> str:
    """Name, gain in dB, and a mark on the chosen candidate, in lines that leave room for the bars."""
    gain = None if row.name in MEANS else row.gain_over_mean_db
    shown_gain = "" if gain is None else f" ({gain:+.1f} dB)".replace("-", "\N{MINUS SIGN}")
    mark = "✓ " if row.name == delivered else ""
    name = before if row.name == "mean" else candidate_name(row.name)
    label = f"{mark}{name}{shown_gain}".replace(" ", "\N{NO-BREAK SPACE}")
    for sign in "+(":  # Lines end between steps, or before what stands in brackets.
        label = label.replace(f"\N{NO-BREAK SPACE}{sign}", f" {sign}")
    return textwrap.fill(label, _LABEL_WIDTH, break_on_hyphens=False).replace("\N{NO-BREAK SPACE}", " ")
