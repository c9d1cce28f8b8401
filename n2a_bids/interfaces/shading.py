"""What is told of repetitions whose shading was another than that of their reference."""

from __future__ import annotations

from collections.abc import Iterable


def shading_warnings(shadings: Iterable[tuple[str, tuple[float, ...] | None]], reference: str) -> list[str]:
    """A sentence for each repetition that was shaded clearly otherwise than the reference.

    Parameters
    ----------
    shadings : iterable of (str, tuple of two floats or None)
        Name of each repetition in use, and how bright the darkest and the brightest part of the brain are in
        it, mean 1; None where it was shaded alike.
    reference : str
        Its name.

    Examples
    --------
    >>> shading_warnings([("run-1", None), ("run-2", (0.5, 2.0))], "run-1")[0][:70]
    'run-2: its shading is another than that of run-1 (0.5 to 2.0 times as '
    """
    return [
        f"{name}: its shading is another than that of {reference} ({limits[0]:.1f} to {limits[1]:.1f} times "
        "as bright in parts of the brain), as of images with and without prescan normalisation (Siemens "
        "NORM, GE PURE or SCIC, Philips CLEAR): it was taken out; where there are both of each acquisition, "
        "give one kind of all"
        for name, limits in shadings
        if limits is not None
    ]
