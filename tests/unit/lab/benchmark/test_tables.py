"""Laws of the benchmark's cells, rows and summary."""

from dataclasses import replace

import numpy as np
import pytest

from n2a_bids.algorithms import context
from n2a_bids.algorithms.noise.rician import rician_mean
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.lab.benchmark import strategies
from n2a_bids.lab.benchmark.anat import methods
from n2a_bids.lab.benchmark.anat.cells import Cell, make_cell_data, plan_cells
from n2a_bids.lab.benchmark.anat.summary import check_targets, format_summary, summarise
from n2a_bids.lab.benchmark.table import COLUMNS, RowTable, cell_key
from n2a_bids.lab.benchmark.truths import (
    Truth,
    crop_truth,
    in_contrast,
    load_truth,
    pad_truth,
    template_truth,
)

CELL = Cell("a", "aligned", 0.4, 2, 0)


def unused_aligner(runs, affine):
    raise AssertionError("aligned runs need no alignment")


@pytest.fixture(scope="module")
def truth():
    return crop_truth(template_truth(), (24, 20, 16))


def row(method, psnr, **changes):
    values = dict.fromkeys(COLUMNS, "1")
    values |= {"truth": "a", "condition": "aligned", "noise_level": "0.4", "n_repetitions": "2", "seed": "0"}
    return values | {"method": method, "psnr_db": str(psnr), "status": "ok", **changes}


def test_every_call_of_a_cell_gives_the_same_data(truth):
    first, second = (make_cell_data(CELL, truth, None, unused_aligner) for _ in range(2))
    np.testing.assert_array_equal(first.repetitions.data, second.repetitions.data)


@pytest.mark.parametrize("change", [{"seed": 1}, {"truth": "b"}, {"noise_level": 0.2}, {"n_repetitions": 3}])
def test_cells_have_independent_noise(truth, change):
    settings = {"truth": "a", "condition": "aligned", "noise_level": 0.4, "n_repetitions": 2, "seed": 0}
    first = make_cell_data(CELL, truth, None, unused_aligner)
    other = make_cell_data(Cell(**settings | change), truth, None, unused_aligner)
    noise = [(data.repetitions.data[0, ..., 0] - data.truth)[truth.mask] for data in (first, other)]
    assert abs(np.corrcoef(noise)[0, 1]) < 0.1


def test_noise_level_counts_in_sd_of_the_box_that_is_judged(truth):
    data = make_cell_data(CELL, truth, (12, 12, 12), unused_aligner)
    assert data.truth.shape == (12, 12, 12)
    expected = 0.4 * data.truth[data.repetitions.mask].std()
    assert data.mean_noise_sd == pytest.approx(expected, rel=1e-4)


def test_uneven_cells_know_their_gains_and_noise(truth):
    data = make_cell_data(Cell("a", "uneven", 0.1, 3, 0), truth, None, unused_aligner)
    assert np.ptp(data.noise_sd) > 0.3 * data.noise_sd.min()
    means = data.repetitions.data[:, truth.mask].mean(axis=(1, 2))
    np.testing.assert_allclose(means / means[0], data.gains, rtol=0.02)
    np.testing.assert_allclose(data.matched[:, truth.mask].mean(axis=1), means[0], rtol=0.02)


def test_unequal_cells_have_their_level_as_root_mean_square(truth):
    data = make_cell_data(Cell("a", "unequal", 0.1, 3, 0), truth, None, unused_aligner)
    sds = (data.repetitions.data[..., 0] - data.truth)[:, truth.mask].std(axis=1)
    assert sds[2] / sds[0] == pytest.approx(2, rel=0.05)
    assert np.sqrt(np.mean(sds**2)) == pytest.approx(data.mean_noise_sd, rel=0.05)


def test_echoes_differ_in_contrast_and_only_the_first_counts(truth):
    data = make_cell_data(Cell("a", "echoes", 0.0, 3, 0), truth, None, unused_aligner)
    assert not data.repetitions.same_contrast
    first, second, third = data.matched[:, truth.mask]
    np.testing.assert_allclose(first, data.truth[truth.mask], rtol=1e-5)
    assert first.mean() > second.mean() > third.mean()
    np.testing.assert_array_equal(data.comparable, data.matched[:1])


def test_moved_cells_are_aligned_as_whole_images(truth):
    seen = {}

    def aligner(runs, affine):
        seen["shape"], seen["moved"] = runs.truth.shape, runs.transforms[1]
        return np.stack([runs.truth] * len(runs.repetitions))

    data = make_cell_data(Cell("a", "moved", 0.4, 2, 0), truth, (12, 12, 12), aligner)
    assert min(seen["shape"]) > 24 and not np.allclose(seen["moved"], np.eye(4))
    np.testing.assert_array_equal(data.repetitions.data[0, ..., 0], data.truth)


