"""Laws of the default strategy for diffusion series and of its parts."""

import json
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
import torch
from diffusion_series import random_table, turning_fibres
from scipy import ndimage

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.filters.learned import Pair, checkerboard, learn_filters, principal_basis
from n2a_bids.algorithms.filters.local_pca import PatchPlan, estimate_noise_sd, shrink_local_pca
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.dwi_candidates import choose, compare_candidates
from n2a_bids.algorithms.risk.dwi_recorruption import acquired_noise, average, recorrupt
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.cli.tools import main
from n2a_bids.errors import ConfigError
from n2a_bids.io.gradients import write_gradients
from n2a_bids.lab.simulation.dwi import add_rician_noise, tensor_phantom
from n2a_bids.record.denoising import CandidateRisk


def _phantom(shape=(18, 18, 8), n=14):
    """Smooth tensors of varying direction in a box inside the grid, S0 about 100."""
    table = random_table(2, n)
    data, mask = turning_fibres(shape, table)
    return tensor_phantom(data, table, np.ones(shape, bool)), table, mask


def _run(name, images, table, mask, seed=3):
    strategy = get_strategy(name, "dwi")
    context = Context(torch.Generator().manual_seed(seed))
    repetitions = Repetitions(np.stack(images), mask, gradients=table)
    return strategy.denoise(repetitions, strategy.config("fast"), context)


