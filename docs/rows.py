"""Rows of benchmarks as the pages of the documentation show them: chosen, grouped, and told as numbers.

Tables, sentences (`tables.py`) and figures (`figures.py`) are specified in TOML, in comments of the pages:

    rows = ["2026-11-21/benchmark.tsv"]           relative to the page; or model cards of networks (.json)
    where = {condition = ["aligned"]}             rows that count, by column; all by default
    by = ["truth", "n_repetitions"]               columns whose values share one line
    across = ["method"]                           optional: {auto.psnr_db} is then that of the method auto
    order = {truth = ["colin27", "brain-44"]}     first these values; others by size, where none are given
    words = {colin27 = "Colin27"}                 what stands for a value of a column
    cells = ["truth", "noise_level"]              optional: columns that part the rows of a line into cells

In braces stands a column as it is, or arithmetic on columns with a format; of several rows (draws of noise)
the mean is shown, and where the format ends with ``±``, their SD behind it; {draws} is their number. Signs in
names of methods are written as ``_``, and names of two columns are joined by it: {colin27_0_4.psnr_db}.

With `cells` the mean of each cell is one value, and {draws} the number of cells.
{least(auto.psnr_db - mean.psnr_db):.2f} and ``most`` are the smallest and largest value, and
{number(auto.psnr_db < mean.psnr_db)} is how many there are of which that holds.
"""

from __future__ import annotations

import ast
import csv
import json
import operator
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, str]
Spec = Mapping[str, Any]
_SIGNS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_COMPARISONS = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
_REDUCTIONS = {"least": np.min, "most": np.max, "number": np.sum}


def group_rows(spec: Spec, folder: Path) -> list[list[Row]]:
    """Rows that count, those of each line together, in the order of the lines."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in (row for name in spec["rows"] for row in read_rows(folder / name) if _counts(row, spec)):
        groups.setdefault(tuple(row[name] for name in spec["by"]), []).append(row)
    if not groups:
        raise SystemExit(f"{spec['rows']}: expected rows that count, found none; correct 'where'")
    keys = sorted(groups, key=lambda key: [_rank(spec, *pair) for pair in zip(spec["by"], key, strict=True)])
    return [groups[key] for key in keys]


def read_rows(path: Path) -> list[Row]:
    """Rows of a TSV file, or of the model card of a network (JSON)."""
    if path.suffix == ".json":
        return _read_card(json.loads(path.read_text(encoding="utf-8")))
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def _read_card(card: Mapping[str, Any]) -> list[Row]:
    """Points of the learning curve, each with the numbers and words that the card holds besides."""
    about = {name: value for name, value in card.items() if isinstance(value, str | int | float)}
    return [
        {re.sub(r"\W", "_", name): str(value) for name, value in (about | point).items()}
        for point in card["curve"]
    ]


def _counts(row: Row, spec: Spec) -> bool:
    return all(row[name] in values for name, values in spec.get("where", {}).items())


def _rank(spec: Spec, column: str, value: str) -> tuple[float, str]:
    listed = spec.get("order", {}).get(column, [])
    if value in listed:
        return listed.index(value), ""
    try:
        return len(listed) + float(value), ""
    except ValueError:
        return np.inf, value


def fill_template(template: str, rows: Sequence[Row], spec: Spec) -> str:
    """A text in whose braces stands what the rows of one line say.

    Raises
    ------
    LookupError
        Where they do not say it.
    """

    def fill_one(found: re.Match[str]) -> str:
        expression, _, form = found[1].partition(":")
        if expression == "draws":
            return str(len(_parted(rows, spec.get("cells", ()))))
        shown = rows[0].get(expression)
        if not form and shown is not None:
            return spec.get("words", {}).get(shown, shown)
        if not form and (text := _text(expression, rows, spec.get("across", ()))) is not None:
            return text
        values = evaluate(expression, rows, spec.get("across", ()), spec.get("cells", ()))
        plain = form.removesuffix("±")
        spread = f" ± {values.std(ddof=1):{plain.lstrip('+')}}" if form != plain and values.size > 1 else ""
        return f"{values.mean():{plain or '.0f'}}{spread}"

    return re.sub(r"\{([^{}]+)\}", fill_one, template)


def evaluate(
    expression: str, rows: Sequence[Row], across: Sequence[str] = (), cells: Sequence[str] = ()
) -> np.ndarray:
    """Value of an arithmetic expression in every row or cell, or in every set of rows of the methods named.

    Raises
    ------
    LookupError
        If there is no row, or no value, of what it names.
    """
    parts = _parted(rows, cells)

    def value(node: ast.expr) -> np.ndarray:
        match node:
            case ast.Constant():
                return np.array([float(node.value)])
            case ast.UnaryOp(op=ast.USub()):
                return -value(node.operand)
            case ast.BinOp():
                return _SIGNS[type(node.op)](value(node.left), value(node.right))
            case ast.Compare(ops=[sign], comparators=[other]) if type(sign) in _COMPARISONS:
                return _COMPARISONS[type(sign)](value(node.left), value(other))
            case ast.Name():
                return _numbers(parts, node.id, bool(cells))
            case ast.Attribute(value=ast.Name(id=method)) if across:
                chosen = [[row for row in part if _name(row, across) == method] for part in parts]
                return _numbers(chosen, node.attr, bool(cells))
            case ast.Call(func=ast.Name(id="min")):
                return reduce(np.minimum, map(value, node.args))
            case ast.Call(func=ast.Name(id="max")):
                return reduce(np.maximum, map(value, node.args))
            case ast.Call(func=ast.Name(id=name), args=[argument]) if name in _REDUCTIONS:
                return np.atleast_1d(_REDUCTIONS[name](value(argument)))
        raise SystemExit(
            f"{expression}: expected numbers, columns, + - * / < >, min, max, least, most, number; correct it"
        )

    return value(ast.parse(expression, mode="eval").body)


def _parted(rows: Sequence[Row], cells: Sequence[str]) -> list[list[Row]]:
    """Rows of each cell, of which the mean counts; each row by itself where no cells are named."""
    if not cells:
        return [[row] for row in rows]
    parts: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        parts.setdefault(tuple(row[name] for name in cells), []).append(row)
    return list(parts.values())


def _name(row: Row, columns: Sequence[str]) -> str:
    return re.sub(r"\W", "_", "_".join(row[column] for column in columns))


def _text(expression: str, rows: Sequence[Row], across: Sequence[str]) -> str | None:
    """Words of one method: ``{auto.worth}``; None for what is no column of a method."""
    name, _, column = expression.partition(".")
    return next((row[column] for row in rows if _name(row, across) == name and column in row), None)


def _numbers(parts: Sequence[Sequence[Row]], column: str, everywhere: bool) -> np.ndarray:
    """Mean of a column in each part that has it; LookupError where none has it, or one that must lacks it."""
    values = [[float(row[column]) for row in part if row[column]] for part in parts]
    if not any(values) or (everywhere and not all(values)):
        raise LookupError(f"{column}: expected it in {'every cell' if everywhere else 'a row'}")
    return np.array([np.mean(part) for part in values if part])
