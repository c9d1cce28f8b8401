"""Susceptibility distortion of echo-planar images: estimated from opposite blips, judged, undone."""
