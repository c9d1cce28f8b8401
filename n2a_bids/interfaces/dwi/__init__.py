"""Nipype interfaces for diffusion series: volumes, motion, distortion, alignment, tensor."""
