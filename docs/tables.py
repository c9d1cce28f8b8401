"""Tables of the pages, filled from the rows that benchmarks left: no number is typed by hand.

python docs/tables.py            fill every table of docs/ anew
python docs/tables.py --check    say which differ from their rows, and change nothing

A table stands between two comments. The first is TOML and says what it is made of:

    <!-- table
    rows = ["2026-11-21/benchmark.tsv"]           relative to the page
    where = {condition = ["aligned"]}             rows that count, by column; all by default
    by = ["truth", "n_repetitions"]               columns whose values share one line of the table
    across = ["method"]                           optional: {auto.psnr_db} is then that of the method auto
    order = {truth = ["colin27", "brain-44"]}     first these values; others by size, where none are given
    words = {colin27 = "Colin27"}                 what stands for a value of a column
    missing = "not run"                           where a line has no row of a method
    columns = [["truth", "{truth}"], ["gain", "{auto.psnr_db - mean.psnr_db:+.2f} dB"]]
    -->
    <!-- end of table -->

In braces stands a column as it is, or arithmetic on columns with a format; of several rows (draws of noise)
the mean is shown, and where the format ends with ``±``, their SD behind it; {draws} is their number. Signs in
names of methods are written as ``_``, and names of two columns are joined by it: {colin27_0_4.psnr_db}.
"""

from __future__ import annotations

import ast
import csv
import operator
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, str]
DOCS = Path(__file__).resolve().parent
TABLE = re.compile(
    r"(?P<head><!-- table\n(?P<spec>.*?)\n-->\n)(?P<table>.*?)(?P<end><!-- end of table -->)", re.DOTALL
)
_SIGNS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def fill(page: Path) -> str:
    """Text of a page with its tables made from their rows."""
    text = page.read_text(encoding="utf-8")
    return TABLE.sub(
        lambda found: (
            f"{found['head']}\n{make_table(tomllib.loads(found['spec']), page.parent)}\n{found['end']}"
        ),
        text,
    )


def make_table(spec: Mapping[str, Any], folder: Path) -> str:
    """Markdown table of one specification, whose rows lie in `folder`."""
    rows = [row for name in spec["rows"] for row in read_rows(folder / name) if _counts(row, spec)]
    if not rows:
        raise SystemExit(f"{spec['rows']}: expected rows for a table, found none; correct its 'where'")
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in spec["by"]), []).append(row)
    keys = sorted(groups, key=lambda key: [_rank(spec, *pair) for pair in zip(spec["by"], key, strict=True)])
    heads = [head for head, _ in spec["columns"]]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for key in keys:
        cells = [_fill_cell(template, groups[key], spec) for _, template in spec["columns"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def read_rows(path: Path) -> list[Row]:
    """Rows of a TSV file."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def _counts(row: Row, spec: Mapping[str, Any]) -> bool:
    return all(row[name] in values for name, values in spec.get("where", {}).items())


def _rank(spec: Mapping[str, Any], column: str, value: str) -> tuple[float, str]:
    listed = spec.get("order", {}).get(column, [])
    if value in listed:
        return listed.index(value), ""
    try:
        return len(listed) + float(value), ""
    except ValueError:
        return np.inf, value


def _fill_cell(template: str, rows: Sequence[Row], spec: Mapping[str, Any]) -> str:
    def fill_one(found: re.Match[str]) -> str:
        expression, _, form = found[1].partition(":")
        if expression == "draws":
            return str(len(rows))
        shown = rows[0].get(expression)
        if not form and shown is not None:
            return spec.get("words", {}).get(shown, shown)
        if not form and (text := _text(expression, rows, spec.get("across", ()))) is not None:
            return text
        values = evaluate(expression, rows, spec.get("across", ()))
        plain = form.removesuffix("±")
        spread = f" ± {values.std(ddof=1):{plain.lstrip('+')}}" if form != plain and values.size > 1 else ""
        return f"{values.mean():{plain}}{spread}"

    try:
        return re.sub(r"\{([^{}]+)\}", fill_one, template)
    except LookupError:
        return spec.get("missing", "")


def evaluate(expression: str, rows: Sequence[Row], across: Sequence[str] = ()) -> np.ndarray:
    """Value of an arithmetic expression in every row, or in every set of rows of the methods that it names.

    Raises
    ------
    LookupError
        If there is no row, or no value, of what it names.
    """

    def value(node: ast.expr) -> np.ndarray:
        if isinstance(node, ast.Constant):
            return np.array([float(node.value)])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.BinOp):
            return _SIGNS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Name):
            return _numbers(rows, node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and across:
            return _numbers([row for row in rows if _name(row, across) == node.value.id], node.attr)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
            return reduce(np.minimum if node.func.id == "min" else np.maximum, map(value, node.args))
        raise SystemExit(f"{expression}: expected numbers, columns, + - * /, min and max; correct the table")

    return value(ast.parse(expression, mode="eval").body)


def _name(row: Row, columns: Sequence[str]) -> str:
    return re.sub(r"\W", "_", "_".join(row[column] for column in columns))


def _text(expression: str, rows: Sequence[Row], across: Sequence[str]) -> str | None:
    """Words of one method: ``{auto.worth}``; None for what is no column of a method."""
    name, _, column = expression.partition(".")
    return next((row[column] for row in rows if _name(row, across) == name and column in row), None)


def _numbers(rows: Sequence[Row], column: str) -> np.ndarray:
    values = [float(row[column]) for row in rows if row[column]]
    if not values:
        raise LookupError(column)
    return np.array(values)


def pages() -> list[Path]:
    """Pages of the documentation that hold a table."""
    return [page for page in sorted(DOCS.rglob("*.md")) if TABLE.search(page.read_text(encoding="utf-8"))]


def main(arguments: Sequence[str]) -> int:
    """Fill the tables, or only look for those that differ."""
    different = [page for page in pages() if fill(page) != page.read_text(encoding="utf-8")]
    for page in different:
        sys.stdout.write(f"{page.relative_to(DOCS.parent)}: tables differ from their rows\n")
        if "--check" not in arguments:
            page.write_text(fill(page), encoding="utf-8")
    return int(bool(different) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