def test_crop_and_pad_keep_world_coordinates():
    data = np.zeros((20, 20, 20), dtype=np.float32)
    data[5:15, 6:16, 2:18] = 1
    data[10, 10, 10] = 7
    whole = Truth("t", data, data > 0, np.diag([2.0, 1, 1, 1]))
    for other in (crop_truth(whole, (8, 8, 8)), pad_truth(whole, 5)):
        voxel = np.argwhere(other.data == 7)[0]
        np.testing.assert_allclose((other.affine @ [*voxel, 1])[:3], [20, 10, 10])
    assert pad_truth(whole, 5).data.shape == (20, 21, 26)
    with pytest.raises(ConfigError, match="positive"):
        crop_truth(whole, (0, 4, 4))


def test_whole_heads_need_a_mask(tmp_path, affine):
    import nibabel as nib

    path = tmp_path / "head.nii.gz"
    nib.Nifti1Image(np.ones((8, 8, 8), np.float32), affine).to_filename(path)
    with pytest.raises(BIDSDataError, match="--truth-mask"):
        load_truth(path)
    mask = tmp_path / "mask.nii.gz"
    nib.Nifti1Image(np.ones((8, 8, 7), np.uint8), affine).to_filename(mask)
    with pytest.raises(BIDSDataError, match="grid"):
        load_truth(path, mask)
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    with pytest.raises(BIDSDataError, match=r"broken\.nii\.gz"):
        load_truth(tmp_path / "broken.nii.gz")


def test_first_seed_of_every_cell_comes_first():
    cells = plan_cells(["a", "b"], ["aligned"], [0.2, 0.4], [2], 2)
    assert len(cells) == 8 and [cell.seed for cell in cells] == [0] * 4 + [1] * 4


def test_table_survives_reopening_and_tries_failures_again(tmp_path):
    path = tmp_path / "rows.tsv"
    table = RowTable(path)
    table.add(cell_key(CELL, "mean") | {"psnr_db": 30.0, "status": "ok"})
    table.add(cell_key(CELL, "ants") | {"status": "failed: out of\nmemory"})
    again = RowTable(path)
    assert again.has(cell_key(CELL, "mean")) and not again.has(cell_key(CELL, "ants"))
    again.add(cell_key(CELL, "ants") | {"psnr_db": 31.0, "status": "ok"})
    assert [r["method"] for r in RowTable(path).rows] == ["mean", "ants"]
    assert [file.name for file in tmp_path.iterdir()] == ["rows.tsv"]


def test_table_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(BIDSDataError, match="--out"):
        RowTable(path)


def test_summary_pairs_gains_on_the_same_data():
    rows = [row("mean", 30), row("auto", 34), row("mean", 20, seed="1"), row("auto", 23, seed="1")]
    auto = next(entry for entry in summarise(rows) if entry["method"] == "auto")
    assert (auto["n"], auto["gain_over_mean_db"], auto["worst_gain_over_mean_db"]) == (1, 3.5, 3.0)
    assert np.isnan(auto["gain_over_bm4d_db"])


def test_seeds_are_averaged_before_heads():
    """A head of many draws counts as much as a head of one."""
    rows = [row("mean", 30), row("auto", 34), row("mean", 20, seed="1"), row("auto", 23, seed="1")]
    rows += [{**row("mean", 30), "truth": "another"}, {**row("auto", 31), "truth": "another"}]
    auto = next(entry for entry in summarise(rows) if entry["method"] == "auto")
    assert (auto["n"], auto["gain_over_mean_db"]) == (2, 2.25)
    assert auto["psnr_db_mean"] == (28.5 + 31) / 2
    assert auto["psnr_db_sd"] == pytest.approx(np.std([28.5, 31], ddof=1))


def test_measures_that_were_not_taken_do_not_count():
    rows = [row("mean", 30), {**row("mean", 32, seed="1"), "sharpness_over_truth": "nan"}]
    assert summarise(rows)[0]["sharpness_over_truth_mean"] == float(rows[0]["sharpness_over_truth"])


def test_failed_rows_do_not_count():
    rows = [row("mean", 30), row("mean", "", seed="1", status="failed: x")]
    assert summarise(rows)[0]["psnr_db_mean"] == 30


def test_targets_are_met_not_met_or_not_measured():
    rows = [row("mean", 30), row("bm4d", 35), row("auto", 35.5)]
    verdicts = {t.statement: t.verdict for t in check_targets(rows)}
    assert verdicts["aligned: PSNR over BM4D, every cell (dB)"] == "met"
    assert verdicts["aligned: PSNR over BM4D, average (dB)"] == "not met"
    assert verdicts["aligned: PSNR over Noise2Noise, every cell (dB)"] == "not measured"
    page = format_summary(summarise(rows), check_targets(rows))
    assert "+5.50" in page and "not measured" in page


