"""Draw the workflows of the app from themselves: steps that a run tells of, and what waits for what.

python docs/pictures/draw_workflows.py docs/pictures

Simulated files are grouped and their workflows are built as for a run, which then does not begin. Steps
without words in `n2a_bids.app.progress` are passed over; all that write files, or draw figures, are one.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import networkx as nx

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "datasets")]
import dwi_dataset  # noqa: E402
import microscopy_dataset  # noqa: E402
import small_dataset  # noqa: E402

from n2a_bids.app.progress.expected_time import STEP_WORDS  # noqa: E402
from n2a_bids.config import Config, SelectionConfig  # noqa: E402
from n2a_bids.dataset.collect import collect  # noqa: E402
from n2a_bids.dataset.units import DenoisingUnit  # noqa: E402
from n2a_bids.workflows.participant import init_participant_wf  # noqa: E402

PARTS = {
    "write": "files written",
    "outputs_wf": "files written",
    "reports_wf": "report drawn",
    "tensor_wf": "tensor maps fitted",
}
"""Workflows within the workflow that are one step in the picture."""
WIDTH, MAIN, GUTTER, ROW, HEIGHT = 420, 220, 46, 66, 42


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of image, and what its workflow does."""

    name: str
    steps: nx.DiGraph
    """Words of the steps; an edge leads to the step that waits."""


def main(out: Path) -> None:
    """Write one SVG for each kind of image."""
    for kind in kinds():
        (out / f"workflow-{kind.name}.svg").write_text(draw(kind), encoding="utf-8")


def kinds() -> Iterator[Kind]:
    """T1w, a diffusion pair of opposite phase encoding, and micrographs."""
    with tempfile.TemporaryDirectory() as name:
        for kind in ("T1w", "dwi", "micr"):
            bids = Path(name) / kind
            if kind == "T1w":
                small_dataset.describe(bids, "small", "raw")
                small_dataset.write_participant(bids, "01", 1)
            elif kind == "dwi":
                dwi_dataset.write_dataset(bids, "reverse-pe")
            else:
                microscopy_dataset.describe_dataset(bids)
                microscopy_dataset.write_exposures(bids)
            config = Config(bids, Path(name) / "out", Path(name) / "work", "uuid")
            unit = next(iter(collect(bids, SelectionConfig()).units))
            yield Kind(kind, steps_of(unit, config))


def steps_of(unit: DenoisingUnit, config: Config) -> nx.DiGraph:
    """Steps of the workflow of one unit that have words, and no way twice."""
    flat = init_participant_wf("01", [unit], config)._create_flat_graph()
    graph = nx.DiGraph()
    graph.add_nodes_from(words_of(node.fullname) for node in flat.nodes)
    graph.add_edges_from((words_of(one.fullname), words_of(other.fullname)) for one, other in flat.edges)
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    for node in [node for node in graph if node not in {*STEP_WORDS.values(), *PARTS.values()}]:
        around = [(one, other) for one in graph.pred[node] for other in graph.succ[node]]
        graph.remove_node(node)
        graph.add_edges_from(around)
    reduced = nx.transitive_reduction(graph)
    # Sorted, so that the same workflow gives the same picture.
    steps = nx.DiGraph()
    steps.add_nodes_from(sorted(reduced.nodes))
    steps.add_edges_from(sorted(reduced.edges))
    return steps


def words_of(full_name: str) -> str:
    """Words for a node, by its name within the workflow of the unit, or that name."""
    name = full_name.split(".", 2)[2]
    return PARTS.get(name.split(".")[0], STEP_WORDS.get(name, name))


def draw(kind: Kind) -> str:
    """SVG: the longest chain of steps from top to bottom, and beside it what waits for nothing of it."""
    chain = chain_of(kind.steps)
    places = place_steps(kind.steps, chain)
    beside = [edge for edge in sorted(kind.steps.edges) if places[edge[0]].x != places[edge[1]].x]
    body = [_TIP]
    for one, other in sorted(kind.steps.edges):
        lane = beside.index((one, other)) if (one, other) in beside else 0
        body.append(_arrow(places[one], places[other], MAIN + GUTTER * (lane + 1) / (len(beside) + 1)))
    body += [_box(step, place) for step, place in places.items()]
    height = max(place.y for place in places.values()) + HEIGHT / 2 + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        'role="img" font-family="DejaVu Sans, Arial, sans-serif" font-size="14">'
        f"<title>Steps for {kind.name}</title>\n" + "\n".join(body) + "\n</svg>\n"
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Middle and width of a box."""

    x: float
    y: float
    width: float


def chain_of(steps: nx.DiGraph) -> list[str]:
    """The longest way through the steps that leads through the denoising."""
    middle = STEP_WORDS["denoise"]
    before = nx.dag_longest_path(steps.subgraph({middle, *nx.ancestors(steps, middle)}))
    after = nx.dag_longest_path(steps.subgraph({middle, *nx.descendants(steps, middle)}))
    return [*before, *after[1:]]


def place_steps(steps: nx.DiGraph, chain: list[str]) -> dict[str, Place]:
    """Rows of the chain, and beside them the other steps, as late as they may come."""
    rows = {step: row for row, step in enumerate(chain)}
    for step in reversed(list(nx.topological_sort(steps))):
        rows.setdefault(step, min((rows[after] for after in steps.succ[step]), default=len(chain)) - 1)
    places = {}
    for step, row in sorted(rows.items(), key=lambda item: (item[1], item[0])):
        left, width = (2, MAIN - 2) if step in chain else (MAIN + GUTTER, WIDTH - MAIN - GUTTER - 2)
        x = left + width / 2
        places[step] = Place(x, 10 + ROW * row + HEIGHT / 2, width)
    return places


_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0,0L8,4L0,8Z" fill="#5b6675"/></marker></defs>'
)


def _arrow(one: Place, other: Place, lane: float) -> str:
    """Straight down in a column; between the columns down in a lane of the gutter."""
    if one.x == other.x:
        way = f"M{one.x:.0f},{one.y + HEIGHT / 2:.0f}V{other.y - HEIGHT / 2:.0f}"
    else:
        side = 1 if one.x < other.x else -1
        start, end = one.x + side * one.width / 2, other.x - side * other.width / 2
        # What leaves a box does so below the middle, and what comes in does so above; the two ways differ.
        away = 10 - 4 * side
        way = f"M{start:.0f},{one.y + away:.0f}H{lane:.0f}V{other.y - away:.0f}H{end:.0f}"
    return f'<path d="{way}" fill="none" stroke="#5b6675" stroke-width="1.6" marker-end="url(#tip)"/>'


def _box(step: str, place: Place) -> str:
    """A step; the denoising stands out."""
    fill, ink = ("#0b7a75", "#ffffff") if step == STEP_WORDS["denoise"] else ("#eef2f6", "#1a2230")
    return (
        f'<rect x="{place.x - place.width / 2:.0f}" y="{place.y - HEIGHT / 2:.0f}" '
        f'width="{place.width:.0f}" height="{HEIGHT}" rx="9" fill="{fill}" stroke="#8a94a1"/>'
        f'<text x="{place.x:.0f}" y="{place.y + 5:.0f}" text-anchor="middle" '
        f'fill="{ink}">{escape(step)}</text>'
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
