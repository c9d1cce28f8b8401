"""Names of derivatives and BIDS URIs."""

from __future__ import annotations

from pathlib import Path

import pytest

from n2a_bids.dataset.names import bids_uri, derivative_path, parse_name


def test_names_keep_the_order_of_bids():
    """Whatever the order of the entities, part, echo and rec stay and desc comes last."""
    entities = {
        "part": "mag",
        "echo": "1",
        "rec": "n",
        "run": "01",
        "acq": "hi",
        "ses": "a",
        "sub": "01",
        "ce": "g",
    }
    path = derivative_path(Path("/out"), entities, "T1w", desc="denoised")
    name = "sub-01_ses-a_acq-hi_ce-g_rec-n_run-01_echo-1_part-mag_desc-denoised_T1w.nii.gz"
    assert path == Path("/out/sub-01/ses-a/anat") / name


def test_parse_name_undoes_derivative_path():
    """Entities, suffix and extension come back."""
    entities = {"sub": "01", "dir": "AP", "run": "2"}
    path = derivative_path(Path("out"), entities, "mask", desc="brain", datatype="dwi")
    assert parse_name(path) == ({**entities, "desc": "brain"}, "mask", ".nii.gz")
    assert path.parent == Path("out/sub-01/dwi")


def test_transforms_and_figures_have_their_places():
    """Transforms as sMRIPrep names them; figures of all sessions in one folder."""
    transform = {"sub": "01", "run": "1", "from": "orig", "to": "T1w", "mode": "image"}
    path = derivative_path(Path("out"), transform, "xfm", extension=".txt")
    assert path.name == "sub-01_run-1_from-orig_to-T1w_mode-image_xfm.txt"
    figure = derivative_path(
        Path("out"), {"sub": "01", "ses": "a"}, "T1w", desc="denoised", extension=".svg", datatype="figures"
    )
    assert figure == Path("out/sub-01/figures/sub-01_ses-a_desc-denoised_T1w.svg")


@pytest.mark.parametrize(
    "entities", [{"sub": "01", "colour": "red"}, {"ses": "a"}, {"sub": "01", "acq": "a-b"}]
)
def test_names_that_bids_forbids_are_refused(entities):
    """Unknown entities, no participant, bad characters."""
    with pytest.raises(ValueError, match="derivative name needs sub"):
        derivative_path(Path("out"), entities, "T1w")


def test_uri_names_the_deepest_dataset(tmp_path):
    """The output lies inside the input: its files are its own."""
    datasets = {"raw": tmp_path, "": tmp_path / "derivatives/n2a"}
    assert bids_uri(tmp_path / "sub-01/anat/a.nii.gz", datasets) == "bids:raw:sub-01/anat/a.nii.gz"
    assert bids_uri(tmp_path / "derivatives/n2a/sub-01/b.txt", datasets) == "bids::sub-01/b.txt"
    with pytest.raises(ValueError, match="in none of"):
        bids_uri(tmp_path.parent / "c", datasets)
