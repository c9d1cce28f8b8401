"""Writes the output dataset: description, checks of folders, fMRIPrep names, raw-like copy."""
