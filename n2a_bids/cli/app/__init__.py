"""Command line of ``n2a``: parser, argument types, settings, plugin file."""
