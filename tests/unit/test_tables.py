"""Tables of the documentation are what the committed rows say, and those without rows say so."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import rows as benchmark_rows
import tables

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = sorted((ROOT / "docs" / "benchmarks").glob("*.md"))
# Tables of definitions, which hold numbers of the simulation and of the measures themselves.
DEFINITIONS = ("| | |", "| column |", "| | as the paper |")


@pytest.mark.parametrize("page", tables.pages(), ids=lambda page: page.name)
def test_tables_are_what_their_rows_say(page):
    """`python docs/tables.py` makes them; nobody types a number."""
    assert tables.fill(page) == page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", BENCHMARKS, ids=lambda page: page.name)
def test_tables_without_rows_say_so(page):
    """A table that nothing holds tells its reader, in the paragraph before it."""
    text = tables.BLOCK.sub("", page.read_text(encoding="utf-8"))
    blocks = re.split(r"\n\n+", text)
    silent = [
        block.partition("\n")[0]
        for before, block in zip(blocks, blocks[1:])
        if block.startswith("|")
        and re.search(r"\d\.\d", block)
        and not block.startswith(DEFINITIONS)
        and "rows were not kept" not in before.replace("\n", " ")
    ]
    assert silent == []


@pytest.fixture
def draws(tmp_path):
    """Folder with rows of two methods, two levels and three draws; one method lacks a level."""
    lines = ["method\tlevel\tseed\terror"]
    for level, scale in (("0.4", 2.0), ("0.2", 1.0)):
        lines += [f"our-own\t{level}\t{seed}\t{scale * (1 + seed)}" for seed in range(3)]
    lines += [f"mean\t0.2\t{seed}\t{10 + seed}" for seed in range(3)]
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def table(folder, **spec):
    made = tables.make_table({"rows": ["rows.tsv"]} | spec, folder)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in made.splitlines()[2:]]


def test_draws_are_averaged_and_methods_compared_draw_by_draw(draws):
    columns = [
        ["level", "{level}"],
        ["own", "{our_own.error:.1f±} of {our_own.error * 10:.0f}"],
        ["gain", "{mean.error - our_own.error:+.2f±}"],
    ]
    found = table(draws, by=["level"], across=["method"], missing="not run", columns=columns)
    assert found == [["0.2", "2.0 ± 1.0 of 20", "+9.00 ± 0.00"], ["0.4", "4.0 ± 2.0 of 40", "not run"]]


def test_rows_are_chosen_ordered_and_named(draws):
    spec = {
        "by": ["method", "level"],
        "where": {"seed": ["0"]},
        "order": {"method": ["our-own"], "level": ["0.4"]},
        "words": {"our-own": "**ours**"},
        "columns": [["m", "{method}, {level}"], ["e", "{error:.1f±} ({draws})"]],
    }
    assert table(draws, **spec) == [
        ["**ours**, 0.4", "2.0 (1)"],
        ["**ours**, 0.2", "1.0 (1)"],
        ["mean, 0.2", "10.0 (1)"],
    ]


def test_words_of_one_method_are_shown_as_they_are(draws):
    spec = {"by": ["level"], "across": ["method", "seed"], "columns": [["e", "{our_own_2.error}"]]}
    assert table(draws, **spec) == [["3.0"], ["6.0"]]


def test_expressions_are_arithmetic_alone(draws):
    rows = benchmark_rows.read_rows(draws / "rows.tsv")
    assert np.allclose(benchmark_rows.evaluate("min(error, 2) * 2 - 1", rows[:3]), [3, 3, 3])
    with pytest.raises(SystemExit, match="expected numbers"):
        benchmark_rows.evaluate("open('x')", rows)
    with pytest.raises(LookupError):
        benchmark_rows.evaluate("other.error", rows, ("method",))


def test_a_table_whose_rows_changed_is_found(draws):
    page = draws / "page.md"
    head = '<!-- table\nrows = ["rows.tsv"]\nby = ["level"]\ncolumns = [["n", "{draws}"]]\n-->\n'
    page.write_text(f"Before.\n\n{head}\n| n |\n|---|\n| 7 |\n\n<!-- end of table -->\n\nAfter.\n")
    filled = tables.fill(page)
    assert "| 6 |\n| 3 |" in filled and filled.endswith("-->\n\nAfter.\n") and "| 7 |" not in filled
    page.write_text(filled)
    assert tables.fill(page) == filled


def test_sentences_count_cells_and_tell_the_range(draws):
    spec = {
        "rows": ["rows.tsv"],
        "where": {"level": ["0.2"]},
        "across": ["method"],
        "cells": ["seed"],
        "text": "{least(mean.error - our_own.error):.0f} to {most(mean.error + our_own.error):.0f}, "
        "more than 10 in {number(mean.error > 10)} of {draws}.",
    }
    assert tables.make_text(spec, draws) == "9 to 15, more than 10 in 2 of 3.\n"


def test_a_sentence_about_what_one_cell_lacks_is_refused(draws):
    """A mean over fewer cells than it says would mislead."""
    spec = {"rows": ["rows.tsv"], "across": ["method"], "cells": ["level"], "text": "{mean.error:.1f}"}
    with pytest.raises(LookupError, match="every cell"):
        tables.make_text(spec, draws)
