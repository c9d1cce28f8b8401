"""Command lines: the only place that knows of arguments."""
