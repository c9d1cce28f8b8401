"""Simulation, pretraining and benchmarks: what the app does not need to run."""
