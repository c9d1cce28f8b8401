"""Denoising filters without a network: non-local Bayes and local principal components."""
