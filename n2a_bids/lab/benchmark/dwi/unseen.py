"""``benchmark --modality dwi --unseen``: methods denoise the first series alone, the second scores it.

Results are brought to the grid and shape of the corrected head as the app does it, in one interpolation, as
the second series was; so nothing is blurred that the second is not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.algorithms.diffusion.tensor import (
    direction_products,
    fit_tensor,
    fractional_anisotropy,
    mean_diffusivity,
)
from n2a_bids.errors import DenoisingError
from n2a_bids.lab.benchmark.dwi.methods import denoise_series
from n2a_bids.lab.benchmark.dwi.real_pair import RealPair, Series, load_aligned
from n2a_bids.lab.benchmark.strategies import MethodSettings
from n2a_bids.lab.benchmark.table import RowTable
from n2a_bids.lab.benchmark.unseen import SCORE_COLUMNS, Detail, Pair, Scorer, score_row
from n2a_bids.lab.benchmark.worker import run_in_child

Maps = Mapping[str, Series]

KEY_COLUMNS = ("series", "given", "method", "what")
COLUMNS = (*KEY_COLUMNS, *SCORE_COLUMNS, "lead_of_auto", "lead_error", "chosen", "status")
ACQUIRED, CORRECTED = "as acquired", "corrected"
"""What methods are given: the series as it came from the scanner, corrected after denoising; or corrected."""
_WHAT = ("b0", "weighted", "fa", "md")
"""Volumes without and with weighting, and maps."""
_MD_UNIT, _LARGEST_MD = 1e-3, 3.5
"""mm2/s, and a little above free water in that unit: of voxels without signal MD is anything."""
_REFERENCE = "auto"


def run_unseen_series(
    folders: tuple[Path, ...], methods: tuple[str, ...], settings: MethodSettings, table: RowTable
) -> int:
    """Fill the table: every method on the first series of every pair, as acquired and corrected.

    Returns
    -------
    exit_code : int
        0, or 1 if a method failed; the others' results stand.
    """
    for folder in folders:
        pair = load_aligned(folder)
        scorers = {what: _scorer(one, pair.gradients, what) for what, one in _pairs(pair)}
        for given in (ACQUIRED, CORRECTED):
            _score_methods(pair, given, (_REFERENCE, *methods), scorers, settings, table)
    return int(any(row["status"] != "ok" for row in table.rows))


def _score_methods(
    pair: RealPair,
    given: str,
    methods: tuple[str, ...],
    scorers: Mapping[str, Scorer],
    settings: MethodSettings,
    table: RowTable,
) -> None:
    """Add the rows of one pair, the first method being the one that the others are compared with."""
    leader: dict[str, NDArray[np.float64]] = {}
    series = pair.repetitions(corrected=given == CORRECTED)
    for method in dict.fromkeys(methods):
        key = dict(zip(KEY_COLUMNS, (pair.name, given, method), strict=False))
        try:
            outcome = run_in_child(partial(denoise_series, method, series, settings))
        except DenoisingError as error:
            table.add(key | {"what": _WHAT[0], "status": f"failed: {error}"})
            continue
        shown = maps_of(
            pair.correct(outcome.image) if given == ACQUIRED else outcome.image, pair.gradients, pair.mask
        )
        for what, scorer in scorers.items():
            found = scorer.differences(shown[what])
            if method == _REFERENCE:
                leader[what] = found
            lead, error = scorer.lead(leader[what], found) if what in leader else ("", "")
            row = score_row(scorer, found) | {"lead_of_auto": lead, "lead_error": error, "status": "ok"}
            table.add(key | row | {"what": what, "chosen": outcome.metrics["chosen"]})
        sys.stderr.write(f"{pair.name}, {given}: {method}\n")


def _pairs(pair: RealPair) -> Iterator[tuple[str, Pair]]:
    first, second = (
        maps_of(image, pair.gradients, pair.mask) for image in (pair.correct(pair.first.data), pair.second)
    )
    for what in _WHAT:
        yield what, Pair(first[what], second[what], pair.mask)


def _scorer(pair: Pair, gradients: Gradients, what: str) -> Scorer:
    """What scores one kind of map; decibels are told of the weighted volumes, where the noise is known."""
    return Scorer(pair, angular_detail(pair, gradients) if what == "weighted" else None)


def angular_detail(pair: Pair, gradients: Gradients) -> Detail:
    """What no second-order function of direction explains in the weighted volumes of a shell.

    Anatomy is alike in all of them, so that next to none is left, and no border that moved; noise is
    independent between volumes, whatever neighbours share.
    """
    shells = find_shells(gradients)
    products = direction_products(gradients.bvecs[shells > 0])
    shells = shells[shells > 0]
    design = np.hstack([products * (shells == shell)[:, None] for shell in np.unique(shells)])
    explained = design @ np.linalg.pinv(design)
    image = pair.first.astype(np.float64)
    return Detail(image - image @ explained, 1 - float(np.trace(explained)) / len(explained))


def maps_of(image: Series, gradients: Gradients, mask: NDArray[np.bool_]) -> Maps:
    """What is compared of a series, (X, Y, Z, C) each: `_WHAT`.

    MD in 1e-3 mm2/s.
    """
    weighted = find_shells(gradients) > 0
    fit = fit_tensor(image, gradients, mask)
    scalars = {
        "fa": fractional_anisotropy(fit),
        "md": np.clip(mean_diffusivity(fit) / _MD_UNIT, 0, _LARGEST_MD),
    }
    spread = {name: np.zeros((*mask.shape, 1), np.float32) for name in scalars}
    for name, values in scalars.items():
        spread[name][mask, 0] = values
    return {
        "b0": image[..., ~weighted],
        "weighted": image[..., weighted],
        **spread,
    }
