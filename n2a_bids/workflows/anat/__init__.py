"""Workflow of one group of anatomical images."""
