"""Denoising filters without a network: non-local Bayes, local PCA, learned linear filters."""
