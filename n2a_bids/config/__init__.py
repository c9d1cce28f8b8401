"""Settings of a run: what there is to set, and how it is written down. Standard library only."""

from n2a_bids.config.processing import AlignConfig, DenoiseConfig, Device, MaskConfig, Recipe
from n2a_bids.config.run_settings import Config, DebugConfig, OutputConfig, ResourceConfig
from n2a_bids.config.selection import RESERVED_NAMES, B0Threshold, SelectionConfig
from n2a_bids.config.training import TrainConfig, TrainLevelConfig

__all__ = [
    "RESERVED_NAMES",
    "AlignConfig",
    "B0Threshold",
    "Config",
    "DebugConfig",
    "DenoiseConfig",
    "Device",
    "MaskConfig",
    "OutputConfig",
    "Recipe",
    "ResourceConfig",
    "SelectionConfig",
    "TrainConfig",
    "TrainLevelConfig",
]
