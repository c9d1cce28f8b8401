"""How ``--help`` looks, for both commands."""

from __future__ import annotations

import argparse


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
