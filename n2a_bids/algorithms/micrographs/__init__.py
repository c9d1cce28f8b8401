"""Images of microscopes: counting noise and its stabilisation, drift, Fourier ring correlation."""
