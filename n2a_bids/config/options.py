"""How a settings field declares its option (`Option`, `Range`): help, flag, range, beside the default.

A field such as ``recipe: Annotated[Recipe, Option("how much time it may take")] = "default"`` is an option of
every command line that is made from its dataclass (`n2a_bids.cli.options`), and a key of the settings file
(`n2a_bids.config.toml`). Spelling, choices and default follow from the field. A field that only the settings
file can set is annotated with its description, a plain text. What all options of a dataclass share stands in
two class variables of it: ``HEADING``, under which ``--help`` lists them, and ``PREFIX`` of their names.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from n2a_bids.errors import ConfigError

Reading = Literal[
    "plain", "absolute path", "existing path", "memory", "participant label", "session label", "filter file",
    "named path", "words",
]  # fmt: skip
"""How text becomes a value, where the type of the field does not tell."""


@dataclass(frozen=True, slots=True)
class Option:
    """What a command line says of a field."""

    help: str
    group: str = ""
    """Heading of ``--help`` under which it stands, where it is not that of its dataclass."""
    flags: tuple[str, ...] = ()
    """Spellings, where they do not follow from the name of the field; the first is that in messages."""
    metavar: str | tuple[str, ...] | None = None
    choices: tuple[str, ...] = ()
    """Values, where the type of the field does not list them."""
    default: str | None = None
    """The default in words, where its value says too little; empty where nothing is to be said of it."""
    reading: Reading = "plain"
    positional: bool = False
    n_values: int = 0
    """How many values it takes, where it takes several: 0 for one or more, 1 for one in each of many uses."""
    shapes_result: bool = True
    """False for what changes how fast a result comes, but not the result."""


@dataclass(frozen=True, slots=True)
class Range:
    """Lowest and highest value of a number."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    """Whether `low` itself is too low."""

    def holds(self, value: float) -> bool:
        """Whether a number lies in the range; NaN lies in none.

        Examples
        --------
        >>> Range(0, 1, above=True).holds(0.0), Range(0).holds(0.0)
        (False, True)
        """
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    @property
    def words(self) -> str:
        """In words.

        Examples
        --------
        >>> Range(1).words, Range(0, 1).words, Range(0, 1, above=True).words
        ('at least 1', 'from 0 to 1', 'above 0 and up to 1')
        """
        if self.high == math.inf:
            return f"{'above' if self.above else 'at least'} {self.low:g}"
        words = "above {:g} and up to {:g}" if self.above else "from {:g} to {:g}"
        return words.format(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Declared:
    """One field of a dataclass of settings."""

    name: str
    hint: Any
    """Its type, without None and without annotations."""
    default: object
    """`dataclasses.MISSING` where there is none."""
    option: Option | None = None
    range: Range | None = None
    text: str = ""
    """What it is, where no option says so."""

    @property
    def description(self) -> str:
        """What it is, for people.

        Examples
        --------
        >>> Declared("random_seed", int, 1, Option("seed of everything random")).description
        'seed of everything random'
        """
        return self.option.help if self.option else self.text

    @property
    def flags(self) -> tuple[str, ...]:
        """Spellings on the command line; none of what only the settings file can set."""
        return self.option.flags if self.option else ()

    @property
    def choices(self) -> tuple[str, ...]:
        """Values to choose from; empty where any will do."""
        if self.option and self.option.choices:
            return self.option.choices
        item = self.item
        return typing.get_args(item) if typing.get_origin(item) is Literal else ()

    @property
    def item(self) -> Any:
        """Type of one value: that of the items of a tuple, the type itself otherwise."""
        return typing.get_args(self.hint)[0] if self.is_list else self.hint

    @property
    def is_list(self) -> bool:
        """Whether the option takes several values."""
        reads_all = self.option is not None and self.option.reading == "words"
        return typing.get_origin(self.hint) is tuple and not reads_all

    @property
    def is_section(self) -> bool:
        """Whether it is a dataclass of settings itself."""
        return dataclasses.is_dataclass(self.hint)


def declared_fields(model: type) -> Iterator[Declared]:
    """The fields of a dataclass, as declared.

    Parameters
    ----------
    model : type
        A dataclass; fields that are sections of their own have neither option nor range.
    """
    hints = typing.get_type_hints(model, include_extras=True)
    heading, prefix = getattr(model, "HEADING", ""), getattr(model, "PREFIX", "")
    for one in dataclasses.fields(model):
        hint, notes = hints[one.name], ()
        if typing.get_origin(hint) is typing.Annotated:
            hint, *notes = typing.get_args(hint)
        default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        option = next((note for note in notes if isinstance(note, Option)), None)
        if option is not None:
            flags = option.flags or (f"--{prefix}{one.name.replace('_', '-')}",)
            option = dataclasses.replace(option, group=option.group or heading, flags=flags)
        yield Declared(
            one.name,
            _without_none(hint),
            default,
            option,
            next((note for note in notes if isinstance(note, Range)), None),
            next((note for note in notes if isinstance(note, str)), ""),
        )


def check_choices(settings: Any) -> None:
    """Refuse values that an option does not offer, of settings that no parser has seen.

    Parameters
    ----------
    settings : dataclass
        Made of declared fields.

    Raises
    ------
    ConfigError
        If a field has a value that is none of its choices.
    """
    for declared in declared_fields(type(settings)):
        value = getattr(settings, declared.name)
        if declared.choices and not declared.is_list and value not in declared.choices:
            raise ConfigError(
                f"there is no {declared.name} {value!r}; choose one of {', '.join(declared.choices)}"
            )


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint
