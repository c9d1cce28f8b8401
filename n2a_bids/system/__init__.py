"""The machine: processors, memory, GPU, signals, child processes, environment variables."""
