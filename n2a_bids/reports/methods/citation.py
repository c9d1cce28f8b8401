"""Writes the methods text with references as ``logs/CITATION.{md,html,tex,bib}``."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from n2a_bids.io.files import write_whole
from n2a_bids.reports.methods.bibliography import Reference, cited
from n2a_bids.reports.methods.text import methods_markdown
from n2a_bids.reports.records.unit_record import UnitRecord
from n2a_bids.reports.records.units import find_records

_CITATION = re.compile(r"\[(@[\w-]+(?:; @[\w-]+)*)\]")
_BOLD, _ITALIC = re.compile(r"\*\*(.+?)\*\*"), re.compile(r"\*(.+?)\*")
_CODE = re.compile(r"`(.+?)`")
_TEX_SPECIAL = str.maketrans({char: f"\\{char}" for char in "&%$#_{}"} | {"~": r"\textasciitilde{}"})


def write_citation(
    output_dir: Path, participants: Sequence[str], planned: Mapping[str, str] = MappingProxyType({})
) -> list[Path]:
    """Write the methods text of a run.

    Parameters
    ----------
    output_dir : path
        Derivative dataset; files go to its ``logs`` folder, each written whole.
    participants : sequence of str
        Labels without ``sub-``: the text tells what was done to these.
    planned : mapping of str to str
        By suffix, what a run that has not begun will do.

    Returns
    -------
    files : list of paths
        ``CITATION.md``, ``.html``, ``.tex`` and ``.bib``.
    """
    units = [unit for participant in participants for unit in find_records(output_dir, participant)]
    contents = citation_texts([unit for unit in units if not unit.outdated], planned)
    folder = output_dir / "logs"
    return [write_whole(folder / f"CITATION.{extension}", text) for extension, text in contents.items()]


def citation_texts(
    units: Sequence[UnitRecord], planned: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """The methods text in each format, by file extension."""
    text = methods_markdown(units, planned)
    references = cited(citation_keys(text))
    return {
        "md": as_markdown(text, references),
        "html": f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Methods</title></head>'
        f"<body>\n{as_html(text, references)}\n</body></html>\n",
        "tex": as_tex(text),
        "bib": "\n\n".join(reference.source for reference in references) + "\n",
    }


def citation_keys(text: str) -> list[str]:
    """Keys of all citations, in order.

    Examples
    --------
    >>> citation_keys("As told [@bids; @nipype], and again [@bids].")
    ['bids', 'nipype', 'bids']
    """
    return [key.strip().lstrip("@") for group in _CITATION.findall(text) for key in group.split(";")]


def as_markdown(text: str, references: Sequence[Reference]) -> str:
    """Markdown that reads well as it is, with a list of references."""
    by_key = {reference.key: reference for reference in references}
    body = _CITATION.sub(lambda match: f"({'; '.join(by_key[key].short for key in _keys(match))})", text)
    items = [f"- {reference.text} {reference.link}".rstrip() for reference in references]
    return f"{body}\n## References\n\n" + "\n".join(items) + "\n" if items else body


def as_html(text: str, references: Sequence[Reference]) -> str:
    """Paragraphs and a list of references."""
    by_key = {reference.key: reference for reference in references}
    paragraphs = []
    for paragraph in html.escape(text, quote=False).strip().split("\n\n"):
        paragraph = _CITATION.sub(
            lambda match: f"({'; '.join(by_key[k].short for k in _keys(match))})", paragraph
        )
        paragraph = _ITALIC.sub(r"<em>\1</em>", _BOLD.sub(r"<strong>\1</strong>", paragraph))
        paragraphs.append("<p>" + _CODE.sub(r"<code>\1</code>", paragraph) + "</p>")
    if not references:
        return "\n".join(paragraphs)
    items = []
    for reference in references:
        link = (
            f' <a href="{html.escape(reference.link)}">{html.escape(reference.link)}</a>'
            if reference.link
            else ""
        )
        items.append(f"<li>{html.escape(reference.text)}{link}</li>")
    return "\n".join([*paragraphs, "<h3>References</h3>", "<ul>", *items, "</ul>"])


def as_tex(text: str) -> str:
    """A LaTeX document that cites ``CITATION.bib``."""
    pieces = []
    position = 0
    for match in _CITATION.finditer(text):
        pieces.append(_tex_words(text[position : match.start()]))
        pieces.append(f"\\cite{{{','.join(_keys(match))}}}")
        position = match.end()
    pieces.append(_tex_words(text[position:]))
    cites = "\\bibliographystyle{unsrt}\n\\bibliography{CITATION}\n" if len(pieces) > 1 else ""
    return (
        "\\documentclass{article}\n\\usepackage[utf8]{inputenc}\n\\begin{document}\n"
        f"{''.join(pieces)}\n{cites}\\end{{document}}\n"
    )


def _tex_words(text: str) -> str:
    """Escaped text with bold, italic and code, in which two hyphens stay two."""
    words = _ITALIC.sub(r"\\emph{\1}", _BOLD.sub(r"\\textbf{\1}", text.translate(_TEX_SPECIAL)))
    return _CODE.sub(lambda match: f"\\texttt{{{match[1].replace('--', '-{}-')}}}", words)


def _keys(match: re.Match[str]) -> list[str]:
    """Keys of one citation."""
    return [key.strip().lstrip("@") for key in match[1].split(";")]
