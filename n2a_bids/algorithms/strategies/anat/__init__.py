"""Strategies for repeated anatomical images."""
