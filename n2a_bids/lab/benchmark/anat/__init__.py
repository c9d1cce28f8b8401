"""Benchmarks of anatomical images."""
