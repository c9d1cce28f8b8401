"""Applies ``--bids-filter-file`` to the entities and metadata of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from n2a_bids.contrasts import MODALITIES
from n2a_bids.dataset.names import ENTITY_ORDER, comparable, parse_name
from n2a_bids.dataset.units import ImageFile
from n2a_bids.errors import ConfigError
from n2a_bids.record.typed_json import JsonObject

_LONG_NAMES = {
    "subject": "sub",
    "session": "ses",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "modality": "mod",
    "tracer": "trc",
    "staining": "stain",
    "nucleus": "nuc",
    "volume": "voi",
    "segmentation": "seg",
}
QUERIES = tuple(name.lower() for name in MODALITIES)
"""Names under which a filter file selects images for us."""
_OF_OTHER_PROGRAMS = ("asl", "bold", "eeg", "fmap", "ieeg", "m0scan", "meg", "pet", "roi", "sbref")
"""Queries that select nothing here: one file serves all."""
_FILE_PARTS = ("datatype", "suffix", "extension")


def matches(image: ImageFile, filters: Mapping[str, object]) -> bool:
    """Whether an image passes one query of the filter file.

    Parameters
    ----------
    image : ImageFile
        Image to test.
    filters : mapping
        Entity (long or short name), ``datatype``, ``suffix``, ``extension``, or a metadata
        field (capital first letter), and what it must be: a value, a list of values,
        None (must be absent) or ``"*"`` (must be there), or these as members of
        ``bids.layout.Query`` or the names of such (``"Query.NONE"``).

    Returns
    -------
    passes : bool
        True if every condition holds.

    Raises
    ------
    ConfigError
        If a name is neither an entity nor a metadata field.

    Examples
    --------
    >>> from pathlib import Path
    >>> path = Path("sub-01/anat/sub-01_acq-hi_run-01_T1w.nii.gz")
    >>> image = ImageFile(path, {"sub": "01", "acq": "hi", "run": "01"})
    >>> matches(image, {"acquisition": "*", "run": [1, 2], "reconstruction": None})
    True
    """
    return all(_holds(*_found(image, name), required) for name, required in filters.items())


def by_query(filters: Mapping[str, Mapping[str, object]]) -> dict[str, JsonObject]:
    """Filters with the names of our queries as we spell them; those of other programs stay, unused.

    Raises
    ------
    ConfigError
        If a query stands there in two spellings.

    Examples
    --------
    >>> by_query({"T1w": {"run": 1}, "bold": {"task": "rest"}})
    {'t1w': {'run': 1}, 'bold': {'task': 'rest'}}
    """
    found: dict[str, JsonObject] = {}
    for name, required in filters.items():
        query = name.lower() if name.lower() in QUERIES else name
        if query in found:
            raise ConfigError(
                f"the BIDS filters hold the query '{query}' twice, in different spellings; keep one of them"
            )
        found[query] = dict(required)
    return found


def unknown_queries(filters: Mapping[str, object]) -> list[str]:
    """Say of each query that no program has that it filters nothing: it is likely misspelled.

    Parameters
    ----------
    filters : mapping
        Queries as `by_query` gives them.

    Returns
    -------
    sentences : list of str
        One for each, with the query that was probably meant.

    Examples
    --------
    >>> unknown_queries({"t1w": {"run": 1}, "bold": {"task": "rest"}})
    []
    >>> unknown_queries({"T1": {"run": 1}})[0].rpartition(": ")[2]
    "it filters nothing; did you mean 't1w'?"
    """
    names = [name for name in filters if name.lower() not in (*QUERIES, *_OF_OTHER_PROGRAMS)]
    close = {name: get_close_matches(name.lower(), QUERIES, n=1) for name in names}
    return [
        f"the BIDS filters hold '{name}', which is none of our queries ({', '.join(QUERIES)}): it filters "
        f"nothing; {f'did you mean {close[name][0]!r}?' if close[name] else 'correct or remove it'}"
        for name in names
    ]


def name_filters(filters: Mapping[str, object]) -> JsonObject:
    """Conditions on the name of an image alone: those that need no metadata.

    Examples
    --------
    >>> name_filters({"acquisition": "hi", "suffix": "T1w", "EchoTime": 0.003})
    {'acquisition': 'hi', 'suffix': 'T1w'}
    """
    return {name: required for name, required in filters.items() if not name[:1].isupper()}


def short_name(entity: str) -> str:
    """Name of an entity as it stands in file names; other words stay as they are.

    Examples
    --------
    >>> short_name("acquisition"), short_name("acq"), short_name("EchoTime")
    ('acq', 'acq', 'EchoTime')
    """
    return _LONG_NAMES.get(entity, entity)


def _found(image: ImageFile, name: str) -> tuple[str, object]:
    _, suffix, extension = parse_name(image.path)
    short = short_name(name)
    if name in _FILE_PARTS:
        return name, {"datatype": image.path.parent.name, "suffix": suffix, "extension": extension}[name]
    if short in ENTITY_ORDER:
        return short, image.entities.get(short)
    if name[:1].isupper():
        return name, image.metadata.get(name)
    raise ConfigError(
        f"a BIDS filter asks for '{name}': expected an entity such as 'acquisition' or 'run', or a metadata "
        "field such as 'EchoTime'; correct the name"
    )


def _holds(name: str, found: object, required: object) -> bool:
    # pybids spells null and "*" as members of an enumeration; files parsed for pybids bring those or, where
    # there is text only, their names.
    keyword = getattr(required, "name", None)
    if isinstance(required, str) and required.startswith("Query."):
        keyword = required.removeprefix("Query.")
    if required is None or keyword == "NONE":
        return found is None
    if required == "*" or keyword in ("ANY", "REQUIRED"):
        return found is not None
    if keyword == "OPTIONAL":
        return True
    if isinstance(required, Sequence) and not isinstance(required, str):
        return any(_holds(name, found, value) for value in required)
    return found is not None and comparable(name, found) == comparable(name, required)
