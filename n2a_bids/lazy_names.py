"""Imports the public names of a package only when they are asked for (lazy import)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def importer(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """The ``__getattr__`` of a package.

    Parameters
    ----------
    package : str
        Its full name.
    modules : mapping
        Public name -> module that has it, within the package.

    Examples
    --------
    >>> importer("n2a_bids", {"Affine": "algorithms.transforms"})("Affine").__name__
    'Affine'
    """

    def import_name(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return import_name
