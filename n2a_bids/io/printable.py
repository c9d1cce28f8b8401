"""Escapes file names and sidecar text so that a terminal or table can print them."""

from __future__ import annotations


def printable(text: object) -> str:
    r"""Text in which every character that cannot be shown stands as its escape.

    Parameters
    ----------
    text : object
        Turned into text.

    Returns
    -------
    shown : str
        One line: newlines, control characters and bytes that are no UTF-8 are escaped.

    Examples
    --------
    >>> printable("sub-01_T1w\n\x1b[31m\udcff.nii é")
    'sub-01_T1w\\n\\x1b[31m\\udcff.nii é'
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )
