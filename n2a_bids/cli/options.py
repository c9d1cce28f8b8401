"""Makes command-line options from the fields of a dataclass, and the dataclass from what was parsed."""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from n2a_bids.cli.arguments import (
    Collect,
    CollectPairs,
    absolute_path,
    existing_path,
    filter_file,
    memory_gb,
    named_path,
    participant_label,
    session_label,
)
from n2a_bids.config.options import Declared, Range, declared_fields

Settings = TypeVar("Settings")

_READERS: dict[str, Callable[[str], object]] = {
    "absolute path": absolute_path,
    "existing path": existing_path,
    "memory": memory_gb,
    "participant label": participant_label,
    "session label": session_label,
    "filter file": filter_file,
    "named path": named_path,
    "words": lambda text: tuple(shlex.split(text)),
}


class OptionGroups:
    """Groups of options of a parser, made where first met."""

    def __init__(self, parser: argparse.ArgumentParser, texts: dict[str, str] | None = None):
        self._parser, self._texts = parser, texts or {}
        self._groups: dict[str, argparse._ArgumentGroup] = {}

    def __getitem__(self, title: str) -> argparse._ActionsContainer:
        """The group of a title; the parser itself for none."""
        if not title:
            return self._parser
        if title not in self._groups:
            self._groups[title] = self._parser.add_argument_group(title, self._texts.get(title))
        return self._groups[title]


def add_options(groups: OptionGroups, model: type, *, section: str = "", with_defaults: bool = True) -> None:
    """Add the options that the fields of a dataclass declare.

    Parameters
    ----------
    groups : OptionGroups
        Where they go.
    model : type
        A dataclass, see `n2a_bids.config.options`.
    section : str
        Name of the section in a larger dataclass: stands before the destination, as in ``denoise.recipe``.
    with_defaults : bool
        What is not given has the default of its field; otherwise it is absent from the namespace, so that a
        settings file can fill it in.
    """
    for declared in declared_fields(model):
        dest = f"{section}.{declared.name}" if section else declared.name
        if declared.is_section:
            add_options(groups, declared.hint, section=dest, with_defaults=with_defaults)
        elif declared.option is not None:
            _add_option(groups[declared.option.group], declared, dest, with_defaults)


def _add_option(group: argparse._ActionsContainer, declared: Declared, dest: str, with_default: bool) -> None:
    """Add one option or positional argument."""
    keywords = _keywords(declared)
    has_default = declared.default is not dataclasses.MISSING
    if declared.option.positional:
        nargs = "*" if declared.is_list else "?"
        keywords |= {"nargs": nargs, "default": declared.default} if has_default else {}
        group.add_argument(dest, **keywords)
        return
    if declared.item is bool:
        # The ``--no-`` form is there to overrule a settings file.
        keywords["action"] = "store_true" if with_default else argparse.BooleanOptionalAction
    if not with_default:
        keywords |= {"action": Collect} if declared.is_list else {}
    elif not has_default:
        keywords["required"] = True
    elif declared.item is not bool:
        is_given_list = declared.is_list and declared.default is not None
        keywords["default"] = list(declared.default) if is_given_list else declared.default
    group.add_argument(*declared.flags, dest=dest, **keywords)


def read_options(args: argparse.Namespace, model: type[Settings], *, section: str = "") -> Settings:
    """Make the dataclass from what was parsed.

    Parameters
    ----------
    args : Namespace
        Of a parser with the options of the same dataclass, with defaults.
    model : type
        The dataclass; its fields without options keep their defaults.
    section : str
        As in `add_options`.
    """
    parsed, values = vars(args), {}
    for declared in declared_fields(model):
        dest = f"{section}.{declared.name}" if section else declared.name
        if declared.is_section:
            values[declared.name] = read_options(args, declared.hint, section=dest)
        elif dest in parsed:
            value = parsed[dest]
            values[declared.name] = tuple(value) if isinstance(value, list) else value
    return model(**values)


def _keywords(declared: Declared) -> dict[str, Any]:  # keyword arguments of argparse
    """What argparse is told of a field, but for its name and default."""
    option = declared.option
    help_text = f"{option.help}{_default_words(declared)}".replace("%", "%%")
    keywords = {"help": help_text}
    if declared.item is bool:
        return keywords
    if declared.choices:
        keywords["choices"] = declared.choices
    else:
        keywords |= {"type": _reader(declared), "metavar": option.metavar or declared.name.upper()}
    if option.reading == "named path":
        return keywords | {"nargs": "+", "action": CollectPairs}
    if declared.is_list:
        once = {"nargs": option.n_values or "+"}
        return keywords | ({"action": "append"} if option.n_values == 1 else once)
    return keywords


def _default_words(declared: Declared) -> str:
    """The default, as ``--help`` tells it after the text of the option."""
    words, value = declared.option.default, declared.default
    if words is None and value and value is not dataclasses.MISSING:
        words = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f" (default: {words})" if words else ""


def _reader(declared: Declared) -> Callable[[str], object]:
    """How the text of one value is read and checked."""
    if declared.option.reading != "plain":
        return _READERS[declared.option.reading]
    if declared.item in (int, float):
        return number_reader(declared.item, declared.range or Range())
    return Path if declared.item is Path else str


def number_reader(kind: type[int] | type[float], allowed: Range) -> Callable[[str], float]:
    """Reader of a whole or any finite number in a range, which says what it expected.

    Examples
    --------
    >>> number_reader(int, Range(1))("2"), number_reader(float, Range(0, 1))("0.5")
    (2, 0.5)
    """
    if kind is int:
        expected = f"a whole number from {allowed.low:g}" if math.isfinite(allowed.low) else "a whole number"
    else:
        expected = "a number" if allowed == Range() else f"a number {allowed.words}"

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not allowed.holds(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
        return value

    return read
