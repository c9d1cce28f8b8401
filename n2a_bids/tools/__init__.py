"""Commands beside the app: denoising without BIDS, a demonstration, SLURM scripts, a look at the machine."""
