"""Versions of the Python packages that are installed."""

from __future__ import annotations

import importlib.metadata


def package_version(package: str) -> str:
    """Version of an installed package, empty where it is not installed.

    Examples
    --------
    >>> package_version("numpy")[0].isdigit(), package_version("no-such-package")
    (True, '')
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
