"""What workflows say of themselves is what the methods text says of the results."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from dwi_dataset import write_dataset
from small_dataset import describe, write_participant

from n2a_bids.config import AlignConfig, Config, DenoiseConfig, MaskConfig, SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.dataset.units import DenoisingUnit, Kind
from n2a_bids.reports.methods.text import methods_markdown
from n2a_bids.sentences import sentence
from n2a_bids.workflows.descriptions import choice
from n2a_bids.workflows.participant import describe_units


@pytest.fixture
def config(tmp_path) -> Config:
    return Config(tmp_path / "bids", tmp_path / "out", tmp_path / "work", "uuid")


def described(config: Config, **selected: object) -> dict[str, str]:
    """Paragraphs of all units of the dataset."""
    config = replace(config, selection=SelectionConfig(**selected))
    return describe_units("01", collect(config.bids_dir, config.selection).units, config)


def test_visit_desc_tells_of_masks_alignment_and_choice(config):
    """The sentences stand in the order of the steps, and follow the settings."""
    describe(config.bids_dir, "small", "raw")
    write_participant(config.bids_dir, "01", 1)
    text = described(config)["T1w"]
    assert text.startswith("**T1-weighted images.** The brain was outlined with deepbet [@deepbet]. The rep")
    assert sentence("compared_anat", less_bias=", less the Rician bias where the air showed one,") in text
    other = replace(
        config,
        mask=MaskConfig(method="template"),
        align=AlignConfig(space="midspace"),
        denoise=DenoiseConfig(strategy="noise2average"),
    )
    text = described(other)["T1w"]
    assert "registration of a template with ANTs [@ants]" in text
    assert "(midspace)" in text
    assert "Candidates" not in text
    # The text names packages and what must not be done afterwards, as that of results does.
    markdown = methods_markdown([], {"T1w": text})
    assert markdown.startswith("Images were denoised with *n2a_bids*")
    assert text in markdown
    assert "sMRIPrep" in markdown
    assert methods_markdown([]) == "No image was denoised.\n"


@pytest.mark.parametrize(("kind", "has_distortion"), [("single", False), ("reverse-pe", True)])
def test_series_tell_of_distortion_only_where_it_is_corrected(config, kind, has_distortion):
    """Pairs of opposite phase encoding have the sentence, others not; in place nothing was moved."""
    write_dataset(config.bids_dir, kind)
    text = described(config, modalities=("dwi",))["dwi"]
    assert (sentence("distortion") in text) is has_distortion
    assert sentence("volumes_aligned") in text
    text = described(config, modalities=("dwi",), dwi_in_place=True)["dwi"]
    assert text.count(sentence("in_place")) == 1
    assert sentence("volumes_aligned") not in text


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_unit_tells_how_its_output_is_chosen(config, kind):
    """A new kind is not described as another."""
    assert choice(DenoisingUnit(kind, (), {"sub": "01"}), config).endswith(". ")
