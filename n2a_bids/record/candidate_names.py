"""What candidates of a choice are called in figures and reports, and which of them are the mean.

Standard library only.
"""

from __future__ import annotations

_NAMES = {
    "mean": "plain mean",
    "weighted mean": "mean weighted by noise",
    "noise2noise": "Noise2Noise",
    "noise2average": "Noise2Average",
}
"""Those whose name in the records is not what they are called."""
MEANS = ("mean", "weighted mean")
"""What the other candidates are compared with: the first of them that a record holds."""


def candidate_name(name: str) -> str:
    """Readable name of a candidate.

    Examples
    --------
    >>> candidate_name("noise2average-2")
    'Noise2Average-2'
    >>> candidate_name("something_new")
    'something new'
    """
    for key in sorted(_NAMES, key=len, reverse=True):
        if name == key or name.startswith((f"{key}-", f"{key}_", f"{key} ", f"{key},")):
            return _NAMES[key] + name[len(key) :].replace("_", " ")
    return name.replace("_", " ")
