"""Table of benchmark rows on disk (TSV), and the error measures in each row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.quality import metrics
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.io.files import write_whole
from n2a_bids.lab.benchmark.anat.cells import Cell, CellData
from n2a_bids.lab.benchmark.micr.cells import MicrographCell
from n2a_bids.lab.benchmark.worker import Outcome
from n2a_bids.record.typed_json import JsonObject

Row = dict[str, str]

CELL_COLUMNS = ("truth", "condition", "noise_level", "n_repetitions", "seed", "method")
MEASURES = (
    "psnr_db",
    "edge_psnr_db",
    "ssim",
    "nrmse",
    "sharpness_over_truth",
    "residual_edge_correlation",
    "seconds",
    "peak_memory_mb",
)
_NO_RESIDUAL = 0.02
"""Residuals below this part of the noise SD are rounding of the intensity match."""

COLUMNS = (*CELL_COLUMNS, *MEASURES, "chosen", "status")


class RowTable:
    """TSV file of rows; every addition replaces the file whole, so a crash never leaves half a row.

    Parameters
    ----------
    path : Path
        Read if it exists.
    columns : sequence of str
        Header.
    key_columns : sequence of str
        Columns that name a row.

    Raises
    ------
    BIDSDataError
        If an existing file has another header.
    """

    def __init__(
        self, path: Path, columns: Sequence[str] = COLUMNS, key_columns: Sequence[str] = CELL_COLUMNS
    ):
        self.path = path
        self.columns = tuple(columns)
        self.key_columns = tuple(key_columns)
        self.rows: list[Row] = []
        if path.exists():
            with path.open(newline="") as stream:
                reader = csv.DictReader(stream, delimiter="\t")
                found = tuple(reader.fieldnames or ())
                if found != self.columns:
                    raise BIDSDataError(
                        f"{path}: expected the columns {', '.join(self.columns)}, found {', '.join(found)}; "
                        "give another --out folder"
                    )
                self.rows = list(reader)

    def has(self, key: Mapping[str, object]) -> bool:
        """Tell whether a finished row of this name is there; a failed one is tried again."""
        target = self._key(key)
        return any(self._key(row) == target and row.get("status", "ok") == "ok" for row in self.rows)

    def add(self, row: Mapping[str, object]) -> None:
        """Add a row, in place of an earlier one of the same name, and write the file."""
        text = {column: _format(row.get(column, "")) for column in self.columns}
        self.rows = [old for old in self.rows if self._key(old) != self._key(text)] + [text]
        write_lines(self.path, [self.columns, *(one.values() for one in self.rows)])

    def _key(self, row: Mapping[str, object]) -> tuple[str, ...]:
        return tuple(_format(row[column]) for column in self.key_columns)


def write_lines(path: Path, lines: Iterable[Iterable[object]]) -> None:
    """Write a TSV file whole: header and rows, numbers to six digits."""
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t", lineterminator="\n").writerows(map(_format, line) for line in lines)
    write_whole(path, buffer.getvalue())


def keep_settings(table_path: Path, settings: Mapping[str, object], *, resume: bool = True) -> None:
    """Write beside a table what all of its rows share, or compare with what stands there.

    Parameters
    ----------
    table_path : Path
        Of the table; the settings stand in the same place with the ending ``.json``.
    settings : mapping
        What can be written as JSON.
    resume : bool
        Whether rows may be there already.

    Raises
    ------
    ConfigError
        If the rows that are there were made with other settings, or nobody knows with which.
    """
    if table_path.exists() and not resume:
        raise ConfigError(
            f"{table_path}: expected no earlier results, found some; add --resume, or give another --out"
        )
    path = table_path.with_suffix(".json")
    required = json.loads(json.dumps(settings))
    if table_path.exists():
        if not path.exists():
            raise ConfigError(
                f"{path}: expected the settings of the rows in {table_path.name}, found no file; "
                "give another --out folder"
            )
        found = json.loads(path.read_text(encoding="utf-8"))
        for name, value in required.items():
            if found.get(name) != value:
                raise ConfigError(
                    f"{table_path}: expected rows made with {name} {value}, found {name} {found.get(name)}; "
                    "give another --out folder"
                )
    write_whole(path, json.dumps(required, indent=2) + "\n")


def cell_key(cell: Cell | MicrographCell, method: str) -> JsonObject:
    """Columns that name the row of one method in one cell."""
    return {**asdict(cell), "method": method}


def measure(data: CellData, outcome: Outcome) -> JsonObject:
    """Score one result against the truth.

    Returns
    -------
    values : dict
        The columns of `MEASURES`, ``chosen`` and ``status``.
    """
    mask, truth, image = data.repetitions.mask, data.truth, outcome.image
    chosen = outcome.metrics.get("chosen", {})
    return {
        "psnr_db": metrics.psnr(image, truth, mask),
        "edge_psnr_db": metrics.edge_psnr(image, truth, mask),
        "ssim": metrics.ssim(image, truth, mask),
        "nrmse": metrics.nrmse(image, truth, mask),
        "sharpness_over_truth": metrics.relative_sharpness(
            image, truth, truth, mask, data.repetitions.voxel_size_mm
        ),
        "residual_edge_correlation": anatomy_in_residual(data, image),
        "seconds": outcome.seconds,
        "peak_memory_mb": outcome.peak_memory_mb,
        # Of a blend, the largest part.
        "chosen": next(iter(chosen.get("shares", ())), chosen.get("name", "")),
        "status": "ok",
    }


def anatomy_in_residual(data: CellData, image: NDArray[np.float32]) -> float:
    """Edge correlation of the residual; 0 where there is next to none, as for the mean itself."""
    mask = data.repetitions.mask
    taken = residual(data, image)
    if np.std(taken[mask]) < _NO_RESIDUAL * data.mean_noise_sd:
        return 0.0
    return metrics.edge_correlation(taken, image, mask)


def residual(data: CellData, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Plain mean of the repetitions (of the first echo, where they are echoes) minus `image`."""
    return data.comparable.mean(axis=0) - image


def _format(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return " ".join(str(value).split())
