"""The machine: processors and memory, signals, child processes, the GPU."""
