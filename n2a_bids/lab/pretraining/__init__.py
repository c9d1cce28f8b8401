"""Pretraining of the networks whose weights come with the package."""
