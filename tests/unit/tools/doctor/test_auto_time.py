"""The time that denoising will take follows from the rates of the machine and the size of the head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from n2a_bids.algorithms.nn import rates as measured
from n2a_bids.algorithms.nn.rates import Rates, measure_rates
from n2a_bids.algorithms.strategies.anat import auto
from n2a_bids.io.weights import load_all_weights
from n2a_bids.lab.benchmark.machine import processor_kind
from n2a_bids.tools.doctor.auto_time import TYPICAL_HEAD, expected_seconds

RATES = Rates("cpu", "float32", training=1e5, prediction=2e5, fusion=5e5, nonlocal_bayes=3e5)


def _seconds(recipe: str, rates: Rates = RATES, size=TYPICAL_HEAD) -> dict[str, float]:
    weights = load_all_weights(("resunet-t1w", "fusion-t1w"))
    return expected_seconds(size, auto.config(recipe, *weights), rates)


def test_training_costs_its_blocks_and_zero_shot_has_none():
    settings = auto.config("default", *load_all_weights(("resunet-t1w", "fusion-t1w"))).recorrupted
    steps = settings.schedule.n_epochs * settings.schedule.steps_per_epoch
    voxels = steps * settings.batch_size * settings.block_edge**3

    assert _seconds("default")["fit"] == pytest.approx(voxels / RATES.training)
    assert _seconds("zero-shot")["fit"] == 0


def test_a_machine_twice_as_fast_takes_half_of_the_time_but_for_the_rest():
    double = replace(RATES, training=2e5, prediction=4e5, fusion=1e6, nonlocal_bayes=6e5)
    slow, fast = _seconds("default"), _seconds("default", double)

    for part in ("fit", "risk", "predict"):
        assert fast[part] == pytest.approx(slow[part] / 2)
    assert fast["rest"] == slow["rest"]


def test_recipes_that_do_less_take_less():
    totals = [sum(_seconds(recipe).values()) for recipe in ("zero-shot", "fast", "default", "thorough")]

    assert totals == sorted(totals)


def test_rates_are_measured_on_this_machine(monkeypatch):
    """Small volumes here: only that the numbers are rates, and that the global random numbers stay."""
    monkeypatch.setattr(measured, "_BLOCK_EDGE", 8)
    monkeypatch.setattr(measured, "_PREDICTION_EDGE", 12)
    monkeypatch.setattr(measured, "_FILTER_EDGE", 8)
    state = torch.random.get_rng_state()
    found = measure_rates(torch.device("cpu"))

    assert min(found.training, found.prediction, found.fusion, found.nonlocal_bayes) > 0
    assert found.device == "cpu"
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_processor_is_named_with_what_holds_it_back(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "held to AVX2" in processor_kind()
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    assert "held" not in processor_kind()