def test_conditions_are_judged_apart():
    """BM4D sees one echo, `auto` all: echoes must not help the average of the other condition."""
    rows = [row("bm4d", 30), row("auto", 30.5)]
    rows += [
        {**one, "condition": "echoes", "psnr_db": "40"}
        if one["method"] == "auto"
        else {**one, "condition": "echoes"}
        for one in rows
    ]
    averages = {t.statement: t.value for t in check_targets(rows) if "PSNR over BM4D, average" in t.statement}
    assert averages["aligned: PSNR over BM4D, average (dB)"] == 0.5
    assert averages["echoes: PSNR over BM4D, average (dB)"] == 10


def test_a_baseline_may_have_the_noise_floor_taken_out(truth, monkeypatch):
    """Truth in, noise floor and all: `-floor` gives the truth back where there is signal."""
    data = make_cell_data(CELL, truth, None, unused_aligner)
    measured = rician_mean(data.truth, data.noise_sd).astype(np.float32)
    monkeypatch.setattr(methods, "denoise_with_baseline", lambda name, *settings, **told: measured)
    mask, settings = data.repetitions.mask, methods.MethodSettings()
    plain, _ = methods.run_method("nlmeans", data, settings)
    without, _ = methods.run_method("nlmeans-floor", data, settings)
    methods.check_method("nlmeans-floor")
    bright = mask & (data.truth > 0.5 * data.noise_sd)
    assert (plain - data.truth)[bright].min() > 0
    np.testing.assert_allclose(without[bright], data.truth[bright], rtol=1e-3)
    with pytest.raises(ConfigError, match="expected a method"):
        methods.check_method("mean-floor")


def test_a_baseline_may_be_told_how_unequal_the_noise_is(truth, monkeypatch):
    """`-weighted` gives it the mean of least noise and its level; the floor is that of the repetitions."""
    unequal = replace(CELL, condition="unequal", n_repetitions=2)
    data = make_cell_data(unequal, truth, None, unused_aligner)
    got = {}

    def keep(name, repetitions, mask, noise_sd, *settings, **told):
        got[name, len(repetitions)] = repetitions.mean(axis=0), noise_sd
        return rician_mean(data.truth, 0.8 * data.noise_sd).astype(np.float32)

    monkeypatch.setattr(methods, "denoise_with_baseline", keep)
    settings, mask = methods.MethodSettings(), data.repetitions.mask
    methods.check_method("nlmeans-weighted-floor")
    methods.run_method("nlmeans", data, settings)
    without, _ = methods.run_method("nlmeans-weighted-floor", data, settings)
    # Variances of 0.4 and 1.6: weights of 0.8 and 0.2, which leave 0.32; the bias is as of 0.64.
    matched, level = data.matched, data.mean_noise_sd
    image, noise_sd = got["nlmeans", 1]
    np.testing.assert_allclose(image, 0.8 * matched[0] + 0.2 * matched[1], rtol=1e-5)
    np.testing.assert_allclose([got["nlmeans", 2][1], noise_sd], [level, 0.32**0.5 * level], rtol=1e-5)
    bright = mask & (data.truth > data.noise_sd)
    np.testing.assert_allclose(without[bright], data.truth[bright], rtol=1e-2)


@pytest.mark.parametrize("name", ["auto+floor", "auto:fast+zero-shot", "recorrupted+scratch", "munet"])
def test_variants_of_a_strategy_are_known(name):
    methods.check_method(name)


@pytest.mark.parametrize("name", ["mean+floor", "oracle+zero-shot", "auto+nothing", "noise2noise+scratch"])
def test_a_variant_that_means_nothing_is_refused(name):
    with pytest.raises(ConfigError, match="found"):
        methods.check_method(name)


def test_zero_shot_trains_nothing_and_scratch_takes_no_weights(truth, monkeypatch):
    data = make_cell_data(CELL, truth, (16, 16, 16), unused_aligner)
    loaded = []
    known = strategies.load_all_weights
    monkeypatch.setattr(
        strategies, "load_all_weights", lambda names, folder: loaded.append(names) or known(names)
    )
    _, metrics = methods.run_method("recorrupted:fast+zero-shot", data, methods.MethodSettings())
    assert metrics["history"] == [] and loaded == [("resunet-t1w",)]
    trained = []
    monkeypatch.setattr(context, "fit", lambda *args, **kwargs: trained.append(args) or [])
    methods.run_method("recorrupted:fast+scratch", data, methods.MethodSettings())
    assert loaded[1] == () and len(trained) == 1


def test_contrasts_turn_tissues_around_and_keep_the_anatomy():
    """CSF is brightest of a T2w and darkest of a FLAIR, grey matter above white in both; names tell which."""
    data = np.repeat(np.array([15.0, 60, 100], np.float32), 20).reshape(3, 4, 5)
    truth = Truth("brain", data, np.ones(data.shape, bool), np.eye(4))
    csf, grey, white = in_contrast(truth, "T2w").data[:, 0, 0]
    assert csf > grey > white > 0
    csf, grey, white = in_contrast(truth, "FLAIR").data[:, 0, 0]
    assert grey > white > csf > 0
    assert in_contrast(truth, "FLAIR").name == "brain-like-FLAIR" and in_contrast(truth, "T1w") is truth
