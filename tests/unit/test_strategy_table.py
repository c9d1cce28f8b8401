"""The table of strategies: every row leads to code, and says what that code takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.errors import ConfigError
from n2a_bids.io.weights import load_all_weights
from n2a_bids.strategy_table import (
    STRATEGY_NAMES,
    TABLE,
    check_recipe,
    find_strategy,
    reason_against,
    takes_halves,
)


@pytest.mark.parametrize("facts", TABLE, ids=lambda row: f"{row.modality}-{row.name}")
def test_every_row_leads_to_code_and_weights(facts):
    """The functions are there, the weights come with the package, and all recipes have settings."""
    strategy = get_strategy(facts.name, facts.modality)
    assert strategy.facts is facts
    recipes = ["fast", "default", "thorough", *(["faithful"] if facts.has_published_schedule else [])]
    recipes += ["zero-shot"] if facts.has_zero_shot else []
    for recipe in recipes:
        weights = load_all_weights(facts.weights_of(recipe))
        assert None not in weights
        strategy.config(recipe, *weights)


def test_names_are_unique_and_the_default_comes_first():
    """One row for each name and modality."""
    rows = [(row.name, row.modality) for row in TABLE]
    assert len(rows) == len(set(rows))
    assert STRATEGY_NAMES[0] == "auto"
    with pytest.raises(ConfigError, match="choose one of auto, noise2average"):
        find_strategy("san2n", "anat")


def test_groups_that_a_strategy_cannot_take():
    """What follows from the needs of each row."""
    unable = {
        kind: {name for name in STRATEGY_NAMES if reason_against(name, kind)}
        for kind in (
            "anat-repeats",
            "anat-echoes",
            "dwi-reverse-pe",
            "dwi-repeats",
            "dwi-split",
            "dwi-single",
        )
    }
    assert unable["anat-repeats"] == {"san2n"}
    assert unable["anat-echoes"] == {"san2n", "recorrupted", "noise2noise"}
    assert unable["dwi-single"] == {"noise2average", "noise2noise"}
    assert not unable["dwi-reverse-pe"] | unable["dwi-repeats"] | unable["dwi-split"]
    assert {name for name in STRATEGY_NAMES if takes_halves(name)} == {"noise2average", "noise2noise"}


def test_our_own_strategies_have_no_published_schedule():
    """--recipe faithful means the schedule of a paper."""
    check_recipe("noise2average", "faithful")
    for name in ("auto", "recorrupted"):
        with pytest.raises(ConfigError, match="published schedule"):
            check_recipe(name, "faithful")


def test_the_table_needs_no_torch():
    """It is read for --help and for finding images."""
    code = "import sys, n2a_bids.strategy_table; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_only_what_need_not_train_has_a_recipe_without_training():
    """--recipe zero-shot; what is nothing without training refuses it, and names what takes it."""
    for name in ("auto", "mean"):
        check_recipe(name, "zero-shot")
    for name in ("noise2average", "noise2noise", "recorrupted", "san2n"):
        with pytest.raises(ConfigError, match="use --strategy auto"):
            check_recipe(name, "zero-shot")
    with pytest.raises(ConfigError, match="expected pretrained weights"):
        get_strategy("auto").config("zero-shot", None)
