"""Figures of the benchmark pages are those of the committed rows."""

from __future__ import annotations

import figures
import pytest

SPEC = {
    "file": "pictures/gain.svg",
    "title": "What is gained",
    "rows": ["rows.tsv"],
    "by": ["level"],
    "across": ["method"],
    "line": "noise {level}",
    "panels": [
        {"axis": "dB", "dots": [["auto", "auto.db - mean.db"], ["other", ["other.db - mean.db"]]], "same": 0}
    ],
}


@pytest.fixture
def folder(tmp_path):
    """Two levels, two draws; one method lacks the second level."""
    lines = ["method\tlevel\tdb", *(f"auto\t{level}\t{db}" for level in (0.2, 0.4) for db in (3, 5))]
    lines += [
        *(f"mean\t{level}\t1" for level in (0.2, 0.4) for _ in range(2)),
        "other\t0.2\t2",
        "other\t0.2\t2",
    ]
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("page", figures.pages(), ids=lambda page: page.name)
def test_figures_are_those_of_their_rows(page):
    """`python docs/figures.py` draws them anew."""
    assert [spec["file"] for spec in figures.specifications(page) if figures.differs(spec, page.parent)] == []
    assert figures.fill(page) == page.read_text(encoding="utf-8")


def test_a_dot_is_the_mean_of_its_draws_and_missing_ones_are_left_out(folder):
    both, one = figures.group_rows(SPEC, folder)
    assert [values.tolist() for values in figures.dots_of("auto.db - mean.db", both, SPEC)] == [[2, 4]]
    assert figures.dots_of("other.db - mean.db", one, SPEC) == []


def test_a_picture_of_other_rows_is_found(folder):
    assert figures.differs(SPEC, folder)
    figures.draw(SPEC, folder)
    assert not figures.differs(SPEC, folder)
    drawn = (folder / SPEC["file"]).read_text()
    assert "noise 0.4" in drawn and "other" in drawn
    (folder / "rows.tsv").write_text(
        (folder / "rows.tsv").read_text().replace("auto\t0.4\t5", "auto\t0.4\t6")
    )
    assert figures.differs(SPEC, folder)


def test_the_same_rows_give_the_same_bytes(folder):
    """So that a page whose rows did not change is not committed anew."""
    pictures = []
    for _ in range(2):
        figures.draw(SPEC, folder)
        pictures.append((folder / SPEC["file"]).read_bytes())
    assert pictures[0] == pictures[1]
