"""Command lines: the only place where arguments are parsed and text is printed."""
