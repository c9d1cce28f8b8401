"""References of the methods text, from ``data/methods.bib``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from n2a_bids.packaged import packaged_text

_ENTRY = re.compile(r"@(\w+)\{([\w-]+),\n(.*?)\n\}", re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+) = \{(.*)\},?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reference:
    """One entry of the bibliography."""

    key: str
    fields: Mapping[str, str]
    source: str
    """The entry as it stands in the file."""

    @property
    def short(self) -> str:
        """Authors and year for the running text, for example ``Lehtinen et al. 2018``."""
        names = self.fields["author"].split(" and ")
        family = _plain(names[0].split(",")[0])
        more = (
            " et al."
            if len(names) > 2
            else f" and {_plain(names[1].split(',')[0])}"
            if len(names) == 2
            else ""
        )
        more = " et al." if names[-1] == "others" else more
        return f"{family}{more} {self.fields.get('year', '')}".strip()

    @property
    def link(self) -> str:
        """Address of the work, empty where there is none."""
        doi = self.fields.get("doi")
        return f"https://doi.org/{doi}" if doi else self.fields.get("url", "")

    @property
    def text(self) -> str:
        """The whole reference as one sentence, without its address."""
        names = [_plain(name) for name in self.fields["author"].split(" and ")]
        authors = ", ".join("et al." if name == "others" else name.replace(",", "") for name in names[:3])
        authors += ", et al." if len(names) > 3 and "et al." not in authors else ""
        venue = (
            self.fields.get("journal") or self.fields.get("booktitle") or self.fields.get("howpublished", "")
        )
        volume = f" {self.fields['volume']}" if "volume" in self.fields else ""
        year = f" ({self.fields['year']})" if "year" in self.fields else ""
        return f"{authors.rstrip('.')}. {_plain(self.fields['title'])}. {_plain(venue)}{volume}{year}."


@cache
def bibliography() -> dict[str, Reference]:
    """All references by key."""
    return {
        match[2]: Reference(match[2], dict(_FIELD.findall(match[3])), match[0])
        for match in _ENTRY.finditer(packaged_text("methods.bib"))
    }


def cited(keys: Iterable[str]) -> list[Reference]:
    """References of the given keys, each once, in the order of the reference list: by author, then year."""
    references = bibliography()
    return sorted((references[key] for key in dict.fromkeys(keys)), key=lambda reference: reference.short)


def _plain(value: str) -> str:
    """Text without the braces and accents of BibTeX."""
    return value.replace("{\\'a}", "á").replace("--", "-").replace("{", "").replace("}", "")
