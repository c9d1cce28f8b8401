"""Aligned files reach the denoising alike, from the Python functions and from the command line."""

import nibabel as nb
import numpy as np
import pytest

import n2a_bids
from n2a_bids.api.alignment import AlignedFiles
from n2a_bids.cli.tools import main
from n2a_bids.record.alignment import AlignedRepetition, AlignmentRecord


class _Seen(Exception):
    """Ends the denoising where its job is known."""


@pytest.fixture
def runs(tmp_path):
    """Two small images with noise, as files."""
    paths = [tmp_path / f"run-{number}.nii.gz" for number in (1, 2)]
    for seed, path in enumerate(paths):
        values = 100 + np.random.default_rng(seed).normal(0, 5, (16, 16, 16))
        nb.save(nb.Nifti1Image(values.astype(np.float32), np.eye(4)), path)
    return paths


@pytest.mark.parametrize("caller", ["function", "command"])
def test_noise_is_compared_and_its_matrix_looked_for_before_interpolation(
    caller, runs, tmp_path, monkeypatch
):
    """As in the app, its k-space is that of the reference as stored; runs were compared as acquired."""
    files = {
        name: tmp_path / f"{name}.nii.gz" for name in ("one", "two", "brain", "common", "stored", "measured")
    }
    rows = tuple(AlignedRepetition(file=path.name) for path in runs)
    aligned = AlignedFiles(
        runs=(files["one"], files["two"]),
        brain_mask=files["brain"],
        common_mask=files["common"],
        transforms=(),
        reference=files["stored"],
        accepted=(0, 1),
        record=AlignmentRecord(repetitions=rows),
        measured=files["measured"],
    )
    seen = []

    def note(request, *_):
        seen.append(getattr(request, "job", request))
        raise _Seen

    monkeypatch.setattr("n2a_bids.api.alignment.align_files", lambda *_: aligned)
    monkeypatch.setattr("n2a_bids.api.denoising.align_files", lambda *_: aligned)
    monkeypatch.setattr("n2a_bids.api.denoising.denoise_files", note)
    monkeypatch.setattr("n2a_bids.tools.denoise.run_denoise", note)
    if caller == "function":
        with pytest.raises(_Seen):
            n2a_bids.denoise(runs, random_seed=5)
    else:
        assert main(["denoise", *map(str, runs), "--random-seed", "5", "--out", str(tmp_path / "o.nii.gz")])
    (job,) = seen
    assert job.runs == aligned.runs and job.mask == files["brain"] and job.measured == files["measured"]
    assert job.stored == (files["stored"],) and job.allow_shared_noise
    assert job.denoise.random_seed == 5
