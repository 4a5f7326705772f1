"""`deploy --to kubernetes`: the same word for another place, which has skills of its own."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import AskError, did_you_mean

_WRITE, _APPLY = "kubernetes-manifests", "kubernetes-deploy"
_PLACES = ("here", "kubernetes")
_VALUES = {"true": True, "false": False}


def routed(argv: Sequence[str]) -> list[str]:
    """A command line with `deploy --to PLACE` as the skill of that place; any other as it is.

    For kubernetes, `--dry-run true` (the default) writes manifests, and `--dry-run false` applies them.
    AskError for a place or value that is none.
    """
    words = list(argv)
    if "deploy" not in words:
        return words
    command = words.index("deploy")
    place = _taken(words, command, "to")
    if place is None:
        return words
    if place not in _PLACES:
        known = ", ".join(_PLACES)
        raise AskError(
            f"cannot deploy to '{place[:40]}' (places are: {known}).{did_you_mean(place, _PLACES)}"
        )
    if place == "kubernetes":
        words[command] = _WRITE if _is_dry_run(words, command) else _APPLY
    return words


def _is_dry_run(words: list[str], command: int) -> bool:
    if "--no-dry-run" in words[command:]:
        words.remove("--no-dry-run")
        return False
    value = _taken(words, command, "dry-run")
    if value is None:
        return True
    if value not in _VALUES:
        raise AskError(
            f"invalid dry-run '{value[:40]}': expected true (write manifests) or false (apply them)."
        )
    return _VALUES[value]


def _taken(words: list[str], command: int, option: str) -> str | None:
    """Take an option's value out of the words after a command, however it is written; None without one.

    A flag without a value counts as `true`.
    """
    forms = (f"--{option}=", f"{option.replace('-', '_')}=", f"{option}=")
    for place in range(command + 1, len(words)):
        for form in forms:
            if words[place].startswith(form):
                return words.pop(place)[len(form) :]
        if words[place] == f"--{option}":
            words.pop(place)
            has_value = place < len(words) and not words[place].startswith("-")
            return words.pop(place) if has_value else "true"
    return None
