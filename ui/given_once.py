"""Options that take one value, given twice: refused, where the parser would keep the last in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..core.errors import AskError


def refuse_repeats(command: Any) -> None:
    """Have a command of Typer, and all below it, refuse a second value for an option that takes one.

    It is done to the finished tree of commands, so that no option has to be declared for it.
    """
    for inner in getattr(command, "commands", {}).values():
        refuse_repeats(inner)
    parse = command.parse_args

    def parse_once(context: Any, words: list[str]) -> list[str]:
        if not context.resilient_parsing:  # that is the shell's completion, which asks about half a line
            _, _, given = command.make_parser(context).parse_args(args=list(words))
            _check(given, context.command_path)
        rest: list[str] = parse(context, words)
        return rest

    command.parse_args = parse_once


def _check(given: Sequence[Any], path: str) -> None:
    """AskError for the first option of one value that stands more than once among those given."""
    for option, times in Counter(given).items():
        if times > 1 and option.param_type_name == "option" and not (option.multiple or option.is_flag):
            name = max(option.opts, key=len)
            raise AskError(
                f"option '{name}' is given {times} times, and takes one value: give it once. "
                f"Try `{path} --help`."
            )
