"""Speed measurements of the benchmark."""

import numpy as np
import pytest
import torch
from written_tables import read_rows

from n2a_bids.algorithms.nn.rates import Rates
from n2a_bids.cli.tools import main
from n2a_bids.lab.benchmark import rates
from n2a_bids.lab.benchmark.anat import engine_speed, speed
from n2a_bids.lab.benchmark.anat.cells import Cell, make_cell_data
from n2a_bids.lab.benchmark.anat.methods import oracle_input
from n2a_bids.lab.benchmark.strategies import MethodSettings
from n2a_bids.lab.benchmark.truths import crop_truth, template_truth
from n2a_bids.lab.benchmark.worker import run_in_child

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", engine_speed.NETWORKS)
def test_training_step_has_a_rate_and_memory(name):
    row = engine_speed.measure_training(name, CPU, block_edge=8, batch_size=1, n_steps=1)
    assert row["seconds"] > 0 and row["tflops"] > 0 and row["peak_memory_mb"] > 10
    assert row["item"] == f"{name}, 1 x 8^3"


def test_training_counts_three_times_the_arithmetic_of_prediction():
    """Backward costs twice forward, less the gradient of the input that nobody needs."""
    rows = [
        engine_speed.measure_training("munet-t1w", CPU, 8, 1, n_steps=1),
        engine_speed.measure_prediction("munet-t1w", CPU, 8),
    ]
    training, prediction = (row["tflops"] * row["seconds"] for row in rows)
    assert 2.8 < training / prediction <= 3


def test_report_phase_draws_figures():
    stage = crop_truth(template_truth(), (32, 32, 24))
    runs = np.stack([stage.data, stage.data])
    simulated = speed.simulate_runs(
        stage.data, stage.mask, speed.SimulationConfig(), np.random.default_rng(0)
    )
    _, record = speed._report(simulated, runs[1], stage.data, stage)
    assert record["characters"] > 1000


def test_one_pass_denoises_the_whole_volume():
    stage = crop_truth(template_truth(), (32, 32, 24))
    data = make_cell_data(Cell("a", "aligned", 0.4, 2, 0), stage, None, None)
    estimate, _ = speed._one_pass(data, MethodSettings())
    assert estimate.shape == stage.data.shape
    clean = oracle_input(data, MethodSettings()).scale.apply(data.truth)
    noise = 0.4 / np.sqrt(2)
    assert (estimate - clean)[stage.mask].std() < 0.6 * noise


def test_memory_of_a_child_is_its_own():
    small, large = (run_in_child(work).peak_memory_mb for work in (_take_little, _take_much))
    assert large - small == pytest.approx(200, rel=0.3)


def _take_little():
    return np.ones(10, np.float32), {}


def _take_much():
    return np.ones(50 * 2**20, np.float32)[:10].copy(), {}


def test_rates_are_rows_that_add_up_over_machines(tmp_path, monkeypatch):
    """What stands on the page for clusters comes from such rows."""
    told = Rates("cpu", "float32", training=5e4, prediction=2e5, fusion=4e5, nonlocal_bayes=1e5)
    monkeypatch.setattr(rates, "measure_rates", lambda device: told)
    arguments = ["benchmark", "--rates", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert main(arguments) == 2
    monkeypatch.setattr(rates, "processor_name", lambda: "another")
    assert main([*arguments, "--resume"]) == 0
    rows = read_rows(tmp_path / "rates.tsv")
    assert [row["training"] for row in rows] == ["50000", "50000"]
    assert rows[1]["processor"] == "another"
