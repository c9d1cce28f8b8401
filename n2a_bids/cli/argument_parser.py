"""Base parser of both commands: layout of ``--help``, mistyped options, completion in the shell."""

from __future__ import annotations

import argparse
import os
import re
from difflib import get_close_matches
from typing import NoReturn

_UNKNOWN = re.compile(r"unrecognized arguments: (.*)", re.DOTALL)
_NO_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")


class ArgumentParser(argparse.ArgumentParser):
    """Parser whose errors name the option or value that was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Print usage, the message and what was probably meant; exit with 2."""
        meant = list(dict.fromkeys(self._meant(message)))
        super().error(f"{message}; did you mean {', '.join(meant)}?" if meant else message)

    def _meant(self, message: str) -> list[str]:
        """Options or values that are spelled like the ones in a message."""
        if found := _NO_CHOICE.search(message):
            word, choices = found[1], re.findall(r"[\w.-]+", found[2])
            lower = {choice.lower(): choice for choice in choices}
            return [lower[match] for match in get_close_matches(word.lower(), lower, 1)]
        if not (found := _UNKNOWN.search(message)):
            return []
        spellings = [name for name in self._option_string_actions if name.startswith("--")]
        meant = []
        for word in found[1].split():
            name = word.partition("=")[0].replace("_", "-")
            if name.startswith("-"):
                meant += get_close_matches(f"--{name.lstrip('-')}", spellings, 1)
        return meant


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell's question for completions, where it asks one, and end; otherwise do nothing.

    Parameters
    ----------
    parser : ArgumentParser
        With all options. The shell asks once ``eval "$(register-python-argcomplete n2a)"`` was run in it.
    """
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wide lines, defaults where the text tells none, one metavar for all spellings of an option.

    Neither ``--no-`` nor underscore spellings are shown.
    """

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=32, width=100)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        is_flag = isinstance(action, argparse.BooleanOptionalAction)
        spellings = ", ".join(
            name
            for name in action.option_strings
            if "_" not in name and not (is_flag and name.startswith("--no-"))
        )
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{spellings} {value}".rstrip() if action.nargs != 0 else spellings

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        is_told = not action.option_strings or "default:" in text
        if is_told or action.default in (None, False, argparse.SUPPRESS) or action.default == []:
            return text
        default = action.default
        shown = " ".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
        return f"{text} (default: {shown.replace('%', '%%')})"
