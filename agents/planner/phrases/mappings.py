"""Values in braces: of a field that holds fields, or all of a request: "shape={gateway_image: gw:1}"."""

from __future__ import annotations

import re
from typing import Any

from ....core.errors import AskError
from ....core.strict_yaml import parse_yaml
from .text import Token, key_of_word

_REQUEST = re.compile(r"(?P<name>[a-z][a-z-]*)[ (:=]*(?P<braces>\{[^{}\n]{1,800}\})\)?", re.IGNORECASE)
_MOST = 40  # names in one


def mapping_of(text: str) -> dict[str, Any] | None:
    """What stands in braces as names with plain values; None where it is anything else."""
    try:
        found = parse_yaml(text, "braces").data
    except AskError:
        return None
    if not isinstance(found, dict) or not 0 < len(found) <= _MOST:
        return None
    plain = all(isinstance(name, str) and _is_plain(value) for name, value in found.items())
    return found if plain else None


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(_is_plain(one) and not isinstance(one, list) for one in value)
    return isinstance(value, str | int | float | bool)


def unbraced(text: str, skills: frozenset[str]) -> str:
    """A text in which a request in braces behind a skill's name is written as name=value."""

    def written(match: re.Match[str]) -> str:
        given = mapping_of(match.group("braces"))
        if key_of_word(match.group("name")) not in skills or given is None:
            return match.group()
        said = ", ".join(f"{name}={_said(value)}" for name, value in given.items())
        return f"{match.group('name')} {said}"

    return _REQUEST.sub(written, text)


_LIST = re.compile(
    r"(?P<name>[a-z][\w-]*)(?P<link> ?[=:] ?| (?:of |is |are |as |to )?)\[(?P<inner>[^][{}\n]{1,800})\]"
    r"|(?P<set>[a-z][\w-]*) ?= ?[({](?P<listed>[^][(){}:\n]{1,800})[)}]"
    r"|(?P<is>[a-z][\w-]*) ?= ?(?P<mark>[\"'])(?P<word>[\w./:@-]{1,200})(?P=mark)",
    re.IGNORECASE,
)


def unbracketed(text: str, names: frozenset[str]) -> str:
    """A text in which a list or one word behind a field's name stands without its brackets or quotes."""

    def written(match: re.Match[str]) -> str:
        name = match.group("name") or match.group("set") or match.group("is")
        if key_of_word(name) not in names:
            return match.group()
        if match.group("name") is None:
            return f"{name}={match.group('listed') or match.group('word')}"
        inner = match.group("inner")
        if match.group("link").strip() in ("=", ":") and not set(inner) & set("'\"=:"):
            parts = [one.strip() for one in inner.split(",")]
            inner = ", ".join(f"'{one}'" if " " in one else one for one in parts)
            return f"{name}={inner}"
        return f"{name}{match.group('link')}{inner}"

    return _LIST.sub(written, text)


def _said(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_said, value))
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if re.fullmatch(r"[\w./:,@-]+", text) or '"' in text else f'"{text}"'


def is_named_mapping(tokens: list[Token], at: int, names: frozenset[tuple[str, ...]]) -> bool:
    """Whether a token in braces stands right behind a name that may hold one."""
    end = at
    while end and tokens[end - 1].key in ("=", ":", "of", "is"):
        end -= 1
    said = tuple(token.key for token in tokens[max(0, end - 4) : end])
    is_named = any(said[-len(name) :] == name for name in names)
    return is_named and mapping_of(tokens[at].text) is not None
