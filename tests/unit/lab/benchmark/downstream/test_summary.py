"""Rows of the analyses become averages over truths, and what a method is worth."""

import numpy as np
import pytest

from n2a_bids.lab.benchmark.downstream.averages import LADDER
from n2a_bids.lab.benchmark.downstream.summary import draw_worth, summarise, summarise_brains


def row(method, size, error, truth="one", measure="gm_overlap", retest="", status="ok"):
    return {
        **{"truth": truth, "condition": "aligned", "noise_level": "0.4", "n_repetitions": str(size)},
        **{"seed": "0", "method": method, "measure": measure, "error": str(error), "retest": str(retest)},
        "status": status,
    }


def ladder(truth, scale):
    return [row("mean", n, scale / np.sqrt(n), truth, retest=1 if n < 12 else "") for n in LADDER]


def test_a_method_is_worth_what_its_averaged_error_says():
    """Errors are averaged over truths first; a mean is worth its own number."""
    rows = ladder("one", 1.0) + ladder("two", 3.0)
    rows += [row("auto", 2, 1.0 / np.sqrt(6), "one"), row("auto", 2, 3.0 / np.sqrt(6), "two")]
    found = {(entry.method, entry.n_repetitions): entry for entry in summarise(rows)}
    assert found["auto", 2].worth.n_averages == pytest.approx(6, rel=1e-3)
    assert found["auto", 2].n_cells == 2 and found["auto", 2].retest is None
    assert found["mean", 12].worth.n_averages == 12 and found["mean", 4].retest == 1


def test_unfinished_cells_and_failed_rows_do_not_count():
    """A truth whose ladder is not whole tells nothing yet."""
    rows = ladder("one", 1.0) + ladder("two", 3.0)[:-1] + [row("auto", 2, 0.5), row("auto", 2, 0.1, "two")]
    rows += [row("bm4d", 2, "", status="failed: no luck")]
    found = {entry.method: entry for entry in summarise(rows)}
    assert found["auto"].n_cells == 1 and found["auto"].error == 0.5
    assert "bm4d" not in found


def test_each_brain_is_told_by_itself():
    """Brains that differ are not hidden in their average."""
    rows = ladder("one", 1.0) + ladder("two", 1.0)
    rows += [row("auto", 2, 1.0 / np.sqrt(4), "one"), row("auto", 2, 1.0 / np.sqrt(9), "two")]
    found = {truth: entries[-1].worth.n_averages for truth, entries in summarise_brains(rows).items()}
    assert found == {"one": pytest.approx(4, rel=1e-3), "two": pytest.approx(9, rel=1e-3)}


def test_the_picture_is_drawn(tmp_path):
    draw_worth(summarise([*ladder("one", 1.0), row("auto", 2, 0.5)]), tmp_path / "worth.png")
    assert (tmp_path / "worth.png").read_bytes()[:4] == b"\x89PNG"
