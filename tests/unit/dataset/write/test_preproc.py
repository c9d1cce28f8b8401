"""What fMRIPrep can reuse of a session with several groups of T1w images."""

from __future__ import annotations

import pytest

from n2a_bids.app.participant import _list
from n2a_bids.config import Config, OutputConfig, SelectionConfig
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.dataset.write.preproc import preproc_conflict, preproc_units


def unit(kind: str = "anat-repeats", **entities: str) -> DenoisingUnit:
    return DenoisingUnit(kind, (), {"sub": "01", **entities})


def test_the_plainest_group_of_each_session_is_reused():
    """Diffusion series have no part in it, and sessions and participants are apart."""
    plain, hires, other = unit(), unit(acq="hires"), unit(ses="2", acq="hires")
    assert preproc_units([hires, plain, other, unit("dwi-single")]) == [plain, other]
    second = unit(sub="02")
    assert preproc_units([plain, second]) == [plain, second]
    assert preproc_conflict([plain, other, second, unit("dwi-single")]) == ""


def test_a_session_with_two_groups_is_named_with_the_remedy():
    """The first one by name, the others by number."""
    units = [unit(ses=session, acq=label) for session in "123" for label in ("a", "b")]
    text = preproc_conflict(units)
    assert "sub-01_ses-1_acq-a_T1w, sub-01_ses-1_acq-b_T1w" in text
    assert "2 more sessions" in text and "--filter-t1w" in text


@pytest.mark.parametrize(
    ("names", "warning"),
    [
        (
            [f"sub-01/anat/sub-01_acq-{label}_run-{run}" for label in "ab" for run in "12"],
            "desc-preproc_T1w shows sub-01_acq-a_T1w alone",
        ),
        (
            [f"sub-01/ses-{s}/anat/sub-01_ses-{s}_run-{run}" for s in "12" for run in "12"],
            "--subject-anatomical-reference sessionwise",
        ),
    ],
)
def test_the_dry_run_warns_of_it(make_bids, tmp_path, capsys, names, warning):
    """Before hours of work, since fMRIPrep would stop after it; not where the option was not given."""
    bids = make_bids({f"{name}_T1w.nii.gz": None for name in names})
    for asked in (False, True):
        config = Config(
            bids, tmp_path / "out", tmp_path / "work", "uuid", stage="dry-run",
            selection=SelectionConfig(modalities=("T1w",)), outputs=OutputConfig(fmriprep_derivatives=asked),
        )  # fmt: skip
        _list(config)
        assert (warning in capsys.readouterr().err) is asked
