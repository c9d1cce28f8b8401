"""Measures of images and masks: errors against a truth, sharpness, structure in residuals."""
