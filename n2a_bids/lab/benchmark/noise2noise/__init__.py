"""The tables of Noise2Noise again: training with noisy targets beside training with clean ones."""
