"""Commands beside the app: demonstration, SLURM scripts, examination of the machine."""
