"""Summary of the diffusion benchmark: mean and spread over noise draws, and who leads how often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

Row = Mapping[str, str]

_CELL = ("phantom", "condition", "snr")
_MEASURES = {
    "psnr_dwi_db": ("PSNR of DWI, dB", 2, 1.0, True),
    "ssim_dwi": ("SSIM of DWI", 3, 1.0, True),
    "fa_error": ("FA error", 4, 1.0, False),
    "md_error": ("MD error, 1e-5 mm2/s", 2, 1e5, False),
    "v1_error_deg": ("V1 error, deg", 2, 1.0, False),
    "dwi_bias": ("bias of DWI, %", 1, 100.0, None),
    "seconds": ("seconds", 1, 1.0, None),
    "peak_memory_mb": ("memory, MB", 0, 1.0, None),
}
"""Title, digits, factor, and whether more is better (None: neither)."""


def summarise_diffusion(rows: Sequence[Row], method: str = "auto") -> str:
    """Markdown page of the rows.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of ``diffusion.tsv``.
    method : str
        Whose lead over every other method is counted.

    Returns
    -------
    text : str
        One table with mean and SD over the draws, then in how many cells `method` leads.
    """
    head = ["phantom", "condition", "SNR", "method", "draws", *(title for title, *_ in _MEASURES.values())]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for key, members in _grouped(rows, (*_CELL, "method")).items():
        values = [_spread(members, name) for name in _MEASURES]
        lines.append("| " + " | ".join([*key, str(len(members)), *values]) + " |")
    lines += ["", "Mean, and SD over the noise draws where there are several."]
    methods = {row["method"] for row in rows}
    if method in methods and len(methods) > 1:
        lines += ["", f"`{method}` against the others:", "", *_leads(rows, method)]
    return "\n".join(lines) + "\n"


def _leads(rows: Sequence[Row], method: str) -> list[str]:
    lines = []
    for name, (title, _, _, more_is_better) in _MEASURES.items():
        if more_is_better is None:
            continue
        sign = -1 if more_is_better else 1
        cells = _grouped(rows, _CELL)
        behind = []
        n_cells = 0
        for key, members in cells.items():
            means = {
                which: sign * float(np.mean([float(row[name]) for row in group]))
                for (which,), group in _grouped(members, ("method",)).items()
            }
            if method in means and len(means) > 1:
                n_cells += 1
                best = min(means, key=means.__getitem__)
                behind += [] if best == method else [f"{' '.join(key)} (behind {best})"]
        text = f"best in {n_cells - len(behind)} of {n_cells} cells"
        lines.append(f"- {title}: {text}{': not in ' + ', '.join(behind) if behind else ''}")
    return lines


def _grouped(rows: Iterable[Row], columns: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups


def _spread(rows: Sequence[Row], name: str) -> str:
    _, digits, factor, _ = _MEASURES[name]
    values = np.array([float(row[name]) * factor for row in rows])
    spread = f" ± {values.std(ddof=1):.{digits}f}" if values.size > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"
