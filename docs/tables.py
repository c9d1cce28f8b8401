"""Tables of the pages, and sentences about them, from the rows of benchmarks: no number is typed by hand.

python docs/tables.py            fill every table and sentence of docs/ anew
python docs/tables.py --check    say which pages differ from their rows, and change nothing

A table stands between two comments. The first is TOML, of which `rows.py` tells all but its last lines:

    <!-- table
    rows = ["2026-11-21/benchmark.tsv"]
    by = ["truth"]
    across = ["method"]
    missing = "not run"                           where a line has no row of a method
    columns = [["truth", "{truth}"], ["gain", "{auto.psnr_db - mean.psnr_db:+.2f} dB"]]
    -->
    <!-- end of table -->

Links to its rows follow it. Sentences stand between ``<!-- text`` and ``<!-- end of text -->``: `text` takes
the place of `columns`, and all rows are one line to it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from rows import Row, Spec, fill_template, group_rows

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(
    r"(?P<head><!-- (?P<kind>table|text)\n(?P<spec>.*?)\n-->\n).*?(?P<end><!-- end of (?P=kind) -->)",
    re.DOTALL,
)


def fill(page: Path) -> str:
    """Text of a page with its tables and sentences made from their rows."""

    def make(found: re.Match[str]) -> str:
        spec = tomllib.loads(found["spec"])
        if found["kind"] == "text":
            return f"{found['head']}\n{make_text(spec, page.parent)}\n{found['end']}"
        return f"{found['head']}\n{make_table(spec, page.parent)}\n{link_rows(spec)}\n{found['end']}"

    return BLOCK.sub(make, page.read_text(encoding="utf-8"))


def make_table(spec: Spec, folder: Path) -> str:
    """Markdown table of one specification, whose rows lie in `folder`."""
    heads = [head for head, _ in spec["columns"]]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for rows in group_rows(spec, folder):
        lines.append("| " + " | ".join(_fill_cell(cell, rows, spec) for _, cell in spec["columns"]) + " |")
    return "\n".join(lines) + "\n"


def link_rows(spec: Spec) -> str:
    """Where the reader of a table finds its rows."""
    links = (f"[{'/'.join(Path(name).parts[-2:])}]({name})" for name in spec["rows"])
    return f"Rows: {', '.join(links)}\n"


def make_text(spec: Spec, folder: Path) -> str:
    """Sentences of one specification, whose rows lie in `folder`."""
    (rows,) = group_rows({"by": []} | dict(spec), folder)
    return fill_template(spec["text"].strip(), rows, spec) + "\n"


def _fill_cell(template: str, rows: Sequence[Row], spec: Spec) -> str:
    try:
        return fill_template(template, rows, spec)
    except LookupError:
        return spec.get("missing", "")


def pages() -> list[Path]:
    """Pages of the documentation that hold a table or a sentence made from rows."""
    return [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text(encoding="utf-8"))]


def main(arguments: Sequence[str]) -> int:
    """Fill the pages, or only look for those that differ."""
    different = [page for page in pages() if fill(page) != page.read_text(encoding="utf-8")]
    for page in different:
        sys.stdout.write(f"{page.relative_to(DOCS.parent)}: differs from its rows\n")
        if "--check" not in arguments:
            page.write_text(fill(page), encoding="utf-8")
    return int(bool(different) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
