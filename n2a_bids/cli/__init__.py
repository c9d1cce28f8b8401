"""Command lines (argparse): the only place that parses arguments."""
