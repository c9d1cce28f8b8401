"""Tables of the documentation are what the committed rows say, and those without rows say so."""

from __future__ import annotations

import json
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


# Decibels, percents with decimals, errors behind ±; and what a process took, on the pages of results.
RESULTS = r"\d\s*dB\b|\d\.\d+\s*%|\d\s*±\s*\d"
COSTS = r"\d\.\d+\s*(?:GB|s|min|minutes)\b"
# What was tried, and only what was learned of it is kept: dated, in one place.
HISTORY, MOST_IN_HISTORY = ROOT / "docs" / "benchmarks" / "tried.md", 13
# Examples that follow from a formula.
COMPUTED = ("6.5 dB for two runs whose noise SDs are 1 to 4",)


def typed_text(page: Path) -> str:
    """What was typed into a page: neither made from rows nor a command or an address."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", tables.BLOCK.sub("", page.read_text("utf-8")), flags=re.S)
    return re.sub(r"\]\([^)]*\)|`[^`]*`|" + "|".join(COMPUTED), "", text)


@pytest.mark.parametrize(
    "page",
    [page for page in sorted((ROOT / "docs").glob("**/*.md")) if page != HISTORY],
    ids=lambda p: p.stem,
)
def test_results_are_made_from_rows(page):
    """Outside of tables and sentences that rows fill, no page tells what was measured."""
    if re.fullmatch(r"[\d-]+", page.parent.name):
        return  # what a benchmark wrote beside its rows
    wanted = f"{RESULTS}|{COSTS}" if page in BENCHMARKS else RESULTS
    found = re.finditer(wanted, text := typed_text(page))
    assert [text[max(0, one.start() - 40) : one.end() + 10] for one in found] == []


def test_what_was_tried_gets_no_more_typed_results():
    """The one place for history holds what it held, or less."""
    assert len(re.findall(RESULTS, typed_text(HISTORY))) <= MOST_IN_HISTORY


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


def test_readers_of_a_table_find_its_rows(draws):
    page = draws / "page.md"
    head = '<!-- table\nrows = ["2026/rows.tsv"]\nby = ["level"]\ncolumns = [["n", "{draws}"]]\n-->\n'
    (draws / "2026").mkdir()
    (draws / "rows.tsv").rename(draws / "2026" / "rows.tsv")
    page.write_text(f"{head}<!-- end of table -->\n")
    assert "| 3 |\n\nRows: [2026/rows.tsv](2026/rows.tsv)\n\n<!-- end" in tables.fill(page)


def test_points_of_a_learning_curve_are_rows(tmp_path):
    """With what the model card says besides; names become those of a calculation."""
    card = {"name": "net", "steps": 20, "recipe": {}, "curve": [{"step": 10, "psnr_0.3": 30.0}, {"step": 20}]}
    (tmp_path / "net.json").write_text(json.dumps(card))
    first, last = benchmark_rows.read_rows(tmp_path / "net.json")
    assert first == {"name": "net", "steps": "20", "step": "10", "psnr_0_3": "30.0"}
    assert last == {"name": "net", "steps": "20", "step": "20"}


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
