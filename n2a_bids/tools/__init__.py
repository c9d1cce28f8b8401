"""Commands of ``n2a-tools``: denoise without BIDS, demo, SLURM script, doctor."""