def _noisy(truth, sd, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [add_rician_noise(truth, sd, generator) for _ in range(n)]


def _error(estimate, truth, mask):
    return float(np.sqrt(np.mean((estimate[mask] - truth[mask]) ** 2)))


@pytest.mark.parametrize("n_repetitions", [1, 2])
def test_auto_lowers_the_error_of_the_mean(n_repetitions):
    """Denoising halves the error of the plain mean on a smooth phantom, and says what it chose."""
    truth, table, mask = _phantom()
    repetitions = _noisy(truth, 8.0, n_repetitions)
    result = _run("auto", repetitions, table, mask)
    assert _error(result.data, truth, mask) < 0.5 * _error(np.mean(repetitions, axis=0), truth, mask)
    assert result.record.chosen.mean_won is False
    names = {row.name for row in result.record.candidates}
    assert names == {"mean", "local PCA", "learned filters", "non-local Bayes"}


def test_auto_scales_with_the_image():
    """A change of unit changes the unit of the result and nothing else."""
    truth, table, mask = _phantom()
    noisy = _noisy(truth, 8.0, 1)
    once = _run("auto", noisy, table, mask)
    scaled = _run("auto", [1000 * noisy[0]], table, mask)
    assert np.allclose(scaled.data, 1000 * once.data, rtol=1e-2, atol=200)


def test_auto_repeats_with_the_seed_and_leaves_the_outside_alone():
    """The same seed gives the same bits; outside the mask stands the plain mean."""
    truth, table, mask = _phantom()
    noisy = _noisy(truth, 8.0, 2)
    first, second = (_run("auto", noisy, table, mask) for _ in range(2))
    assert np.array_equal(first.data, second.data)
    assert np.allclose(first.data[~mask], np.mean(noisy, axis=0)[~mask], rtol=1e-5)


@pytest.mark.parametrize("shift_voxels", [0.0, 0.4])
def test_what_volumes_differ_in_alike_is_not_taken_for_noise(shift_voxels):
    """The noise of recorruption pairs is that of the mean, even where the repetitions do not quite fit."""
    truth, _, mask = _phantom((24, 24, 10), n=24)
    moved = ndimage.shift(truth, (shift_voxels, 0, 0, 0), order=3, mode="nearest")
    repetitions = np.stack([_noisy(truth, 3.0, 1)[0], _noisy(moved, 3.0, 1, seed=1)[0]])
    averaged = average(repetitions, mask, PatchPlan())
    first, second = recorrupt(
        averaged,
        averaged.mean,
        averaged.noise_sd,
        strength=0.5,
        n_pairs=1,
        plan=PatchPlan(),
        generator=torch.Generator().manual_seed(0),
    )
    # The two pairs have the same noise with opposite signs.
    noise = (first.noisy - second.noisy)[mask]
    assert noise.std() == pytest.approx(3 / np.sqrt(2), rel=0.08)
    np.testing.assert_allclose(first.noisy + second.noisy, 2 * averaged.mean, rtol=1e-4, atol=1e-3)
    structure = (truth - moved)[mask]
    assert abs(np.vdot(noise, structure)) <= 0.2 * np.linalg.norm(noise) * np.linalg.norm(structure)


def test_noise_map_finds_the_level():
    """The noise SD of a single series is estimated within a tenth."""
    truth, table, mask = _phantom((20, 20, 10), n=24)
    result = _run("auto", _noisy(truth, 5.0, 1), table, mask)
    assert abs(np.median(result.noise_sd[mask]) / 5.0 - 1) < 0.1


def test_signal_of_flowing_water_stays():
    """CSF that flows lies below free water, and three noise SDs above nothing: it is not raised."""
    truth, table, mask = _phantom()
    flows = np.zeros_like(mask)
    flows[8:11, 4:14, 2:6] = True
    truth[flows] = 600 * np.exp(-4.5e-3 * table.bvals)
    result = _run("auto", _noisy(truth, 2.0, 1), table, mask)
    weighted = ~table.is_b0
    assert abs(np.mean((result.data - truth)[flows][:, weighted])) < 2.0


@pytest.mark.parametrize("n_repetitions", [1, 2])
def test_a_noisy_volume_is_measured_and_named(n_repetitions):
    """Noise of twice the strength in one volume shows in its figure, and in a warning."""
    truth, table, mask = _phantom()
    repetitions = _noisy(truth, 4.0, n_repetitions)
    again = _noisy(truth, 8.0, n_repetitions, seed=1)
    for series, noisier in zip(repetitions, again):
        series[..., 6] = noisier[..., 6]
    record = _run("auto", repetitions, table, mask).record
    sd = np.array(record.noise_sd_per_volume)
    others = np.delete(sd, 6)
    assert sd[6] / np.median(others) == pytest.approx(2, rel=0.2)
    assert np.ptp(others) < 0.5 * np.median(others)
    assert np.median(sd) == pytest.approx(4.0, rel=0.25)
    (warning,) = record.warnings
    assert warning.startswith("volume 6 (from 0) is noisier")


def test_the_lone_b0_of_a_single_series_has_the_noise_of_all():
    """Nothing tells its own, as little of it is taken away."""
    truth, table, mask = _phantom()
    table = Gradients(table.bvals[1:], table.bvecs[1:])
    (series,) = _noisy(truth[..., 1:], 4.0, 1)
    sd = _run("auto", [series], table, mask).record.noise_sd_per_volume
    assert sd[0] == pytest.approx(np.median(sd[1:]), rel=0.02)


def test_usual_series_give_no_warning():
    """Volumes of one noise are not accused."""
    truth, table, mask = _phantom()
    assert _run("auto", _noisy(truth, 4.0, 1), table, mask).record.warnings == ()


def test_short_or_bare_series_are_refused():
    """Without gradients, or with a handful of volumes, there is nothing to work with."""
    truth, table, mask = _phantom()
    with pytest.raises(ValueError, match="gradient table"):
        _run("auto", [truth], None, mask)
    few = Gradients(table.bvals[:6], table.bvecs[:6])
    with pytest.raises(ValueError, match="at least 7 volumes"):
        _run("auto", [truth[..., :6]], few, mask)


def test_the_lone_b0_of_a_long_series_is_not_taken_for_noise():
    """Denoised in groups, the b0 keeps its contrast, and its noise is that of the others."""
    truth, table, mask = _phantom(n=20)
    truth, table = truth[..., 1:], Gradients(table.bvals[1:], table.bvecs[1:])
    (noisy,) = _noisy(truth, 4.0, 1)
    strategy = get_strategy("auto", "dwi")
    config = replace(strategy.config("fast"), max_volumes=10)
    context = Context(torch.Generator().manual_seed(0))
    result = strategy.denoise(Repetitions(noisy[None], mask, gradients=table), config, context)
    assert len(result.record.groups) == 2
    assert _error(result.data[..., :1], truth[..., :1], mask) < _error(noisy[..., :1], truth[..., :1], mask)
    assert np.median(result.noise_sd[mask][:, 0]) == pytest.approx(4, rel=0.35)


def test_mean_wins_where_nothing_beats_it():
    """A candidate that is worse, or better within its doubt only, leaves the mean."""
    mean = CandidateRisk("mean", 0.0, 0.0)
    for risk in (0.1, -0.01):
        assert choose([mean, CandidateRisk("other", risk, 0.01)]) == "mean"


def test_mean_wins_where_a_single_cube_is_all_there_is():
    """Nothing is known of the spread between places then, however good a candidate looks."""
    shape = (16, 16, 16)
    mask = np.zeros(shape, bool)
    mask[1:6, 1:6, 1:6] = True
    rng = np.random.default_rng(0)
    noisy, target = rng.standard_normal((2, *shape, 3)).astype(np.float32)
    pair = Pair(noisy=noisy, initial_estimate=noisy, target=target)
    one = np.ones(shape, np.float32)
    rows = compare_candidates([pair], {"other": [0 * noisy]}, one, mask, strength=0.0)
    assert rows[1].risk < -0.5 and rows[1].standard_error is None
    assert choose(rows) == "mean"
    mask[1:6, 1:6, 9:14] = True
    rows = compare_candidates([pair], {"other": [0 * noisy]}, one, mask, strength=0.0)
    assert choose(rows) == "other"


@pytest.mark.parametrize(("risks", "best"), [((-0.7, -0.69), "last"), ((-0.7, -0.5), "first")])
def test_of_equals_the_last_candidate_is_taken(risks, best):
    """Risks that differ by a twentieth of the gain do not tell candidates apart."""
    rows = [CandidateRisk("mean", 0.0, 0.0)]
    rows += [CandidateRisk(name, risk, 0.01) for name, risk in zip(("first", "last"), risks)]
    assert choose(rows) == best


def test_unknown_diffusion_strategy_is_named():
    """The error lists what there is."""
    with pytest.raises(ConfigError, match=r"diffusion series.*auto"):
        get_strategy("nothing", "dwi")


def test_local_pca_keeps_what_has_no_noise():
    """Nearly no noise: the series passes nearly unchanged; pure noise loses most of its power."""
    truth, _, mask = _phantom()
    kept = shrink_local_pca(truth, mask, np.full(mask.shape, 0.05, np.float32))
    assert _error(kept, truth, mask) < 0.5
    noise = np.random.default_rng(0).standard_normal((12, 12, 8, 16)).astype(np.float32)
    everywhere = np.ones(noise.shape[:3], bool)
    gone = shrink_local_pca(noise, everywhere, np.ones(noise.shape[:3], np.float32))
    assert gone.std() < 0.3


def test_noise_estimate_of_pure_noise():
    """White noise has the level it was made with."""
    noise = 7 * np.random.default_rng(1).standard_normal((14, 14, 8, 20)).astype(np.float32)
    estimate = estimate_noise_sd(noise + 100, np.ones(noise.shape[:3], bool))
    assert abs(np.median(estimate) / 7 - 1) < 0.07


def test_filters_return_the_pilot_where_it_is_the_truth():
    """If the initial_estimate is right already, the learned filters leave it as it is."""
    truth, _, mask = _phantom()
    generator = np.random.default_rng(0)
    noisy, target = (truth + 5 * generator.standard_normal(truth.shape).astype(np.float32) for _ in range(2))
    filters = learn_filters(
        [Pair(noisy, truth, target)], principal_basis(truth, mask), 5.0, mask, checkerboard(mask.shape)
    )
    assert _error(filters.apply(noisy, truth, mask), truth, mask) < 1.5


def test_gain_of_a_repetition_does_not_matter():
    """A repetition in another intensity unit is brought to that of the first."""
    truth, table, mask = _phantom()
    first, second = _noisy(truth, 8.0, 2)
    plain, scaled = _run("auto", [first, second], table, mask), _run("auto", [first, 3 * second], table, mask)
    assert _error(scaled.data, plain.data, mask) < 0.02 * truth[mask].mean()


def test_noise_floor_is_removed_unless_it_is_to_be_kept(tmp_path):
    """At low SNR magnitudes are too high: by default the bias goes, with --keep-noise-floor it stays."""
    truth, table, mask = _phantom()
    (noisy,) = _noisy(truth, 20.0, 1)
    bval, bvec = write_gradients(table, np.diag([2.0, 2.0, 2.0, 1.0]), tmp_path / "series")
    for name, data in (("series", noisy), ("mask", mask.astype(np.uint8))):
        nb.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(tmp_path / f"{name}.nii.gz")
    bias = {}
    for option in ("--quiet", "--keep-noise-floor"):
        out = tmp_path / f"out{option}.nii.gz"
        words = ["denoise", tmp_path / "series.nii.gz", "--mask", tmp_path / "mask.nii.gz", "--out", out]
        words += ["--bvals", bval, "--bvecs", bvec, "--recipe", "fast", "--device", "cpu", option]
        assert main([str(word) for word in (*words, "--omp-nthreads", 1)]) == 0
        weighted = nb.load(out).get_fdata()[mask][:, 2:]
        bias[option] = float((weighted - truth[mask][:, 2:]).mean())
        record = json.loads(out.with_name(out.name.replace(".nii.gz", ".json")).read_text())
        assert record["noise_floor_removed"] is (option == "--quiet")
    assert bias["--keep-noise-floor"] > 2.0
    assert abs(bias["--quiet"]) < 0.5 * bias["--keep-noise-floor"]


def test_the_floor_of_several_coils_is_taken_out():
    """Of eight coils it is four times that of one: left in, weighted signal below the noise would double."""
    truth, table, mask = _phantom((16, 16, 8))
    around = [(8, 8)] * 3
    truth, mask = np.pad(truth, [*around, (0, 0)]) * np.pad(mask, around)[..., None], np.pad(mask, around)
    generator, coils, sd = np.random.default_rng(0), 8, 20.0
    images = [
        np.sqrt(
            sum(
                (truth / coils**0.5 + sd * generator.standard_normal(truth.shape)) ** 2
                + (sd * generator.standard_normal(truth.shape)) ** 2
                for _ in range(coils)
            )
        ).astype(np.float32)
        for _ in range(2)
    ]
    result, weighted = _run("auto", images, table, mask), ~table.is_b0
    bias = [(one - truth)[mask][:, weighted].mean() for one in (np.mean(images, axis=0), result.data)]
    assert result.record.n_coils == pytest.approx(coils, rel=0.25)
    assert bias[0] > 1.5 * sd and abs(bias[1]) < 0.15 * sd


def test_noise_of_real_valued_series_is_taken_as_it_is():
    """Without signal, magnitudes vary less than the complex noise, and real parts exactly as much."""
    generator = np.random.default_rng(0)
    real, imaginary = generator.normal(0, 5, (2, 2, 14, 14, 14, 9)).astype(np.float32)
    mask = np.ones((14, 14, 14), bool)
    flat = np.ones(9, np.float32)
    for series in (real, np.hypot(real, imaginary)):
        averaged = average(series, mask, PatchPlan())
        initial_estimate = np.broadcast_to(series.mean(), series.shape[1:]).astype(np.float32)
        noise_sd, factors = acquired_noise(averaged, initial_estimate, flat)
        assert noise_sd.mean() == pytest.approx(5, rel=0.1)
        assert np.array_equal(factors, flat)
