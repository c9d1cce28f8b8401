"""Settings files (TOML): read into a `Config`, checked, and written into the log."""

from __future__ import annotations

import dataclasses
import json
import tomllib
import typing
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType

from n2a_bids.config.options import declared_fields
from n2a_bids.config.run_settings import Config
from n2a_bids.config.selection import RESERVED_NAMES
from n2a_bids.errors import ConfigError

Settings = dict[str, typing.Any]
"""Mirrors `Config`: names of its fields, with one nested mapping per section."""

OF_THIS_RUN = ("bids_dir", "output_dir", "run_uuid", "analysis_level", "stage")
"""Fields that describe one run: recorded under ``[environment]`` and never read back."""


def read_settings(path: Path) -> Settings:
    """Read the settings of a TOML file.

    Parameters
    ----------
    path : Path
        A file such as ``sub-01/log/<uuid>/n2a.toml``. The table ``[environment]``
        is a record of an earlier run and is ignored.

    Returns
    -------
    settings : dict
        Only what the file sets, with paths, tuples and choices already typed; paths are absolute, from the
        current folder where they are relative.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not TOML, has a key that no setting has,
        or a value of another type or out of its range.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: the settings file cannot be read ({error}); check --config-file"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: this is not valid TOML ({error}); correct the file") from error
    content.pop("environment", None)
    settings = _typed(content, Config, str(path), ())
    _check_values(settings, path)
    return settings


def _check_values(settings: Settings, path: Path) -> None:
    limited = (
        (section, one)
        for section, model in _sections().items()
        for one in declared_fields(model)
        if one.range
    )
    for section, declared in limited:
        found = settings.get(section, {}).get(declared.name, ())
        for value in found if isinstance(found, tuple) else (found,):
            if not declared.range.holds(value):
                raise ConfigError(
                    f"{path}: {section}.{declared.name} should be {declared.range.words}, found {value}; "
                    "correct or remove it"
                )
    for name in RESERVED_NAMES.keys() & settings.get("derivatives", {}).keys():
        raise ConfigError(
            f"{path}: derivatives.{json.dumps(name)} has the name of a link to the {RESERVED_NAMES[name]}; "
            "choose another name"
        )


def merge(base: Mapping[str, typing.Any], override: Mapping[str, typing.Any]) -> Settings:
    """Lay one set of settings over another, section by section.

    Examples
    --------
    >>> merge({"mask": {"method": "deepbet", "template": "X"}}, {"mask": {"method": "template"}})
    {'mask': {'method': 'template', 'template': 'X'}}
    """
    merged = dict(base)
    for key, value in override.items():
        is_section = key in _sections() and isinstance(merged.get(key), Mapping)
        merged[key] = {**merged[key], **value} if is_section else value
    return merged


def make_config(settings: Mapping[str, typing.Any]) -> Config:
    """Make the frozen `Config`; what `settings` does not say keeps the default of its dataclass."""
    sections = {name: section(**settings.get(name, {})) for name, section in _sections().items()}
    plain = {key: value for key, value in settings.items() if key not in sections}
    return Config(**plain, **sections)


def format_settings(config: Config, environment: Mapping[str, str]) -> str:
    """Write a `Config` as TOML that `read_settings` gives back.

    Parameters
    ----------
    config : Config
        Settings of this run.
    environment : mapping
        Versions, host and the like: recorded under ``[environment]``, with the resources, never read.

    Returns
    -------
    text : str
        TOML; settings without a value are left out.
    """
    tree = dataclasses.asdict(config)
    # Resources fit the machine of this run: read back on another one they would be wrong.
    record = {**{key: tree.pop(key) for key in (*OF_THIS_RUN, "resources")}, **environment}
    lines = [f"{key} = {_toml(value)}" for key, value in tree.items() if not isinstance(value, dict)]
    tables = {"environment": record, **{key: value for key, value in tree.items() if isinstance(value, dict)}}
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        lines += [f"{_key(key)} = {_toml(value)}" for key, value in table.items() if value is not None]
    return "\n".join(lines) + "\n"


def setting_names() -> Iterator[str]:
    """Names of all settings, those of sections as in ``denoise.recipe``."""
    for declared in declared_fields(Config):
        if declared.is_section:
            yield from (f"{declared.name}.{one.name}" for one in declared_fields(declared.hint))
        else:
            yield declared.name


def _sections() -> dict[str, type]:
    hints = typing.get_type_hints(Config)
    return {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}


def _typed(value: object, hint: object, source: str, keys: tuple[str, ...]) -> typing.Any:
    """Check one TOML value against the type of its field, and convert it."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _typed_section(value, hint, source, keys)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        return _typed(value, next(arg for arg in arguments if arg is not NoneType), source, keys)
    if origin is typing.Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(item, arguments[0], source, keys) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: _typed(item, arguments[1], source, keys) for key, item in value.items()}
    if hint is object:
        return value
    if hint is Path and isinstance(value, str):
        # As on the command line: steps run in folders of their own.
        return Path(value).expanduser().absolute()
    if hint is float and type(value) in (int, float):
        return float(value)
    # bool is an int in Python, but ``sloppy = 1`` is more likely a mistake than a wish.
    if isinstance(hint, type) and type(value) is hint:
        return value
    expected = (
        " or ".join(map(repr, arguments)) if origin is typing.Literal else getattr(hint, "__name__", hint)
    )
    name = ".".join(keys)
    raise ConfigError(
        f"{source}: {name} should be {expected}, found {value!r}; correct the value or remove the line"
    )


def _typed_section(value: object, section: type, source: str, keys: tuple[str, ...]) -> Settings:
    if not isinstance(value, dict):
        raise ConfigError(
            f"{source}: {'.'.join(keys)} should be a table, found {value!r}; write [{'.'.join(keys)}]"
        )
    hints = typing.get_type_hints(section)
    hints = {declared.name: hints[declared.name] for declared in dataclasses.fields(section)}
    known = [key for key in hints if keys or key not in OF_THIS_RUN]
    unknown = [".".join((*keys, key)) for key in value if key not in known]
    if unknown:
        close = [match for key in unknown for match in get_close_matches(key.rpartition(".")[2], known, 1)]
        meant = f" (did you mean {', '.join(close)}?)" if close else ""
        raise ConfigError(
            f"{source}: there is no setting called {', '.join(unknown)}{meant}; known here are "
            f"{', '.join(known)}. Correct the name or remove the line"
        )
    return {key: _typed(item, hints[key], source, (*keys, key)) for key, item in value.items()}


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _toml(value: object) -> str:
    if isinstance(value, Path | str):
        # TOML basic strings take JSON's escapes; surrogate pairs are not among them.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value if item is not None) + "]"
    if isinstance(value, dict):
        pairs = (f"{_key(key)} = {_toml(item)}" for key, item in value.items() if item is not None)
        return "{" + ", ".join(pairs) + "}"
    return json.dumps(value)
