"""Datasets: reads a BIDS folder, groups the images to denoise, names and describes the output."""
